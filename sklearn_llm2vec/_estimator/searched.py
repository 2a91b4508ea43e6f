"""How a candidate of a search knows what the other candidates will ask for.

A search of scikit-learn sets parameters and calls `fit`, and tells an estimator nothing
else. So the grid's values of `pooling` carry the cells of the whole search with them.
They equal plain strings and look like them in ``best_params_`` and in tables. A pickle of
the estimator has plain strings in their place.
"""

from sklearn_llm2vec._common.public import public_in


@public_in("sklearn_llm2vec")
class SearchedPooling(str):
    """A pooling in a grid.

    Parameters
    ----------
    pooling : str
    cells : "all" or tuple of (layers, poolings)
        What the first candidate has to store for all others, as `keep` names it.

    Examples
    --------
    >>> from sklearn_llm2vec._estimator.searched import SearchedPooling
    >>> pooling = SearchedPooling("mean", ((3, 6), ("mean", "last")))
    >>> pooling, pooling == "mean", pooling.cells
    ('mean', True, ((3, 6), ('mean', 'last')))
    """

    def __new__(cls, pooling, cells):
        self = super().__new__(cls, pooling)
        self.cells = cells
        return self

    def __getnewargs__(self):
        # For the workers of n_jobs.
        return str(self), self.cells


def cells_of_search(estimator):
    """What the candidates of a search ask for; None for a plain `pooling`.

    Parameters
    ----------
    estimator : LLMEmbeddingTransformer

    Returns
    -------
    "all" or tuple of (layers, poolings), or None
    """
    return getattr(estimator.pooling, "cells", None)


def has_ended(report):
    """Whether the search is over for an estimator that was fitted with this report.

    In the refit each text has been in a fold before, so all are in the cache. What comes
    afterwards are new rows, of which only its own cell is kept. Where folds grow, as with
    `TimeSeriesSplit`, later folds look the same, and their new rows cost one more pass.

    Parameters
    ----------
    report : Report
        Of `fit_transform`.
    """
    return report.cached == report.unique
