"""Folders in which nothing can be made: one warning, and the result is right."""

import errno
import json
import os
import subprocess
import warnings

import numpy as np
import pytest

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._cache import turns
from sklearn_llm2vec._common import facts, places
from sklearn_llm2vec._model import handover

TEXTS = ["a small card", "the dog", "bank fee"]


def transform(model, folder, texts):
    """Features, and what was warned of."""
    encoder = LLMEmbeddingTransformer(
        model, cache=EmbeddingCache(folder), verbose=False
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        features = encoder.fit_transform(texts)
    EmbeddingCache(folder).close()
    return features, [str(one.message) for one in told]


@pytest.fixture
def expected(bert):
    return LLMEmbeddingTransformer(bert, cache=None).fit_transform(TEXTS)


@pytest.fixture
def mounted(tmp_path):
    """Mount a small file system with these options, or mount it anew."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("only root may mount a small file system")
        return disk

    yield mount
    subprocess.run(["umount", "-l", str(disk)], capture_output=True)


def leave_offer(folder, name, **changes):
    """An offer of a process that is no more."""
    path = handover._address_file(folder, name)
    offer = {"address": str(folder / "gone"), "key": "00" * 32, "pid": 1}
    path.write_text(json.dumps({**offer, **changes}))
    return path


@pytest.mark.parametrize("stored", [0, 2])
def test_a_read_only_mount_with_an_old_offer(stored, mounted, bert, expected):
    disk = mounted("size=20m")
    if stored:
        transform(bert, disk, TEXTS[:stored])
    probe = LLMEmbeddingTransformer(bert, cache=None).fit(TEXTS)
    path = leave_offer(disk, f"{probe.fingerprint_}@cpu")
    before = sorted(os.listdir(disk))
    mounted("remount,ro")
    for n_told in (1, 0):  # once a process
        features, told = transform(bert, disk, TEXTS)
        np.testing.assert_array_equal(features, expected)
        assert len(told) == n_told
        assert all("can't be written" in message for message in told)
    assert sorted(os.listdir(disk)) == before
    assert path.exists()


@pytest.mark.parametrize("n_inodes", [1, 2, 3, 4, 5, 6])
def test_no_inodes_left(n_inodes, mounted, bert, expected):
    disk = mounted(f"size=20m,nr_inodes={n_inodes}")
    features, told = transform(bert, disk, TEXTS)
    np.testing.assert_array_equal(features, expected)
    assert len(told) <= 1
    assert all("can't be written" in message for message in told)
    # Nor does a worker, which offers its model.
    handover.offer(disk, "name", lambda **work: [])
    assert not list(disk.glob("*.json.*"))


def test_files_whose_place_is_taken_by_folders(tmp_path, bert, expected):
    probe = LLMEmbeddingTransformer(bert, cache=None).fit(TEXTS)
    cache = EmbeddingCache(tmp_path)
    lock = cache.encode_lock(probe.fingerprint_, "cpu")._path
    offer = handover._address_file(tmp_path, f"{probe.fingerprint_}@cpu")
    for path in (lock, offer, tmp_path / "facts.json"):
        path.mkdir()
    features, told = transform(bert, tmp_path, TEXTS)
    np.testing.assert_array_equal(features, expected)
    assert len(told) == 1
    assert EmbeddingCache(tmp_path).info()["texts"] == 3


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (
            "_open",
            PermissionError("no"),
            "cache.* can't be written .*no.*encoded again",
        ),
        ("_open", OSError(errno.EROFS, "no"), "cache.* can't be written .*no"),
        ("_open", OSError(errno.ENOSPC, "no"), "cache.* can't be written .*no"),
        ("_open", IsADirectoryError(errno.EISDIR, "no"), "can't be locked .*no"),
        (
            "_try_to_lock",
            OSError(errno.ENOLCK, "no"),
            "can't be locked .*no.*than once",
        ),
        ("_try_to_lock", OSError(errno.EOPNOTSUPP, "no"), "can't be locked .*no"),
    ],
    ids=str,
)
def test_a_lock_that_cant_be_made(function, error, said, cache, monkeypatch):
    def refuse(*args):
        raise error

    monkeypatch.setattr(turns, function, refuse)
    with pytest.warns(UserWarning, match=said) as told:
        for _ in range(2):
            with cache.encode_lock("s", "cpu") as turn:
                turn.progress()
    assert len(told) == 1
    assert not turns._held  # nor is a file left open
    assert cache.put_many("s", [b"1" * 16], {(1, "mean"): np.ones((1, 4), "f4")})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 9000,
        b'{"address": 3, "key": "00", "pid": 1}',
        b'{"address": "a", "key": 3, "pid": 1}',
        b'{"address": "a", "key": "00", "pid": []}',
        None,
    ],
)
def test_a_damaged_offer(content, tmp_path):
    path = leave_offer(tmp_path, "name")
    if content is not None:
        path.write_bytes(content)
    assert handover.is_offered(tmp_path, "name")
    work = {"texts": ["a"], "layers": [1], "poolings": ["mean"]}
    assert handover.hand_over(tmp_path, "name", **work) is None
    assert not handover.is_offered(tmp_path, "name")


def test_facts_in_a_folder_that_cant_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "_known", {})
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert facts.remember(f"in {place}", lambda: 3, place) == 3


def test_a_user_without_a_home(monkeypatch):
    def none(*args):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SKLEARN_LLM2VEC_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(places.Path, "home", none)
    with pytest.warns(UserWarning, match="no home folder.*SKLEARN_LLM2VEC_CACHE"):
        folder = places.default_directory()
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o077 == 0
    assert places.default_directory() == folder  # told once
