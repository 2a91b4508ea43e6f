"""Row by row: matrix products whose bits don't depend on how many rows there are.

A BLAS picks its kernels by the shape of the whole product. Always giving it the same
shape makes a row's result the same in any company.
"""

import numpy as np

ROWS = 256


def row_by_row(function, vectors, width):
    """Apply a function to blocks of rows of one fixed shape.

    Parameters
    ----------
    function : callable
        Takes a float32 array of shape (256, n_features), returns (256, width).
    vectors : float32 ndarray of shape (n_rows, n_features)
    width : int

    Returns
    -------
    float32 ndarray of shape (n_rows, width)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec._common.rowwise import row_by_row
    >>> row_by_row(lambda block: block @ np.ones((2, 1)), np.ones((3, 2)), 1).ravel()
    array([2., 2., 2.], dtype=float32)
    """
    out = np.empty((len(vectors), width), np.float32)
    block = np.zeros((ROWS, vectors.shape[1]), np.float32)
    for start in range(0, len(vectors), ROWS):
        n_rows = min(ROWS, len(vectors) - start)
        block[:n_rows] = vectors[start : start + n_rows]
        out[start : start + n_rows] = function(block)[:n_rows]
    return out


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
