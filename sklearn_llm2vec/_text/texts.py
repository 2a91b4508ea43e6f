"""Texts: the columns of an input as the distinct texts in them, and where each stands.

Duplicates are dropped here and only here: whatever comes after works on distinct texts.
"""

from dataclasses import dataclass

import narwhals as nw
import numpy as np

from sklearn_llm2vec._common.checks import among, refused
from sklearn_llm2vec._common.names import MISSING
from sklearn_llm2vec._text.columns import read_columns, read_native
from sklearn_llm2vec._text.values import is_missing, repair


@dataclass(frozen=True, eq=False)
class TextColumns:
    """Texts of one or more columns, each distinct one once.

    Parameters
    ----------
    names : tuple of str or None
        One per column; None where the input has no name.
    unique : list of str, or of tuple of str
        Distinct texts over all columns, in order of first appearance, read column by
        column. Tuples hold the values of a template's columns.
    inverse : ndarray of shape (rows, columns), dtype intp
        Index into `unique`; -1 where the text is missing.
    named : bool
        The input was a frame whose column names are all strings.
    """

    names: tuple[str | None, ...]
    unique: list[str]
    inverse: np.ndarray
    named: bool

    @classmethod
    def of(cls, names, columns, *, named):
        """The distinct ones of the texts that columns hold; None is a missing text."""
        index = {}  # text -> its place in `unique`; a dict keeps the order of insertion
        places = [
            np.array(
                [-1 if t is None else index.setdefault(t, len(index)) for t in texts],
                np.intp,
            )
            for texts in columns
        ]
        return cls(tuple(names), list(index), np.stack(places, axis=1), named)


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
    >>> from sklearn_llm2vec._text.texts import read_texts
    >>> texts = read_texts([["good", "bad"], ["bad", None]])
    >>> texts.unique
    ['good', 'bad']
    >>> texts.inverse.tolist()
    [[0, 1], [1, -1]]
    """
    if missing not in MISSING:
        expected = f"a str {among(MISSING)}"
        raise refused("missing", expected, missing, of=estimator_name)
    columns, named = read_columns(X, estimator_name)
    fill = "" if missing == "empty" else None
    texts = TextColumns.of(
        [column.name for column in columns],
        (_plain_texts(column, fill, estimator_name) for column in columns),
        named=named,
    )
    if missing == "error":
        _refuse_missing(texts.inverse, columns, estimator_name)
    return texts


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
