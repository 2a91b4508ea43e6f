"""The parameter grid of a search over layers and poolings.

``layer_pooling_grid`` finds the transformer inside any estimator and writes the plain
dict that a search of scikit-learn takes. It reads the model's number of layers, not its
weights.
"""

import numpy as np

from sklearn_llm2vec._common.checks import among, is_integer, is_number, refused, warn
from sklearn_llm2vec._common.people import format_bytes
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._estimator.choice import N_DEPTHS
from sklearn_llm2vec._estimator.resolve import resolve_layer
from sklearn_llm2vec._estimator.searched import SearchedPooling
from sklearn_llm2vec._estimator.source import search_space
from sklearn_llm2vec._estimator.transformer import LLMEmbeddingTransformer
from sklearn_llm2vec._network.pooling import POOLINGS

# Bytes that a search stores for a text; more of them are worth a warning.
MUCH_A_TEXT = 100_000


@public_in("sklearn_llm2vec")
def layer_pooling_grid(estimator, *, layers="all", poolings="all", prefix=None):
    """Make a parameter grid of layers and poolings whose search encodes each text once.

    The first candidate stores the vectors that all other candidates need, because the
    values of `pooling` contain what is in the grid. After the search, the estimator that
    was refitted on all rows stores only its own layer and pooling for new texts.

    Parameters
    ----------
    estimator : estimator
        An `LLMEmbeddingTransformer`, or a Pipeline, ColumnTransformer, FeatureUnion or
        other estimator that contains one at any depth.
    layers : "all" or sequence of int, float or tuple, default="all"
        Values for the transformer's `layer`: integers from 0, which stands for the
        embeddings, to the number of layers; negative integers, which count from the end;
        floats for the relative depth; or tuples for the mean of several layers.
    poolings : "all" or sequence of str, default="all"
        Values for the transformer's `pooling`: "mean", "weighted_mean", "last", "first"
        and "max". "all" leaves out "first" for causal decoders, whose first token doesn't
        depend on the others.
    prefix : str or None, default=None
        Selects one of several transformers. It is the part before ``__layer`` in the
        names of ``estimator.get_params()``.

    Returns
    -------
    dict
        Lists of values by name of the parameter, for `GridSearchCV` and similar searches.
        You can add other parameters to it.

    Warns
    -----
    UserWarning
        If the search would store more than 100 kB for each text.

    Raises
    ------
    ValueError
        If there is no transformer, if there are several and no `prefix`, and for layers
        and poolings that the model doesn't have.

    See Also
    --------
    LayerPoolingDisplay : The heat map of such a search.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer, layer_pooling_grid
    >>> pipe = make_pipeline(LLMEmbeddingTransformer(), LogisticRegression())
    >>> grid = layer_pooling_grid(pipe, layers=[3, -1], poolings=["mean", "last"])
    >>> for name, values in grid.items():
    ...     print(name, values)
    llmembeddingtransformer__layer [3, -1]
    llmembeddingtransformer__pooling ['mean', 'last']
    """
    grid, size, n_layers = make_grid(estimator, layers, poolings, prefix)
    _warn_of_a_large_search(grid, size, n_layers)
    return grid


def make_grid(estimator, layers, poolings, prefix=None):
    """What `layer_pooling_grid` gives, and what a search of it takes.

    Returns
    -------
    grid : dict
    size : int
        Bytes that the search stores for each text.
    n_layers : int
        Of the model.
    """
    found = find_transformers(estimator)
    if not found:
        raise ValueError(
            "layer_pooling_grid expects an LLMEmbeddingTransformer or an estimator "
            f"that contains one. Got {type(estimator).__name__} without one instead."
        )
    prefix = choose_prefix(found, prefix, "layer_pooling_grid")
    transformer = found[prefix]
    every_pooling = isinstance(poolings, str) and poolings == "all"
    poolings = None if every_pooling else _check_poolings(poolings)
    n_layers, useful, hidden_size = search_space(transformer)
    if n_layers is None:
        raise ValueError(
            "layer_pooling_grid expects an LLMEmbeddingTransformer whose layers can be "
            f"chosen. Got one with endpoint={transformer.endpoint!r} instead, "
            "where the server decides."
        )
    if every_pooling:
        poolings = useful
    every_layer = isinstance(layers, str) and layers == "all"
    layers = list(range(n_layers + 1)) if every_layer else _check_layers(layers)
    if every_layer:
        kept_layers = "all"
    else:
        kept_layers = _flat_layers(layers, n_layers)
    if every_layer and set(poolings) == set(POOLINGS):
        cells = "all"
    else:
        cells = (kept_layers, tuple(poolings))
    size = len(_flat_layers(layers, n_layers)) * len(poolings) * hidden_size * 4
    start = f"{prefix}__" if prefix else ""
    grid = {
        f"{start}layer": layers,
        f"{start}pooling": [SearchedPooling(pooling, cells) for pooling in poolings],
    }
    return grid, size, n_layers


def _warn_of_a_large_search(grid, size, n_layers):
    """Say what a search stores and fits, where that is much and less would do."""
    n_layers_asked, n_poolings = map(len, grid.values())
    n_cells = n_layers_asked * n_poolings
    fewer = range(0, n_layers + 1, max(1, -(-n_layers // N_DEPTHS)))
    if size < MUCH_A_TEXT or n_layers_asked <= len(fewer):
        return
    warn(
        f"This grid has {n_cells} combinations of layer and pooling: GridSearchCV "
        f"makes {n_cells} fits for each fold, and the cache stores "
        f"{format_bytes(size)} for each text ({format_bytes(10_000 * size)} for "
        f"10,000 texts). Use fewer layers, such as layers={fewer}, or let "
        "LLMEmbeddingTransformer(layer='cv') choose without a grid."
    )


def choose_prefix(prefixes, prefix, caller):
    """Choose one of the prefixes; the user must, where there are several.

    Parameters
    ----------
    prefixes : collection of str
        What was found; an empty string is the estimator itself. Not empty.
    prefix : str or None
        What the user asked for, with or without underscores at its end.
    caller : str
        Who the error messages speak of.

    Returns
    -------
    str
        One of `prefixes`.

    Examples
    --------
    >>> from sklearn_llm2vec._search.grid import choose_prefix
    >>> choose_prefix(["title", "body"], "body__", "layer_pooling_grid")
    'body'
    """
    if prefix is not None and prefix.removesuffix("__") in prefixes:
        return prefix.removesuffix("__")
    if prefix is None and len(prefixes) == 1:
        return next(iter(prefixes))
    listed = ", ".join(map(repr, prefixes))
    if prefix is None:
        raise ValueError(
            f"{caller} found several LLMEmbeddingTransformer: {listed}. Select one "
            "with 'prefix'."
        )
    raise refused("prefix", f"one of {listed}", prefix, of=caller)


def find_transformers(estimator):
    """Collect the transformers inside an estimator: prefix -> transformer."""
    found = {"": estimator} if isinstance(estimator, LLMEmbeddingTransformer) else {}
    for name, value in estimator.get_params(deep=True).items():
        if isinstance(value, LLMEmbeddingTransformer):
            found[name] = value
    return found


def _check_poolings(poolings):
    """Refuse unknown poolings; return a list."""
    chosen = [poolings] if isinstance(poolings, str) else list(poolings)
    unknown = [pooling for pooling in chosen if pooling not in POOLINGS]
    if isinstance(poolings, str) or unknown or not chosen:
        expected = f"'all' or a sequence of names {among(POOLINGS)}"
        raise refused("poolings", expected, poolings, of="layer_pooling_grid")
    return chosen


def _check_layers(layers):
    """Refuse what is no sequence of layers; return a list of plain values."""
    is_sequence = np.iterable(layers) and not isinstance(layers, str)
    chosen = [_plain_layer(layer) for layer in layers] if is_sequence else []
    if not chosen or None in chosen:
        expected = "'all' or a sequence of int, float and tuple"
        raise refused("layers", expected, layers, of="layer_pooling_grid")
    return chosen


def _plain_layer(layer):
    """Layer as int, float or tuple of these, so that it prints well; else None."""
    if isinstance(layer, (tuple, list)):
        parts = tuple(map(_plain_layer, layer))
        return None if not parts or None in parts else parts
    if not is_number(layer):
        return None
    return int(layer) if is_integer(layer) else float(layer)


def _flat_layers(layers, n_layers):
    """Sorted hidden states, from 0 and without tuples, that the layers need."""
    flat = set()
    for layer in layers:
        resolved = resolve_layer(layer, n_layers)
        flat.update(resolved if isinstance(resolved, tuple) else (resolved,))
    return tuple(sorted(flat))
