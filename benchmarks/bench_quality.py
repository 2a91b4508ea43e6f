"""Published values, met with the same weights: the vectors are the right ones.

MiniLM, mean of the last layer, each vector of length 1 as the model's folder declares:

- STS-Benchmark test, Spearman x 100 of the cosines: published 82.03, bar +- 0.05;
- Banking77, 8 texts a label x 10 draws, LogisticRegression, accuracy x 100 on the 3,080
  texts of the test split: published (mteb, the same protocol) 80.04, bar +- 1.

    python benchmarks/bench_quality.py [--small]
"""

import harness
import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from sklearn_llm2vec import LLMEmbeddingTransformer


def stsb(encoder):
    """Spearman correlation x 100 of cosine and human score."""
    frame = harness.read_frame("stsb/test")
    first = encoder.fit_transform(frame["text_a"].tolist())
    second = encoder.fit_transform(frame["text_b"].tolist())
    cosine = np.einsum("ij,ij->i", first, second)
    cosine /= np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return 100 * float(spearmanr(cosine, frame["score"].astype(float)).statistic)


def banking77(encoder, n_draws, shots):
    """Accuracies x 100, one for each draw of `shots` texts a label."""
    train, test = (
        harness.read_frame(f"banking77/{part}") for part in ("train", "test")
    )
    texts, labels = train["text"].to_numpy(), train["label"].to_numpy()
    wanted = encoder.fit_transform(test["text"].tolist())
    accuracies = []
    for draw in range(n_draws):
        rows = np.arange(len(texts))
        # As mteb undersamples: shuffle, then keep the first `shots` of each label.
        np.random.default_rng(42 + draw).shuffle(rows)
        kept = np.concatenate([rows[labels[rows] == k][:shots] for k in set(labels)])
        vectors = encoder.fit_transform(texts[kept].tolist())
        head = LogisticRegression(max_iter=100, random_state=42)
        with threadpool_limits(1, "blas"):
            head.fit(vectors, labels[kept])
            accuracies.append(100 * head.score(wanted, test["label"].to_numpy()))
    return accuracies


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
        correlation = stsb(encoder)
        accuracies = banking77(encoder, args.draws, args.shots)
    accuracy, spread = float(np.mean(accuracies)), float(np.std(accuracies))
    harness.print_table(
        ["task", "measured", "published", "bar"],
        [
            ["STS-B test, Spearman x 100", f"{correlation:.3f}", "82.03", "+- 0.05"],
            [
                f"Banking77, {args.shots} shots x {args.draws}, accuracy x 100",
                f"{accuracy:.2f} (sd {spread:.2f})",
                "80.04",
                "+- 1",
            ],
        ],
    )
    harness.finish(
        args,
        passed={
            "STS-B 82.03 +- 0.05": abs(correlation - 82.03) <= 0.05,
            "Banking77 80.04 +- 1": abs(accuracy - 80.04) <= 1,
        },
        stsb_spearman=round(correlation, 4),
        banking77_accuracy=round(accuracy, 3),
        banking77_sd=round(spread, 3),
        draws=args.draws,
        shots=args.shots,
    )


if __name__ == "__main__":
    main()
