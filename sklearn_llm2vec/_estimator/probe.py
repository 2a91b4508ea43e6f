"""Linear probes: how well features predict a target, row by row.

Knows no texts and no models: features and targets in, errors out.
"""

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

# Strengths of the ridge penalty that are tried, per row.
PENALTIES = (0.01, 0.1, 1.0, 10.0)
# Whole numbers with more distinct values aren't classes: for integers a share of the
# rows, where scikit-learn warns; few people write classes as floats.
MOST_CLASSES = {"i": 0.5, "u": 0.5, "f": 0.1}


def probe_targets(y):
    """Columns of numbers that stand for a target: one for each class or number.

    Parameters
    ----------
    y : array-like of shape (n_rows,) or (n_rows, n_targets)
        Classes or numbers, as `type_of_target` of scikit-learn tells them apart; but
        whole numbers with many distinct values aren't classes.

    Returns
    -------
    float32 ndarray of shape (n_rows, n_columns)
        Centred. Numbers have unit variance, so that all targets count the same.

    Raises
    ------
    ValueError
        For missing values, or a target that scikit-learn doesn't know.

    Examples
    --------
    >>> from sklearn_llm2vec._estimator.probe import probe_targets
    >>> probe_targets(["a", "b", "c", "a"]).round(2).tolist()[0]
    [0.5, -0.25, -0.25]
    """
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y)
    if any(value is None or value != value for value in y.ravel()):
        raise ValueError("Input y contains NaN or None, where a target is needed.")
    kind = type_of_target(y, input_name="y", raise_unknown=True)
    columns = y.reshape(len(y), -1).T
    if kind == "multilabel-indicator":
        return _centred(y)
    if kind.startswith("continuous"):
        return np.hstack([_numbers(column) for column in columns])
    return np.hstack([_classes_or_numbers(column) for column in columns])


def _classes_or_numbers(column):
    """One column for each class, or one of numbers."""
    share = MOST_CLASSES.get(column.dtype.kind, 1)
    if len(np.unique(column)) > share * len(column):
        return _numbers(column)
    indicators = LabelBinarizer().fit_transform(column)
    if indicators.shape[1] == 1:
        indicators = np.hstack([1 - indicators, indicators])
    return _centred(indicators)


def _numbers(column):
    """One column, of unit variance."""
    numbers = _centred(column[:, None])
    return numbers / (numbers.std() or 1)


def _centred(values):
    values = np.asarray(values, np.float64)
    return (values - values.mean(axis=0)).astype(np.float32)


def leave_one_out_errors(features, targets):
    """Squared error of each row under a ridge regression that didn't see the row.

    Parameters
    ----------
    features : float32 ndarray of shape (n_rows, n_features)
    targets : float32 ndarray of shape (n_rows, n_columns)
        Centred.

    Returns
    -------
    float64 ndarray of shape (n_rows,)
        Summed over columns, with the penalty of the lowest sum.

    Notes
    -----
    Features are standardised. With the hat matrix ``H`` of a linear fit, the error that a
    row has when it is left out is its residual divided by ``1 - H_ii`` (Allen, 1974;
    "The Elements of Statistical Learning", eq. 7.64), so one eigendecomposition gives the
    errors of all rows and penalties.
    """
    n_rows, n_features = features.shape
    centred = features - features.mean(axis=0)
    spread = centred.std(axis=0)
    scaled = centred / np.where(spread > 0, spread, 1)
    if n_features < n_rows:
        squares, directions = np.linalg.eigh(scaled.T @ scaled)
        left = scaled @ directions  # (rows, features), squared lengths `squares`
        shrunk = [1 / (np.maximum(squares, 0) + p * n_rows) for p in PENALTIES]
    else:
        squares, left = np.linalg.eigh(scaled @ scaled.T)  # (rows, rows)
        squares = np.maximum(squares, 0)
        shrunk = [squares / (squares + p * n_rows) for p in PENALTIES]
    seen = left.T @ targets  # (features, columns)
    errors = []
    for factors in shrunk:
        residuals = targets - left @ (factors[:, None] * seen)
        leverage = left**2 @ factors + 1 / n_rows  # the mean is fitted too
        residuals /= np.maximum(1 - leverage, 1e-6)[:, None]
        errors.append((residuals.astype(np.float64) ** 2).sum(axis=1))
    return min(errors, key=np.sum)
