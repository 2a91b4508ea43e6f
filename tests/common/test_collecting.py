"""Imports without the garbage collector."""

import gc
import weakref

import pytest

from sklearn_llm2vec._common.collecting import uncollected


class Thing:
    """In a circle, so that only the collector finds it."""

    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def collecting():
    gc.enable()
    yield
    gc.unfreeze()
    gc.enable()


def test_nothing_is_collected_inside_and_everything_afterwards():
    collections, things = [], [weakref.ref(Thing())]
    gc.callbacks.append(lambda *_: collections.append(gc.isenabled()))
    try:
        with uncollected():
            things.append(weakref.ref(Thing()))
            kept = [[] for _ in range(10_000)]
            during = len(collections)
    finally:
        gc.callbacks.pop()
    assert during == 0
    assert len(kept) == 10_000
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert [thing() for thing in things] == [None, None]


def test_it_collects_again_after_an_error():
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


def test_blocks_in_each_other_end_with_the_outer_one():
    with uncollected():
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_who_collects_by_hand_goes_on_doing_so():
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()


def test_what_the_user_has_frozen_stays_frozen():
    gc.freeze()
    before = gc.get_freeze_count()
    with uncollected():
        pass
    assert gc.isenabled()
    assert 0 < gc.get_freeze_count() <= before
