"""Formats of files that are lines of text: csv, tsv and jsonl."""

import csv
import io
import json
import math
import re
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

from sklearn_llm2vec.cli._kinds import (
    Column,
    arrow_type,
    kind_of_field,
    kind_of_number,
    looks_like_number,
)
from sklearn_llm2vec.cli._lines import Lines
from sklearn_llm2vec.cli._tables import Survey, check_columns

LARGEST_FIELD = 2**31 - 1  # Python's own limit of 128 kB is less than a book
CELLS_AT_A_TIME = 100_000


class Spelling(NamedTuple):
    """How a text file is written.

    Attributes
    ----------
    encoding : str
    separator : str or None
        Between the fields of a row; None is the one that belongs to the ending.
    no_quotes : bool
        Whether quotation marks are characters like others.
    """

    encoding: str = "utf-8-sig"
    separator: str | None = None
    no_quotes: bool = False


SPELLING = Spelling()


# --- csv -----------------------------------------------------------------------------


class CSVFeatures:
    """The kept columns, then one column for each feature.

    A float32 is written with as few digits as give it back bit for bit.
    """

    about = "a column for each feature"
    keeps, typed, narrows = True, False, False

    def __init__(self, file, layout):
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        self._rows, self._names = csv.writer(_UnixLines(self._text)), layout.features
        self._began = False

    @staticmethod
    def adds(layout):
        return layout.features

    def write(self, kept, features):
        """Append rows: a pyarrow table, and an array of as many rows."""
        if not self._began:
            self._rows.writerow([*kept.column_names, *self._names])
            self._began = True
        columns = [_fields(column) for column in kept.columns]
        # Digits take many times the memory of floats: some rows at a time.
        step = max(1, CELLS_AT_A_TIME // features.shape[1])
        for start in range(0, len(features), step):
            digits = features[start : start + step].astype(str).tolist()
            for i, row in enumerate(digits, start):
                self._rows.writerow([*(column[i] for column in columns), *row])

    def close(self):
        """Hand the file back without closing it."""
        self._text.detach()


class _UnixLines:
    r"""Lines of a csv writer that ends them with \r\n, with \n alone.

    Told to end them so itself, it would leave a field with \r without quotation marks,
    and readers take that for the end of the row.
    """

    def __init__(self, text):
        self._text = text

    def write(self, line):
        self._text.write(line.removesuffix("\r\n") + "\n")


def _fields(column):
    """The values of a column as a .csv file has them."""
    import numpy as np
    import pyarrow as pa

    values = column.to_pylist()
    if pa.types.is_float32(column.type):
        # With as few digits as give it back: 0.1, not 0.10000000149011612.
        values = [None if value is None else np.float32(value) for value in values]
    return ["" if value is None else _field(value) for value in values]


def _field(value):
    """A value as a .csv file has it: times in ISO 8601, what is nested in JSON."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=_field)
    return value


class CSV:
    """Rows of fields between separators; the first row names the columns.

    An empty field is a missing value. Texts stand as they are: no word means "missing".
    """

    endings = (".csv",)
    is_text = True
    separator = ","
    writer = CSVFeatures  # of commas: formats with another separator have their own

    def __init__(self, path, spelling):
        separator = spelling.separator
        if separator is None:
            separator = self.separator
        if len(separator) != 1:
            raise ValueError(
                f"The separator of a .csv file must be one character. Got {separator!r}."
            )
        self.path, self._encoding = path, spelling.encoding
        self._format = {"delimiter": separator, "strict": True}
        if spelling.no_quotes:
            self._format["quoting"] = csv.QUOTE_NONE
        rows = self._rows()
        self.columns = next(rows)[1]
        rows.close()

    def in_pandas(self, texts):
        """The function of pandas that reads the same table, and its options."""
        # An empty field is missing, and the text "None" isn't.
        options = {"keep_default_na": False, "na_values": ""}
        options["dtype"] = dict.fromkeys(texts, "str")
        if self._format["delimiter"] != ",":
            options["sep"] = self._format["delimiter"]
        if "quoting" in self._format:
            options["quoting"] = csv.QUOTE_NONE
        return "read_csv", options | _encoding_option(self._encoding)

    def _rows(self):
        """Yield each row with its line, the names of the columns first."""
        csv.field_size_limit(LARGEST_FIELD)
        with Lines(self.path, self._encoding) as lines:
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
                    f"{reader.line_num}: {error}. If quotation marks are ordinary "
                    "characters, give --no-quotes."
                ) from error
        if names is None:
            raise ValueError(f"The file {str(self.path)!r} is empty: it has no header.")

    def survey(self, columns, *, as_written=()):
        """Count the rows, and find the kind of each column.

        Parameters
        ----------
        columns : sequence of str
        as_written : collection of str, default=()
            Columns whose fields stay texts, whatever they look like.

        Returns
        -------
        Survey
        """
        check_columns(self.path, columns, self.columns)
        found = {name: Column("text") for name in columns}
        places = [(self.columns.index(name), column) for name, column in found.items()]
        n_rows = 0
        for line, row in islice(self._rows(), 1, None):
            n_rows += 1
            for place, column in places:
                field = row[place]
                if field and not column.settled:
                    kind = kind_of_field(field)
                    number = kind != "text" or looks_like_number(field)
                    column.add(kind, line, field, number)
        return Survey.of(n_rows, found, as_written)

    def chunks(self, survey, n_rows):
        """Yield the surveyed columns as tables of at most `n_rows` rows."""
        import pyarrow as pa

        read = {"int": int, "float": float}
        rows = islice(self._rows(), 1, None)
        while part := [row for _, row in islice(rows, n_rows)]:
            arrays = {}
            for name, kind in survey.kinds.items():
                kind = "text" if name in survey.as_written else kind
                place, value = self.columns.index(name), read.get(kind, str)
                values = [value(row[place]) if row[place] else None for row in part]
                arrays[name] = pa.array(values, arrow_type(kind))
            yield pa.table(arrays)


class TSV(CSV):
    """The same with tabs."""

    endings = (".tsv",)
    separator = "\t"
    writer = None


def _encoding_option(encoding):
    return {} if encoding == SPELLING.encoding else {"encoding": encoding}


# --- jsonl ---------------------------------------------------------------------------


# Levels of lists and objects in a line.
DEEPEST = 100


class JSONLines:
    """An object a line; columns are the names in them, and an absent one is missing."""

    endings = (".jsonl", ".ndjson")
    is_text = True
    writer = None

    def __init__(self, path, spelling):
        self.path, self._encoding = path, spelling.encoding
        _, first = next(self._objects(), (0, None))
        if first is None:
            raise ValueError(f"The file {str(path)!r} is empty: it has no rows.")
        self.columns = list(first)

    def in_pandas(self, texts):
        """The function of pandas that reads the same table, and its options."""
        import pandas as pd

        options = {"lines": True, "dtype": False}  # or "007" would become a number
        date = '{"date": "2024-05-01"}'
        if pd.read_json(io.StringIO(date), **options)["date"][0] != "2024-05-01":
            # pandas 2 makes times of columns with such names all the same.
            options["convert_dates"] = False
        return "read_json", options | _encoding_option(self._encoding)

    def _objects(self):
        with Lines(self.path, self._encoding) as lines:
            for n, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    _check_depth(line)
                    value = json.loads(line, parse_float=_read_float)
                except (ValueError, ArithmeticError) as error:
                    raise ValueError(
                        f"The file {str(self.path)!r} must have one JSON object per "
                        f"line. Line {n} can't be read: {error}."
                    ) from error
                if not isinstance(value, dict):
                    raise ValueError(
                        f"The file {str(self.path)!r} must have one JSON object per "
                        f"line. Line {n} holds a {type(value).__name__}."
                    )
                yield n, value

    def survey(self, columns, *, as_written=()):
        """Count the rows, and find the kind of each column; JSON has kinds of its own."""
        found = {name: Column("json") for name in columns}
        seen, n_rows = dict.fromkeys(self.columns), 0
        for line, row in self._objects():
            n_rows += 1
            seen.update(dict.fromkeys(row))
            for name, column in found.items():
                value = _none_for_nan(row.get(name))
                if value is not None:
                    number = isinstance(value, (int, float, Decimal))
                    number = number and not isinstance(value, bool)
                    column.add(_kind_of_value(value), line, value, number)
        self.columns = list(seen)
        check_columns(self.path, columns, self.columns)
        return Survey.of(n_rows, found, ())

    def chunks(self, survey, n_rows):
        """Yield the surveyed columns as tables of at most `n_rows` rows."""
        import pyarrow as pa

        from sklearn_llm2vec._text.values import repair

        rows = self._objects()
        while part := [row for _, row in islice(rows, n_rows)]:
            arrays = {}
            for name, kind in survey.kinds.items():
                values = [_none_for_nan(row.get(name)) for row in part]
                if kind == "json":
                    values = [None if v is None else _as_json(v) for v in values]
                if kind == "float":
                    values = [None if v is None else float(v) for v in values]
                if kind == "text":
                    # JSON can write half of a character's pair, which no file can hold.
                    values = [None if v is None else repair(v) for v in values]
                arrays[name] = pa.array(values, arrow_type(kind))
            yield pa.table(arrays)


def _check_depth(line):
    """Raise for lists in lists in lists, for which Python has no room."""
    if line.count("[") + line.count("{") <= DEEPEST:
        return
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", line)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise ValueError(f"it is nested {deepest:,} levels deep, more than {DEEPEST}")


def _read_float(digits):
    """A number of JSON as a float, or as it is written where a float would round it."""
    number = float(digits)
    exact = Decimal(digits)
    return number if Decimal(repr(number)) == exact else exact


def _none_for_nan(value):
    return None if isinstance(value, float) and math.isnan(value) else value


def _kind_of_value(value):
    if type(value) is int:
        kind = kind_of_number(value)
        return "json" if kind == "longer" else kind
    # 4.0 is no other number than 4 in JSON.
    return {bool: "bool", float: "fraction", str: "text"}.get(type(value), "json")


def _as_json(value):
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        items = (f"{json.dumps(name)}: {_as_json(v)}" for name, v in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_json, value))}]"
    return json.dumps(value)


# --- all -----------------------------------------------------------------------------

TEXT_FORMATS = (CSV, TSV, JSONLines)
