"""The small files of a model in a GGUF file: its configuration and its tokenizer.

They are written once, in the form in which Hugging Face folders have them, and are then
read as those of any other model. The weights stay in the GGUF file.
"""

import json
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sklearn_llm2vec._common.extras import not_installed
from sklearn_llm2vec._common.imports import loading, quiet
from sklearn_llm2vec._common.whole_files import whole_folder
from sklearn_llm2vec._model.contents import (
    digest,
    digest_of_files,
    transformers_version,
)
from sklearn_llm2vec._model.files import TOKENIZER_FILES, read_json
from sklearn_llm2vec._model.gguf_config import read_config
from sklearn_llm2vec._model.gguf_file import parts_of, read_header
from sklearn_llm2vec._model.gguf_tokenizer import build_tokenizer
from sklearn_llm2vec._model.sizes import check_sizes

# Raised when other files are written here for the same GGUF file.
FORM = 1
# sentence-transformers' flags for the poolings that llama.cpp knows by number.
POOLINGS = {
    1: "pooling_mode_mean_tokens",
    2: "pooling_mode_cls_token",
    3: "pooling_mode_lasttoken",
}
RERANKER = 4
# Temporary folders, where the usual place can't be written to.
_temporary: dict[str, tempfile.TemporaryDirectory] = {}


def small_files(path, memo_directory):
    """A folder with the configuration and the tokenizer of a GGUF file.

    Parameters
    ----------
    path : Path
        A GGUF file, or any part of a split one. A ``tokenizer.json`` beside it is taken
        in place of the tokenizer inside.
    memo_directory : Path
        Where the folder is kept.

    Returns
    -------
    Path

    Raises
    ------
    ImportError
        Without the gguf package.
    ValueError
        When the file is damaged, or its architecture or tokenizer isn't known.
    """
    beside = _tokenizer_beside(path)
    read_header(path, words=False)  # before all of it is read
    content = digest_of_files([*parts_of(path), *beside], memo_directory)
    name = digest([FORM, content, transformers_version(), _gguf_version()])[:32]
    folder = memo_directory / "gguf" / name
    if folder.is_dir():
        return folder
    if name in _temporary:
        return Path(_temporary[name].name)
    header = read_header(path)
    with loading:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with whole_folder(folder) as new:
                _write(new, header, beside)
        except OSError:
            if folder.is_dir():
                return folder  # another process was faster
            _temporary[name] = tempfile.TemporaryDirectory(prefix="sklearn-llm2vec-")
            folder = Path(_temporary[name].name)
            _write(folder, header, beside)
    return folder


def _gguf_version():
    try:
        return version("gguf")
    except PackageNotFoundError as error:
        raise not_installed("A model in a GGUF file", "gguf", "gguf") from error


def _tokenizer_beside(path):
    """The files of a tokenizer in the same folder; none without its tokenizer.json."""
    if not path.with_name("tokenizer.json").is_file():
        return []
    beside = [path.with_name(name) for name in TOKENIZER_FILES]
    return [file for file in beside if file.is_file()]


def _write(folder, header, beside):
    shapes = [tensor.shape for tensor in header.tensors.values()]
    check_sizes(header.metadata, header.paths[0], shapes)
    config = read_config(header)
    _write_json(folder / "config.json", config)
    if beside:
        for file in beside:
            shutil.copyfile(file, folder / file.name)
        _check_same_words(folder, header, beside[0])
    else:
        with quiet():
            build_tokenizer(header).save_pretrained(folder)
    pooling = header.metadata.get(f"{header.architecture}.pooling_type")
    if pooling == RERANKER:
        raise ValueError(
            f"The model in the GGUF file {header.paths[0]} must give a vector for each "
            "text. Got a reranker, which scores pairs of texts, instead."
        )
    if pooling in POOLINGS:
        (folder / "1_Pooling").mkdir()
        _write_json(folder / "1_Pooling" / "config.json", {POOLINGS[pooling]: True})


def _write_json(path, content):
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _check_same_words(folder, header, path):
    """Refuse the tokenizer of another model, which lies in the same folder by chance."""
    tokens = header.metadata.get("tokenizer.ggml.tokens", [])
    words = read_json(folder / "tokenizer.json").get("model", {}).get("vocab", {})
    # A list of pairs of words and scores, or ids by word.
    ids = words if isinstance(words, dict) else {w[0]: i for i, w in enumerate(words)}
    same = sum(i < len(tokens) and tokens[i] == word for word, i in ids.items())
    if same < 0.9 * len(ids):
        raise ValueError(
            f"The tokenizer {path} must be that of the model in the same folder, "
            f"{header.paths[0]}. It has only {same} of {len(ids)} tokens in common "
            "with it: move one of the files to another folder."
        )
