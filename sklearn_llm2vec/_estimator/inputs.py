"""X as the parameters mean it: texts of columns or of rows, and names of features."""

import numpy as np

from sklearn_llm2vec._text.rows import read_rows
from sklearn_llm2vec._text.templates import is_name, parse_template
from sklearn_llm2vec._text.texts import read_texts


def read_input(params, X):
    """The texts of X: of its columns, or where the template says so, of its rows.

    Parameters
    ----------
    params : SimpleNamespace
        As `check_parameters` gives it.
    X : any input

    Returns
    -------
    TextColumns
    """
    if params.template == "row":
        return read_rows(X, missing=params.missing)
    if (names := template_columns(params.template)) is not None:
        return read_rows(X, names, missing=params.missing)
    return read_texts(X, missing=params.missing)


def template_columns(template):
    """Columns that a template names; None if it is about each text alone."""
    if template is None or is_name(template):
        return None
    return parse_template(template).columns


def makes_one_block(template):
    """Whether a row has one vector, of all its columns, or one for each column."""
    return template == "row" or template_columns(template) is not None


def block_names(params, columns):
    """The name of each block of features: its column's, or "llm".

    Parameters
    ----------
    params : SimpleNamespace
    columns : sequence of str or None
        None for a column without a name.

    Returns
    -------
    list of str
    """
    if makes_one_block(params.template) or (len(columns) == 1 and columns[0] is None):
        return ["llm"]
    return [f"x{i}" if name is None else name for i, name in enumerate(columns)]


def feature_names(params, columns, widths):
    """The name of each feature: ``{column}_{i}``, or ``llm_{i}``.

    Parameters
    ----------
    params : SimpleNamespace
    columns : sequence of str or None
        None for a column without a name.
    widths : int or tuple of int
        Features of each block; an int is that of all.

    Returns
    -------
    ndarray of str, dtype object
    """
    blocks = block_names(params, columns)
    if not isinstance(widths, tuple):
        widths = (widths,) * len(blocks)
    return np.array(
        [
            f"{block}_{i}"
            for block, width in zip(blocks, widths, strict=True)
            for i in range(width)
        ],
        dtype=object,
    )
