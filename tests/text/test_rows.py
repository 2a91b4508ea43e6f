"""Rows of a table as text: values of every kind, in every kind of frame."""

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sklearn_llm2vec._text.rows import read_rows
from sklearn_llm2vec._text.values import value_text

DAY = datetime.datetime(2024, 5, 1)
COLUMNS = {
    "name": ["a; b", "{x}", None],
    "price": [3.0, 0.1, None],
    "count": [1, 2, 3],
    "new": [True, False, None],
    "day": [DAY, DAY.replace(hour=9, minute=30), None],
}
LINES = [
    "name: a; b; price: 3; count: 1; new: True; day: 2024-05-01",
    "name: {x}; price: 0.1; count: 2; new: False; day: 2024-05-01 09:30:00",
    "count: 3",
]


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"]
)
def test_every_kind_of_value_in_every_kind_of_frame(make):
    rows = read_rows(make(COLUMNS))
    assert rows.unique == LINES
    assert rows.inverse.tolist() == [[0], [1], [2]]
    assert rows.names == tuple(COLUMNS)


def test_categories_periods_and_nullable_dtypes():
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical(["x", None]),
            "month": pd.PeriodIndex(["2024-05", "2024-06"], freq="M"),
            "n": pd.array([1, None], dtype="Int64"),
            "small": np.array([0.1, 1e-9], np.float32),
        }
    )
    assert read_rows(frame).unique == [
        "kind: x; month: 2024-05; n: 1; small: 0.1",
        "month: 2024-06; small: 1e-09",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.int8(-3), "-3"),
        (1e20, "1e+20"),
        (-2.0, "-2"),
        (np.float32(0.1), "0.1"),
        (float("inf"), "inf"),
        (np.True_, "True"),
        (decimal.Decimal("1.50"), "1.50"),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (np.datetime64("2024-05-01"), "2024-05-01"),
        (datetime.time(9, 30), "09:30:00"),
        (datetime.timedelta(days=2), "2 days, 0:00:00"),
        (pd.Timedelta("1 days 02:00:00.5"), "1 day, 2:00:00.500000"),
        (np.timedelta64(5, "D"), "5 days, 0:00:00"),
        (np.timedelta64(90_000_000_000, "ns"), "0:01:30"),
        (np.timedelta64(-1, "s"), "-1 day, 23:59:59"),
        (np.timedelta64(3, "M"), "3 months"),
        (np.timedelta64(10**12, "D"), "1000000000000 days"),
        (np.datetime64("2024-05-01T09:30:00.000000001"), "2024-05-01 09:30:00"),
        (np.datetime64("20000-01-01T10"), "20000-01-01 10"),
        (np.datetime64("20000-01-01T00:00:00"), "20000-01-01"),
        (pd.Timestamp(np.datetime64("20000-01-01", "s")), "20000-01-01"),
        (pd.Timestamp("2024-05-01", tz="UTC"), "2024-05-01 00:00:00+00:00"),
        (np.datetime64("400000"), "400000"),
        ([1], None),
        (b"a", None),
        ({}, None),
    ],
)
def test_values(value, text):
    assert value_text(value) == text


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_durations_in_every_kind_of_frame(make):
    frame = make({"wait": [datetime.timedelta(days=1, hours=2), None]})
    assert read_rows(frame).unique == ["wait: 1 day, 2:00:00"]


def test_empty_strings():
    frame = pd.DataFrame({"a": ["", "", None], "b": ["x", "", ""]})
    rows = read_rows(frame)
    assert rows.unique == ["b: x", ""]
    assert rows.inverse.ravel().tolist() == [0, 1, 1]


def test_equal_rows_are_one_text():
    frame = pd.DataFrame({"a": ["x", "y", "x"], "b": [1, 2, 1]})
    assert read_rows(frame).inverse.ravel().tolist() == [0, 1, 0]
    assert read_rows(frame, ["b"]).unique == [("1",), ("2",)]


@pytest.mark.parametrize("names", [None, ["a", "b"]])
def test_missing(names):
    frame = pd.DataFrame({"a": ["x", None, None], "b": [None, None, 2.0]})
    assert read_rows(frame, names).inverse.ravel().tolist() == [0, -1, 1]
    nothing = "" if names is None else ("", "")
    assert nothing in read_rows(frame, names, missing="empty").unique
    with pytest.raises(
        ValueError, match=r"1 row\(s\) without any value.*first is row 1"
    ):
        read_rows(frame, names, missing="error")


def test_single_missing_values_of_a_template_are_empty():
    frame = pd.DataFrame({"a": ["x", None], "b": [None, 2.0]})
    assert read_rows(frame, ["a", "b"]).unique == [("x", ""), ("", "2")]


def test_a_named_series_is_a_column():
    assert read_rows(pd.Series(["x"], name="a")).unique == ["a: x"]
    with pytest.raises(TypeError, match="columns have names"):
        read_rows(pd.Series(["x"]))


def test_what_no_text_can_stand_for():
    frame = pd.DataFrame({"a": ["x", "y"], "b": [{"k": 1}, [2]]})
    with pytest.raises(TypeError, match="row 0 of column 'b' holds.* type dict"):
        read_rows(frame)
    with pytest.raises(TypeError, match=r"columns have names.*named 0 \(int\). Give"):
        read_rows(pd.DataFrame([["x"]]))
    for name in (" text ", "text:>10", "text!r"):
        with pytest.raises(
            TypeError, match="columns have names.* Write '{text}', with"
        ):
            read_rows(["x"], [name])
    with pytest.raises(ValueError, match="0 sample"):
        read_rows(pd.DataFrame({"a": []}))
