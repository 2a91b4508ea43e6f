"""Published values, met with the same weights; and retrieval beside BM25.

MiniLM, mean of the last layer, each vector of length 1 as the model's folder declares.
Published are mteb's results, x 100:

- STS-Benchmark test, cosines: Spearman 82.03, Pearson 82.74, bars +- 0.05;
- Banking77, 8 texts a label x 10 draws, LogisticRegression on the 3,080 texts of the
  test split: accuracy 80.04, macro F1 79.38, bars +- 0.05. The draws are mteb's own. With
  other sizes (``--small``) nothing is published, and the bars are +- 1.5.

Cranfield and CISI have no published values and no bars: the table has MiniLM, its vectors
as they are, and BM25.

    python benchmarks/bench_quality.py [--small]
"""

import harness
from threadpoolctl import threadpool_limits

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec.evaluation import (
    BM25,
    evaluate_classification,
    evaluate_retrieval,
    evaluate_sts,
)

PUBLISHED = {
    "stsb spearman": 82.03,
    "stsb pearson": 82.74,
    "banking77 accuracy": 80.04,
    "banking77 f1_macro": 79.38,
}


def means(scores, task):
    """Mean value x 100 of each metric."""
    values = 100 * scores.groupby("metric")["value"].mean()
    return {f"{task} {metric}": value for metric, value in values.items()}


def stsb(encoder):
    pairs = harness.read_frame("stsb/test")
    scores = evaluate_sts(encoder, pairs["text_a"], pairs["text_b"], pairs["score"])
    return means(scores, "stsb")


def banking77(encoder, n_draws, shots):
    train, test = (
        harness.read_frame(f"banking77/{part}") for part in ("train", "test")
    )
    with threadpool_limits(1, "blas"):
        scores = evaluate_classification(
            encoder,
            train["text"],
            train["label"],
            test["text"],
            test["label"],
            n_per_class=shots,
            n_draws=n_draws,
            random_state=42,  # mteb's draws
        )
    return means(scores, "banking77")


def retrieval(rankers, name):
    """Rows of the table: each ranker's values on one collection."""
    parts = [
        harness.read_frame(f"{name}/{part}") for part in ("queries", "corpus", "qrels")
    ]
    rows = []
    for label, ranker in rankers.items():
        scores = evaluate_retrieval(ranker, *parts)
        values = scores.set_index("metric")["value"]
        rows.append([name, int(scores["n_queries"][0]), label, *values.round(4)])
    return rows


def main():
    args = harness.read_sizes(__doc__, draws=(10, 2), shots=(8, 8))
    with harness.new_folder() as root:
        harness.minilm()
        encoder = LLMEmbeddingTransformer(
            harness.MINILM,
            layer=-1,
            pooling="mean",
            normalize=True,
            cache=root / "cache",
            verbose=False,
        )
        measured = {**stsb(encoder), **banking77(encoder, args.draws, args.shots)}
        rankers = {"BM25": BM25(), "MiniLM": encoder}
        ranked = [
            row for name in ("cranfield", "cisi") for row in retrieval(rankers, name)
        ]
    as_published = (args.draws, args.shots) == (10, 8)
    bars = {
        name: 0.05 if as_published or name.startswith("stsb") else 1.5
        for name in PUBLISHED
    }
    harness.print_table(
        ["task", "measured x 100", "published", "bar"],
        [
            [name, f"{measured[name]:.3f}", f"{wanted:.2f}", f"+- {bars[name]}"]
            for name, wanted in PUBLISHED.items()
        ],
    )
    columns = ["nDCG@10", "MAP", "recall@10", "recall@100"]
    harness.print_table(["collection", "queries", "ranker", *columns], ranked)
    harness.finish(
        args,
        passed={
            f"{name} {wanted:.2f} +- {bars[name]}": abs(measured[name] - wanted)
            <= bars[name]
            for name, wanted in PUBLISHED.items()
        },
        **{name.replace(" ", "_"): round(value, 4) for name, value in measured.items()},
        retrieval=ranked,
        draws=args.draws,
        shots=args.shots,
    )


if __name__ == "__main__":
    main()
