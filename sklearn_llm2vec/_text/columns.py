"""Columns: an input of any kind is taken apart into columns of values.

Lists, arrays, Series and frames of any library are read; what can't hold texts is
refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import narwhals as nw
import numpy as np
from scipy.sparse import issparse

from sklearn_llm2vec._text.lazy import as_table, not_in_memory, refuse_lazy
from sklearn_llm2vec._text.values import is_missing

# Object says nothing of its values, and a column of a Null dtype is Unknown: the
# values of these are looked at one by one.
TEXT_DTYPES = (nw.String, nw.Categorical, nw.Enum, nw.Object, nw.Unknown)


@dataclass(frozen=True, eq=False)
class Column:
    """One column as it came: its name, how errors call it, and its values."""

    name: str | None
    label: str
    values: Sequence


def read_columns(X, estimator_name):
    """Take an input apart.

    Parameters
    ----------
    X : list, array, Series or frame of str
    estimator_name : str
        Who the error messages speak of.

    Returns
    -------
    columns : list of Column
        Of equal length, at least one value each.
    named : bool
        Whether `X` is a frame whose column names are all strings.

    Raises
    ------
    TypeError, ValueError
        For what is no collection of texts, has no rows or columns, or a dtype that can't
        hold text.
    """
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


def read_native(X, estimator_name):
    """X as a narwhals frame or Series where it is one, else as it came.

    Raises
    ------
    TypeError, ValueError
        For what is no collection of texts, and for a lazy frame.
    """
    X = as_table(X)
    refuse_lazy(X, estimator_name)
    _refuse_what_is_no_collection(X, estimator_name)
    try:
        native = nw.from_native(X, allow_series=True, pass_through=True)
    except nw.exceptions.DuplicateError as e:
        raise ValueError(
            f"{estimator_name} expects unique column names, so that its features have "
            f"unique names too. {e}"
        ) from e
    if isinstance(native, nw.LazyFrame):
        raise not_in_memory(X, "Call `.collect()` on it.", estimator_name)
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
    return Column(name, label, values)


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
        columns.append(Column(None, label, values))
    return columns


def _sequence_columns(X, estimator_name):
    """Columns of a sequence of texts, or of rows of texts."""
    _check_shape((len(X),), estimator_name)
    values = X if isinstance(X, (list, tuple)) else list(X)
    kinds = set(map(type, values))
    nested = [_is_row(kind) for kind in kinds]
    if not any(nested):
        return [Column(None, "the input", values)]
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
                f"{estimator_name} expects rows of the same length: row 0 has {width} "
                f"text(s), row {i} has {len(row)}."
            )
    _check_shape((len(rows), width), estimator_name)
    if _is_row(type(rows[0][0])):
        _check_shape((len(rows), width, len(rows[0][0])), estimator_name)
    return [
        Column(None, f"column {j}", column)
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
