"""A long life in short: memory that stays flat, and a large cache that stays quick.

Parts, each in a process of its own:

- transforms: 10,000 transforms of a few new texts each, with a cache, by one transformer.
- models: 50 models in turn, each loaded, used and released again.
- rows: 10 million cached vectors; then, in new processes, how long the cache takes to
  open, and to find one vector, beside a cache of 10,000.

Memory is the resident set after a garbage collection. It is flat if the last fifth of the
readings isn't more than 5 MB above the second fifth, the first being a warm-up. A model
takes 25 to 45 MB, so that one that stays would show.

    python benchmarks/soak_load.py [--small] [--parts transforms models rows]
"""

import gc
import statistics
import time
from pathlib import Path

import harness
import numpy as np

GROWTH = 5 * 2**20
OPENING_SECONDS = 0.1
BLOCK, DIM = 2048, 16
SPACE, CELL = "a" * 64, (1, "mean")


def transforms(folder, n_transforms, place):
    """Memory in bytes, read 100 times on the way."""
    from sklearn_llm2vec import LLMEmbeddingTransformer

    encoder = LLMEmbeddingTransformer(folder, cache=place, verbose=False)
    read = []
    for k in range(n_transforms):
        encoder.fit_transform([f"card {k} payment", "small cat", f"{k} dog runs"])
        if k % max(1, n_transforms // 100) == 0:
            gc.collect()
            read.append(harness.memory_now())
    return read


def models(folders, n_models, place):
    """Memory in bytes after each model."""
    from sklearn_llm2vec import LLMEmbeddingTransformer
    from sklearn_llm2vec._model.registry import forget_models

    read = []
    for k in range(n_models):
        encoder = LLMEmbeddingTransformer(
            folders[k % len(folders)], cache=place, verbose=False
        )
        encoder.fit_transform([f"card payment {k}"])
        del encoder
        forget_models()
        gc.collect()
        read.append(harness.memory_now())
    return read


def keys_of(block):
    """16 bytes each, spread as those of texts are."""
    first = block * BLOCK
    return [
        (n * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big") + n.to_bytes(8, "big")
        for n in range(first, first + BLOCK)
    ]


def fill(place, n_rows):
    """Store vectors; returns seconds."""
    from sklearn_llm2vec import EmbeddingCache

    cache = EmbeddingCache(place)
    vectors = np.random.default_rng(0).standard_normal((BLOCK, DIM), dtype=np.float32)
    start = time.perf_counter()
    for block in range(-(-n_rows // BLOCK)):
        cache.put_many(SPACE, keys_of(block), {CELL: vectors + block})
    return time.perf_counter() - start


def open_and_look_up(place, n_rows):
    """Seconds until a new process has its first vector, and of later ones' median."""
    from sklearn_llm2vec import EmbeddingCache

    rng = np.random.default_rng(1)
    cache = EmbeddingCache(place)
    out, seconds = np.zeros((1, DIM), np.float32), []
    for _ in range(200):
        block, row = int(rng.integers(n_rows // BLOCK)), int(rng.integers(BLOCK))
        key = keys_of(block)[row]
        start = time.perf_counter()
        found = cache.get_many(SPACE, [key], *CELL, out, count=False)
        seconds.append(time.perf_counter() - start)
        if not found.all():
            raise RuntimeError(f"row {row} of block {block} is lost")
    return seconds[0], statistics.median(seconds[1:])


def growth(read):
    """Bytes between the medians of the second and the last fifth."""
    fifth = max(1, len(read) // 5)
    return statistics.median(read[-fifth:]) - statistics.median(read[fifth : 2 * fifth])


def main():
    args = harness.read_sizes(
        __doc__,
        transforms=(10_000, 200),
        models=(50, 10),
        rows=(10_000_000, 100_000),
        parts=(["transforms", "models", "rows"],) * 2,
    )
    harness.need_linux()
    figures, passed = {}, {}
    with harness.new_folder() as root:
        root = Path(root)
        if "transforms" in args.parts:
            folder = harness.random_llama(root / "llama")
            read = harness.call_in_new_process(
                transforms, str(folder), args.transforms, str(root / "few")
            )
            figures["transforms_mb"] = [round(read[0] / 2**20), round(read[-1] / 2**20)]
            figures["transforms_growth_mb"] = round(growth(read) / 2**20, 1)
            passed["memory is flat over transforms"] = growth(read) <= GROWTH
        if "models" in args.parts:
            shape = {"hidden": 256, "intermediate": 1024}
            folders = [
                str(harness.random_llama(root / f"llama-{n}", layers=n, **shape))
                for n in range(6, 11)
            ]
            read = harness.call_in_new_process(
                models, folders, args.models, str(root / "models")
            )
            figures["models_mb"] = [round(read[0] / 2**20), round(read[-1] / 2**20)]
            figures["models_growth_mb"] = round(growth(read) / 2**20, 1)
            passed["memory is flat over models"] = growth(read) <= GROWTH
        if "rows" in args.parts:
            for n_rows in (10_000, args.rows):
                place = str(root / f"rows-{n_rows}")
                seconds = harness.call_in_new_process(fill, place, n_rows)
                opened = [
                    harness.call_in_new_process(open_and_look_up, place, n_rows)
                    for _ in range(5)
                ]
                first, later = (
                    statistics.median(some) for some in zip(*opened, strict=True)
                )
                figures[f"rows_{n_rows}"] = {
                    "fill_s": round(seconds, 1),
                    "first_ms": round(first * 1e3, 2),
                    "later_ms": round(later * 1e3, 3),
                }
                passed[f"opening with {n_rows:,} rows"] = first < OPENING_SECONDS
    harness.finish(args, passed=passed, **figures)


if __name__ == "__main__":
    main()
