"""What a device and a dtype mean."""

import pytest

from sklearn_llm2vec._model.devices import resolve_devices, resolve_dtype


def test_device_and_dtype():
    assert resolve_devices("cpu") == ("cpu",)
    assert resolve_devices(["cuda:0", "cuda:1"]) == ("cuda:0", "cuda:1")
    assert resolve_dtype("auto", "cpu") == "float32"
    assert resolve_dtype("auto", "mps") == "float32"
    assert resolve_dtype("bfloat16", "cpu") == "bfloat16"
    with pytest.raises(ValueError, match="'dtype' parameter.*Got 'fp32' instead"):
        resolve_dtype("fp32", "cpu")
