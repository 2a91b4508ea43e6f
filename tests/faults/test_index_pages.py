"""A bit of an index is flipped: the row is right, or it is made again."""

import sqlite3
import warnings
import zlib

import numpy as np
import pytest

from sklearn_llm2vec import EmbeddingCache
from sklearn_llm2vec._cache.connections import FILE

SPACES = ["a1b2c3d4", "a1b2c3d5", "e6f7a8b9"]
KEYS = [bytes([65 + n]) * 16 for n in range(3)]
CELLS = [(1, "mean"), (1, "max")]
INDEX_PAGES = (0x02, 0x0A)  # SQLite's interior and leaf pages of an index


def vectors_of(space, cell):
    """Others in each space and cell."""
    first = 10 * SPACES.index(space) + CELLS.index(cell)
    return np.arange(first, first + 6, dtype="f4").reshape(3, 2) + 0.5


def fill(cache):
    for space in SPACES:
        cells = {cell: vectors_of(space, cell) for cell in CELLS}
        assert cache.put_many(space, KEYS, cells)
    cache.close()


def count_missing(cache):
    """Rows that aren't there; those that are must be the right ones."""
    n_missing = 0
    for space in SPACES:
        for cell in CELLS:
            out = np.full((3, 2), -1, "f4")
            found = cache.get_many(space, KEYS, *cell, out, count=False)
            np.testing.assert_array_equal(out[found], vectors_of(space, cell)[found])
            assert (out[~found] == -1).all()
            n_missing += int((~found).sum())
    return n_missing


def bits_of_indexes(content):
    """Numbers of the bits of all index pages that hold something."""
    size = int.from_bytes(content[16:18], "big")
    for start in range(size, len(content), size):
        page = content[start : start + size]
        if page[0] not in INDEX_PAGES:
            continue
        n_cells = int.from_bytes(page[3:5], "big")
        head = (12 if page[0] == INDEX_PAGES[0] else 8) + 2 * n_cells
        cells_at = int.from_bytes(page[5:7], "big")
        for byte in (*range(head), *range(cells_at, size)):
            yield from range(8 * (start + byte), 8 * (start + byte) + 8)


def flipped(content, bit):
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return damaged


@pytest.mark.filterwarnings("ignore:.*cache.*:UserWarning")
def test_every_bit_of_every_index_page(cache):
    fill(cache)
    path = cache.path / FILE
    good = path.read_bytes()
    n_bits = n_unnoticed = 0
    for bit in bits_of_indexes(good):
        path.write_bytes(flipped(good, bit))
        with EmbeddingCache(cache.path) as other:
            if count_missing(other):
                n_unnoticed += other.verify()["ok"]
        n_bits += 1
    assert n_bits > 5000
    assert n_unnoticed == 0


@pytest.mark.filterwarnings("ignore:.*cache.*:UserWarning")
def test_rows_that_are_written_through_a_damaged_index(cache):
    fill(cache)
    path = cache.path / FILE
    good = path.read_bytes()
    pages = [bit for bit in bits_of_indexes(good) if bit // 8 // 4096 < 4]
    more = [b"9" * 16]
    for bit in pages[::3]:
        path.write_bytes(flipped(good, bit))
        with EmbeddingCache(cache.path) as other:
            for n, space in enumerate(SPACES):
                made = {CELLS[0]: np.full((1, 2), n, "f4")}
                other.put_many(space, more, made)
            for n, space in enumerate(SPACES):
                out = np.full((1, 2), n, "f4")
                other.get_many(space, more, *CELLS[0], out)
                assert (out == n).all()
            count_missing(other)


def test_verify_compares_indexes_with_tables(cache):
    fill(cache)
    path = cache.path / FILE
    with sqlite3.connect(path) as db:
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'blocks_of_space'"
        ).fetchone()
    db.close()
    damaged = bytearray(path.read_bytes())
    page = damaged[(root - 1) * 4096 : root * 4096]
    first = int.from_bytes(page[8:10], "big")
    damaged[(root - 1) * 4096 + first + 3] ^= 2  # the space that a block belongs to
    path.write_bytes(damaged)
    assert count_missing(cache) == 0  # this index has no part in a look-up
    found = cache.verify()
    assert (found["damaged"], found["ok"]) == (0, False)


# --- a cache of format 1, whose checksums leave out the space ------------------------


def checksum_1(vector, key, cell):
    layer, pooling = cell
    start = zlib.crc32(f"{layer} {pooling} <f4 {len(vector)}".encode())
    return zlib.crc32(vector.tobytes(), zlib.crc32(key, start))


def make_format_1(path):
    """Turn a cache into one that an earlier version wrote."""
    db = sqlite3.connect(path, isolation_level=None)
    cells = db.execute("SELECT id, layer, pooling, data FROM cells").fetchall()
    for cell_id, *cell, data in cells:
        vectors = np.frombuffer(data, "<f4").reshape(3, 2)
        checksums = [checksum_1(v, k, cell) for v, k in zip(vectors, KEYS, strict=True)]
        raw = np.array(checksums, "<u4").tobytes()
        db.execute("UPDATE cells SET checksums = ? WHERE id = ?", (raw, cell_id))
    db.execute("ALTER TABLE blocks DROP COLUMN format")
    db.execute("PRAGMA user_version = 1")
    db.close()


@pytest.fixture
def old(cache):
    fill(cache)
    make_format_1(cache.path / FILE)
    return cache


def test_an_older_format_is_still_read(old):
    assert count_missing(old) == 0
    assert old.verify() == {"checked": 18, "damaged": 0, "ok": True}
    more = {CELLS[0]: np.ones((1, 2), "f4")}
    assert old.put_many(SPACES[0], [b"9" * 16], more)
    assert count_missing(old) == 0
    assert old.verify()["ok"]
    with sqlite3.connect(old.path / FILE) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    db.close()


def test_a_row_of_an_older_format_in_a_wrong_space(old):
    count_missing(old)  # raises the format
    with sqlite3.connect(old.path / FILE) as db:
        # As through a damaged index: what is asked for leads to another's blocks.
        (one, two, _) = [i for (i,) in db.execute("SELECT id FROM spaces ORDER BY id")]
        db.execute("DELETE FROM rows WHERE space_id = ?", (two,))
        db.execute("UPDATE rows SET space_id = ? WHERE space_id = ?", (two, one))
    db.close()
    with pytest.warns(UserWarning, match="3 damaged rows"):
        assert count_missing(old) == 12
    assert not old.verify()["ok"]


def test_an_export_of_an_older_format_is_imported(old, tmp_path):
    new = EmbeddingCache(tmp_path / "new")
    assert new.import_(old.path / FILE) == 9
    assert count_missing(new) == 0
    assert new.verify()["ok"]


def test_an_older_format_that_cant_be_raised_is_not_used(old, monkeypatch):
    from sklearn_llm2vec._cache import connections

    connect = connections.connect

    def read_only(place, **kwargs):
        if kwargs:
            return connect(place, **kwargs)
        return connect(f"{place.as_uri()}?mode=ro", uri=True)

    monkeypatch.setattr(connections, "connect", read_only)
    with pytest.warns(UserWarning, match="can't be written"):
        assert count_missing(old) == 18


# --- a newer format, raised while a cache is open ------------------------------------


def test_a_format_that_was_raised_meanwhile(cache):
    fill(cache)
    assert count_missing(cache) == 0
    with sqlite3.connect(cache.path / FILE) as db:
        db.execute("PRAGMA user_version = 3")
    db.close()
    before = cache.path.joinpath(FILE).read_bytes()
    more = {CELLS[0]: np.ones((1, 2), "f4")}
    with pytest.warns(UserWarning, match="can't be written.*from 2 to 3.*upgrade"):
        assert cache.put_many(SPACES[0], [b"9" * 16], more) == 0
    with pytest.warns(UserWarning, match="can't be read.*from 2 to 3"):
        assert count_missing(cache) == 18
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # each is told once
        assert cache.put_many(SPACES[0], [b"9" * 16], more) == 0
        cache.describe(SPACES[0], {"model": "m"})
        assert count_missing(cache) == 18
    newer = r"^The cache .* (wasn't cleared|can't be used): a newer .*2 to 3.*upgrade"
    for call in (cache.clear, lambda: cache.prune(max_bytes=0)):
        with pytest.raises(ValueError, match=newer):
            call()
    assert cache.path.joinpath(FILE).read_bytes() == before
    cache.close()  # whoever opens it now is told the same
    for call in (cache.clear, lambda: cache.prune(max_bytes=0), cache.info):
        with pytest.raises(ValueError, match=newer):
            call()
