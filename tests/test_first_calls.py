"""The first calls of a process come from several threads, and all of them succeed.

Each test starts processes of its own: what races is imported once in a process.
"""

import os
import subprocess
import sys

import pytest

START = """
import sys, tempfile, warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
from sklearn_llm2vec import LLMEmbeddingTransformer

TEXTS = ["card bank", "my dog reads a table", "the small cat"] * 4
cache = tempfile.mkdtemp()
"""


def run(code, cache):
    environment = {**os.environ, "SKLEARN_LLM2VEC_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", START + code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


THREADS = """
sys.setswitchinterval(1e-5)  # threads change places more often
barrier = Barrier(12)
settings = {settings}

def first_call(i):
    barrier.wait()
    made = LLMEmbeddingTransformer(verbose=False, **settings[i % len(settings)])
    return made.fit_transform(TEXTS)

with ThreadPoolExecutor(12) as pool:
    calls = [pool.submit(first_call, i) for i in range(12)]
print([repr(call.exception()) for call in calls if call.exception()])
for i, call in enumerate(calls):
    np.testing.assert_array_equal(call.result(), calls[i % len(settings)].result())
"""


@pytest.mark.parametrize("kind", ["cache", "no cache", "several settings"])
def test_of_twelve_threads(kind, llama, bert, tmp_path):
    settings = {
        "cache": [{"model": llama, "cache": str(tmp_path)}],
        "no cache": [{"model": bert, "cache": None}],
        "several settings": [
            {"model": llama, "cache": None, "template": "ke"},
            {"model": llama, "cache": None, "attention": "bidirectional"},
            {"model": bert, "cache": str(tmp_path), "long_texts": "error"},
        ],
    }
    code = THREADS.replace("{settings}", repr(settings[kind]))
    assert run(code, tmp_path / "default") == "[]"


SEARCH = """
from joblib import parallel_config
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

pipe = make_pipeline(LLMEmbeddingTransformer({model!r}, verbose=False), RidgeClassifier())
grid = {{"llmembeddingtransformer__layer": [1, 2], "ridgeclassifier__alpha": [0.1, 1.0]}}
texts = [f"{{a}} {{b}}" for a in ("card", "bank", "dog", "cat") for b in "abcdefgh"]
y = [int(text.split()[0] in ("card", "bank")) for text in texts]
warnings.simplefilter("error")
"""

THREADED = """
with parallel_config("threading", n_jobs=8):
    search = GridSearchCV(pipe, grid, cv=2).fit(texts, y)
print(np.isnan(search.cv_results_["mean_test_score"]).sum(), search.best_score_ > 0.4)
"""

NESTED = """
if __name__ == "__main__":
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=2, error_score="raise")
    scores = cross_val_score(search, texts, y, cv=2, n_jobs=2, error_score="raise")
    print(np.isnan(scores).sum(), scores.mean() > 0.4)
"""


@pytest.mark.parametrize("search", [THREADED, NESTED], ids=["threaded", "nested"])
def test_a_search_loses_no_candidate(search, llama, tmp_path):
    code = SEARCH.format(model=llama) + search
    assert run(code, tmp_path) == "0 True"


ALONE = """
import importlib.abc
from sklearn_llm2vec._common.imports import loading

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if package in ("torch", "transformers", "peft") and not loading._is_owned():
            unguarded.append(name)

unguarded = []
sys.meta_path.insert(0, Watch())
for settings in {settings}:
    LLMEmbeddingTransformer(verbose=False, **settings).fit(TEXTS).transform(TEXTS)
print(unguarded)
"""


def test_what_is_imported_is_imported_by_one_thread_at_a_time(llama, bert, tmp_path):
    settings = [
        {"model": bert, "cache": str(tmp_path)},
        {"model": llama, "cache": None, "template": "ke"},
        {"model": llama, "cache": None, "attention": "bidirectional"},
        {"model": bert, "cache": str(tmp_path), "long_texts": "chunk", "max_length": 9},
    ]
    code = ALONE.replace("{settings}", repr(settings))
    assert run(code, tmp_path / "default") == "[]"
