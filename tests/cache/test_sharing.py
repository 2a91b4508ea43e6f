"""The cache shared by threads and processes: nothing is lost, and locks hold."""

import multiprocessing
import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from numbered_vectors import can_fork, database, get, keys_of, put

from sklearn_llm2vec import EmbeddingCache
from sklearn_llm2vec._cache import database as database_module
from sklearn_llm2vec._cache import pool
from sklearn_llm2vec._cache.turns import Turn
from sklearn_llm2vec._common import waits


def in_threads(n, work):
    """Call ``work(0)`` to ``work(n - 1)`` at once, each in a thread of its own."""
    together = threading.Barrier(n)

    def start(number):
        together.wait(60)
        work(number)

    with ThreadPoolExecutor(n) as threads:
        list(threads.map(start, range(n)))  # raises what they raise


def test_threads(cache):
    def work(n):
        for i in range(15):
            put(cache, range(n * 100 + i, n * 100 + i + 5))
            get(cache, range(0, 800, 3))

    in_threads(8, work)
    assert all(get(cache, range(n * 100, n * 100 + 19)).all() for n in range(8))
    assert cache.verify()["ok"]


def test_threads_with_the_same_keys(cache):
    def work(_):
        for i in range(0, 60, 6):
            put(cache, range(i, i + 6))
            assert get(cache, range(i + 6)).all()

    in_threads(8, work)
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


# --- a database that is busy ---------------------------------------------------------


@pytest.mark.parametrize("later", ["get", "info"])
def test_a_look_up_waits_for_nobody_to_count(later, cache):
    put(cache, range(10))
    get(cache, range(4))
    used = cache.info()["spaces"][0]["last_used"]
    with database(cache) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        assert get(cache, range(12)).sum() == 10
        assert get(cache, range(3)).all()
        assert time.monotonic() - started < database_module.NOTICE_SECONDS / 2
        other.execute("UPDATE spaces SET last_used = 0")
        other.execute("COMMIT")
        counted = EmbeddingCache(cache.path).info()
        assert (counted["hits"], counted["misses"]) == (4, 0)
        assert counted["spaces"][0]["last_used"] < used
        if later == "get":
            get(cache, [0])
            counted = EmbeddingCache(cache.path).info()
        else:
            counted = cache.info()
        n_more = later == "get"
        assert (counted["hits"], counted["misses"]) == (4 + 10 + 3 + n_more, 2)
        assert counted["spaces"][0]["last_used"] >= used
    other.close()


def test_a_put_counts_what_a_look_up_left(cache):
    put(cache, range(10))
    with database(cache) as other:
        other.execute("BEGIN IMMEDIATE")
        get(cache, range(12))
        other.execute("COMMIT")
    other.close()
    put(cache, range(10, 12))
    info = cache.info()
    assert (info["hits"], info["misses"], info["texts_encoded"]) == (10, 2, 12)


@can_fork
def test_a_child_counts_nothing_of_its_parent(cache, monkeypatch):
    get(cache, range(5))  # there is no database yet
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a forked child
    put(cache, range(5))
    assert cache.info()["misses"] == 0


def test_a_wait_in_vain_changes_no_later_wait(cache, monkeypatch):
    monkeypatch.setattr(database_module, "NOTICE_SECONDS", 0.05)
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.1)
    put(cache, range(5))
    cache.close()
    with database(cache) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(UserWarning, match="Waiting for another process|be written"):
            assert put(cache, range(5, 9)) == 0
        get(cache, range(5))
        with cache._connections.using() as db:
            assert db.gave_up
            assert db.execute("PRAGMA busy_timeout").fetchone() == (100,)
        other.execute("COMMIT")
    other.close()


# --- turns ---------------------------------------------------------------------------


@pytest.fixture
def quick_waits(monkeypatch):
    for name, seconds in (("NOTICE", 1), ("SILENCE", 1.5), ("SIGN", 0.05)):
        monkeypatch.setattr(waits, f"{name}_SECONDS", seconds)


def refuse(error):
    raise error


def wait_for_turn(path):
    """Seconds until another had its turn, or was no longer waited for."""
    started = time.monotonic()
    with Turn(path, refuse):
        return time.monotonic() - started


@pytest.mark.parametrize("hours_behind", [-1, 1])
def test_a_holder_on_a_disk_with_another_clock(
    hours_behind, tmp_path, quick_waits, monkeypatch
):
    utime = os.utime

    def set_by_other_clock(path):
        now = time.time() - 3600 * hours_behind
        utime(path, (now, now))

    monkeypatch.setattr(os, "utime", set_by_other_clock)
    holder = Turn(tmp_path / "lock", refuse).__enter__()
    threading.Timer(2, holder.__exit__).start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert wait_for_turn(tmp_path / "lock") > 1.6


def test_a_silent_holder_is_waited_for_once(tmp_path, quick_waits, monkeypatch):
    monkeypatch.setattr(waits, "PATIENCE_SECONDS", 0)
    with Turn(tmp_path / "lock", refuse):
        with pytest.warns(UserWarning, match="no sign of life"):
            assert wait_for_turn(tmp_path / "lock") > 1.5
        with pytest.warns(UserWarning, match="no sign of life"):
            assert wait_for_turn(tmp_path / "lock") < 1.4
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its turn is over
        assert wait_for_turn(tmp_path / "lock") < 0.9


def test_a_thread_that_hangs_beside_one_that_works(tmp_path, quick_waits, monkeypatch):
    # Both are threads of this process: each has to make progress of its own.
    monkeypatch.setattr(waits, "PATIENCE_SECONDS", 0.3)
    ended = threading.Event()

    def work():
        with Turn(tmp_path / "works", refuse) as turn:
            while not ended.wait(0.05):
                turn.progress()

    thread = threading.Thread(target=work)
    thread.start()
    with Turn(tmp_path / "hangs", refuse):
        with pytest.warns(UserWarning, match="no sign of life"):
            assert wait_for_turn(tmp_path / "hangs") < 5
    threading.Timer(2, ended.set).start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert wait_for_turn(tmp_path / "works") > 1.6
    thread.join()


@pytest.fixture
def cleared_in_use(cache, monkeypatch):
    """A cache that another thread clears while its next connection is in use."""
    put(cache, range(50))
    original, others = pool.lent, iter([EmbeddingCache(cache.path)])

    @contextmanager
    def lent(opened):
        with original(opened) as db:
            for other in others:
                assert db is not None
                other.clear()
                put(other, [7])
                db.execute("PRAGMA shrink_memory")  # what it has read is read again
            yield db

    monkeypatch.setattr(pool, "lent", lent)
    return cache


not_on_windows = pytest.mark.skipif(
    os.name == "nt", reason="an open file can't be replaced on Windows"
)


@not_on_windows
@pytest.mark.parametrize(
    "ask, answer",
    [
        (lambda cache: cache.verify(), {"checked": 1, "damaged": 0, "ok": True}),
        (lambda cache: cache.info()["texts"], 1),
        (lambda cache: cache.info()["hits"], 0),
        (lambda cache: cache.size_limit - cache.room(), 36),
        (lambda cache: cache.prune(max_bytes=0), 36),
        (lambda cache: cache.prune(max_bytes=36), 0),
    ],
    ids=["verify", "texts", "counters", "room", "prune_all", "prune_nothing"],
)
def test_answers_are_of_the_new_file_when_another_clears(ask, answer, cleared_in_use):
    assert ask(cleared_in_use) == answer


@not_on_windows
@pytest.mark.parametrize("look", [get, lambda cache, n: cache.has_any("s", keys_of(n))])
def test_a_look_up_while_another_clears_finds_nothing_and_warns_of_nothing(
    look, cleared_in_use
):
    assert not look(cleared_in_use, range(20)).any()
    assert look(cleared_in_use, range(20)).sum() == 1


@not_on_windows
def test_nothing_that_is_written_while_another_clears_is_lost(cleared_in_use):
    assert put(cleared_in_use, range(100, 110)) == 360
    assert get(cleared_in_use, [7, *range(100, 110)]).all()


@not_on_windows
def test_a_note_that_is_written_while_another_clears_stays(cleared_in_use):
    cleared_in_use.describe("s", {"model": "tiny"})
    assert [space["note"] for space in cleared_in_use.info()["spaces"]] == [
        {"model": "tiny"}
    ]


@not_on_windows
def test_an_export_while_another_clears_holds_the_new_file(cleared_in_use, tmp_path):
    cleared_in_use.export(tmp_path / "exported")
    other = EmbeddingCache(tmp_path / "other")
    assert other.import_(tmp_path / "exported") == 1
    assert get(other, [7]).all()


@pytest.fixture
def exported(tmp_path):
    cache = EmbeddingCache(tmp_path / "other")
    put(cache, range(100, 110))
    cache.export(tmp_path / "exported")
    return tmp_path / "exported"


@not_on_windows
def test_an_import_while_another_clears_is_whole(exported, cleared_in_use):
    assert cleared_in_use.import_(exported) == 10
    assert get(cleared_in_use, [7, *range(100, 110)]).all()


def test_a_check_while_another_prunes_finds_no_damage(cache):
    put(cache, range(3))
    asked = []

    def remove(query):
        if "SELECT space_id, row, key FROM rows" in query:
            asked.append(query)
            with closing(database(cache)) as other:
                other.execute("DELETE FROM rows")

    with cache._connections.using() as db:
        db.set_trace_callback(remove)
    assert cache.verify() == {"checked": 3, "damaged": 0, "ok": True}
    assert asked
    assert not get(cache, range(3)).any()


@not_on_windows
def test_counters_outlive_many_clears_at_once(tmp_path):
    put(EmbeddingCache(tmp_path), range(10))

    def clear(_):
        cache = EmbeddingCache(tmp_path)
        for _ in range(5):
            cache.clear()

    in_threads(4, clear)
    assert EmbeddingCache(tmp_path).info()["texts_encoded"] == 10
