"""Features of texts from any transformer, for tools that know nothing of scikit-learn."""

from collections.abc import Sized

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from sklearn_llm2vec.evaluation._features import (
    as_list,
    check_transformer,
    finite_vectors,
    learns,
    with_template,
)


def check_ready(transformer, caller):
    """Refuse anything that isn't a transformer or has to be fitted first.

    Raises
    ------
    TypeError, NotFittedError
    """
    check_transformer(transformer, caller)
    if learns(transformer):
        check_is_fitted(transformer)


def two_sides(transformer, query_template, document_template, caller):
    """The transformers of queries and of documents; without templates, the same one.

    Raises
    ------
    TypeError, ValueError, NotFittedError
    """
    check_ready(transformer, caller)
    return (
        with_template(transformer, query_template, caller),
        with_template(transformer, document_template, caller),
    )


def has_none(texts):
    """Whether this is an empty collection; a str isn't a collection of texts."""
    is_collection = isinstance(texts, Sized) and not isinstance(texts, str)
    return is_collection and getattr(texts, "shape", None) != () and not len(texts)


def features_of_texts(transformer, texts, caller):
    """One row for each text; an array of full width even if there are no texts.

    Parameters
    ----------
    transformer : estimator with `transform`
    texts : sequence of str
    caller : str
        The function that the error messages name.

    Returns
    -------
    float32 ndarray of shape (n_texts, n_features)

    Raises
    ------
    TypeError, ValueError
        If there isn't one text for each row, or if features aren't finite.
    """
    if has_none(texts):
        return features_of_texts(transformer, ["a"], caller)[:0]
    texts = as_list(texts, caller)
    rows = [kind for kind in set(map(type, texts)) if issubclass(kind, list | tuple)]
    if rows:  # a transformer would take them for rows of several columns
        raise TypeError(f"{caller} expects one text per row. Got a {rows[0].__name__}.")
    vectors = finite_vectors(transformer.transform(texts), caller)
    vectors = vectors.toarray() if issparse(vectors) else vectors
    return np.ascontiguousarray(vectors, np.float32)
