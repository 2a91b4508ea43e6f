"""Tables and Parquet files in one process: features, faults, what counts as finished."""

import json
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.base import clone
from tables import features, make_table, same_bits

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._estimator.source import open_source
from sklearn_llm2vec.distributed._parquet import (
    KEY,
    embed_file,
    file_state,
    is_finished,
    list_files,
    make_mark,
    open_place,
)
from sklearn_llm2vec.distributed._tables import (
    TableEmbedder,
    check_task,
    difference,
    identity_of,
)


def embedder(model, columns=("title",), outputs=None, **params):
    params = {"cache": False, **params}
    transformer = LLMEmbeddingTransformer(model, **params)
    outputs = outputs or [f"{name}_embedding" for name in columns]
    return TableEmbedder(transformer, list(columns), outputs, 1)


def embed_one(made, folder, table=None, batch_size=7):
    """Embed a file of a folder; return source, target and mark."""
    source = open_place(str(folder / "in.parquet"))
    if table is not None:
        pq.write_table(table, source.path)
    target = open_place(str(folder / "out" / "in.parquet"))
    mark = make_mark(identity_of(made), file_state(source))
    embed_file(made, source, target, mark, batch_size)
    return source, target, mark


def finished(made, source, target, overwrite=False):
    return is_finished(target, identity_of(made), file_state(source), overwrite)


def test_a_file_has_all_columns_and_the_features_of_transform(llama, tmp_path):
    table = make_table(40)
    made = embedder(llama, ("review", "title"), missing="nan", normalize=True)
    _, target, mark = embed_one(made, tmp_path, table)
    got = pq.read_table(target.path)
    assert got.select(table.column_names).equals(table)
    assert got.column_names[4:] == ["review_embedding", "title_embedding"]
    plain = LLMEmbeddingTransformer(llama, cache=False, missing="nan", normalize=True)
    want = plain.fit_transform(table.select(["review", "title"]))
    same_bits(features(got, "review_embedding"), want[:, :32])
    same_bits(features(got, "title_embedding"), want[:, 32:])
    assert np.isnan(features(got, "title_embedding")).any()
    assert json.loads(pq.read_metadata(target.path).metadata[KEY]) == mark
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["in.parquet"]


def test_a_file_without_rows(llama, tmp_path):
    made = embedder(llama)
    source, target, _ = embed_one(made, tmp_path, make_table(0))
    got = pq.read_table(target.path)
    assert (got.num_rows, got.schema.field("title_embedding").type) == (
        0,
        pa.list_(pa.float32(), 32),
    )
    assert finished(made, source, target)


# pyarrow's writer, left without its end, tries to write one when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_fault_in_the_middle_leaves_nothing(llama, tmp_path):
    made = embedder(llama)
    transform, sizes = made.transformer.transform, []

    def fail(X):
        sizes.append(len(X))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return transform(X)

    made.transformer.transform = fail
    with pytest.raises(KeyboardInterrupt):
        embed_one(made, tmp_path, make_table(40))
    assert sizes == [7, 7, 7]
    assert list((tmp_path / "out").iterdir()) == []


def test_what_counts_as_finished(llama, tmp_path):
    made = embedder(llama)
    table = make_table(20)
    source, target, _ = embed_one(made, tmp_path, table)
    assert finished(made, source, target)
    # As good as the same: these change no feature.
    assert finished(embedder(llama, batch_tokens=64, cache=True), source, target)

    with pytest.raises(ValueError, match="normalize False, here True"):
        finished(embedder(llama, normalize=True), source, target)
    assert not finished(embedder(llama, normalize=True), source, target, overwrite=True)

    whole = Path(target.path).read_bytes()
    for n_bytes in (0, 10, len(whole) // 2, len(whole) - 1):
        Path(target.path).write_bytes(whole[:n_bytes])
        assert not finished(made, source, target)

    pq.write_table(table, target.path)  # somebody else's
    with pytest.raises(FileExistsError, match="another program"):
        finished(made, source, target)
    assert not finished(made, source, target, overwrite=True)


def test_a_changed_input_is_not_finished(llama, tmp_path):
    made = embedder(llama)
    table = make_table(20)
    source, target, _ = embed_one(made, tmp_path, table)
    state = os.stat(source.path)

    def write(table, time):
        pq.write_table(table, source.path)
        os.utime(source.path, ns=(time, time))
        return finished(made, source, target)

    assert write(table, state.st_mtime_ns)
    assert not write(table, state.st_mtime_ns + 1000)
    # An older file in its place, with its old time: other rows, and other statistics.
    titles = pa.array(["zz", *table["title"].to_pylist()[1:]], pa.string())
    assert not write(table.set_column(1, "title", titles), state.st_mtime_ns)


@pytest.mark.parametrize(
    "change",
    [
        {"layer": 2},
        {"layer": (1, 2)},
        {"pooling": "last"},
        {"normalize": True},
        {"missing": "nan"},
        {"attention": "bidirectional"},
        {"template": "the {text}"},
        {"max_length": 5},
    ],
)
def test_the_identity_names_what_changes_features(llama, change):
    plain = identity_of(embedder(llama))
    other = identity_of(embedder(llama, **change))
    assert other != plain
    assert difference(plain, other)
    assert json.loads(json.dumps(other)) == other


def test_the_identity_follows_set_params_and_the_pca(llama):
    table = make_table(30)
    fitted = LLMEmbeddingTransformer(llama, n_components=3, cache=False)
    fitted.fit(table.select(["title"]))

    def identity(transformer):
        return identity_of(TableEmbedder(transformer, ["title"], ["e"], 1))

    before = identity(fitted)
    other = clone(fitted).fit(make_table(30, seed=1).select(["title"]))
    assert identity(other) == {**before, "pca": identity(other)["pca"]} != before
    changed = identity(fitted.set_params(layer=1, normalize=True))
    assert (changed["layer"], changed["normalize"]) == (1, True)
    assert changed["pca"] == before["pca"]


def test_a_file_system_of_fsspec(llama, tmp_path):
    place = open_place("memory://embedded")
    source = open_place(str(tmp_path / "a.parquet"))
    pq.write_table(make_table(20), source.path)
    made = embedder(llama)
    mark = make_mark(identity_of(made), file_state(source))
    assert not finished(made, source, place.join("a.parquet"))
    assert embed_file(made, source, place.join("a.parquet"), mark, 8) == 20
    assert finished(made, source, place.join("a.parquet"))
    folder, names = list_files(place)
    assert names == ["a.parquet"]
    with folder.system.open_input_file(folder.join(names[0]).path) as file:
        got = pq.read_table(file)
    want = made.transformer.transform(got.select(["title"]))
    same_bits(features(got, "title_embedding"), want)


def test_which_files_are_listed(tmp_path):
    names = ["b.parquet", "a/c.parquet", ".b.part", "a/_x.parquet", ".d/e.parquet", "f"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    place = open_place(str(tmp_path))
    assert list_files(place) == (place, ["a/c.parquet", "b.parquet"])
    assert list_files(place.join("b.parquet")) == (place, ["b.parquet"])
    for nothing in (".d/none", "none"):
        with pytest.raises(FileNotFoundError, match=nothing):
            list_files(place.join(nothing))


def test_actors_dont_wait_for_each_other(llama, tmp_path):
    made = embedder(llama, cache=str(tmp_path))
    source = open_source(made.transformer)
    done = threading.Event()

    def work():
        made(make_table(10))
        done.set()

    # Another actor of this host is encoding.
    with EmbeddingCache(tmp_path).encode_lock(source.fingerprint, source.device):
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert done.wait(60)
    thread.join()
    assert EmbeddingCache(tmp_path).info()["texts_encoded"] > 0


def test_a_fitted_transformer_in_another_process(llama):
    table = make_table(60)
    encoder = LLMEmbeddingTransformer(
        llama,
        template="{title} of {review}",
        n_components=4,
        normalize=True,
        cache=False,
    )
    encoder.fit(table.select(["title", "review"]).to_pandas())
    columns, outputs = check_task(encoder, None, None, "embed_parquet")
    assert (columns, outputs) == (["title", "review"], ["embedding"])
    arrived = pickle.loads(pickle.dumps(encoder))
    got = TableEmbedder(arrived, columns, outputs, 1)(table)
    want = encoder.transform(table.select(columns))
    assert want.shape == (60, 4)
    same_bits(features(got, "embedding"), want)


def test_float16_is_another_output(llama, tmp_path):
    table = make_table(20)
    made = embedder(llama)
    source, target, _ = embed_one(made, tmp_path, table)
    want = features(pq.read_table(target.path), "title_embedding")
    half = TableEmbedder(made.transformer, made.columns, made.outputs, 1, "float16")
    with pytest.raises(ValueError, match="dtype None, here 'float16'"):
        finished(half, source, target)
    assert not finished(half, source, target, overwrite=True)
    embed_one(half, tmp_path)
    assert finished(half, source, target)
    with pytest.raises(ValueError, match="dtype 'float16', here None"):
        finished(made, source, target)
    written = pq.read_table(target.path)
    column = written["title_embedding"]
    assert column.type == pa.list_(pa.float16(), want.shape[1])
    halves = np.stack(column.combine_chunks().to_numpy(zero_copy_only=False))
    np.testing.assert_array_equal(halves, want.astype(np.float16))
