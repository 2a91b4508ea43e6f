"""Code of strangers, in a process of its own: its answer, or why there is none."""

import sys

import pytest

from sklearn_llm2vec._common import limited
from sklearn_llm2vec._common.limited import Stopped, answered

LOWER = """
def prepare():
    import resource
    print("what an import may print")
    resource.setrlimit(resource.RLIMIT_CPU, (40, 40))
    return lambda number: [number, resource.getrlimit(resource.RLIMIT_CPU)]
"""
DIES = """
def prepare():
    def die(status):
        import os
        print("the disk", "is on fire", sep="\\n", file=sys.stderr, flush=True)
        os._exit(status)
    return die
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there are no limits elsewhere")
def test_a_limit_that_is_lower_already_stays(monkeypatch):
    monkeypatch.setattr(limited, "MOST_SECONDS", 10**6)
    assert answered(LOWER, 7) == [7, [40, 40]]


def test_a_process_that_dies_says_why():
    with pytest.raises(Stopped, match=r"^its process ended with status 3 and said: is"):
        answered(DIES, 3)


@pytest.mark.parametrize(
    ("error", "what", "message"),
    [
        ("ValueError('no')", Stopped, "^it stops with ValueError: no$"),
        ("ImportError('no jinja2')", ImportError, "^no jinja2$"),
    ],
)
def test_errors_of_the_code(error, what, message):
    with pytest.raises(what, match=message):
        answered(f"def prepare():\n    raise {error}\n")
