"""The formats of files: tables that are read in chunks, and features that are written.

A format is a class, which ``FORMATS`` finds by the ending of a file's name. Its
``endings`` are those of its files, ``is_text`` says whether they are lines of text, which
may be packed.

To read, it is made with a path and a `Spelling`, and has ``path``,
``columns``, ``survey(columns, as_written=)``, ``chunks(survey, n_rows)`` and
``in_pandas(texts)``. What can't be read has no ``survey``.

To write, it has a ``writer``, or None. This one is made with an open binary file and a
layout, and has ``write(kept, features)`` and ``close()``. Its class has ``about``, for
``--help``; ``keeps``, whether columns can be kept beside the features; ``typed``, whether
numbers are told from texts; ``narrows``, whether features may be float16; and
``adds(layout)``, the names of columns that aren't kept.
A layout has ``n_rows``, ``features``, the names of all features, and ``blocks``, the
names of blocks of them that are equally wide, one for each text column.
"""

from pathlib import Path

from sklearn_llm2vec._common.extras import not_installed
from sklearn_llm2vec.cli._kinds import kind_of_type
from sklearn_llm2vec.cli._lines import OPENERS
from sklearn_llm2vec.cli._tables import Survey, check_columns
from sklearn_llm2vec.cli._text_formats import SPELLING, TEXT_FORMATS

# --- parquet -------------------------------------------------------------------------


class ParquetFeatures:
    """The kept columns, and for each block of features a column of lists of floats."""

    about = "a column of lists of floats for each text column"
    keeps, typed, narrows = True, True, True

    def __init__(self, file, layout):
        self._file, self._names, self._writer = file, layout.blocks, None

    @staticmethod
    def adds(layout):
        return layout.blocks

    def write(self, kept, features):
        """Append rows: a pyarrow table, and an array of as many rows."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        width = features.shape[1] // len(self._names)
        arrays = dict(zip(kept.column_names, kept.columns, strict=True))
        for i, name in enumerate(self._names):
            block = np.ascontiguousarray(features[:, i * width : (i + 1) * width])
            values = pa.array(block.ravel())
            arrays[name] = pa.FixedSizeListArray.from_arrays(values, width)
        table = pa.table(arrays)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self):
        """Write the end, without which it is no Parquet file.

        Also after an error: a writer that is left open would complain on stderr when it
        finds the file closed.
        """
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        finally:
            writer.is_open = False  # or it tries once more when it is collected


class Parquet:
    """A Parquet file, which names its types itself; a row group is in memory at once."""

    endings = (".parquet",)
    is_text = False
    writer = ParquetFeatures

    def __init__(self, path, spelling):
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

    @staticmethod
    def in_pandas(texts):
        """The function of pandas that reads the same table, and its options."""
        return "read_parquet", {}

    def survey(self, columns, *, as_written=()):
        """The number of rows, and the type of each column."""
        check_columns(self.path, columns, self.columns)
        schema = self._file.schema_arrow
        kinds = {name: kind_of_type(schema.field(name).type) for name in columns}
        return Survey(self._file.metadata.num_rows, kinds)

    def chunks(self, survey, n_rows):
        """Yield the surveyed columns as tables of at most `n_rows` rows."""
        import pyarrow as pa

        columns = list(survey.kinds)
        for batch in self._file.iter_batches(n_rows, columns=columns):
            yield pa.Table.from_batches([batch]).select(columns)


# --- npy -----------------------------------------------------------------------------


class NPYFeatures:
    """One array of all rows; nothing can be kept beside it."""

    about = "an array"
    keeps, typed, narrows = False, True, True

    def __init__(self, file, layout):
        self._file, self._n_rows, self._kind = file, layout.n_rows, None

    @staticmethod
    def adds(layout):
        return []

    def write(self, kept, features):
        """Append rows; `kept` has no columns."""
        import numpy as np
        from numpy.lib import format as npy

        if self._kind is None:
            # The header comes first, and says how many rows there will be.
            shape = (self._n_rows, features.shape[1])
            kind = features.dtype.newbyteorder("<")
            header = {"descr": kind.str, "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(self._file, header)
            self._kind = kind
        rows = np.ascontiguousarray(features, self._kind)
        self._file.write(rows.reshape(-1).view("u1"))

    def close(self):
        """Nothing is left to write."""


class NPY:
    """Arrays of numpy, which hold no tables that could be read."""

    endings = (".npy",)
    is_text = False
    writer = NPYFeatures


# --- all -----------------------------------------------------------------------------

FORMATS = (Parquet, NPY, *TEXT_FORMATS)
# Those that are lines of text first.
READ = sorted(
    (one for one in FORMATS if hasattr(one, "survey")), key=lambda one: not one.is_text
)
WRITTEN = [one for one in FORMATS if one.writer is not None]


def endings_of(formats):
    """The endings of the names of files of some formats."""
    return [ending for one in formats for ending in one.endings]


def format_ending_in(ending, formats):
    """The format whose files end so; None where there is none."""
    return next((one for one in formats if ending in one.endings), None)


def listed(words, last="or"):
    """Words as a sentence has them.

    Examples
    --------
    >>> from sklearn_llm2vec.cli._formats import listed
    >>> listed([".csv", ".tsv", ".npy"]), listed([".csv"])
    ('.csv, .tsv or .npy', '.csv')
    """
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def open_table(path, spelling=SPELLING):
    """The table in a file; what its name ends in says the format.

    Parameters
    ----------
    path : path-like
        With the ending of a format that is read; behind that of a text file ``.gz``,
        ``.bz2`` or ``.xz`` may stand.
    spelling : Spelling
        Of text files.

    Returns
    -------
    one of ``READ``
    """
    path = Path(path).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "doesn't exist"
        raise FileNotFoundError(f"The file {str(path)!r} {what}. Give a table's file.")
    _check_pyarrow()
    ending, packed = path.suffix.lower(), False
    if ending in OPENERS:
        ending, packed = Path(path.stem).suffix.lower(), True
    found = format_ending_in(ending, READ)
    if found is None or (packed and not found.is_text):
        texts = endings_of(one for one in READ if one.is_text)
        others = endings_of(one for one in READ if not one.is_text)
        raise ValueError(
            f"The file {str(path)!r} must end in {', '.join(texts)} (each also with "
            f"{listed([*OPENERS])} added) or {listed(others)}, which determines how "
            "it is read. Rename or convert it."
        )
    return found(path, spelling)


def _check_pyarrow():
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise not_installed("The command line", "pyarrow", "cli") from error
