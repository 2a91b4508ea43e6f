"""GGUF files: what their header says, and the values of their tensors.

The ``gguf`` package's own reader makes several arrays for each word of a vocabulary and
takes 6 seconds for 50,000 words; this one takes a tenth of a second. How the values of a
tensor are packed is left to that package.
"""

import errno
import math
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SUFFIX = ".gguf"
PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.I)
VERSIONS = (2, 3)
# Formats of the metadata's values by their number in the file.
SCALARS = dict(enumerate("BbHhIif?", start=0)) | {10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MOST_DIMENSIONS = 4
# Bytes that malloc may keep.
SMALL = 1 << 16
# Values unpacked at a time: they stay in the processor's cache, and add nothing to what
# a tensor takes.
CHUNK = 1 << 18


@dataclass(frozen=True)
class StoredTensor:
    """Where the values of a tensor lie.

    Attributes
    ----------
    name : str
    path : Path
        The file, one of several if the model is split.
    shape : tuple of int
        In the order of torch and numpy, the file's own turned round.
    kind : gguf.GGMLQuantizationType
        How the values are packed.
    start : int
        First byte in the file.
    """

    name: str
    path: Path
    shape: tuple
    kind: object
    start: int

    @property
    def n_bytes(self):
        """In the file."""
        n_values, n_bytes = _block(self.kind)
        return math.prod(self.shape) // n_values * n_bytes

    def read(self, dtype=None):
        """The tensor's values.

        Parameters
        ----------
        dtype : torch.dtype or None
            None is float32.

        Returns
        -------
        torch.Tensor
        """
        import torch
        from gguf.quants import dequantize

        whole = own_memory(self.shape, dtype or torch.float32)
        flat = whole.view(-1)
        n_values, n_bytes = _block(self.kind)
        n_blocks = flat.numel() // n_values
        step = CHUNK // n_values
        for at in range(0, n_blocks, step):
            n = min(step, n_blocks - at)
            # Not mapped into memory: the file's pages would count as ours.
            packed = np.fromfile(
                self.path, np.uint8, count=n * n_bytes, offset=self.start + at * n_bytes
            )
            # One row, which gguf unpacks in one go.
            values = dequantize(packed.reshape(1, -1), self.kind).reshape(-1)
            part = flat[at * n_values : (at + n) * n_values]
            if part.dtype == torch.float32:
                part.numpy()[:] = values
            else:
                part.copy_(torch.from_numpy(values))
        return whole


def own_memory(shape, dtype):
    """A new tensor whose memory goes back to the system as soon as it is let go.

    A packed network lets go of its weights one by one. What malloc has given out in
    pieces of a few megabytes it mostly keeps.
    """
    import torch

    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes < SMALL:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(mmap.mmap(-1, n_bytes), dtype=dtype).view(shape)


@dataclass(frozen=True)
class GGUFHeader:
    """What a GGUF file, or the files of a split one, say before their values.

    Attributes
    ----------
    paths : tuple of Path
        In order.
    metadata : dict
        Values by key; arrays are numpy arrays or lists of str.
    tensors : dict of str to StoredTensor
    records : dict of str to bytes
        The metadata as it stands in the file, by key.
    """

    paths: tuple
    metadata: dict
    tensors: dict
    records: dict

    @property
    def architecture(self):
        """llama.cpp's name for the kind of model."""
        name = self.metadata.get("general.architecture")
        if not isinstance(name, str) or not name:
            raise damaged(self.paths[0], "it doesn't name an architecture")
        return name


def damaged(path, reason):
    """The error for a file that is no whole GGUF file."""
    return ValueError(
        f"The file {path} must be a complete GGUF file of version 2 or 3. It isn't: "
        f"{reason}. Copy or download it again."
    )


def names_of_parts(path):
    """All files of the model that a file belongs to, whether they are there or not.

    Parameters
    ----------
    path : Path
        A whole model, or any part of one, such as ``model-00002-of-00003.gguf``.

    Returns
    -------
    tuple of Path
    """
    match = PART.fullmatch(path.name)
    if match is None:
        return (path,)
    count = int(match["count"])
    names = [f"{match['stem']}-{i:05}-of-{count:05}" for i in range(1, count + 1)]
    return tuple(path.with_name(name + path.suffix) for name in names) or (path,)


def parts_of(path):
    """As `names_of_parts`.

    Raises
    ------
    ValueError
        When a part is missing.
    """
    paths = names_of_parts(path)
    missing = [part.name for part in paths if not part.is_file()]
    if missing:
        n = f"{len(missing)} of its {len(paths)} parts"
        raise damaged(path, f"{n} are missing, {missing[0]} first")
    return paths


def read_header(path, *, words=True):
    """Read what stands before the values, and check that these are all there.

    Parameters
    ----------
    path : Path
        A whole model, or any part of one.
    words : bool, default=True
        False leaves out lists of strings, which are a vocabulary and its merges.

    Returns
    -------
    GGUFHeader

    Raises
    ------
    ValueError
        When a file is truncated, damaged, of another format, or a part is missing.
    """
    paths = parts_of(path)
    headers = [_read_one(part, words) for part in paths]
    tensors = {}
    for part, (metadata, _, found) in zip(paths, headers, strict=True):
        if metadata.get("split.count", len(paths)) not in (0, len(paths)):
            raise damaged(part, f"it is one of {metadata['split.count']} parts")
        if twice := tensors.keys() & found.keys():
            raise damaged(part, f"an earlier part holds {min(twice)} too")
        tensors |= found
    metadata, records, _ = headers[0]
    expected = metadata.get("split.tensors.count", len(tensors))
    if expected != len(tensors):
        raise damaged(path, f"its parts hold {len(tensors)} of {expected} tensors")
    return GGUFHeader(paths, metadata, tensors, records)


def _read_one(path, words):
    """The metadata, its bytes and the tensors of one file."""
    try:
        with open(path, "rb") as file:
            if not file.seek(0, 2):
                raise damaged(path, "it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _Cursor(content, path, words).header()
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        failure = OSError(
            f"The file {path} must fit into the memory that this process may address: "
            f"its header is mapped there while it is read. It doesn't: {error.strerror}. "
            "Allow the process more (ulimit -v), or use a smaller file."
        )
        failure.errno = error.errno
        raise failure from error
    except (struct.error, UnicodeDecodeError, OverflowError) as error:
        raise damaged(path, f"it ends early or is scrambled ({error})") from error


class _Cursor:
    """Reads a file's header from front to back."""

    def __init__(self, content, path, words):
        self.content = content
        self.path = path
        self.words = words
        self.at = 0

    def header(self):
        if self.content[:4] != b"GGUF":
            raise damaged(self.path, f"it begins with {self.content[:4]!r}")
        self.at = 4
        version = self.number("I")
        if version not in VERSIONS:
            big = version % (1 << 16) == 0
            what = (
                "its numbers are big-endian" if big else f"it is of version {version}"
            )
            raise damaged(self.path, what)
        n_tensors, n_entries = self.number("Q"), self.number("Q")
        metadata, records = {}, {}
        for _ in range(n_entries):
            start = self.at
            key = self.string()
            if key in metadata:
                raise damaged(self.path, f"it has two entries {key!r}")
            metadata[key] = self.value(self.number("I"))
            records[key] = self.content[start : self.at]
        found = [self.tensor() for _ in range(n_tensors)]
        return metadata, records, self.placed(found, metadata)

    def placed(self, found, metadata):
        """The tensors by name, each wholly inside the file."""
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & alignment - 1:
            raise damaged(self.path, f"its alignment is {alignment!r}")
        start = -(-self.at // alignment) * alignment
        tensors = {}
        for name, shape, kind, offset in found:
            tensor = StoredTensor(name, self.path, shape, kind, start + offset)
            if name in tensors:
                raise damaged(self.path, f"it has two tensors {name!r}")
            if tensor.start + tensor.n_bytes > len(self.content):
                raise damaged(self.path, f"it ends before the end of {name}")
            tensors[name] = tensor
        ends = [tensor.start + tensor.n_bytes for tensor in tensors.values()]
        # What stands behind them is never read, but would be hashed.
        if len(self.content) > 2 * max(ends, default=self.at) + SMALL:
            raise damaged(self.path, "most of it is behind its last tensor")
        return tensors

    def number(self, form):
        (value,) = struct.unpack_from(f"<{form}", self.content, self.at)
        self.at += struct.calcsize(form)
        return value

    def take(self, n_bytes):
        if n_bytes > len(self.content) - self.at:
            raise damaged(self.path, "it ends within its header")
        self.at += n_bytes
        return self.content[self.at - n_bytes : self.at]

    def string(self):
        return self.take(self.number("Q")).decode()

    def strings(self, count):
        """The next strings, in a loop of few steps: there may be half a million."""
        content, at, end = self.content, self.at, len(self.content)
        length_at = struct.Struct("<Q").unpack_from
        found = []
        for _ in range(count):
            start = at + 8
            at = start + length_at(content, at)[0]
            if at > end:
                raise damaged(self.path, "it ends within its header")
            if self.words:
                found.append(content[start:at].decode())
        self.at = at
        return found

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind != ARRAY:
            raise damaged(self.path, f"an entry is of the unknown kind {kind}")
        kind, count = self.number("I"), self.number("Q")
        if kind == STRING:
            return self.strings(count)
        if kind not in SCALARS:
            raise damaged(self.path, f"an array is of the unknown kind {kind}")
        dtype = np.dtype(SCALARS[kind]).newbyteorder("<")
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)

    def tensor(self):
        """Name, shape, kind and offset of the next tensor."""
        name = self.string()
        n_dimensions = self.number("I")
        if n_dimensions > MOST_DIMENSIONS:
            raise damaged(self.path, f"{name} has {n_dimensions} dimensions")
        shape = tuple(self.number("Q") for _ in range(n_dimensions))[::-1]
        number, offset = self.number("I"), self.number("Q")
        kind = _kind(number, name, self.path)
        if shape and shape[-1] % _block(kind)[0]:
            raise damaged(self.path, f"the rows of {name} end within a block")
        return name, shape, kind, offset


def _kind(number, name, path):
    from gguf import GGMLQuantizationType
    from gguf.constants import GGML_QUANT_SIZES

    try:
        kind = GGMLQuantizationType(number)
        GGML_QUANT_SIZES[kind]
    except (ValueError, KeyError):
        from importlib.metadata import version

        import gguf  # noqa: F401

        raise ValueError(
            f"The tensor {name} in {path} must be of a type that the installed gguf "
            f"{version('gguf')} knows. Got the type number {number} instead: the file is "
            "damaged, or newer than that package (pip install -U gguf)."
        ) from None
    return kind


def _block(kind):
    """How many values are packed together, and into how many bytes."""
    from gguf.constants import GGML_QUANT_SIZES

    return GGML_QUANT_SIZES[kind]
