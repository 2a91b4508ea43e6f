"""A million distinct short texts: memory grows by the output and the keys, time linearly.

The model is replaced by a stub that makes a vector of 32 numbers from each text, so that
what is measured is all the rest: reading the input, keys, the cache, blocks, output.
100,000, 300,000 and 1,000,000 texts, each in a process of its own, first with an empty
cache (cold), then again (warm). Bars, the largest size against the smallest:

- the time a text, cold and warm, is at most 1.3 times as long;
- the peak over the memory before the transform (the input's texts are there by then)
  grows by at most the output and 500 bytes a text: the reference to the text, its key as
  a Python object of 49 bytes, entries of the hash table that finds repeats, row numbers.

    python benchmarks/bench_million.py [--small]
"""

import time
from pathlib import Path

import harness
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


def one_size(n_texts, root):
    """In a process of its own: time and memory of a cold and a warm transform."""
    from sklearn_llm2vec import LLMEmbeddingTransformer, _vectors

    _vectors.load_encoder = lambda source, depth: StubEncoder()
    transformer = LLMEmbeddingTransformer(
        Path(root, "llama"),
        cache=Path(root, f"cache-{n_texts}"),
        device="cpu",
        verbose=False,
    )
    transformer.fit_transform(["something", "to", "warm up"])
    texts = [f"text {i} of many" for i in range(n_texts)]
    harness.reset_memory_peak()
    before = harness.memory_now()
    figures = {"texts": n_texts, "output_bytes": n_texts * HIDDEN * 4}
    for run in ("cold", "warm"):
        started = time.perf_counter()
        transformer.transform(texts)
        seconds = time.perf_counter() - started
        figures[f"{run}_us_per_text"] = 1e6 * seconds / n_texts
        report = transformer.last_report_
        if (report.encoded if run == "cold" else report.cached) != n_texts:
            raise RuntimeError(f"the {run} transform was none: {report}")
    return {**figures, "peak_bytes": harness.memory_peak() - before}


def main():
    args = harness.read_sizes(
        __doc__, sizes=([100_000, 300_000, 1_000_000], [100_000, 1_000_000])
    )
    harness.need_linux()
    results = []
    with harness.new_folder() as root:
        harness.random_llama(root / "llama", hidden=HIDDEN, layers=2)
        for n_texts in args.sizes:
            results.append(harness.call_in_new_process(one_size, n_texts, root))
            print(results[-1], flush=True)
    harness.print_table(
        ["texts", "cold us/text", "warm us/text", "peak MiB", "output MiB"],
        [
            [
                f"{one['texts']:,}",
                f"{one['cold_us_per_text']:.1f}",
                f"{one['warm_us_per_text']:.1f}",
                f"{one['peak_bytes'] / 2**20:.0f}",
                f"{one['output_bytes'] / 2**20:.0f}",
            ]
            for one in results
        ],
    )
    small, large = results[0], results[-1]
    growth = sum(
        sign * (one["peak_bytes"] - one["output_bytes"])
        for sign, one in ((1, large), (-1, small))
    ) / (large["texts"] - small["texts"])
    slower = {
        run: large[f"{run}_us_per_text"] / small[f"{run}_us_per_text"]
        for run in ("cold", "warm")
    }
    harness.finish(
        args,
        passed={
            "a cold text takes at most 1.3 times as long": slower["cold"] <= 1.3,
            "a warm text takes at most 1.3 times as long": slower["warm"] <= 1.3,
            f"memory: output + {BYTES_A_TEXT} bytes a text": growth <= BYTES_A_TEXT,
        },
        sizes=args.sizes,
        cold_us_per_text=[round(one["cold_us_per_text"], 2) for one in results],
        warm_us_per_text=[round(one["warm_us_per_text"], 2) for one in results],
        slower={run: round(ratio, 3) for run, ratio in slower.items()},
        growth_bytes_per_text=round(growth, 1),
        peak_mib=[round(one["peak_bytes"] / 2**20, 1) for one in results],
    )


if __name__ == "__main__":
    main()
