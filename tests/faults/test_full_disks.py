"""A full disk costs the caching, and `prune` and `clear` give its space back."""

import os
import sqlite3
import subprocess
import warnings
from contextlib import closing

import numpy as np
import pytest

from sklearn_llm2vec import EmbeddingCache
from sklearn_llm2vec._cache import upkeep
from sklearn_llm2vec._common import facts

CELL = (3, "mean")
DIM = 64


def keys_of(block):
    return [n.to_bytes(16, "big") for n in range(50 * block, 50 * block + 50)]


def vectors_of(block):
    return np.random.default_rng(block).random((50, DIM), dtype="f4")


def count_rows(cache, n_blocks):
    n_rows = 0
    for block in range(n_blocks):
        out = np.zeros((50, DIM), "f4")
        found = cache.get_many(space_of(block), keys_of(block), *CELL, out)
        np.testing.assert_array_equal(out[found], vectors_of(block)[found])
        n_rows += int(found.sum())
    return n_rows


def space_of(block):
    return "even" if block % 2 == 0 else "odd"


def put(cache, block):
    cells = {CELL: vectors_of(block)}
    return cache.put_many(space_of(block), keys_of(block), cells)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill_up(disk):
    """Leave no byte for anybody."""
    with open(disk / "others", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass


def put_until_full(cache):
    """Fill the disk with blocks; the number of those that are stored."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        n_blocks = 0
        while put(cache, n_blocks):
            n_blocks += 1
        assert put(cache, n_blocks) == 0
    assert len(told) == 1
    assert "can't be written" in str(told[0].message)
    return n_blocks


def free_bytes(disk):
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("filled_by_others", [False, True])
def test_prune_on_a_full_disk(small_disk, reopened, filled_by_others, tmp_path):
    cache = EmbeddingCache(small_disk / "cache")
    n_blocks = put_until_full(cache)
    if reopened:
        cache.close()
    if filled_by_others:
        fill_up(small_disk)
        assert free_bytes(small_disk) == 0
    assert count_rows(cache, n_blocks) == 50 * n_blocks
    cache.export(tmp_path / "elsewhere")  # as the page on reliability advises
    with EmbeddingCache(tmp_path / "other") as other:
        assert other.import_(tmp_path / "elsewhere") == 50 * n_blocks
        assert count_rows(other, n_blocks) == 50 * n_blocks
    before = free_bytes(small_disk)
    freed = cache.prune(space="odd")
    assert freed == n_blocks // 2 * 50 * (4 * DIM + 4)
    assert free_bytes(small_disk) > before + freed / 2
    assert count_rows(cache, n_blocks) == 50 * (n_blocks - n_blocks // 2)
    assert cache.verify()["ok"]
    assert put(cache, n_blocks + 1) > 0
    cache.close()


@pytest.mark.parametrize("filled_by_others", [False, True])
def test_clear_on_a_full_disk(small_disk, filled_by_others):
    cache = EmbeddingCache(small_disk / "cache")
    other = EmbeddingCache(small_disk / "cache")
    n_blocks = put_until_full(cache)
    if filled_by_others:
        cache.close()
        fill_up(small_disk)
    with other._connections.using():  # a thread that is reading
        cache.clear()
    assert free_bytes(small_disk) > n_blocks * 50 * 4 * DIM
    assert cache.info()["texts_encoded"] == 50 * n_blocks
    assert put(cache, 0) > 0
    assert count_rows(cache, 1) == 50
    assert other.verify() == {"checked": 50, "damaged": 0, "ok": True}
    cache.close()


def test_a_large_rest_is_left_on_a_full_disk(small_disk, monkeypatch):
    monkeypatch.setattr(upkeep, "MOST_BYTES_HELD", 1000)
    cache = EmbeddingCache(small_disk / "cache")
    n_blocks = put_until_full(cache)
    cache.close()
    fill_up(small_disk)
    with pytest.raises(OSError, match="disk is full.*Free some disk space.*clear"):
        cache.prune(space="odd")
    assert count_rows(cache, n_blocks) == 50 * n_blocks
    cache.close()


@pytest.mark.parametrize("removed_before", [False, True])
@pytest.mark.parametrize("room", [0, -1])
def test_the_size_of_the_rest_is_that_of_the_rest(
    room, removed_before, cache, monkeypatch
):
    """Whether or not the blocks that go were removed before the disk was full."""
    for block in range(5):
        put(cache, block)
    rest = 3 * 50 * (4 * DIM + 4)  # the even ones
    monkeypatch.setattr(upkeep, "MOST_BYTES_HELD", rest + room)
    with cache._connections.using() as db:
        chosen = upkeep.blocks_to_prune(db, None, None, "odd")
        assert sum(chosen.values()) == 2 * 50 * (4 * DIM + 4)
        if removed_before:
            upkeep.remove(db, chosen)
        if room < 0:
            with pytest.raises(sqlite3.OperationalError, match="what stays is large"):
                upkeep.copy_without(db, chosen)
        else:
            with closing(upkeep.copy_without(db, chosen)) as kept:
                assert upkeep.n_bytes(kept) == rest


def test_a_full_disk_leaves_no_half_files(small_disk, monkeypatch):
    monkeypatch.setattr(facts, "_known", {})
    fill_up(small_disk)
    for n in range(3):
        assert facts.remember(f"fact {n}", lambda: "x" * 9000, small_disk) == "x" * 9000
    assert os.listdir(small_disk) == ["others"]
    cache = EmbeddingCache(small_disk / "cache")
    with pytest.warns(UserWarning, match="can't be written"):
        assert put(cache, 0) == 0
    with pytest.raises(OSError):
        cache.export(small_disk / "exported")
    assert not list(small_disk.glob("*export*"))


@pytest.mark.parametrize("damaged_bytes", [2**60, -(2**60)])
def test_a_damaged_count_of_bytes_evicts_nothing(cache, damaged_bytes):
    for block in range(4):
        put(cache, block)
    with sqlite3.connect(cache.path / "embeddings.sqlite3") as db:
        db.execute("UPDATE spaces SET bytes = ? WHERE id = 1", (damaged_bytes,))
    db.close()
    put(cache, 4)
    assert count_rows(cache, 5) == 250
    assert cache.prune(max_bytes=10**9) == 0
    assert count_rows(cache, 5) == 250
