"""What a vector depends on, and its name.

An ``EncoderSpec`` holds everything that changes a text's vector except layer and pooling:
one *space*. Its fingerprint names the space in the cache, ``text_keys`` the texts in it.
Device, batch size and place of the cache are left out on purpose: they must not change a
vector. This file imports neither torch nor transformers, so that a transform whose
vectors are all cached needs neither.
"""

import dataclasses
import hashlib
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from sklearn_llm2vec._common.facts import remember

# Raised whenever our own arithmetic changes vectors: cached ones are then made anew, and
# the CHANGELOG says so under "Changed vectors".
NUMERICS_VERSION = 2

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class EncoderSpec:
    """All that changes a vector, but layer and pooling.

    Attributes
    ----------
    weights, config, tokenizer : str
        Digests of the contents of the model's files, never of their place.
    attention : {"causal", "bidirectional"}
    special_tokens : bool
        Whether BOS, CLS and SEP count in mean, weighted_mean and max.
    max_length : int
        In tokens.
    long_texts : {"truncate", "chunk"}
        What happens to the tokens after `max_length`.
    dtype : {"float32", "bfloat16", "float16"}
        Of the weights and of the arithmetic.
    numerics : int
        ``NUMERICS_VERSION``.
    template : str or None
        The prompt around the text, "chat" for the tokenizer's own.
    counts : {"text", "prompt", "behind"}
        Which tokens of a prompt count in mean-like poolings; see ``_templates``.
    token_prepending : tuple of (int, int) or None
        Layers before which the placeholder is replaced: start and exit.
    adapters : tuple of str
        Digests of the adapters' contents, in order.
    chunk_overlap : int
        Tokens that windows share, with ``long_texts="chunk"``.
    """

    weights: str
    config: str
    tokenizer: str
    attention: str
    special_tokens: bool
    max_length: int
    long_texts: str
    dtype: str
    numerics: int = NUMERICS_VERSION
    template: str | None = None
    counts: str = "text"
    token_prepending: tuple | None = None
    adapters: tuple = ()
    chunk_overlap: int = 0

    @property
    def fingerprint(self):
        """SHA-256 of all fields, as hexadecimal digits: the name of the space.

        What isn't used leaves no trace, so that a field of a later version doesn't give
        the spaces of an earlier one other names.
        """
        fields = dataclasses.asdict(self)
        for field in dataclasses.fields(self):
            if field.name != "numerics" and fields[field.name] == field.default:
                del fields[field.name]
        fields = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(fields.encode()).hexdigest()


def text_keys(texts):
    """The key of each text: 16 bytes of BLAKE2b of its UTF-8.

    A tuple of texts, the values of a template's columns, is hashed as JSON: no two tuples
    give the same.

    Examples
    --------
    >>> from sklearn_llm2vec._model.spec import text_keys
    >>> [key.hex()[:8] for key in text_keys(["a text"])]
    ['706860d9']
    """
    blake2b = hashlib.blake2b
    return [
        blake2b(
            (text if type(text) is str else json.dumps(text)).encode(), digest_size=16
        ).digest()
        for text in texts
    ]


def file_digest(path, memo_directory):
    """SHA-256 of a file's content, found once for each state of the file.

    The files of a hub snapshot are links to blobs that are named by their digest; any
    other file is read once and remembered by path, size and time of change.
    """
    state = os.stat(path)  # of what a link leads to
    # Asked for a dozen files in every transform: links are resolved only once, too.
    place = os.path.abspath(path)
    key = f"sha256:{place}:{state.st_size}:{state.st_mtime_ns}:{state.st_ino}"
    return remember(key, lambda: _digest(Path(path).resolve()), memo_directory)


def _digest(target):
    is_blob = target.parent.name == "blobs" and len(target.name) == 64
    return target.name if is_blob else _sha256(target)


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def resolve_devices(device):
    """The names of the devices to encode on; torch is asked only where it must be.

    Parameters
    ----------
    device : str, sequence of str or None
        None is the first accelerator that torch has, else the CPU.

    Returns
    -------
    tuple of str
    """
    if device is not None:
        several = isinstance(device, tuple | list)
        return tuple(map(str, device)) if several else (str(device),)
    if not _may_have_accelerator():
        return ("cpu",)
    import torch

    if torch.accelerator.is_available():
        return (str(torch.accelerator.current_accelerator()),)
    return ("cpu",)


def _may_have_accelerator():
    # Importing torch takes seconds; the absence of every driver's device file answers
    # the question at once on the usual Linux machine without a GPU.
    if sys.platform == "linux":
        nodes = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/dri", "/dev/accel")
        return any(os.path.exists(node) for node in nodes)
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    return True


def resolve_dtype(dtype, device):
    """The floating dtype of the weights: "auto" is bfloat16 where CUDA or XPU has it.

    Parameters
    ----------
    dtype : {"auto", "float32", "bfloat16", "float16"}
    device : str
        As `resolve_devices` gives it.

    Raises
    ------
    ValueError
        For any other `dtype`.
    """
    if dtype in DTYPES:
        return dtype
    if dtype != "auto":
        raise ValueError(
            "The 'dtype' parameter of LLMEmbeddingTransformer must be a str among "
            f"{{'auto', 'float32', 'bfloat16', 'float16'}}. Got {dtype!r} instead."
        )
    kind = device.split(":")[0]
    if kind not in ("cuda", "xpu"):
        return "float32"
    import torch

    return "bfloat16" if getattr(torch, kind).is_bf16_supported() else "float32"
