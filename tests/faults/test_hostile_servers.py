"""Servers that repeat the key, never answer, or answer what is no vector."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._encode import transport

KEY = "sk-proj-Very_Secret.0123456789+/ab"
# As in a shell: SIGINT isn't ignored, which processes in the background inherit.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from sklearn_llm2vec.cli import main
sys.exit(main())
"""


@contextmanager
def serving(answer):
    """The base URL of a server; ``answer(connection)`` gets each that has asked."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection):
        with connection:
            try:
                connection.recv(1 << 20)
                answer(connection)
            except OSError:
                pass  # the client is gone

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.close()


def say(connection, body, status="200 OK", headers=""):
    body = body if isinstance(body, bytes) else body.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    connection.sendall(head.encode() + body)


def ask(url, tmp_path):
    return LLMEmbeddingTransformer(
        "a-model", endpoint=url, cache=tmp_path, verbose=False
    ).fit_transform(["a text"])


ECHOES = {
    "whole": KEY,
    "all but the last": KEY[:-1],
    "all but the first": KEY[1:],
    "the first half": KEY[: len(KEY) // 2],
    "the middle": KEY[10:22],
    "in capitals": KEY.upper(),
    "in a URL": KEY.replace("+", "%2B").replace("/", "%2F"),
    "cut by the length": "x" * 480 + KEY,
    "cut in halves": f"{KEY[:17]}...{KEY[17:]}",
}


@pytest.mark.parametrize("status", ["200 OK", "400 No", "401 No"])
@pytest.mark.parametrize("echo", ECHOES)
def test_no_part_of_the_key_is_told(echo, status, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for body in (
        {"error": {"message": f"wrong key {ECHOES[echo]}"}},
        {"data": f"Bearer {ECHOES[echo]}"},
        {"data": [{"index": 0, "embedding": ECHOES[echo]}]},
        {"detail": [{"input": {"authorization": ECHOES[echo]}}]},
    ):
        with serving(lambda c, b=body: say(c, json.dumps(b), status)) as url:
            with pytest.raises(ValueError) as caught:
                ask(url, tmp_path)
        told = str(caught.value).lower()
        parts = {KEY[i : i + 8].lower() for i in range(len(KEY) - 7)}
        assert not [part for part in parts if part in told]


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent to a process")
@pytest.mark.parametrize("answers", [0, 1])
def test_ctrl_c_ends_a_command_whose_server_hangs(answers, tmp_path):
    """In its first request, and in those of several threads after it."""
    asked, n_good = threading.Event(), [answers]

    def answer(connection):
        if n_good[0]:
            n_good[0] -= 1
            vector = {"index": 0, "embedding": [1.0, 2.0]}
            say(connection, json.dumps({"data": [vector]}))
            return
        asked.set()
        time.sleep(60)

    table = tmp_path / "table.csv"
    table.write_text("text\n" + "".join(f"text {i}\n" for i in range(100)))
    command = ["embed", str(table), "-o", str(tmp_path / "out.npy"), "--text", "text"]
    with serving(answer) as url:
        options = ["--endpoint", url, "--model", "a-model"]
        options += ["--cache", str(tmp_path / "cache")]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *command, *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert asked.wait(60), process.stderr.read()
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=5)
        finally:
            process.kill()
            process.stderr.close()
    assert process.returncode == 130
    assert "Interrupted" in said


def test_a_head_that_drips_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "MOST_SECONDS", 1.0)

    def answer(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        for _ in range(300):
            connection.sendall(b"a")
            time.sleep(0.05)

    start = time.monotonic()
    with serving(answer) as url, pytest.raises(ValueError, match="took more than 1 s"):
        ask(url, tmp_path)
    assert time.monotonic() - start < 10


NUMBERS = {
    "400 digits": "9" * 400,
    "5,000 digits": "9" * 5000,
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "a huge exponent": "1e999",
    "a string": '"1.5"',
    "a bool": "true",
    "null": "null",
    "an object": '{"a": 1}',
    "deep lists": "[" * 100_000,
    "deep closed lists": "[" * 5000 + "]" * 5000,
}


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_no_number_is_refused(number, tmp_path):
    body = '{"data": [{"index": 0, "embedding": [0.5, %s]}]}' % NUMBERS[number]  # noqa: UP031
    with serving(lambda c: say(c, body)) as url:
        with pytest.raises(ValueError, match="must answer with"):
            ask(url, tmp_path)


@pytest.mark.parametrize(
    "entry",
    ["data", "index", "usage", "embedding"],
)
@pytest.mark.parametrize("value", ["9" * 400, "NaN", '"x"', "true", "[]", "{}", "null"])
def test_odd_entries_are_refused_or_ignored(entry, value, tmp_path):
    good = {"index": "0", "embedding": "[0.5, 1]", "usage": "{}"}
    entries = {**good, entry: value}
    data = '[{"index": %(index)s, "embedding": %(embedding)s}]' % entries  # noqa: UP031
    data = entries.get("data", data)
    body = f'{{"data": {data}, "usage": {entries["usage"]}}}'
    with serving(lambda c: say(c, body)) as url:
        try:
            got = ask(url, tmp_path)
        except ValueError as error:
            assert "must" in str(error)
        else:
            np.testing.assert_array_equal(got, [[0.5, 1]])
