"""Data that isn't in memory: what errors say to call, and what is read at once.

The classes of tools that aren't installed are stood in for by empty ones with the same
module, name and method.
"""

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest

from sklearn_llm2vec import LLMEmbeddingTransformer, transform_to_npy
from sklearn_llm2vec._text.rows import read_rows
from sklearn_llm2vec._text.texts import read_texts

TABLE = pa.table({"title": ["red", "blue", None], "body": ["a", "b", "a"]})


def stand_in(module, name, *methods):
    """An object of a class that says it is from a module."""
    kind = type(name, (), dict.fromkeys(methods, lambda self: None))
    kind.__module__ = module
    return kind()


def of_dask(kind):
    dask = pytest.importorskip("dask.dataframe", reason="dask isn't installed")
    frame = dask.from_pandas(pd.DataFrame({"title": ["red"]}), npartitions=1)
    return {"frame": frame, "series": frame["title"], "array": frame.values}[kind]


def of_datasets(kind):
    datasets = pytest.importorskip("datasets", reason="datasets isn't installed")
    dataset = datasets.Dataset.from_dict({"title": ["red"]})
    if kind == "splits":
        return datasets.DatasetDict(train=dataset)
    return dataset.to_iterable_dataset()


LAZY = {
    "polars": (lambda: pl.LazyFrame({"title": ["red"]}), "`.collect()`"),
    "narwhals": (lambda: nw.from_native(pl.LazyFrame({"t": ["a"]})), "`.collect()`"),
    "reader": (lambda: TABLE.to_reader(), "`.read_all()`"),
    "dataset": (lambda: pyarrow.dataset.dataset(TABLE), "`.to_table()`"),
    "scanner": (lambda: pyarrow.dataset.dataset(TABLE).scanner(), "`.to_table()`"),
    "dask frame": (lambda: of_dask("frame"), "`.compute()`"),
    "dask series": (lambda: of_dask("series"), "`.compute()`"),
    "dask array": (lambda: of_dask("array"), "`.compute()`"),
    "dask before 2025": (
        lambda: stand_in("dask_expr._collection", "DataFrame", "compute"),
        "`.compute()`",
    ),
    "duckdb": (
        lambda: stand_in("duckdb.duckdb", "DuckDBPyRelation", "pl", "df"),
        "`.pl()` or `.df()`",
    ),
    "duckdb 1.4": (
        lambda: stand_in("_duckdb", "DuckDBPyRelation", "pl", "df"),
        "`.pl()` or `.df()`",
    ),
    "spark": (
        lambda: stand_in("pyspark.sql.dataframe", "DataFrame", "toPandas"),
        "`.toPandas()`",
    ),
    "ibis": (
        lambda: stand_in("ibis.expr.types.relations", "Table", "to_pandas"),
        "`.to_pandas()`",
    ),
    "ray": (
        lambda: stand_in("ray.data.dataset", "Dataset", "map_batches", "to_pandas"),
        "embed_dataset",
    ),
    "splits": (lambda: of_datasets("splits"), "X['train']"),
    "stream": (lambda: of_datasets("stream"), "from_list(list(X))"),
}


@pytest.mark.parametrize("about", LAZY)
def test_errors_say_what_to_call(about):
    make, call = LAZY[about]
    for read in (read_texts, lambda X: read_rows(X, ["title"]), read_rows):
        with pytest.raises(TypeError, match="expects texts in memory, got a lazy") as e:
            read(make())
        assert call in str(e.value)


def test_duckdb_itself():
    duckdb = pytest.importorskip("duckdb", reason="duckdb isn't installed")
    relation = duckdb.sql("select 'red' as title")
    with pytest.raises(
        TypeError, match=r"DuckDBPyRelation of duckdb\. Call `\.pl\(\)`"
    ):
        read_texts(relation)
    assert read_texts(relation.pl()).unique == ["red"]


def test_other_errors_name_who_asked(bert):
    with pytest.raises(TypeError, match=r"^LLMEmbeddingTransformer .* `\.read_all"):
        LLMEmbeddingTransformer(bert).fit(TABLE.to_reader())
    with pytest.raises(TypeError, match=r"^transform_to_npy .* `\.read_all"):
        transform_to_npy(LLMEmbeddingTransformer(bert), TABLE.to_reader(), "x.npy")


def test_a_batch_is_the_table_that_it_is(bert, tmp_path):
    (batch,) = TABLE.to_batches()
    read = read_texts(batch)
    assert read.names == ("title", "body") and read.named
    assert read_rows(batch, ["title", "body"]).unique[0] == ("red", "a")
    encoder = LLMEmbeddingTransformer(bert, cache=str(tmp_path / "cache"))
    expected = encoder.fit_transform(TABLE)
    np.testing.assert_array_equal(encoder.fit_transform(batch), expected)
    assert encoder.feature_names_in_.tolist() == ["title", "body"]
    written = transform_to_npy(encoder, batch, tmp_path / "x.npy", block_rows=2)
    np.testing.assert_array_equal(written, expected)


def test_a_dataset_is_a_table_with_its_rows_in_their_order():
    datasets = pytest.importorskip("datasets", reason="datasets isn't installed")
    dataset = datasets.Dataset.from_dict(TABLE.to_pydict())
    read = read_texts(dataset)
    assert read.names == ("title", "body") and read.named
    assert read.unique == ["red", "blue", "a", "b"]
    assert read.inverse.tolist() == [[0, 2], [1, 3], [-1, 2]]
    picked = read_texts(dataset.select([1, 0]).with_format("numpy"))
    assert [picked.unique[i] for i in picked.inverse[:, 0]] == ["blue", "red"]
    labels = datasets.Dataset.from_dict({"title": ["red"], "label": [1]})
    with pytest.raises(TypeError, match="column 'label' has dtype Int64"):
        read_texts(labels)
