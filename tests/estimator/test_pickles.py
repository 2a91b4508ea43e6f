"""What a pickle and a file of skops name: public classes, under public paths."""

import copy
import importlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import sklearn_llm2vec
from sklearn_llm2vec import EmbeddingCache, LLM2VecRecipe, LLMEmbeddingTransformer
from sklearn_llm2vec._model.adapters import TrainedAdapter

TEXTS = ["card payment", "the bank", "a small blue cat", "the bank", "refund"] * 2
TWO_COLUMNS = [[a, b] for a, b in zip(TEXTS, TEXTS[::-1], strict=True)]
Y = [0, 1, 0, 1, 0] * 2
ADAPTER = TrainedAdapter("simcse", b"{}", b"weights", True, '{"seed": 1}')


@pytest.fixture
def pipe(bert, tmp_path):
    """Fitted, with all that a pickle can hold: cache, PCA, report, recipe, adapter."""
    encoder = LLMEmbeddingTransformer(
        bert, n_components=2, cache=EmbeddingCache(tmp_path / "cache")
    )
    pipe = make_pipeline(encoder, LogisticRegression()).fit(TEXTS, Y)
    pipe.score(TEXTS, Y)
    return pipe


def classes_in(data):
    """The classes and functions that a pickle names."""
    found = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            found.add(f"{module}.{name}")
            return super().find_class(module, name)

    Unpickler(io.BytesIO(data)).load()
    return found


@pytest.mark.parametrize(
    "module",
    ["sklearn_llm2vec", "sklearn_llm2vec.evaluation", "sklearn_llm2vec.integrations"],
)
def test_public_names_say_the_public_module(module):
    public = importlib.import_module(module)
    for name in public.__all__:
        if name != "__version__":
            assert getattr(public, name).__module__ == module, name


@pytest.mark.parametrize("name", ["Report", "TrainedAdapter"])
def test_what_attributes_hold_has_a_public_name(name):
    thing = getattr(sklearn_llm2vec, name)
    assert thing.__module__ == "sklearn_llm2vec"
    assert pickle.loads(pickle.dumps(thing)) is thing


def test_a_fitted_pipeline_names_no_private_path(pipe):
    pipe[0].adapter_ = (ADAPTER,)
    data = pickle.dumps(pipe)
    assert b"sklearn_llm2vec._" not in data
    ours = {name for name in classes_in(data) if name.startswith("sklearn_llm2vec")}
    assert ours == {"sklearn_llm2vec.LLMEmbeddingTransformer"}
    assert b"sklearn_llm2vec._" not in pickle.dumps(LLM2VecRecipe())


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_what_was_found_out_travels(pipe, duplicate):
    pipe[0].adapter_ = (ADAPTER,)
    other = duplicate(pipe)[0]
    assert other.last_report_ == pipe[0].last_report_
    assert other.last_report_.cached == 4
    assert other.adapter_ == (ADAPTER,)
    assert other.adapter_[0].digest == ADAPTER.digest
    assert isinstance(pipe[0].last_report_, sklearn_llm2vec.Report)
    assert pipe[0].adapter_ == (ADAPTER,)


# Each with a parameter that takes a value of a class, ours or another package's.
OF_CLASSES = {
    "paths": lambda model, place: {"model": Path(model), "cache": place},
    "cache": lambda model, place: {"cache": EmbeddingCache(place, size_limit=10**6)},
    "device": lambda model, place: {"device": torch_device("cpu")},
    "recipe": lambda model, place: {"adapt": LLM2VecRecipe("simcse", simcse_steps=3)},
    "numpy": lambda model, place: {"layer": np.int64(2), "pooling": np.str_("max")},
    "cells": lambda model, place: {"layer": "cv", "pooling": "cv", "n_components": 2},
    "seed": lambda model, place: {"random_state": np.random.RandomState(0)},
}


def torch_device(name):
    import torch

    return torch.device(name)


@pytest.mark.parametrize("about", OF_CLASSES)
def test_skops_needs_to_trust_the_transformer_only(about, tmp_path, bert):
    skops = pytest.importorskip("skops.io")
    given = {"model": bert, "cache": str(tmp_path / "cache")}
    given |= OF_CLASSES[about](bert, tmp_path / "other")
    encoder = LLMEmbeddingTransformer(**given)
    if about == "recipe":  # as if it were trained: this is about what is written
        encoder.adapter_, encoder._adapted_by = (ADAPTER,), given["adapt"].get_params()
    else:
        encoder.fit(TWO_COLUMNS, Y).transform(TWO_COLUMNS)
    data = skops.dumps(encoder)
    unknown = skops.get_untrusted_types(data=data)
    assert unknown == ["sklearn_llm2vec.LLMEmbeddingTransformer"]
    loaded = skops.loads(data, trusted=unknown)
    if about == "recipe":
        assert loaded.adapter_ == (ADAPTER,)
        assert isinstance(loaded.adapt, LLM2VecRecipe)
        assert loaded.adapt.get_params() == given["adapt"].get_params()
        return
    assert type(loaded.cache) is EmbeddingCache or about != "cache"
    assert loaded.cache == (encoder.cache if about != "paths" else str(encoder.cache))
    assert loaded.last_report_ == encoder.last_report_
    np.testing.assert_array_equal(
        loaded.transform(TWO_COLUMNS), encoder.transform(TWO_COLUMNS)
    )


def test_a_pipeline_in_skops_predicts_the_same(pipe, tmp_path):
    skops = pytest.importorskip("skops.io")
    skops.dump(pipe, tmp_path / "pipe.skops")
    unknown = skops.get_untrusted_types(file=tmp_path / "pipe.skops")
    assert unknown == ["sklearn_llm2vec.LLMEmbeddingTransformer"]
    loaded = skops.load(tmp_path / "pipe.skops", trusted=unknown)
    np.testing.assert_array_equal(loaded.predict(TEXTS), pipe.predict(TEXTS))
    assert loaded[0].cache == pipe[0].cache


def test_a_file_that_lacks_a_later_parameter_gets_its_default(bert):
    encoder = LLMEmbeddingTransformer(bert, cache=False).fit(TEXTS)
    state = encoder.__getstate__()
    del state["token_env"]
    older = LLMEmbeddingTransformer.__new__(LLMEmbeddingTransformer)
    older.__setstate__(state)
    assert older.token_env is None
    np.testing.assert_array_equal(older.transform(TEXTS), encoder.transform(TEXTS))
