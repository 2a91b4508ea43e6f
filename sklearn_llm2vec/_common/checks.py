"""Checks of values, sentences of errors, and warnings at the user's line."""

import numbers
import sys
import warnings

import numpy as np


def is_integer(value, least=None):
    """Whether a value is a whole number of at least `least`; booleans aren't.

    Examples
    --------
    >>> from sklearn_llm2vec._common.checks import is_integer
    >>> is_integer(3, least=1), is_integer(0, least=1), is_integer(True), is_integer(2.0)
    (True, False, False, False)
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool | np.bool_):
        return False
    return least is None or value >= least


def is_number(value):
    """Whether a value is a real number; booleans aren't."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def is_flag(value):
    """Whether a value is True or False, of Python or of numpy."""
    return isinstance(value, bool | np.bool_)


def among(names):
    """The allowed values as an error message lists them.

    Examples
    --------
    >>> from sklearn_llm2vec._common.checks import among
    >>> among(["mean", True])
    "among {'mean', True}"
    """
    return "among {" + ", ".join(map(repr, names)) + "}"


def refused(
    name,
    expected,
    got,
    advice="",
    *,
    of="LLMEmbeddingTransformer",
    error=ValueError,
):
    """The error for a parameter that can't have its value, in scikit-learn's words.

    Parameters
    ----------
    name : str
        Of the parameter.
    expected : str
        What it must be; follows "must be".
    got : object
        The value, shown by its ``repr``.
    advice : str, default=""
        Whole sentences that say what to do.
    of : str, default="LLMEmbeddingTransformer"
        The class or function that has the parameter.
    error : type, default=ValueError
        The class of the error; TypeError for a value of the wrong type.

    Returns
    -------
    ValueError or TypeError
        For the caller to raise.

    Examples
    --------
    >>> from sklearn_llm2vec._common.checks import refused
    >>> print(refused("pooling", "among {'mean', 'max'}", "avg"))
    The 'pooling' parameter of LLMEmbeddingTransformer must be among {'mean', 'max'}. \
Got 'avg' instead.
    """
    sentence = (
        f"The {name!r} parameter of {of} must be {expected}. Got {got!r} instead."
    )
    return error(f"{sentence} {advice}".rstrip())


def warn(message, category=UserWarning):
    """Warn at the line of the user's code that called this package or scikit-learn.

    Python shows a warning once for each line that it points to. All calls of a user who
    is warned inside a library share one line, and would see the first warning only.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_library(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_library(frame):
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    # joblib runs scikit-learn's calls of `fit`; contextlib's frames lie between ours.
    return package in ("sklearn_llm2vec", "sklearn", "joblib", "contextlib")
