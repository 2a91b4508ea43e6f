"""``transform_to_npy``: the rows of transform, in a file that is whole or not there."""

import re
import tracemalloc
from collections import deque

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tables import same_bits
from tqdm.auto import tqdm

from sklearn_llm2vec import (
    EmbeddingCache,
    LLMEmbeddingTransformer,
    transform_to_npy,
)
from sklearn_llm2vec._estimator.npy import _write


def by_calls(function):
    """A transformer whose n-th `transform` gives ``function(n, X)``, n from 0."""
    calls = iter(range(1000))
    return FunctionTransformer(lambda X: function(next(calls), X))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("block_rows", [1, 7, 50, 1000])
def test_rows_are_those_of_transform(llama, tmp_path, texts, block_rows):
    texts = [*texts, None, texts[3], texts[0]]
    encoder = LLMEmbeddingTransformer(llama, cache=str(tmp_path / "cache"), layer=2)
    want = encoder.transform(texts)
    path = tmp_path / "made.npy"
    got = transform_to_npy(encoder, texts, path, block_rows=block_rows)
    assert isinstance(got, np.memmap)
    assert not got.flags.writeable
    assert got.dtype == np.float32
    same_bits(got, want)
    same_bits(np.load(path), want)
    assert names_in(tmp_path) == ["cache", "made.npy"]


def frames(texts):
    table = {"title": texts, "price": np.arange(len(texts)) / 3, "review": texts[::-1]}
    pandas = pd.DataFrame(table, index=np.arange(len(texts)) * 10)
    return {"pandas": pandas, "polars": pl.DataFrame(table)}


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_frames_in_and_out_of_a_pipeline(llama, tmp_path, texts, library, output):
    table = frames(texts)[library]
    pipe = make_pipeline(
        make_column_transformer(
            (LLMEmbeddingTransformer(llama, cache=False), ["title", "review"]),
            (StandardScaler(), ["price"]),
            verbose_feature_names_out=False,
        )
    )
    pipe.fit(table)
    want = pipe.transform(table)
    pipe.set_output(transform=output)
    got = transform_to_npy(pipe, table, tmp_path / "made.npy", block_rows=9)
    assert got.shape == (len(texts), 65)
    np.testing.assert_array_equal(got, want)


def test_any_collection_of_texts(llama, tmp_path, texts):
    encoder = LLMEmbeddingTransformer(llama, cache=str(tmp_path / "cache"))
    want = encoder.transform(texts)
    for X in (
        tuple(texts),
        deque(texts),
        np.array(texts),
        np.array(texts, object)[:, None],
        pd.Series(texts, index=range(9, 9 + len(texts))),
        pl.Series(texts),
        pd.array(texts, dtype="string"),
        [[text] for text in texts],
    ):
        got = transform_to_npy(encoder, X, tmp_path / "made.npy", block_rows=20)
        same_bits(got, want)


def test_a_folder_that_isnt_there_is_named(tmp_path):
    path = tmp_path / "absent" / "made.npy"
    with pytest.raises(
        FileNotFoundError, match=r"folder that exists.*create '.*absent'"
    ):
        transform_to_npy(by_calls(lambda n, part: part), [[1.0]], path)
    assert not path.parent.exists()


def test_only_a_block_is_taken_from_the_input(tmp_path):
    X = np.arange(40.0).reshape(20, 2)
    seen = []
    transformer = by_calls(lambda n, part: seen.append(part) or part)
    got = transform_to_npy(transformer, X, tmp_path / "made.npy", block_rows=8)
    np.testing.assert_array_equal(got, X)
    assert [part.shape for part in seen] == [(8, 2), (8, 2), (4, 2)]
    assert all(np.shares_memory(part, X) for part in seen)


def test_memory_doesnt_grow_with_the_rows(tmp_path):
    def peak(n_rows):
        X = np.arange(float(n_rows))[:, None]
        wide = FunctionTransformer(lambda part: np.tile(part, 100))
        tracemalloc.start()
        got = transform_to_npy(wide, X, tmp_path / "made.npy", block_rows=1000)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert got[n_rows - 1, 99] == n_rows - 1
        return most

    peak(1000)  # what the first call imports
    block = 1000 * 100 * 8
    assert peak(3000) < 3 * block
    assert peak(100_000) < 3 * block


def test_a_file_that_is_there_stays_until_the_new_one_is_whole(tmp_path):
    path, X = tmp_path / "made.npy", np.ones((30, 2))
    np.save(path, np.zeros(3))

    def look(n, part):
        np.testing.assert_array_equal(np.load(path), np.zeros(3))
        assert len(names_in(tmp_path)) == 2
        return part

    got = transform_to_npy(by_calls(look), X, path, block_rows=10)
    np.testing.assert_array_equal(got, X)
    assert names_in(tmp_path) == ["made.npy"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("at", [0, 2])
def test_a_fault_leaves_no_file_and_the_old_one(tmp_path, fault, at):
    def fail(n, part):
        if n == at:
            raise fault
        return part

    path = tmp_path / "made.npy"
    with pytest.raises(fault):
        transform_to_npy(by_calls(fail), np.ones((30, 2)), path, block_rows=10)
    assert names_in(tmp_path) == []
    path.write_bytes(b"the old one")
    with pytest.raises(fault):
        transform_to_npy(by_calls(fail), np.ones((30, 2)), path, block_rows=10)
    assert path.read_bytes() == b"the old one"
    assert names_in(tmp_path) == ["made.npy"]


def test_a_full_disk_is_an_error():
    blocks = [np.ones((1, 1_000_000))]
    with open("/dev/full", "wb", 0) as file, pytest.raises(OSError, match="No space"):
        _write(file, blocks, 1, tqdm(disable=True))


def test_what_was_encoded_before_a_fault_isnt_encoded_again(llama, tmp_path, texts):
    cache = EmbeddingCache(tmp_path / "cache")

    class Failing(LLMEmbeddingTransformer):
        def transform(self, X):
            if texts[25] in X:
                raise ConnectionError("the network is gone")
            return super().transform(X)

    path = tmp_path / "made.npy"
    with pytest.raises(ConnectionError):
        transform_to_npy(Failing(llama, cache=cache), texts, path, block_rows=10)
    assert not path.exists()
    assert cache.info()["texts_encoded"] == 20
    encoder = LLMEmbeddingTransformer(llama, cache=cache)
    got = transform_to_npy(encoder, texts, path, block_rows=10)
    assert cache.info()["texts_encoded"] == len(texts)
    assert encoder.last_report_.texts == len(texts[-(len(texts) % 10 or 10) :])
    same_bits(got, LLMEmbeddingTransformer(llama, cache=False).transform(texts))


def test_cut_texts_are_counted_for_each_block(llama, tmp_path):
    texts = ["the cat sleeps on the red chair"] * 2 + ["a", "a b c d e f g h", "b", "c"]
    encoder = LLMEmbeddingTransformer(llama, cache=False, max_length=5)
    with pytest.warns(UserWarning, match="1 of [12] texts are longer than 5") as caught:
        transform_to_npy(encoder, texts, tmp_path / "made.npy", block_rows=2)
    assert len(caught) == 2


# --- no rows ---------------------------------------------------------------------------


def test_no_rows_are_the_transformers_to_judge(llama, tmp_path):
    path = tmp_path / "made.npy"
    with pytest.raises(ValueError, match="0 sample"):
        transform_to_npy(LLMEmbeddingTransformer(llama), [], path)
    assert names_in(tmp_path) == []
    doubled = FunctionTransformer(lambda X: np.hstack([X, X]))
    got = transform_to_npy(doubled, np.ones((0, 3), np.float32), path)
    assert (got.shape, got.dtype) == ((0, 6), np.float32)
    assert np.load(path).shape == (0, 6)


# --- dtypes ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "i1", "?", "c8", "M8[s]", "U3"])
def test_the_first_block_decides_the_dtype(tmp_path, dtype):
    X = np.arange(12).reshape(6, 2).astype(dtype)
    same = FunctionTransformer(lambda part: part)
    got = transform_to_npy(same, X, tmp_path / "made.npy", block_rows=4)
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(got, X)


def test_a_narrower_block_is_widened(tmp_path):
    narrow = by_calls(lambda n, part: part.astype(["f8", "f4", "i4"][n]))
    X = np.arange(6.0)[:, None]
    got = transform_to_npy(narrow, X, tmp_path / "made.npy", block_rows=2)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, X)


# --- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "second, sentence",
    [
        (
            lambda X: X[:, :1],
            "the same number of features .* the first, 2. Got 1 for rows 10 to 20",
        ),
        (lambda X: X.astype("f8"), "float32. Got float64 for rows 10 to 20"),
        (lambda X: X.astype(object), "are numbers. Got object for rows 10 to 20"),
        (lambda X: X[:9], r"one row for each row of X. Got \(9, 2\) for rows 10 to 20"),
        (lambda X: X[:, 0], r"shape \(n_rows, n_features\).* Got \(10,\)"),
    ],
)
def test_a_block_unlike_the_first(tmp_path, second, sentence):
    X = np.ones((30, 2), np.float32)
    transformer = by_calls(lambda n, part: second(part) if n == 1 else part)
    with pytest.raises(ValueError, match=sentence):
        transform_to_npy(transformer, X, tmp_path / "made.npy", block_rows=10)
    assert names_in(tmp_path) == []


def test_sparse_features_are_refused(tmp_path, texts):
    words = CountVectorizer().fit(texts)
    with pytest.raises(TypeError, match="dense features, got a sparse cs"):
        transform_to_npy(words, texts, tmp_path / "made.npy")
    assert names_in(tmp_path) == []


def test_a_column_of_text_is_refused(tmp_path, texts):
    table = frames(texts)["pandas"]
    same = FunctionTransformer(lambda part: part)
    with pytest.raises(ValueError, match="must be|are numbers. Got object for rows 0"):
        transform_to_npy(same, table, tmp_path / "made.npy")


@pytest.mark.parametrize(
    "change, error, sentence",
    [
        ({"transformer": object()}, TypeError, "which has no 'transform'"),
        ({"transformer": StandardScaler}, TypeError, "must be a fitted transformer"),
        ({"transformer": StandardScaler()}, NotFittedError, "not fitted"),
        ({"X": "a text"}, ValueError, "string object received"),
        ({"X": iter(["a"])}, TypeError, "only once"),
        ({"X": np.array(1.0)}, TypeError, "list, array, Series or frame, got ndarray"),
        ({"X": {"a": 1}}, TypeError, "list, array, Series or frame, got dict"),
        ({"X": pl.LazyFrame({"a": [1]})}, TypeError, "collect"),
        ({"block_rows": 0}, ValueError, "at least 1. Got 0"),
        ({"block_rows": True}, ValueError, "at least 1. Got True"),
        ({"block_rows": 2.0}, ValueError, "at least 1. Got 2.0"),
    ],
)
def test_wrong_arguments(tmp_path, change, error, sentence):
    arguments = {"transformer": FunctionTransformer(), "X": np.ones((3, 2)), **change}
    with pytest.raises(error, match=sentence):
        transform_to_npy(path=tmp_path / "made.npy", **arguments)
    assert names_in(tmp_path) == []


def test_paths_where_no_file_can_be(tmp_path):
    def never(n, part):
        raise AssertionError("nothing may be encoded before the file can be written")

    X = np.ones((3, 2))
    with pytest.raises(IsADirectoryError, match="must be a file. Got the folder"):
        transform_to_npy(by_calls(never), X, tmp_path)
    with pytest.raises(FileNotFoundError):
        transform_to_npy(by_calls(never), X, tmp_path / "none" / "made.npy")


# --- float16 -------------------------------------------------------------------------


def test_float16_takes_half_the_disk(llama, tmp_path, texts):
    encoder = LLMEmbeddingTransformer(llama, cache=str(tmp_path / "cache"))
    want = encoder.transform(texts)
    whole = transform_to_npy(encoder, texts, tmp_path / "whole.npy")
    got = transform_to_npy(
        encoder, texts, tmp_path / "half.npy", dtype="float16", block_rows=9
    )
    assert got.dtype == np.float16
    assert got.nbytes == whole.nbytes / 2
    np.testing.assert_array_equal(got, want.astype(np.float16))


@pytest.mark.parametrize("value", [65520.0, -1e30])
def test_what_float16_cant_hold_is_refused(tmp_path, value):
    rows = np.array([[1.0, 2.0], [np.inf, value], [np.nan, 0.0]])
    path = tmp_path / "made.npy"
    path.write_bytes(b"before")
    message = re.escape(f"to 65504 with float16. Got {value:.6g}")
    with pytest.raises(ValueError, match=message):
        transform_to_npy(
            FunctionTransformer(), rows, path, dtype="float16", block_rows=1
        )
    assert path.read_bytes() == b"before"
    rows[1, 1] = np.sign(value) * 65504
    got = transform_to_npy(FunctionTransformer(), rows, path, dtype="float16")
    np.testing.assert_array_equal(got, rows)


@pytest.mark.parametrize("dtype", ["int8", np.float64, 16])
def test_other_dtypes_are_refused(tmp_path, dtype):
    with pytest.raises(ValueError, match="'dtype' parameter of transform_to_npy must"):
        transform_to_npy(
            FunctionTransformer(), np.ones((1, 1)), tmp_path / "a.npy", dtype=dtype
        )
