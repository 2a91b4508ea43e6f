"""How long one process waits for another, and the warnings that it gives.

A working process gives a sign of life each second. A process that was stopped gives none,
and a process that hangs stops giving signs after a while.
"""

import threading
import time

from sklearn_llm2vec._common.checks import warn

# After so long without a sign of life, a warning names the other process.
NOTICE_SECONDS = 5
# After so long without one, the other process is no longer waited for.
SILENCE_SECONDS = 120
SIGN_SECONDS = 1
# A model may take minutes to load, and a server may take minutes to answer. After so long
# without progress, the process is assumed to hang and gives no more signs.
PATIENCE_SECONDS = 900


class Signs:
    """Context that gives signs of life from a thread, as long as there is progress.

    Parameters
    ----------
    give : callable
        Gives one; it may be called by two threads at once.
    """

    def __init__(self, give):
        self._give, self._ended = give, threading.Event()
        self._progressed = time.monotonic()

    def __enter__(self):
        threading.Thread(target=self._repeat, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self._ended.set()

    def progress(self):
        """Note that the work has made progress."""
        self._progressed = time.monotonic()

    def _repeat(self):
        while not self._ended.wait(SIGN_SECONDS):
            if time.monotonic() - self._progressed < PATIENCE_SECONDS:
                self._give()


def warn_of_silence(pid, seconds, limit):
    """Warn that another process is waited for, and for how long.

    Parameters
    ----------
    pid : int or None
        Id of the other process, if it is known.
    seconds, limit : float
        How long it has been silent, and how long it may be.
    """
    warn(
        f"Waiting for {_process(pid)}, which encodes texts for the same model and has "
        f"given no sign of life for {seconds:.0f} seconds. After {limit:.0f} seconds "
        "without one, this process encodes the texts itself. If the other process "
        "hangs, end it."
    )


def warn_of_end(pid, seconds):
    """Warn that the wait is over, and what it costs."""
    warn(
        f"{_process(pid).capitalize()} has given no sign of life for {seconds:.0f} "
        "seconds. This process now encodes its texts itself, so some may be encoded "
        "twice."
    )


def _process(pid):
    return f"process {pid}" if pid else "another process"
