"""Fingerprints and keys."""

import dataclasses
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_llm2vec._model import spec
from sklearn_llm2vec._model.spec import (
    EncoderSpec,
    file_digest,
    resolve_devices,
    resolve_dtype,
    text_keys,
)

SPEC = EncoderSpec("w", "c", "t", "causal", True, 512, "truncate", "float32")


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(EncoderSpec)])
def test_every_field_changes_the_fingerprint(field):
    value = getattr(SPEC, field)
    other = {
        bool: lambda: not value,
        int: lambda: value + 1,
        str: lambda: value + "x",
        tuple: lambda: ("x",),
        type(None): lambda: "x",
    }
    changed = dataclasses.replace(SPEC, **{field: other[type(value)]()})
    assert changed.fingerprint != SPEC.fingerprint
    assert len(SPEC.fingerprint) == 64


def test_the_fingerprint_is_the_same_in_every_session():
    # Recorded: when this changes, every cache of every user is made anew.
    assert SPEC.fingerprint.startswith("0ba5d587")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True))
def test_distinct_texts_have_distinct_keys(texts):
    keys = text_keys(texts)
    assert all(len(key) == 16 for key in keys)
    assert len(set(keys)) == len(texts)


def test_keys_tell_apart_what_looks_alike():
    assert len(set(text_keys(["a", "a ", "A", "a\0", "á", "a\u0301", ""]))) == 7


def test_a_file_is_read_again_only_when_it_changed(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    digest = file_digest(path, tmp_path)
    assert digest == hashlib.sha256(b"one").hexdigest()
    monkeypatch.setattr(spec, "_sha256", lambda path: pytest.fail("read again"))
    assert file_digest(path, tmp_path) == digest
    monkeypatch.undo()
    path.write_bytes(b"other")
    assert file_digest(path, tmp_path) == hashlib.sha256(b"other").hexdigest()


def test_hub_blobs_are_named_by_their_digest(tmp_path, monkeypatch):
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"x")
    link = tmp_path / "model.safetensors"
    link.symlink_to(blob)
    monkeypatch.setattr(spec, "_sha256", lambda path: pytest.fail("was read"))
    assert file_digest(link, tmp_path) == "ab" * 32


def test_device_and_dtype():
    assert resolve_devices("cpu") == ("cpu",)
    assert resolve_devices(["cuda:0", "cuda:1"]) == ("cuda:0", "cuda:1")
    assert resolve_dtype("auto", "cpu") == "float32"
    assert resolve_dtype("auto", "mps") == "float32"
    assert resolve_dtype("bfloat16", "cpu") == "bfloat16"
    with pytest.raises(ValueError, match="'dtype' parameter.*Got 'fp32' instead"):
        resolve_dtype("fp32", "cpu")
