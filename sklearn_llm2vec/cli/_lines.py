"""The lines of a text file that may be packed; errors name the file."""

import bz2
import gzip
import lzma
import zlib

OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


class Lines:
    """The lines of a text file, unpacked.

    Parameters
    ----------
    path : Path
    encoding : str
    """

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
