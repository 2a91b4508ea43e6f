"""The layer and pooling of a raw decoder when nobody chooses: which ones score best.

From the results of `seed_experiment.py`: a relative depth and a pooling, the same for all
decoders, are chosen on all classification sets but one and scored on the one left out,
against the last layer with the usual pooling.

    python benchmarks/seed_experiment.py --results seed-results ...
    python benchmarks/seed_defaults.py seed-results
"""

import argparse
import json
from pathlib import Path

import harness
import numpy as np
from seed_models import DECODERS, SMOLLM

# Relative depths that are compared: those of the deepest model.
DEPTHS = [layer / SMOLLM.n_layers for layer, _ in SMOLLM.cells[:: len(SMOLLM.poolings)]]


def read_gains(folder):
    """Accuracy x 100 over the usual cell: {set: array of (model, depth, pooling)}."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        if result["kind"] != "classification":
            continue
        # Not every cell was scored where there are many classes.
        if "tested" in result["methods"][f"{SMOLLM.name}, chosen"]:
            found[path.stem] = np.stack([gains(result, model) for model in DECODERS])
    return found


def gains(result, model):
    """What each depth and pooling of one model gains on one set."""
    tested = result["methods"][f"{model.name}, chosen"]["tested"]
    accuracy = {(layer, pooling): value for layer, pooling, value in tested}
    layers = sorted({layer for layer, _ in accuracy})
    nearest = [min(layers, key=lambda k: abs(k - d * model.n_layers)) for d in DEPTHS]
    table = [[accuracy[k, pooling] for pooling in model.poolings] for k in nearest]
    return np.array(table) - accuracy[model.usual]  # (depths, poolings)


def best_of(some_sets):
    """Place of the depth and pooling with the highest mean over sets and models."""
    mean = np.mean([table.mean(axis=0) for table in some_sets], axis=0)
    return np.unravel_index(mean.argmax(), mean.shape)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="folder of seed_experiment.py")
    parser.add_argument("--small", action="store_true", help="has no meaning here")
    args = parser.parse_args()
    sets = read_gains(args.results)
    if len(sets) < 2:
        harness.skip(f"fewer than two classification sets in {args.results}")
    rows, left_out = [], []
    for name, table in sets.items():
        depth, pooling = best_of(t for other, t in sets.items() if other != name)
        gain = table[:, depth, pooling]
        left_out.append(gain)
        chosen = f"{DEPTHS[depth]:.2f} {SMOLLM.poolings[pooling]}"
        rows.append([name, chosen, *(f"{one:+.1f}" for one in gain)])
    mean = np.mean(left_out, axis=0)
    rows.append(["mean", "", *(f"{one:+.1f}" for one in mean)])
    harness.print_table(
        ["left out", "chosen on the others", *(m.name for m in DECODERS)], rows
    )
    depth, pooling = best_of(sets.values())
    harness.finish(
        args,
        passed={"2 points or more in the mean for each model": bool(mean.min() >= 2)},
        depth=round(DEPTHS[depth], 3),
        pooling=SMOLLM.poolings[pooling],
        gains={m.name: float(g) for m, g in zip(DECODERS, mean, strict=True)},
    )


if __name__ == "__main__":
    main()
