"""Batches of one exact length under a token budget."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sklearn_llm2vec._batching import (
    MIN_TOKENS,
    canonical_length,
    exact_length_batches,
    fill_rows,
)


@given(st.lists(st.integers(1, 50), max_size=200), st.integers(1, 200))
def test_every_text_once_one_length_a_batch_within_budget(lengths, budget):
    batches = list(exact_length_batches(lengths, budget))
    seen = [i for batch in batches for i in batch.tolist()]
    assert sorted(seen) == list(range(len(lengths)))
    for batch in batches:
        (length,) = {lengths[i] for i in batch}
        assert len(batch) == 1 or len(batch) * length <= budget


def test_longest_first_and_stable():
    batches = [b.tolist() for b in exact_length_batches([2, 7, 2, 7, 2], 4)]
    assert batches == [[1], [3], [0, 2], [4]]


def test_no_batch_could_have_been_fuller():
    lengths = np.full(100, 10)
    assert [len(b) for b in exact_length_batches(lengths, 256)] == [25] * 4


@given(st.integers(1, 40), st.integers(1, 40))
def test_filled_passes_have_enough_tokens_and_no_row_too_many(n_rows, n_tokens):
    rows = n_rows + fill_rows(n_rows, n_tokens)
    assert rows * n_tokens >= MIN_TOKENS
    assert rows == n_rows or (rows - 1) * n_tokens < MIN_TOKENS


def test_canonical_lengths_are_few_and_little_longer():
    lengths = {n: canonical_length(n) for n in range(1, 2049)}
    assert all(n <= length for n, length in lengths.items())
    assert all(canonical_length(length) == length for length in lengths.values())
    assert all(length - n < max(8, n / 8) for n, length in lengths.items())
    assert len({length for n, length in lengths.items() if n <= 512}) == 32
