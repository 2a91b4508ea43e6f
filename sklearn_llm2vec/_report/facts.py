"""What a report of a search says, as names and numbers.

Reads a fitted search, the configuration of its models and the counters of its cache.
"""

import math
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from sklearn.base import is_classifier, is_regressor

import sklearn_llm2vec
from sklearn_llm2vec._estimator.resolve import resolve_layer
from sklearn_llm2vec._estimator.source import count_layers
from sklearn_llm2vec._report.cache_facts import read_cache
from sklearn_llm2vec._report.candidate_code import candidate_code
from sklearn_llm2vec._report.candidates import (
    CALLER,
    chosen_candidate,
    short_params,
    transformer_of,
)
from sklearn_llm2vec._search.estimates import estimate
from sklearn_llm2vec._search.score_tables import (
    choose_metrics,
    drop_shared_metric,
    layer_label,
    panel_name,
    read_search,
    searched_prefix,
)


@dataclass(frozen=True, eq=False)
class Panel:
    """One heat map: a model and a metric.

    Parameters
    ----------
    name : str
        What tells it from the other panels.
    model, metric : str
    n_layers : int or None
        Of the model; None where its configuration can't be read.
    layers, poolings : list of str
        Names of the rows and columns.
    layer_values : list of int, float or tuple
        The layers as they were searched.
    depths : list of int or None
        Deepest hidden state that each layer needs.
    single : list of bool
        Whether each is one hidden state, not the mean of several.
    scores, stds, fit_seconds : ndarray of shape (n_layers, n_poolings)
        Mean and standard deviation over the folds; NaN where there is none.
    others : list of list of str
        The other parameters that each cell's candidate has, as ``C=0.1``.
    best : tuple of int or None
    """

    name: str
    model: str
    metric: str
    n_layers: int | None
    layers: list[str]
    poolings: list[str]
    layer_values: list
    depths: list
    single: list
    scores: np.ndarray
    stds: np.ndarray
    fit_seconds: np.ndarray
    others: list
    best: tuple | None

    def cheapest_as_good(self, n_splits):
        """Cell of the lowest layer within a standard error of the best; None if unknown.

        The folds' standard error is a rough yardstick: training parts overlap.
        """
        if self.best is None or None in self.depths or n_splits < 2:
            return None
        error = self.stds[self.best] / math.sqrt(n_splits - 1)
        good = np.argwhere(self.scores >= self.scores[self.best] - error)
        if not len(good):
            return None
        first = min(good, key=lambda at: (self.depths[at[0]], -self.scores[tuple(at)]))
        return tuple(map(int, first))


@dataclass(frozen=True, eq=False)
class Facts:
    """All that a report says.

    Parameters
    ----------
    panels : list of Panel
        That of the best candidate first.
    search, task, cv : str
    n_splits, n_candidates : int
    refit_seconds : float or None
    code : str
        Python that builds the best candidate.
    blanks : list of str
        Names in the code that the reader fills in.
    cache : dict or None
        ``spaces``: what the search has in the cache, as `EmbeddingCache.info` tells it.
    version, day : str
    comparisons : dict of str to Estimate
        What the best candidate is compared with.
    notes : list of str
        What the reader must know about the rest.
    """

    panels: list
    search: str
    task: str
    cv: str
    n_splits: int
    n_candidates: int
    refit_seconds: float | None
    code: str
    blanks: list
    cache: dict | None
    version: str
    day: str
    comparisons: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)


def read_facts(search, metric, prefix, comparisons=None):
    """Read a fitted search into `Facts`.

    Parameters
    ----------
    search : GridSearchCV or one of its relatives
    metric : str, list of str or None
    prefix : str or None
    comparisons : dict of str to array-like or None, default=None
        As in `LayerPoolingReport.from_search`.

    Returns
    -------
    Facts

    Raises
    ------
    NotFittedError, ValueError
        As `LayerPoolingReport.from_search`.
    """
    tables = list(read_search(search, metric, prefix, CALLER))
    refit = search.refit if search.multimetric_ else None
    tables.sort(key=lambda pair: pair[1].metric != refit)
    first = tables[0][1].metric
    start = searched_prefix(search.cv_results_["params"], prefix, CALLER)
    notes = []
    chosen = chosen_candidate(search, [table for _, table in tables], notes)
    tables.sort(key=lambda pair: _rank_of_panel(pair[1], first, chosen))
    names = drop_shared_metric({panel_name(p, t.metric): t for p, t in tables})
    panels = [
        _read_panel(search, start, name, table, chosen, notes)
        for name, table in names.items()
    ]
    best = search.cv_results_["params"][chosen]
    code, blanks = candidate_code(search, best, start, first)
    return Facts(
        panels=panels,
        search=_kind_of(search),
        task=_task(search),
        cv=_name_of_splitter(search.cv),
        n_splits=search.n_splits_,
        n_candidates=len(search.cv_results_["params"]),
        refit_seconds=getattr(search, "refit_time_", None),
        code=code,
        blanks=blanks,
        cache=read_cache(search, start, notes),
        comparisons={name: estimate(one) for name, one in (comparisons or {}).items()},
        version=sklearn_llm2vec.__version__,
        day=date.today().isoformat(),
        notes=list(dict.fromkeys(notes)),
    )


def _rank_of_panel(table, metric, chosen):
    """Sort key: the panel of the best candidate first, the others as they were."""
    return table.metric != metric, chosen not in table.candidates


# --- panels --------------------------------------------------------------------------


def _read_panel(search, start, name, table, chosen, notes):
    results = search.cv_results_
    key = choose_metrics(search, [table.metric], CALLER)[table.metric]
    shown = table.candidates[table.candidates >= 0]
    transformer = transformer_of(search, results["params"][shown[0]], start)
    n_layers = _count_layers(transformer, notes)
    best = table.best
    if chosen in table.candidates:
        best = tuple(map(int, np.argwhere(table.candidates == chosen)[0]))
    skipped = [f"{start}{p}" for p in ("layer", "pooling", "keep", "model")]
    others = []
    for n in table.candidates.ravel():
        params = results["params"][n] if n >= 0 else {}
        kept = {name: value for name, value in params.items() if name not in skipped}
        others.append(", ".join(short_params(kept)))
    width = len(table.poolings)
    return Panel(
        name=name,
        model=str(transformer.model),
        metric=table.metric,
        n_layers=n_layers,
        layers=[layer_label(layer) for layer in table.layers],
        poolings=list(map(str, table.poolings)),
        layer_values=table.layers,
        depths=[_depth(layer, n_layers) for layer in table.layers],
        single=[not isinstance(layer, tuple) for layer in table.layers],
        scores=table.scores,
        stds=_at(results["std" + key.removeprefix("mean")], table.candidates),
        fit_seconds=_at(results["mean_fit_time"], table.candidates),
        others=[others[i : i + width] for i in range(0, len(others), width)],
        best=best,
    )


def _at(values, candidates):
    """Values of the candidates; NaN for those that aren't there."""
    return np.where(
        candidates >= 0, np.asarray(values, dtype=float)[candidates], np.nan
    )


def _count_layers(transformer, notes):
    try:
        return count_layers(transformer)
    except (ValueError, OSError):
        notes.append(
            f"The configuration of {str(transformer.model)!r} couldn't be read here, so "
            "what its layers cost isn't known."
        )
        return None


def _depth(layer, n_layers):
    """Deepest hidden state that a `layer` needs; None where that can't be said."""
    try:
        resolved = None if n_layers is None else resolve_layer(layer, n_layers)
    except ValueError:  # a candidate whose fit failed
        return None
    return max(resolved) if isinstance(resolved, tuple) else resolved


# --- the search ----------------------------------------------------------------------


def _task(search):
    best = getattr(search, "best_estimator_", None)
    classes = getattr(best, "classes_", None)
    if is_classifier(search.estimator):
        known = classes is not None and isinstance(classes, np.ndarray)
        return f"classification, {len(classes)} classes" if known else "classification"
    return "regression" if is_regressor(search.estimator) else "other"


def _name_of_splitter(cv):
    """What was asked for as `cv`, short; empty for a number, which n_splits_ tells."""
    if cv is None or isinstance(cv, int):
        return ""
    if not hasattr(cv, "split"):
        return "given splits"
    text = " ".join(repr(cv).split())
    return text if len(text) <= 80 else type(cv).__name__


def _kind_of(search):
    """Name of the search's class; of scikit-learn's, where it derives from one."""
    kinds = [kind for kind in type(search).__mro__ if kind.__module__[:8] == "sklearn."]
    return (kinds or [type(search)])[0].__name__
