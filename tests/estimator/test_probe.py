"""The linear probes that compare layers: against scikit-learn, row by row."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

from sklearn_llm2vec._estimator import probe
from sklearn_llm2vec._estimator.probe import leave_one_out, probe_target


@pytest.mark.parametrize("n_features", [5, 40])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_errors_are_those_of_models_that_did_not_see_the_row(
    n_features, penalty, monkeypatch
):
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, size=(20, n_features)).astype(np.float32)
    target = probe_target(rng.normal(size=(20, 2)))
    monkeypatch.setattr(probe, "PENALTIES", (penalty,))
    # The scale of the features is that of all rows, as in the function.
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    ridge = Ridge(alpha=penalty * 20)
    predicted = cross_val_predict(ridge, scaled, target.columns, cv=LeaveOneOut())
    expected = ((target.columns - predicted) ** 2).sum(axis=1)
    found, hits = leave_one_out(features, target)
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert hits is None


def test_rows_that_are_classified_right_are_counted(monkeypatch):
    rng = np.random.default_rng(0)
    y = np.array(["a"] * 30 + ["b"] * 15 + ["c"] * 5)  # of unequal size
    features = rng.normal(size=(50, 4)).astype(np.float32)
    features[:, 0] += y == "b"
    monkeypatch.setattr(probe, "PENALTIES", (0.1,))
    target = probe_target(y)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    ridge = Ridge(alpha=0.1 * 50)
    predicted = cross_val_predict(
        ridge, scaled, target.columns + target.means, cv=LeaveOneOut()
    )
    right = np.array(["a", "b", "c"])[predicted.argmax(axis=1)] == y
    assert leave_one_out(features, target)[1] == right.sum()


def test_the_penalty_with_the_lowest_error_is_taken(monkeypatch):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 8)).astype(np.float32)
    target = probe_target(rng.normal(size=30))
    one_each = []
    for penalty in (0.01, 10.0):
        monkeypatch.setattr(probe, "PENALTIES", (penalty,))
        one_each.append(leave_one_out(features, target)[0].sum())
    monkeypatch.setattr(probe, "PENALTIES", (0.01, 10.0))
    assert leave_one_out(features, target)[0].sum() == min(one_each)


def test_constant_features_are_no_numbers_short_of_finite():
    target = probe_target([0, 1, 0, 1])
    errors, _ = leave_one_out(np.ones((4, 3), np.float32), target)
    assert np.isfinite(errors).all()


@pytest.mark.parametrize(
    ("y", "shape"),
    [
        (["a", "b", "a", "c"], (4, 3)),  # classes
        ([True, False, True, True], (4, 2)),
        ([0, 1, 1, 0], (4, 2)),
        ([7, 8, 9, 7], (4, 1)),  # integers, most of them distinct: numbers
        ([0.5, 1.5, 2.5, 9.0], (4, 1)),
        ([0.0, 1.0] * 20, (40, 2)),
        ([float(i // 2) for i in range(40)], (40, 1)),  # prices
        ([[0.5], [1.5], [2.5], [9.0]], (4, 1)),
        ([[0.5, 1], [1.5, 2], [2.5, 3], [9.0, 4]], (4, 2)),
        ([[0, 1], [1, 1], [1, 0], [0, 0]], (4, 2)),  # labels
        ([["a", "x"], ["b", "y"], ["c", "x"], ["a", "y"]], (4, 5)),
    ],
)
def test_targets_of_every_kind_are_centred_columns(y, shape):
    target = probe_target(y)
    assert target.columns.shape == shape
    np.testing.assert_allclose(target.columns.mean(axis=0), 0, atol=1e-6)


def test_each_number_counts_the_same():
    target = probe_target([[1.0, 1000.0], [2.0, 3000.0], [4.0, 2000.0]])
    np.testing.assert_allclose(target.columns.std(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "y",
    [
        [0.5, np.nan, 1.5],
        np.array(["a", np.nan], object),
        ["a", None, "b"],
        pd.Series([1, None, 2], dtype="Int64"),
    ],
)
def test_missing_targets_are_refused(y):
    with pytest.raises(ValueError, match="y contains NaN"):
        probe_target(y)
