"""Windows: the pooled vectors of a long text's windows become those of the whole text.

The result is what pooling the states of all windows together would give: it follows from
each window's pooled vector and its number of counted tokens.
"""

import numpy as np

# What a window must be pooled by, so that the whole text can be: the weighted mean needs
# the windows' sums too.
NEEDED = {"weighted_mean": ("weighted_mean", "mean")}


def join_windows(pooled, n_counted, pooling):
    """Pool all windows of a text together.

    Parameters
    ----------
    pooled : dict of str to float32 ndarray of shape (n_windows, hidden)
        Vectors of the windows in order, for each pooling that is ``NEEDED``.
    n_counted : array-like of int, shape (n_windows,)
        Tokens that count in each window.
    pooling : str

    Returns
    -------
    float32 ndarray of shape (hidden,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec._encode.windows import join_windows
    >>> windows = {"mean": np.array([[1.0], [4.0]], np.float32)}
    >>> join_windows(windows, [2, 1], "mean")
    array([2.], dtype=float32)
    """
    vectors = pooled[pooling]
    if len(vectors) == 1 or pooling == "first":
        return vectors[0]
    if pooling == "last":
        return vectors[-1]
    if pooling == "max":
        return vectors.max(0)
    # In float64: few numbers, and the order of the sum then doesn't show.
    n = np.asarray(n_counted, np.float64)[:, None]  # (windows, 1)
    if pooling == "mean":
        return ((n * vectors).sum(0) / n.sum()).astype(np.float32)
    # Token j of a window has the weight before + j: its sum is that of the window's own
    # weights 1, 2, ..., n plus `before` times the sum of its states.
    before = np.cumsum(n, 0) - n
    total = n.sum()
    own = n * (n + 1) / 2 * vectors
    moved = before * n * pooled["mean"]
    return ((own + moved).sum(0) / (total * (total + 1) / 2)).astype(np.float32)
