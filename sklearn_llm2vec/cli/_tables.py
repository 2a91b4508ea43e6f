"""Tables as the formats give them: what the first reading finds, and a frame of all rows.

A table is read twice. The first time counts its rows and finds the type of each wanted
column, so that what is wrong with row 900,000 is said before anything is encoded, and all
chunks have the same types. Only a chunk is in memory.
"""

from typing import NamedTuple

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
    decided : dict of str to tuple of (int, value)
        Line and value that made a column what it is; not of a Parquet file.
    """

    n_rows: int
    kinds: dict
    decided: dict = {}


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
        if survey.kinds[name] not in (*kinds, "none"):
            line = ""
            if name in survey.decided:
                line = " (line {}: {!r})".format(*survey.decided[name])
            raise ValueError(
                f"The column {name!r} of {str(table.path)!r} must hold "
                f"{' or '.join(WORDS[kind] for kind in kinds)}. It holds "
                f"{WORDS.get(survey.kinds[name], survey.kinds[name])}{line}. {advice}"
            )


def read_frame(table, survey):
    """All rows of the surveyed columns as a pandas frame, decimals as floats."""
    import pyarrow as pa

    if not survey.n_rows:
        raise ValueError(f"The file {str(table.path)!r} has no rows.")
    try:
        rows = pa.concat_tables(table.chunks(survey, 10_000))
        for i, field in enumerate(rows.schema):
            if pa.types.is_decimal(field.type):
                rows = rows.set_column(i, field.name, rows[i].cast(pa.float64()))
        return rows.to_pandas()
    except ImportError as error:
        raise ImportError(
            "The command line makes frames with pandas: "
            "pip install 'sklearn-llm2vec[cli]'"
        ) from error
