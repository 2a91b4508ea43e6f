"""Poolings against plain NumPy, and the same bits whatever else is pooled."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_llm2vec._network.pooling import (
    POOLINGS,
    Pooling,
    TokenStates,
    join_windows,
    pool_all,
    poolings_of_windows,
)


def by_hand(name, states, counted):
    """One row, in float64."""
    states = states.astype(np.float64)
    kept = states[counted]
    weights = np.arange(1, len(kept) + 1)
    return {
        "mean": lambda: kept.mean(0),
        "weighted_mean": lambda: (weights[:, None] * kept).sum(0) / weights.sum(),
        "last": lambda: states[-1],
        "first": lambda: states[0],
        "max": lambda: kept.max(0),
    }[name]()


def pool(name, states, counted):
    tokens = TokenStates(torch.from_numpy(states), torch.from_numpy(counted))
    return POOLINGS[name].pool(tokens).numpy()


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(5, 9, 16)).astype(np.float32) - 3
    counted = rng.random((5, 9)) < 0.6
    counted[:, 4] = True
    return states, counted


@pytest.mark.parametrize("name", POOLINGS)
def test_against_numpy(name, batch):
    states, counted = batch
    got = pool(name, states, counted)
    for row in range(len(states)):
        want = by_hand(name, states[row], counted[row])
        np.testing.assert_allclose(got[row], want, rtol=1e-5, atol=1e-6)


def test_the_bits_dont_depend_on_what_else_is_pooled(batch):
    states, counted = map(torch.from_numpy, batch)
    whole = pool_all(states, counted, tuple(POOLINGS))
    for n in range(1, 5):
        for names in itertools.combinations(POOLINGS, n):
            some = pool_all(states, counted, names)
            assert set(some) == set(names)
            assert all(torch.equal(some[name], whole[name]) for name in names)


def test_half_precision_is_summed_in_float32():
    # 4,096 ones: a sum in bfloat16 stops growing at 256.
    states = torch.ones(1, 4096, 2, dtype=torch.bfloat16)
    counted = torch.ones(1, 4096, dtype=torch.bool)
    pooled = pool_all(states, counted, tuple(POOLINGS))
    assert all(vectors.dtype == torch.float32 for vectors in pooled.values())
    # Some kernels add up one by one: 4,096 roundings of the weighted mean.
    assert all(torch.allclose(v, torch.ones(1, 2), rtol=1e-4) for v in pooled.values())


def test_last_and_first_dont_hold_all_states():
    states = torch.zeros(2, 50, 4)
    counted = torch.ones(2, 50, dtype=torch.bool)
    for name in ("last", "first"):
        storage = POOLINGS[name].pool(TokenStates(states, counted)).untyped_storage()
        assert storage.nbytes() == 2 * 4 * 4


def test_padding_changes_nothing(batch):
    states, counted = batch
    counted[:, 6:] = False
    lengths = torch.tensor([9, 7, 6, 8, 7])
    padded = torch.from_numpy(states.copy())
    for row, length in enumerate(lengths):
        padded[row, length:] = 99
    got = pool_all(padded, torch.from_numpy(counted), POOLINGS, lengths - 1)
    for row, length in enumerate(lengths):
        for name in POOLINGS:
            want = by_hand(name, states[row, :length], counted[row, :length])
            np.testing.assert_allclose(got[name][row], want, rtol=1e-5, atol=1e-6)


def check_join(lengths, name):
    """The windows' vectors, joined, against the pooling of all their states."""
    rng = np.random.default_rng(len(lengths))
    states = [rng.normal(size=(n, 5)).astype(np.float32) for n in lengths]
    parts = [
        pool_all(
            torch.tensor(window)[None],
            torch.ones(1, len(window), dtype=torch.bool),
            poolings_of_windows([name]),
        )
        for window in states
    ]
    pooled = {one: np.concatenate([part[one] for part in parts]) for one in parts[0]}
    whole = np.concatenate(states)[None]
    [want] = pool(name, whole, np.ones(whole.shape[:2], bool))
    got = join_windows(pooled, lengths, name)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=6),
    st.sampled_from(sorted(POOLINGS)),
)
def test_joining_windows_equals_pooling_all_states(lengths, name):
    check_join(lengths, name)


def test_a_new_pooling_is_one_entry(monkeypatch):
    smallest = Pooling(
        lambda tokens: tokens.states.amin(1), lambda windows, n_counted: windows.min(0)
    )
    monkeypatch.setitem(POOLINGS, "min", smallest)
    check_join([3, 1, 4], "min")
    # One that needs another pooling of the windows beside its own.
    spread = Pooling(
        lambda tokens: tokens.states.amax(1) - tokens.states.amin(1),
        lambda windows, n_counted, most, least: most.max(0) - least.min(0),
        also=("max", "min"),
    )
    monkeypatch.setitem(POOLINGS, "spread", spread)
    check_join([3, 1, 4], "spread")


def test_an_unknown_name_is_no_other_pooling():
    states, counted = torch.ones(1, 3, 2), torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(KeyError, match="avg"):
        pool_all(states, counted, ["mean", "avg"])
    with pytest.raises(KeyError, match="avg"):
        poolings_of_windows(["avg"])
    with pytest.raises(KeyError, match="avg"):
        join_windows({"avg": np.ones((2, 3), np.float32)}, [1, 2], "avg")
