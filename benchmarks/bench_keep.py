"""Keeping every layer and pooling in one pass, beside keeping one cell.

MiniLM, texts of banking77, ``keep="all"`` (7 x 5 cells) and ``keep="requested"`` (the last
layer's mean), each into an empty cache, interleaved, medians. Bar: at most 15 % more
time. The time is that of a whole transform with the cache's writes; the encoder's share
without them is printed beside it.

Memory: the peak of one encode pass in a process of its own, with 1 layer and with all,
five poolings each. Pooled vectors of one block grow with the cells; the token states of
the layers must not be held. Bar: the growth is at most the blocks' vectors x 2 + 32 MiB.

Reads shared/data beside the repository.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import _common
import numpy as np

POOLINGS = ("mean", "weighted_mean", "last", "first", "max")


def one_transform(texts, folder, keep):
    """Seconds of one transform into an empty cache."""
    from sklearn_llm2vec import LLMEmbeddingTransformer

    transformer = LLMEmbeddingTransformer(
        _common.MINILM, layer=-1, pooling="mean", cache=folder, keep=keep, verbose=False
    ).fit(texts)
    started = time.perf_counter()
    transformer.transform(texts)
    seconds = time.perf_counter() - started
    report = transformer.last_report_
    if report.encoded != len(set(texts)):
        raise RuntimeError(f"the cache wasn't empty: {report}")
    return seconds, report.bytes_written


def minilm_encoder():
    from sklearn_llm2vec._encoder import Encoder
    from sklearn_llm2vec._models import load_model, read_model

    model = load_model(
        read_model(_common.MINILM), depth=6, dtype="float32", device="cpu"
    )
    return Encoder(model, special_tokens=True, max_length=256)


def encode_only(encoder, texts, layers, poolings):
    started = time.perf_counter()
    for _ in encoder.encode(texts, layers, poolings):
        pass
    return time.perf_counter() - started


def peak_of_pass(n_layers, n_texts):
    """In this process: peak memory of one encode, with `n_layers` layers kept."""
    import resource

    encoder = minilm_encoder()
    texts = ["word " * 254] * n_texts  # one exact length, the longest
    list(encoder.encode(texts[:2], [6], ["mean"]))
    before = _resident()
    block_bytes = 0
    layers = range(7) if n_layers == 7 else [6]
    for block in encoder.encode(texts, layers, POOLINGS):
        one_block = sum(cell.nbytes for cell in block.cells.values())
        block_bytes = max(block_bytes, one_block)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak, "before": before, "block": block_bytes}))


def _resident():
    import psutil

    return psutil.Process().memory_info().rss


def measure_peak(n_layers, n_texts):
    command = [sys.executable, __file__, "--peak-of", str(n_layers), str(n_texts)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--long-texts", type=int, default=64)
    parser.add_argument("--peak-of", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak_of:
        peak_of_pass(*args.peak_of)
        return

    texts = list(dict.fromkeys(_common.banking_texts(args.texts)[0]))
    seconds = {"requested": [], "all": []}
    bare = {"requested": [], "all": []}
    written = {}
    with _common.new_folder() as root:
        _common.own_cache(Path(root, "default"))
        one_transform(texts[:50], Path(root, "warm"), "all")
        encoder = minilm_encoder()
        for repeat in range(args.repeats):
            for keep in ("requested", "all") if repeat % 2 else ("all", "requested"):
                folder = Path(root, f"{keep}-{repeat}")
                spent, written[keep] = one_transform(texts, folder, keep)
                seconds[keep].append(spent)
                cells = (range(7), POOLINGS) if keep == "all" else ([6], ["mean"])
                bare[keep].append(encode_only(encoder, texts, *cells))
        peaks = {n: measure_peak(n, args.long_texts) for n in (1, 7)}
    whole = {keep: float(np.median(times)) for keep, times in seconds.items()}
    passes = {keep: float(np.median(times)) for keep, times in bare.items()}
    more, more_bare = (t["all"] / t["requested"] - 1 for t in (whole, passes))
    growth = peaks[7]["peak"] - peaks[1]["peak"]
    allowed = 2 * (peaks[7]["block"] - peaks[1]["block"]) + 32 * 2**20
    _common.print_table(
        ["keep", "transform s", "encoder alone s", "MB written"],
        [
            [k, f"{whole[k]:.2f}", f"{passes[k]:.2f}", f"{written[k] / 1e6:.1f}"]
            for k in ("requested", "all")
        ]
        + [["more", f"{more:+.1%}", f"{more_bare:+.1%}", ""]],
    )
    _common.print_table(
        ["layers kept", "peak MiB", "over before MiB", "vectors of a block MiB"],
        [
            [
                n,
                f"{p['peak'] / 2**20:.1f}",
                f"{(p['peak'] - p['before']) / 2**20:.1f}",
                f"{p['block'] / 2**20:.2f}",
            ]
            for n, p in peaks.items()
        ],
    )
    _common.finish(
        "keep",
        passed={
            "all cells cost at most 15 % more time": more <= 0.15,
            "memory doesn't grow with the layers": growth <= allowed,
        },
        texts=len(texts),
        seconds_one=round(whole["requested"], 3),
        seconds_all=round(whole["all"], 3),
        more=round(more, 4),
        encoder_seconds_one=round(passes["requested"], 3),
        encoder_seconds_all=round(passes["all"], 3),
        encoder_more=round(more_bare, 4),
        peak_growth_mib=round(growth / 2**20, 2),
        allowed_growth_mib=round(allowed / 2**20, 2),
    )


if __name__ == "__main__":
    main()
