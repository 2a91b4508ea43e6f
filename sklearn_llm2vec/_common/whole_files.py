"""Files and folders that are whole or absent: written beside their name, then renamed.

Whatever is raised while one is written, Ctrl-C too, what was begun is removed and what
had the name before stays.
"""

import os
import shutil
import stat
from contextlib import contextmanager, suppress
from pathlib import Path


def check_parent(path):
    """Raise, before any work is done, when `path` has no folder to be made in.

    Parameters
    ----------
    path : Path

    Raises
    ------
    FileNotFoundError, PermissionError
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"The output {str(path)!r} must be in a folder that exists. Create "
            f"{str(path.parent)!r} first."
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(
            f"The output {str(path)!r} must be in a folder that you may write to. "
            f"Choose another folder than {str(path.parent)!r}."
        )


def check_output(path, inputs=()):
    """Raise, before any work is done, when the file `path` can't be written.

    Parameters
    ----------
    path : Path or None
        None is no file to write.
    inputs : sequence of path-like, default=()
        Files that are read: none of them is replaced.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError, FileExistsError
    """
    if path is None:
        return
    check_parent(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"The output {str(path)!r} is a folder. Choose another name."
        )
    _check_plain(path)
    for other in map(Path, inputs):
        if path.exists() and other.exists() and path.samefile(other):
            raise FileExistsError(
                f"The output {str(path)!r} is the same file as the input. Choose "
                "another name."
            )


def check_file(path, caller, example):
    """Raise when a function's `path` can't be the name of a new file.

    Parameters
    ----------
    path : Path
    caller : str
        Who the error messages speak of.
    example : str
        A name for the file, where `path` is a folder.

    Raises
    ------
    IsADirectoryError, FileNotFoundError
    """
    if path.is_dir():
        raise IsADirectoryError(
            f"The 'path' parameter of {caller} must be a file. Got the folder "
            f"{str(path)!r}: add a file name, such as {example!r}."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"The 'path' parameter of {caller} must be a file in a folder that "
            f"exists. Got {str(path)!r}: create {str(path.parent)!r} first."
        )
    _check_plain(path)


def _check_plain(path):
    """Raise where a pipe, a device or a socket has the name, which would be lost."""
    if path.exists() and not path.is_file():
        raise OSError(
            f"The output {str(path)!r} must be a plain file. Got a pipe, device or "
            "socket instead: choose another name."
        )


@contextmanager
def whole_file(path):
    """Yield a binary file that gets its name when the block ends without an error.

    Parameters
    ----------
    path : Path
        In a folder that is there. A link stays, and the file that it leads to is
        replaced. A new file has the permissions of the one before. A process that is
        killed may leave ``.{name}.xxxxxxxx.part`` beside it.
    """
    path = Path(os.path.realpath(path))
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666
    beside = _beside(path)
    try:
        with open(beside, "xb", opener=lambda *args: os.open(*args, mode)) as file:
            if path.exists():
                os.chmod(beside, mode)  # the umask took some of it
            yield file
            file.flush()
            # Or a power cut could leave the name without the content.
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):  # or it would hide what went wrong
            beside.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path):
    """Yield the path of a new folder, which is renamed when the block ends.

    Parameters
    ----------
    path : Path
        In a folder that is there; must not be there itself, or be empty.
    """
    beside = _beside(path)
    beside.mkdir()
    try:
        yield beside
        os.replace(beside, path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _beside(path):
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
