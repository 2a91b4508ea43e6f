"""Forked children work at once; finished threads and many caches leave nothing open."""

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from sklearn_llm2vec import EmbeddingCache
from sklearn_llm2vec._cache import connections, pool
from sklearn_llm2vec._cache.database import transaction
from sklearn_llm2vec._common import facts

can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="no list of open files here"
)
CELL = (3, "mean")


def key_of(number):
    return [int(number).to_bytes(16, "big")]


def put(cache, number):
    return cache.put_many("s", key_of(number), {CELL: np.full((1, 8), number, "f4")})


def get(cache, number):
    out = np.zeros((1, 8), "f4")
    found = cache.get_many("s", key_of(number), *CELL, out)
    assert not found.any() or (out == number).all()
    return bool(found.all())


def in_child(work):
    """Run a function in a forked child: what it returned, None where it took too long."""
    here, there = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        answer = b"1"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                answer = b"0" if work() else b"1"
        finally:
            os.write(there, answer)
            os._exit(0)
    os.close(there)
    deadline = time.monotonic() + 20
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            os.close(here)
            return None
        time.sleep(0.01)
    answer = os.read(here, 1)
    os.close(here)
    return answer == b"0"


@can_fork
def test_forks_while_other_threads_write_and_read(cache):
    put(cache, 0)
    ended, errors = threading.Event(), []

    def work(start):
        number = start
        try:
            while not ended.is_set():
                number += 1
                assert put(cache, number)
                assert get(cache, number)
                facts.remember(f"{number}", lambda: 1, cache.path)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n * 10**6,)) for n in (1, 2)]
    for thread in threads:
        thread.start()

    def use(n):
        facts.remember(f"of child {n}", lambda: 1, cache.path)
        return put(cache, n) and get(cache, n) and get(cache, 0)

    try:
        results = [in_child(lambda n=n: use(n)) for n in range(1, 30)]
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert results == [True] * 29
    assert all(get(cache, n) for n in range(30))
    assert cache.verify()["ok"]


@can_fork
def test_a_fork_inside_a_transaction_of_the_same_thread(cache):
    put(cache, 1)
    with cache._connections.using() as db, transaction(db):
        # The child inherits the lock of its parent, which it can't release: it doesn't
        # wait for it, and reads what it can.
        started = time.monotonic()
        with pytest.warns(UserWarning, match="can't be written"):
            child = in_child_that_warns(lambda: put(cache, 2))
        assert child == 0
        assert time.monotonic() - started < 20
    assert put(cache, 3)
    assert cache.verify()["ok"]


def in_child_that_warns(work):
    """As `in_child`, but the child's warnings are repeated here."""
    here, there = multiprocessing.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                result = work()
            there.send((result, [str(one.message) for one in told]))
        finally:
            os._exit(0)
    assert here.poll(20)
    result, told = here.recv()
    os.waitpid(pid, 0)
    for message in told:
        warnings.warn(message, stacklevel=2)
    return result


@can_fork
def test_a_fork_waits_for_no_thread_for_ever(cache, monkeypatch):
    monkeypatch.setattr(pool, "FORK_SECONDS", 0.2)
    put(cache, 1)
    held, release = threading.Event(), threading.Event()

    def hold():
        with cache._connections.using() as db, transaction(db):
            held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    started = time.monotonic()
    with pytest.warns(UserWarning, match="can't be written"):
        assert in_child_that_warns(lambda: put(cache, 2)) == 0
    assert time.monotonic() - started < 20
    release.set()
    thread.join()
    assert put(cache, 3)
    assert get(cache, 1)


def test_two_threads_that_fork_at_once(monkeypatch):
    """Nobody starts to use a cache between the end of one fork and the other's."""
    used, release, entered = (threading.Event() for _ in range(3))

    def use():
        with pool.in_use():
            used.set()
            release.wait(60)

    def fork():
        pool._before_fork()
        pool._after_fork_in_parent()

    def enter():
        with pool.in_use():
            entered.set()

    threads = [threading.Thread(target=work) for work in (use, fork, enter)]
    user, second, newcomer = threads
    user.start()
    assert used.wait(60)
    second.start()  # waits for the user, and longer than this thread does
    while not pool._forking:
        time.sleep(0.01)
    with pool._changed:  # once it waits
        monkeypatch.setattr(pool, "FORK_SECONDS", 0.1)
    fork()
    newcomer.start()
    assert not entered.wait(0.3)
    release.set()
    assert entered.wait(5)
    for thread in threads:
        thread.join()
    assert pool._forking == 0


def test_no_connection_of_the_parent_is_idle_in_a_child(monkeypatch):
    def opened(number):
        return pool.Opened(None, Path("file"), (0, number), False, 0.0)

    state = {"_used": [opened(1)], "_idle": [opened(2)], "_inherited": []}
    state |= {"_users": {7: 1}, "_in_doubt": set(), "_forking": 2, "_changed": None}
    for name, value in state.items():
        monkeypatch.setattr(pool, name, value)
    # The second stayed open because Ctrl-C was pressed before it was closed.
    pool._after_fork_in_child()
    assert (pool._used, pool._idle, pool._users, pool._forking) == ([], [], {}, 0)
    assert [one.identity for one in pool._inherited] == [(0, 1), (0, 2)]
    assert pool._in_doubt == {(0, 1), (0, 2)}


def test_a_fork_waits_until_a_database_is_replaced(cache, monkeypatch):
    put(cache, 1)
    users = []
    original = connections.folder_lock

    def noting(*args, **kwargs):
        users.append(threading.get_ident() in pool._users)
        return original(*args, **kwargs)

    monkeypatch.setattr(connections, "folder_lock", noting)
    cache.clear()
    assert users
    assert all(users)


def test_a_connection_that_cant_be_closed_costs_nothing(cache):
    class Full(connections.sqlite3.Connection):
        def close(self):
            super().close()
            raise connections.sqlite3.OperationalError("database or disk is full")

    put(cache, 1)
    with cache._connections.using() as db:
        ours = pool.opened_of(db)
        full = connections.sqlite3.connect(
            ours.file, factory=Full, isolation_level=None
        )
        pool.add(ours._replace(db=full))
        full.execute("BEGIN")
        pool.give_back(pool.opened_of(full))
    assert full not in [one.db for one in (*pool._used, *pool._idle)]
    assert get(cache, 1)


@needs_proc
def test_many_caches_hold_few_files(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    caches = [EmbeddingCache(tmp_path / str(n)) for n in range(300)]
    for number, cache in enumerate(caches):
        put(cache, number)
    assert len(os.listdir("/proc/self/fd")) - before <= 3 * pool.MOST_IDLE + 2
    assert all(get(cache, number) for number, cache in enumerate(caches))
    assert len(os.listdir("/proc/self/fd")) - before <= 3 * pool.MOST_IDLE + 2


@needs_proc
def test_finished_threads_leave_nothing_open(cache):
    put(cache, 0)
    before = len(os.listdir("/proc/self/fd"))
    together = threading.Barrier(20)

    def work(number):
        together.wait()
        put(cache, number)
        get(cache, number)

    for start in (0, 100):
        threads = [threading.Thread(target=work, args=(start + n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    gc.collect()
    assert len(pool._idle) <= pool.MOST_IDLE
    assert not pool._used
    cache.close()
    assert not any(one.file.parent == cache.path for one in pool._idle)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_no_connection_is_left_to_the_garbage_collector(tmp_path):
    # Python 3.13 warns of each. Here they are counted by a class of our own.
    code = f"""
import sqlite3, threading
from sklearn_llm2vec._cache import database

left = []

class Counting(database._Connection):
    closed = False

    def close(self):
        self.closed = True
        super().close()

    def __del__(self):
        if not self.closed:
            print("left open")

database._Connection = Counting
exec({CODE_OF_USERS!r})
use({str(tmp_path)!r})
"""
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


CODE_OF_USERS = """
import numpy as np
from sklearn_llm2vec import EmbeddingCache

def use(folder):
    def work(n):
        cache = EmbeddingCache(f"{folder}/{n % 12}")
        cells = {(1, "mean"): np.ones((1, 4), "f4")}
        cache.put_many("s", [n.to_bytes(16, "big")], cells)
        cache.verify()
        if n % 3 == 0:
            cache.clear()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
