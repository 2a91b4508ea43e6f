"""Damage: errors of other libraries about a model's files become one kind of error.

transformers, tokenizers and safetensors raise errors of two dozen classes if files aren't
as they expect, and few of these errors name the file. A user needs to know which folder
it is and what is wrong with it.
"""

import errno
import os
import re
from contextlib import contextmanager

from sklearn_llm2vec._common.people import printable

# A missing package isn't the folder's fault, nor is too little memory.
NOT_OF_FILES = ImportError, MemoryError
# What this package raises itself.
SENTENCES = ValueError, OSError, *NOT_OF_FILES
# What the system says when the machine fails, or a right is missing: the files may be
# whole, and another copy of them would fail like these.
MACHINE = {
    getattr(errno, name)
    for name in (
        *("EMFILE", "ENFILE", "ENOSPC", "EDQUOT", "ENOMEM", "EAGAIN", "ENOLCK"),
        *("EACCES", "EPERM", "EROFS", "EIO", "ESTALE", "ETIMEDOUT", "EBUSY", "EINTR"),
    )
    if hasattr(errno, name)
}
# How libraries in Rust say the system's number.
_NUMBER = re.compile(r"\(os error (\d+)\)")
# How torch and Python say that there is no memory or no thread left.
_NOTHING_LEFT = re.compile("memory|can't start new thread")
# What to do about weights that are quantized.
UNQUANTIZED = (
    "use the original model, convert the weights to bfloat16 or float32, or use a GGUF "
    "file of the model"
)
_NEEDS_CODE = re.compile("trust_remote_code|must be executed")
_QUANTIZED = re.compile("[Qq]uantization|quantized? model|NVFP4|GPU is (need|requir)ed")
_UNKNOWN = re.compile("not recognize this architecture|not currently imported")


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
        Where the files are to blame.
    OSError
        Where a library has hidden an error of the machine's in one of its own.
    """
    try:
        yield
    except BaseException as error:
        if is_of_files(error, passing):
            raise ValueError(
                f"The files in {str(place)!r} must {what}. Reading them failed: "
                f"{_said(error)}. {_advice(error)}"
            ) from error
        number = _hidden_number(error, passing)
        if number is None:
            raise
        failure = OSError(
            f"The files in {str(place)!r} must be readable. The system failed to read "
            f"them: {os.strerror(number)}. They may be undamaged: free what is "
            "missing, or ask for the right to read them, and try again."
        )
        failure.errno = number
        raise failure from error


def is_of_files(error, passing=NOT_OF_FILES):
    """Whether an error of another library says that a model's files are damaged.

    Parameters
    ----------
    error : BaseException
    passing : tuple of types
        As `blamed_on` takes it.
    """
    # The error that a panic of Rust code raises isn't an Exception.
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        return False
    if isinstance(error, passing) and not isinstance(error, UnicodeError):
        return False
    if isinstance(error, Warning):  # where the user makes errors of warnings
        return False
    return not any(map(_is_of_machine, _chain(error)))


def _is_of_machine(error):
    if isinstance(error, RuntimeError) and _NOTHING_LEFT.search(str(error)):
        return True
    return isinstance(error, MemoryError) or _number(error) in MACHINE


def _number(error):
    """The system's number for an error, as Python or Rust says it; None without one."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if getattr(error, "errno", None) is not None:
        return error.errno
    found = _NUMBER.search(str(error))
    return int(found[1]) if found else None


def _hidden_number(error, passing):
    """The number of an error of the machine's behind one that doesn't say so itself."""
    says_so = isinstance(error, OSError | RuntimeError) and _is_of_machine(error)
    if says_so or isinstance(error, passing) or not isinstance(error, Exception):
        return None
    numbers = [_number(one) for one in _chain(error) if _is_of_machine(one)]
    return next((number for number in numbers if number is not None), None)


def _chain(error):
    """An error and those that it was raised from.

    Not what was handled at that time, which may be an error of the user's.
    """
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__
    return seen


def _said(error):
    kind = type(error).__name__
    kind = "" if kind in ("Exception", "ValueError") else f"{kind}: "
    return f"{kind}{printable(error, 1000).rstrip('.')}"


def _advice(error):
    """What to do about files that can't be read."""
    said = " ".join(map(str, _chain(error)))
    if _NEEDS_CODE.search(said):
        return "If you trust the code in the folder, set trust_remote_code=True."
    if _UNKNOWN.search(said):
        return (
            "If the model is newer than the installed transformers, upgrade that "
            "(pip install -U transformers)."
        )
    if _QUANTIZED.search(said):
        return f"If the weights are quantized, {UNQUANTIZED}."
    return "Copy or download them again."
