"""Parameters: what each of the estimator's may be, whatever the model."""

import functools
import inspect
import os
import re
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np

from sklearn_llm2vec._adapt.recipe import LLM2VecRecipe
from sklearn_llm2vec._cache.store import EmbeddingCache
from sklearn_llm2vec._common.checks import (
    among,
    is_flag,
    is_integer,
    is_number,
    refused,
)
from sklearn_llm2vec._common.names import ATTENTIONS, CHAINS, LONG_TEXTS, MISSING
from sklearn_llm2vec._estimator.searched import cells_of_search
from sklearn_llm2vec._network.pooling import POOLINGS


def plain_parameters(estimator):
    """The parameters, with Python's own values in place of numpy's scalars.

    A search over numpy arrays sets ``np.str_("mean")`` and ``np.int64(3)``; cells,
    fingerprints and pickles are those of ``"mean"`` and ``3``.

    Parameters
    ----------
    estimator : LLMEmbeddingTransformer

    Returns
    -------
    SimpleNamespace
        One attribute for each parameter. Later changes of the estimator don't reach it.
    """
    names = _names(type(estimator))
    return SimpleNamespace(**{name: plain(getattr(estimator, name)) for name in names})


@functools.cache
def _names(kind):
    return tuple(inspect.signature(kind).parameters)


def plain(value):
    """A value with Python's own in place of numpy's scalars, inside tuples too.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec._estimator.parameters import plain
    >>> plain((np.int64(3), np.str_("mean"), np.bool_(True), [np.float32(0.5)]))
    (3, 'mean', True, [0.5])
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str):
        return str.__str__(value)  # of a str subclass, such as an Enum
    if type(value) in (tuple, list):
        return type(value)(map(plain, value))
    return value


def check_parameters(estimator):
    """Raise for a parameter whose value it can't have with any model.

    Parameters
    ----------
    estimator : LLMEmbeddingTransformer

    Returns
    -------
    SimpleNamespace
        As `plain_parameters` gives it, and `in_search`: what "auto" keeps of texts that
        have another cell already. A candidate of a search keeps what all need.
    """
    params = plain_parameters(estimator)
    for name, (accepts, expected) in _PARAMETERS.items():
        value = getattr(params, name)
        if not accepts(value):
            raise refused(name, expected, value)
    _check_secrets(params)
    _check_choice(params)
    searched = cells_of_search(estimator)
    params.in_search = "all" if searched is None else searched
    is_over = getattr(estimator, "_search_ended", False)
    if searched is not None and not is_over and params.keep in ("auto", "requested"):
        params.keep = searched
    return params


def _check_secrets(params):
    """Refuse what may hold a secret without showing it."""
    check_variable("api_key_env", params.api_key_env, "key")
    check_variable("token_env", params.token_env, "token")
    if not (params.endpoint is None or _is_url(params.endpoint)):
        raise ValueError(
            "The 'endpoint' parameter of LLMEmbeddingTransformer must be the base "
            "URL of an OpenAI-compatible server, such as 'http://localhost:8000/v1', "
            "without a user, a password or any query except Azure's 'api-version', "
            "or None. Got something else instead (not shown): to pass a key, use the "
            "environment variable that 'api_key_env' names."
        )


def check_variable(name, value, secret, of="LLMEmbeddingTransformer"):
    """Refuse what is no name of an environment variable, without showing it.

    Parameters
    ----------
    name : str
        Of the parameter.
    value : object
    secret : str
        What the variable holds.
    of : str, default="LLMEmbeddingTransformer"
    """
    if value is None:
        return
    is_name = isinstance(value, str) and _ENV_NAME.fullmatch(value)
    # A token of the hub could be a variable's name, but isn't one.
    if not is_name or (value.startswith("hf_") and len(value) > 20):
        raise ValueError(
            f"The {name!r} parameter of {of} must be the name of an environment variable "
            f"or None. Got something else instead (not shown): put the {secret} into the "
            "variable, and its name here."
        )


# --- cells that fit chooses ----------------------------------------------------------


def is_chosen(params):
    """Whether `fit` chooses the layer, the pooling, or both."""
    return bool(_left_open(params))


def declared_parameters(params):
    """The parameters with what the model declares in place of "cv"."""
    return parameters_of(params, (-1, "auto"))


def parameters_of(params, cell):
    """The parameters with a layer and a pooling in place of "cv"."""
    chosen = dict(zip(("layer", "pooling"), cell, strict=True))
    ours = {name: chosen[name] for name in _left_open(params)}
    return SimpleNamespace(**{**vars(params), **ours})


def check_target(params, y):
    """Raise where `fit` is to choose without a target."""
    if y is None and is_chosen(params):
        named = " and ".join(f"{name}='cv'" for name in _left_open(params))
        raise ValueError(
            f"With {named}, LLMEmbeddingTransformer chooses what predicts the target "
            "best, so 'fit' needs y. Got y=None instead: pass y, or choose a layer "
            "and a pooling yourself."
        )


def _check_choice(params):
    """Refuse a choice that a server would have to make."""
    if params.endpoint is not None and is_chosen(params):
        name = _left_open(params)[0]
        default = {"layer": -1, "pooling": "auto"}[name]
        expected = f"{default!r} with 'endpoint', where the server decides"
        raise refused(name, expected, "cv")


def _left_open(params):
    return [name for name in ("layer", "pooling") if _is_cv(getattr(params, name))]


def _is_cv(value):
    return isinstance(value, str) and value == "cv"


# --- kinds of values -----------------------------------------------------------------


def _is_url(value):
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value.strip())
        _ = parts.port  # raises for one that is no number
    except ValueError:
        return False
    # Azure's; any other query may be a key.
    query = not parts.query or _API_VERSION.fullmatch(parts.query)
    secret = "@" in parts.netloc or not query or parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not secret


_API_VERSION = re.compile(
    "api-version=([0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?|preview|latest|v1)"
)
_ENV_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


def _is_layer(value):
    if isinstance(value, str):
        return value == "cv"
    if isinstance(value, tuple | list):
        return len(value) > 0 and all(map(is_number, value))
    return is_number(value)


def _is_keep(value):
    if isinstance(value, str):
        return value in ("auto", "requested", "all")
    if not (isinstance(value, tuple | list) and len(value) == 2):
        return False
    layers, poolings = value
    return _are_all_or(layers, is_integer) and _are_all_or(
        poolings, lambda one: isinstance(one, str) and one in POOLINGS
    )


def _are_all_or(values, accepts):
    if isinstance(values, str):
        return values == "all"
    return np.iterable(values) and all(map(accepts, values))


def _is_count(value):
    return is_integer(value, least=1)


def _is_str(value):
    return isinstance(value, str)


def _is_depth(value):
    if isinstance(value, tuple | list):
        return len(value) == 2 and all(map(is_integer, value))
    return is_integer(value)


def _is_path(value):
    return isinstance(value, str | os.PathLike)


def _names_adapters(value):
    several = value if isinstance(value, tuple | list) else [value]
    return len(several) > 0 and all(map(_is_path, several))


def _names_devices(value):
    several = value if isinstance(value, tuple | list) else [value]
    # torch.device objects too, without importing torch.
    named = all(
        isinstance(one, str) or type(one).__name__ == "device" for one in several
    )
    kinds = {str(one).split(":")[0] for one in several}
    return named and len(kinds) == 1 and kinds != {""}


def _is_adaptation(value):
    return isinstance(value, LLM2VecRecipe) or (_is_str(value) and value in CHAINS)


def _is_cache(value):
    if isinstance(value, str) and not value.strip():
        return False  # the working directory, by accident
    return isinstance(value, bool | str | os.PathLike | EmbeddingCache)


def _one_of(*values):
    def accepts(value):
        # By type too: 1 == True, and isn't meant.
        return any(type(value) is type(one) and value == one for one in values)

    return accepts, among(values)


def _or_none(accepts, expected):
    return lambda value: value is None or accepts(value), f"{expected} or None"


_PARAMETERS = {
    "layer": (
        _is_layer,
        "an int, a float in [0, 1], a non-empty tuple of these, or 'cv'",
    ),
    "pooling": _one_of("auto", "cv", *POOLINGS),
    "special_tokens": _one_of("auto", True, False),
    "attention": _one_of("auto", *ATTENTIONS),
    "template": _or_none(_is_str, "a str"),
    "prompt_counts": _one_of("auto", True, False),
    "token_prepending": _or_none(_is_depth, "a layer as an int, a tuple of two,"),
    "adapters": _or_none(_names_adapters, "a str or path, a sequence of these,"),
    "adapt": _or_none(_is_adaptation, f"{among(CHAINS)}, an LLM2VecRecipe"),
    "truncate_dim": _or_none(_is_count, "a positive int"),
    "n_components": _or_none(_is_count, "a positive int"),
    "normalize": (is_flag, "a bool"),
    "missing": _one_of(*MISSING),
    "max_length": _or_none(_is_count, "a positive int"),
    "long_texts": _one_of(*LONG_TEXTS),
    "chunk_overlap": (
        lambda value: is_integer(value, least=0),
        "an int that isn't negative",
    ),
    "cache": _or_none(_is_cache, "a bool, a path, an EmbeddingCache"),
    "keep": (
        _is_keep,
        "among {'auto', 'requested', 'all'} or a tuple (layers, poolings)",
    ),
    "batch_tokens": (
        lambda value: value == "auto" if isinstance(value, str) else _is_count(value),
        "a positive int or 'auto'",
    ),
    "revision": _or_none(_is_str, "a str"),
    "device": _or_none(
        _names_devices, "the name of a torch device, a tuple of names of one kind,"
    ),
    "trust_remote_code": (is_flag, "a bool"),
    "verbose": _one_of("auto", True, False),
}
