"""Texts encoded, model loads and time of a grid search: ours beside three others.

The grid is 7 layers x 5 poolings x 5 folds of MiniLM on 100 texts. Where a transformer
can't choose a layer or a pooling (skrub's and embetter's), the candidates are as many
strengths of the classifier. The plain transformer, written here, is transformers'
AutoModel with padded batches of 32. If skrub or embetter is absent, it is left out.

Texts are counted where they enter the encoder, loads where weights are read. The time is
less what the classifier, a RidgeClassifier, spent in fit and predict. Bar: ours encodes
at least 30 times fewer texts than each of the others.

    python benchmarks/bench_peers.py [--small]
"""

import time
from importlib.util import find_spec

import harness
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline

from sklearn_llm2vec import LLMEmbeddingTransformer, layer_pooling_grid
from sklearn_llm2vec._network.pooling import POOLINGS

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


class Stateless(TransformerMixin, BaseEstimator):
    """A transformer that has nothing to fit."""

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True


class PlainEncoder(Stateless):
    """What one writes in ten minutes: load and encode in `transform`."""

    def __init__(self, folder, layer=-1, pooling="mean"):
        self.folder = folder
        self.layer = layer
        self.pooling = pooling

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


class Column(Stateless):
    """A list of texts as a pandas Series, which skrub's encoder asks for."""

    def transform(self, X):
        import pandas as pd

        return pd.Series(list(X), name="text")


def count_calls(owner, method, name, amount):
    """From now on add ``amount(*args)`` to ``counts[name]`` at each call."""
    original = getattr(owner, method)

    def counting(*args, **kwargs):
        counts[name] += amount(*args)
        return original(*args, **kwargs)

    setattr(owner, method, counting)


def contestants(folder, cache, n_layers, poolings):
    """Name -> (pipeline, grid), each with as many candidates."""
    from sklearn_llm2vec._encode import encoder
    from sklearn_llm2vec._model import loading

    head = TimedHead(alpha=0.1)
    layers = list(range(n_layers + 1))
    strengths = list(np.logspace(-3, 1, len(layers) * len(poolings)))

    count_calls(loading, "load_network", "loads", lambda *args: 1)
    count_calls(encoder.Encoder, "encode", "texts", lambda self, texts, *_: len(texts))
    encoder = LLMEmbeddingTransformer(harness.MINILM, cache=cache, verbose=False)
    ours = Pipeline([("encoder", encoder), ("head", head)])
    yield "sklearn-llm2vec", ours, layer_pooling_grid(ours, poolings=poolings)

    plain = Pipeline([("encoder", PlainEncoder(folder)), ("head", head)])
    grid = {"encoder__layer": layers, "encoder__pooling": list(poolings)}
    yield "plain transformer", plain, grid

    if not find_spec("sentence_transformers"):
        print("sentence-transformers is absent: skrub and embetter are left out")
        return
    from sentence_transformers import SentenceTransformer

    count_calls(SentenceTransformer, "__init__", "loads", lambda *args: 1)
    count_calls(
        SentenceTransformer,
        "encode",
        "texts",
        lambda self, texts, *_: 1 if isinstance(texts, str) else len(texts),
    )
    if find_spec("skrub"):
        import skrub

        # TextEncoder was renamed LLMEncoder; the old name is kept with a warning.
        Encoder = getattr(skrub, "LLMEncoder", None) or skrub.TextEncoder
        encoder = Encoder(folder, n_components=None, device="cpu")
        steps = [("column", Column()), ("encoder", encoder), ("head", head)]
        name = f"skrub {Encoder.__name__}"
        yield name, Pipeline(steps), {"head__alpha": strengths}
    else:
        print("skrub is absent: left out")
    if find_spec("embetter"):
        from embetter.text import SentenceEncoder

        steps = [("encoder", SentenceEncoder(folder)), ("head", head)]
        yield "embetter SentenceEncoder", Pipeline(steps), {"head__alpha": strengths}
    else:
        print("embetter is absent: left out")


def main():
    args = harness.read_sizes(__doc__, texts=(100, 20), poolings=(5, 1), folds=(5, 5))
    texts, labels = harness.banking_texts(args.texts)
    # Few texts of 77 classes: the classes are merged so that each fold has them all.
    labels = np.unique(labels, return_inverse=True)[1] % 2
    rows = []
    with harness.new_folder() as root:
        model = harness.minilm()
        for name, pipeline, grid in contestants(
            str(model.folder),
            root / "cache",
            model.n_layers,
            list(POOLINGS)[: args.poolings],
        ):
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
            print(f"{name}: {seconds:.1f} s", flush=True)
    for row in rows:
        row["times ours"] = round(row["texts encoded"] / rows[0]["texts encoded"], 1)
    harness.print_table(list(rows[0]), [row.values() for row in rows])
    harness.finish(
        args,
        passed={
            f"30 times fewer texts than {row['transformer']}": row["times ours"] >= 30
            for row in rows[1:]
        },
        texts=len(texts),
        distinct=len(set(texts)),
        rows=rows,
    )


if __name__ == "__main__":
    main()
