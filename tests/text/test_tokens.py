"""Rows of tokens as arrays."""

import numpy as np

from sklearn_llm2vec._text.tokens import Row, rows_as_arrays


def test_rows_are_padded_on_the_right():
    rows = [Row([5, 6, 7], [(0, 1), (2, 3)], 0), Row([8, 9], [(1, 2)], 1)]
    ids, counted, lengths = rows_as_arrays(rows, 4, padding=1)
    np.testing.assert_array_equal(ids, [[5, 6, 7, 1], [8, 9, 1, 1]])
    np.testing.assert_array_equal(counted, [[1, 0, 1, 0], [0, 1, 0, 0]])
    np.testing.assert_array_equal(lengths, [3, 2])
    # Without a token for it each row repeats its own last one.
    ids, *_ = rows_as_arrays(rows, 4)
    np.testing.assert_array_equal(ids, [[5, 6, 7, 7], [8, 9, 9, 9]])


def test_what_stands_in_a_prefix_is_left_out():
    rows = [Row([5, 6, 7, 8], [(2, 4)], 2), Row([5, 6, 9], [(2, 3)], 2)]
    ids, counted, lengths = rows_as_arrays(rows, 2, start=2)
    np.testing.assert_array_equal(ids, [[7, 8], [9, 9]])
    np.testing.assert_array_equal(counted, [[1, 1], [1, 0]])
    np.testing.assert_array_equal(lengths, [2, 1])
