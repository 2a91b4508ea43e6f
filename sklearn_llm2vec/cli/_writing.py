"""Features in files: parquet, npy and csv, written chunk by chunk.

A writer gets the open file, what stands in each row beside the features, and blocks of
features.
"""

import csv
import io

import numpy as np
from numpy.lib import format as npy

CELLS_AT_A_TIME = 100_000


class ParquetFeatures:
    """The kept columns, and for each block of features a column of float32 lists.

    Parameters
    ----------
    file : binary file
    names : list of str
        Of the blocks, which are equally wide.
    """

    def __init__(self, file, names):
        self._file, self._names, self._writer = file, names, None

    def write(self, kept, features):
        """Append rows: a pyarrow table, and an array of as many rows."""
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


class NPYFeatures:
    """One float32 array of all rows; nothing can be kept beside it.

    Parameters
    ----------
    file : binary file
    n_rows : int
        Of all blocks together: the header comes first.
    """

    def __init__(self, file, n_rows):
        self._file, self._n_rows, self._began = file, n_rows, False

    def write(self, kept, features):
        """Append rows; `kept` has no columns."""
        if not self._began:
            shape = (self._n_rows, features.shape[1])
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(self._file, header)
            self._began = True
        self._file.write(np.ascontiguousarray(features, "<f4").reshape(-1).view("u1"))

    def close(self):
        """Nothing is left to write."""


class CSVFeatures:
    """The kept columns, then one column for each feature.

    A float32 is written with as few digits as give it back bit for bit.

    Parameters
    ----------
    file : binary file
    names : list of str
        Of the features.
    """

    def __init__(self, file, names):
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        self._rows, self._names = csv.writer(_UnixLines(self._text)), names
        self._began = False

    def write(self, kept, features):
        """Append rows: a pyarrow table, and an array of as many rows."""
        if not self._began:
            self._rows.writerow([*kept.column_names, *self._names])
            self._began = True
        columns = [_fields(column.to_pylist()) for column in kept.columns]
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


def _fields(values):
    """Values as a .csv file has them; times in ISO 8601."""
    return [
        "" if v is None else v.isoformat() if hasattr(v, "isoformat") else v
        for v in values
    ]
