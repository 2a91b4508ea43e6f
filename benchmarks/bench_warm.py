"""What costs nothing must stay so: a warm transform, the import, a pickle.

Bars:

- 100,000 rows x 384 whose vectors are all in the cache, in a fresh process: at least
  100,000 rows a second, and torch isn't imported. The cache is filled with random vectors
  under the fingerprint that a fitted transformer of MiniLM has.
- ``import sklearn_llm2vec`` costs at most 50 ms more than ``import sklearn`` (fresh
  processes, interleaved, medians). The import of the estimator, which is lazy, is shown
  beside it.
- A pickled fitted pipeline (ours, StandardScaler, LogisticRegression) is at most 20 KB
  larger than the same pipeline without our step.

    python benchmarks/bench_warm.py [--small]
"""

import pickle
import subprocess
import sys
import time

import harness
import numpy as np

IMPORTS = {
    "sklearn": "import sklearn",
    "sklearn_llm2vec": "import sklearn; import sklearn_llm2vec",
    "the estimator": "from sklearn_llm2vec import LLMEmbeddingTransformer",
    "sklearn.decomposition": "from sklearn.decomposition import PCA",
}


def texts_and_vectors(n_rows, width):
    texts = [f"row number {i} of a table" for i in range(n_rows)]
    rng = np.random.default_rng(0)
    return texts, rng.standard_normal((n_rows, width), np.float32)


def transformer_with(folder):
    from sklearn_llm2vec import LLMEmbeddingTransformer

    return LLMEmbeddingTransformer(harness.MINILM, cache=folder, verbose=False)


def fill(folder, n_rows):
    """Put random vectors for `n_rows` texts into the cache."""
    from sklearn_llm2vec import EmbeddingCache
    from sklearn_llm2vec._model.spec import text_keys

    transformer = transformer_with(folder).fit(["a"])
    texts, vectors = texts_and_vectors(n_rows, transformer.embedding_dim_)
    keys = text_keys(texts)
    cell = (transformer.layer_, transformer.pooling_)
    cache = EmbeddingCache(folder)
    for start in range(0, n_rows, 512):  # as a real pass writes them
        part = slice(start, start + 512)
        cache.put_many(transformer.fingerprint_, keys[part], {cell: vectors[part]})


def warm_transform(folder, n_rows, repeats):
    """In a process of its own: seconds of each transform, and what was imported."""
    transformer = transformer_with(folder).fit(["a"])
    texts, expected = texts_and_vectors(n_rows, transformer.embedding_dim_)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        out = transformer.transform(texts)
        seconds.append(time.perf_counter() - started)
    if transformer.last_report_.encoded or not np.array_equal(out, expected):
        raise RuntimeError(f"the transform wasn't warm: {transformer.last_report_}")
    imported = {name: name in sys.modules for name in ("torch", "transformers")}
    return {"seconds": seconds, "imported": imported}


def import_times(repeats):
    """Median milliseconds of each import, measured inside fresh processes."""
    times = {name: [] for name in IMPORTS}
    for _ in range(repeats):
        for name, statement in IMPORTS.items():
            code = (
                "import time; t = time.perf_counter()\n"
                f"{statement}\nprint(time.perf_counter() - t)"
            )
            command = [sys.executable, "-c", code]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            times[name].append(1000 * float(out.stdout))
    return {name: float(np.median(values)) for name, values in times.items()}


def pickle_sizes(folder):
    """Bytes of a fitted pipeline, and of the same without our step."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    texts = [f"{what} {i}" for i in range(30) for what in ("a cat", "a dog", "a bird")]
    labels = np.arange(len(texts)) % 3
    whole = make_pipeline(
        transformer_with(folder), StandardScaler(), LogisticRegression()
    ).fit(texts, labels)
    again = pickle.loads(pickle.dumps(whole))
    if again.score(texts, labels) != whole.score(texts, labels):
        raise RuntimeError("the pickled pipeline scores differently")
    return len(pickle.dumps(whole)), len(pickle.dumps(whole[1:]))


def main():
    args = harness.read_sizes(
        __doc__, rows=(100_000, 100_000), repeats=(3, 1), imports=(7, 3)
    )
    with harness.new_folder() as root:
        harness.minilm(root / "warm")
        fill(root / "warm", args.rows)
        warm = harness.call_in_new_process(
            warm_transform, root / "warm", args.rows, args.repeats
        )
        imports = import_times(args.imports)
        whole, rest = pickle_sizes(root / "pickle")
    first, best = args.rows / warm["seconds"][0], args.rows / min(warm["seconds"])
    over = imports["sklearn_llm2vec"] - imports["sklearn"]
    harness.print_table(
        ["what", "measured", "bar"],
        [
            ["warm transform, first", f"{first:,.0f} rows/s", ">= 100,000"],
            ["warm transform, best", f"{best:,.0f} rows/s", ""],
            ["torch imported", warm["imported"]["torch"], "no"],
            ["transformers imported", warm["imported"]["transformers"], ""],
            *([f"import: {name}", f"{ms:.1f} ms", ""] for name, ms in imports.items()),
            ["import sklearn_llm2vec over sklearn", f"{over:.1f} ms", "<= 50"],
            ["pickle over that of the rest", f"{whole - rest:,} bytes", "<= 20,000"],
        ],
    )
    harness.finish(
        args,
        passed={
            "at least 100,000 rows/s": first >= 100_000,
            "torch is not imported": not warm["imported"]["torch"],
            "import at most 50 ms over sklearn": over <= 50,
            "pickle at most 20 KB over": whole - rest <= 20_000,
        },
        rows=args.rows,
        rows_per_second_first=round(first),
        rows_per_second_best=round(best),
        imported=warm["imported"],
        import_ms={name: round(ms, 1) for name, ms in imports.items()},
        import_over_sklearn_ms=round(over, 2),
        pickle_bytes=whole,
        pickle_over_bytes=whole - rest,
    )


if __name__ == "__main__":
    main()
