"""Vectors that aren't finite numbers are refused, and never stored."""

import numpy as np

from sklearn_llm2vec._common.people import beginning


def refuse_not_finite(texts, cells, layers, pooling):
    """Raise when a vector that was asked for holds NaN or infinity.

    Parameters
    ----------
    texts : sequence of str, or of tuple of str
        One for each row of the vectors.
    cells : dict of (int, str) to ndarray of shape (n_texts, hidden)
    layers : tuple of int
    pooling : str

    Raises
    ------
    ValueError
    """
    for layer in layers:
        bad = ~np.isfinite(cells[layer, pooling]).all(1)  # (texts,)
        if bad.any():
            text = texts[int(np.argmax(bad))]
            raise ValueError(
                "Vectors must be finite numbers. Got NaN or infinity in layer "
                f"{layer} for {bad.sum()} of {len(texts)} texts, the first of which "
                f"begins with {beginning(text)!r}. With dtype='float16', the model's "
                "numbers are too large for the dtype: choose 'bfloat16' or "
                "'float32'. With another dtype, the weights are damaged."
            )


def finite_cells(cells):
    """Those cells of which all vectors are finite: what may be stored."""
    return {cell: v for cell, v in cells.items() if np.isfinite(v).all()}
