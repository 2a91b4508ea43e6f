"""A vector that isn't finite is refused by name, and never stored."""

import numpy as np
import pytest
from conftest import llama_config, save_model
from safetensors.torch import load_file, save_file

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._estimator.lending import encode_for_others
from sklearn_llm2vec._estimator.source import open_source


@pytest.fixture
def overflows(tmp_path):
    """A model whose second layer's states are beyond float16, but not beyond float32."""
    folder = save_model(tmp_path / "model", llama_config(), "llama")
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["layers.1.mlp.up_proj.weight"] *= 30
    weights["layers.1.mlp.down_proj.weight"] *= 1e5
    save_file(weights, path, metadata={"format": "pt"})
    return folder


def test_an_overflow_is_refused_and_not_stored(overflows, tmp_path):
    params = {"cache": str(tmp_path / "cache"), "pooling": "mean"}
    half = LLMEmbeddingTransformer(overflows, dtype="float16", layer=2, **params)
    message = r"infinity in layer 2 for 1 of 1 texts, .* begins with 'a small card'"
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            half.fit_transform(["a small card"])
    assert EmbeddingCache(tmp_path / "cache").info()["vectors"] == 0
    for dtype in ("float32", "bfloat16"):
        vectors = half.set_params(dtype=dtype).fit_transform(["a small card"])
        assert np.isfinite(vectors).all()


def test_cells_that_are_finite_are_kept_beside_others(overflows, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    half = LLMEmbeddingTransformer(
        overflows, dtype="float16", layer=1, pooling="mean", keep="all", cache=cache
    )
    assert np.isfinite(half.fit_transform(["a small card"])).all()
    assert 0 < cache.info()["vectors"] < 25
    half.set_params(layer=2)
    with pytest.raises(ValueError, match="must be finite"):
        half.transform(["a small card"])


def test_a_worker_stores_only_finite_vectors_for_others(overflows, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    half = LLMEmbeddingTransformer(overflows, dtype="float16", cache=cache)
    encode = encode_for_others(cache, open_source(half))
    assert sum(encode(["a small card"], [2], ["mean"])) == 1
    assert cache.info()["vectors"] == 0
    assert sum(encode(["a small card"], [1, 2], ["mean"])) == 1
    assert cache.info()["vectors"] == 1
