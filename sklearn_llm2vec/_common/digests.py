"""Digests of files, which name a content wherever it lies."""

import hashlib
import os
from pathlib import Path

from sklearn_llm2vec._common.facts import remember


def file_digest(path, memo_directory):
    """SHA-256 of a file's content, found once for each state of the file.

    The files of a hub snapshot are links to blobs that are named by their digest; any
    other file is read once and remembered by path, size and the times of change: of the
    content, which programs can set back, and of the entry, which they can't.
    """
    state = os.stat(path)  # of what a link leads to
    # Asked for a dozen files in every transform: links are resolved only once, too.
    place = os.path.abspath(path)
    times = f"{state.st_mtime_ns}:{state.st_ctime_ns}"
    key = f"sha256:{place}:{state.st_size}:{times}:{state.st_ino}"
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
