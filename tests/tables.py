"""Tables for the tests of what embeds tables."""

import random

import numpy as np
import pyarrow as pa
from conftest import WORDS


def make_table(n_rows, seed=0):
    rng = random.Random(seed)

    def text():
        if rng.random() < 0.1:
            return None
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 12)))

    return pa.table(
        {
            "id": list(range(n_rows)),
            "title": pa.array([text() for _ in range(n_rows)], pa.string()),
            "price": [rng.random() for _ in range(n_rows)],
            "review": pa.array([text() for _ in range(n_rows)], pa.string()),
        }
    )


def features(table, name):
    """A column of lists as an array; fails where a row has another length."""
    column = table[name].combine_chunks()
    assert pa.types.is_fixed_size_list(column.type)
    assert column.null_count == 0
    values = column.flatten().to_numpy(zero_copy_only=False)
    assert values.dtype == np.float32
    return values.reshape(len(column), -1)


def same_bits(got, want):
    np.testing.assert_array_equal(
        np.ascontiguousarray(got).view(np.uint32),
        np.ascontiguousarray(want).view(np.uint32),
    )
