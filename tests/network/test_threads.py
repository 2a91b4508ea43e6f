"""Passes side by side, and the idle threads beside them."""

import threading
import time
import weakref

import pytest
import torch

from sklearn_llm2vec._network import threads
from sklearn_llm2vec._network.threads import in_parallel, on_idle_threads


def count_of_a_later_thread():
    """The torch threads of a thread that the user starts now."""
    counts = []
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return counts[0]


def test_torch_threads_in_a_pass_and_afterwards():
    before = torch.get_num_threads()
    counts = list(in_parallel(lambda _: torch.get_num_threads(), range(20), 3))
    assert counts == [1] * 20
    assert torch.get_num_threads() == before
    assert count_of_a_later_thread() == before


def test_parallel_results_come_in_order_and_errors_come_out():
    assert list(in_parallel(lambda x: x * x, range(50), 4)) == [
        x * x for x in range(50)
    ]

    def failing(x):
        if x == 3:
            raise ValueError("three")
        return x

    with pytest.raises(ValueError, match="three"):
        list(in_parallel(failing, range(10), 2))


def test_few_items_are_drawn_ahead():
    drawn = []

    def items():
        for i in range(1000):
            drawn.append(i)
            yield i

    results = in_parallel(lambda x: x, items(), 2)
    next(results)
    assert len(drawn) <= 8
    results.close()


def openmp_counts(n_threads, n_passes=1):
    """OpenMP threads that each of some passes that run together may use."""
    together = threading.Barrier(n_passes)

    def one_pass(_):
        together.wait(5)
        inside = on_idle_threads(torch.get_num_threads)
        together.wait(5)
        return inside, torch.get_num_threads()

    return list(in_parallel(one_pass, range(n_passes), n_threads))


@pytest.mark.parametrize(
    ("n_threads", "n_passes", "want"),
    [(4, 1, 4), (4, 2, 2), (4, 3, 1), (5, 2, 2), (4, 4, 1), (1, 1, 1)],
)
def test_passes_get_the_idle_threads(n_threads, n_passes, want):
    before = torch.get_num_threads()
    assert openmp_counts(n_threads, n_passes) == [(want, 1)] * n_passes
    assert torch.get_num_threads() == before
    assert count_of_a_later_thread() == before


def test_outside_of_passes_the_count_stays():
    before = torch.get_num_threads()
    assert on_idle_threads(torch.get_num_threads) == before


def test_after_an_error_the_count_is_one_and_the_thread_idle():
    def fail():
        raise ValueError("in a part")

    for _ in range(3):
        with pytest.raises(ValueError, match="in a part"):
            list(in_parallel(lambda _: on_idle_threads(fail), [0], 2))
    assert list(in_parallel(lambda _: torch.get_num_threads(), [0], 2)) == [1]
    crew = threads._crew(2)
    deadline = time.monotonic() + 5
    while len(crew._idle) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(crew._idle) == [0, 1]


def test_ctrl_c_on_the_way_to_a_thread_loses_none(monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    list(in_parallel(int, [1], 1))
    with monkeypatch.context() as patch:
        patch.setattr(threads._crew(1)._workers[0], "submit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(in_parallel(int, [1], 1))
    assert list(in_parallel(int, [1, 2], 1)) == [1, 2]


def test_a_lone_pass_always_runs_in_the_same_thread():
    seen = {
        next(in_parallel(lambda _: threading.get_ident(), [0], 3)) for _ in range(50)
    }
    assert len(seen) == 1


def test_many_passes_use_all_threads_and_what_is_cancelled_never_runs():
    together = threading.Barrier(3)
    ran = []

    def one_pass(i):
        ran.append(i)
        together.wait(5)
        return threading.get_ident()

    results = in_parallel(one_pass, range(60), 3)
    assert len({next(results) for _ in range(6)}) == 3
    together.abort()
    results.close()
    (found,) = in_parallel(lambda x: x, [7], 3)
    assert found == 7
    assert len(ran) < 20


@pytest.mark.parametrize("n_later", [0, 30])
def test_an_item_is_let_go_when_its_pass_is_over(n_later):
    class Item:
        pass

    first = Item()
    gone, seen = weakref.ref(first), []
    items = [first]
    del first

    def draw():
        yield items.pop()
        for _ in range(n_later):
            # The thread that had it may still be in the line that lets it go.
            deadline = time.monotonic() + 0.5
            while len(seen) > 8 and gone() and time.monotonic() < deadline:
                time.sleep(0.01)
            seen.append(gone() is None)
            yield Item()

    list(in_parallel(type, draw(), 2))
    deadline = time.monotonic() + 5
    while gone() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone() is None
    assert all(seen[9:])  # also while its thread goes on working
