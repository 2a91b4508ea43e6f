"""What Ray costs: ``embed_dataset`` against one ``transform`` of the same texts.

On one machine Ray can't be faster than one process that uses all its cores; what it adds
is its overhead. Both start with the model's process warm (one call on a few texts), with
no cache. Ray's first rows also wait for its actors to start, which is shown apart.

Bar: bits that differ: none.

    python benchmarks/bench_ray.py [--small]

Needs extra ``ray``. Ray listens on the loopback address only.
"""

import os
import time

import harness
import numpy as np

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def make_texts(n_rows):
    """Distinct texts of the length of short reviews."""
    words = "the card was late and my bank did not say why so I rang them again".split()
    rng = np.random.default_rng(0)
    return [
        f"{i} " + " ".join(rng.choice(words, rng.integers(5, 60)))
        for i in range(n_rows)
    ]


def start_ray():
    import ray

    ray.init(
        num_cpus=3,  # one for what Ray does besides; the actors have two
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    return ray


def time_transform(encoder, texts):
    encoder.transform(texts[:20])
    started = time.perf_counter()
    features = encoder.transform(texts)
    return time.perf_counter() - started, features


def time_ray(ray, encoder, texts, n_actors):
    """Seconds in all, seconds from the first batch that came out, and the features."""
    import pyarrow as pa

    from sklearn_llm2vec.distributed import embed_dataset

    size = 50
    blocks = [
        pa.table({"text": texts[i : i + size]}) for i in range(0, len(texts), size)
    ]
    dataset = embed_dataset(
        ray.data.from_arrow(blocks),
        encoder,
        "text",
        concurrency=n_actors,
        batch_size=size,
    )
    started, arrived, parts = time.perf_counter(), [], []
    for batch in dataset.iter_batches(batch_format="pyarrow", batch_size=None):
        arrived.append((time.perf_counter(), batch.num_rows))
        column = batch["text_embedding"].combine_chunks()
        parts.append(column.flatten().to_numpy().reshape(len(column), -1))
    total = arrived[-1][0] - started
    # The first batches come when the actors have started; after that it is the rate.
    skipped = min(n_actors, len(arrived) - 1)
    rows = sum(n for _, n in arrived[skipped:])
    return total, rows / (arrived[-1][0] - arrived[skipped - 1][0]), np.vstack(parts)


def main():
    args = harness.read_sizes(__doc__, rows=(3000, 600), actors=(2, 2))
    try:
        import ray.data  # noqa: F401
    except ImportError:
        harness.skip("extra 'ray' isn't installed")
    with harness.new_folder():
        harness.minilm()
        figures, same = compare(args.rows, args.actors)
    harness.print_table(["what", "measured"], figures.items())
    harness.finish(args, passed={"same bits": bool(same)}, **figures)


def compare(n_rows, n_actors):
    """Figures of `transform` before and after, of Ray between; and whether bits agree."""
    import torch

    from sklearn_llm2vec import LLMEmbeddingTransformer

    torch.set_num_threads(n_actors)
    texts = make_texts(n_rows)
    encoder = LLMEmbeddingTransformer(harness.MINILM, cache=False, verbose=False)
    ray = start_ray()
    try:
        before, want = time_transform(encoder, texts)
        total, rate, got = time_ray(ray, encoder, texts, n_actors)
        after, _ = time_transform(encoder, texts)
    finally:
        ray.shutdown()
    alone = [n_rows / seconds for seconds in (before, after)]
    figures = {
        "rows": n_rows,
        "transform_rows_per_second": [round(r, 1) for r in alone],
        "ray_rows_per_second": round(rate, 1),
        "ray_rows_per_second_with_start": round(n_rows / total, 1),
        "time_ratio": round(float(np.mean(alone)) / rate, 2),
        "time_ratio_with_start": round(float(np.mean(alone)) * total / n_rows, 2),
    }
    return figures, np.array_equal(got.view(np.uint32), want.view(np.uint32))


if __name__ == "__main__":
    main()
