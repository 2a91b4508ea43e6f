"""Early exit: a pass to layer k of 30 costs k/30 of the full pass, in time and in memory.

A random Llama (hidden 576, 30 layers, intermediate 1536, 9 heads, 3 key-value heads,
vocabulary 2048). Time: one encode of the same texts to layer 10, 20 and 30, interleaved,
medians, from a model of which only these layers are loaded. Memory: the weights that are
resident, less the embeddings. Bar for both: within 15 % of k/30 of the full depth.
"""

import argparse
import time
from pathlib import Path

import _common
import numpy as np

from sklearn_llm2vec import _models
from sklearn_llm2vec._encoder import Encoder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--words", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers", type=int, default=30)
    args = parser.parse_args()
    whole = args.layers
    depths = [whole // 3, 2 * whole // 3, whole]
    rng = np.random.default_rng(0)
    texts = [
        " ".join(f"w{i}" for i in rng.integers(0, 2000, args.words))
        for _ in range(args.texts)
    ]
    with _common.new_folder() as root:
        _common.own_cache(Path(root, "default"))
        folder = _common.tiny_llama(
            Path(root, "llama"),
            hidden=576,
            layers=whole,
            intermediate=1536,
            heads=9,
            kv_heads=3,
        )
        model = _models.read_model(folder)
        encoders, weights = {}, {}
        for depth in depths:
            _models.forget_models()
            loaded = _models.load_model(
                model, depth=depth, dtype="float32", device="cpu"
            )
            embeddings = loaded.states.network.get_input_embeddings().weight
            weights[depth] = loaded.n_bytes - embeddings.nbytes
            encoders[depth] = Encoder(loaded, special_tokens=False, max_length=512)
        seconds = {depth: [] for depth in depths}
        for repeat in range(args.repeats + 1):
            for depth, encoder in encoders.items():
                started = time.perf_counter()
                for _ in encoder.encode(texts, [depth], ["mean"]):
                    pass
                if repeat:  # the first round warms up
                    seconds[depth].append(time.perf_counter() - started)
    medians = {depth: float(np.median(times)) for depth, times in seconds.items()}
    rows, results, passed = [], [], {}
    for depth in depths:
        expected = depth / whole
        of_time = medians[depth] / medians[whole]
        of_weights = weights[depth] / weights[whole]
        rows.append(
            [
                depth,
                f"{medians[depth]:.3f}",
                f"{of_time:.3f}",
                f"{weights[depth] / 2**20:.1f}",
                f"{of_weights:.3f}",
                f"{expected:.3f}",
            ]
        )
        results.append(
            {
                "layer": depth,
                "seconds": round(medians[depth], 4),
                "of_full_time": round(of_time, 4),
                "of_full_weights": round(of_weights, 4),
                "expected": round(expected, 4),
            }
        )
        passed[f"time at layer {depth}"] = abs(of_time / expected - 1) <= 0.15
        passed[f"weights at layer {depth}"] = abs(of_weights / expected - 1) <= 0.15
    _common.print_table(
        ["layer", "seconds", "of full", "MiB of layers", "of full", "k/30"], rows
    )
    _common.finish("early_exit", passed=passed, texts=len(texts), rows=results)


if __name__ == "__main__":
    main()
