"""A lock on a folder, for the moment in which a database in it is opened or replaced."""

import os
import time
from contextlib import contextmanager, suppress

try:
    import fcntl
except ImportError:  # Windows, where an open file can't be replaced anyway
    fcntl = None

# A process may be stopped in the middle: then the work goes on.
SECONDS = 5


@contextmanager
def folder_lock(folder, exclusive=False):
    """A context in which nobody has the lock that excludes this one.

    Parameters
    ----------
    folder : Path
        Nothing is written into it. Where it can't be locked, there is no lock.
    exclusive : bool, default=False
        Whether others may not even have a shared lock.
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
