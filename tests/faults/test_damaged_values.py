"""A bit of any value beside the vectors is flipped: vectors stay right, errors plain."""

import sqlite3
import warnings

import numpy as np
import pytest

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._common import facts

TEXTS = ["a small card", "the dog", "bank fee"]
# Values of the tables that aren't vectors, keys or numbers that SQLite counts with.
VALUES = [
    ("cells", "dtype"),
    ("cells", "pooling"),
    ("cells", "layer"),
    ("cells", "dim"),
    ("spaces", "note"),
    ("spaces", "created"),
    ("spaces", "last_used"),
]


def flipped(value):
    """The value with each of its bits flipped in turn."""
    if isinstance(value, str):
        raw = value.encode()
        for bit in range(8 * len(raw)):
            damaged = bytearray(raw)
            damaged[bit // 8] ^= 1 << bit % 8
            # What SQLite gives back of bytes that are no UTF-8 is tried as well.
            yield damaged.decode("utf-8", errors="surrogateescape")
    elif isinstance(value, int):
        yield from (value ^ 1 << bit for bit in range(63))
        yield from (float(value), str(value), None)
    else:
        raw = np.float64(value).tobytes()
        for bit in range(64):
            damaged = bytearray(raw)
            damaged[bit // 8] ^= 1 << bit % 8
            yield float(np.frombuffer(damaged, np.float64)[0])


@pytest.fixture
def encoder(bert, tmp_path):
    return LLMEmbeddingTransformer(bert, cache=tmp_path / "cache", verbose=False)


@pytest.mark.parametrize(("table", "column"), VALUES)
def test_a_flipped_bit_changes_no_vector(table, column, encoder, tmp_path):
    good = encoder.fit_transform(TEXTS)
    with EmbeddingCache(tmp_path / "cache") as cache:
        (database,) = (tmp_path / "cache").glob("*.sqlite3")
        db = sqlite3.connect(database)
        ((value,),) = db.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchall()
        for n, damaged in enumerate(flipped(value)):
            if n % 5 and column == "note":
                continue  # some hundred letters
            try:
                db.execute(f"UPDATE {table} SET {column} = ?", (damaged,))
                db.commit()
            except (sqlite3.Error, OverflowError, UnicodeError):
                db.rollback()  # not a value that the table takes
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                np.testing.assert_array_equal(encoder.transform(TEXTS), good)
            assert cache.verify()["checked"] > 0
            cache.info()
            db.execute(f"DELETE FROM {table} WHERE rowid > 1")
            db.execute(f"UPDATE {table} SET {column} = ?", (value,))
            db.commit()
        db.close()


def test_a_flipped_bit_in_the_facts_is_found_out(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "_known", {})
    good = encoder.fit_transform(TEXTS)
    path = tmp_path / "cache" / "facts.json"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for bit in rng.choice(8 * len(whole), 300, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        monkeypatch.setattr(facts, "_known", {})
        monkeypatch.setattr(facts, "_read_from", set())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            np.testing.assert_array_equal(encoder.fit_transform(TEXTS), good)
