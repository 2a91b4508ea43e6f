"""Row by row: matrix products whose bits don't depend on the other rows."""

import functools

import numpy as np


def row_products(vectors, matrix):
    """``vectors @ matrix``, a row at a time.

    In one product of all rows, a BLAS computes the rows at the edges of its tiles in
    another order than those inside: the last bits of a row then depend on its place and
    on how many rows there are, and on some CPUs on nothing less than that. A product of
    one row with the matrix has no such edges.

    Parameters
    ----------
    vectors : float32 ndarray of shape (n_rows, n_features)
    matrix : float32 ndarray of shape (n_features, width)

    Returns
    -------
    float32 ndarray of shape (n_rows, width)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec._common.rowwise import row_products
    >>> row_products(np.ones((3, 2), np.float32), np.ones((2, 1), np.float32)).ravel()
    array([2., 2., 2.], dtype=float32)
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    matrix = np.asarray(matrix, np.float32)
    # A sum is split by threads, of which another product may have taken some.
    with _controller().limit(limits=1, user_api="blas"):
        return np.matmul(vectors[:, None, :], matrix)[:, 0]  # (rows, width)


@functools.cache
def _controller():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def unit_length(vectors):
    """Rows scaled to length one; a zero row stays.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec._common.rowwise import unit_length
    >>> unit_length(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return vectors / np.where(length > 0, length, 1)
