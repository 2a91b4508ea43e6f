"""Tables in files: csv, tsv, jsonl and parquet, read in chunks of rows.

A table is read twice. The first time counts its rows and finds the type of each wanted
column, so that what is wrong with row 900,000 is said before anything is encoded, and all
chunks have the same types. Only a chunk is in memory.
"""

import bz2
import csv
import gzip
import json
import lzma
import math
import re
import zlib
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sklearn_llm2vec._text.values import repair

SEPARATORS = {".csv": ",", ".tsv": "\t"}
OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
LARGEST_FIELD = 2**31 - 1  # Python's own limit of 128 kB is less than a book
# As written, so that "007", which is a name, stays one.
INT = re.compile(r"-?(0|[1-9]\d{0,18})")
FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)", re.I)
LEADING_ZERO = re.compile(r"[-+]?0\d")
# A float would round it, and who writes so many digits means an id.
LONG_INT = re.compile(r"[-+]?\d{19,}")

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


def open_table(path, *, encoding="utf-8-sig", separator=None, no_quotes=False):
    """The table in a file; what its name ends in says the format.

    Parameters
    ----------
    path : path-like
        ``.csv``, ``.tsv``, ``.jsonl`` (``.ndjson``), each perhaps with ``.gz``, ``.bz2``
        or ``.xz`` behind it, or ``.parquet``.
    encoding : str, default="utf-8-sig"
        Of all but Parquet.
    separator : str or None, default=None
        Of ``.csv`` and ``.tsv``; None is a comma or a tab.
    no_quotes : bool, default=False
        Whether quotation marks are characters like others.

    Returns
    -------
    CSVTable, JSONLinesTable or ParquetTable
        Each has ``columns``, ``survey(columns)`` and ``chunks(survey, n_rows)``.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "doesn't exist"
        raise FileNotFoundError(f"The file {str(path)!r} {what}. Give a table's file.")
    _check_pyarrow()
    ending = path.suffix.lower()
    if ending == ".parquet":
        return ParquetTable(path)
    if ending in OPENERS:
        ending = Path(path.stem).suffix.lower()
    if ending in SEPARATORS:
        separator = SEPARATORS[ending] if separator is None else separator
        return CSVTable(path, encoding, separator, no_quotes)
    if ending in (".jsonl", ".ndjson"):
        return JSONLinesTable(path, encoding)
    raise ValueError(
        f"The file {str(path)!r} must end in .csv, .tsv, .jsonl (each also with .gz, "
        ".bz2 or .xz behind it) or .parquet, which says how to read it. Rename or "
        "convert it."
    )


def _check_pyarrow():
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "The command line reads tables with pyarrow: "
            "pip install 'sklearn-llm2vec[cli]'"
        ) from error


def _check_columns(path, wanted, there):
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


# --- csv and tsv ---------------------------------------------------------------------


class CSVTable:
    """Rows of fields between separators; the first row names the columns.

    An empty field is a missing value. Texts stand as they are: no word means "missing".
    """

    def __init__(self, path, encoding, separator, no_quotes):
        if len(separator) != 1:
            raise ValueError(
                f"The separator of a .csv file must be one character. Got {separator!r}."
            )
        self.path, self._encoding = path, encoding
        self._format = {"delimiter": separator, "strict": True}
        if no_quotes:
            self._format["quoting"] = csv.QUOTE_NONE
        rows = self._rows()
        self.columns = next(rows)[1]
        rows.close()

    def _rows(self):
        """Yield each row with its line, the names of the columns first."""
        csv.field_size_limit(LARGEST_FIELD)
        with _Lines(self.path, self._encoding) as lines:
            reader = csv.reader(lines, **self._format)
            names = None
            try:
                for row in reader:
                    if not row:
                        continue  # an empty line
                    if names is None:
                        names = row
                    elif len(row) != len(names):
                        raise ValueError(
                            f"The file {str(self.path)!r} has {len(row)} fields in the "
                            f"row that ends in line {reader.line_num}, but its header "
                            f"names {len(names)} columns. Put quotation marks around "
                            "fields with the separator in them, or give --separator."
                        )
                    yield reader.line_num, row
            except csv.Error as error:
                raise ValueError(
                    f"The file {str(self.path)!r} can't be read as a table: line "
                    f"{reader.line_num}: {error}. Where quotation marks are characters "
                    "like others, give --no-quotes."
                ) from error
        if names is None:
            raise ValueError(f"The file {str(self.path)!r} is empty: it has no header.")

    def survey(self, columns, *, as_written=()):
        """Count the rows, and find the kind of each column.

        Parameters
        ----------
        columns : sequence of str
        as_written : collection of str, default=()
            Columns that are texts, whatever they look like.

        Returns
        -------
        Survey
        """
        _check_columns(self.path, columns, self.columns)
        places = [(name, self.columns.index(name)) for name in dict.fromkeys(columns)]
        kinds, decided = dict.fromkeys(columns, "none"), {}
        n_rows = 0
        for line, row in islice(self._rows(), 1, None):
            n_rows += 1
            for name, place in places:
                if kinds[name] != "text" and row[place]:
                    kind = "text" if name in as_written else _kind_of_field(row[place])
                    wider = _wider(kinds[name], kind, "text")
                    if wider != kinds[name]:
                        kinds[name], decided[name] = wider, (line, row[place])
        return Survey(n_rows, kinds, decided)

    def chunks(self, survey, n_rows):
        """Yield the surveyed columns as tables of at most `n_rows` rows."""
        import pyarrow as pa

        places = {name: self.columns.index(name) for name in survey.kinds}
        read = {"int": int, "float": float}
        rows = islice(self._rows(), 1, None)
        while part := [row for _, row in islice(rows, n_rows)]:
            arrays = {}
            for name, kind in survey.kinds.items():
                place, value = places[name], read.get(kind, str)
                values = [value(row[place]) if row[place] else None for row in part]
                arrays[name] = pa.array(values, _arrow_type(kind))
            yield pa.table(arrays)


def _kind_of_field(field):
    if INT.fullmatch(field) and abs(int(field)) < 2**63:
        return "int"
    if LONG_INT.fullmatch(field) or LEADING_ZERO.match(field.split(".")[0]):
        return "text"
    return "float" if FLOAT.fullmatch(field) else "text"


# --- jsonl ---------------------------------------------------------------------------


class JSONLinesTable:
    """An object a line; columns are the names in them, and an absent one is missing."""

    def __init__(self, path, encoding):
        self.path, self._encoding = path, encoding
        _, first = next(self._objects(), (0, None))
        if first is None:
            raise ValueError(f"The file {str(path)!r} is empty: it has no rows.")
        self.columns = list(first)

    def _objects(self):
        with _Lines(self.path, self._encoding) as lines:
            for n, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                except ValueError as error:
                    raise ValueError(
                        f"The file {str(self.path)!r} must have one JSON object a line. "
                        f"Line {n} can't be read: {error}."
                    ) from error
                if not isinstance(value, dict):
                    raise ValueError(
                        f"The file {str(self.path)!r} must have one JSON object a line. "
                        f"Line {n} holds a {type(value).__name__}."
                    )
                yield n, value

    def survey(self, columns, *, as_written=()):
        """Count the rows, and find the kind of each column; nothing stands otherwise."""
        kinds, decided = dict.fromkeys(columns, "none"), {}
        seen, n_rows = dict.fromkeys(self.columns), 0
        for line, row in self._objects():
            n_rows += 1
            seen.update(dict.fromkeys(row))
            for name in kinds:
                wider = _wider(kinds[name], _kind_of_value(row.get(name)), "json")
                if wider != kinds[name]:
                    kinds[name], decided[name] = wider, (line, row[name])
        self.columns = list(seen)
        _check_columns(self.path, columns, self.columns)
        return Survey(n_rows, kinds, decided)

    def chunks(self, survey, n_rows):
        """Yield the surveyed columns as tables of at most `n_rows` rows."""
        import pyarrow as pa

        rows = self._objects()
        while part := [row for _, row in islice(rows, n_rows)]:
            arrays = {}
            for name, kind in survey.kinds.items():
                values = [_none_for_nan(row.get(name)) for row in part]
                if kind == "json":
                    values = [None if v is None else json.dumps(v) for v in values]
                if kind == "float":
                    values = [None if v is None else float(v) for v in values]
                if kind == "text":
                    # JSON can write half of a character's pair, which no file can hold.
                    values = [None if v is None else repair(v) for v in values]
                arrays[name] = pa.array(values, _arrow_type(kind))
            yield pa.table(arrays)


def _kind_of_value(value):
    value = _none_for_nan(value)
    if value is None:
        return "none"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return "json"
    names = {bool: "bool", int: "int", float: "float", str: "text"}
    return names.get(type(value), "json")


def _none_for_nan(value):
    return None if isinstance(value, float) and math.isnan(value) else value


# --- parquet -------------------------------------------------------------------------


class ParquetTable:
    """A Parquet file, which names its types itself; a row group is in memory at once."""

    def __init__(self, path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(
                f"The file {str(path)!r} must be a Parquet file. Reading it failed: "
                f"{error}"
            ) from error
        self.columns = self._file.schema_arrow.names

    def survey(self, columns, *, as_written=()):
        """The number of rows, and the type of each column."""
        _check_columns(self.path, columns, self.columns)
        schema = self._file.schema_arrow
        kinds = {name: _kind_of_type(schema.field(name).type) for name in columns}
        return Survey(self._file.metadata.num_rows, kinds)

    def chunks(self, survey, n_rows):
        """Yield the surveyed columns as tables of at most `n_rows` rows."""
        import pyarrow as pa

        columns = list(survey.kinds)
        for batch in self._file.iter_batches(n_rows, columns=columns):
            yield pa.Table.from_batches([batch]).select(columns)


def _kind_of_type(kind):
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    for name, checks in {
        "text": (pa.types.is_string, pa.types.is_large_string),
        "int": (pa.types.is_integer,),
        "float": (pa.types.is_floating, pa.types.is_decimal),
        "bool": (pa.types.is_boolean,),
        "none": (pa.types.is_null,),
    }.items():
        if any(check(kind) for check in checks):
            return name
    return "text" if str(kind) == "string_view" else str(kind)


# --- all -----------------------------------------------------------------------------


def _wider(one, other, widest):
    """The kind that holds the values of both."""
    if one == other or other == "none":
        return one
    if one == "none":
        return other
    return "float" if {one, other} == {"int", "float"} else widest


def _arrow_type(kind):
    import pyarrow as pa

    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return types.get(kind, pa.string())


class _Lines:
    """The lines of a text file, unpacked; errors name the file."""

    def __init__(self, path, encoding):
        self._path = path
        opener = OPENERS.get(path.suffix.lower(), open)
        try:
            self._file = opener(path, "rt", encoding=encoding, newline="")
        except LookupError as error:
            raise ValueError(
                f"The encoding must be one that Python knows, such as latin-1. {error}."
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._file.close()

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self._file)
        except UnicodeError as error:
            # A UTF-16 file without its mark raises an error without these attributes.
            encoding = getattr(error, "encoding", self._file.encoding)
            reason = getattr(error, "reason", error)
            raise ValueError(
                f"The file {str(self._path)!r} isn't text in the encoding "
                f"{encoding}: {reason}. Give the right one with --encoding, "
                "such as latin-1 or utf-16."
            ) from error
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise ValueError(
                f"The file {str(self._path)!r} can't be read: {error}."
            ) from error
