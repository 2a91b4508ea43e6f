"""Features in half the bytes: float16, for files."""

import numpy as np

MOST = float(np.finfo(np.float16).max)


def as_float16(features, caller):
    """Features as float16, with about three decimal digits.

    Parameters
    ----------
    features : float ndarray of shape (n_rows, n_features)
    caller : str
        The function that the error message names.

    Returns
    -------
    float16 ndarray of the same shape

    Raises
    ------
    ValueError
        For finite values that would become infinite.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec._common.halves import as_float16
    >>> as_float16(np.array([[0.1, 65504.0]]), "transform_to_npy").tolist()
    [[0.0999755859375, 65504.0]]
    """
    with np.errstate(over="ignore"):  # looked for here, and said with its place
        halves = features.astype(np.float16)
    lost = np.isinf(halves) & np.isfinite(features)
    if lost.any():
        row, column = np.argwhere(lost)[0]
        raise ValueError(
            f"{caller} expects features from {-MOST:.0f} to {MOST:.0f} with float16. Got "
            f"{features[row, column]:.6g}: write float32, or scale the features, for "
            "example with normalize=True."
        )
    return halves
