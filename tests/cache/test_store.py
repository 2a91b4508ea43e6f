"""The cache: every bit comes back, and what it holds is looked after."""

import copy
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered_vectors import MEAN, get, keys_of, put, vectors_of

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._cache import store as module

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


def test_too_few_vectors_are_refused(cache):
    with pytest.raises(ValueError, match="one vector for each of 4 keys. Got 3"):
        cache.put_many("s", keys_of(range(4)), {MEAN: vectors_of(range(3))})


def test_numpy_layers_and_prefixes_are_taken_as_they_are(cache):
    put(cache, [1], space="a_b", cells=[(np.int64(3), "mean")])
    put(cache, [1], space="axb")
    assert get(cache, [1], space="a_b", cell=(np.int64(3), "mean")).all()
    cache.prune(space="a_b")
    assert get(cache, [1], space="axb").all()
    with pytest.raises(ValueError, match="needs at least one of"):
        cache.prune(space="")


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
    with pytest.raises(ValueError, match="needs at least one of"):
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
    with pytest.warns(UserWarning, match=f"the {block:,} least recently used bytes"):
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


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert EmbeddingCache("here").path == tmp_path / "here"


def test_the_notes_of_two_spaces_tell_what_is_different(bert, tmp_path):
    differ = [{}, {"max_length": 8}, {"long_texts": "chunk"}, {"special_tokens": False}]
    differ.append({"long_texts": "chunk", "chunk_overlap": 2})
    for one in differ:
        LLMEmbeddingTransformer(bert, cache=tmp_path, **one).transform(["a card"])
    notes = [space["note"] for space in EmbeddingCache(tmp_path).info()["spaces"]]
    assert len(notes) == len(differ)
    for one, note in zip(differ[1:], notes[1:], strict=True):
        assert {key for key in note if note[key] != notes[0][key]} == set(one)
