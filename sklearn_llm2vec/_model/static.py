"""Static models: one vector for each token, and a text is the mean of its tokens.

Two packages make them, and each has rules of its own for what of a text counts. The rules
that are followed are those of the package that made the folder. Both look tokens up
without adding special ones.

model2vec (a ``config.json`` beside a tensor "embeddings"; checked with version 0.10)
    reads as many characters of a text as `max_length` tokens of median length have, then
    that many tokens, and of these leaves out unknown ones. Tokens may share vectors
    (tensor "mapping") and have weights (tensor "weights").

sentence-transformers (``StaticEmbedding``; checked with version 6.2)
    reads as many tokens as ``tokenizer.json`` says, usually all of them.
"""

import json
from dataclasses import dataclass

import numpy as np

from sklearn_llm2vec._common.imports import loading
from sklearn_llm2vec._model.damage import blamed_on
from sklearn_llm2vec._model.files import entry, listing, read_json
from sklearn_llm2vec._model.places import ModelNotFoundError
from sklearn_llm2vec._model.tokenizer_growth import check_growth

FILES = ("model.safetensors", "tokenizer.json")
# Names of the tensors, by package.
MODEL2VEC = "embeddings"
SENTENCE_TRANSFORMERS = "embedding.weight"
BESIDE = ("mapping", "weights")
# model2vec's where config.json doesn't say.
MAX_LENGTH = 512
# Tokens of a text that is read to its end.
NO_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Static:
    """What the files of a static model say.

    Attributes
    ----------
    by_model2vec : bool
        Whether model2vec made the folder.
    hidden_size : int
        Features of a vector.
    max_tokens : int
    truncation_side : {"right", "left"}
    unit_length : bool or None
        Whether vectors are scaled to unit length in the end; None where ``modules.json``
        says so.
    """

    by_model2vec: bool
    hidden_size: int
    max_tokens: int
    truncation_side: str
    unit_length: bool | None


def read_static(folder, name):
    """Read what the folder of a static model says; no weights are loaded.

    Parameters
    ----------
    folder : Path
    name : str
        The model's, for messages.

    Returns
    -------
    Static

    Raises
    ------
    ModelNotFoundError
        When a file is missing.
    ValueError
        When a file is damaged, or there are other tensors than those of a static model.
    """
    if not all((folder / file).is_file() for file in FILES):
        raise ModelNotFoundError(
            f"The folder of the static model {name!r} ({folder}) must contain "
            f"{' and '.join(FILES)}. Got {listing(folder)} instead: copy or download it "
            "again, or save it with a current version of the package that made it."
        )
    table, shapes = _read_shapes(folder)
    by_model2vec = table == MODEL2VEC and (folder / "config.json").is_file()
    if not by_model2vec:
        limit, side = _truncation(folder / "tokenizer.json")
        return Static(False, shapes[table][1], limit, side, unit_length=None)
    path = folder / "config.json"
    config = read_json(path)
    limit = entry(config, "max_length", int, path)
    if limit is None:  # written as null it means all tokens
        limit = NO_LIMIT if "max_length" in config else MAX_LENGTH
    unit_length = entry(config, "normalize", bool, path) or False
    limit = _checked_limit(limit, path)
    return Static(True, shapes[table][1], limit, "right", unit_length)


def _read_shapes(folder):
    """The name of the tensor with the vectors, and the shapes of all tensors."""
    from safetensors import safe_open

    path = folder / "model.safetensors"
    with blamed_on(path, "be a whole safetensors file"):
        with safe_open(path, framework="np") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
    table = MODEL2VEC if MODEL2VEC in shapes else SENTENCE_TRANSFORMERS
    beside = BESIDE if table == MODEL2VEC else ()
    others = shapes.keys() - {table, *beside}
    sizes = shapes.get(table, [])  # (vectors, hidden)
    n_tokens = shapes.get("mapping", sizes)[:1]
    of_tokens = [shapes[name] for name in beside if name in shapes]
    fits = len(sizes) == 2 and len(n_tokens) == 1 and 0 not in [*sizes, *n_tokens]
    if others or not fits or any(shape != n_tokens for shape in of_tokens):
        said = ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items()))
        raise ValueError(
            f"The file {str(path)!r} must contain a matrix {MODEL2VEC!r}, perhaps with a "
            f"number for each token in {' and '.join(map(repr, BESIDE))}, or a matrix "
            f"{SENTENCE_TRANSFORMERS!r}. Got {said[:200] or 'nothing'} instead: copy or "
            "download the model again."
        )
    return table, shapes


def _truncation(path):
    """Most tokens, and the side that is cut, by a ``tokenizer.json``."""
    said = entry(read_json(path), "truncation", dict, path) or {}
    limit = entry(said, "max_length", int, path)
    side = entry(said, "direction", str, path) or "right"
    return _checked_limit(NO_LIMIT if limit is None else limit, path), side.lower()


def _checked_limit(limit, path):
    if limit < 1:
        raise ValueError(
            f"The entry 'max_length' in {str(path)!r} must be at least 1. Got {limit} "
            "instead: correct or download the file again."
        )
    return min(limit, NO_LIMIT)


def static_tokenizer(model):
    """The tokenizer of a static model.

    Parameters
    ----------
    model : ModelFolder

    Returns
    -------
    StaticTokenizer
    """
    with loading:
        from tokenizers import Tokenizer

        from sklearn_llm2vec._text.static import StaticTokenizer

    what = "contain a tokenizer that the installed tokenizers can read"
    with blamed_on(model.folder, what):
        backend = Tokenizer.from_file(str(model.folder / "tokenizer.json"))
        check_growth(backend, model.folder / "tokenizer.json")
    table, shapes = _read_shapes(model.folder)
    rules = {}
    if model.static.by_model2vec:
        lengths = [len(token) for token in backend.get_vocab()]
        rules["unknown"] = _unknown(backend)
        rules["word_length"] = int(np.median(lengths)) if lengths else 0
    return StaticTokenizer(
        backend,
        n_known=shapes.get("mapping", shapes[table])[0],
        truncation_side=model.static.truncation_side,
        **rules,
    )


def _unknown(backend):
    """The id of the token for what the vocabulary lacks, or None."""
    if hasattr(backend.model, "unk_token"):
        token = backend.model.unk_token
        return None if token is None else backend.token_to_id(token)
    return json.loads(backend.to_str())["model"].get("unk_id")


def static_vectors(model, dtype):
    """The vector of each token, with its weight.

    Parameters
    ----------
    model : ModelFolder
    dtype : torch.dtype

    Returns
    -------
    tensor of shape (tokens, hidden)

    Raises
    ------
    ValueError
        When tokens are mapped to vectors that aren't there.
    """
    from safetensors.torch import load_file

    path = model.folder / "model.safetensors"
    with blamed_on(path, "be a whole safetensors file"):
        tensors = load_file(path)
    table, _ = _read_shapes(model.folder)
    vectors = tensors[table]
    if "mapping" in tensors:
        vectors = vectors[_checked_mapping(tensors["mapping"], len(vectors), path)]
    if "weights" in tensors:
        vectors = vectors.float() * tensors["weights"].float()[:, None]
    return vectors.to(dtype)


def _checked_mapping(mapping, n_vectors, path):
    low, high = mapping.min().item(), mapping.max().item()
    if mapping.is_floating_point() or low < 0 or high >= n_vectors:
        raise ValueError(
            f"The tensor 'mapping' in {str(path)!r} must have the number of one of the "
            f"{n_vectors} vectors for each token. Got {mapping.dtype} from {low} to "
            f"{high} instead: copy or download the model again."
        )
    return mapping.long()
