"""One pass for a search: every layer and pooling, cross-validated, each text encoded once.

All 7 hidden states x 5 poolings x 5 folds of MiniLM on texts of banking77, with
LogisticRegression on one BLAS thread. Bars:

- empty cache, grid from ``layer_pooling_grid``: texts encoded == distinct texts;
- the same again: 0 texts encoded, and no model loaded;
- ``n_jobs=2``, empty cache: the same counts, exactly one process loads the model;
- a hand-written ``param_grid``, empty cache: at most 2 passes over the texts.

Only the first search uses ``--head``; the other three count texts only and use a
RidgeClassifier. Reads shared/data beside the repository.
"""

import argparse
import os
import time
from pathlib import Path

import _common
import _count_loads
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer, layer_pooling_grid


def search(name, texts, labels, folder, *, head, written=False, n_jobs=1, folds=5):
    """Run one search with the cache in `folder`; return its row of numbers."""
    loads = Path(f"{folder}-{name.replace(' ', '-')}.loads")
    os.environ["BENCH_LOADS"] = str(loads)
    pipeline = make_pipeline(
        _count_loads.watcher(),
        LLMEmbeddingTransformer(_common.MINILM, cache=folder, verbose=False),
        head,
    )
    grid = layer_pooling_grid(pipeline)
    if written:
        grid = {key: values for key, values in grid.items() if not key.endswith("keep")}
    cache = EmbeddingCache(folder)
    before = _encoded(cache)
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
    pids = _count_loads.read_loads(loads)
    seconds = time.perf_counter() - started
    results = found.cv_results_
    return {
        "search": name,
        "fits": len(results["params"]) * folds,
        "texts encoded": _encoded(cache) - before,
        "loads": len(pids),
        "processes loading": len(set(pids)),
        "seconds": round(seconds, 1),
        "best accuracy": round(float(found.best_score_), 4),
        "best layer": found.best_params_["llmembeddingtransformer__layer"],
        "best pooling": found.best_params_["llmembeddingtransformer__pooling"],
    }


def _encoded(cache):
    return cache.info().get("texts_encoded", 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--head", choices=["logreg", "ridge"], default="logreg")
    parser.add_argument("--max-iter", type=int, default=100)
    parser.add_argument("--C", type=float, default=1.0)
    parser.add_argument("--tol", type=float, default=1e-2)
    args = parser.parse_args()

    texts, labels = _common.banking_texts(args.texts)
    distinct = len(set(texts))
    head = RidgeClassifier(alpha=0.1)
    if args.head == "logreg":
        head = LogisticRegression(max_iter=args.max_iter, C=args.C, tol=args.tol)
    quick = RidgeClassifier(alpha=0.1)
    with _common.new_folder() as root:
        _common.own_cache(Path(root, "default"))
        first, second, third = (Path(root, name) for name in ("one", "two", "three"))
        runs = []
        for name, folder, options in [
            ("grid, empty cache", first, {"head": head}),
            ("grid, again", first, {"head": quick}),
            ("grid, n_jobs=2, empty cache", second, {"head": quick, "n_jobs": 2}),
            ("hand-written, empty cache", third, {"head": quick, "written": True}),
        ]:
            runs.append(
                search(name, texts, labels, folder, folds=args.folds, **options)
            )
            print(runs[-1], flush=True)
    print(f"\n{len(texts)} texts, {distinct} distinct; first head {head}\n")
    _common.print_table(list(runs[0]), [run.values() for run in runs])
    one, again, parallel, written = (run["texts encoded"] for run in runs)
    _common.finish(
        "grid",
        passed={
            "texts_encoded == distinct texts": one == distinct,
            "second run encodes 0": again == 0,
            "n_jobs=2 encodes each text once": parallel == distinct,
            "n_jobs=2: one process loads": runs[2]["processes loading"] == 1
            and runs[2]["loads"] == 1,
            "hand-written grid: at most 2 passes": written <= 2 * distinct,
        },
        texts=len(texts),
        distinct=distinct,
        head=args.head,
        encoded=one,
        encoded_again=again,
        encoded_n_jobs_2=parallel,
        processes_loading_n_jobs_2=runs[2]["processes loading"],
        loads=[run["loads"] for run in runs],
        encoded_hand_written=written,
        passes_hand_written=round(written / distinct, 3),
        seconds=[run["seconds"] for run in runs],
        best=[runs[0]["best layer"], runs[0]["best pooling"], runs[0]["best accuracy"]],
    )


if __name__ == "__main__":
    main()
