"""Values: one value of a table is missing, or becomes the text that a reader would write.

A value alone decides how it looks, not its column.
"""

import datetime
import decimal
import numbers
import sys
import uuid

import numpy as np

# What str() writes as a reader would; pandas' Period and Interval too.
PLAIN_TYPES = (
    datetime.date,
    datetime.time,
    decimal.Decimal,
    uuid.UUID,
)
# Left out of a time that is a date.
MIDNIGHT = " 00:00:00"
# In each unit of numpy's durations that Python has, too.
MICROSECONDS = {
    "W": 604_800_000_000,
    "D": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1000,
    "us": 1,
}


def is_missing(value):
    """Whether the value is one of the many ways to say that there is none.

    Examples
    --------
    >>> from sklearn_llm2vec._text.values import is_missing
    >>> [is_missing(value) for value in (None, float("nan"), "", 0.0)]
    [True, True, False, False]
    """
    if value is None or value is np.ma.masked:
        return True
    if isinstance(value, (float, np.floating, np.datetime64, np.timedelta64)):
        return bool(value != value)  # only NaN and NaT differ from themselves
    # Where pandas was never imported, no value can be one of its markers.
    pandas = sys.modules.get("pandas")
    return pandas is not None and (value is pandas.NA or value is pandas.NaT)


def repair(text):
    r"""Text without surrogates: pairs are joined, lone ones become U+FFFD.

    Examples
    --------
    >>> from sklearn_llm2vec._text.values import repair
    >>> repair("\ud83d\ude00"), repair("a\ud800"), repair("café")
    ('😀', 'a�', 'café')
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def value_text(value):
    """One value as text; None for a type that has no plain one.

    Examples
    --------
    >>> import datetime
    >>> from sklearn_llm2vec._text.values import value_text
    >>> [value_text(v) for v in ("a", 3.0, 0.25, True, datetime.datetime(2024, 5, 1))]
    ['a', '3', '0.25', 'True', '2024-05-01']
    """
    if isinstance(value, str):
        return repair(str.__str__(value))
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, np.datetime64 | np.timedelta64):
        value = _plain_time(value)
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, float | np.floating):
        # A column of whole numbers becomes one of floats when a value is missing.
        whole = float(value).is_integer() and abs(value) < 1e15
        return str(int(value)) if whole else str(value)
    if isinstance(value, datetime.datetime):
        return str(value).removesuffix(MIDNIGHT)
    if isinstance(value, datetime.timedelta):
        return _duration_text(value)
    is_pandas = type(value).__name__ in ("Period", "Interval")
    return str(value) if is_pandas or isinstance(value, (str, *PLAIN_TYPES)) else None


def _duration_text(value):
    try:
        # Not by the value's own str: pandas writes its subclass in another way.
        return str(datetime.timedelta(value.days, value.seconds, value.microseconds))
    except OverflowError:  # pandas has longer ones
        return str(value)


def _plain_time(value):
    """A numpy date or duration as Python's; in numpy's words where Python has none."""
    if np.datetime_data(value.dtype)[0] in ("ns", "ps", "fs", "as"):
        value = value.astype(f"{value.dtype.kind}8[us]")
    plain = value.item()
    if isinstance(plain, datetime.date):
        return plain
    if isinstance(plain, datetime.timedelta) and _is_exactly(plain, value):
        return plain
    # The year 20000, or a duration in months, whose days nobody knows.
    return str(value).replace("T", " ").removesuffix(MIDNIGHT)


def _is_exactly(plain, value):
    """Whether a duration is numpy's: numpy 1 makes others of very long ones."""
    unit, step = np.datetime_data(value.dtype)
    count = int(value.astype(np.int64)) * step * MICROSECONDS[unit]
    seconds = plain.days * 86_400 + plain.seconds
    return count == seconds * 1_000_000 + plain.microseconds
