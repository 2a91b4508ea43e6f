"""The cache shared by threads and processes: nothing is lost, and locks hold."""

import multiprocessing
import threading
import warnings

import pytest
from numbered_vectors import can_fork, get, put

from sklearn_llm2vec import EmbeddingCache


def test_threads(cache):
    errors = []

    def work(n):
        try:
            for i in range(15):
                put(cache, range(n * 100 + i, n * 100 + i + 5))
                get(cache, range(0, 800, 3))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert all(get(cache, range(n * 100, n * 100 + 19)).all() for n in range(8))
    assert cache.verify()["ok"]


def test_threads_with_the_same_keys(cache):
    start, errors = threading.Barrier(8), []

    def work():
        try:
            start.wait()
            for i in range(0, 60, 6):
                put(cache, range(i, i + 6))
                assert get(cache, range(i + 6)).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    info = cache.info()
    assert (info["texts"], info["texts_encoded"]) == (60, 8 * 60)
    assert cache.verify() == {"checked": 480, "damaged": 0, "ok": True}


def open_and_put(folders, number, ready):
    warnings.simplefilter("error")
    for folder in folders:
        ready.wait(60)
        assert put(EmbeddingCache(folder), [number]) > 0


@can_fork
def test_processes_that_make_the_cache_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    folders = [tmp_path / str(n) for n in range(30)]
    ready = context.Barrier(6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        workers = [
            context.Process(target=open_and_put, args=(folders, n, ready))
            for n in range(6)
        ]
        for worker in workers:
            worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 6
    for folder in folders:
        assert get(EmbeddingCache(folder), range(6)).all()


def put_around(cache, opened, closed):
    put(cache, [1])
    opened.set()
    assert closed.wait(60)
    put(cache, [2])


@can_fork
def test_a_parent_that_closes_takes_nothing_from_its_child(cache):
    put(cache, [0])
    context = multiprocessing.get_context("fork")
    opened, closed = context.Event(), context.Event()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        worker = context.Process(target=put_around, args=(cache, opened, closed))
        worker.start()
    assert opened.wait(60)
    cache.close()
    closed.set()
    worker.join(60)
    assert worker.exitcode == 0
    assert get(cache, range(3)).all()
    assert cache.verify()["ok"]


def write(cache, start, ready):
    ready.wait()
    for i in range(start, start + 200, 10):
        put(cache, range(i, i + 10))


@pytest.mark.parametrize("method", ["spawn", pytest.param("fork", marks=can_fork)])
def test_processes_lose_nothing(cache, method):
    put(cache, [10**6])  # a connection is open when the children are made
    context = multiprocessing.get_context(method)
    ready = context.Event()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        workers = [
            context.Process(target=write, args=(cache, n * 200, ready))
            for n in range(3)
        ]
        for worker in workers:
            worker.start()
    ready.set()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert get(cache, range(600)).all()
    assert get(cache, [10**6]).all()
    assert cache.info()["texts_encoded"] == 601
    assert cache.verify()["ok"]


def hold(cache, held, release):
    with cache.encode_lock("s", "cpu"):
        held.set()
        release.wait()


def test_the_encode_lock_keeps_others_out(cache):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    worker = context.Process(target=hold, args=(cache, held, release))
    worker.start()
    assert held.wait(60)
    entered = threading.Event()

    def enter():
        with cache.encode_lock("s", "cpu"):
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.3)
    with cache.encode_lock("s", "cuda:0"), cache.encode_lock("t", "cpu"):
        pass  # others go on
    release.set()
    assert entered.wait(10)
    thread.join()
    worker.join()
