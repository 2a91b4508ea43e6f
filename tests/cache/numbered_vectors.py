"""Vectors that follow from the numbers of their keys, put into a cache and compared."""

import multiprocessing
import sqlite3

import numpy as np
import pytest

from sklearn_llm2vec._cache.connections import FILE

MEAN = (3, "mean")


def keys_of(numbers):
    return [int(n).to_bytes(16, "big") for n in numbers]


def vectors_of(numbers, dim=8):
    """Vectors that follow from their numbers."""
    return np.outer(np.asarray(numbers) + 1, np.arange(1, dim + 1)).astype("f4") / 7


def put(cache, numbers, space="s", cells=(MEAN,), dim=8):
    vectors = vectors_of(numbers, dim)
    return cache.put_many(space, keys_of(numbers), {cell: vectors for cell in cells})


def get(cache, numbers, space="s", cell=MEAN, dim=8, **kwargs):
    out = np.full((len(numbers), dim), -1, "f4")
    found = cache.get_many(space, keys_of(numbers), *cell, out, **kwargs)
    np.testing.assert_array_equal(out[found], vectors_of(numbers, dim)[found])
    assert (out[~found] == -1).all()
    return found


can_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork here"
)


def database(cache):
    return sqlite3.connect(cache.path / FILE, isolation_level=None)
