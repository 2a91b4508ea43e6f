"""Processes that would encode the same texts take turns.

The process whose turn it is holds a lock on a file. The file contains its process id, and
each sign of life changes its modification time. A waiting process watches this time, and
stops waiting for a process that was stopped or hangs.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from sklearn_llm2vec._common import waits
from sklearn_llm2vec._common.shared_folders import make_folder, make_shared

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

POLL_SECONDS = 0.05
# On Windows, locked bytes can't be read, so a byte behind the content is locked.
LOCKED_BYTE = 1 << 30

_held: set[int] = set()
# For each file that was waited for: its modification time, and since when by this
# process's clock it has been that. Who is silent is not waited for as long each time.
_seen: dict[Path, tuple[int, float]] = {}


class Turn:
    """Context in which no other process, or thread, has the same turn.

    If the file can't be created or locked, there are no turns.

    Parameters
    ----------
    path : Path or None
        The file; None for no turns.
    on_fault : callable
        Called with the OSError if the file can't be created or locked.
    """

    def __init__(self, path, on_fault):
        self._path, self._on_fault = path, on_fault
        self._fd, self._signs = None, waits.Signs(self._give_sign)

    def __enter__(self):
        if self._path is not None:
            try:
                self._wait()
            except OSError as error:
                self._on_fault(error)
        return self

    def __exit__(self, *exc):
        self._signs.__exit__()
        fd, self._fd = self._fd, None
        if fd in _held:  # a forked child has closed it already
            _close(fd)

    def progress(self):
        """Tell waiting processes that the work continues."""
        self._signs.progress()
        self._give_sign()

    def _give_sign(self):
        if self._fd in _held:
            with suppress(OSError):
                os.utime(self._path)

    def _wait(self):
        make_folder(self._path.parent)
        fd = _open(self._path)
        try:
            locked = _wait_for(fd, self._path)
            if locked:
                _write_pid(fd)
        except BaseException:
            _close(fd)
            raise
        if locked:
            self._fd = fd
            self._signs.__enter__()
            self.progress()  # even if the process id couldn't be written
        else:
            _close(fd)


def _wait_for(fd, path):
    """Lock a file; False if the process that holds it is silent for too long."""
    started, told = time.monotonic(), False
    while not _try_to_lock(fd):
        now = time.monotonic()
        silent = _silence(path, os.fstat(fd).st_mtime_ns, now)
        if now - started > waits.NOTICE_SECONDS and silent > waits.NOTICE_SECONDS:
            if silent > waits.SILENCE_SECONDS:
                waits.warn_of_end(_read_pid(fd), silent)
                return False
            if not told:
                told = True
                waits.warn_of_silence(_read_pid(fd), silent, waits.SILENCE_SECONDS)
        time.sleep(POLL_SECONDS)
    _seen.pop(path, None)
    return True


def _silence(path, modified, now):
    """Seconds without a change of a file's modification time, as far as was watched."""
    # It isn't compared with a clock: the file system's may be another, and any that
    # people read can be set back.
    seen = _seen.get(path)
    if seen is None or seen[0] != modified:
        seen = _seen[path] = modified, now
    return now - seen[1]


def _open(path):
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        fd = os.open(path, os.O_RDONLY)  # another user's: it can be locked
    _held.add(fd)
    make_shared(path)
    return fd


def _close(fd):
    _held.discard(fd)
    with suppress(OSError):
        os.close(fd)  # and with it the lock


def _try_to_lock(fd):
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.lseek(fd, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _write_pid(fd):
    with suppress(OSError):  # a full disk: then nobody knows who it is
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, str(os.getpid()).encode())


def _read_pid(fd):
    with suppress(OSError, ValueError):
        os.lseek(fd, 0, os.SEEK_SET)
        return int(os.read(fd, 20))
    return None


def _close_in_child():
    # Or the lock would outlive its holder, as long as a child of it does.
    for fd in list(_held):
        _close(fd)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
