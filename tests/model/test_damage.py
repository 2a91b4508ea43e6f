"""Errors about a model's files: told of the files, or passed on."""

import builtins
import errno
import json
import shutil

import pytest
from safetensors import SafetensorError

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._model import gguf_file
from sklearn_llm2vec._model.damage import blamed_on
from sklearn_llm2vec._model.registry import forget_models
from sklearn_llm2vec._model.sizes import shapes_of


def told(error, cause=None):
    """What comes of an error in a block that reads a model's files."""
    with pytest.raises(BaseException) as caught:
        with blamed_on("folder", "be those of a model"):
            raise error from cause
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("no gptqmodel"),
        KeyboardInterrupt(),
        UserWarning("made an error by the user"),
        FutureWarning("as well"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("can't start new thread"),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EIO, "Input/output error"),
        PermissionError(errno.EACCES, "Permission denied"),
    ],
    ids=lambda error: f"{type(error).__name__}-{error}"[:40],
)
def test_what_isnt_the_files_fault_is_passed_on(error):
    assert told(error) is error


@pytest.mark.parametrize(
    ("error", "cause", "number"),
    [
        (Exception("Too many open files (os error 24)"), None, errno.EMFILE),
        (SafetensorError("No space left (os error 28)"), None, errno.ENOSPC),
        (ValueError("can't load"), OSError(errno.EIO, "Input/output"), errno.EIO),
        (OSError("can't load it"), OSError(errno.ENFILE, "open"), errno.ENFILE),
        (ValueError("can't load"), MemoryError(), errno.ENOMEM),
    ],
    ids=lambda value: f"{type(value).__name__}-{value}"[:40],
)
def test_a_failure_of_the_machine_that_a_library_hides(error, cause, number):
    failure = told(error, cause)
    assert type(failure) is not ValueError and failure.errno == number
    assert isinstance(failure, OSError) and failure.__cause__ is error
    assert "'folder' must be readable" in str(failure)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (KeyError("layers"), "KeyError: 'layers'. Copy or download them again."),
        (SafetensorError("odd"), "Copy or download them again."),
        (OSError(errno.EISDIR, "Is a directory"), "Copy or download them again."),
        (UnicodeDecodeError("utf-8", b"a", 0, 1, "no"), "Copy or download them again."),
        (
            ValueError(
                "type `new`, but Transformers does not recognize this architecture"
            ),
            "upgrade that (pip install -U transformers).",
        ),
        (
            RuntimeError(
                "No GPU or XPU found. A GPU or XPU is needed for FP8 quantization."
            ),
            "or use a GGUF file of the model.",
        ),
        (
            ValueError("Please pass the argument `trust_remote_code=True`"),
            "If you trust the code in the folder, set trust_remote_code=True.",
        ),
    ],
    ids=lambda value: f"{type(value).__name__}"[:40],
)
def test_the_files_fault(error, advice):
    failure = told(error)
    assert type(failure) is ValueError
    assert str(failure).startswith("The files in 'folder' must be those of a model. ")
    assert str(failure).endswith(advice)


@pytest.mark.parametrize(
    ("file", "entry", "message"),
    [
        ("config.json", {"model_type": "later"}, "pip install -U transformers"),
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {"a": {"content": "b"}}},
            "must name tokens by their ids. Got 'a' instead",
        ),
    ],
    ids=["an unknown kind of model", "a token without an id"],
)
def test_settings_that_cant_be_read(llama, tmp_path, file, entry, message):
    folder = shutil.copytree(llama, tmp_path / "model")
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(settings | entry))
    with pytest.raises(ValueError, match=message):
        LLMEmbeddingTransformer(folder, cache=None).fit_transform(["a"])


def test_weights_that_cant_be_opened_arent_damaged(llama, monkeypatch):
    """safetensors says of them that they don't exist."""
    opened = builtins.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith(".safetensors"):
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(path, *args, **kwargs)

    forget_models()  # an earlier test may have loaded it
    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(OSError, match="Too many open files") as error:
        LLMEmbeddingTransformer(llama, cache=None).fit_transform(["a"])
    assert error.value.errno == errno.EMFILE


def test_weights_too_large_for_the_address_space(llama, monkeypatch):
    def refuse(*args, **kwargs):
        raise MemoryError("Cannot allocate memory (os error 12)")

    monkeypatch.setattr("safetensors.safe_open", refuse)
    with pytest.raises(OSError, match="model.safetensors' must be readable") as error:
        shapes_of([llama + "/model.safetensors"])
    assert error.value.errno == errno.ENOMEM


def test_a_gguf_file_too_large_for_the_address_space(tmp_path, monkeypatch):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")

    def refuse(*args, **kwargs):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(gguf_file.mmap, "mmap", refuse)
    with pytest.raises(OSError, match=r"must fit into the memory.*ulimit -v") as error:
        gguf_file.read_header(tmp_path / "a.gguf")
    assert error.value.errno == errno.ENOMEM
