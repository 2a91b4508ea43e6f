"""Threads: passes side by side, one torch thread each, and what idle ones can help with.

Several single-threaded passes are faster than one pass on several threads, and a sum that
one thread makes has the same bits whatever else runs. Where there are fewer passes than
threads (one long text, the end of a run) ``spread`` gives the idle ones rows of a large
product: rows don't depend on each other, so neither do their bits. This file knows
functions and rows; it doesn't know models or texts.
"""

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait

import torch

__all__ = ["in_parallel", "spread"]


class Crew:
    """Threads for passes, and as many but one to help those that run.

    Helpers have threads of their own: a pass that waited for a thread which another pass
    waits for would wait for ever.
    """

    def __init__(self, n_threads):
        self.n_threads = n_threads
        self._passes = _single_threaded_pool(n_threads)
        self._helpers = _single_threaded_pool(n_threads - 1) if n_threads > 1 else None
        # Reentrant: the garbage collector may close a generator while it is held.
        self._lock = threading.RLock()
        self._n_passes = 0  # that run or wait

    def submit(self, function, item):
        """Run ``function(item)`` in one of the threads."""
        future = self._passes.submit(self._run, function, item)
        with self._lock:
            self._n_passes += 1
        future.add_done_callback(self._leave)  # called for cancelled ones, too
        return future

    def _run(self, function, item):
        _here.crew = self
        return function(item)

    def _leave(self, future):
        with self._lock:
            self._n_passes -= 1

    def share(self):
        """How many threads a running pass may use now, its own included."""
        return max(1, self.n_threads // max(1, self._n_passes))

    def help(self, function, *args):
        """Run a part of a pass in an idle thread."""
        return self._helpers.submit(function, *args)


_here = threading.local()
_crews: dict[tuple[int, int], Crew] = {}
_crews_lock = threading.Lock()


def _crew(n_threads):
    # By process: the threads of a parent don't live on in a forked child.
    key = os.getpid(), n_threads
    with _crews_lock:
        if key not in _crews:
            _crews[key] = Crew(n_threads)
        return _crews[key]


def in_parallel(function, items, n_threads):
    """Yield ``function(item)`` as computed by threads that each use one torch thread.

    Results come in the order of the items; few items are drawn ahead, so a long
    generator isn't held. With one thread everything still runs in a thread of the pool:
    its torch thread count is one, the caller's is never touched.
    """
    crew = _crew(n_threads)
    pending = deque()
    try:
        for item in items:
            pending.append(crew.submit(function, item))
            if len(pending) > 2 * n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def spread(function, rows, min_rows):
    """``function(rows)``, in parts where threads have nothing else to do.

    Parameters
    ----------
    function : callable
        Takes rows, returns as many; a row of its result follows from that row alone, with
        the same bits among any number of at least `min_rows`.
    rows : tensor of shape (n_rows, width)
    min_rows : int
        Fewer aren't worth a thread.

    Returns
    -------
    tensor of shape (n_rows, width of the result)
    """
    crew = getattr(_here, "crew", None)
    n_parts = 1 if crew is None else min(crew.share(), len(rows) // min_rows)
    if n_parts < 2:
        return function(rows)
    mine, *others = rows.tensor_split(n_parts)
    helped = [crew.help(_in_inference_mode, function, part) for part in others]
    try:
        return torch.cat([function(mine), *(one.result() for one in helped)])
    finally:
        wait(helped)  # nobody computes for a pass that has failed
        helped.clear()  # an error in one of them would hold this frame, and it the error


@torch.inference_mode()  # each thread has a mode of its own
def _in_inference_mode(function, rows):
    return function(rows)


def _single_threaded_pool(n_threads):
    """Threads whose torch thread count is one; the caller's count stays as it was."""
    before = torch.get_num_threads()
    ready = threading.Barrier(n_threads + 1)

    def one_torch_thread():
        # Asking first makes torch set this thread up now. It would do so at its first
        # parallel operation otherwise, and take the caller's count again.
        torch.get_num_threads()
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(
        n_threads, thread_name_prefix="sklearn_llm2vec", initializer=one_torch_thread
    )
    for _ in range(n_threads):
        pool.submit(lambda: None)
    ready.wait()  # a thread is made for each task while none is idle
    # torch keeps one number for threads yet to come beside each thread's own: without
    # this line it would stay one for every thread that the user starts later.
    torch.set_num_threads(before)
    return pool
