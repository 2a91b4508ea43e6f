"""Everything that decides a vector is in the name of its space."""

import json
import os
import shutil
import tempfile

import numpy as np
import pytest
import transformers
from conftest import llama_config, save_model

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._model import arithmetic, contents, folders
from sklearn_llm2vec._model.arithmetic import arithmetic_digest
from sklearn_llm2vec._model.files import counted_files, weight_files
from sklearn_llm2vec._model.folders import read_model


@pytest.fixture
def folder(llama, tmp_path):
    return shutil.copytree(llama, tmp_path / "model")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """No fact that an earlier test, which may have patched something, has remembered."""
    monkeypatch.setattr("sklearn_llm2vec._common.facts._known", {})
    monkeypatch.setattr("sklearn_llm2vec._common.facts._read_from", set())
    directory = tempfile.mkdtemp(prefix="facts-")
    monkeypatch.setenv("SKLEARN_LLM2VEC_CACHE", directory)
    monkeypatch.setattr(folders, "_read", {})


def other_version(monkeypatch, version):
    """What a process with another transformers would know: nothing of this one's."""
    monkeypatch.setattr("sklearn_llm2vec._common.facts._known", {})
    monkeypatch.setattr("sklearn_llm2vec._common.facts._read_from", set())
    directory = tempfile.mkdtemp(prefix="facts-")
    monkeypatch.setenv("SKLEARN_LLM2VEC_CACHE", directory)
    monkeypatch.setattr(contents, "transformers_version", lambda: version)
    monkeypatch.setattr(folders, "_read", {})


def fingerprint(folder, **params):
    encoder = LLMEmbeddingTransformer(folder, cache=None, **params)
    return encoder.fit(["a text"]).fingerprint_


@pytest.mark.parametrize(
    "name",
    "bpe.codes spm.model unigram.json tekken.json qwen.tiktoken source.spm vocab.bpe "
    "tokenizer_vocab.dat".split(),
)
def test_files_of_any_name_count(folder, name):
    before = fingerprint(folder)
    (folder / name).write_text("one")
    with_one = fingerprint(folder)
    (folder / name).write_text("two")
    assert len({before, with_one, fingerprint(folder)}) == 3


@pytest.mark.parametrize(
    "name",
    "README.md LICENSE .gitattributes picture.png pytorch_model.bin model.gguf "
    "tf_model.h5 generation_config.json modeling_other.py".split(),
)
def test_what_decides_nothing_doesnt_count(folder, name):
    before = fingerprint(folder)
    (folder / name).write_text("{}")
    assert fingerprint(folder) == before


def test_content_replaced_in_place_with_its_old_times_is_seen(folder):
    before = fingerprint(folder)
    path = folder / "tokenizer_config.json"
    state = path.stat()
    content = bytearray(path.read_bytes())
    at = content.index(b"mask_token") + 3
    content[at : at + 1] = b"S"
    with open(path, "r+b") as file:  # the same size, the same inode
        file.write(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    now = path.stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (
        state.st_size,
        state.st_mtime_ns,
        state.st_ino,
    )
    assert fingerprint(folder) != before


# --- weights -------------------------------------------------------------------------


def test_the_weights_that_are_digested_are_those_that_are_loaded(folder, tmp_path):
    network = transformers.AutoModel.from_pretrained(folder)
    network.save_pretrained(tmp_path / "parts", max_shard_size="20kB")
    for path in (tmp_path / "parts").glob("model*"):
        shutil.copy(path, folder / path.name)
    assert (folder / "model.safetensors.index.json").is_file()
    # transformers takes the one file where both are there.
    assert weight_files(folder) == [folder / "model.safetensors"]
    before = read_model(folder).weights_digest
    other = save_model(tmp_path / "other", llama_config(), "llama", seed=1)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    assert read_model(folder).weights_digest != before
    (folder / "model.safetensors").unlink()
    assert len(weight_files(folder)) > 1


@pytest.mark.parametrize("place", ["../other/model.safetensors", "/tmp/m.safetensors"])
def test_an_index_that_leads_outside_is_refused(folder, tmp_path, place):
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    index = {"weight_map": {"embed_tokens.weight": place}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="must be files in that folder"):
        read_model(folder)


def test_an_adapter_beside_weights_is_refused(folder):
    # transformers would apply it without a word, if peft is installed.
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a model or an adapter\. Got both"):
        read_model(folder)


# --- code ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The folder of .* contains its own code:UserWarning")
def test_code_counts_where_it_runs(folder):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_mine.Mine"}
    (folder / "config.json").write_text(json.dumps(config))
    code = (
        "from transformers import LlamaModel\n"
        "class Mine(LlamaModel):\n"
        "    scale = 1\n"
        "    def forward(self, *args, **kwargs):\n"
        "        out = super().forward(*args, **kwargs)\n"
        "        out['last_hidden_state'] = out['last_hidden_state'] * self.scale\n"
        "        return out\n"
    )
    (folder / "modeling_mine.py").write_text(code)
    plain, trusted = fingerprint(folder), fingerprint(folder, trust_remote_code=True)
    (folder / "modeling_mine.py").write_text(code.replace("scale = 1", "scale = 2"))
    assert fingerprint(folder) == plain
    assert len({plain, trusted, fingerprint(folder, trust_remote_code=True)}) == 3


# --- what transformers computes ------------------------------------------------------


def test_a_version_that_computes_the_same_shares_the_space(folder, monkeypatch):
    before = fingerprint(folder)
    other_version(monkeypatch, "99.0")
    assert fingerprint(folder) == before


def test_a_version_that_computes_otherwise_has_a_space_of_its_own(folder, monkeypatch):
    from transformers.models.llama import modeling_llama

    before = fingerprint(folder)
    turn = modeling_llama.apply_rotary_pos_emb

    def other(q, k, cos, sin, *args, **kwargs):
        return turn(q, k, cos, sin * 0.98, *args, **kwargs)

    other_version(monkeypatch, "99.0")
    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", other)
    assert fingerprint(folder) != before


def test_a_version_of_an_unknown_arithmetic_shares_nothing(folder, monkeypatch):
    monkeypatch.setattr(contents, "arithmetic_digest", lambda *_: None)
    other_version(monkeypatch, "98.0")
    before = fingerprint(folder)
    other_version(monkeypatch, "99.0")
    assert fingerprint(folder) != before


@pytest.mark.parametrize(
    ("n_times", "error"),
    [
        (1, MemoryError()),
        (1, RuntimeError("can't start new thread")),
        (1, OSError(24, "Too many open files")),
        (2, RuntimeError("dictionary changed size during iteration")),
        (2, FutureWarning("given once")),
    ],
)
def test_a_failure_of_the_machine_names_no_space(folder, monkeypatch, n_times, error):
    before = fingerprint(folder)
    other_version(monkeypatch, "99.0")
    run, left = arithmetic._run, [error] * n_times

    def failing(*args):
        if left:
            raise left.pop()
        return run(*args)

    monkeypatch.setattr(arithmetic, "_run", failing)
    if n_times == 1:
        with pytest.raises(type(error)):
            fingerprint(folder)
    assert fingerprint(folder) == before
    assert not left


def test_the_arithmetic_is_that_of_the_whole_configuration(folder):
    def changed(**entries):
        config = json.loads((folder / "config.json").read_text()) | entries
        (folder / "config.json").write_text(json.dumps(config))
        return arithmetic_digest(folder, False)

    seen = [
        changed(),
        changed(hidden_act="gelu"),
        changed(rms_norm_eps=0.1),
        changed(
            rope_parameters={"rope_type": "linear", "factor": 4, "rope_theta": 1e4}
        ),
        changed(attention_bias=True),
    ]
    assert None not in seen and len(set(seen)) == len(seen)


def test_the_arithmetic_draws_no_random_numbers_of_the_user(folder):
    import torch

    torch.manual_seed(0)
    want = torch.rand(3)
    torch.manual_seed(0)
    arithmetic_digest(folder, False)
    np.testing.assert_array_equal(torch.rand(3), want)


def test_hidden_files_and_folders_dont_count(folder):
    (folder / "checkpoint-5").mkdir()
    (folder / ".cache").mkdir()
    (folder / "notes.txt").write_text("one")
    names = {path.name for path in counted_files(folder)}
    assert "notes.txt" in names and "tokenizer.json" in names
    assert not names & {"checkpoint-5", ".cache", "config.json", "model.safetensors"}


def test_a_version_that_cuts_texts_otherwise_has_a_space_of_its_own(
    folder, monkeypatch
):
    before = fingerprint(folder)
    other_version(monkeypatch, "99.0")
    assert fingerprint(folder) == before
    other_version(monkeypatch, "98.0")
    monkeypatch.setattr(
        "sklearn_llm2vec._model.tokenizer_probe.PROBES", ("a text of this test",)
    )
    assert fingerprint(folder) != before
