"""Locks that a forked child process must not inherit in a locked state."""

import os


def renewed_by_fork(lock):
    """A lock that is open in a forked child, whichever thread had it in the parent.

    Parameters
    ----------
    lock : threading.Lock or RLock
    """
    if hasattr(os, "register_at_fork"):
        # As logging and concurrent.futures do with theirs.
        os.register_at_fork(after_in_child=lock._at_fork_reinit)
    return lock
