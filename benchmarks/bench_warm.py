"""What costs nothing should take no time: warm transforms, imports, pickles.

Bars: a transform of 100,000 rows x 384 from the cache at 100,000 rows/s without torch;
``import sklearn_llm2vec`` at most 50 ms over ``import sklearn``; a fitted pipeline pickles
to at most 20 KB more than what its other steps learned.
"""

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from common import MINILM
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._spec import text_keys

WARM = """
import sys, time
from sklearn_llm2vec import LLMEmbeddingTransformer
texts = [f"the text with number {{i}}" for i in range({n})]
made = LLMEmbeddingTransformer({model!r}, cache={folder!r}).fit(texts[:1])
made.transform(texts[:1000])
started = time.perf_counter()
features = made.transform(texts)
seconds = time.perf_counter() - started
assert features.shape == ({n}, 384) and made.last_report_.encoded == 0
print({n} / seconds, 'torch' in sys.modules)
"""


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def warm_rows_per_second(n, repetitions):
    folder = tempfile.mkdtemp()
    made = LLMEmbeddingTransformer(MINILM, cache=folder).fit(["a"])
    cache, rng = EmbeddingCache(folder), np.random.default_rng(0)
    keys = text_keys([f"the text with number {i}" for i in range(n)])
    for start in range(0, n, 512):
        part = keys[start : start + 512]
        vectors = rng.normal(size=(len(part), 384)).astype("f4")
        cache.put_many(made.fingerprint_, part, {(made.layer_, made.pooling_): vectors})
    code = WARM.format(n=n, model=MINILM, folder=folder)
    runs = [python(code) for _ in range(repetitions)]
    return statistics.median(float(r) for r, _ in runs), any(t == "True" for _, t in runs)


def import_seconds(repetitions):
    taken = {"sklearn": [], "sklearn_llm2vec": []}
    for _ in range(repetitions):
        for name, seconds in taken.items():
            code = (
                "import time; t = time.perf_counter(); import sklearn, "
                f"{name}; print(time.perf_counter() - t)"
            )
            seconds.append(float(python(code)[0]))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def pickled_bytes():
    texts = [f"text {i}" for i in range(40)]
    made = LLMEmbeddingTransformer(MINILM, cache=tempfile.mkdtemp(), verbose=False)
    rest = make_pipeline(StandardScaler(), LogisticRegression())
    labels = np.arange(40) % 2
    whole = make_pipeline(made, *[step for _, step in rest.steps]).fit(texts, labels)
    rest.fit(made.transform(texts), labels)
    return len(pickle.dumps(whole)) - len(pickle.dumps(rest))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    rate, torch_imported = warm_rows_per_second(args.rows, args.repetitions)
    imports = import_seconds(args.repetitions + 2)
    more = 1000 * (imports["sklearn_llm2vec"] - imports["sklearn"])
    n_bytes = pickled_bytes()
    print(f"warm transform, {args.rows:,} rows      {rate:,.0f} rows/s")
    print(f"torch imported for it                {torch_imported}")
    print(f"import over scikit-learn's           {more:.1f} ms")
    print(f"pickled pipeline over other steps    {n_bytes:,} bytes")
    result = {
        "benchmark": "warm",
        "rows_per_second": round(rate),
        "torch_imported": torch_imported,
        "import_ms_over_sklearn": round(more, 1),
        "pickle_bytes_more": n_bytes,
        "passed": rate >= 1e5 and not torch_imported and more <= 50 and n_bytes <= 20_000,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
