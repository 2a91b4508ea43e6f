"""The candidates of a search: which one a report is about, and what each one builds."""

from sklearn.base import clone

from sklearn_llm2vec._estimator.transformer import LLMEmbeddingTransformer

CALLER = "LayerPoolingReport"


def chosen_candidate(search, tables, notes):
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
        "The search itself chose a candidate that isn't on this page: "
        + ", ".join(short_params(search.cv_results_["params"][theirs]))
    )
    return chosen


def transformer_of(search, params, start):
    """The transformer of a candidate, not fitted."""
    estimator = build_candidate(search, params)
    found = estimator.get_params()[start.removesuffix("__")] if start else estimator
    if not isinstance(found, LLMEmbeddingTransformer):
        raise ValueError(
            f"{CALLER} expects a search over the 'layer' and the 'pooling' of an "
            f"LLMEmbeddingTransformer. Got one over those of a {type(found).__name__} "
            "instead."
        )
    return found


def build_candidate(search, params):
    """The estimator of a candidate, not fitted."""
    return clone(search.estimator).set_params(**clone(params, safe=False))


def short_params(params):
    """Parameters as ``C=0.1``, each cut to a length that fits a hint."""
    written = []
    for name, value in params.items():
        text = " ".join(repr(value).split())
        text = text if len(text) <= 60 else text[:59] + "…"
        written.append(f"{name.rpartition('__')[2]}={text}")
    return written
