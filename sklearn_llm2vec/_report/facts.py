"""What a report of a search says, as names and numbers.

Reads a fitted search, the configuration of its models and the counters of its cache.
"""

import math
import warnings
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor

import sklearn_llm2vec
from sklearn_llm2vec._estimator.parameters import resolve_layer
from sklearn_llm2vec._estimator.transformer import LLMEmbeddingTransformer
from sklearn_llm2vec._estimator.vectors import open_cache
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._report.code import SourceWriter
from sklearn_llm2vec._search.score_tables import (
    choose_metrics,
    drop_shared_metric,
    layer_label,
    panel_name,
    read_search,
    searched_prefix,
)

CALLER = "LayerPoolingReport"
MOST_SPACES = 12
# What a space in the cache doesn't depend on.
OUTSIDE_SPACE = ("layer", "pooling", "keep", "n_components", "normalize", "missing")


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
        ``info()`` of the cache, with the names of the search's spaces.
    notes : list of str
        What the reader must know about the rest.
    version, day : str
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
    notes: list = field(default_factory=list)


def read_facts(search, metric, prefix):
    """Read a fitted search into `Facts`.

    Parameters
    ----------
    search : GridSearchCV or one of its relatives
    metric : str, list of str or None
    prefix : str or None
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
    chosen = _chosen_candidate(search, [table for _, table in tables], notes)
    tables.sort(key=lambda pair: _rank_of_panel(pair[1], first, chosen))
    names = drop_shared_metric({panel_name(p, t.metric): t for p, t in tables})
    panels = [
        _read_panel(search, start, name, table, chosen, notes)
        for name, table in names.items()
    ]
    best = search.cv_results_["params"][chosen]
    code, blanks = _code(search, best, start, first)
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
        cache=_read_cache(search, start, notes),
        version=sklearn_llm2vec.__version__,
        day=date.today().isoformat(),
        notes=list(dict.fromkeys(notes)),
    )


# --- the best candidate --------------------------------------------------------------


def _chosen_candidate(search, tables, notes):
    """Which entry of ``cv_results_`` the report is about."""
    first = [t for t in tables if t.metric == tables[0].metric]
    bests = [t for t in first if t.best is not None]
    if not bests:
        raise ValueError(
            f"{CALLER} expects a search with at least one score of "
            f"{tables[0].metric!r}. Got one in which all are NaN: the fits failed, or "
            "the scorer did."
        )
    highest = max(bests, key=lambda t: t.scores[t.best])
    chosen = int(highest.candidates[highest.best])
    theirs = getattr(search, "best_index_", None)
    by_this_metric = not search.multimetric_ or search.refit == tables[0].metric
    if theirs is None or not (by_this_metric or callable(search.refit)):
        return chosen
    if any(theirs in table.candidates for table in first):
        return int(theirs)
    notes.append(
        "The search itself chose a candidate that is no cell of this page: "
        + ", ".join(_named(search.cv_results_["params"][theirs]))
    )
    return chosen


def _rank_of_panel(table, metric, chosen):
    """Sort key: the panel of the best candidate first, the others as they were."""
    return table.metric != metric, chosen not in table.candidates


def _transformer(search, params, start):
    """The transformer of a candidate, not fitted."""
    estimator = _candidate(search, params)
    found = estimator.get_params()[start.removesuffix("__")] if start else estimator
    if not isinstance(found, LLMEmbeddingTransformer):
        raise ValueError(
            f"{CALLER} expects a search over the 'layer' and the 'pooling' of an "
            f"LLMEmbeddingTransformer. Got one over those of a {type(found).__name__} "
            "instead."
        )
    return found


def _candidate(search, params):
    return clone(search.estimator).set_params(**clone(params, safe=False))


# --- panels --------------------------------------------------------------------------


def _read_panel(search, start, name, table, chosen, notes):
    results = search.cv_results_
    key = choose_metrics(search, [table.metric], CALLER)[table.metric]
    shown = table.candidates[table.candidates >= 0]
    transformer = _transformer(search, results["params"][shown[0]], start)
    n_layers = _count_layers(transformer, notes)
    best = table.best
    if chosen in table.candidates:
        best = tuple(map(int, np.argwhere(table.candidates == chosen)[0]))
    skipped = [f"{start}{p}" for p in ("layer", "pooling", "keep", "model")]
    others = [
        ""
        if n < 0
        else ", ".join(
            _named({k: v for k, v in results["params"][n].items() if k not in skipped})
        )
        for n in table.candidates.ravel()
    ]
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
    if transformer.endpoint is not None:  # `model` is the server's name for it
        return None
    try:
        return read_model(
            transformer.model,
            revision=transformer.revision,
            trust_remote_code=transformer.trust_remote_code,
        ).n_layers
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


def _named(params):
    """Parameters as ``C=0.1``, each cut to a length that fits a hint."""
    written = []
    for name, value in params.items():
        text = " ".join(repr(value).split())
        text = text if len(text) <= 60 else text[:59] + "…"
        written.append(f"{name.rpartition('__')[2]}={text}")
    return written


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


def _code(search, params, start, metric):
    """Python that builds the best candidate and scores it; names to fill in."""
    # `keep` says what else a pass stores: a search needs it, one candidate doesn't.
    params = {name: value for name, value in params.items() if name != f"{start}keep"}
    writer = SourceWriter()
    lines = [writer.assignment("model", _candidate(search, params))]
    if not hasattr(search, "n_resources_"):  # a halving scores on parts of the rows
        lines += [
            _scoring_code(writer, search, metric),
            'print(f"{scores.mean():.3f} ± {scores.std():.3f}")',
        ]
    lines = ["# X, y: the rows of the search", *lines, "model.fit(X, y)"]
    return "\n".join([writer.head(), "", *lines, ""]), list(writer.blanks)


def _scoring_code(writer, search, metric):
    """Python that scores ``model`` on the folds of the search."""
    rows, values, scoring = ["model", "X", "y"], {}, search.scoring
    if _wants_groups(search.cv):
        name = writer.blank("groups", "the groups of the rows")
        rows.append(f"groups={name}")
    if search.cv is None or isinstance(search.cv, int) or hasattr(search.cv, "split"):
        values["cv"] = search.n_splits_ if search.cv is None else search.cv
    else:
        what = "the splits of the search: pairs of training and test rows"
        rows.append(f"cv={writer.blank('cv', what)}")
    function, item = "cross_val_score", ""
    if search.multimetric_ and callable(scoring):  # it alone gives all the metrics
        function, item = "cross_validate", f"[{f'test_{metric}'!r}]"
    elif search.multimetric_:
        scoring = scoring[metric] if isinstance(scoring, dict) else metric
    if scoring is not None:
        values["scoring"] = scoring
    writer.use("sklearn.model_selection", function)
    return writer.call("scores = ", function, rows, values) + item


def _wants_groups(cv):
    """Whether a splitter of scikit-learn, such as GroupKFold, asks for groups."""
    if not hasattr(cv, "get_metadata_routing"):
        return False
    requests = cv.get_metadata_routing()
    return getattr(requests, "split", None) is not None and bool(
        requests.split.requests.get("groups")
    )


# --- the cache -----------------------------------------------------------------------


def _read_cache(search, start, notes):
    """What the cache says of itself, and the spaces in it that the search used."""
    cache, names = None, {}
    for params in _distinct_spaces(search.cv_results_["params"], start):
        transformer = _transformer(search, params, start)
        if transformer.adapt is not None:
            notes.append(
                "Adapted models have a space for each fold in the cache; these are in "
                "its sums, and not listed."
            )
            continue
        if transformer.endpoint is not None:
            # Its spaces have names that the server would have to be asked for.
            cache = open_cache(transformer.cache) or cache
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                source = transformer._source()
        except (ValueError, OSError, ImportError):
            continue  # a candidate whose fit failed, or a model that isn't here
        if source.cache is None:
            continue
        cache = source.cache
        settings = {
            k.removeprefix(start): v
            for k, v in params.items()
            if k.startswith(start) and k.removeprefix(start) not in OUTSIDE_SPACE
        }
        settings = {"model": str(transformer.model), **settings}
        names[source.spec.fingerprint] = ", ".join(
            [settings.pop("model"), *_named(settings)]
        )
    if cache is None:
        return None
    info = cache.info()
    spaces = [
        {**space, "name": names[space["fingerprint"]]}
        for space in info["spaces"]
        if space["fingerprint"] in names
    ]
    return {**info, "spaces": spaces, "n_spaces": len(info["spaces"])}


def _distinct_spaces(candidates, start):
    """Candidates that differ in what a space depends on, the first ones."""
    found = {}
    for params in candidates:
        about = [
            (name, repr(value))
            for name, value in sorted(params.items())
            if name.startswith(start) and name.removeprefix(start) not in OUTSIDE_SPACE
        ]
        found.setdefault(tuple(about), params)
    return list(found.values())[:MOST_SPACES]


def _kind_of(search):
    """Name of the search's class; of scikit-learn's, where it derives from one."""
    kinds = [kind for kind in type(search).__mro__ if kind.__module__[:8] == "sklearn."]
    return (kinds or [type(search)])[0].__name__
