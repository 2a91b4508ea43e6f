"""Damage: errors of other libraries about a model's files become one kind of error.

transformers, tokenizers and safetensors raise errors of two dozen classes if files aren't
as they expect, and few of these errors name the file. A user needs to know which folder
it is and what is wrong with it.
"""

from contextlib import contextmanager

from sklearn_llm2vec._common.people import printable

# A missing package isn't the folder's fault, nor is too little memory.
NOT_OF_FILES = ImportError, MemoryError
# What this package raises itself.
SENTENCES = ValueError, OSError, *NOT_OF_FILES


@contextmanager
def blamed_on(place, what, passing=NOT_OF_FILES):
    """Turn the errors of a block into a ValueError that names a folder.

    Parameters
    ----------
    place : Path
        The folder or file that is read.
    what : str
        What it must contain; follows "must".
    passing : tuple of types
        Errors that aren't converted. With `SENTENCES`, these are the errors that this
        package raises in the block.

    Raises
    ------
    ValueError
    """
    try:
        yield
    except BaseException as error:
        if not _is_of_files(error, passing):
            raise
        kind = type(error).__name__
        said = "" if kind in ("Exception", "ValueError") else f"{kind}: "
        raise ValueError(
            f"The files in {str(place)!r} must {what}. Reading them failed: "
            f"{said}{printable(error, 1000).rstrip('.')}. Copy or download them again."
        ) from error


def _is_of_files(error, passing):
    # The error that a panic of Rust code raises isn't an Exception.
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        return False
    if isinstance(error, RuntimeError) and "memory" in str(error):
        return False
    return not isinstance(error, passing) or isinstance(error, UnicodeError)
