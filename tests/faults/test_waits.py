"""Waits for a process that was stopped or says nothing: told, and with an end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._cache import database
from sklearn_llm2vec._common import waits
from sklearn_llm2vec._model import handover

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGSTOP"), reason="processes can't be stopped here"
)
WORK = {"texts": ["a"], "layers": [1], "poolings": ["mean"]}


@pytest.fixture
def short_waits(monkeypatch):
    monkeypatch.setattr(waits, "NOTICE_SECONDS", 2)
    monkeypatch.setattr(waits, "SILENCE_SECONDS", 4)
    monkeypatch.setattr(handover, "SILENCE_SECONDS", 4)
    monkeypatch.setattr(handover, "HANDSHAKE_SECONDS", 1)


@pytest.fixture
def start():
    """Start processes that run code, say "ready" and are gone at the end."""
    started = []

    def run(code):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


HOLDER = """
import os, sys, time
from sklearn_llm2vec import EmbeddingCache
with EmbeddingCache({path!r}).encode_lock({space!r}, "cpu") as turn:
    {inside}
    print("ready", flush=True)
    for _ in range(600):
        time.sleep(0.1)
        {each}
"""


def holder(path, space="s", inside="pass", each="pass"):
    return HOLDER.format(path=str(path), space=space, inside=inside, each=each)


def test_a_stopped_holder_of_the_encode_lock(cache, start, short_waits):
    process = start(holder(cache.path))
    process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with cache.encode_lock("s", "cpu"):
            waited = time.monotonic() - started
    assert waited < 20
    first, last = [str(one.message) for one in told]
    assert f"Waiting for process {process.pid}, which" in first
    assert f"Process {process.pid} has given no sign of life" in last
    # It goes on one day, and then has its turn as before.
    process.send_signal(signal.SIGCONT)


def test_a_holder_that_gives_signs_of_life_is_waited_for(cache, start, short_waits):
    process = start(holder(cache.path, each="turn.progress()"))
    threading.Timer(6, process.kill).start()  # longer than it may be silent
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with cache.encode_lock("s", "cpu"):
            assert time.monotonic() - started > 5


def test_a_holder_that_works_long_is_waited_for(cache, start, short_waits):
    process = start(holder(cache.path))  # no progress, but it isn't stopped
    threading.Timer(6, process.kill).start()
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with cache.encode_lock("s", "cpu"):
            assert time.monotonic() - started > 5


def test_a_holder_that_hangs(cache, start, short_waits):
    inside = "from sklearn_llm2vec._common import waits; waits.PATIENCE_SECONDS = 0.5"
    process = start(holder(cache.path, inside=inside))
    with pytest.warns(UserWarning, match=f"rocess {process.pid}"):
        with cache.encode_lock("s", "cpu"):
            assert process.poll() is None


def test_a_long_block_of_a_process_that_offers_its_model(tmp_path, start, short_waits):
    start(offering(tmp_path, encode="time.sleep(6)"))
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        n = handover.hand_over(tmp_path, "name", **WORK, progress=seen.append)
    assert n == 1
    assert seen[-1] == 1


def test_transform_beside_a_stopped_holder(bert, cache, start, short_waits):
    expected = LLMEmbeddingTransformer(bert, cache=None).fit_transform(["a card"])
    encoder = LLMEmbeddingTransformer(bert, cache=cache, device="cpu").fit(["a"])
    process = start(holder(cache.path, space=encoder.fingerprint_))
    process.send_signal(signal.SIGSTOP)
    with pytest.warns(UserWarning, match=f"rocess {process.pid}"):
        features = encoder.transform(["a card"])
    np.testing.assert_array_equal(features, expected)
    assert cache.info()["texts"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_holder_that_is_killed_while_its_child_lives(cache, start, short_waits):
    # The child has no use of the pipe to this test.
    inside = "os.fork() or (os.close(1), time.sleep(30), os._exit(0))"
    process = start(holder(cache.path, inside=inside))
    process.kill()
    process.wait()
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with cache.encode_lock("s", "cpu"):
            assert time.monotonic() - started < 5


# --- a process that offers its model -------------------------------------------------

OFFER = """
import os, time
from sklearn_llm2vec._model import handover

def encode(texts, layers, poolings):
    {encode}
    yield len(texts)

handover.offer({path!r}, "name", encode)
{then}
print("ready", flush=True)
time.sleep(60)
"""


def offering(path, encode="pass", then="pass"):
    return OFFER.format(path=str(path), encode=encode, then=then)


def test_a_stopped_process_that_offers_its_model(tmp_path, start, short_waits):
    process = start(offering(tmp_path))
    process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    with pytest.warns(UserWarning, match=f"Process {process.pid} has given no sign"):
        assert handover.hand_over(tmp_path, "name", **WORK) is None
    assert time.monotonic() - started < 10
    # This process asks it no more, others may: it may go on.
    assert not handover.is_offered(tmp_path, "name")
    assert list(tmp_path.glob("model-*.json"))


def test_more_processes_than_fit_the_queue_of_a_stopped_one(
    tmp_path, start, short_waits
):
    process = start(offering(tmp_path))
    process.send_signal(signal.SIGSTOP)
    (file,) = tmp_path.glob("model-*.json")
    address = json.loads(file.read_text())["address"]
    lines = []
    for _ in range(100):
        line = socket.socket(socket.AF_UNIX)
        line.setblocking(False)
        lines.append(line)
        try:
            line.connect(address)
        except BlockingIOError:
            break
    started = time.monotonic()
    with pytest.warns(UserWarning, match=f"Process {process.pid}"):
        assert handover.hand_over(tmp_path, "name", **WORK) is None
    assert time.monotonic() - started < 10
    for line in lines:
        line.close()


def test_a_process_that_is_stopped_at_work(tmp_path, start, short_waits):
    process = start(offering(tmp_path, encode="time.sleep(60)"))

    def stop(done):
        process.send_signal(signal.SIGSTOP)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert handover.hand_over(tmp_path, "name", **WORK, progress=stop) is None
    first, last = [str(one.message) for one in told]
    assert f"Waiting for process {process.pid}" in first
    assert f"Process {process.pid} has given no sign" in last


@pytest.mark.parametrize("words", [b"", b"\0", b"\0\0\0\x20abc"])
def test_clients_that_say_nothing_keep_nobody_waiting(tmp_path, start, words):
    start(offering(tmp_path))
    (file,) = tmp_path.glob("model-*.json")
    address = json.loads(file.read_text())["address"]
    lines = []
    for _ in range(5):
        line = socket.socket(socket.AF_UNIX)
        line.connect(address)
        line.sendall(words)
        lines.append(line)
    started = time.monotonic()
    assert handover.hand_over(tmp_path, "name", **WORK) == 1
    assert time.monotonic() - started < 5
    for line in lines:
        line.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("when", ["before", "while"])
def test_a_killed_offer_whose_child_lives(when, tmp_path, start):
    fork = "os.fork() or (os.close(1), time.sleep(30), os._exit(0))"
    if when == "before":
        process = start(offering(tmp_path, then=fork))
        process.kill()
        process.wait()
        progress = None
    else:
        process = start(offering(tmp_path, encode=f"{fork}; time.sleep(60)"))

        def progress(done):
            time.sleep(0.5)
            process.kill()

    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert handover.hand_over(tmp_path, "name", **WORK, progress=progress) is None
    assert time.monotonic() - started < 5
    assert not list(tmp_path.glob("model-*.json"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_ends_leaves_its_parents_offer(tmp_path, start):
    # It ends as any program does: what was to happen at the end happens.
    then = "pid = os.fork() or sys.exit(0); os.waitpid(pid, 0)"
    start("import sys\n" + offering(tmp_path, then=then))
    assert handover.hand_over(tmp_path, "name", **WORK) == 1


# --- a process that was stopped while it wrote ---------------------------------------


def test_a_writer_that_was_stopped(cache, start, monkeypatch):
    monkeypatch.setattr(database, "NOTICE_SECONDS", 1)
    monkeypatch.setattr(database, "BUSY_SECONDS", 3)
    cells = {(1, "mean"): np.ones((1, 4), "f4")}
    keys = [[bytes([n]) * 16] for n in range(9)]
    cache.put_many("s", keys[0], cells)
    process = start(
        f"""
import time
from sklearn_llm2vec import EmbeddingCache
from sklearn_llm2vec._cache.database import transaction
cache = EmbeddingCache({str(cache.path)!r})
with cache._connections.using() as db, transaction(db):
    print("ready", flush=True)
    time.sleep(60)
"""
    )
    process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for one in keys[1:]:
            assert cache.put_many("s", one, cells) == 0
            assert cache.get_many("s", keys[0], 1, "mean", np.zeros((1, 4), "f4")).all()
    # Not three seconds for each block.
    assert time.monotonic() - started < 3 + 2 * 8 * 1.5
    first, last = [str(one.message) for one in told]
    assert "Waiting for another process, which has been writing" in first
    assert "can't be written" in last
    process.kill()
    process.wait()
    assert cache.put_many("s", keys[1], cells) > 0
    assert EmbeddingCache(cache.path).verify()["ok"]
