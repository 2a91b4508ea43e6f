"""Rows: the columns of a table become one text a row, or the values of a template."""

import re

import narwhals as nw
import numpy as np

from sklearn_llm2vec._text.columns import read_native
from sklearn_llm2vec._text.texts import TextColumns
from sklearn_llm2vec._text.values import is_missing, value_text


def read_rows(
    X, names=None, *, missing="zero", estimator_name="LLMEmbeddingTransformer"
):
    """Read one text, or one tuple of texts, from each row of a table.

    Parameters
    ----------
    X : frame or named Series
        Of any library that narwhals reads.
    names : sequence of str or None, default=None
        Columns whose values are wanted; None makes one text of all columns, as
        ``name: value`` joined by ``"; "``, values that are missing or empty left out.
    missing : {"zero", "nan", "empty", "error"}, default="zero"
        What becomes of a row in which all is missing; a single missing value among others
        is the empty string.
    estimator_name : str, default="LLMEmbeddingTransformer"
        Who the error messages speak of.

    Returns
    -------
    TextColumns
        With a single column of `inverse`, and the names of all columns of `X`.

    Raises
    ------
    TypeError
        For input without names, or values that no text can stand for.
    ValueError
        For an unknown column, or a row without any value with ``missing="error"``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_llm2vec._text.rows import read_rows
    >>> table = pd.DataFrame({"title": ["Red", None], "year": [1990.0, 2001.0]})
    >>> read_rows(table).unique
    ['title: Red; year: 1990', 'year: 2001']
    """
    frame = _named_frame(X, names, estimator_name)
    every = tuple(frame.columns)
    if names is None:
        values = [_texts(frame[name], name, estimator_name) for name in every]
        rows = [_as_line(every, row) for row in zip(*values, strict=True)]
        nothing = ""
    else:
        _check_names(names, every, estimator_name)
        values = [_texts(frame[name], name, estimator_name) for name in names]
        rows = [_as_tuple(row) for row in zip(*values, strict=True)]
        nothing = ("",) * len(names)
    if missing == "error" and None in rows:
        raise ValueError(
            f"{estimator_name} got {rows.count(None)} row(s) without any value, the "
            f"first is row {rows.index(None)}, and missing='error' refuses them. Fill "
            "or drop them, or choose missing='zero', 'nan' or 'empty'."
        )
    if missing == "empty":
        rows = [nothing if row is None else row for row in rows]
    return TextColumns.of(every, [rows], named=True)


def _named_frame(X, names, estimator_name):
    native = read_native(X, estimator_name)
    if isinstance(native, nw.Series) and isinstance(native.name, str) and native.name:
        native = native.to_frame()
    is_frame = isinstance(native, nw.DataFrame)
    if not is_frame or not all(isinstance(name, str) for name in native.columns):
        wanted = (
            "'row'" if names is None else f"the column(s) {', '.join(map(repr, names))}"
        )
        got, advice = type(X).__name__, _advice(names)
        if is_frame:
            odd = next(name for name in native.columns if not isinstance(name, str))
            got += f" with a column named {odd!r} ({type(odd).__name__})"
            advice = "Give its columns names, such as with X.columns.astype(str)."
        raise TypeError(
            f"{estimator_name} expects a frame whose columns have names (strings) for a "
            f"template with {wanted}, got {got}. {advice}"
        )
    if not native.shape[0] or not native.shape[1]:
        raise ValueError(
            f"Found array with 0 sample(s) or feature(s) (shape={native.shape}) while a "
            f"minimum of 1 is required by {estimator_name}."
        )
    return native


def _advice(names):
    """What to do with texts that have no columns."""
    for name in names or ():
        if re.split("[:!]", name)[0].strip() == "text":
            return "Write '{text}', without spaces or a format, for each text."
    return (
        "Put the data into a DataFrame, or use '{text}' in the template to stand for "
        "each text."
    )


def _check_names(names, every, estimator_name):
    unknown = [name for name in names if name not in every]
    if unknown:
        raise ValueError(
            f"The 'template' parameter of {estimator_name} must name columns of X, which "
            f"are {', '.join(map(repr, every))}. Got {', '.join(map(repr, unknown))} "
            "instead."
        )


def _as_line(names, values):
    if all(value is None for value in values):
        return None
    # "name: " says no more than nothing; a row of empty strings is an empty text.
    pairs = zip(names, values, strict=True)
    return "; ".join(f"{name}: {value}" for name, value in pairs if value)


def _as_tuple(values):
    if all(value is None for value in values):
        return None
    return tuple(value or "" for value in values)


def _texts(series, name, estimator_name):
    """Each value of a column as text; None where it is missing."""
    # What was stored with 7 digits is written with 7: 0.1, not 0.10000000149011612.
    narrow = np.float32 if series.dtype == nw.Float32 else None
    texts = []
    for row, value in enumerate(series.to_list()):
        if is_missing(value):
            texts.append(None)
            continue
        text = value_text(narrow(value) if narrow else value)
        if text is None:
            raise TypeError(
                f"{estimator_name} expects texts, numbers, dates, booleans or categories "
                f"in the columns of a template: row {row} of column {name!r} holds an "
                f"object of type {type(value).__name__}. Leave it out, or convert it "
                "to str."
            )
        texts.append(text)
    return texts
