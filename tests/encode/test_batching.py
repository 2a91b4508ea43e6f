"""Batches of one exact length, or of several, under a token budget."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sklearn_llm2vec._encode.batching import (
    MIN_TOKENS,
    canonical_length,
    exact_length_batches,
    fill_rows,
    varlen_batches,
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


@given(
    st.lists(st.integers(1, 50), max_size=200), st.integers(1, 400), st.integers(1, 4)
)
def test_varlen_batches_hold_every_text_once_within_budget(lengths, budget, n_at_once):
    batches = [b.tolist() for b in varlen_batches(lengths, budget, n_at_once)]
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        its = [lengths[i] for i in batch]
        assert its == sorted(its, reverse=True)
        assert len(its) == 1 or sum(its) <= budget


def test_few_tokens_are_shared_out_and_fewer_arent():
    def tokens(lengths, n_at_once, budget=1024):
        batches = varlen_batches(lengths, budget, n_at_once)
        return [sum(lengths[i] for i in batch) for batch in batches]

    assert tokens([20] * 10, 2) == [100, 100]
    assert tokens([20] * 10, 4) == [60, 60, 60, 20]
    assert tokens([20, 10], 4) == [30]  # less than 32 tokens aren't worth two passes
    # Not two passes of 1,024 and a rest, for which one thread would wait.
    assert tokens([20] * 128, 2) == [640, 640, 640, 640]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9))
def test_filled_passes_have_enough_tokens_and_no_row_too_many(lengths):
    n_tokens, last = sum(lengths), lengths[-1]
    filled = n_tokens + fill_rows(n_tokens, last) * last
    assert filled >= MIN_TOKENS
    assert filled == n_tokens or filled - last < MIN_TOKENS


def test_canonical_lengths_are_few_and_little_longer():
    lengths = {n: canonical_length(n) for n in range(1, 2049)}
    assert all(n <= length for n, length in lengths.items())
    assert all(canonical_length(length) == length for length in lengths.values())
    assert all(length - n < max(8, n / 8) for n, length in lengths.items())
    assert len({length for n, length in lengths.items() if n <= 512}) == 32
