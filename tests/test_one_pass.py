"""A search over layers and poolings costs one pass, in one process or several."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
from conftest import WORDS
from sklearn.compose import make_column_transformer
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer, layer_pooling_grid
from sklearn_llm2vec._model import handover
from sklearn_llm2vec._network.pooling import POOLINGS

N_TEXTS = 60


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    words = np.array("card bank cat dog red blue small large reads table".split())
    texts = {" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(90)}
    texts = sorted(texts)[:N_TEXTS]
    y = [int(t.split()[0] in words[:5]) for t in texts]
    return pd.DataFrame({"text": texts, "n": rng.normal(size=N_TEXTS)}), np.array(y)


def pipeline(model, cache):
    transformer = make_column_transformer(
        (LLMEmbeddingTransformer(model, cache=cache), ["text"]), remainder="passthrough"
    )
    return make_pipeline(transformer, RidgeClassifier())


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_whole_grid_is_one_pass_and_a_second_run_none(llama, cache, table, n_jobs):
    X, y = table
    pipe = pipeline(llama, cache)
    grid = layer_pooling_grid(pipe)
    search = GridSearchCV(pipe, grid, cv=5, n_jobs=n_jobs).fit(X, y)
    assert len(search.cv_results_["params"]) == 5 * 4
    assert cache.info()["texts_encoded"] == N_TEXTS
    assert cache.info()["vectors"] == N_TEXTS * 20
    again = GridSearchCV(pipe, grid, cv=5, n_jobs=n_jobs).fit(X, y)
    assert cache.info()["texts_encoded"] == N_TEXTS
    np.testing.assert_array_equal(
        again.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_grid_written_by_hand_is_two_passes_at_most(llama, cache, table, n_jobs):
    X, y = table
    name = "columntransformer__llmembeddingtransformer"
    grid = {f"{name}__layer": range(5), f"{name}__pooling": list(POOLINGS)}
    GridSearchCV(pipeline(llama, cache), grid, cv=3, n_jobs=n_jobs).fit(X, y)
    assert cache.info()["texts_encoded"] <= 2 * N_TEXTS


def test_a_search_that_began_while_waiting_is_seen(llama, tmp_path, table, monkeypatch):
    texts = table[0]["text"].tolist()
    encode_lock = EmbeddingCache.encode_lock
    others = iter([LLMEmbeddingTransformer(llama, layer=1, cache=tmp_path)])

    def after_another(self, *args):
        for other in others:  # it had the lock until now
            other.transform(texts)
        return encode_lock(self, *args)

    monkeypatch.setattr(EmbeddingCache, "encode_lock", after_another)
    LLMEmbeddingTransformer(llama, layer=2, cache=tmp_path).transform(texts)
    # One cell of the first pass, and all layers and poolings of the second.
    assert EmbeddingCache(tmp_path).info()["vectors"] == N_TEXTS * 25
    LLMEmbeddingTransformer(llama, layer=3, cache=tmp_path).transform(texts)
    assert EmbeddingCache(tmp_path).info()["texts_encoded"] == 2 * N_TEXTS


def test_two_models_side_by_side(llama, bert, cache, table):
    X, y = table
    pipe = pipeline(llama, cache)
    grid = layer_pooling_grid(pipe, layers=[1, 2], poolings=["mean"])
    grid["columntransformer__llmembeddingtransformer__model"] = [llama, bert]
    GridSearchCV(pipe, grid, cv=3).fit(X, y)
    assert cache.info()["texts_encoded"] == 2 * N_TEXTS


# --- processes -----------------------------------------------------------------------


def count_loads(path):
    """Make each load of a model leave a line in a file."""
    from sklearn_llm2vec._model import loading

    load = loading.load_network

    def counting(*args):
        with open(path, "a") as file:
            file.write(f"{os.getpid()}\n")
        return load(*args)

    loading.load_network = counting


def transform_part(model, cache, texts, log, barrier):
    count_loads(log)
    barrier.wait()
    got = LLMEmbeddingTransformer(model, cache=cache, verbose=False).fit_transform(
        texts
    )
    assert got.shape == (len(texts), 32)
    barrier.wait()  # stay there, as a joblib worker does


def test_workers_share_one_model_and_encode_each_text_once(
    llama, cache, texts, tmp_path
):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(3)
    log = tmp_path / "loads"
    parts = [texts[:30], texts[10:40], texts[20:]]
    workers = [
        spawn.Process(target=transform_part, args=(llama, cache, part, log, barrier))
        for part in parts
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert cache.info()["texts_encoded"] == len(texts)
    assert len(log.read_text().split()) == 1
    want = LLMEmbeddingTransformer(llama, cache=None).fit_transform(texts)
    got = LLMEmbeddingTransformer(llama, cache=cache).fit_transform(texts)
    np.testing.assert_array_equal(got, want)


def offer_and_sleep(directory, ready):
    def encode(texts, layers, poolings):
        ready.set()
        time.sleep(60)
        yield 0

    handover.offer(directory, "name", encode)
    ready.set()
    time.sleep(60)


def test_work_comes_back_from_a_process_that_dies(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    worker = spawn.Process(target=offer_and_sleep, args=(tmp_path, ready))
    worker.start()
    assert ready.wait(60)
    ready.clear()
    assert handover.is_offered(tmp_path, "name")

    def kill(done):
        os.kill(worker.pid, signal.SIGKILL)

    work = {"texts": ["a"], "layers": [1], "poolings": ["mean"]}
    assert handover.hand_over(tmp_path, "name", **work, progress=kill) is None
    worker.join()
    # It is gone and can't take its offer back: whoever comes next isn't misled.
    assert handover.hand_over(tmp_path, "name", **work) is None
    assert not handover.is_offered(tmp_path, "name")


def offer_counting(directory, ready):
    def encode(texts, layers, poolings):
        if layers == [9]:
            raise ValueError("no such layer")
        yield from (1 for _ in texts)

    handover.offer(directory, "name", encode)
    ready.set()
    time.sleep(60)


def test_handing_over(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    worker = spawn.Process(target=offer_counting, args=(tmp_path, ready), daemon=True)
    worker.start()
    assert ready.wait(60)
    seen = []
    work = {"texts": ["a", "שלום"], "poolings": ["mean"]}
    n = handover.hand_over(tmp_path, "name", layers=[1], **work, progress=seen.append)
    assert (n, seen) == (2, [0, 1, 2])
    assert handover.hand_over(tmp_path, "name", layers=[9], **work) is None
    assert handover.hand_over(tmp_path, "other", layers=[1], **work) is None
    (offer,) = tmp_path.glob("model-*.json")
    assert offer.stat().st_mode & 0o077 == 0
    worker.terminate()
    worker.join()


def test_the_main_process_offers_nothing(llama, cache):
    LLMEmbeddingTransformer(llama, cache=cache).fit_transform(["a card"])
    assert not list(cache.path.glob("model-*.json"))


# --- prompts -------------------------------------------------------------------------


def test_templates_and_attention_in_a_grid_are_a_pass_each(llama, cache, table):
    X, y = table
    pipe = pipeline(llama, cache)
    grid = layer_pooling_grid(pipe, layers=[1, 3], poolings=["mean", "last"])
    name = "columntransformer__llmembeddingtransformer"
    grid[f"{name}__template"] = [None, "the book {text}"]
    grid[f"{name}__attention"] = ["causal", "bidirectional"]
    search = GridSearchCV(pipe, grid, cv=3).fit(X, y)
    assert len(search.cv_results_["params"]) == 16
    assert cache.info()["texts_encoded"] == 4 * N_TEXTS


@pytest.mark.parametrize("template", ["row", "{title} of {price}"])
def test_rows_are_handed_to_the_worker_that_has_the_model(llama, tmp_path, template):
    table = pd.DataFrame(
        {"title": [f"card {w}" for w in WORDS], "price": range(len(WORDS))}
    )
    y = np.arange(len(table)) % 2
    want = LLMEmbeddingTransformer(llama, template=template, cache=None)
    want = want.fit_transform(table)
    cache = EmbeddingCache(tmp_path)
    encoder = LLMEmbeddingTransformer(llama, template=template, cache=cache)
    pipe = make_pipeline(encoder, RidgeClassifier())
    grid = layer_pooling_grid(pipe, layers=[2, 4], poolings=["weighted_mean"])
    GridSearchCV(pipe, grid, cv=3, n_jobs=2).fit(table, y)
    assert cache.info()["texts_encoded"] == len(table)
    np.testing.assert_array_equal(encoder.fit_transform(table), want)
    assert encoder.last_report_.encoded == 0
