"""Texts encoded, model loads and time of a grid search: ours beside three others.

The grid is 7 layers x 5 poolings x 5 folds of MiniLM. Where a transformer can't choose a
layer or a pooling (skrub's LLMEncoder, embetter's SentenceEncoder) the same number of
candidates is a grid over the classifier's C. The plain transformer, written here, encodes
in ``transform``: transformers' AutoModel, padded batches of 32.

Texts are counted where they enter the network, model loads where weights are read. The
wall time is less the time that the classifier, a RidgeClassifier, spent in fit and score.
Bar: ours encodes at least 30 times fewer texts than each of the others.

``--poolings 1`` makes a shorter grid. Reads shared/data beside the repository; needs
skrub, embetter and sentence-transformers (whichever is absent is left out, and said).
"""

import argparse
import time
from importlib.util import find_spec
from pathlib import Path

import _common
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline

from sklearn_llm2vec import LLMEmbeddingTransformer, layer_pooling_grid
from sklearn_llm2vec._models import read_model
from sklearn_llm2vec._vectors import ALL_POOLINGS

counts = {"texts": 0, "loads": 0, "head": 0.0}


class TimedHead(RidgeClassifier):
    """A cheap classifier that adds up its own time."""

    def fit(self, X, y):
        started = time.perf_counter()
        super().fit(X, y)
        counts["head"] += time.perf_counter() - started
        return self

    def predict(self, X):
        started = time.perf_counter()
        labels = super().predict(X)
        counts["head"] += time.perf_counter() - started
        return labels


class PlainEncoder(TransformerMixin, BaseEstimator):
    """What one writes in ten minutes: load and encode in `transform`."""

    def __init__(self, folder, layer=-1, pooling="mean"):
        self.folder = folder
        self.layer = layer
        self.pooling = pooling

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def transform(self, X):
        import torch
        from transformers import AutoModel, AutoTokenizer

        if not hasattr(self, "_model"):
            self._tokenizer = AutoTokenizer.from_pretrained(self.folder)
            self._model = AutoModel.from_pretrained(self.folder).eval()
            counts["loads"] += 1
        blocks = []
        with torch.inference_mode():
            for start in range(0, len(X), 32):
                texts = list(X[start : start + 32])
                batch = self._tokenizer(
                    texts, padding=True, truncation=True, return_tensors="pt"
                )
                counts["texts"] += len(texts)
                output = self._model(**batch, output_hidden_states=True)
                states = output.hidden_states[self.layer]  # (batch, tokens, hidden)
                mask = batch["attention_mask"]  # (batch, tokens)
                blocks.append(pool(states, mask, self.pooling).numpy())
        return np.concatenate(blocks)


def pool(states, mask, pooling):
    """Pool padded states of shape (batch, tokens, hidden)."""
    if pooling == "first":
        return states[:, 0]
    if pooling == "last":
        return states[range(len(states)), mask.sum(1) - 1]
    if pooling == "max":
        return states.masked_fill(mask[:, :, None] == 0, float("-inf")).amax(1)
    weights = (mask if pooling == "mean" else mask.cumsum(1) * mask).float()
    weights = weights / weights.sum(1, keepdim=True)
    return (weights[:, :, None] * states).sum(1)


class Column(TransformerMixin, BaseEstimator):
    """A list of texts as a pandas Series, which skrub's encoder asks for."""

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def transform(self, X):
        import pandas as pd

        return pd.Series(list(X), name="text")


def count_sentence_transformers():
    """Count texts and loads of sentence-transformers, which both peers use."""
    from sentence_transformers import SentenceTransformer

    encode, init = SentenceTransformer.encode, SentenceTransformer.__init__

    def counting_encode(self, texts, *args, **kwargs):
        counts["texts"] += 1 if isinstance(texts, str) else len(texts)
        return encode(self, texts, *args, **kwargs)

    def counting_init(self, *args, **kwargs):
        counts["loads"] += 1
        return init(self, *args, **kwargs)

    SentenceTransformer.encode = counting_encode
    SentenceTransformer.__init__ = counting_init


def count_ours():
    """Count texts and loads of this library at its own model."""
    from sklearn_llm2vec import _encoder, _models

    load_network, encode = _models.load_network, _encoder.Encoder.encode

    def counting_load(*args, **kwargs):
        counts["loads"] += 1
        return load_network(*args, **kwargs)

    def counting_encode(self, texts, *args, **kwargs):
        counts["texts"] += len(texts)
        return encode(self, texts, *args, **kwargs)

    _models.load_network = counting_load
    _encoder.Encoder.encode = counting_encode


def contestants(folder, cache, n_layers, poolings):
    """Name -> (pipeline, grid), each with as many candidates."""
    head = TimedHead(alpha=0.1)
    layers = list(range(n_layers + 1))
    strengths = list(np.logspace(-3, 1, len(layers) * len(poolings)))
    ours = Pipeline(
        [
            (
                "encoder",
                LLMEmbeddingTransformer(_common.MINILM, cache=cache, verbose=False),
            ),
            ("head", head),
        ]
    )
    found = {
        "sklearn-llm2vec": (ours, layer_pooling_grid(ours, poolings=poolings)),
        "plain transformer": (
            Pipeline([("encoder", PlainEncoder(folder)), ("head", head)]),
            {"encoder__layer": layers, "encoder__pooling": list(poolings)},
        ),
    }
    if find_spec("skrub") and find_spec("sentence_transformers"):
        import skrub

        # TextEncoder was renamed LLMEncoder; the old name is kept with a warning.
        encoder = getattr(skrub, "LLMEncoder", None) or skrub.TextEncoder
        found[f"skrub {encoder.__name__}"] = (
            Pipeline(
                [
                    ("column", Column()),
                    ("encoder", encoder(folder, n_components=None, device="cpu")),
                    ("head", head),
                ]
            ),
            {"head__alpha": strengths},
        )
    else:
        print("skrub or sentence-transformers is absent: left out")
    if find_spec("embetter") and find_spec("sentence_transformers"):
        from embetter.text import SentenceEncoder

        found["embetter SentenceEncoder"] = (
            Pipeline([("encoder", SentenceEncoder(folder)), ("head", head)]),
            {"head__alpha": strengths},
        )
    else:
        print("embetter or sentence-transformers is absent: left out")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--poolings", type=int, default=5, choices=range(1, 6))
    parser.add_argument("--folds", type=int, default=5)
    args = parser.parse_args()

    texts, labels = _common.banking_texts(args.texts)
    # Few texts of 77 classes: the classes are merged so that each fold has them all.
    _, numbers = np.unique(labels, return_inverse=True)
    labels = numbers % 4
    with _common.new_folder() as root:
        _common.own_cache(Path(root, "default"))
        model = read_model(_common.MINILM)
        count_ours()
        if find_spec("sentence_transformers"):
            count_sentence_transformers()
        rows = []
        named = contestants(
            str(model.folder),
            Path(root, "cache"),
            model.n_layers,
            ALL_POOLINGS[: args.poolings],
        )
        for name, (pipeline, grid) in named.items():
            counts.update(texts=0, loads=0, head=0.0)
            started = time.perf_counter()
            found = GridSearchCV(
                pipeline,
                grid,
                cv=StratifiedKFold(args.folds, shuffle=True, random_state=0),
                refit=False,
                error_score="raise",
            ).fit(texts, labels)
            seconds = time.perf_counter() - started
            rows.append(
                {
                    "transformer": name,
                    "fits": len(found.cv_results_["params"]) * args.folds,
                    "texts encoded": counts["texts"],
                    "model loads": counts["loads"],
                    "seconds without head": round(seconds - counts["head"], 2),
                    "seconds of head": round(counts["head"], 2),
                }
            )
            print(rows[-1], flush=True)
    ours = rows[0]["texts encoded"]
    for row in rows:
        row["times ours"] = round(row["texts encoded"] / ours, 1)
    print(f"\n{len(texts)} texts, {len(set(texts))} distinct\n")
    _common.print_table(list(rows[0]), [row.values() for row in rows])
    _common.finish(
        "peers",
        passed={
            "ours encodes 30 times less than " + row["transformer"]: row["times ours"]
            >= 30
            for row in rows[1:]
        },
        texts=len(texts),
        distinct=len(set(texts)),
        rows=rows,
    )


if __name__ == "__main__":
    main()
