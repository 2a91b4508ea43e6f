"""A vector that isn't finite is an error, and is never stored."""

import shutil

import numpy as np
import pytest

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._estimator import lending
from sklearn_llm2vec._estimator.source import open_source

TEXTS = ["card payment", "the bank", "a small blue cat"]


@pytest.fixture(scope="module")
def overflowing(bert, tmp_path_factory):
    """A model whose second layer has numbers beyond those of float16."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("models") / "overflowing"
    shutil.copytree(bert, folder)
    weights = load_file(folder / "model.safetensors")
    (name,) = [n for n in weights if n.endswith("layer.1.intermediate.dense.weight")]
    weights[name] *= 1e5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_float16_that_overflows_is_refused_and_not_stored(overflowing, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    encoder = LLMEmbeddingTransformer(overflowing, dtype="float16", cache=cache)
    message = r"NaN or infinity in layer 3 for 3 of 3 texts.*'.*dtype='bfloat16'"
    for off in (cache, False):
        with pytest.raises(ValueError, match=message):
            encoder.set_params(cache=off).fit_transform(TEXTS)
    assert cache.info()["vectors"] == 0

    # Of a pass that keeps everything, what is finite stays.
    encoder.set_params(cache=cache, layer=1, pooling="mean", keep="all")
    assert np.isfinite(encoder.fit_transform(TEXTS)).all()
    (space,) = cache.info()["spaces"]
    assert {layer for layer, _ in space["cells"]} == {0, 1}
    with pytest.raises(ValueError, match=message.replace("layer 3", "layer 2")):
        encoder.set_params(layer=2).transform(TEXTS)
    assert LLMEmbeddingTransformer(overflowing, cache=False).fit_transform(TEXTS).any()


def test_a_worker_stores_only_finite_vectors_for_others(overflowing, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    encoder = LLMEmbeddingTransformer(overflowing, dtype="float16", cache=cache)
    encode = lending.encode_for_others(cache, open_source(encoder))
    assert sum(encode(TEXTS, [3], ["mean"])) == 3
    assert cache.info()["vectors"] == 0
    assert sum(encode(TEXTS, [1, 3], ["mean"])) == 3
    assert cache.info()["vectors"] == 3
