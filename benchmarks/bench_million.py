"""A million distinct short texts: memory grows by the output and the keys, time linearly.

The model is replaced by a stub that makes a vector of 32 numbers from each text, so that
what is measured is all the rest: reading the input, keys, the cache, blocks, output. Each
size runs in a process of its own, cold (empty cache) and then warm. Two measures:

- time a text at the largest size is at most 1.3 times that at the smallest;
- peak memory over that before the transform grows, from the smallest size to the largest,
  by at most the output and 500 bytes a text (the reference to the text, its key of 16
  bytes as a Python object of 49 bytes, entries of the hash table that finds repeats, row
  numbers). The input texts themselves are there before.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import _common
import numpy as np

HIDDEN = 32
BYTES_A_TEXT = 500


class StubEncoder:
    """Blocks of vectors that follow from the texts; no model."""

    max_length = 512
    n_cut = 0

    def encode(self, texts, layers, poolings):
        from sklearn_llm2vec._encoder import Block

        for start in range(0, len(texts), 512):
            part = texts[start : start + 512]
            seeds = np.array([hash(text) for text in part], dtype=np.int64)[:, None]
            vectors = ((seeds >> np.arange(HIDDEN)) & 255).astype(np.float32)
            cells = {(k, pooling): vectors for k in layers for pooling in poolings}
            yield Block(np.arange(start, start + len(part)), cells, 8 * len(part))


def one_size(n_texts, root, use_cache):
    """In this process: time and peak of a cold and a warm transform."""
    import psutil

    # As the real encoder's import would: its memory isn't what is measured.
    import sklearn_llm2vec._encoder
    from sklearn_llm2vec import LLMEmbeddingTransformer, _vectors

    _vectors.load_encoder = lambda source, depth: StubEncoder()
    cache = Path(root, f"cache-{n_texts}") if use_cache else None
    transformer = LLMEmbeddingTransformer(
        Path(root, "llama"), cache=cache, device="cpu", verbose=False
    )
    transformer.fit_transform(["something", "to", "warm up"])
    texts = [f"text {i} of many" for i in range(n_texts)]
    before = psutil.Process().memory_info().rss
    seconds = []
    for _ in range(2 if use_cache else 1):
        started = time.perf_counter()
        out = transformer.transform(texts)
        seconds.append(time.perf_counter() - started)
        if len(seconds) == 1:
            cold = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        del out
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report = transformer.last_report_
    if report.encoded + report.cached != n_texts:
        raise RuntimeError(f"texts are missing: {report}")
    print(
        json.dumps(
            {
                "texts": n_texts,
                "cold_seconds": seconds[0],
                "warm_seconds": seconds[-1] if use_cache else None,
                "cold_bytes": cold - before,
                "peak_bytes": peak - before,
                "output_bytes": n_texts * HIDDEN * 4,
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[100_000, 300_000, 1_000_000]
    )
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one_size(int(args.one[0]), args.one[1], not args.no_cache)
        return
    results = []
    with _common.new_folder() as root:
        _common.own_cache(Path(root, "default"))
        _common.tiny_llama(
            Path(root, "llama"), hidden=HIDDEN, layers=2, intermediate=64, vocabulary=64
        )
        for n_texts in args.sizes:
            command = [sys.executable, __file__, "--one", str(n_texts), root]
            command += ["--no-cache"] if args.no_cache else []
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results.append(json.loads(out.stdout.splitlines()[-1]))
            print(results[-1], flush=True)
    rows = []
    for one in results:
        n, warm = one["texts"], one["warm_seconds"]
        over = (one["peak_bytes"] - one["output_bytes"]) / n
        rows.append(
            [
                f"{n:,}",
                f"{one['cold_seconds']:.2f}",
                f"{1e6 * one['cold_seconds'] / n:.1f}",
                "" if warm is None else f"{1e6 * warm / n:.1f}",
                f"{one['peak_bytes'] / 2**20:.0f}",
                f"{one['output_bytes'] / 2**20:.0f}",
                f"{over:.0f}",
            ]
        )
    print()
    _common.print_table(
        [
            "texts",
            "cold s",
            "cold us/text",
            "warm us/text",
            "peak MiB",
            "output MiB",
            "other bytes/text",
        ],
        rows,
    )
    small, large = results[0], results[-1]
    more = large["texts"] - small["texts"]
    growth = large["peak_bytes"] - small["peak_bytes"]
    growth -= large["output_bytes"] - small["output_bytes"]
    a_text = growth / more if more else float("nan")
    slower = {
        kind: large[kind] / large["texts"] / (small[kind] / small["texts"])
        for kind in ("cold_seconds", "warm_seconds")
        if large[kind] is not None
    }
    _common.finish(
        "million",
        passed={
            "time linear (a text at most 1.3 times as long)": all(
                ratio <= 1.3 for ratio in slower.values()
            ),
            f"memory: output + {BYTES_A_TEXT} bytes a text": a_text <= BYTES_A_TEXT,
        },
        sizes=[one["texts"] for one in results],
        cold_us_per_text=[
            round(1e6 * one["cold_seconds"] / one["texts"], 2) for one in results
        ],
        warm_us_per_text=[
            round(1e6 * one["warm_seconds"] / one["texts"], 2)
            for one in results
            if one["warm_seconds"] is not None
        ],
        growth_bytes_per_text=round(a_text, 1),
        slower={kind: round(ratio, 3) for kind, ratio in slower.items()},
        peak_mib=[round(one["peak_bytes"] / 2**20, 1) for one in results],
    )


if __name__ == "__main__":
    main()
