"""Tables as the formats give them: what the first reading finds, and a frame of all rows.

A table is read twice. The first time counts its rows and finds the type of each wanted
column, so that what is wrong with row 900,000 is said before anything is encoded, and all
chunks have the same types. Only a chunk is in memory.
"""

from typing import NamedTuple

from sklearn_llm2vec._common.extras import not_installed

WORDS = {
    "int": "whole numbers",
    "float": "numbers",
    "bool": "true and false",
    "text": "texts",
    "json": "values of several kinds",
}


class Survey(NamedTuple):
    """What the first reading found.

    Attributes
    ----------
    n_rows : int
    kinds : dict of str to str
        For each column "int", "float", "bool", "text", "json" (values of several kinds,
        and nested ones), "none" (no value at all), or the type that a Parquet file names.
        No value of a .csv or .jsonl file changes by being of this kind.
    decided : dict of str to tuple of (int, value)
        Line and value that made a column what it is; not of a Parquet file.
    numeric : frozenset of str
        Columns in which people see numbers, also those that Python would write otherwise
        ("1.50"): they can be read as numbers where numbers are wanted.
    as_written : frozenset of str
        Columns of a .csv file whose fields stay texts, whatever they look like.
    """

    n_rows: int
    kinds: dict
    decided: dict = {}
    numeric: frozenset = frozenset()
    as_written: frozenset = frozenset()

    @classmethod
    def of(cls, n_rows, found, as_written):
        """What follows from a `Column` for each name."""
        return cls(
            n_rows,
            {name: column.kind for name, column in found.items()},
            {name: column.decided for name, column in found.items() if column.decided},
            frozenset(name for name, column in found.items() if column.numeric),
            frozenset(as_written),
        )


def check_columns(path, wanted, there):
    """Raise unless a table has the wanted columns, each once."""
    for name in wanted:
        if name not in there:
            raise ValueError(
                f"The file {str(path)!r} has no column {name!r}. Its columns are "
                f"{', '.join(map(repr, there))}."
            )
        if list(there).count(name) > 1:
            raise ValueError(
                f"The file {str(path)!r} has several columns {name!r}. Rename all but "
                "one."
            )


def check_kinds(table, survey, wanted, kinds, advice):
    """Raise unless the wanted columns hold values of one of the kinds."""
    for name in wanted:
        kind = survey.kinds[name]
        if kind in ("text", "json") and name in survey.numeric:
            kind = "float"  # to people, who want it read as such, or not as texts
        if kind not in (*kinds, "none"):
            line = ""
            if name in survey.decided:
                line = " (line {}: {!r})".format(*survey.decided[name])
            raise ValueError(
                f"The column {name!r} of {str(table.path)!r} must hold "
                f"{' or '.join(WORDS[one] for one in kinds)}. It holds "
                f"{WORDS.get(kind, kind)}{line}. {advice}"
            )


def read_frame(table, survey, *, texts=(), numbers=()):
    """All rows of the surveyed columns as a pandas frame.

    Parameters
    ----------
    table : one of ``READ``
    survey : Survey
    texts : sequence of str, default=()
        Columns that become texts: decimals stay what they are, others become floats.
    numbers : sequence of str, default=()
        Columns of numbers, also where these are written as texts.
    """
    import pyarrow as pa

    if not survey.n_rows:
        raise ValueError(f"The file {str(table.path)!r} has no rows.")
    try:
        rows = pa.concat_tables(table.chunks(survey, 10_000))
        for i, field in enumerate(rows.schema):
            if pa.types.is_decimal(field.type) and field.name not in texts:
                rows = rows.set_column(i, field.name, rows[i].cast(pa.float64()))
        # Or whole numbers beside a missing one would become floats, and be rounded.
        frame = rows.to_pandas(integer_object_nulls=True)
    except ImportError as error:
        raise not_installed("The command line", "pandas", "cli") from error
    for name in numbers:
        if frame[name].dtype.kind not in "iufb":
            frame[name] = as_floats(frame[name])
    return frame


def as_floats(column):
    """A pandas column of numbers, or of texts that are numbers, as floats."""
    import numpy as np

    known = column.notna()
    floats = np.full(len(column), np.nan)
    floats[known] = [float(value) for value in column[known]]
    return floats
