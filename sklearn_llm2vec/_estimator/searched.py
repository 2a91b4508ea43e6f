"""How a candidate of a search knows what the other candidates will ask for.

A search of scikit-learn sets parameters and calls `fit`, and tells an estimator nothing
else. So the grid's values of `pooling` carry the cells of the whole search with them.
They equal plain strings, and nothing else of them is seen in ``best_params_``, in tables
and in pickles.
"""


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
    """What a pass has to store for the other candidates; None outside a search.

    A search has ended for an estimator whose `fit` found all of its texts in the cache:
    in the refit each one has been in a training fold. What it transforms afterward are
    new rows, of which only its own cell is kept.

    Parameters
    ----------
    estimator : LLMEmbeddingTransformer

    Returns
    -------
    "all" or tuple of (layers, poolings), or None
    """
    if getattr(estimator, "_knew_its_texts", False):
        return None
    return getattr(estimator.pooling, "cells", None)
