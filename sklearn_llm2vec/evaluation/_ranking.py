"""Ranked documents: exact search in blocks, and the measures of TREC.

Vectors or scores come in, numbers of documents in ranked order and the values of each
query come out.
"""

from collections import defaultdict

import numpy as np
from scipy.sparse import issparse

MOST_QUERIES = 256  # of a block
BLOCK_SCORES = 1 << 24  # of a block: 64 MB in float32
RECALL_AT = (10, 100)


def search_vectors(queries, documents, depth, *, block_scores=BLOCK_SCORES):
    """Rank documents by the dot product with each query, in blocks of matrix products.

    Parameters
    ----------
    queries : ndarray or CSR matrix of shape (n_queries, n_features)
    documents : ndarray or CSR matrix of shape (n_documents, n_features)
    depth : int
        Documents kept for each query.
    block_scores : int, default=2**24
        Most scores held at a time.

    Yields
    ------
    start : int
        The block's first query.
    ranked : int ndarray of shape (n_block, min(depth, n_documents))
        Row numbers of documents, the best first; those of equal score in their order.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec.evaluation._ranking import search_vectors
    >>> documents = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> for start, ranked in search_vectors(np.array([[2.0, 1.0]]), documents, 3):
    ...     print(start, ranked)
    0 [[0 2 1]]
    """
    n_queries, n_documents = queries.shape[0], documents.shape[0]
    width = max(1, min(n_documents, block_scores // min(n_queries, MOST_QUERIES)))
    for start in range(0, n_queries, MOST_QUERIES):
        block = queries[start : start + MOST_QUERIES]
        ranked = np.empty((block.shape[0], 0), np.intp)
        scores = np.empty((block.shape[0], 0), np.float32)
        for first in range(0, n_documents, width):
            found = _products(block, documents[first : first + width])
            rows = top_rows(found, depth)
            found = np.take_along_axis(found, rows, axis=1)
            # What was found before stands before it, so equal scores keep their order.
            scores = np.concatenate([scores, found], axis=1)
            ranked = np.concatenate([ranked, rows + first], axis=1)
            kept = top_rows(scores, depth)
            scores = np.take_along_axis(scores, kept, axis=1)
            ranked = np.take_along_axis(ranked, kept, axis=1)
        yield start, ranked


def _products(queries, documents):
    products = queries @ documents.T
    return products.toarray() if issparse(products) else np.asarray(products)


def search_scores(score, n_queries, n_documents, depth, *, block_scores=BLOCK_SCORES):
    """Rank documents by scores that a function gives for a block of queries.

    Parameters
    ----------
    score : callable
        From a slice of the queries to their scores, an array of shape
        (n_block, n_documents); minus infinity is a document that isn't found.
    n_queries, n_documents : int
    depth : int
        Documents kept for each query.
    block_scores : int, default=2**24
        Most scores held at a time, if a single query doesn't have more.

    Yields
    ------
    start : int
        The block's first query.
    ranked : int ndarray of shape (n_block, min(depth, n_documents))
        Row numbers of documents as in `search_vectors`; -1 behind the last one found.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec.evaluation._ranking import search_scores
    >>> scores = np.array([[0.5, -np.inf, 2.0]])
    >>> for start, ranked in search_scores(scores.__getitem__, 1, 3, 3):
    ...     print(start, ranked)
    0 [[ 2  0 -1]]
    """
    step = max(1, min(MOST_QUERIES, block_scores // n_documents))
    for start in range(0, n_queries, step):
        found = np.asarray(score(slice(start, min(start + step, n_queries))))
        ranked = top_rows(found, depth)
        lost = np.take_along_axis(found, ranked, axis=1) == -np.inf
        yield start, np.where(lost, -1, ranked)


def top_rows(scores, depth):
    """Columns of the highest scores of each row, the best first.

    Of equal scores the first column comes first, also where only some of them fit.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_columns)
        Without NaN.
    depth : int
        At least 1.

    Returns
    -------
    int ndarray of shape (n_rows, min(depth, n_columns))

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec.evaluation._ranking import top_rows
    >>> top_rows(np.array([[1.0, 3.0, 1.0, 2.0]]), 3)
    array([[1, 3, 0]])
    """
    n_columns = scores.shape[1]
    if depth >= n_columns:
        return np.argsort(-scores, axis=1, kind="stable")
    top = np.empty((len(scores), depth), np.intp)
    for n, row in enumerate(scores):
        # A partial sort of the scores alone: one of the columns would choose among equal
        # scores as it likes.
        least = np.partition(row, n_columns - depth)[n_columns - depth]
        above = np.flatnonzero(row > least)
        equal = np.flatnonzero(row == least)[: depth - len(above)]
        columns = np.concatenate([above, equal])
        top[n] = columns[np.argsort(-row[columns], kind="stable")]
    return top


# ---------------------------------------------------------------------------------
# Measures


def measure(blocks, judged, n_documents, k):
    """Each measure's values, query by query in their order.

    Parameters
    ----------
    blocks : iterable of (int, int ndarray)
        As `search_vectors` and `search_scores` yield them.
    judged : list of (int ndarray, float ndarray)
        For each query documents and their relevances.
    n_documents : int
    k : int
        Documents that nDCG looks at.

    Returns
    -------
    dict of str to float ndarray of shape (n_queries,)
    """
    values = defaultdict(list)
    relevance = np.zeros(n_documents)
    for start, ranked in blocks:
        for n, row in enumerate(ranked):
            documents, gains = judged[start + n]
            relevance[documents] = gains
            of_ranked = np.where(row >= 0, relevance[row], 0.0)
            relevance[documents] = 0
            wanted = gains[gains > 0]
            values[f"ndcg_at_{k}"].append(ndcg(of_ranked, wanted, k))
            values["map"].append(average_precision(of_ranked, wanted))
            for cut in RECALL_AT:
                values[f"recall_at_{cut}"].append(recall(of_ranked, wanted, cut))
    return {name: np.array(each) for name, each in values.items()}


# ---------------------------------------------------------------------------------
# Measures of one query, as trec_eval defines them


def ndcg(gains, judged, k):
    """Normalized discounted cumulative gain of the first k documents.

    Gains are the relevances themselves, discounted by log2(1 + rank), over those of the
    best order that is possible (trec_eval's ``ndcg_cut``).

    Parameters
    ----------
    gains : ndarray of shape (n_ranked,)
        Relevance of the documents in ranked order; 0 without a judgment.
    judged : ndarray
        All relevances above 0 of the query; one at least.
    k : int

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec.evaluation._ranking import ndcg
    >>> round(ndcg(np.array([1, 0, 2]), np.array([2, 1]), 10), 4)
    0.7602
    """
    return float(_discounted(gains, k) / _discounted(np.sort(judged)[::-1], k))


def _discounted(gains, k):
    gains = np.maximum(gains[:k], 0)
    return (gains / np.log2(np.arange(2, len(gains) + 2))).sum()


def average_precision(gains, judged):
    """Mean over all relevant documents of the precision at their ranks (``map``).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec.evaluation._ranking import average_precision
    >>> average_precision(np.array([1, 0, 1]), np.array([1, 1, 1]))  # (1 + 2/3) / 3
    0.5555555555555555
    """
    ranks = np.flatnonzero(gains > 0) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).sum() / len(judged))


def recall(gains, judged, k):
    """Share of all relevant documents that is among the first k (``recall``).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec.evaluation._ranking import recall
    >>> recall(np.array([1, 0, 1]), np.array([1, 1, 1, 1]), 2)
    0.25
    """
    return float((gains[:k] > 0).sum() / len(judged))
