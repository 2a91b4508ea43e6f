"""Threads: passes side by side, one torch thread each, and what idle ones can do.

Several single-threaded passes are faster than one pass on several threads, and a sum that
one thread makes has the same bits whatever else runs. Where there are fewer passes than
threads (one long text, the end of a run) ``on_idle_threads`` lends the idle ones to a
function whose bits don't depend on them.
"""

import functools
import heapq
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from threadpoolctl import ThreadpoolController

from sklearn_llm2vec._common.forks import renewed_by_fork


class Crew:
    """Threads for passes.

    The first idle one is always taken: a lone pass finds the caches of its core warm, and
    OpenMP's threads, of which each thread here has its own, stay few.
    """

    def __init__(self, n_threads):
        self.n_threads = n_threads
        self._workers = _single_threaded_workers(n_threads)
        self._idle = list(range(n_threads))  # a heap
        self._waiting = deque()
        # Reentrant: the garbage collector may close a generator while it is held.
        self._lock = threading.RLock()

    def submit(self, function, item):
        """Run ``function(item)`` in one of the threads; returns a future."""
        task = Future(), function, item
        with self._lock:
            if self._idle:
                worker = heapq.heappop(self._idle)
                try:
                    # In a list that it empties: the pool holds on to what it was given.
                    self._workers[worker].submit(self._run, worker, [task])
                except BaseException:  # Ctrl-C: the thread mustn't be lost for ever
                    heapq.heappush(self._idle, worker)
                    raise
            else:
                self._waiting.append(task)
        return task[0]

    def share(self):
        """How many threads a running pass may use now, its own included."""
        with self._lock:
            n_passes = self.n_threads - len(self._idle) + len(self._waiting)
        return max(1, self.n_threads // max(1, n_passes))

    def _run(self, worker, tasks):
        _here.crew = self
        task = tasks.pop()
        while task is not None:
            future, function, item = task
            runs = future.set_running_or_notify_cancel()
            result, error = _outcome(function, item) if runs else (None, None)
            # Idle before the result is out: who waits for it may send the next one.
            with self._lock:
                task = self._waiting.popleft() if self._waiting else None
                if task is None:
                    heapq.heappush(self._idle, worker)
            if error is not None:
                future.set_exception(error)
            elif runs:
                future.set_result(result)
            del future, function, item, result, error  # an idle thread holds nothing


def _outcome(function, item):
    """(result, None) or (None, error)."""
    # In a frame of its own, which the error holds: it mustn't hold the future.
    try:
        return function(item), None
    except BaseException as error:
        return None, error


_here = threading.local()
_crews: dict[tuple[int, int], Crew] = {}
_crews_lock = renewed_by_fork(threading.Lock())


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


def on_idle_threads(function, *args):
    """``function(*args)``, on the threads that have no pass to work on.

    Parameters
    ----------
    function : callable
        Its result must have the same bits on any number of OpenMP threads.
    *args
        What it is given.

    Returns
    -------
    object
        What `function` returns.
    """
    crew = getattr(_here, "crew", None)
    n_threads = 1 if crew is None else crew.share()
    if n_threads == 1:
        return function(*args)
    # torch's own setter would also set the count of the user's later threads.
    for runtime in _openmp():
        runtime.set_num_threads(n_threads)
    try:
        return function(*args)
    finally:
        for runtime in _openmp():
            runtime.set_num_threads(1)


@functools.cache
def _openmp():
    """The OpenMP runtimes of this process; their counts are the calling thread's own."""
    runtimes = ThreadpoolController().select(internal_api="openmp")
    return runtimes.lib_controllers


def _single_threaded_workers(n_threads):
    """Pools of a thread whose torch thread count is one; the caller's stays as it was."""
    before = torch.get_num_threads()
    _openmp()  # looked for before threads load or compute anything

    def one_torch_thread():
        # Asking first makes torch set this thread up now. It would do so at its first
        # parallel operation otherwise, and take the caller's count again.
        torch.get_num_threads()
        torch.set_num_threads(1)

    workers = [
        ThreadPoolExecutor(
            1, thread_name_prefix="sklearn_llm2vec", initializer=one_torch_thread
        )
        for _ in range(n_threads)
    ]
    for ready in [worker.submit(int) for worker in workers]:
        ready.result()
    # torch keeps one number for threads yet to come beside each thread's own: without
    # this line it would stay one for every thread that the user starts later.
    torch.set_num_threads(before)
    return workers
