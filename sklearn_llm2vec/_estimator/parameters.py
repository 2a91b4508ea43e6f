"""Parameters: what each of the estimator's may be, and what it means for a model.

Each is checked by itself first; then those of a model's space are resolved against what
its folder says.
"""

import numbers
import os
import re
import sys
import warnings
from urllib.parse import urlsplit

import numpy as np

from sklearn_llm2vec._adapt.recipe import CHAINS, LLM2VecRecipe
from sklearn_llm2vec._cache.store import EmbeddingCache
from sklearn_llm2vec._model.devices import resolve_dtype
from sklearn_llm2vec._model.places import looks_like_path
from sklearn_llm2vec._model.spec import EncoderSpec
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec._text.templates import PRESETS, parse_template


def check_parameters(params):
    """Raise for a parameter whose value it can't have with any model."""
    for name, (accepts, expected) in _PARAMETERS.items():
        value = getattr(params, name)
        if not accepts(value):
            raise ValueError(
                f"The {name!r} parameter of LLMEmbeddingTransformer must be {expected}. "
                f"Got {value!r} instead."
            )
    _check_endpoint(params)


def _check_endpoint(params):
    """Raise for an endpoint that is none, and for what a server decides by itself."""
    # Values that may hold a secret aren't shown.
    name = params.api_key_env
    if not (name is None or (isinstance(name, str) and _ENV_NAME.fullmatch(name))):
        raise ValueError(
            "The 'api_key_env' parameter of LLMEmbeddingTransformer must be the name of "
            "an environment variable or None. Got something else instead (not shown): "
            "put the key into the variable, and its name here."
        )
    if params.endpoint is None:
        return
    if not _is_url(params.endpoint):
        raise ValueError(
            "The 'endpoint' parameter of LLMEmbeddingTransformer must be the base URL of "
            "an OpenAI-compatible server, such as 'http://localhost:8000/v1', without "
            "user, password and query, or None. Got something else instead (not shown): "
            "give a key by the environment variable that 'api_key_env' names."
        )
    if not isinstance(params.model, str):
        raise ValueError(
            "The 'model' parameter of LLMEmbeddingTransformer must be the served name, a "
            f"str, with 'endpoint'. Got {params.model!r} instead."
        )
    if params.template == "chat" or params.template in PRESETS:
        raise ValueError(
            "With 'endpoint' the 'template' parameter of LLMEmbeddingTransformer must be "
            "None, 'row' or a string with '{text}' or names of columns in it: presets "
            "need a pooling that the server may not have, and a chat template lies with "
            f"the model. Got {params.template!r} instead. Write the prompt out, or load "
            "the model here."
        )
    for name, default in DECIDED_BY_A_SERVER.items():
        value = getattr(params, name)
        if value != default:
            raise ValueError(
                f"The {name!r} parameter of LLMEmbeddingTransformer must be {default!r} "
                f"with 'endpoint', where the server decides. Got {value!r} instead. "
                "Leave it out, or leave 'endpoint' out and load the model here."
            )


def _is_url(value):
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value.strip())
        _ = parts.port  # raises for one that is no number
    except ValueError:
        return False
    secret = "@" in parts.netloc or parts.query or parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not secret


def resolve_layer(layer, n_layers):
    """The hidden state, counted from 0, that a `layer` parameter means.

    Parameters
    ----------
    layer : int, float or tuple of these
    n_layers : int
        Layers of the model; hidden states go from 0 to `n_layers`.

    Returns
    -------
    int or tuple of int

    Raises
    ------
    ValueError
        When the model has no such layer.

    Examples
    --------
    >>> from sklearn_llm2vec._estimator.parameters import resolve_layer
    >>> resolve_layer(-1, 6), resolve_layer(0.5, 6), resolve_layer((1, -1), 6)
    (6, 3, (1, 6))
    """
    several = isinstance(layer, tuple | list)
    found = tuple(
        _counted_layer(one, n_layers) for one in (layer if several else [layer])
    )
    if None in found:
        raise ValueError(
            "The 'layer' parameter of LLMEmbeddingTransformer must be an int from "
            f"{-n_layers - 1} to {n_layers} (this model has {n_layers} layers; 0 is the "
            f"embeddings), a float in [0, 1] or a tuple of these. Got {layer!r} instead."
        )
    return found if several else found[0]


def _counted_layer(layer, n_layers):
    if isinstance(layer, numbers.Integral) and not isinstance(layer, bool):
        inside = -n_layers - 1 <= layer <= n_layers
        return int(layer) % (n_layers + 1) if inside else None
    if isinstance(layer, numbers.Real) and 0 <= layer <= 1:
        return round(float(layer) * n_layers)
    return None


def _is_layer(value):
    if isinstance(value, tuple | list):
        return len(value) > 0 and all(
            _is_layer(one) and not isinstance(one, tuple | list) for one in value
        )
    if isinstance(value, bool | np.bool_):
        return False
    return isinstance(value, numbers.Real)


def _is_keep(value):
    if isinstance(value, str):
        return value in ("auto", "requested", "all")
    if not (isinstance(value, tuple | list) and len(value) == 2):
        return False
    layers, poolings = value
    if isinstance(layers, str):
        layers_fit = layers == "all"
    else:
        layers_fit = all(isinstance(k, numbers.Integral) for k in layers)
    if isinstance(poolings, str):
        return layers_fit and poolings == "all"
    return layers_fit and set(poolings) <= set(POOLINGS)


def _is_count(value):
    return (
        isinstance(value, numbers.Integral)
        and not isinstance(value, bool)
        and value > 0
    )


def _is_depth(value):
    several = isinstance(value, tuple | list)
    layers = value if several else [value]
    return len(layers) == 1 + several and all(
        isinstance(one, numbers.Integral) and not isinstance(one, bool)
        for one in layers
    )


def _is_path(value):
    return isinstance(value, str | os.PathLike)


def _are_paths(value):
    return isinstance(value, tuple | list) and len(value) and all(map(_is_path, value))


def _names_devices(value):
    if value is None:
        return True
    several = value if isinstance(value, tuple | list) else [value]
    # torch.device objects too, without importing torch.
    named = all(
        isinstance(one, str) or type(one).__name__ == "device" for one in several
    )
    kinds = {str(one).split(":")[0] for one in several}
    return named and len(kinds) == 1 and kinds != {""}


def _one_of(*values):
    def accepts(value):
        # By type too: 1 == True, and isn't meant.
        return any(type(value) is type(one) and value == one for one in values)

    return accepts, "among {" + ", ".join(map(repr, values)) + "}"


_flag = (lambda value: isinstance(value, bool | np.bool_), "a bool")

_PARAMETERS = {
    "layer": (_is_layer, "an int, a float in [0, 1], or a non-empty tuple of these"),
    "pooling": _one_of("auto", *POOLINGS),
    "special_tokens": _one_of("auto", True, False),
    "attention": _one_of("auto", "causal", "bidirectional"),
    "template": (
        lambda value: value is None or isinstance(value, str),
        "a str or None",
    ),
    "token_prepending": (
        lambda value: value is None or _is_depth(value),
        "a layer as an int, a tuple of two, or None",
    ),
    "adapters": (
        lambda value: value is None or _is_path(value) or _are_paths(value),
        "a str or path, a sequence of these, or None",
    ),
    "adapt": (
        lambda value: (
            value is None
            or isinstance(value, LLM2VecRecipe)
            or (isinstance(value, str) and value in CHAINS)
        ),
        "among {" + ", ".join(map(repr, CHAINS)) + "}, an LLM2VecRecipe or None",
    ),
    "n_components": (
        lambda value: value is None or _is_count(value),
        "a positive int or None",
    ),
    "normalize": _flag,
    "missing": _one_of("zero", "nan", "empty", "error"),
    "max_length": (
        lambda value: value is None or _is_count(value),
        "a positive int or None",
    ),
    "long_texts": _one_of("truncate", "chunk", "error"),
    "chunk_overlap": (
        lambda value: value == 0 or _is_count(value),
        "an int that isn't negative",
    ),
    "cache": (
        lambda value: (
            value is None
            or isinstance(value, bool | str | os.PathLike | EmbeddingCache)
        ),
        "a bool, a path, an EmbeddingCache or None",
    ),
    "keep": (
        _is_keep,
        "among {'auto', 'requested', 'all'} or a tuple (layers, poolings)",
    ),
    "batch_tokens": (
        lambda value: value == "auto" if isinstance(value, str) else _is_count(value),
        "a positive int or 'auto'",
    ),
    "revision": (
        lambda value: value is None or isinstance(value, str),
        "a str or None",
    ),
    "device": (
        _names_devices,
        "the name of a torch device, a tuple of names of one kind, or None",
    ),
    "trust_remote_code": _flag,
    "verbose": _one_of("auto", True, False),
}


_ENV_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")

# What can't be chosen with an endpoint, and the defaults that it is left at.
DECIDED_BY_A_SERVER = {
    "layer": -1,
    "pooling": "auto",
    "special_tokens": "auto",
    "attention": "auto",
    "token_prepending": None,
    "adapters": None,
    "adapt": None,
    "max_length": None,
    "long_texts": "truncate",
    "chunk_overlap": 0,
    "keep": "auto",
    "device": None,
    "dtype": "auto",
    "trust_remote_code": False,
}


# --- what they mean for a model ------------------------------------------------------


def resolve_space(params, model, adapters, device):
    """The space that the parameters mean.

    Parameters
    ----------
    params : LLMEmbeddingTransformer
    model : ModelFolder
    adapters : tuple of AdapterFolder
    device : str

    Returns
    -------
    EncoderSpec

    Raises
    ------
    ValueError
        For a value that this model, or another parameter, doesn't allow.
    """
    attention = _resolve_attention(params, model, adapters)
    _warn_of_other_bases(model, adapters)
    template, counts = _resolve_template(params, model, attention)
    chunk = params.long_texts == "chunk"
    special = params.special_tokens
    if special == "auto":
        # sentence-transformers counts them in every model's pooling.
        special = not model.decoder or model.declared.pooling is not None
    return EncoderSpec(
        weights=model.weights_digest,
        config=model.config_digest,
        tokenizer=model.tokenizer_digest,
        attention=attention,
        special_tokens=bool(special),
        max_length=_resolve_max_length(params, model),
        # Where no text is cut, "error" gives the vectors of "truncate".
        long_texts="chunk" if chunk else "truncate",
        dtype=resolve_dtype(params.dtype, device),
        template=template,
        counts=counts,
        token_prepending=_resolve_prepending(params, model, attention, template),
        adapters=tuple(adapter.digest for adapter in adapters),
        chunk_overlap=int(params.chunk_overlap) if chunk else 0,
    )


def resolve_pooling(params, model, attention):
    """The pooling that the parameters mean."""
    if params.pooling != "auto":
        return params.pooling
    if params.template in PRESETS:
        return PRESETS[params.template].pooling
    causal = attention == "causal"
    return model.declared.pooling or ("weighted_mean" if causal else "mean")


def template_columns(template):
    """Columns that a template names; None if it is about each text alone."""
    if template is None or template in ("row", "chat", *PRESETS):
        return None
    return parse_template(template).columns


def _resolve_template(params, model, attention):
    """The template as the space has it, and which of its tokens count."""
    declared = model.declared
    if params.template is None or params.template == "row":
        if declared.prompt is None:
            return None, "text"
        escaped = declared.prompt.replace("{", "{{").replace("}", "}}")
        return escaped + "{text}", declared.counts
    if params.template == "chat":
        if not model.chats:
            raise ValueError(
                "The 'template' parameter of LLMEmbeddingTransformer can be 'chat' "
                f"only for a model that brings a chat template; {model.name!r} has "
                "none. Write the prompt as a string with '{text}' in it."
            )
        return "chat", "text"
    if params.template not in PRESETS:
        return params.template, "text"
    preset = PRESETS[params.template]
    if preset.needs_causal is None:
        return preset.prompt, "text"
    if not model.causal:
        raise ValueError(
            "The 'template' parameter of LLMEmbeddingTransformer must be None or a "
            f"prompt of your own for the encoder {model.name!r}. Got "
            f"{params.template!r} instead, which is made for causal decoders."
        )
    if attention != "causal":
        warn(
            f"template={params.template!r} is made for causal attention; with "
            f"bidirectional attention {preset.needs_causal}. Set attention='causal', or "
            "use another template."
        )
    return preset.prompt, "text"


def _resolve_prepending(params, model, attention, template):
    """Start and exit of Token Prepending, or None."""
    if params.token_prepending is None:
        return None
    name = "The 'token_prepending' parameter of LLMEmbeddingTransformer must be"
    if attention != "causal":
        where = (
            "bidirectional attention"
            if model.causal
            else f"{model.name!r}, an encoder or a bidirectional decoder"
        )
        raise ValueError(
            f"{name} None with {where}, where the text's tokens see the last one "
            f"anyway. Got {params.token_prepending!r} instead."
        )
    if template is None or (
        template != "chat" and not _is_prompt(parse_template(template))
    ):
        raise ValueError(
            f"{name} None without a 'template' that has words before one '{{text}}', "
            f"such as 'prompt_eol'. Got {params.token_prepending!r} instead."
        )
    several = isinstance(params.token_prepending, tuple | list)
    start, exit = params.token_prepending if several else (1, params.token_prepending)
    if not 0 <= start < exit <= model.n_layers:
        raise ValueError(
            f"{name} a layer from 2 to {model.n_layers}, the layers of "
            f"{model.name!r}, or a tuple of two in rising order from 0 on. Got "
            f"{params.token_prepending!r} instead."
        )
    return int(start), int(exit)


def _resolve_attention(params, model, adapters):
    """The attention that the parameters mean: never "auto"."""
    if params.attention == "causal" and not model.causal:
        raise ValueError(
            "The 'attention' parameter of LLMEmbeddingTransformer must be 'auto' for "
            f"{model.name!r}, which has bidirectional attention by design. Got "
            "'causal' instead."
        )
    if params.attention == "auto":
        switched = params.adapt is not None or any(
            adapter.bidirectional for adapter in adapters
        )
        return "causal" if model.causal and not switched else "bidirectional"
    return params.attention


def _warn_of_other_bases(model, adapters):
    """Warn of adapters that say they were trained on another model.

    Shapes are compared when they are merged; a model of the same shapes isn't seen
    there. The place of a local folder says nothing.
    """
    accepted = [model.name, *(adapter.name for adapter in adapters)]
    for adapter in adapters:
        base = getattr(adapter, "base", None)
        names = (base, model.name)
        if base is None or any(
            os.path.isdir(name) or looks_like_path(name) for name in names
        ):
            continue
        if not any(_is_same_name(base, name) for name in accepted):
            warn(
                f"The adapter {adapter.name!r} says that it was trained on {base!r}, but "
                f"is merged into {model.name!r}. Give its own base as 'model', unless "
                "both are the same."
            )


def _is_same_name(one, other):
    """Whether two hub ids may name one model; old ones lack their owner."""
    one, other = one.lower().split("/"), other.lower().split("/")
    n = min(len(one), len(other))
    return one[-n:] == other[-n:]


def warn(message):
    """Warn at the line of the user that called scikit-learn or this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_between(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def _is_between(frame):
    package = frame.f_globals.get("__name__", "").split(".")[0]
    return package in ("sklearn_llm2vec", "sklearn")


def _resolve_max_length(params, model):
    """Most tokens of a row."""
    if params.max_length is None:
        return model.max_tokens
    if model.max_positions and params.max_length > model.max_positions:
        raise ValueError(
            "The 'max_length' parameter of LLMEmbeddingTransformer must be at most "
            f"{model.max_positions} for {model.name!r}, the positions that the model "
            f"has. Got {params.max_length} instead."
        )
    return int(params.max_length)


def _is_prompt(template):
    """Whether there is one text, and something before it."""
    return len(template.fields) == 1 and bool(template.literals[0])
