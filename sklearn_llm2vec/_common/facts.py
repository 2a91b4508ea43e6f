"""Facts that take seconds to find and never change, kept in a small file.

The SHA-256 of a weight file of 15 GB, what a ``config.json`` says once transformers has
read it: with these remembered, a new process can name a text's vector without importing
torch. A fact that can't be written is found again.
"""

import json
import os
import threading
import zlib
from contextlib import suppress
from pathlib import Path

from sklearn_llm2vec._common.damaged_json import DAMAGED_JSON
from sklearn_llm2vec._common.forks import renewed_by_fork
from sklearn_llm2vec._common.shared_folders import make_folder, make_shared

_known: dict[str, object] = {}
_read_from: set[str] = set()
_lock = renewed_by_fork(threading.Lock())


def remember(key, compute, directory):
    """The fact `key`: from memory, else from the file, else ``compute()``.

    Parameters
    ----------
    key : str
        Must name all that the fact depends on.
    compute : callable
        Without arguments; returns something JSON can hold.
    directory : path-like
        Where ``facts.json`` lies.

    Returns
    -------
    object
        What `compute` returned, now or earlier.
    """
    path = Path(directory) / "facts.json"
    with _lock:
        if str(path) not in _read_from:
            _read_from.add(str(path))
            _known.update(_read(path))
    if key not in _known:
        value = compute()
        with _lock:
            _known[key] = value
            _write(path, {**_read(path), key: value})
    return _known[key]


def _read(path):
    """The facts of a file that are as they were written."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        entries = found.items()
        return {
            key: entry["value"]
            for key, entry in entries
            if entry["checksum"] == _checksum(key, entry["value"])
        }
    except (OSError, *DAMAGED_JSON):
        return {}


def _checksum(key, value):
    """Of a fact: a flipped bit could give a model other layers, or another name."""
    return zlib.crc32(json.dumps([key, value], sort_keys=True).encode())


def _write(path, facts):
    # Written beside and renamed: a reader never sees half a file. Two writers at once may
    # lose one fact, which is then found again.
    beside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    entries = {
        key: {"value": value, "checksum": _checksum(key, value)}
        for key, value in facts.items()
    }
    with suppress(OSError):
        try:
            make_folder(path.parent)
            beside.write_text(json.dumps(entries, indent=0, sort_keys=True), "utf-8")
            make_shared(beside)
            os.replace(beside, path)
        finally:  # what couldn't be written as a whole
            beside.unlink(missing_ok=True)
