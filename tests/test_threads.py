"""Passes side by side, and help for those that have idle threads beside them."""

import threading
import time

import pytest
import torch

from sklearn_llm2vec import _threads
from sklearn_llm2vec._threads import in_parallel, spread


def test_torch_threads_in_a_pass_and_afterwards():
    before = torch.get_num_threads()
    counts = list(in_parallel(lambda _: torch.get_num_threads(), range(20), 3))
    assert counts == [1] * 20
    assert torch.get_num_threads() == before
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before]


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


def spread_parts(n_threads, n_rows, min_rows, n_passes=1):
    """The rows that each thread computed in passes that start together."""
    together = threading.Barrier(n_passes)

    def one_pass(_):
        parts, rows = [], torch.arange(2.0 * n_rows).reshape(n_rows, 2)

        def double(part):
            parts.append((len(part), threading.get_ident(), torch.get_num_threads()))
            return 2 * part

        together.wait(5)
        with torch.inference_mode():
            found = spread(double, rows, min_rows)
        together.wait(5)
        torch.testing.assert_close(found, 2 * rows, rtol=0, atol=0)
        return parts

    return list(in_parallel(one_pass, range(n_passes), n_threads))


@pytest.mark.parametrize(
    ("n_threads", "n_rows", "n_passes", "want"),
    [
        (4, 100, 1, [25, 25, 25, 25]),
        (4, 101, 1, [26, 25, 25, 25]),
        (4, 100, 2, [50, 50]),
        (4, 100, 3, [100]),  # one idle thread for three passes
        (4, 39, 1, [20, 19]),  # at least 16 rows a part
        (4, 31, 1, [31]),
        (1, 100, 1, [100]),
    ],
)
def test_idle_threads_take_rows(n_threads, n_rows, n_passes, want):
    for parts in spread_parts(n_threads, n_rows, 16, n_passes):
        assert sorted((n for n, _, _ in parts), reverse=True) == want
        assert {count for _, _, count in parts} == {1}


def test_rows_stay_in_one_thread_outside_of_passes():
    calls = []
    spread(lambda rows: calls.append(len(rows)) or rows, torch.zeros(64, 2), 16)
    assert calls == [64]


def test_an_error_in_a_helper_comes_out_and_leaves_no_pass_behind():
    def one_pass(_):
        def fail(rows):
            if len(rows) < 50:
                raise ValueError("in a part")
            return rows

        return spread(fail, torch.zeros(99, 2), 16)

    for _ in range(3):
        with pytest.raises(ValueError, match="in a part"):
            list(in_parallel(one_pass, [0], 2))
    crew = _threads._crew(2)
    deadline = time.monotonic() + 5
    while crew._n_passes and time.monotonic() < deadline:
        time.sleep(0.01)
    assert crew._n_passes == 0


def test_passes_that_all_want_help_end():
    def one_pass(seed):
        rows = torch.randn(64, 8)
        for _ in range(20):
            rows = spread(lambda part: part + 1, rows, 4)
        return float(rows.sum())

    assert len(list(in_parallel(one_pass, range(200), 3))) == 200
