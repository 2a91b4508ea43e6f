"""Code that is given what a stranger wrote runs in a separate process, with limits.

A template or a regular expression of a model's folder may never end, or fill the memory.
Neither can be stopped inside this process, least of all in one of its threads.
"""

import json
import os
import signal
import subprocess
import sys

from sklearn_llm2vec._common.people import printable

# CPU time, if the system counts it; what is meant takes milliseconds.
MOST_SECONDS = 5
# Time until the answer, including imports, which take seconds on a busy machine.
MOST_WAITED = 60
# Address space in addition to that of the imports, if the system counts it.
MOST_BYTES = 2**30
# How the system ends a process that has gone beyond a limit.
LIMITS = [getattr(signal, name, None) for name in ("SIGKILL", "SIGXCPU")]

CHILD = """
import sys
sys.path[:] = sys.argv[1:]  # and not whatever folder this is
import json

def limit(kind, most):
    there = [n for n in resource.getrlimit(kind) if n != resource.RLIM_INFINITY]
    most = min([most, *there])  # a lower limit stays; none can be raised
    resource.setrlimit(kind, (most, most))

question, seconds, n_bytes = json.load(sys.stdin)
try:
    answer_to = prepare()
    try:
        import resource
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        limit(resource.RLIMIT_AS, pages * resource.getpagesize() + n_bytes)
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        limit(resource.RLIMIT_CPU, int(used) + seconds)
    except (ImportError, OSError, ValueError):
        pass  # not Linux: the time is the only limit
    said = {"answer": answer_to(*question)}
except ImportError as error:
    said = {"missing": str(error)}
except BaseException as error:
    said = {"error": f"{type(error).__name__}: {error}"[:500]}
# A line of its own: what was imported may have printed something.
print()
print(json.dumps(said))
"""


class Stopped(Exception):
    """The code raised an error, or ended without an answer: says what "it" did."""


class LimitReached(Stopped):
    """The code went beyond a limit."""


def answered(code, *question):
    """What code answers to a question.

    Parameters
    ----------
    code : str
        Defines ``prepare()``, which imports what is needed, without limits, and returns
        the function that is given the question.
    *question : values that JSON can hold

    Returns
    -------
    A value that JSON can hold.

    Raises
    ------
    Stopped, LimitReached
    ImportError
        As the code raises it.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", code + CHILD, *sys.path],
            input=json.dumps([question, MOST_SECONDS, MOST_BYTES]),
            capture_output=True,
            timeout=MOST_WAITED,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
    except subprocess.TimeoutExpired:
        raise LimitReached(f"it takes more than {MOST_WAITED} seconds") from None
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise _end_of(done) from None
    if "missing" in said:
        raise ImportError(said["missing"])
    if "error" in said:
        raise Stopped(f"it stops with {said['error']}")
    return said["answer"]


def _end_of(done):
    """Why a process ended without an answer."""
    if -done.returncode in LIMITS:
        return LimitReached(
            f"it takes more than {MOST_SECONDS} seconds or {MOST_BYTES:,} bytes"
        )
    last = printable((done.stderr.strip().splitlines() or ["nothing"])[-1], 300)
    return Stopped(f"its process ended with status {done.returncode} and said: {last}")
