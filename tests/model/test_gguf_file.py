"""Reading GGUF files: values, parts, damage."""

import shutil
import struct

import gguf
import numpy as np
import pytest
import torch
from gguf_files import VOCABULARY_SIZE, byte_tokenizer, save_gguf, write_gguf
from transformers import LlamaConfig, LlamaForCausalLM

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._model import gguf_file
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.gguf_file import read_header

PACKED = gguf.quants._type_traits
HEAD = {"general.architecture": "llama"}


@pytest.fixture
def path(tmp_path):
    config = LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    return save_gguf(tmp_path / "model.gguf", LlamaForCausalLM(config))


@pytest.mark.parametrize("kind", PACKED, ids=lambda kind: kind.name)
def test_values_are_those_of_the_gguf_package(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_file, "CHUNK", 1024)  # several, and a shorter one
    n_values, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(0)
    # Any bytes are some values; those of a scale must not be infinite.
    blocks = rng.integers(0, 60, (7, 512 // n_values * n_bytes), np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("before", np.zeros(3, np.float32))
    writer.add_tensor("packed", blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensor = read_header(tmp_path / "a.gguf").tensors["packed"]
    expected = gguf.quants.dequantize(blocks, kind)
    assert tensor.shape == expected.shape == (7, 512)
    np.testing.assert_array_equal(tensor.read(), expected)
    rounded = torch.from_numpy(expected).bfloat16()
    assert torch.equal(tensor.read(torch.bfloat16).nan_to_num(), rounded.nan_to_num())


def test_plain_floats(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("single", values)
    writer.add_tensor("half", values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensors = read_header(tmp_path / "a.gguf").tensors
    np.testing.assert_array_equal(tensors["single"].read(), values)
    np.testing.assert_array_equal(
        tensors["half"].read(), values.astype(np.float16).astype(np.float32)
    )


def test_all_kinds_of_metadata(tmp_path):
    metadata = {
        "a.text": "naïve ☃",
        "a.count": 7,
        "a.share": 0.5,
        "a.flag": True,
        "a.words": ["", "x y", "é"],
        "a.numbers": [1, -2, 3],
    }
    header = read_header(write_gguf(tmp_path / "a.gguf", HEAD | metadata, {}))
    assert header.architecture == "llama"
    read = {k: v for k, v in header.metadata.items() if k.startswith("a.")}
    assert read.pop("a.numbers").tolist() == metadata.pop("a.numbers")
    assert read == metadata


def test_the_words_can_be_left_out(tmp_path):
    path = write_gguf(tmp_path / "a.gguf", HEAD | byte_tokenizer(), {"x": np.ones(3)})
    header = read_header(path, words=False)
    assert header.metadata["tokenizer.ggml.tokens"] == []
    assert header.tensors == read_header(path).tensors


def test_a_truncated_file_is_refused_wherever_it_ends(path):
    content = path.read_bytes()
    n_header = min(t.start for t in read_header(path).tensors.values())
    ends = [*range(0, n_header, 131), n_header, len(content) // 2, len(content) - 1]
    for end in ends:
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="must be a complete GGUF file"):
            read_header(path)


def test_scrambled_headers_are_refused_or_read_but_nothing_else(path):
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for at in rng.integers(0, 9000, 300):
        changed = bytearray(content)
        changed[at] ^= 0xFF
        path.write_bytes(changed)
        try:
            read_model(path)
        except ValueError:
            pass


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"GGML" + bytes(60), "begins with b'GGML'"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "of version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "ends early|ends within"),
        (b"", "it is empty"),
    ],
)
def test_other_files_are_refused_with_the_reason(start, reason, tmp_path):
    (tmp_path / "a.gguf").write_bytes(start)
    with pytest.raises(ValueError, match=f"must be a complete GGUF file.*({reason})"):
        read_header(tmp_path / "a.gguf")


@pytest.fixture
def parts(path, tmp_path):
    """The same model in three files."""
    header = read_header(path)
    names = list(header.tensors)
    metadata = {
        k: v.tolist() if isinstance(v, np.ndarray) else v
        for k, v in header.metadata.items()
    }
    folder = tmp_path / "split"
    folder.mkdir()
    for i in range(3):
        said = {"split.no": i, "split.count": 3, "split.tensors.count": len(names)}
        write_gguf(
            folder / f"small-{i + 1:05}-of-00003.gguf",
            HEAD | said | (metadata if i == 0 else {}),
            {name: header.tensors[name].read().numpy() for name in names[i::3]},
        )
    return folder


def test_a_split_model_is_one_model(path, parts):
    whole = LLMEmbeddingTransformer(path, cache=None).fit_transform(["one", "two"])
    for place in (parts, *parts.iterdir()):
        encoder = LLMEmbeddingTransformer(place, cache=None)
        np.testing.assert_array_equal(encoder.fit_transform(["one", "two"]), whole)


def test_a_missing_part_is_named(parts):
    (parts / "small-00002-of-00003.gguf").unlink()
    with pytest.raises(ValueError, match="small-00002-of-00003.gguf first"):
        read_model(parts / "small-00001-of-00003.gguf")


def test_a_folder_with_several_models_lists_them(path, tmp_path):
    shutil.copy(path, tmp_path / "other.gguf")
    shutil.copy(path, tmp_path / "mmproj-f16.gguf")
    with pytest.raises(ValueError, match=r"holds 2 models.*model\.gguf, other\.gguf"):
        read_model(tmp_path)
    (tmp_path / "other.gguf").unlink()
    assert read_model(tmp_path).gguf == path


def test_safetensors_win_over_a_gguf_file_beside_them(llama, path, tmp_path):
    folder = shutil.copytree(llama, tmp_path / "both")
    shutil.copy(path, folder / "model.gguf")
    assert read_model(folder).gguf is None


def test_a_file_that_doesnt_exist(tmp_path):
    with pytest.raises(ValueError, match="names the file .*which doesn't exist"):
        read_model(tmp_path / "no.gguf")


def test_without_the_package(path, monkeypatch):
    from importlib.metadata import PackageNotFoundError

    from sklearn_llm2vec._model import gguf_folder

    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(gguf_folder, "version", version)
    with pytest.raises(ImportError, match=r"pip install .*\[gguf\]"):
        read_model(path)
