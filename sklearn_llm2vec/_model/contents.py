"""Digests of what a model's folder holds, and of what is computed from it.

Files that are equal don't give equal vectors in all versions of transformers, and not
only the files that have a well-known name decide a vector. So the digests here are made
of all that isn't known to be irrelevant, and of what the installed transformers does with
it: ids of fixed texts, states of a small network.
"""

import dataclasses
import functools
import hashlib
import json
from importlib.metadata import version

from sklearn_llm2vec._common.digests import file_digest
from sklearn_llm2vec._common.facts import remember
from sklearn_llm2vec._model.arithmetic import arithmetic_digest
from sklearn_llm2vec._model.damage import blamed_on
from sklearn_llm2vec._model.files import counted_files, read_json
from sklearn_llm2vec._model.places import hub_folder

# Entries of config.json that say where it came from, or how text is written.
SAYS_NOTHING = ("_name_or_path", "transformers_version", "use_cache")


@functools.cache
def transformers_version():
    """The version of transformers, which isn't imported for it."""
    return version("transformers")


@functools.cache
def _tokenizers_version():
    return version("tokenizers")


def digest_of_files(paths, memo_directory):
    """One digest of the contents of files, in their order."""
    return digest([file_digest(path, memo_directory) for path in paths])


def reading_of_config(folder, trust_remote_code, memo_directory):
    """Names how a ``config.json`` is read: its content, code, the reader's version."""
    content = file_digest(folder / "config.json", memo_directory)
    code = _code_that_runs(folder, trust_remote_code, memo_directory)
    return digest([content, code, transformers_version()])


def config_digest(model):
    """Digest of ``config.json``, of code that runs, and of what both compute."""
    said = read_json(model.folder / "config.json")
    for entry in SAYS_NOTHING:
        said.pop(entry, None)
    if model.static is not None:  # no network of transformers is built from it
        return digest([said, dataclasses.astuple(model.static)])
    code = _code_that_runs(model.folder, model.trust_remote_code, model.memo_directory)
    # Capped scores of attention weren't always followed (`follow_caps`), and vectors of
    # that time must not be found.
    follows = ["caps"] if "softcapping" in json.dumps(said) else []
    about = digest([said, code, *follows])
    computed = remember(
        f"arithmetic:1:{transformers_version()}:{about}",
        lambda: _arithmetic_of(model),
        model.memo_directory,
    )
    return digest([about, computed])


def _arithmetic_of(model):
    # Where no small network can be made, versions of transformers share nothing.
    return (
        arithmetic_digest(model.folder, model.trust_remote_code)
        or f"transformers {transformers_version()}"
    )


def tokenizer_digest(model):
    """Digest of the tokenizer's files, and of any other that may decide a vector."""
    memo = model.memo_directory
    files = [
        [path.name, file_digest(path, memo)] for path in counted_files(model.folder)
    ]
    code = _code_that_runs(model.folder, model.trust_remote_code, memo)
    about = digest([files, code, model.declared.lowercase])
    readers = f"{transformers_version()}:{_tokenizers_version()}"
    ids = remember(f"tokens:2:{readers}:{about}", lambda: _probe_of(model), memo)
    return digest([about, ids])


def _probe_of(model):
    from sklearn_llm2vec._model.tokenizer import load_tokenizer
    from sklearn_llm2vec._model.tokenizer_probe import tokenizer_probe

    tokenizer = load_tokenizer(model)
    with blamed_on(model.folder, "contain a tokenizer that can read any text"):
        return tokenizer_probe(tokenizer)


def _code_that_runs(folder, trust_remote_code, memo_directory):
    """Digests of the Python code that ``auto_map`` names; None where none runs."""
    if not trust_remote_code:
        return None
    maps = [
        read_json(folder / name).get("auto_map")
        for name in ("config.json", "tokenizer_config.json")
    ]
    if not any(maps):
        return None
    places = {folder}
    for name in _repositories(maps):
        if found := hub_folder(name, local_files_only=True, is_whole=lambda _: True):
            places.add(found)
    return [
        [path.name, file_digest(path, memo_directory)]
        for place in sorted(places)
        for path in sorted(place.rglob("*.py"))
    ]


def _repositories(maps):
    """Hub repositories that hold code for a model of another one: "owner/name--file"."""
    words = json.dumps(maps).split('"')
    return sorted({word.split("--")[0] for word in words if "--" in word})


def digest(content):
    """SHA-256 of what JSON can hold, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
