"""A row's products have the same bits in any company."""

import numpy as np
import pytest

from sklearn_llm2vec._common.rowwise import row_products


@pytest.mark.parametrize(
    ("n_features", "width"), [(32, 200), (384, 64), (33, 7), (5, 1)]
)
def test_a_row_alone_in_any_order_and_at_any_place_in_memory(n_features, width):
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((width, n_features)).astype(np.float32).T
    vectors = rng.standard_normal((300, n_features)).astype(np.float32)
    want = row_products(vectors, matrix)
    np.testing.assert_allclose(
        want, vectors.astype(np.float64) @ matrix, rtol=1e-4, atol=1e-5
    )
    for n in (1, 2, 13, 250):
        rows = rng.permutation(300)[:n]
        memory = np.empty(n * n_features + 16, np.float32)
        start = rng.integers(16)
        moved = memory[start : start + n * n_features].reshape(n, n_features)
        moved[:] = vectors[rows]
        np.testing.assert_array_equal(row_products(moved, matrix), want[rows])


def test_no_rows():
    matrix = np.ones((4, 3), np.float32)
    assert row_products(np.empty((0, 4), np.float32), matrix).shape == (0, 3)
