"""The cache: bytes kept, faults survived, processes side by side."""

import copy
import json
import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from datetime import timedelta
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._cache import connections
from sklearn_llm2vec._cache import store as module
from sklearn_llm2vec._cache.connections import FILE
from sklearn_llm2vec._common import places as place_module

MEAN = (3, "mean")


def keys_of(numbers):
    return [int(n).to_bytes(16, "big") for n in numbers]


def vectors_of(numbers, dim=8):
    """Vectors that follow from their numbers."""
    return np.outer(np.asarray(numbers) + 1, np.arange(1, dim + 1)).astype("f4") / 7


def put(cache, numbers, space="s", cells=(MEAN,), dim=8):
    vectors = vectors_of(numbers, dim)
    return cache.put_many(space, keys_of(numbers), {cell: vectors for cell in cells})


def get(cache, numbers, space="s", cell=MEAN, dim=8, **kwargs):
    out = np.full((len(numbers), dim), -1, "f4")
    found = cache.get_many(space, keys_of(numbers), *cell, out, **kwargs)
    np.testing.assert_array_equal(out[found], vectors_of(numbers, dim)[found])
    assert (out[~found] == -1).all()
    return found


@pytest.fixture
def cache(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    yield cache
    cache.close()


can_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork here"
)


def database(cache):
    return sqlite3.connect(cache.path / FILE, isolation_level=None)


# --- what comes back -----------------------------------------------------------------


def test_nothing_is_made_before_the_first_put(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    assert cache.info()["texts"] == 0
    assert not get(cache, [1, 2]).any()
    assert not cache.has_any("s", keys_of([1])).any()
    assert cache.verify() == {"checked": 0, "damaged": 0, "ok": True}
    assert cache.prune(max_bytes=0) == 0
    cache.clear()
    assert not cache.path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_what_was_written_isnt_held_in_memory(cache):
    def anonymous():
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("RssAnon:")[2].split()[0])

    put(cache, range(90_000, 92_000), dim=512)
    before = anonymous()
    for block in range(60):  # of 2 MB; SQLite's own page cache has 16 MB
        put(cache, range(1000 * block, 1000 * block + 1000), dim=512)
    assert anonymous() - before < 40e6


def test_every_bit_comes_back(cache):
    odd = np.array([[np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38, 1 / 3, 0]], "f4")
    cache.put_many("s", keys_of([5]), {MEAN: odd})
    out = np.zeros_like(odd)
    assert cache.get_many("s", keys_of([5]), *MEAN, out).all()
    assert out.tobytes() == odd.tobytes()


def test_what_is_there_and_what_is_not(cache):
    put(cache, range(10))
    assert get(cache, [3, 99, 0, 3]).tolist() == [True, False, True, True]
    assert not get(cache, [3], space="other").any()
    assert not get(cache, [3], cell=(3, "max")).any()
    assert not get(cache, [3], cell=(2, "mean")).any()
    assert cache.has_any("s", keys_of([3, 99])).tolist() == [True, False]
    assert get(cache, []).shape == (0,)


def test_a_text_in_two_blocks(cache):
    put(cache, range(4))
    put(cache, [2, 3, 4], cells=[MEAN, (0, "last"), (1, "max")])
    assert get(cache, range(6)).tolist() == [True] * 5 + [False]
    assert get(cache, range(6), cell=(0, "last")).tolist() == [False] * 2 + [
        True,
        True,
        True,
        False,
    ]
    info = cache.info()
    assert (info["texts"], info["vectors"], info["texts_encoded"]) == (5, 5 + 3 + 3, 7)
    assert info["spaces"][0]["cells"] == [(0, "last"), (1, "max"), (3, "mean")]


def test_more_keys_than_are_looked_up_at_a_time(cache, monkeypatch):
    monkeypatch.setattr(module, "KEYS_AT_A_TIME", 7)
    for start in range(0, 60, 12):
        put(cache, range(start, start + 12))
    order = np.random.default_rng(0).permutation(80)
    np.testing.assert_array_equal(get(cache, order), order < 60)
    np.testing.assert_array_equal(cache.has_any("s", keys_of(order)), order < 60)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 30), min_size=1, max_size=8, unique=True),
            st.sampled_from([("s", MEAN), ("s", (0, "max")), ("t", MEAN)]),
        ),
        max_size=10,
    )
)
def test_any_sequence_of_puts(puts):
    with tempfile.TemporaryDirectory() as folder, EmbeddingCache(folder) as cache:
        there = {}
        for numbers, (space, cell) in puts:
            put(cache, numbers, space, [cell])
            there.setdefault((space, cell), set()).update(numbers)
        for (space, cell), numbers in there.items():
            found = get(cache, range(31), space, cell)
            assert set(np.flatnonzero(found)) == numbers
        assert cache.verify()["ok"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.binary(min_size=16, max_size=16),
            st.binary(min_size=12, max_size=12),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_bytes_come_back_the_latest_put_first(puts):
    with tempfile.TemporaryDirectory() as folder, EmbeddingCache(folder) as cache:
        for vectors in puts:
            bits = np.frombuffer(b"".join(vectors.values()), "<f4").reshape(-1, 3)
            cache.put_many("s", list(vectors), {MEAN: bits})
        latest = {key: bits for vectors in puts for key, bits in vectors.items()}
        out = np.zeros((len(latest), 3), "f4")
        assert cache.get_many("s", list(latest), *MEAN, out).all()
        assert out.tobytes() == b"".join(latest.values())
        # Bytes are kept as they are, but a vector that isn't finite is no sound one.
        every = [np.frombuffer(b, "<f4") for vectors in puts for b in vectors.values()]
        assert cache.verify()["ok"] or not np.isfinite(every).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 65504.0])
def test_half_precision_keeps_what_it_can_hold(tmp_path, value):
    cache = EmbeddingCache(tmp_path, storage="float16")
    odd = np.array([[value, 1, 2, 3]], "f4")
    assert cache.put_many("s", keys_of([0]), {MEAN: odd}) == 4 * 2 + 4
    out = np.ones_like(odd)
    assert cache.get_many("s", keys_of([0]), *MEAN, out).all()
    np.testing.assert_array_equal(out, odd)
    assert (np.signbit(out) == np.signbit(odd)).all()


def test_half_precision_gives_way_to_one_large_value(tmp_path):
    cache = EmbeddingCache(tmp_path, storage="float16")
    mixed = np.array([[np.inf, 1, 2, 3], [1, -1e5, 1 / 3, np.nan]], "f4")
    assert cache.put_many("s", keys_of([0, 1]), {MEAN: mixed}) == 2 * (4 * 4 + 4)
    out = np.zeros_like(mixed)
    assert cache.get_many("s", keys_of([0, 1]), *MEAN, out).all()
    assert out.tobytes() == mixed.tobytes()
    assert cache.verify()["damaged"] == 2  # neither is finite


def test_half_precision(tmp_path):
    cache = EmbeddingCache(tmp_path, storage="float16")
    vectors = np.random.default_rng(0).normal(size=(5, 8)).astype("f4")
    n_bytes = cache.put_many("s", keys_of(range(5)), {MEAN: vectors})
    assert n_bytes == 5 * (8 * 2 + 4)
    out = np.zeros_like(vectors)
    cache.get_many("s", keys_of(range(5)), *MEAN, out)
    np.testing.assert_array_equal(out, vectors.astype("f2").astype("f4"))
    large = vectors * 1e6  # would overflow
    cache.put_many("s", keys_of(range(5, 10)), {MEAN: large})
    cache.get_many("s", keys_of(range(5, 10)), *MEAN, out)
    np.testing.assert_array_equal(out, large)
    assert cache.verify()["ok"]


# --- looking after it ----------------------------------------------------------------


def test_counters_live_as_long_as_the_file(cache):
    put(cache, range(10))
    get(cache, range(15))
    get(cache, range(15), count=False)
    code = f"""
import json, numpy as np
from sklearn_llm2vec import EmbeddingCache
cache = EmbeddingCache({str(cache.path)!r})
keys = [(0).to_bytes(16, "big")]
cache.get_many("s", keys, 3, "mean", np.zeros((1, 8), "f4"))
print(json.dumps(cache.info()))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    info = json.loads(told.stdout)
    assert (info["hits"], info["misses"], info["texts_encoded"]) == (11, 5, 10)
    assert cache.info()["hits"] == 11


def test_misses_of_an_empty_cache_count_too(cache):
    get(cache, range(5))
    assert not cache.path.exists()  # nothing is written to look something up
    put(cache, range(5))
    get(cache, range(6))
    info = cache.info()
    assert (info["hits"], info["misses"], info["texts_encoded"]) == (5, 6, 5)


def test_notes(cache):
    put(cache, [1])
    cache.describe("s", {"model": "m", "torch": "1"})
    cache.describe("s", {"torch": "2"})
    assert cache.info()["spaces"][0]["note"] == {"model": "m", "torch": "2"}


def test_prune_by_space_age_and_size(cache):
    for n, space in enumerate("abc"):
        put(cache, range(100), space=space)
        time.sleep(0.01 * n)
    get(cache, [0], space="a")  # a is used last now
    one = cache.info()["bytes"] // 3
    assert cache.prune(max_bytes=2 * one) == one
    assert get(cache, [0], space="b", count=False).tolist() == [False]
    assert get(cache, [0], space="a", count=False).tolist() == [True]
    assert cache.prune(older_than=timedelta(hours=1)) == 0
    assert cache.prune(space="c") == one
    assert cache.prune(older_than=timedelta(0)) == one
    assert cache.info()["bytes"] == cache.info()["vectors"] == 0
    with pytest.raises(ValueError, match="must be told what goes"):
        cache.prune()
    with pytest.raises(TypeError, match="'older_than' parameter.*Got 3 instead"):
        cache.prune(older_than=3)


def test_clear_shrinks_the_file_and_keeps_the_counters(cache):
    put(cache, range(2000), dim=64)
    before = cache.info()["file_bytes"]
    cache.clear()
    assert cache.info()["file_bytes"] < before / 4
    assert cache.info()["texts_encoded"] == 2000
    put(cache, [1])
    assert get(cache, [1]).all()


def test_the_space_used_longest_ago_goes_first(tmp_path):
    block = 100 * (8 * 4 + 4)
    cache = EmbeddingCache(tmp_path, size_limit=3 * block)
    for space in "abc":
        put(cache, range(100), space=space)
    get(cache, [0], space="a")
    assert cache.room() == 0
    with pytest.warns(UserWarning, match=f"the {block:,} bytes used longest ago"):
        put(cache, range(100, 200), space="a")
    there = [get(cache, [0], space=s).all() for s in "abc"]
    assert there == [True, False, True]
    with pytest.warns(UserWarning, match="size_limit"):  # larger than all: still kept
        put(cache, range(1000), space="d")
    assert get(cache, range(1000), space="d").all()
    assert cache.verify()["ok"]


def test_export_and_import(cache, tmp_path):
    put(cache, range(50), cells=[MEAN, (0, "max")])
    put(cache, range(30), space="t")
    cache.describe("s", {"model": "m"})
    cache.export(tmp_path / "copy")
    with pytest.raises(FileExistsError):
        cache.export(tmp_path / "copy")
    other = EmbeddingCache(tmp_path / "other")
    put(other, range(10), space="t")
    assert other.import_(tmp_path / "copy") == 80
    assert other.import_(tmp_path / "copy") == 0
    assert get(other, range(50), cell=(0, "max")).all()
    assert get(other, range(30), space="t").all()
    assert other.info()["spaces"][1]["note"] == {"model": "m"}
    assert other.verify()["ok"]
    with pytest.raises(FileNotFoundError):
        other.import_(tmp_path / "nothing")


@pytest.mark.parametrize(
    "how", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_a_copy_is_the_same_place(cache, how):
    put(cache, range(5))
    other = how(cache)
    assert other == cache
    assert hash(other) == hash(cache)
    assert other is not cache
    assert get(other, range(5)).all()
    assert len(pickle.dumps(cache)) < 500
    assert other != EmbeddingCache(cache.path, storage="float16")
    assert eval(repr(cache)) == cache


@pytest.mark.parametrize(
    "params", [{"storage": "int8"}, {"size_limit": 0}, {"size_limit": "20GB"}]
)
def test_bad_settings(tmp_path, params):
    ((name, value),) = params.items()
    with pytest.raises(ValueError, match=f"'{name}' parameter.*Got {value!r} instead"):
        EmbeddingCache(tmp_path, **params).info()


def test_joblib_takes_equal_caches_for_one(cache):
    put(cache, range(5))
    again = EmbeddingCache(cache.path)
    assert joblib.hash(cache) == joblib.hash(again)
    assert joblib.hash(cache) != joblib.hash(
        EmbeddingCache(cache.path, storage="float16")
    )
    with tempfile.TemporaryDirectory() as folder:
        joblib.dump(cache, os.path.join(folder, "cache"))
        other = joblib.load(os.path.join(folder, "cache"))
    assert other == cache
    assert get(other, range(5)).all()


def test_verify_finds_vectors_that_arent_finite(cache):
    vectors = vectors_of([1, 2, 3])
    vectors[1, 2] = np.nan
    cache.put_many("s", keys_of([1, 2, 3]), {MEAN: vectors})
    found = cache.verify()
    assert (found["checked"], found["damaged"]) == (3, 1)


def test_verify_a_sample(cache):
    for start in range(0, 50, 10):
        put(cache, range(start, start + 10))
    assert cache.verify(2) == {"checked": 20, "damaged": 0, "ok": True}
    assert cache.verify(99)["checked"] == 50


def test_prune_takes_the_first_digits_of_a_space(cache):
    put(cache, range(3), space="abc1")
    put(cache, range(3), space="abd1")
    assert cache.prune(space="abc") == 3 * (8 * 4 + 4)
    assert [s["fingerprint"] for s in cache.info()["spaces"]] == ["abd1"]
    assert get(cache, range(3), space="abd1").all()
    assert cache.verify()["ok"]


# --- faults --------------------------------------------------------------------------


def test_damaged_rows_are_told_and_never_returned(cache):
    put(cache, range(10))
    with database(cache) as db:
        ((data,),) = db.execute("SELECT data FROM cells").fetchall()
        damaged = bytearray(data)
        damaged[4 * 8 * 4 + 1] ^= 1  # in row 4
        db.execute("UPDATE cells SET data = ?", (bytes(damaged),))
    db.close()
    with pytest.warns(UserWarning, match="1 damaged rows.*were not used"):
        found = get(cache, range(10))
    assert np.flatnonzero(~found).tolist() == [4]
    assert cache.verify() == {"checked": 10, "damaged": 1, "ok": False}


def test_damaged_pages_cost_no_more_than_the_rows(cache):
    put(cache, range(3000), dim=64)
    cache.close()
    path = cache.path / FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 9000] = bytes(9000)
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = get(cache, range(3000), dim=64)
    assert told
    assert not found.all()


@pytest.mark.parametrize(
    "content", [b"garbage" * 1000, b"SQLite format 3\0" + b"x" * 999]
)
def test_garbage_is_left_alone(cache, content):
    cache.path.mkdir()
    (cache.path / FILE).write_bytes(content)
    for use in (lambda: put(cache, [1]), lambda: get(cache, [1]), cache.info):
        with pytest.raises(
            ValueError, match="must be the database of an EmbeddingCache"
        ):
            use()
    assert (cache.path / FILE).read_bytes() == content


@pytest.mark.parametrize("version", [0, 1])
def test_another_programs_database_is_left_alone(cache, version):
    cache.path.mkdir()
    with database(cache) as db:
        db.execute("CREATE TABLE mine (a)")
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    before = (cache.path / FILE).read_bytes()
    for use in (lambda: put(cache, [1]), lambda: get(cache, [1]), cache.info):
        with pytest.raises(ValueError, match="another program's"):
            use()
    assert (cache.path / FILE).read_bytes() == before
    assert os.listdir(cache.path) == [FILE]


def test_a_newer_format(cache):
    put(cache, [1])
    cache.close()
    with database(cache) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = (cache.path / FILE).read_bytes()
    for use in (lambda: put(cache, [1]), lambda: get(cache, [1]), cache.info):
        with pytest.raises(ValueError, match="Got format 99, of a newer sklearn-llm2v"):
            use()
    assert (cache.path / FILE).read_bytes() == before


def test_import_refuses_another_programs_database(cache, tmp_path):
    put(cache, [1])
    with sqlite3.connect(tmp_path / "other") as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    with pytest.raises(ValueError, match="another program's"):
        cache.import_(tmp_path / "other")
    assert get(cache, [1]).all()


@pytest.mark.parametrize("inside", [False, True])
def test_a_path_that_is_a_file(tmp_path, inside):
    path = tmp_path / "file"
    path.write_text("mine")
    cache = EmbeddingCache(path / "cache" if inside else path)
    with pytest.raises(ValueError, match="must be a folder"):
        put(cache, [1])
    assert path.read_text() == "mine"


def test_a_full_disk_costs_the_caching_only(cache):
    put(cache, range(10))
    db = cache._connection(create=True)
    ((pages,),) = db.execute("PRAGMA page_count").fetchall()
    db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.warns(
        UserWarning, match="can't be written.*full.*Results are the same"
    ):
        assert put(cache, range(10, 5000)) == 0
    assert put(cache, range(10, 5000)) == 0  # told once
    assert get(cache, range(20)).tolist() == [True] * 10 + [False] * 10
    assert cache.verify()["ok"]


@pytest.mark.skipif(os.name == "nt", reason="no limit on file sizes")
@pytest.mark.parametrize("n_rows", [100, 20_000])  # told at COMMIT, or before it
def test_a_disk_that_was_full_is_written_again(cache, n_rows):
    put(cache, range(10))
    cache.close()
    code = f"""
import resource, warnings, numpy as np
from sklearn_llm2vec import EmbeddingCache
cache = EmbeddingCache({str(cache.path)!r})
keys = [n.to_bytes(16, "big") for n in range({n_rows})]
cells = {{(0, "max"): np.ones(({n_rows}, 64), "f4")}}
cache.has_any("s", keys)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, unlimited[1]))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    assert cache.put_many("s", keys, cells) == 0
    assert cache.put_many("s", keys, cells) == 0
assert len(told) == 1 and "can't be written" in str(told[0].message), told
assert cache.has_any("s", keys).sum() == 10
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
assert cache.put_many("s", keys, cells) > 0
assert cache.has_any("s", keys).all()
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert get(cache, range(12)).tolist() == [True] * 10 + [False] * 2
    assert cache.verify() == {"checked": 10 + n_rows, "damaged": 0, "ok": True}


@pytest.mark.parametrize("call", ["get_many", "has_any"])
def test_ctrl_c_while_reading_leaves_the_connection_usable(cache, call):
    put(cache, range(5))

    class Interrupted(list):
        def __iter__(self):
            yield self[0]
            raise KeyboardInterrupt

        def __getitem__(self, part):
            return Interrupted(super().__getitem__(part)) if part != 0 else b"0" * 16

    keys = Interrupted(keys_of(range(5)))
    rest = (*MEAN, np.zeros((5, 8), "f4")) if call == "get_many" else ()
    with pytest.raises(KeyboardInterrupt):
        getattr(cache, call)("s", keys, *rest)
    assert get(cache, range(5)).all()
    assert put(cache, range(5, 9)) > 0


def test_a_block_replaced_while_it_is_read(cache, monkeypatch):
    put(cache, range(10))
    original = module.read_places

    def replaced(*args):
        # Another process clears and writes others, which get the same ids.
        with database(cache) as db:
            for table in ("cells", "rows", "blocks", "spaces"):
                db.execute(f"DELETE FROM {table}")
        db.close()
        thread = threading.Thread(target=put, args=(cache, range(50, 60)))
        thread.start()
        thread.join()
        return original(*args)

    with monkeypatch.context() as patched:
        patched.setattr(module, "read_places", replaced)
        get(cache, range(10))  # compares what was found
    assert get(cache, range(50, 60)).all()
    assert not get(cache, range(10)).any()
    assert cache.verify()["ok"]


def test_a_place_that_cant_be_written(cache, monkeypatch):
    def refuse(*args, **kwargs):
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(connections, "connect", refuse)
    with pytest.warns(UserWarning, match="can't be written"):
        assert put(cache, [1]) == 0
    with cache.encode_lock("s", "cpu"):
        assert not get(cache, [1]).any()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_still_read(cache):
    put(cache, range(5))
    cache.close()
    cache.path.chmod(0o500)
    (cache.path / FILE).chmod(0o400)
    try:
        other = EmbeddingCache(cache.path)
        with pytest.warns(UserWarning, match="can't be written"):
            assert get(other, range(5)).all()
        assert put(other, [9]) == 0
    finally:
        cache.path.chmod(0o700)


def test_a_folder_that_was_removed_is_made_again(cache):
    import shutil

    put(cache, range(5))
    shutil.rmtree(cache.path)
    assert not get(cache, range(5)).any()
    put(cache, range(3))
    assert get(cache, range(5)).tolist() == [True] * 3 + [False] * 2


# --- threads and processes -----------------------------------------------------------


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


def write_forever(cache, told):
    for i in range(0, 10**6, 20):
        put(cache, range(i, i + 20), dim=384)
        told.send(i)


def test_kill_9_loses_no_row_that_was_written(cache):
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        here, there = context.Pipe(duplex=False)
        worker = context.Process(target=write_forever, args=(cache, there))
        worker.start()
        last = here.recv()
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            last = here.recv()
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        while here.poll():
            last = here.recv()
        assert last > 0
        assert get(cache, range(last + 20), dim=384).all()
        assert cache.verify()["ok"]


def test_a_damaged_index_leads_to_no_wrong_vector(cache):
    put(cache, range(10), cells=[MEAN, (1, "mean")])
    with database(cache) as db:
        db.execute("UPDATE rows SET row = 9 - row")
    db.close()
    with pytest.warns(UserWarning, match="10 damaged rows"):
        assert not get(cache, range(10)).any()
    assert not cache.verify()["ok"]


def test_a_cell_under_another_name_is_not_returned(cache):
    put(cache, range(10))
    with database(cache) as db:
        db.execute("UPDATE cells SET layer = 2")
    db.close()
    with pytest.warns(UserWarning, match="10 damaged rows"):
        assert not get(cache, range(10), cell=(2, "mean")).any()


def test_numpy_layers_and_prefixes_are_taken_as_they_are(cache):
    put(cache, [1], space="a_b", cells=[(np.int64(3), "mean")])
    put(cache, [1], space="axb")
    assert get(cache, [1], space="a_b", cell=(np.int64(3), "mean")).all()
    cache.prune(space="a_b")
    assert get(cache, [1], space="axb").all()
    with pytest.raises(ValueError, match="must be told what goes"):
        cache.prune(space="")


def test_too_few_vectors_are_refused(cache):
    with pytest.raises(ValueError, match="one vector for each of 4 keys. Got 3"):
        cache.put_many("s", keys_of(range(4)), {MEAN: vectors_of(range(3))})


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert EmbeddingCache("here").path == tmp_path / "here"


def test_a_folder_that_another_process_filled_anew(cache):
    import shutil

    put(cache, range(5))
    shutil.rmtree(cache.path)
    put(EmbeddingCache(cache.path), [7])
    assert get(cache, [7]).all()
    put(cache, range(3))
    assert EmbeddingCache(cache.path).info()["texts"] == 4


# --- several hosts ---------------------------------------------------------------------

MOUNTS = """\
/dev/sda / ext4 rw 0 0
tmpfs /home tmpfs rw 0 0
srv:/home /home nfs4 rw 0 0
/dev/sdb /home/me/local\\040disk xfs rw 0 0
bucket /mnt/b fuse.s3fs rw 0 0
"""


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/", "ext4"),
        ("/homes/x", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/cache", "nfs4"),
        ("/home/me/local disk/cache", "xfs"),
        ("/mnt/b/cache", "fuse.s3fs"),
    ],
)
def test_the_file_system_of_a_path(path, kind):
    assert place_module._file_system(path, MOUNTS) == kind


def on_host(monkeypatch, name, networked=True):
    monkeypatch.setattr(place_module, "host_name", lambda: name)
    monkeypatch.setattr(place_module, "_is_networked", lambda place: networked)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_host_never_opens_the_database_of_another(tmp_path, monkeypatch):
    cells = {(1, "mean"): np.ones((1, 4), np.float32)}
    key, out = [b"0123456789abcdef"], np.zeros((1, 4), np.float32)
    on_host(monkeypatch, "first")
    first = EmbeddingCache(tmp_path, storage="float16")
    first.put_many("space", key, cells)
    assert first.path == tmp_path / "hosts" / "first"
    sent = pickle.dumps(first)
    first.close()
    before = contents(first.path)

    on_host(monkeypatch, "second")
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda place, **k: opened.append(place) or connect(place, **k),
    )
    for second in (pickle.loads(sent), EmbeddingCache(tmp_path, storage="float16")):
        assert second == first  # what was asked for is the same
        assert not second.get_many("space", key, 1, "mean", out).any()
        second.encode_lock("space", "cpu")
        assert second.info()["path"] == str(tmp_path / "hosts" / "second")
    second.put_many("space", key, cells)
    assert second.get_many("space", key, 1, "mean", out).all()
    assert set(opened) == {tmp_path / "hosts" / "second" / FILE}
    assert contents(first.path) == before

    on_host(monkeypatch, "first")
    back = pickle.loads(pickle.dumps(second))
    assert back.get_many("space", key, 1, "mean", out).all()
    assert back.path == first.path


def test_vectors_are_carried_from_host_to_host(tmp_path, monkeypatch):
    key, out = [b"0123456789abcdef"], np.zeros((1, 4), np.float32)
    on_host(monkeypatch, "first")
    first = EmbeddingCache(tmp_path)
    first.put_many("space", key, {(1, "mean"): np.full((1, 4), 3, np.float32)})
    first.export(tmp_path / "exported")
    on_host(monkeypatch, "second")
    second = EmbeddingCache(tmp_path)
    assert second.import_(tmp_path / "exported") == 1
    assert second.get_many("space", key, 1, "mean", out).all()
    np.testing.assert_array_equal(out, 3)


def test_a_local_disk_is_one_place_whatever_the_host_is_called(tmp_path, monkeypatch):
    # A container has another name each time that it starts.
    for name in ("first", "second"):
        on_host(monkeypatch, name, networked=False)
        assert EmbeddingCache(tmp_path).path == tmp_path


def test_a_transformer_that_arrives_on_another_host(llama, tmp_path):
    from sklearn_llm2vec import LLMEmbeddingTransformer

    # By any way that a cache can be given; each process is a host.
    code = """
import pickle, sys
from sklearn_llm2vec._common import places
places.host_name = lambda: sys.argv[1]
places._is_networked = lambda place: True
encoder = pickle.load(open(sys.argv[2], "rb"))
print(encoder.transform(["card", "bank"]).sum(), encoder.last_report_.encoded)
"""
    folder = tmp_path / "cache"
    ways = [str(folder), EmbeddingCache(folder, size_limit=10**9)]
    expected = {("a", 0): 2, ("b", 0): 2, ("a", 1): 0}
    for (host, way), n_encoded in expected.items():
        file = tmp_path / f"{way}.pickle"
        encoder = LLMEmbeddingTransformer(llama, cache=ways[way])
        file.write_bytes(pickle.dumps(encoder))
        done = subprocess.run(
            [sys.executable, "-c", code, host, str(file)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout.split()[1]) == n_encoded
    found = sorted(path.relative_to(folder) for path in folder.rglob(FILE))
    assert found == [Path("hosts") / host / FILE for host in "ab"]


def test_the_notes_of_two_spaces_tell_what_is_different(bert, tmp_path):
    differ = [{}, {"max_length": 8}, {"long_texts": "chunk"}, {"special_tokens": False}]
    differ.append({"long_texts": "chunk", "chunk_overlap": 2})
    for one in differ:
        LLMEmbeddingTransformer(bert, cache=tmp_path, **one).transform(["a card"])
    notes = [space["note"] for space in EmbeddingCache(tmp_path).info()["spaces"]]
    assert len(notes) == len(differ)
    for one, note in zip(differ[1:], notes[1:], strict=True):
        assert {key for key in note if note[key] != notes[0][key]} == set(one)
