"""For ``bench_grid``: a plain transformer as users write it, and counters.

In a module of its own, which joblib's workers can import.
"""

import os

from sklearn.base import BaseEstimator, TransformerMixin

LOADS_FILE = "BENCH_GRID_LOADS"


def note_load():
    with open(os.environ[LOADS_FILE], "a") as file:
        file.write(f"{os.getpid()}\n")


class CountLoads(TransformerMixin, BaseEstimator):
    """Passes texts on; from its first use on, loads of our models are counted."""

    def fit(self, X, y=None):
        from sklearn_llm2vec import _models

        load = _models.load_network
        if not hasattr(load, "counted"):

            def counting(*args):
                note_load()
                return load(*args)

            counting.counted = True
            _models.load_network = counting
        return self

    def transform(self, X):
        return X

    def __sklearn_is_fitted__(self):
        return True


class PlainEncoder(TransformerMixin, BaseEstimator):
    """Mean of the last layer, batches of 32 padded to their longest text."""

    n_texts = 0

    def __init__(self, folder):
        self.folder = folder

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        import numpy as np
        import torch
        from transformers import AutoModel, AutoTokenizer

        if not hasattr(self, "model_"):
            note_load()
            self.model_ = AutoModel.from_pretrained(self.folder).eval()
            self.tokenizer_ = AutoTokenizer.from_pretrained(self.folder)
        texts, out = list(X), []
        PlainEncoder.n_texts += len(texts)
        for start in range(0, len(texts), 32):
            batch = self.tokenizer_(
                texts[start : start + 32],
                padding=True,
                truncation=True,
                return_tensors="pt",
            )
            with torch.inference_mode():
                states = self.model_(
                    **batch
                ).last_hidden_state  # (batch, tokens, hidden)
            mask = batch["attention_mask"][:, :, None]
            out.append(((states * mask).sum(1) / mask.sum(1)).numpy())
        return np.concatenate(out)


def count_sentence_transformers():
    """Count the texts and loads of sentence-transformers from now on."""
    from sentence_transformers import SentenceTransformer

    counts = {"texts": 0, "loads": 0}
    plain = SentenceTransformer.__dict__
    encode = getattr(plain["encode"], "original", plain["encode"])
    init = getattr(plain["__init__"], "original", plain["__init__"])

    def counting_encode(self, sentences, *args, **kwargs):
        counts["texts"] += 1 if isinstance(sentences, str) else len(sentences)
        return encode(self, sentences, *args, **kwargs)

    def counting_init(self, *args, **kwargs):
        counts["loads"] += 1
        init(self, *args, **kwargs)

    counting_encode.original, counting_init.original = encode, init
    SentenceTransformer.encode = counting_encode
    SentenceTransformer.__init__ = counting_init
    return counts
