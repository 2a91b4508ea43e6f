"""A million distinct short texts: memory grows by the output and the keys, time linearly.

Each size has a process of its own, which is warmed up first. Two parts:

The library without a model. A stub makes a vector of 32 numbers from each text, so that
what is measured is all the rest: reading the input, keys, the cache, blocks, output. One
`transform` of 100,000, 300,000 and 1,000,000 texts with an empty cache (cold), then again
(warm). Bars, the largest size against the smallest:

- the time a text, cold and warm, is at most 1.3 times as long;
- the peak over the memory before the transform (the input's texts are there by then)
  grows by at most the output and 500 bytes a text: the reference to the text, its key as
  a Python object of 49 bytes, entries of the hash table that finds repeats, row numbers.

The whole. A small random decoder, 8 to 10 tokens a text, 1,000 to 1,000,000 texts through
`transform_to_npy` with an empty cache. Bars, against 10,000 texts:

- the time a text is at most 1.1 times as long, at every size. CPU seconds a text are
  printed beside it: on a shared machine they say more;
- the peak of the memory, but for the input, is at most 1.1 times as large.

    python benchmarks/bench_million.py [--small]
"""

import shutil
import time
from pathlib import Path

import harness
import numpy as np

HIDDEN = 32
BYTES_A_TEXT = 500
# About 0.3 ms for a text of 9 tokens on two threads.
DECODER = {"hidden": 128, "layers": 10, "intermediate": 256}
BASE = 10_000
FLAT = 1.1


class StubEncoder:
    """Blocks of vectors that follow from the texts; no model."""

    max_length = 512
    n_cut = 0
    ran_out = None

    def encode(self, texts, layers, poolings):
        from sklearn_llm2vec._encode.encoder import BLOCK_ROWS, Block

        for start in range(0, len(texts), BLOCK_ROWS):
            part = texts[start : start + BLOCK_ROWS]
            seeds = np.array([hash(text) for text in part], dtype=np.int64)[:, None]
            vectors = ((seeds >> np.arange(HIDDEN)) & 255).astype(np.float32)
            cells = {(k, pooling): vectors for k in layers for pooling in poolings}
            yield Block(np.arange(start, start + len(part)), cells, 8 * len(part))


def one_size(n_texts, root):
    """In a process of its own: time and memory of a cold and a warm transform."""
    from sklearn_llm2vec import LLMEmbeddingTransformer
    from sklearn_llm2vec._estimator.local import LocalSource

    LocalSource.encoder = lambda source, depth: StubEncoder()
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


def whole(n_texts, root):
    """In a process of its own: time and memory of a small model and all around it."""
    from sklearn_llm2vec import (
        EmbeddingCache,
        LLMEmbeddingTransformer,
        transform_to_npy,
    )

    def run(name, texts):
        cache = EmbeddingCache(Path(root, f"cache-{name}"))
        transformer = LLMEmbeddingTransformer(
            Path(root, "decoder"), cache=cache, device="cpu", verbose=False
        )
        path = Path(root, f"{name}.npy")
        transform_to_npy(transformer, texts, path, verbose=False)
        n_encoded = cache.info()["texts_encoded"]
        if n_encoded != len(texts):
            raise RuntimeError(f"{n_encoded} of {len(texts)} texts were encoded")
        shutil.rmtree(cache.path)
        path.unlink()

    run("warm-up", [word_text(-i) for i in range(1, 3000)])
    before = harness.memory_now()
    texts = [word_text(i) for i in range(n_texts)]
    input_bytes = harness.memory_now() - before
    harness.reset_memory_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    run(f"whole-{n_texts}", texts)
    return {
        "texts": n_texts,
        "us_per_text": 1e6 * (time.perf_counter() - wall) / n_texts,
        "cpu_us_per_text": 1e6 * (time.process_time() - cpu) / n_texts,
        "peak_bytes": harness.memory_peak() - input_bytes,
    }


def word_text(i):
    """A text of 7 to 9 words of the tokenizer of `harness.random_llama`."""
    words = [i % 2000, i // 2000 % 2000]
    words += [(i * prime + prime) % 2000 for prime in (3, 7, 11, 13, 17, 19, 23)]
    return " ".join(f"w{word}" for word in words[: 7 + i % 3])


def without_a_model(sizes, root):
    """The first part: its figures and its bars."""
    harness.random_llama(root / "llama", hidden=HIDDEN, layers=2)
    results = []
    for n_texts in sizes:
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
    figures = {
        "sizes": sizes,
        "cold_us_per_text": [round(one["cold_us_per_text"], 2) for one in results],
        "warm_us_per_text": [round(one["warm_us_per_text"], 2) for one in results],
        "slower": {run: round(ratio, 3) for run, ratio in slower.items()},
        "growth_bytes_per_text": round(growth, 1),
        "peak_mib": [round(one["peak_bytes"] / 2**20, 1) for one in results],
    }
    return figures, {
        "stub: a cold text takes at most 1.3 times as long": slower["cold"] <= 1.3,
        "stub: a warm text takes at most 1.3 times as long": slower["warm"] <= 1.3,
        f"stub: memory, output + {BYTES_A_TEXT} bytes a text": growth <= BYTES_A_TEXT,
    }


def with_a_model(sizes, root):
    """The second part: its figures and its bars."""
    harness.random_llama(root / "decoder", **DECODER)
    results = []
    for n_texts in sizes:
        results.append(harness.call_in_new_process(whole, n_texts, root))
        print(results[-1], flush=True)
    base = next(one for one in results if one["texts"] == BASE)
    ratios = {
        name: [round(one[name] / base[name], 3) for one in results]
        for name in ("us_per_text", "cpu_us_per_text", "peak_bytes")
    }
    harness.print_table(
        ["texts", "us/text", "times", "CPU us/text", "times", "peak MiB", "times"],
        [
            [
                f"{one['texts']:,}",
                f"{one['us_per_text']:.0f}",
                ratios["us_per_text"][n],
                f"{one['cpu_us_per_text']:.0f}",
                ratios["cpu_us_per_text"][n],
                f"{one['peak_bytes'] / 2**20:.0f}",
                ratios["peak_bytes"][n],
            ]
            for n, one in enumerate(results)
        ],
    )
    figures = {
        "model_sizes": sizes,
        "model_us_per_text": [round(one["us_per_text"], 1) for one in results],
        "model_cpu_us_per_text": [round(one["cpu_us_per_text"], 1) for one in results],
        "model_peak_mib": [round(one["peak_bytes"] / 2**20) for one in results],
        "model_ratios": ratios,
    }
    return figures, {
        f"model: a text takes at most {FLAT} times as long": max(ratios["us_per_text"])
        <= FLAT,
        f"model: at most {FLAT} times the memory": max(ratios["peak_bytes"]) <= FLAT,
    }


def main():
    args = harness.read_sizes(
        __doc__,
        sizes=([100_000, 300_000, 1_000_000], [100_000, 1_000_000]),
        model_sizes=([1_000, BASE, 100_000, 1_000_000], [1_000, BASE]),
    )
    harness.need_linux()
    with harness.new_folder() as root:
        stub, stub_bars = without_a_model(args.sizes, root)
        model, model_bars = with_a_model(args.model_sizes, root)
    harness.finish(args, passed={**stub_bars, **model_bars}, **stub, **model)


if __name__ == "__main__":
    main()
