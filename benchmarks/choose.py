"""``layer="cv"``, ``pooling="cv"``: what the choice gains, and what it costs.

On each classification set of `seed_experiment.py` and for each of its models, `fit`
chooses the layer and the pooling from the training texts. A logistic regression on these
features is compared on the test texts with one on what the model declares: the difference
of accuracies, with its standard error over the test texts. A set is won or lost where the
difference is larger than that.

The time of the choice is that beside the encoding pass, on short texts.

    python benchmarks/choose.py --cache seed-cache

With the cache of `seed_experiment.py` most vectors are there already.
"""

import time
import warnings

import harness
import numpy as np
import seed_scores as scores
from seed_models import MODELS
from seed_tasks import CLASSIFICATION, MAX_LENGTH, Limits, load_classification
from threadpoolctl import threadpool_limits

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer


def compare(model, task, cache):
    """Declared and chosen features of one model on one set."""
    settings = {"max_length": MAX_LENGTH, "cache": cache, "verbose": False}
    declared = LLMEmbeddingTransformer(model.find(), **settings).fit(task.train)
    chosen = LLMEmbeddingTransformer(
        model.find(), layer="cv", pooling="cv", **settings
    ).fit(task.train, task.train_labels)
    right = []
    for encoder in (declared, chosen):
        head = scores.fit_head(encoder.transform(task.train), task.train_labels)
        right.append(head.predict(encoder.transform(task.test)) == task.test_labels)
    gain = right[1].astype(float) - right[0]
    return {
        "set": task.name,
        "model": model.name,
        "declared": 100 * right[0].mean(),
        "chosen": 100 * right[1].mean(),
        "cell": f"{chosen.layer_} {chosen.pooling_}",
        "gain": 100 * gain.mean(),
        "error": 100 * gain.std(ddof=1) / np.sqrt(len(gain)),
    }


def verdict(row):
    """Won, tied or lost."""
    if abs(row["gain"]) <= row["error"]:
        return "tied"
    return "won" if row["gain"] > 0 else "lost"


def cost(model, n_texts):
    """Seconds of a plain pass, and of a fit that chooses, less its pass."""
    frame = harness.read_frame("banking77/train").head(n_texts)
    seconds = {}
    for layer in (-1, "cv"):
        encoder = LLMEmbeddingTransformer(
            model.find(),
            layer=layer,
            pooling="auto" if layer == -1 else "cv",
            verbose=False,
        )
        with harness.new_folder() as folder:
            encoder.set_params(cache=EmbeddingCache(folder))
            encoder.transform(["warm"]) if layer == -1 else None
            start = time.perf_counter()
            encoder.fit(frame["text"], frame["label"])
            if layer == -1:
                encoder.transform(frame["text"])
            seconds[layer] = time.perf_counter() - start
            if layer == "cv":  # all is cached now: what remains is the choice
                start = time.perf_counter()
                encoder.fit(frame["text"], frame["label"])
                seconds["choice"] = time.perf_counter() - start
    return seconds


def show(rows):
    """One line for each set and model, and the records."""
    lines = [
        [
            row["set"],
            row["model"],
            f"{row['declared']:.1f}",
            f"{row['chosen']:.1f}",
            row["cell"],
            f"{row['gain']:+.1f} ± {row['error']:.1f}",
            verdict(row),
        ]
        for row in rows
    ]
    header = ["set", "model", "declared", "chosen", "cell", "gain", "verdict"]
    harness.print_table(header, lines)
    records = {}
    for model in MODELS:
        of_model = [row for row in rows if row["model"] == model.name]
        verdicts = [verdict(row) for row in of_model]
        records[model.name] = {
            "gain": float(np.mean([row["gain"] for row in of_model])),
            **{name: verdicts.count(name) for name in ("won", "tied", "lost")},
        }
    return records


def main():
    args = harness.read_sizes(
        __doc__,
        train=(1000, 200),
        test=(600, 200),
        texts=(2000, 200),
        sets=([*CLASSIFICATION], ["trec", "cr"]),
        cache=("choose-cache", "choose-cache-small"),
    )
    limits = Limits(args.train, args.test, 0, 0, 0)
    rows = []
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # cut texts
        for name in args.sets:
            task = load_classification(name, limits)
            for model in MODELS:
                rows.append(compare(model, task, args.cache))
                print(rows[-1], flush=True)
    records = show(rows)
    costs = {model.name: cost(model, args.texts) for model in MODELS}
    shares = {name: s["choice"] / s[-1] for name, s in costs.items()}
    harness.print_table(
        [
            "model",
            "pass, s",
            "fit with 'cv', s",
            "of which choice, s",
            "share of a pass",
        ],
        [
            [
                name,
                *(f"{s[key]:.1f}" for key in (-1, "cv", "choice")),
                f"{shares[name]:.0%}",
            ]
            for name, s in costs.items()
        ],
    )
    least = {"MiniLM": 1}
    most = {"MiniLM": 0.2}
    passed = {}
    for name, record in records.items():
        passed[f"{name}: no set is lost"] = record["lost"] == 0
        gain = least.get(name, 3)
        passed[f"{name}: {gain} points or more in the mean"] = record["gain"] >= gain
        share = most.get(name, 0.05)
        passed[f"{name}: the choice takes at most {share:.0%} of a pass"] = (
            shares[name] <= share
        )
    harness.finish(args, passed=passed, rows=rows, records=records, costs=costs)


if __name__ == "__main__":
    main()
