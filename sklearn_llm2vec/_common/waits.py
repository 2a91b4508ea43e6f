"""How long one process waits for another, and what it says meanwhile."""

from sklearn_llm2vec._common.checks import warn

# After so long without a sign of life it is said who is waited for.
NOTICE_SECONDS = 5
# After so long without one the other is taken to hang. Processes that work give a sign
# after each block, that is every few seconds.
SILENCE_SECONDS = 120


def warn_of_silence(pid, seconds, limit):
    """Say who is waited for, and how long.

    Parameters
    ----------
    pid : int or None
        Of the other process, where it is known.
    seconds, limit : float
        How long it has been silent, and may be.
    """
    warn(
        f"Waiting for {_process(pid)}, which encodes texts for the same model and has "
        f"given no sign of life for {seconds:.0f} seconds. After {limit:.0f} seconds "
        "this process encodes them itself. If the other hangs, end it."
    )


def warn_of_end(pid, seconds):
    """Say that the wait is over, and what it costs."""
    warn(
        f"{_process(pid).capitalize()} has given no sign of life for {seconds:.0f} "
        "seconds. This process encodes its texts itself; some may be encoded twice."
    )


def _process(pid):
    return f"process {pid}" if pid else "another process"
