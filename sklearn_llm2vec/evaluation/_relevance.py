"""Queries, documents and which of them belong together: ids become row numbers.

What the user gives ``evaluate_retrieval`` is read and checked here.
"""

import math
import numbers
from collections.abc import Mapping

import narwhals as nw
import numpy as np

from sklearn_llm2vec._text.columns import read_native

CALLER = "evaluate_retrieval"
COLUMNS = ("query_id", "doc_id", "relevance")


def read_collection(collection, name, id_column):
    """Take ids and texts apart.

    Parameters
    ----------
    collection : mapping, Series of pandas, or frame
        From id to text; a Series has the ids as its index, a frame in `id_column`.
    name : str
        The parameter that the error messages speak of.
    id_column : str

    Returns
    -------
    ids : list
        No two of them are equal.
    X : list or frame
        What the transformer takes: a list, or of a frame with several columns beside the
        ids, the frame without them.

    Raises
    ------
    TypeError, ValueError
        For what has no ids, ids that come twice, and an empty collection.

    Examples
    --------
    >>> from sklearn_llm2vec.evaluation._relevance import read_collection
    >>> read_collection({"d1": "A text.", "d2": "Another."}, "documents", "doc_id")
    (['d1', 'd2'], ['A text.', 'Another.'])
    """
    ids, X = _take_apart(collection, name, id_column)
    if not ids:
        raise ValueError(f"The {name!r} parameter of {CALLER} must not be empty.")
    if len(set(ids)) < len(ids):
        seen = set()
        again = next(i for i in ids if i in seen or seen.add(i))
        raise ValueError(
            f"The {name!r} parameter of {CALLER} must have unique ids. Got {again!r} "
            f"twice; {len(ids) - len(set(ids))} of {len(ids)} are repeated."
        )
    return ids, X


def _take_apart(collection, name, id_column):
    if isinstance(collection, Mapping):
        return list(collection), list(collection.values())
    expected = (
        f"The {name!r} parameter of {CALLER} must be a mapping from id to text, a "
        "Series of pandas whose index contains the ids, or a frame with the column "
        f"{id_column!r}. "
    )
    native = nw.from_native(collection, allow_series=True, pass_through=True)
    if isinstance(native, nw.Series) and native.implementation.is_pandas_like():
        return collection.index.tolist(), native.to_list()
    if not isinstance(native, nw.DataFrame):
        raise TypeError(f"{expected}Got {type(collection).__name__} instead.")
    others = [column for column in native.columns if column != id_column]
    if len(others) == len(native.columns) or not others:
        raise ValueError(f"{expected}Got the columns {native.columns} instead.")
    ids = native[id_column].to_list()
    if len(others) == 1:
        return ids, native[others[0]].to_list()
    return ids, native.select(others).to_native()


def read_relevance(relevance, query_ids, doc_ids):
    """Judgments of each query: row numbers of documents, and their relevances.

    Parameters
    ----------
    relevance : frame, or mapping of mappings
        With the columns query_id, doc_id and relevance; or
        ``{query_id: {doc_id: relevance}}``.
    query_ids, doc_ids : list

    Returns
    -------
    dict of int to (int ndarray, float ndarray)
        By the query's row number, only of queries with a relevant document.

    Raises
    ------
    TypeError, ValueError
        For other input, ids that aren't in the lists, pairs judged twice, relevances
        that are no finite numbers, and if no document is relevant at all.

    Examples
    --------
    >>> from sklearn_llm2vec.evaluation._relevance import read_relevance
    >>> read_relevance({"q2": {"d1": 2, "d3": 0}}, ["q1", "q2"], ["d1", "d2", "d3"])
    {1: (array([0, 2]), array([2., 0.]))}
    """
    triples = _triples(relevance)
    queries = _rows_of(triples[0], query_ids, "queries")
    documents = _rows_of(triples[1], doc_ids, "documents")
    values = _check_values(triples[2])
    pairs = list(zip(queries, documents, strict=True))
    if len(set(pairs)) < len(pairs):
        raise ValueError(
            f"The 'relevance' parameter of {CALLER} must judge each pair of query and "
            f"document only once. {len(pairs) - len(set(pairs))} of {len(pairs)} rows "
            "repeat a pair."
        )
    by_query = {}
    for (query, document), value in zip(pairs, values, strict=True):
        by_query.setdefault(query, []).append((document, value))
    judged = {}
    for query in sorted(by_query):
        rows, gains = map(np.array, zip(*by_query[query], strict=True))
        if (gains > 0).any():
            judged[query] = (rows, gains)
    if not judged:
        raise ValueError(
            f"The 'relevance' parameter of {CALLER} must contain a relevant document, "
            f"that is, one whose relevance is above 0. Got none in {len(pairs)} "
            "judgments."
        )
    return judged


def _triples(relevance):
    """Three lists: ids of queries, ids of documents, relevances."""
    expected = (
        f"The 'relevance' parameter of {CALLER} must be a frame with the columns "
        "'query_id', 'doc_id' and 'relevance', or a mapping "
        "{query_id: {doc_id: relevance}}. "
    )
    if isinstance(relevance, Mapping):
        if not all(isinstance(judged, Mapping) for judged in relevance.values()):
            raise TypeError(f"{expected}Got a mapping to other values instead.")
        rows = [(q, d, v) for q, judged in relevance.items() for d, v in judged.items()]
        return tuple(zip(*rows, strict=True)) if rows else ((), (), ())
    native = read_native(relevance, CALLER) if hasattr(relevance, "columns") else None
    if not isinstance(native, nw.DataFrame):
        raise TypeError(f"{expected}Got {type(relevance).__name__} instead.")
    if not set(COLUMNS) <= set(native.columns):
        raise ValueError(f"{expected}Got the columns {native.columns} instead.")
    return tuple(native[column].to_list() for column in COLUMNS)


def _rows_of(ids, known, name):
    """Row numbers of ids; refuses those that aren't there."""
    row_of = {one: n for n, one in enumerate(known)}
    unknown = list(dict.fromkeys(one for one in ids if one not in row_of))
    if unknown:
        hint = ""
        if type(unknown[0]) is not type(known[0]):
            hint = (
                f" Ids of 'relevance' are {type(unknown[0]).__name__}, those of "
                f"{name!r} {type(known[0]).__name__}: make both the same."
            )
        shown = ", ".join(map(repr, unknown[:3])) + (", ..." if unknown[3:] else "")
        raise ValueError(
            f"The 'relevance' parameter of {CALLER} must contain only ids of "
            f"{name!r}. Got {len(unknown)} that aren't there: {shown}.{hint}"
        )
    return [row_of[one] for one in ids]


def _check_values(values):
    """Relevances as floats."""
    for value in values:
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError(
                f"The 'relevance' parameter of {CALLER} must contain finite numbers. "
                f"Got {value!r} as a relevance."
            )
    return [float(value) for value in values]
