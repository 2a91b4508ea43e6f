"""From vectors of distinct texts to rows of features: PCA, missing values, length."""

import sys

import numpy as np
import sklearn
from sklearn.decomposition import PCA

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._common.rowwise import row_products, unit_length

# Of scikit-learn: whether the index of a Series isn't lost.
NEWER = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)


def check_n_components(params, columns, width):
    """Refuse more components than texts or features, before anything is encoded.

    Parameters
    ----------
    params : SimpleNamespace
    columns : TextColumns
    width : int
        Features of a vector.
    """
    if params.n_components is None:
        return
    for rows in columns.inverse.T:
        n_texts = int(np.count_nonzero(rows >= 0))
        if min(n_texts, width) < params.n_components:
            expected = (
                f"at most the number of texts in a column ({n_texts}) and of features "
                f"({width})"
            )
            raise refused("n_components", expected, params.n_components)


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

    Notes
    -----
    With ``missing="zero"``, the zeros are rows like all others, as in a pipeline of the
    transformer and a PCA. Zeros that are written after the PCA would be the vector of an
    average text, which a linear model can't distinguish from a text.
    """
    pca = PCA(params.n_components, random_state=params.random_state)
    if params.missing != "zero":
        return pca.fit(vectors[rows[rows >= 0]])
    filled = vectors[rows]  # (rows, width)
    filled[rows < 0] = 0
    return pca.fit(filled)


def rows_of_features(params, blocks, pcas):
    """Features of each row.

    Parameters
    ----------
    params : SimpleNamespace
    blocks : list of tuple
        For each block of features the vectors of distinct texts, float32 of shape
        (n_unique, width), and which of them each row has, shape (n_rows,); -1 where the
        text is missing.
    pcas : list of PCA or None
        One for each block.

    Returns
    -------
    float32 ndarray of shape (n_rows, n_features)
        The blocks beside each other.
    """
    if pcas is None and not params.normalize and len(blocks) == 1:
        vectors, rows = blocks[0]
        if np.array_equal(rows, np.arange(len(vectors))):
            return vectors  # nothing repeated or missing: no second copy
    pcas = [None] * len(blocks) if pcas is None else pcas
    widths = [
        vectors.shape[1] if pca is None else pca.n_components_
        for (vectors, _), pca in zip(blocks, pcas, strict=True)
    ]
    out = np.empty((len(blocks[0][1]), sum(widths)), np.float32)
    parts = np.split(out, np.cumsum(widths)[:-1], axis=1)  # views
    for (vectors, rows), pca, part in zip(blocks, pcas, parts, strict=True):
        block = _finish(params, pca, vectors)
        if len(block):
            np.take(block, rows, axis=0, out=part, mode="wrap")
        if params.missing == "nan":
            part[rows < 0] = np.nan
        elif (rows < 0).any():
            zero = np.zeros((1, vectors.shape[1]), np.float32)
            part[rows < 0] = _finish(params, pca, zero)
    return out


def block_widths(estimator, sources):
    """Features of each block as `transform` gives them.

    Parameters
    ----------
    estimator : LLMEmbeddingTransformer
    sources : list of Source
        One for each block.

    Returns
    -------
    list of int
    """
    if estimator.n_components is not None:
        return [pca.n_components_ for pca in estimator.pca_]
    return [source.width for source in sources]


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


def _finish(params, pca, vectors):
    """Features of vectors: through the PCA and of unit length, where asked for."""
    block = vectors if pca is None else _project(pca, vectors)
    return unit_length(block) if params.normalize else block


def _project(pca, vectors):
    if not len(vectors):
        return np.zeros((0, pca.n_components_), np.float32)
    return row_products(vectors - pca.mean_, pca.components_.T)
