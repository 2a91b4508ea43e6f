"""A search over every layer and pooling sends each text through the model once.

All 7 hidden states x 5 poolings x 5 folds of MiniLM on 2,000 texts of Banking77, searched
four times. Bars:

- empty cache, grid from ``layer_pooling_grid``: texts encoded == distinct texts;
- the same again: no text encoded, no model loaded;
- ``n_jobs=2``, empty cache: texts encoded == distinct texts, one load in one process;
- a hand-written ``param_grid``, empty cache: at most 2 passes over the texts.

The first search has a LogisticRegression on one BLAS thread; the other three are there to
count texts, with a RidgeClassifier.

    python benchmarks/bench_grid.py [--small]
"""

import os
import time
from pathlib import Path

import harness
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer, layer_pooling_grid
from sklearn_llm2vec._estimator.parameters import plain


class CountLoads(TransformerMixin, BaseEstimator):
    """Passes texts on; once fitted in a process, that one writes each load to `file`."""

    def __init__(self, file):
        self.file = file

    def fit(self, X, y=None):
        from sklearn_llm2vec._model import loading

        load_network = getattr(loading.load_network, "original", loading.load_network)

        def counting(*args, **kwargs):
            with open(self.file, "a", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n")
            return load_network(*args, **kwargs)

        counting.original = load_network
        loading.load_network = counting
        return self

    def transform(self, X):
        return X

    def __sklearn_is_fitted__(self):
        return True


def search(name, texts, labels, folder, *, head, written=False, n_jobs=1, folds=5):
    """Run one search with the cache in `folder`; return its row of numbers."""
    loads = Path(f"{folder}-{name.replace(' ', '-')}.loads")
    loads.touch()
    pipeline = make_pipeline(
        CountLoads(loads),
        LLMEmbeddingTransformer(harness.MINILM, cache=folder, verbose=False),
        head,
    )
    grid = layer_pooling_grid(pipeline)
    if written:
        grid = {key: list(map(plain, values)) for key, values in grid.items()}
    cache = EmbeddingCache(folder)
    before = cache.info()["texts_encoded"]
    started = time.perf_counter()
    with threadpool_limits(1, "blas"):
        found = GridSearchCV(
            pipeline,
            grid,
            cv=StratifiedKFold(folds, shuffle=True, random_state=0),
            n_jobs=n_jobs,
            refit=False,
            error_score="raise",
        ).fit(texts, labels)
    seconds = time.perf_counter() - started
    pids = loads.read_text().split()
    return {
        "search": name,
        "fits": len(found.cv_results_["params"]) * folds,
        "texts encoded": cache.info()["texts_encoded"] - before,
        "loads": len(pids),
        "processes loading": len(set(pids)),
        "seconds": round(seconds, 1),
        "best accuracy": round(float(found.best_score_), 4),
        "best layer": found.best_params_["llmembeddingtransformer__layer"],
        "best pooling": found.best_params_["llmembeddingtransformer__pooling"],
    }


def main():
    args = harness.read_sizes(__doc__, texts=(2000, 600), folds=(5, 2))
    texts, labels = harness.banking_texts(args.texts)
    distinct = len(set(texts))
    logistic = LogisticRegression(max_iter=100, tol=1e-2)
    ridge = RidgeClassifier(alpha=0.1)
    with harness.new_folder() as root:
        harness.minilm()
        first, second, third = (root / name for name in ("one", "two", "three"))
        runs = []
        for name, folder, options in [
            ("grid, empty cache", first, {"head": logistic}),
            ("grid, again", first, {"head": ridge}),
            ("grid, n_jobs=2, empty cache", second, {"head": ridge, "n_jobs": 2}),
            ("hand-written, empty cache", third, {"head": ridge, "written": True}),
        ]:
            run = search(name, texts, labels, folder, folds=args.folds, **options)
            runs.append(run)
            print(f"{name}: {run['seconds']} s", flush=True)
    harness.print_table(list(runs[0]), [run.values() for run in runs])
    one, again, parallel, written = runs
    harness.finish(
        args,
        passed={
            "texts encoded == distinct texts": one["texts encoded"] == distinct,
            "again: none encoded, nothing loaded": again["texts encoded"] == 0
            and again["loads"] == 0,
            "n_jobs=2: texts encoded == distinct texts": parallel["texts encoded"]
            == distinct,
            "n_jobs=2: one load in one process": parallel["loads"] == 1,
            "hand-written grid: at most 2 passes": written["texts encoded"]
            <= 2 * distinct,
        },
        texts=len(texts),
        distinct=distinct,
        encoded=one["texts encoded"],
        encoded_again=again["texts encoded"],
        encoded_n_jobs_2=parallel["texts encoded"],
        encoded_hand_written=written["texts encoded"],
        loads=[run["loads"] for run in runs],
        seconds=[run["seconds"] for run in runs],
        best=[one["best layer"], one["best pooling"], one["best accuracy"]],
    )


if __name__ == "__main__":
    main()
