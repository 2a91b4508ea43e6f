"""A file that has its name only when it is complete.

What is written goes into a file beside it, which takes the name at the end. This file
doesn't know what is written.
"""

import os
import secrets
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file"]


@contextmanager
def whole_file(path, caller, example):
    """Open a file for writing bytes; one that was there stays until the end.

    Parameters
    ----------
    path : path-like
        In a folder that is there.
    caller : str
        Who the error messages speak of.
    example : str
        A name for the file, where `path` is a folder.

    Yields
    ------
    file : binary file
        Removed when the block raises.

    Raises
    ------
    IsADirectoryError, FileNotFoundError
        When `path` is a folder, or in a folder that isn't there.
    OSError
        When the file can't be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_llm2vec._whole_file import whole_file
    >>> path = Path(tempfile.mkdtemp(), "page.html")
    >>> with whole_file(path, "save", "page.html") as file:
    ...     _ = file.write(b"<p>text")
    ...     path.exists()
    False
    >>> path.read_bytes()
    b'<p>text'
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"The 'path' parameter of {caller} must be a file. Got the folder "
            f"{str(path)!r}: add a name, such as {example!r}."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"The 'path' parameter of {caller} must be a file in a folder that "
            f"exists. Got {str(path)!r}: make {str(path.parent)!r} first."
        )
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            # Or a power cut could leave the name without the content.
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
