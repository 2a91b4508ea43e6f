"""Scores of a search as tables of layer x pooling.

Reads the ``cv_results_`` of a fitted search, or plain scores, into one ``ScoreTable`` for
each model and metric.
"""

import math
import numbers
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec._search.grid import choose_prefix

# What is read of a transformer's `choice_`.
CHOICE = ("column", "layer", "pooling", "mean", "chosen")


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of one panel.

    Parameters
    ----------
    scores : ndarray of shape (n_layers, n_poolings)
        NaN where there is no score.
    layers : list of int, float or tuple
    poolings : list of str
    metric : str
    best : tuple of int or None
        Row and column of the best score; None where there is none.
    candidates : ndarray of shape (n_layers, n_poolings) or None
        Of a search: which entry of ``cv_results_`` each cell is; -1 where there is none.
    """

    scores: np.ndarray
    layers: list
    poolings: list[str]
    metric: str
    best: tuple[int, int] | None
    candidates: np.ndarray | None = None


def read_search(search, metric, prefix, caller):
    """Read a fitted search.

    Parameters
    ----------
    search : GridSearchCV or one of its relatives
    metric : str, list of str or None
        Which of several metrics; None is all.
    prefix : str or None
        Which transformer, where several were searched.
    caller : str
        Who the error messages speak of.

    Yields
    ------
    parts : tuple of str
        The model, if models were searched; else empty.
    table : ScoreTable

    Raises
    ------
    NotFittedError
        For a search that is not fitted.
    ValueError
        When it was not over layers and poolings, or lacks the metric.
    """
    results = _results_of(search, caller)
    start = searched_prefix(results["params"], prefix, caller)
    for name, key in choose_metrics(search, metric, caller).items():
        panels = {}  # parts of the panel's name -> {cell: (layer, pooling, rank)}
        iterations = results.get("iter", np.zeros(len(results["params"]), dtype=int))
        for n, (params, score, iteration) in enumerate(
            zip(results["params"], results[key], iterations, strict=True)
        ):
            if f"{start}layer" not in params or f"{start}pooling" not in params:
                continue  # of a list of grids, one that searches something else
            model = params.get(f"{start}model")
            cells = panels.setdefault(() if model is None else (str(model),), {})
            layer, pooling = params[f"{start}layer"], params[f"{start}pooling"]
            found = layer, pooling, (int(iteration), float(score), n)
            cell = _key(layer), pooling
            cells[cell] = max(
                cells.get(cell, found), found, key=lambda one: _rank_order(one[2])
            )
        for parts, cells in panels.items():
            yield parts, table_of_cells(cells.values(), name)


def _results_of(search, caller):
    """The ``cv_results_`` of a fitted search; those of other tools differ, or lack it."""
    check_is_fitted(search)
    results = getattr(search, "cv_results_", {})
    if "params" not in results or not hasattr(search, "multimetric_"):
        raise ValueError(
            f"{caller} expects a search with the cv_results_ of scikit-learn's "
            f"GridSearchCV. Got {type(search).__name__} without them instead. Pass the "
            "scores to LayerPoolingDisplay.from_scores, as a dict of (layer, pooling)."
        )
    return results


def choice_tables(choice):
    """The ``choice_`` of a transformer, a table for each column.

    Parameters
    ----------
    choice : dict of str to list

    Returns
    -------
    dict of str to ScoreTable
        ``best`` is the cell that was chosen.
    """
    tables = {}
    rows = list(zip(*(choice[name] for name in CHOICE), strict=True))
    for column in dict.fromkeys(choice["column"]):
        its_rows = [row[1:] for row in rows if row[0] == column]
        table = table_of_cells(
            [(layer, pooling, (0, mean, -1)) for layer, pooling, mean, _ in its_rows],
            "share of variance",
        )
        (chosen,) = [row[:2] for row in its_rows if row[-1]]
        at = table.layers.index(_plain(chosen[0])), table.poolings.index(chosen[1])
        tables[str(column)] = replace(table, best=at)
    return tables


def searched_prefix(candidates, prefix, caller):
    """Find what stands before ``layer`` and ``pooling``: "" or "...__"."""
    names = {name for params in candidates for name in params}
    # In one candidate: of a list of grids, one may search layers and another poolings.
    both = {
        name
        for params in candidates
        for name in params
        if name.rpartition("__")[2] == "layer"
        and name.removesuffix("layer") + "pooling" in params
    }
    found = [name.removesuffix("layer").removesuffix("__") for name in sorted(both)]
    if not found:
        raise ValueError(
            f"{caller} expects a search over the 'layer' and the 'pooling' together "
            f"of an LLMEmbeddingTransformer. Got one over {sorted(names)} instead; see "
            "layer_pooling_grid."
        )
    chosen = choose_prefix(found, prefix, caller)
    return f"{chosen}__" if chosen else ""


def choose_metrics(search, metric, caller):
    """Names of the metrics to show, each with its key in ``cv_results_``."""
    if search.multimetric_:
        keys = [k for k in search.cv_results_ if k.startswith("mean_test_")]
        known = {key.removeprefix("mean_test_"): key for key in keys}
    else:
        known = {_metric_name(search.scoring): "mean_test_score"}
    chosen = list(known) if metric is None else metric
    chosen = [chosen] if isinstance(chosen, str) else list(chosen)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        expected = f"among {list(known)}, which the search scored"
        raise refused("metric", expected, metric, of=f"{caller}.from_search")
    return {name: known[name] for name in chosen}


def _metric_name(scoring):
    """Name of a single metric; "score" where it has none."""
    if isinstance(scoring, str):
        return scoring
    # A scorer of make_scorer has no name of its own, but its function does.
    function = getattr(scoring, "_score_func", scoring)
    sign = "neg_" if getattr(scoring, "_sign", 1) < 0 else ""
    return sign + getattr(function, "__name__", "score")


def panel_name(parts, metric):
    """Name of a panel: what tells it from others, and the metric."""
    return ", ".join([part for part in (*parts, metric) if part])


def drop_shared_metric(tables):
    """Shorten ``model, metric`` to ``model`` where all panels have one metric."""
    metrics = {table.metric for table in tables.values()}
    if len(metrics) > 1 or len(tables) == 1:
        return tables
    (metric,) = metrics
    return {name.removesuffix(f", {metric}"): t for name, t in tables.items()}


def table_of_cells(cells, metric, layers=None, poolings=None):
    """Table of (layer, pooling, rank), a rank being iteration, score and candidate."""
    cells = list(cells)
    if layers is None:
        distinct = {_key(layer): _plain(layer) for layer, _, _ in cells}
        layers = sorted(distinct.values(), key=_layer_order)
    if poolings is None:
        poolings = sorted({pooling for _, pooling, _ in cells}, key=_pooling_order)
    layers, poolings = [_plain(layer) for layer in layers], list(poolings)
    if not layers or not poolings:
        raise ValueError(
            f"LayerPoolingDisplay expects at least one layer and one pooling with a "
            f"{metric}. Got layers {layers} and poolings {poolings} instead."
        )
    nothing = (0, math.nan, -1)
    by_cell = {(_key(layer), pooling): rank for layer, pooling, rank in cells}
    ranks = {
        (i, j): by_cell.get((_key(layer), pooling), nothing)
        for i, layer in enumerate(layers)
        for j, pooling in enumerate(poolings)
    }
    shape = len(layers), len(poolings)
    scores = np.array([rank[1] for rank in ranks.values()], dtype=float).reshape(shape)
    candidates = np.array([rank[2] for rank in ranks.values()], dtype=int).reshape(
        shape
    )
    best = max(ranks, key=lambda at: _rank_order(ranks[at]))
    best = best if np.isfinite(scores[best]) else None
    return ScoreTable(scores, layers, poolings, metric, best, candidates)


def table_of_array(scores, metric, layers, poolings):
    """Table of an array of shape (n_layers, n_poolings)."""
    scores = np.asarray(scores, dtype=float)
    if scores.ndim == 2:
        if layers is None:
            layers = range(scores.shape[0])
        if poolings is None and scores.shape[1] == len(POOLINGS):
            poolings = list(POOLINGS)
    if poolings is None or scores.shape != (len(layers), len(poolings)):
        wanted = ["n_layers" if layers is None else len(layers)]
        wanted += ["n_poolings" if poolings is None else len(poolings)]
        raise ValueError(
            f"LayerPoolingDisplay expects scores of shape ({wanted[0]}, {wanted[1]}), "
            f"and 'poolings' with a name for each column. Got shape {scores.shape} "
            "instead."
        )
    cells = [
        (layers[i], poolings[j], (0, score, -1))
        for (i, j), score in np.ndenumerate(scores)
    ]
    return table_of_cells(cells, metric, layers, poolings)


def _rank_order(rank):
    """Sort key of ranks: a score that isn't there, as of a failed fit, is the worst."""
    iteration, score, _ = rank
    return (iteration, score) if math.isfinite(score) else (-1, -math.inf)


def _plain(layer):
    """Layer as int, float or tuple, so that lists and numpy numbers are keys too."""
    if isinstance(layer, (tuple, list)):
        return tuple(map(_plain, layer))
    return int(layer) if isinstance(layer, numbers.Integral) else float(layer)


def _key(layer):
    """What tells layers apart: 1 and 1.0, the first and the last, are equal otherwise."""
    return repr(_plain(layer))


def _layer_order(layer):
    """Sort key: counted from 0, relative depths, counted from the end, tuples."""
    if isinstance(layer, tuple):
        return 3, layer
    if isinstance(layer, float):
        return 1, (layer,)
    return 0 if layer >= 0 else 2, (layer,)


def _pooling_order(pooling):
    known = list(POOLINGS).index(pooling) if pooling in POOLINGS else math.inf
    return known, pooling


def layer_label(layer):
    """Write a layer short; a tuple as a sum, a long run by its ends.

    Examples
    --------
    >>> from sklearn_llm2vec._search.score_tables import layer_label
    >>> [layer_label(layer) for layer in (3, 0.5, 1.0, (2, 6), (3, 4, 5, 6))]
    ['3', '0.5', '1.0', '2+6', '3+...+6']
    """
    if not isinstance(layer, tuple):
        whole = isinstance(layer, float) and layer.is_integer()  # 1.0 is the last layer
        return f"{layer:.1f}" if whole else f"{layer:g}"
    run = all(b - a == 1 for a, b in pairwise(layer))
    if run and len(layer) > 2:
        return f"{layer[0]:g}+...+{layer[-1]:g}"
    return "+".join(map(layer_label, layer))
