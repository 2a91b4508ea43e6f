"""Hits and uses are counted when the database is free: no look-up waits for that."""

import os
import time
from collections import deque
from contextlib import contextmanager
from typing import NamedTuple

from sklearn_llm2vec._cache.blocks import count_up


class Counts(NamedTuple):
    """Hits, misses, and when each space was last used, by fingerprint."""

    hits: int
    misses: int
    last_used: dict


class Uncounted:
    """What couldn't be counted yet, because there is no database or it was busy.

    Several threads may use it at once. A forked child starts with nothing, because its
    parent still has all of it.
    """

    def __init__(self):
        self._waiting, self._pid = deque(), os.getpid()

    def add(self, hits, misses, last_used=None):
        """Note hits, misses, and uses of spaces, to be counted later."""
        waiting = self._of_this_process()
        waiting.append(Counts(hits, misses, last_used or {}))
        # Or it would grow with each look-up in a cache that can't be written.
        waiting.append(self._take())

    def look_up(self, space, hits, misses):
        """Note one look-up in a space."""
        self.add(hits, misses, {space: time.time()})

    @contextmanager
    def taken(self):
        """A context that counts what waits; after an error, it waits again."""
        counts = self._take()
        try:
            yield counts
        except BaseException:
            self.add(*counts)
            raise

    def _take(self):
        waiting, hits, misses, last_used = self._of_this_process(), 0, 0, {}
        while waiting:
            try:
                one = waiting.popleft()
            except IndexError:  # another thread was faster
                break
            hits, misses = hits + one.hits, misses + one.misses
            last_used |= one.last_used
        return Counts(hits, misses, last_used)

    def _of_this_process(self):
        if self._pid != os.getpid():
            self._waiting, self._pid = deque(), os.getpid()
        return self._waiting


def write_counts(db, counts, **more):
    """Add counts to the lifetime counters, and set when the spaces were last used.

    Parameters
    ----------
    db : sqlite3.Connection
        In a transaction.
    counts : Counts
    **more : int
        Counters of other names.
    """
    count_up(db, hits=counts.hits, misses=counts.misses, **more)
    update = "UPDATE spaces SET last_used = ? WHERE fingerprint = ?"
    db.executemany(update, [(when, space) for space, when in counts.last_used.items()])
