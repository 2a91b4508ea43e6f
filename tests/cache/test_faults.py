"""Faults of the cache: damage, full and read-only disks, foreign files, kill -9."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from datetime import timedelta

import numpy as np
import pytest
from numbered_vectors import MEAN, database, get, keys_of, put

from sklearn_llm2vec import EmbeddingCache
from sklearn_llm2vec._cache import connections
from sklearn_llm2vec._cache import database as database_module
from sklearn_llm2vec._cache import store as module
from sklearn_llm2vec._cache.connections import FILE


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
        with pytest.raises(
            ValueError, match="changed its format from 2 to 99.*upgrade"
        ):
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


UNSOUND = {
    "a key": "UPDATE rows SET key = 'text' WHERE row = 3",
    "a name": "UPDATE spaces SET fingerprint = CAST(x'ff' AS TEXT)",
    "vectors": "UPDATE cells SET data = 5",
    "a page": None,
}


@pytest.mark.parametrize("damage", UNSOUND)
def test_import_blames_the_file_and_not_the_cache(damage, cache, tmp_path):
    put(cache, range(5))
    other = EmbeddingCache(tmp_path / "other")
    put(other, range(10, 20))
    other.export(tmp_path / "file")
    if UNSOUND[damage] is None:
        (tmp_path / "file").write_bytes(b"nonsense" * 1000)
    else:
        with sqlite3.connect(tmp_path / "file") as db:
            db.execute(UNSOUND[damage])
        db.close()
    with pytest.raises(
        ValueError, match="export wrote.*damaged.*export it again"
    ) as told:
        cache.import_(tmp_path / "file")
    assert str(tmp_path / "file") in str(told.value)
    assert "clear()" not in str(told.value)
    assert str(cache.path) not in str(told.value)
    assert cache.info()["texts"] == 5
    assert cache.verify() == {"checked": 5, "damaged": 0, "ok": True}


def test_import_of_a_locked_file(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.1)
    put(cache, range(5))
    cache.export(tmp_path / "file")
    with sqlite3.connect(tmp_path / "file", isolation_level=None) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OSError, match="file can't be read now .database is locked"):
            cache.import_(tmp_path / "file")
    db.close()


def test_a_damaged_size_is_told_in_a_sentence(cache):
    put(cache, range(5))
    with database(cache) as db:
        db.execute("UPDATE spaces SET bytes = 'many'")
    db.close()
    with pytest.raises(ValueError, match=r"is damaged.*EmbeddingCache.clear\(\)"):
        cache.info()


# --- a folder that isn't ours --------------------------------------------------------

ADAPTER = "0" * 64
REMOVALS = {
    "clear": lambda cache: cache.clear(),
    "prune": lambda cache: cache.prune(older_than=timedelta(0)),
}


def contents(folder):
    return {path: path.is_dir() or path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("names", [[ADAPTER, "mine"], ["mine"], []])
def test_removing_takes_nothing_of_another_program(names, removal, cache):
    (cache.path / "adapters").mkdir(parents=True)
    for name in names:
        (cache.path / "adapters" / name).mkdir()
        (cache.path / "adapters" / name / "weights").write_text("mine")
    if ADAPTER in names:  # else there is no database at all
        with database(cache) as db:
            db.execute("CREATE TABLE mine (a)")
        db.close()
    before = contents(cache.path)
    with suppress(ValueError):
        REMOVALS[removal](cache)
    assert contents(cache.path) == before


@pytest.mark.parametrize("removal", REMOVALS)
def test_removing_takes_what_trainings_made(removal, cache):
    put(cache, [1])
    made = (ADAPTER, f"{ADAPTER}.unfinished", f".new-{ADAPTER}-17", "mine")
    for name in made:
        (cache.path / "adapters" / name).mkdir(parents=True)
    (cache.path / "adapters" / f"{ADAPTER}.lock").touch()
    REMOVALS[removal](cache)
    assert os.listdir(cache.path / "adapters") == ["mine"]


@pytest.mark.parametrize("inside", [False, True])
def test_a_path_that_is_a_file(tmp_path, inside):
    path = tmp_path / "file"
    path.write_text("mine")
    cache = EmbeddingCache(path / "cache" if inside else path)
    with pytest.raises(ValueError, match="must be a folder"):
        put(cache, [1])
    assert path.read_text() == "mine"


def test_a_path_that_is_a_broken_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="must be a folder.*a broken link"):
        put(EmbeddingCache(tmp_path / "link"), [1])
    assert os.listdir(tmp_path) == ["link"]


def test_a_full_disk_costs_the_caching_only(cache):
    put(cache, range(10))
    with cache._connections.using() as db:  # the next use gets it as well
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
    put(cache, range(5))
    shutil.rmtree(cache.path)
    assert not get(cache, range(5)).any()
    put(cache, range(3))
    assert get(cache, range(5)).tolist() == [True] * 3 + [False] * 2


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


def test_a_folder_that_another_process_filled_anew(cache):
    put(cache, range(5))
    shutil.rmtree(cache.path)
    put(EmbeddingCache(cache.path), [7])
    assert get(cache, [7]).all()
    put(cache, range(3))
    assert EmbeddingCache(cache.path).info()["texts"] == 4
