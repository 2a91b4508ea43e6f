"""A layer costs the layers below it: time and weights at layer k of 30.

Random Llama, hidden 576, 30 layers, CPU. Bar: time at layer k within 15 % of k/30 of the
full pass, and the weights of the layers likewise.
"""

import argparse
import json
import os
import statistics
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["SKLEARN_LLM2VEC_CACHE"] = tempfile.mkdtemp()

from common import random_llama

from sklearn_llm2vec._encoder import Encoder
from sklearn_llm2vec._models import forget_models, load_model, read_model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--texts", type=int, default=16)
    args = parser.parse_args()
    model = read_model(random_llama(576, 30))
    texts = ["the quick brown fox " * 3 + f"{n:03d}" for n in range(args.texts)]
    encoders, weights = {}, {}
    for depth in (5, 10, 20, 30):
        forget_models()
        loaded = load_model(model, depth=depth, dtype="float32", device="cpu")
        embeddings = loaded.states.network.get_input_embeddings().weight
        weights[depth] = loaded.n_bytes - embeddings.numel() * 4
        encoders[depth] = Encoder(loaded, special_tokens=False, max_length=512)
    seconds = {depth: [] for depth in encoders}
    for repetition in range(args.repetitions + 1):
        for depth, encoder in encoders.items():
            started = time.perf_counter()
            list(encoder.encode(texts, [depth], ["mean"]))
            if repetition:  # the first warms up
                seconds[depth].append(time.perf_counter() - started)
    median = {depth: statistics.median(s) for depth, s in seconds.items()}
    print("layer   k/30   time   of full   weights of full")
    result = {"benchmark": "early exit", "time": {}, "weights": {}}
    for depth in encoders:
        share, held = median[depth] / median[30], weights[depth] / weights[30]
        print(
            f"{depth:>5} {depth / 30:>6.3f} {median[depth]:>6.2f} {share:>8.3f} {held:>10.3f}"
        )
        result["time"][depth], result["weights"][depth] = round(share, 3), round(held, 3)
    result["passed"] = all(
        abs(share / (depth / 30) - 1) <= 0.15
        for kind in ("time", "weights")
        for depth, share in result[kind].items()
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
