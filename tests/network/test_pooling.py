"""Poolings against plain NumPy, and the same bits whatever else is pooled."""

import itertools

import numpy as np
import pytest
import torch

from sklearn_llm2vec._estimator.vectors import ALL_POOLINGS
from sklearn_llm2vec._network.pooling import POOLINGS, pool_all


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
    got = POOLINGS[name](torch.from_numpy(states), torch.from_numpy(counted)).numpy()
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
        storage = POOLINGS[name](states, counted).untyped_storage()
        assert storage.nbytes() == 2 * 4 * 4


def test_the_torchless_list_of_names_is_the_same():
    assert ALL_POOLINGS == tuple(POOLINGS)
