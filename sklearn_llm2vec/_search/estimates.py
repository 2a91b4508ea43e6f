"""What a search promises on new rows: intervals of scores over folds."""

from typing import NamedTuple

import numpy as np

LEVEL = 0.95


class Estimate(NamedTuple):
    """A mean over folds with the ends of its interval."""

    mean: float
    low: float
    high: float


def estimate(scores):
    """The mean of the folds' scores and its 95 % interval.

    Parameters
    ----------
    scores : array-like of shape (n_folds,)

    Returns
    -------
    Estimate

    Notes
    -----
    Student's t interval takes the folds as independent. Their training parts overlap, so
    it is somewhat too short (Bengio and Grandvalet, 2004).

    Examples
    --------
    >>> from sklearn_llm2vec._search.estimates import estimate
    >>> [round(end, 3) for end in estimate([0.7, 0.8, 0.9])]
    [0.8, 0.552, 1.048]
    """
    from scipy.stats import t  # late: the command line's help does without

    scores = np.asarray(scores, float)
    mean = float(scores.mean())
    if len(scores) < 2:
        return Estimate(mean, float("nan"), float("nan"))
    error = scores.std(ddof=1) / np.sqrt(len(scores))
    width = float(t.ppf((1 + LEVEL) / 2, len(scores) - 1) * error)
    return Estimate(mean, mean - width, mean + width)
