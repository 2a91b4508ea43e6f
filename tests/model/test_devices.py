"""What a device and a dtype mean."""

import warnings

import pytest
import torch

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._model import devices
from sklearn_llm2vec._model.devices import resolve_devices, resolve_dtype
from sklearn_llm2vec._model.registry import forget_models


def test_device_and_dtype():
    assert resolve_devices("cpu") == ("cpu",)
    assert resolve_devices(["cuda:0", "cuda:1"]) == ("cuda:0", "cuda:1")
    assert resolve_dtype("auto", "cpu") == "float32"
    assert resolve_dtype("auto", "mps") == "float32"
    assert resolve_dtype("bfloat16", "cpu") == "bfloat16"
    with pytest.raises(ValueError, match="'dtype' parameter.*Got 'fp32' instead"):
        resolve_dtype("fp32", "cpu")


@pytest.mark.parametrize("has_it", [True, False])
def test_bfloat16_without_instructions_for_it_warns(bert, monkeypatch, has_it):
    monkeypatch.setattr(devices.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_it)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    devices._cpu_has_bfloat16.cache_clear()
    forget_models()
    encoder = LLMEmbeddingTransformer(bert, layer=2, cache=False, dtype="bfloat16")
    exact = encoder.set_params(dtype="float32").fit_transform(["a small blue cat"])
    encoder.set_params(dtype="bfloat16")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        half = encoder.fit_transform(["a small blue cat"])
        encoder.fit_transform(["another cat"])
    devices._cpu_has_bfloat16.cache_clear()
    about = [str(w.message) for w in caught if "bfloat16" in str(w.message)]
    assert len(about) == (0 if has_it else 1)
    assert abs(half - exact).max() < 0.05 * abs(exact).max()
