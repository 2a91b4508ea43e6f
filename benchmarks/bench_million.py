"""A million distinct short texts through everything but the model.

A stub stands for the encoder. Bars: memory grows by the output and the keys only (here:
at most twice their size), and the time per text doesn't grow.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

CHILD = """
import json, resource, sys, tempfile, time
sys.path.insert(0, {here!r})
import numpy as np
from sklearn_llm2vec import LLMEmbeddingTransformer, _vectors
from sklearn_llm2vec._encoder import Block

class Stub:
    n_cut, max_length = 0, 512
    def encode(self, texts, layers, poolings):
        for start in range(0, len(texts), 512):
            rows = np.arange(start, min(start + 512, len(texts)))
            vectors = np.repeat(rows[:, None], 64, 1).astype("f4")
            cells = {{(k, p): vectors for k in layers for p in poolings}}
            yield Block(rows, cells, len(rows))

_vectors.load_encoder = lambda source, depth: Stub()
made = LLMEmbeddingTransformer({model!r}, cache=tempfile.mkdtemp(), verbose=False)
made.fit_transform([f"warm {{i}}" for i in range(2000)])
texts = [f"text number {{i}}" for i in range({n})]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
features = made.transform(texts)
cold = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert features[-1, 0] == {n} - 1
started = time.perf_counter()
made.transform(texts)
print(json.dumps([cold, time.perf_counter() - started, (peak - before) * 1024]))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 300_000, 10**6])
    args = parser.parse_args()
    from common import random_llama

    model = random_llama(64, 2)
    cache = tempfile.mkdtemp()
    environment = {**os.environ, "SKLEARN_LLM2VEC_CACHE": cache}
    print("     texts   cold us/text   warm us/text   memory, bytes/text (output 256)")
    rows = []
    for n in args.sizes:
        code = CHILD.format(here=os.path.dirname(__file__), model=model, n=n)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        cold, warm, more = json.loads(done.stdout)
        rows.append((n, 1e6 * cold / n, 1e6 * warm / n, more / n))
        print("{:>10,} {:>14.1f} {:>14.1f} {:>20.0f}".format(*rows[-1]))
    # Output 64 x 4 bytes; a key is a bytes object of 49 bytes, its place in a list 8; a
    # text is in two dictionaries' and lists' slots while it is made distinct.
    linear = rows[-1][1] <= 1.25 * rows[0][1]
    flat = rows[-1][3] <= 1.1 * rows[0][3] and rows[-1][3] <= 2 * (256 + 57)
    result = {
        "benchmark": "million",
        "rows": [[round(value, 1) for value in row] for row in rows],
        "passed": linear and flat,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
