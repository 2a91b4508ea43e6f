"""What the tasks refuse: classes, scores and counts that can't be measured with."""

import numpy as np

from sklearn_llm2vec._common.checks import is_integer, refused
from sklearn_llm2vec._common.extras import not_installed


def import_pandas(caller):
    """pandas; raise with the pip line when it is absent."""
    try:
        import pandas
    except ImportError as error:
        raise not_installed(caller, "pandas", "evaluation") from error
    return pandas


def check_classes(y, n_rows, part, caller):
    """Classes as an array with one entry for each row.

    Parameters
    ----------
    y : array-like
    n_rows : int
    part : str
        What the error messages put behind "X" and "y", such as "_train".
    caller : str
    """
    name, X_name = f"y{part}", f"X{part}"
    if y is None or isinstance(y, (str, bytes)):
        expected = "an array-like of classes"
        raise refused(name, expected, y, of=caller, error=TypeError)
    # As objects: among strings numpy would make NaN the word "nan".
    missing = import_pandas(caller).isna(np.asarray(y, dtype=object)).ravel()
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.ravel()
    if y.ndim != 1:
        raise ValueError(
            f"The {name!r} parameter of {caller} must have one class per row. Got an "
            f"array of shape {y.shape} instead."
        )
    if len(y) != n_rows:
        raise ValueError(
            f"{caller} expects {X_name!r} and {name!r} of the same length. Got "
            f"{n_rows} and {len(y)}."
        )
    if missing.any():
        raise ValueError(
            f"The {name!r} parameter of {caller} must have a class for every row. "
            f"{missing.sum()} are missing, the first in row {missing.argmax()}."
        )
    return y


def check_two_classes(y, part, caller):
    """Number of classes; raise unless there are two or more."""
    n_classes = len(np.unique(y))
    if n_classes < 2:
        raise ValueError(
            f"{caller} expects at least two classes in 'y{part}'. Got {y[0]!r} only."
        )
    return n_classes


def check_scores(scores, caller):
    """Similarities as an array of floats that aren't all the same."""
    try:
        scores = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"The 'scores' parameter of {caller} must be an array-like of numbers. "
            f"Got {type(scores).__name__} instead."
        ) from error
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError(
            f"The 'scores' parameter of {caller} must contain one finite number per "
            f"pair. Got an array of shape {scores.shape} with "
            f"{(~np.isfinite(scores)).sum()} that aren't finite."
        )
    if len(np.unique(scores)) < 2:
        raise ValueError(
            f"The 'scores' parameter of {caller} must contain at least two different "
            f"numbers, because otherwise no correlation is defined. Got {len(scores)} "
            "scores."
        )
    return scores


def check_count(name, value, least, caller):
    """Raise unless a parameter is a whole number of at least `least`."""
    if not is_integer(value, least=least):
        raise refused(name, f"an int of at least {least}", value, of=caller)
