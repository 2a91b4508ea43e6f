"""A garbled or short database: results stay, errors are sentences, clear works."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from sklearn_llm2vec import EmbeddingCache
from sklearn_llm2vec._cache.connections import FILE

KEYS = [n.to_bytes(16, "big") for n in range(300)]
CELL = (3, "mean")
VECTORS = np.random.default_rng(0).random((300, 16), dtype="f4")


def fill(cache):
    for start in range(0, 300, 50):
        part = slice(start, start + 50)
        assert cache.put_many("space", KEYS[part], {CELL: VECTORS[part]})
    cache.close()
    return cache.path / FILE


def garbled(content, seed):
    """A part of the file, from a page to all of it, is overwritten."""
    rng = np.random.default_rng(seed)
    damaged = np.frombuffer(content, np.uint8).copy()
    start = int(rng.integers(0, len(damaged) - 1)) if seed % 3 else 0
    length = int(rng.integers(1, 1 + (len(damaged) if seed % 5 == 0 else 5000)))
    part = damaged[start : start + length]
    part[:] = 0 if seed % 4 == 0 else rng.integers(0, 256, len(part))
    return damaged.tobytes()


def cut_short(content, seed):
    rng = np.random.default_rng(seed)
    return content[: int(rng.integers(0, len(content)))]


def check_clear(cache):
    """After `clear` the cache is empty and works."""
    cache.clear()
    out = np.zeros((300, 16), "f4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not cache.get_many("space", KEYS, *CELL, out).any()
        assert cache.put_many("space", KEYS, {CELL: VECTORS})
        assert cache.get_many("space", KEYS, *CELL, out).all()
        assert cache.verify() == {"checked": 300, "damaged": 0, "ok": True}
    np.testing.assert_array_equal(out, VECTORS)


def maintain(cache, folder):
    """What looks after a cache works, or says in a sentence what is wrong."""
    out = folder / "exported"
    for call in (
        cache.info,
        cache.verify,
        lambda: cache.prune(space="other"),
        lambda: cache.prune(max_bytes=9000),
        lambda: cache.export(out),
    ):
        try:
            call()
        except (ValueError, OSError) as error:
            assert str(cache.path) in str(error)
            assert "EmbeddingCache.clear()" in str(error)
    out.unlink(missing_ok=True)
    assert not list(folder.glob("*.part"))


@pytest.mark.filterwarnings("ignore:.*cache.*:UserWarning")
@pytest.mark.parametrize("damage", [garbled, cut_short])
def test_a_damaged_database(damage, cache, tmp_path):
    path = fill(cache)
    good = path.read_bytes()
    n_lost = n_found = 0
    for seed in range(100):
        path.write_bytes(damage(good, seed))
        (cache.path / "facts.json").write_text("{}")  # as in each transformer's cache
        with EmbeddingCache(cache.path) as damaged:
            out = np.full((300, 16), -1, "f4")
            found = damaged.get_many("space", KEYS, *CELL, out)
            np.testing.assert_array_equal(out[found], VECTORS[found])
            n_lost += not found.all()
            n_found += found.any()
            damaged.has_any("space", KEYS)
            damaged.room()
            damaged.describe("space", {"model": "m"})
            damaged.put_many("other", KEYS[:5], {CELL: VECTORS[:5]})
            if seed % 2:
                maintain(damaged, tmp_path)
            check_clear(damaged)
    # Damage of every size: files of which nothing is left, and others with good rows.
    assert 50 < n_lost
    assert 5 < n_found < 95


@pytest.mark.filterwarnings("ignore:.*cache.*:UserWarning")
def test_clear_removes_what_nobody_can_read(cache):
    path = fill(cache)
    path.write_bytes(b"nonsense" * 5000)
    with EmbeddingCache(cache.path) as damaged:
        with pytest.raises(
            ValueError, match=r"Remove it with EmbeddingCache.clear\(\)"
        ):
            damaged.info()
        check_clear(damaged)


def test_clear_keeps_the_counters_and_another_programs_database(cache):
    import sqlite3

    path = fill(cache)
    cache.clear()
    assert cache.info()["texts_encoded"] == 300
    cache.close()
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    with pytest.raises(ValueError, match="another program's"):
        cache.clear()
    assert path.is_file()


def test_a_cache_that_another_process_clears_goes_on(cache):
    fill(cache)
    out = np.zeros((300, 16), "f4")
    assert cache.get_many("space", KEYS, *CELL, out).all()
    code = f"import sklearn_llm2vec as s; s.EmbeddingCache({str(cache.path)!r}).clear()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not cache.get_many("space", KEYS, *CELL, out).any()
    assert cache.put_many("space", KEYS, {CELL: VECTORS})
    assert EmbeddingCache(cache.path).verify() == {
        "checked": 300,
        "damaged": 0,
        "ok": True,
    }


@pytest.mark.skipif(os.name == "nt", reason="an open file can't be cut short")
@pytest.mark.parametrize("left", [0, 4096, 10_000])
def test_a_file_that_is_cut_short_while_it_is_open(left, cache):
    path = fill(cache)
    # In a process of its own: a bus error would end this one.
    code = f"""
import os, warnings, numpy as np
from sklearn_llm2vec import EmbeddingCache
warnings.simplefilter("ignore")
cache = EmbeddingCache({str(cache.path)!r})
keys = [n.to_bytes(16, "big") for n in range(300)]
out = np.zeros((300, 16), "f4")
assert cache.get_many("space", keys[:1], 3, "mean", out[:1]).all()
os.truncate({str(path)!r}, {left})
assert not cache.get_many("space", keys, 3, "mean", out).all()
cache.put_many("space", keys, {{(3, "mean"): out}})
for call in (cache.info, cache.verify):
    try:
        call()
    except (ValueError, OSError) as error:
        assert "EmbeddingCache.clear()" in str(error)
cache.clear()
assert cache.put_many("space", keys, {{(3, "mean"): out}})
assert cache.verify()["ok"]
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


def test_a_damaged_export_is_refused(cache, tmp_path):
    fill(cache)
    cache.export(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    new = EmbeddingCache(tmp_path / "new")
    n_refused = 0
    for seed in range(1, 40):
        (tmp_path / "part").write_bytes(garbled(content, seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                new.import_(tmp_path / "part")
            except ValueError as error:
                n_refused += 1
                assert str(tmp_path / "part") in str(error)
                assert "clear()" not in str(error)
            out = np.zeros((300, 16), "f4")
            found = new.get_many("space", KEYS, *CELL, out)
        np.testing.assert_array_equal(out[found], VECTORS[found])
    # The others lost rows only, which have a checksum each, or no byte that is read.
    assert n_refused > 20
