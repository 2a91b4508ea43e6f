"""From vectors of distinct texts to rows of features: PCA, missing values, length."""

import sys

import numpy as np
import sklearn
from sklearn.decomposition import PCA

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._common.rowwise import row_products, unit_length

# Of scikit-learn: whether the index of a Series isn't lost.
NEWER = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)


def fit_pca(params, vectors, rows):
    """The PCA of one column.

    Parameters
    ----------
    params : SimpleNamespace
    vectors : float32 ndarray of shape (n_unique, width)
    rows : ndarray of int, shape (n_rows,)
        Which vector each row has; -1 where the text is missing.

    Returns
    -------
    PCA
    """
    present, n = rows[rows >= 0], params.n_components
    if len(present) < n or vectors.shape[1] < n:
        expected = (
            f"at most the number of texts in a column ({len(present)}) and of features "
            f"({vectors.shape[1]})"
        )
        raise refused("n_components", expected, n)
    return PCA(n, random_state=params.random_state).fit(vectors[present])


def rows_of_features(params, vectors, inverse, pcas):
    """Features of each row.

    Parameters
    ----------
    params : SimpleNamespace
    vectors : float32 ndarray of shape (n_unique, width)
    inverse : ndarray of int, shape (n_rows, n_blocks)
        Which vector each row has in each block; -1 where the text is missing.
    pcas : list of PCA or None
        One for each block.

    Returns
    -------
    float32 ndarray of shape (n_rows, n_blocks * n_features)
    """
    n_rows, n_blocks = inverse.shape
    if pcas is None and not params.normalize and n_blocks == 1:
        if np.array_equal(inverse[:, 0], np.arange(len(vectors))):
            return vectors  # nothing repeated or missing: no second copy
    width = vectors.shape[1] if pcas is None else pcas[0].n_components_
    out = np.empty((n_rows, n_blocks * width), np.float32)
    for n, rows in enumerate(inverse.T):
        block = vectors if pcas is None else _project(pcas[n], vectors)
        if params.normalize:
            block = unit_length(block)
        part = out[:, n * width : (n + 1) * width]
        if len(block):
            np.take(block, rows, axis=0, out=part, mode="wrap")
        part[rows < 0] = np.nan if params.missing == "nan" else 0.0
    return out


def features_per_block(estimator, source):
    """Features of one text column as `transform` gives them."""
    if estimator.n_components is not None:
        return estimator.pca_[0].n_components_
    return source.width


def keep_index(estimator, X, features):
    """The features as a pandas frame with the index of X, where that would be lost.

    With ``set_output("pandas")`` scikit-learn takes over the index of X; before version
    1.7.1 not that of a Series.
    """
    pandas = sys.modules.get("pandas")
    if NEWER or pandas is None or not isinstance(X, pandas.Series):
        return features
    from sklearn.utils._set_output import _get_output_config

    if _get_output_config("transform", estimator)["dense"] != "pandas":
        return features
    return pandas.DataFrame(features, index=X.index)


def _project(pca, vectors):
    if not len(vectors):
        return np.zeros((0, pca.n_components_), np.float32)
    return row_products(vectors - pca.mean_, pca.components_.T)
