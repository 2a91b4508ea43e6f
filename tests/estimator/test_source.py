"""Sources: a model folder, a server, and a new kind that nothing else has heard of."""

import dataclasses
import inspect
import pickle

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._encode.block import Block
from sklearn_llm2vec._encode.endpoint import ServedModel
from sklearn_llm2vec._estimator import served, source
from sklearn_llm2vec._estimator.source import Source, count_layers, open_source

TEXTS = ["card payment", "the bank", "a small blue cat", "the bank", None, "refund"]


def members(kind):
    """What a source must have."""
    methods = {name for name, _ in inspect.getmembers(kind, inspect.isroutine)}
    public = {name for name in methods if not name.startswith("_")}
    return {*public, *kind.__annotations__}


def test_both_kinds_have_what_a_source_has(bert, cache, monkeypatch):
    served_model = ServedModel("m", "http://localhost/v1", hidden_size=4)
    monkeypatch.setattr(served, "read_served_model", lambda *_, **__: served_model)
    here = open_source(LLMEmbeddingTransformer(bert, cache=cache))
    there = open_source(LLMEmbeddingTransformer("m", endpoint="http://localhost/v1"))
    assert len(members(Source)) == 22
    for one in (here, there):
        assert [name for name in members(Source) if not hasattr(one, name)] == []
    assert count_layers(LLMEmbeddingTransformer(bert)) == 3
    assert count_layers(LLMEmbeddingTransformer("m", endpoint="http://x/v1")) is None


@dataclasses.dataclass(eq=False)
class Letters:
    """A model that counts letters, by two poolings, in any number of layers."""

    width: int
    layer: int
    name = "letters"
    alphabet = "abcdefgh"
    n_layers, hidden_size, max_length = 2, 8, None
    pooling = "mean"
    always_kept, kept_in_search = ([], []), ([0, 1, 2], ["mean", "last"])
    device, is_lendable, finish_digest = "paper", False, None
    seen = []

    @classmethod
    def open(cls, params, adapters, memo_directory):
        return cls(params.truncate_dim or cls.hidden_size, params.layer % 3)

    @property
    def fingerprint(self):
        return f"letters:{self.alphabet}"

    identity = property(lambda self: (self.name, self.alphabet))

    def is_ready(self, depth):
        return True

    def check_texts(self, texts):
        if "forbidden" in texts:
            raise ValueError("not this one")

    def encoder(self, depth):
        return self

    n_cut, ran_out = 0, None

    def encode(self, texts, layers, poolings):
        self.seen.extend(texts)
        for i, text in enumerate(texts):
            counts = [[text.count(letter) for letter in self.alphabet]]
            vector = np.array(counts, np.float32)
            cells = {(k, p): (k + 1) * vector for k in layers for p in poolings}
            yield Block(np.array([i]), cells, len(text))

    def finish(self, vectors):
        return vectors[:, : self.width]

    def describe(self):
        return {"alphabet": self.alphabet}

    def refusal(self, identity):
        return ValueError(f"other letters than {identity[1]}")


@pytest.fixture
def letters(monkeypatch):
    """The one line that chooses a source says that it is this kind."""
    monkeypatch.setattr(source, "_kind_of", lambda params: Letters)
    monkeypatch.setattr(Letters, "seen", [])
    return Letters


def test_a_new_kind_of_source_is_one_class(letters, cache, monkeypatch):
    encoder = LLMEmbeddingTransformer("any", layer=1, cache=cache)
    got = encoder.fit_transform(TEXTS)
    assert got.shape == (6, 8)
    assert got[0].tolist() == [4, 0, 2, 2, 2, 0, 0, 0]  # "card payment", layer 1
    np.testing.assert_array_equal(got[1], got[3])
    assert (got[4] == 0).all()
    assert sorted(letters.seen) == sorted({*TEXTS} - {None})
    assert encoder.last_report_.encoded == 4

    np.testing.assert_array_equal(encoder.transform(TEXTS), got)
    assert encoder.last_report_.cached == 4
    # The second layer finds that a search is under way, so the third is there.
    for layer, n_seen in ((0, 8), (2, 8)):
        encoder.set_params(layer=layer).transform(TEXTS)
        assert len(letters.seen) == n_seen
    (space,) = cache.info()["spaces"]
    assert space["note"] == {"alphabet": "abcdefgh"}
    with pytest.raises(ValueError, match="not this one"):
        encoder.transform(["forbidden"])

    pipe = make_pipeline(encoder.set_params(truncate_dim=4), LogisticRegression())
    pipe.fit(TEXTS, [0, 1, 0, 1, 0, 1])
    loaded = pickle.loads(pickle.dumps(pipe))
    assert loaded[0].transform(TEXTS).shape == (6, 4)
    monkeypatch.setattr(letters, "alphabet", "hgfedcba")
    with pytest.raises(ValueError, match="other letters than abcdefgh"):
        loaded.predict(TEXTS)
