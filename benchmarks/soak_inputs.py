"""All hostile folders, and many random inputs; one line of JSON with counts.

    python benchmarks/soak_inputs.py --inputs 100000

The exit status is 1 if anything came that shouldn't: wrong vectors, an error that
isn't a sentence, a process that hung or was killed. The faults go to stderr.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "faults")]

import hostile_runs
import random_inputs
from conftest import bert_config, save_model

from sklearn_llm2vec import LLMEmbeddingTransformer

FINE = {"right", "other", "refused"}


def count_folders():
    counts, slowest = Counter(), 0.0
    for one in hostile_runs.outcomes(list(hostile_runs.GROUPS)):
        counts[one["came"]] += 1
        slowest = max(slowest, one["seconds"])
        if one["came"] not in FINE:
            print(json.dumps(one), file=sys.stderr, flush=True)
    return {**counts, "slowest_s": slowest}


def count_inputs(n, seed):
    counts = Counter()
    with tempfile.TemporaryDirectory() as place:
        model = save_model(Path(place, "model"), bert_config())
        transformer = LLMEmbeddingTransformer(
            str(model), cache=Path(place, "cache"), verbose=False
        )
        for came, X, said in random_inputs.outcomes(transformer, n, seed):
            counts[came] += 1
            if came == "fault":
                print(ascii(f"{type(X)} {X!r:.300}: {said}"), file=sys.stderr)
    return dict(counts)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-folders", action="store_true")
    args = parser.parse_args()
    start = time.monotonic()
    # First, while this process has no threads of torch's: each folder gets a fork of it.
    folders = {} if args.no_folders else count_folders()
    inputs = count_inputs(args.inputs, args.seed)
    seconds = round(time.monotonic() - start, 1)
    print(json.dumps({"folders": folders, "inputs": inputs, "seconds": seconds}))
    return 0 if set(folders) - {"slowest_s"} | set(inputs) <= FINE else 1


if __name__ == "__main__":
    sys.exit(main())
