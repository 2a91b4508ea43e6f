"""Early exit: a pass to layer k of 30 costs k/30 of the full pass, in time and memory.

A random Llama (hidden 576, 30 layers, intermediate 1536, 9 heads, 3 key-value heads,
vocabulary 2048). Time: one encode of the same texts to layer 10, 20 and 30, interleaved,
medians, by a model of which only these layers are loaded. Memory: the loaded weights less
the embeddings. Bar for both: within 15 % of k/30 of the full depth.

    python benchmarks/bench_early_exit.py [--small]
"""

import time

import harness
import numpy as np

from sklearn_llm2vec._encode.encoder import Encoder
from sklearn_llm2vec._model import registry
from sklearn_llm2vec._model.folders import read_model


def main():
    args = harness.read_sizes(
        __doc__, texts=(64, 32), words=(32, 32), repeats=(5, 3), layers=(30, 12)
    )
    whole = args.layers
    depths = [whole // 3, 2 * whole // 3, whole]
    rng = np.random.default_rng(0)
    texts = [
        " ".join(f"w{i}" for i in rng.integers(0, 2000, args.words))
        for _ in range(args.texts)
    ]
    with harness.new_folder() as root:
        folder = harness.random_llama(
            root / "llama",
            hidden=576,
            layers=whole,
            intermediate=1536,
            heads=9,
            kv_heads=3,
        )
        model = read_model(folder)
        encoders, weights = {}, {}
        for depth in depths:
            registry.forget_models()  # else a deeper copy would serve
            loaded = registry.load_model(
                model, depth=depth, dtype="float32", device="cpu"
            )
            embeddings = loaded.states.network.get_input_embeddings().weight
            weights[depth] = loaded.n_bytes - embeddings.nbytes
            encoders[depth] = Encoder(loaded, special_tokens=False, max_length=512)
        times = {depth: [] for depth in depths}
        for repeat in range(args.repeats + 1):
            for depth, encoder in encoders.items():
                started = time.perf_counter()
                for _ in encoder.encode(texts, [depth], ["mean"]):
                    pass
                if repeat:  # the first round warms up
                    times[depth].append(time.perf_counter() - started)
    seconds = {depth: float(np.median(times[depth])) for depth in depths}
    of_time = {depth: seconds[depth] / seconds[whole] for depth in depths}
    of_weights = {depth: weights[depth] / weights[whole] for depth in depths}
    harness.print_table(
        ["layer", "seconds", "of full", "MiB of layers", "of full", "k/layers"],
        [
            [
                depth,
                f"{seconds[depth]:.3f}",
                f"{of_time[depth]:.3f}",
                f"{weights[depth] / 2**20:.1f}",
                f"{of_weights[depth]:.3f}",
                f"{depth / whole:.3f}",
            ]
            for depth in depths
        ],
    )
    passed = {}
    for depth in depths[:-1]:
        for what, part in [("time", of_time[depth]), ("weights", of_weights[depth])]:
            bar = f"{what} to layer {depth} of {whole}: {depth / whole:.3f} +- 15 %"
            passed[bar] = abs(part * whole / depth - 1) <= 0.15
    harness.finish(
        args,
        passed=passed,
        texts=len(texts),
        layers=depths,
        seconds=[round(s, 4) for s in seconds.values()],
        of_full_time=[round(part, 4) for part in of_time.values()],
        of_full_weights=[round(part, 4) for part in of_weights.values()],
    )


if __name__ == "__main__":
    main()
