"""Reading the input: columns of any kind become plain texts, each distinct one once.

Lists, arrays, Series and frames of any library come in; what goes out is the distinct
texts, and for every row and column which of them it holds. Duplicates are dropped here
and only here.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import narwhals as nw
import numpy as np
from scipy.sparse import issparse

MISSING = ("zero", "nan", "empty", "error")

# Object says nothing of its values, and a column of a Null dtype is Unknown: the
# values of these are looked at one by one.
TEXT_DTYPES = (nw.String, nw.Categorical, nw.Enum, nw.Object, nw.Unknown)


@dataclass(frozen=True, eq=False)
class TextColumns:
    """Texts of one or more columns, each distinct one once.

    Parameters
    ----------
    names : tuple of str or None
        One per column; None where the input has no name.
    unique : list of str
        Distinct texts over all columns, in order of first appearance, read column by
        column.
    inverse : ndarray of shape (rows, columns), dtype intp
        Index into `unique`; -1 where the text is missing.
    named : bool
        The input was a frame whose column names are all strings.
    """

    names: tuple[str | None, ...]
    unique: list[str]
    inverse: np.ndarray
    named: bool


@dataclass(frozen=True, eq=False)
class _Column:
    """One column as it came: its name, how errors call it, and its values."""

    name: str | None
    label: str
    values: Sequence


def read_texts(X, *, missing="zero", estimator_name="LLMEmbeddingTransformer"):
    """Read one or more columns of text.

    Parameters
    ----------
    X : list, array, Series or frame of str
        One column (a list, a 1-D array, a Series) or several (a frame of pandas,
        polars, pyarrow or any library narwhals reads, a 2-D array, a list of rows).
    missing : {"zero", "nan", "empty", "error"}, default="zero"
        What becomes of None, NaN, NaT, NA, null and masked values: "empty" makes them
        the empty string, "error" refuses them, the others leave -1 in `inverse`.
    estimator_name : str, default="LLMEmbeddingTransformer"
        Who the error messages speak of.

    Returns
    -------
    TextColumns
        The distinct texts and where they stand. Lone surrogates, which no tokenizer
        takes, are repaired; all other characters stay as they are.

    Raises
    ------
    TypeError
        For values or columns that are not text.
    ValueError
        For a bare string, an empty input or a wrong shape, and for missing values
        with ``missing="error"``.

    Examples
    --------
    >>> from sklearn_llm2vec._text.columns import read_texts
    >>> texts = read_texts([["good", "bad"], ["bad", None]])
    >>> texts.unique
    ['good', 'bad']
    >>> texts.inverse.tolist()
    [[0, 1], [1, -1]]
    """
    if missing not in MISSING:
        raise ValueError(
            f"The 'missing' parameter of {estimator_name} must be a str among "
            f"{set(MISSING)}. Got {missing!r} instead."
        )
    columns, named = _read_columns(X, estimator_name)
    fill = "" if missing == "empty" else None
    index = {}  # text -> its place in `unique`; a dict keeps the order of insertion
    inverse = np.empty((len(columns[0].values), len(columns)), dtype=np.intp)
    for j, column in enumerate(columns):
        texts = _plain_texts(column, fill, estimator_name)
        inverse[:, j] = [
            -1 if text is None else index.setdefault(text, len(index)) for text in texts
        ]
    if missing == "error":
        _refuse_missing(inverse, columns, estimator_name)
    return TextColumns(tuple(c.name for c in columns), list(index), inverse, named)


def _refuse_missing(inverse, columns, estimator_name):
    """Raise if a text is missing, with the count and the first place."""
    places = np.argwhere(inverse < 0)
    if len(places):
        row, j = places[0]
        raise ValueError(
            f"{estimator_name} got {len(places)} missing text(s), the first in row "
            f"{row} of {columns[j].label}, and missing='error' refuses them. Fill or "
            "drop them, or choose missing='zero', 'nan' or 'empty'."
        )


# ---------------------------------------------------------------------------------
# From any input to columns


def _read_columns(X, estimator_name):
    """Take X apart: a list of `_Column`, and whether all have names."""
    native = read_native(X, estimator_name)
    if isinstance(native, nw.DataFrame):
        return _frame_columns(native, estimator_name)
    if isinstance(native, nw.Series):
        _check_shape(native.shape, estimator_name)
        # polars and pyarrow call a nameless Series the empty string.
        name = native.name if isinstance(native.name, str) and native.name else None
        label = f"column {name!r}" if name else "the input"
        return [_series_column(native, name, label, estimator_name)], False
    if isinstance(X, np.ndarray):
        return _array_columns(X, estimator_name), False
    if isinstance(X, Sequence):
        return _sequence_columns(X, estimator_name), False
    if hasattr(X, "__array__"):  # pandas and pyarrow arrays, an Index, a tensor
        return _array_columns(np.asarray(X), estimator_name), False
    raise TypeError(_expected_texts(estimator_name, type(X).__name__))


def split_pairs(X, estimator_name="LLMEmbeddingTransformer"):
    """Take a frame of pairs apart: its texts, and what belongs to them.

    Parameters
    ----------
    X : any input
        A frame of pairs has the columns "text" and "positive", perhaps "negative", and
        no others.
    estimator_name : str, default="LLMEmbeddingTransformer"

    Returns
    -------
    texts : any input
        The column "text" as a frame; `X` itself where it is no frame of pairs.
    pairs : tuple of (list, list or None) or None
        Positives and negatives, None where one is missing.
    """
    native = read_native(X, estimator_name)
    if not isinstance(native, nw.DataFrame) or set(native.columns) - {"negative"} != {
        "text",
        "positive",
    }:
        return X, None
    sides = []
    for name in ("positive", "negative"):
        if name in native.columns:
            read = read_texts(native.select(name).to_native())
            unique = [*read.unique, None]
            sides.append([unique[i] for i in read.inverse[:, 0]])
        else:
            sides.append(None)
    return native.select("text").to_native(), tuple(sides)


def read_native(X, estimator_name):
    """X as a narwhals frame or Series where it is one, else as it came.

    Raises
    ------
    TypeError, ValueError
        For what is no collection of texts, and for a lazy frame.
    """
    _refuse_what_is_no_collection(X, estimator_name)
    try:
        native = nw.from_native(X, allow_series=True, pass_through=True)
    except nw.exceptions.DuplicateError as e:
        raise ValueError(
            f"{estimator_name} expects unique column names, so that its features have "
            f"unique names too. {e}"
        ) from e
    if isinstance(native, nw.LazyFrame):
        raise TypeError(
            f"{estimator_name} expects a frame in memory, got a lazy "
            f"{type(X).__module__.partition('.')[0]} one. Call `.collect()` on it."
        )
    return native


def _refuse_what_is_no_collection(X, estimator_name):
    """Raise for inputs that could be iterated over, but not as texts."""
    if isinstance(X, str):
        # The words scikit-learn's own text vectorizers use.
        raise ValueError(
            "Iterable over raw text documents expected, string object received. "
            "Put a single text in a list: [text]."
        )
    if isinstance(X, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"{_expected_texts(estimator_name, type(X).__name__)} Decode the bytes and "
            "put the text in a list: [text.decode('utf-8')]."
        )
    if isinstance(X, Iterator):
        raise TypeError(
            f"{_expected_texts(estimator_name, type(X).__name__)} An iterator can be "
            "read only once: make it a list with list(X)."
        )
    if issparse(X):
        raise TypeError(
            "Sparse data was passed, but "
            f"{_expected_texts(estimator_name, type(X).__name__)}"
        )


def _expected_texts(estimator_name, got):
    return (
        f"{estimator_name} expects a list, array, Series or frame of texts, got {got}."
    )


def _check_shape(shape, estimator_name):
    """Refuse what has no rows, no columns or too many dimensions."""
    # scikit-learn's own words (check_array), which its estimator checks look for.
    if len(shape) == 0:
        raise ValueError(
            f"Expected a 1D or 2D array, got scalar array instead. {estimator_name} "
            "reads a single text from a list: [text]."
        )
    if len(shape) > 2:
        raise ValueError(
            f"Found array with dim {len(shape)}, while dim <= 2 is required by "
            f"{estimator_name}."
        )
    for size, what in zip(shape, ("sample", "feature"), strict=False):
        if size == 0:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={tuple(shape)}) while a minimum "
                f"of 1 is required by {estimator_name}."
            )


def _frame_columns(frame, estimator_name):
    """Columns of a narwhals frame."""
    _check_shape(frame.shape, estimator_name)
    columns = []
    for name, series in zip(frame.columns, frame.iter_columns(), strict=True):
        # pandas takes any hashable as a name; only strings can name features.
        text_name = name if isinstance(name, str) else None
        label = f"column {name!r}"
        columns.append(_series_column(series, text_name, label, estimator_name))
    return columns, all(column.name is not None for column in columns)


def _series_column(series, name, label, estimator_name):
    """Values of a narwhals Series, if its dtype can hold text."""
    values = series.to_list()
    if not isinstance(series.dtype, TEXT_DTYPES):
        _refuse_dtype(values, series.dtype, label, estimator_name)
    return _Column(name, label, values)


def _array_columns(array, estimator_name):
    """Columns of a numpy array of one or two dimensions, masked ones too."""
    _check_shape(array.shape, estimator_name)
    blocks = [array] if array.ndim == 1 else [array[:, j] for j in range(len(array.T))]
    columns = []
    for j, block in enumerate(blocks):
        label = "the input" if array.ndim == 1 else f"column {j}"
        values = block.tolist()  # what is masked comes out as None
        if array.dtype.kind not in "OUT":  # object, str_, StringDType
            _refuse_dtype(values, array.dtype, label, estimator_name)
        columns.append(_Column(None, label, values))
    return columns


def _sequence_columns(X, estimator_name):
    """Columns of a sequence of texts, or of rows of texts."""
    _check_shape((len(X),), estimator_name)
    values = X if isinstance(X, (list, tuple)) else list(X)
    kinds = set(map(type, values))
    nested = [_is_row(kind) for kind in kinds]
    if not any(nested):
        return [_Column(None, "the input", values)]
    if not all(nested):
        mixed = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise TypeError(_expected_texts(estimator_name, f"a mixture of {mixed}"))
    return _row_columns(values, estimator_name)


def _is_row(kind):
    # numpy's masked constant is an array, but stands for one missing value.
    return issubclass(kind, (list, tuple, np.ndarray)) and not issubclass(
        kind, type(np.ma.masked)
    )


def _row_columns(rows, estimator_name):
    """Columns of a list of rows, each a list, tuple or array of texts."""
    rows = [
        np.atleast_1d(row).tolist() if isinstance(row, np.ndarray) else row
        for row in rows
    ]
    width = len(rows[0])
    for i, row in enumerate(rows):
        if len(row) != width:
            raise ValueError(
                f"{estimator_name} expects rows of one length: row 0 has {width} "
                f"text(s), row {i} has {len(row)}."
            )
    _check_shape((len(rows), width), estimator_name)
    if _is_row(type(rows[0][0])):
        _check_shape((len(rows), width, len(rows[0][0])), estimator_name)
    return [
        _Column(None, f"column {j}", column)
        for j, column in enumerate(zip(*rows, strict=True))
    ]


def _refuse_dtype(values, dtype, label, estimator_name):
    """Raise for a column whose dtype is not text, unless every value is missing."""
    # A column without any value often has another dtype: pandas reads it as float.
    if all(map(is_missing, values)):
        return
    if any(isinstance(value, bytes) for value in values):
        raise TypeError(
            f"{estimator_name} expects texts: {label} holds bytes (dtype {dtype}). "
            "Decode them first, for example with text.decode('utf-8')."
        )
    raise TypeError(
        f"{estimator_name} expects texts: {label} has dtype {dtype}. Convert it to "
        "str, or give it to another transformer with a ColumnTransformer."
    )


# ---------------------------------------------------------------------------------
# From values to plain texts


def _plain_texts(column, fill, estimator_name):
    """List of exact str, with `fill` where a value is missing."""
    texts = []
    for row, value in enumerate(column.values):
        if type(value) is str:
            texts.append(value if value.isascii() else repair(value))
        elif isinstance(value, str):
            # Not str(value): a str subclass, such as an Enum, may print otherwise.
            texts.append(repair(str.__str__(value)))
        elif is_missing(value):
            texts.append(fill)
        else:
            raise TypeError(_not_a_text(value, row, column.label, estimator_name))
    return texts


def _not_a_text(value, row, label, estimator_name):
    """Build the message for a value that is neither text nor missing."""
    kind = type(value).__name__
    if isinstance(value, (bytes, bytearray, memoryview)):
        advice = "Decode it first, for example with text.decode('utf-8')."
    else:
        advice = "Convert it to str, or to None if there is no text."
    return (
        f"{estimator_name} expects texts: row {row} of {label} holds an object of "
        f"type {kind}. {advice}"
    )


def is_missing(value):
    """Whether the value is one of the many ways to say that there is none.

    Examples
    --------
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
    >>> repair("\ud83d\ude00"), repair("a\ud800"), repair("café")
    ('😀', 'a�', 'café')
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
