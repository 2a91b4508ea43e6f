"""A token of the hub: sent with every download, kept and shown nowhere."""

import pickle
import shutil
import traceback

import numpy as np
import pytest
import torch
from conftest import variables_of
from safetensors.torch import save_file

from sklearn_llm2vec import (
    LLMEmbeddingTransformer,
    ModelNotFoundError,
    UnembeddingFilter,
)

TOKEN = "hf_" + "aBcD1234" * 4 + "xy"


@pytest.fixture
def downloads(monkeypatch):
    """What was downloaded with which token: (name, token). ``found`` says where it is."""
    asked, found = [], {}

    def download(name, *, token, local_files_only, **options):
        asked.append((name, token))
        if name not in found:
            raise RuntimeError(f"Illegal header value b'Bearer {token}'")
        return found[name]

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    download.asked, download.found = asked, found
    return download


@pytest.fixture(autouse=True)
def no_hub_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE")  # the client is stood in for


def an_adapter(folder):
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_file({"a": torch.ones(1)}, folder / "adapter_model.safetensors")
    return str(folder)


def test_it_is_sent_for_models_and_adapters(downloads, llama, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", f" {TOKEN}\n")
    downloads.found |= {"a/model": llama, "an/adapter": an_adapter(tmp_path / "one")}
    encoder = LLMEmbeddingTransformer(
        "a/model", adapters="an/adapter", cache=False, token_env="MY_TOKEN"
    )
    encoder.fit(["card"])
    assert set(downloads.asked) == {("a/model", TOKEN), ("an/adapter", TOKEN)}


def test_it_is_sent_for_gguf_files_and_filters(downloads, llama_lm, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    downloads.found["a/model"] = llama_lm
    UnembeddingFilter("a/model", token_env="MY_TOKEN").fit(np.ones((2, 32)))
    with pytest.raises(ModelNotFoundError):
        LLMEmbeddingTransformer("a/b/c.gguf", token_env="MY_TOKEN").fit(["a"])
    assert set(downloads.asked) == {("a/model", TOKEN), ("a/b", TOKEN)}


@pytest.mark.parametrize("token_env", [None, "NOT_SET"])
def test_without_one_the_client_decides(downloads, bert, monkeypatch, token_env):
    monkeypatch.delenv("NOT_SET", raising=False)
    downloads.found["a/model"] = bert
    LLMEmbeddingTransformer("a/model", cache=False, token_env=token_env).fit(["a"])
    assert set(downloads.asked) == {("a/model", None)}


def test_it_is_kept_nowhere(downloads, bert, tmp_path, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    downloads.found["a/model"] = shutil.copytree(bert, tmp_path / "model")
    encoder = LLMEmbeddingTransformer(
        "a/model", cache=str(tmp_path / "cache"), token_env="MY_TOKEN"
    )
    encoder.fit(["card"]).transform(["card", "bank"])
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not any(TOKEN.encode() in data for data in [pickle.dumps(encoder), *files])
    assert TOKEN not in repr(encoder) + str(vars(encoder)) + caplog.text
    assert "MY_TOKEN" in repr(encoder)


@pytest.mark.parametrize("adapters", [None, "no/adapter"])
@pytest.mark.parametrize("message", ["Bearer {}", "no connection"])
def test_it_is_in_no_error(downloads, llama, monkeypatch, adapters, message):
    monkeypatch.setenv("MY_TOKEN", TOKEN)

    def download(name, *, token, **options):
        header = {"Authorization": f"Bearer {token}"}
        assert header and TOKEN in token
        raise RuntimeError(message.format(token))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = "no/model" if adapters is None else llama
    encoder = LLMEmbeddingTransformer(model, adapters=adapters, token_env="MY_TOKEN")
    with pytest.raises(ModelNotFoundError) as error:
        encoder.fit(["a"])
    assert TOKEN not in variables_of(error.value)
    kept, error = "", error.value
    while error is not None:
        kept += "".join(traceback.format_exception(error, chain=False))
        error = error.__cause__ or error.__context__
    assert TOKEN not in kept
    assert ("no connection" in kept) == (message == "no connection")


def test_an_error_of_the_client_that_shows_nothing_stays(downloads):
    with pytest.raises(ModelNotFoundError, match="in 'token_env'") as error:
        LLMEmbeddingTransformer("no/model").fit(["a"])
    assert isinstance(error.value.__cause__, RuntimeError)


def test_an_error_says_that_the_variable_isnt_set(downloads, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(
        ModelNotFoundError, match=r"'NOT_SET' \('token_env'\) isn't set"
    ):
        LLMEmbeddingTransformer("no/model", token_env="NOT_SET").fit(["a"])


@pytest.mark.parametrize("value", [TOKEN, "a token", 3, ""])
@pytest.mark.parametrize("make", [LLMEmbeddingTransformer, UnembeddingFilter])
def test_a_token_in_place_of_its_variable_isnt_shown(make, value):
    X = ["a"] if make is LLMEmbeddingTransformer else np.ones((2, 32))
    message = f"'token_env' parameter of {make.__name__} must be the name"
    with pytest.raises(ValueError, match=message) as error:
        make("a/model", token_env=value).fit(X)
    assert TOKEN not in str(error.value) and "a token" not in str(error.value)
