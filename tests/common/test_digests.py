"""Digests of files."""

import hashlib

import pytest

from sklearn_llm2vec._common import digests
from sklearn_llm2vec._common.digests import file_digest


def test_a_file_is_read_again_only_when_it_changed(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    digest = file_digest(path, tmp_path)
    assert digest == hashlib.sha256(b"one").hexdigest()
    monkeypatch.setattr(digests, "_sha256", lambda path: pytest.fail("read again"))
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
    monkeypatch.setattr(digests, "_sha256", lambda path: pytest.fail("was read"))
    assert file_digest(link, tmp_path) == "ab" * 32
