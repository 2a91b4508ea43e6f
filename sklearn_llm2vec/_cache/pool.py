"""The open connections of this process: each is used by one thread at a time.

Threads take a connection and give it back. Finished threads therefore leave none behind,
and a process that uses hundreds of caches keeps only a few files open. No connection is
open during a fork, because SQLite records its locks per process: a child that inherits a
connection would believe that it holds the locks of the parent's threads.
"""

import atexit
import os
import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from typing import NamedTuple

MOST_IDLE = 8
# How long a fork waits for other threads' transactions.
FORK_SECONDS = 10
# If a file could only be opened for reading, writing is tried again after this time.
READ_ONLY_SECONDS = 60


class Opened(NamedTuple):
    """A connection and what it was opened to."""

    db: sqlite3.Connection
    file: os.PathLike
    identity: tuple
    read_only: bool
    since: float

    def is_stale(self, identity):
        """Whether the file has another identity, or may be writable by now."""
        too_old = time.monotonic() - self.since > READ_ONLY_SECONDS
        return self.identity != identity or (self.read_only and too_old)


_changed = threading.Condition()
_idle: list[Opened] = []  # the one used last is the last
_users: dict[int, int] = {}  # by thread: the number of its uses
_used: list[Opened] = []
_forking = 0  # how many threads are about to fork: several may be at once
_inherited: list[Opened] = []  # never closed: that would take the parent's locks
_in_doubt: set[tuple] = set()  # files in use by another thread when this child was made


@contextmanager
def in_use():
    """A context in which the process isn't forked by another thread."""
    me = threading.get_ident()
    with _changed:
        while _forking and me not in _users:
            _changed.wait()
        _users[me] = _users.get(me, 0) + 1
    pid = os.getpid()
    try:
        yield
    finally:
        if pid == os.getpid():
            with _changed:
                _users[me] -= 1
                if not _users[me]:
                    del _users[me]
                _changed.notify_all()


@contextmanager
def lent(opened):
    """A context with the database of a connection, which is given back at the end.

    Parameters
    ----------
    opened : Opened or None
        What the calling thread has taken or opened; there is no database for None.
    """
    try:
        yield opened and opened.db
    finally:
        if opened is not None:
            give_back(opened)


def take(file):
    """The most recently used idle connection to `file`, or None."""
    with _changed:
        for place in reversed(range(len(_idle))):
            if _idle[place].file == file:
                _used.append(_idle.pop(place))
                return _used[-1]
    return None


def add(opened):
    """Note a connection that the calling thread has opened and uses."""
    with _changed:
        _used.append(opened)


def give_back(opened):
    """Let other threads use a connection; the least recently used ones are closed."""
    with _changed:
        if not any(one is opened for one in _used):
            return  # of the parent of this process
        _used[:] = [one for one in _used if one is not opened]
        if opened.db.in_transaction:
            surplus = [opened]
        else:
            _idle.append(opened)
            surplus = [_idle.pop(0) for _ in range(len(_idle) - MOST_IDLE)]
    _close(surplus)


def discard(opened):
    """Close a connection that the calling thread has taken."""
    with _changed:
        _used[:] = [one for one in _used if one is not opened]
    _close([opened])


def close_idle(file=None):
    """Close the idle connections to `file`, or all idle connections."""
    with _changed:
        mine = [one for one in _idle if file is None or one.file == file]
        _idle[:] = [one for one in _idle if not (file is None or one.file == file)]
        _close(mine)


def opened_of(db):
    """What the connection of a use was opened to."""
    with _changed:
        return next(one for one in _used if one.db is db)


def is_in_doubt(identity):
    """Whether SQLite, in this forked child, believes that a lost thread has its locks."""
    return identity in _in_doubt


def _close(connections):
    for one in connections:
        with suppress(sqlite3.Error):  # closing may write, to a full disk
            one.db.close()


def _before_fork():
    global _forking
    _changed.acquire()
    _forking += 1
    me, deadline = threading.get_ident(), time.monotonic() + FORK_SECONDS
    while set(_users) - {me} and (left := deadline - time.monotonic()) > 0:
        _changed.wait(left)
    _close(_idle)
    _idle.clear()


def _after_fork_in_parent():
    global _forking
    _forking = max(0, _forking - 1)  # Ctrl-C may have come before it was counted
    _changed.notify_all()
    _changed.release()


def _after_fork_in_child():
    global _forking, _changed
    _forking, _changed = 0, threading.Condition()
    # None is idle, unless closing them was interrupted.
    for ours in (_used, _idle):
        _in_doubt.update(one.identity for one in ours)
        _inherited.extend(ours)
        ours.clear()
    _users.clear()


atexit.register(close_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
