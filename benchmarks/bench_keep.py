"""Keeping every layer and pooling of one pass, beside keeping one cell.

MiniLM, 1,000 texts of Banking77, ``keep="all"`` (7 x 5 cells) and ``keep="requested"``
(the mean of the last layer), each into an empty cache, interleaved, medians. Bar: at
most 15 % more time for a whole transform with its writes.

Memory: the peak of one encode of long texts in a process of its own, with 1 layer and
with all 7, five poolings each. The pooled vectors of a block grow with the cells; the
token states of the layers must not be held. Bar: the peak grows by at most twice the
vectors of a block and 32 MiB.

    python benchmarks/bench_keep.py [--small]
"""

import time

import harness
import numpy as np

from sklearn_llm2vec._network.pooling import POOLINGS

ALL_LAYERS = range(7)


def one_transform(texts, folder, keep):
    """Seconds of one transform into an empty cache, and the bytes it wrote."""
    from sklearn_llm2vec import LLMEmbeddingTransformer

    transformer = LLMEmbeddingTransformer(
        harness.MINILM,
        layer=-1,
        pooling="mean",
        cache=folder,
        keep=keep,
        verbose=False,
    ).fit(texts)
    started = time.perf_counter()
    transformer.transform(texts)
    seconds = time.perf_counter() - started
    report = transformer.last_report_
    if report.encoded != len(set(texts)):
        raise RuntimeError(f"the cache wasn't empty: {report}")
    return seconds, report.bytes_written


def load_encoder():
    from sklearn_llm2vec._encode.encoder import Encoder
    from sklearn_llm2vec._model.registry import load_model

    model = load_model(harness.minilm(), depth=6, dtype="float32", device="cpu")
    return Encoder(model, special_tokens=True, max_length=256)


def one_encode(encoder, texts, layers, poolings):
    """Seconds of one pass whose vectors are dropped."""
    started = time.perf_counter()
    for _ in encoder.encode(texts, layers, poolings):
        pass
    return time.perf_counter() - started


def peak_of_pass(layers, n_texts):
    """In a process of its own: memory of one encode that keeps these layers."""
    encoder = load_encoder()
    texts = ["word " * 254] * n_texts  # 256 tokens each: nothing but large batches
    one_encode(encoder, texts[:4], [6], ["mean"])
    harness.reset_memory_peak()
    before, vectors = harness.memory_now(), 0
    for block in encoder.encode(texts, layers, POOLINGS):
        vectors = max(vectors, sum(cell.nbytes for cell in block.cells.values()))
    return {"over": harness.memory_peak() - before, "vectors": vectors}


def main():
    args = harness.read_sizes(
        __doc__, texts=(1000, 500), repeats=(5, 3), long_texts=(64, 16)
    )
    harness.need_linux()
    texts = list(dict.fromkeys(harness.banking_texts(args.texts)[0]))
    seconds = {"requested": [], "all": []}
    encoding = {"requested": [], "all": []}
    written = {}
    with harness.new_folder() as root:
        harness.minilm()
        one_transform(texts[:50], root / "warm-up", "all")
        encoder = load_encoder()
        for repeat in range(args.repeats):
            for keep in ("requested", "all") if repeat % 2 else ("all", "requested"):
                spent, written[keep] = one_transform(
                    texts, root / f"{keep}-{repeat}", keep
                )
                seconds[keep].append(spent)
                cells = (ALL_LAYERS, POOLINGS) if keep == "all" else ([6], ["mean"])
                encoding[keep].append(one_encode(encoder, texts, *cells))
        one, every = (
            harness.call_in_new_process(peak_of_pass, list(layers), args.long_texts)
            for layers in ([6], ALL_LAYERS)
        )
    whole = {keep: float(np.median(times)) for keep, times in seconds.items()}
    bare = {keep: float(np.median(times)) for keep, times in encoding.items()}
    more, more_bare = (t["all"] / t["requested"] - 1 for t in (whole, bare))
    growth = every["over"] - one["over"]
    allowed = 2 * (every["vectors"] - one["vectors"]) + 32 * 2**20
    harness.print_table(
        ["keep", "transform s", "encoder alone s", "MB written"],
        [
            [k, f"{whole[k]:.2f}", f"{bare[k]:.2f}", f"{written[k] / 1e6:.1f}"]
            for k in ("requested", "all")
        ]
        + [["more", f"{more:+.1%}", f"{more_bare:+.1%}", ""]],
    )
    harness.print_table(
        ["layers kept", "peak over before MiB", "vectors of a block MiB"],
        [
            [n, f"{peak['over'] / 2**20:.1f}", f"{peak['vectors'] / 2**20:.2f}"]
            for n, peak in ((1, one), (len(ALL_LAYERS), every))
        ],
    )
    harness.finish(
        args,
        passed={
            "all cells cost at most 15 % more time": more <= 0.15,
            "memory doesn't grow with the layers": growth <= allowed,
        },
        texts=len(texts),
        seconds_one=round(whole["requested"], 3),
        seconds_all=round(whole["all"], 3),
        more=round(more, 4),
        encoder_seconds_one=round(bare["requested"], 3),
        encoder_seconds_all=round(bare["all"], 3),
        encoder_more=round(more_bare, 4),
        peak_growth_mib=round(growth / 2**20, 2),
        allowed_growth_mib=round(allowed / 2**20, 2),
    )


if __name__ == "__main__":
    main()
