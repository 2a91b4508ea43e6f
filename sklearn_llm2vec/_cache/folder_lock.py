"""A lock on a folder, held while a database in it is opened or replaced."""

import os
import time
from contextlib import contextmanager, suppress

try:
    import fcntl
except ImportError:  # Windows, where an open file can't be replaced anyway
    fcntl = None

# If the holder of the lock was stopped, the work continues after this time.
SECONDS = 5


@contextmanager
def folder_lock(folder, exclusive=False):
    """A context in which no other process holds a lock that excludes this one.

    Parameters
    ----------
    folder : Path
        Nothing is written to it. If it can't be locked, there is no lock.
    exclusive : bool, default=False
        Whether the lock excludes shared locks as well.
    """
    fd = None
    if fcntl is not None:
        with suppress(OSError):
            fd = os.open(folder, os.O_RDONLY)
            _lock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


def _lock(fd, kind):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.01)
