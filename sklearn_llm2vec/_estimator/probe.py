"""Linear probes: how well features predict a target, row by row.

Knows no texts and no models: features and targets in, errors out.
"""

from typing import NamedTuple

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

# Strengths of the ridge penalty that are tried, per row.
PENALTIES = (0.01, 0.1, 1.0, 10.0)
# Whole numbers with more distinct values aren't classes: for integers a share of the
# rows, where scikit-learn warns; few people write classes as floats.
MOST_CLASSES = {"i": 0.5, "u": 0.5, "f": 0.1}


class Target(NamedTuple):
    """Columns of numbers that stand for a target.

    Attributes
    ----------
    columns : float32 ndarray of shape (n_rows, n_columns)
        One for each class or number, centered. Numbers have unit variance, so that all
        targets count the same.
    means : ndarray of shape (n_columns,)
        What was taken away.
    one_of_classes : bool
        Whether the columns are the classes of one target.
    """

    columns: np.ndarray
    means: np.ndarray
    one_of_classes: bool

    def take(self, rows):
        """The same of some rows."""
        return self._replace(columns=self.columns[rows])


def probe_target(y):
    """Columns of numbers that stand for a target: one for each class or number.

    Parameters
    ----------
    y : array-like of shape (n_rows,) or (n_rows, n_targets)
        Classes or numbers, as `type_of_target` of scikit-learn tells them apart; but
        whole numbers with many distinct values aren't classes.

    Returns
    -------
    Target

    Raises
    ------
    ValueError
        For missing values, or a target that scikit-learn doesn't know.

    Examples
    --------
    >>> from sklearn_llm2vec._estimator.probe import probe_target
    >>> probe_target(["a", "b", "c", "a"]).columns.round(2).tolist()[0]
    [0.5, -0.25, -0.25]
    """
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y)
    if y.dtype.kind in "fO" and any(map(_is_missing, y.ravel())):
        raise ValueError(
            "Input y contains NaN, None or another missing value. Drop these rows."
        )
    kind = type_of_target(y, input_name="y", raise_unknown=True)
    if kind == "multilabel-indicator":
        values, classes = y.astype(float), False
    else:
        parts = [
            _numbers(column) if kind.startswith("continuous") else _values(column)
            for column in y.reshape(len(y), -1).T
        ]
        values = np.hstack(parts)
        classes = len(parts) == 1 and values.shape[1] > 1
    means = values.mean(axis=0)
    return Target((values - means).astype(np.float32), means, classes)


def _is_missing(value):
    """Whether it is None, a NaN or the NA of pandas, which can't be compared."""
    return value is None or type(value).__name__ == "NAType" or value != value


def _values(column):
    """One column for each class, or one of numbers."""
    share = MOST_CLASSES.get(column.dtype.kind, 1)
    if len(np.unique(column)) > share * len(column):
        return _numbers(column)
    indicators = LabelBinarizer().fit_transform(column)
    if indicators.shape[1] == 1:
        indicators = np.hstack([1 - indicators, indicators])
    return indicators.astype(float)


def _numbers(column):
    """One column, of unit variance."""
    numbers = column[:, None].astype(float)
    return numbers / (numbers.std() or 1)


def leave_one_out(features, target):
    """How a ridge regression predicts each row that it didn't see.

    Parameters
    ----------
    features : float32 ndarray of shape (n_rows, n_features)
    target : Target

    Returns
    -------
    errors : float64 ndarray of shape (n_rows,)
        Squared, summed over columns, with the penalty of the lowest sum.
    hits : int or None
        Rows whose class has the highest prediction; None where the target isn't a class.

    Notes
    -----
    Features are standardized. With the hat matrix ``H`` of a linear fit, the error that a
    row has when it is left out is its residual divided by ``1 - H_ii`` (Allen, 1974;
    "The Elements of Statistical Learning", eq. 7.64), so one eigendecomposition gives the
    errors of all rows and penalties.
    """
    n_rows, n_features = features.shape
    centered = features - features.mean(axis=0)
    spread = centered.std(axis=0)
    scaled = centered / np.where(spread > 0, spread, 1)
    if n_features < n_rows:
        squares, directions = np.linalg.eigh(scaled.T @ scaled)
        left = scaled @ directions  # (rows, features), squared lengths `squares`
        shrunk = [1 / (np.maximum(squares, 0) + p * n_rows) for p in PENALTIES]
    else:
        squares, left = np.linalg.eigh(scaled @ scaled.T)  # (rows, rows)
        squares = np.maximum(squares, 0)
        shrunk = [squares / (squares + p * n_rows) for p in PENALTIES]
    seen = left.T @ target.columns  # (features, columns)
    found = []
    for factors in shrunk:
        residuals = target.columns - left @ (factors[:, None] * seen)
        leverage = left**2 @ factors + 1 / n_rows  # the mean is fitted too
        residuals /= np.maximum(1 - leverage, 1e-6)[:, None]
        found.append(((residuals.astype(np.float64) ** 2).sum(axis=1), residuals))
    errors, residuals = min(found, key=lambda one: one[0].sum())
    if not target.one_of_classes:
        return errors, None
    predicted = target.columns - residuals + target.means
    return errors, int((predicted.argmax(1) == target.columns.argmax(1)).sum())
