"""The published figures of all-MiniLM-L6-v2, reproduced.

STS-Benchmark test, mean of the last layer, cosine: Spearman 82.03 +- 0.05. Banking77 by
the mteb protocol, 8 texts a label, 10 draws, LogisticRegression(max_iter=100): accuracy
80.04 +- 1.
"""

import argparse
import json
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pandas as pd
from common import MINILM, data
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from sklearn_llm2vec import LLMEmbeddingTransformer


def sts(encoder):
    table = pd.read_csv(data("stsb/test.csv.gz"), keep_default_na=False)
    a, b = encoder.transform(table["text_a"]), encoder.transform(table["text_b"])
    return 100 * spearmanr((a * b).sum(1), table["score"].astype(float)).statistic


def few_shot(encoder, draws):
    parts = [
        pd.read_csv(data(f"banking77/{part}.csv.gz"), keep_default_na=False)
        for part in ("train", "test")
    ]
    (X, y), (Xt, yt) = ((encoder.transform(p["text"]), p["label"].values) for p in parts)
    scores = []
    for seed in range(42, 42 + draws):
        shuffled = np.random.default_rng(seed).permutation(len(y))
        few = pd.Series(y[shuffled]).groupby(y[shuffled]).head(8).index
        rows = shuffled[few]
        with threadpool_limits(1, "blas"):
            head = LogisticRegression(max_iter=100).fit(X[rows], y[rows])
            scores.append(100 * head.score(Xt, yt))
    return np.mean(scores), np.std(scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10)
    args = parser.parse_args()
    unit = {"cache": tempfile.mkdtemp(), "verbose": False}
    spearman = sts(LLMEmbeddingTransformer(MINILM, normalize=True, **unit))
    # mteb encodes with sentence-transformers, whose MiniLM folder normalises.
    accuracy, spread = few_shot(
        LLMEmbeddingTransformer(MINILM, normalize=True, **unit), args.draws
    )
    print("figure                         ours   published")
    print(f"STS-Benchmark, Spearman       {spearman:.2f}       82.03")
    print(f"Banking77, 8 a label          {accuracy:.2f}       80.04   (spread {spread:.2f})")
    result = {
        "benchmark": "quality",
        "stsb_spearman": round(spearman, 3),
        "banking77_accuracy": round(accuracy, 3),
        "passed": bool(abs(spearman - 82.03) <= 0.05 and abs(accuracy - 80.04) <= 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
