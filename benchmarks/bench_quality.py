"""Published values, met with the same weights: the vectors are the right ones.

MiniLM, mean of the last layer:

- STS-Benchmark test, cosine: Spearman x 100 is 82.03 (published), bar +- 0.05;
- Banking77, 8 shots a label x 10 draws, LogisticRegression(max_iter=100): accuracy 80.04
  (mteb's protocol, seeds 42 to 51, the 3,080 texts of the test split), bar +- 1.

Reads shared/data beside the repository.
"""

import argparse
from pathlib import Path

import _common
import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from sklearn_llm2vec import LLMEmbeddingTransformer


def stsb(encoder, n_pairs):
    """Spearman correlation x 100 of cosine and human score."""
    frame = _common.read_data("stsb/test").head(n_pairs)
    first = encoder.fit_transform(frame["text_a"].tolist())
    second = encoder.fit_transform(frame["text_b"].tolist())
    cosine = np.einsum("ij,ij->i", first, second)
    cosine /= np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    scores = frame["score"].astype(float)
    return 100 * float(spearmanr(cosine, scores).statistic), len(frame)


def banking77(encoder, n_draws, shots):
    """Accuracies x 100, one for each draw of `shots` texts a label."""
    train, test = (_common.read_data(f"banking77/{part}") for part in ("train", "test"))
    texts, labels = train["text"].tolist(), train["label"].to_numpy()
    vectors = encoder.fit_transform(texts)
    wanted = encoder.fit_transform(test["text"].tolist())
    accuracies = []
    for draw in range(n_draws):
        rows = np.arange(len(texts))
        # As mteb undersamples: shuffle, then keep the first `shots` of each label.
        np.random.default_rng(42 + draw).shuffle(rows)
        kept = np.concatenate([rows[labels[rows] == k][:shots] for k in set(labels)])
        head = LogisticRegression(max_iter=100, random_state=42)
        with threadpool_limits(1, "blas"):
            head.fit(vectors[kept], labels[kept])
            accuracies.append(100 * head.score(wanted, test["label"].to_numpy()))
    return accuracies


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1379)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--shots", type=int, default=8)
    args = parser.parse_args()
    with _common.new_folder() as root:
        _common.own_cache(Path(root, "default"))
        encoder = LLMEmbeddingTransformer(
            _common.MINILM, layer=-1, pooling="mean", cache=root, verbose=False
        )
        correlation, n_pairs = stsb(encoder, args.pairs)
        accuracies = banking77(encoder, args.draws, args.shots)
    accuracy, spread = float(np.mean(accuracies)), float(np.std(accuracies))
    _common.print_table(
        ["task", "measured", "published", "bar"],
        [
            ["STS-B test, Spearman x 100", f"{correlation:.3f}", "82.03", "+- 0.05"],
            [
                f"Banking77, {args.shots} shots x {args.draws}, accuracy",
                f"{accuracy:.2f} (sd {spread:.2f})",
                "80.04",
                "+- 1",
            ],
        ],
    )
    _common.finish(
        "quality",
        passed={
            "STS-B 82.03 +- 0.05": abs(correlation - 82.03) <= 0.05,
            "Banking77 80.04 +- 1": abs(accuracy - 80.04) <= 1,
        },
        stsb_spearman=round(correlation, 4),
        pairs=n_pairs,
        banking77_accuracy=round(accuracy, 3),
        banking77_sd=round(spread, 3),
        draws=args.draws,
    )


if __name__ == "__main__":
    main()
