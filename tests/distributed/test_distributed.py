"""Ray Data, Parquet files that are resumed, and joblib's backends of several hosts."""

import os
import signal
import sys

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import WORDS
from gguf_files import save_gguf, small_llama
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from tables import features, make_table, same_bits

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer, layer_pooling_grid
from sklearn_llm2vec.distributed import embed_dataset, embed_parquet

pytestmark = [
    # Of Ray and Dask themselves, and the sockets that they close late.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    """One small Ray on this machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    # Its workers would give way to every other process, such as the rest of the tests.
    os.environ["RAY_worker_niceness"] = "0"
    pytest.importorskip("ray.data")
    import ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    yield ray
    ray.shutdown()


def in_blocks(ray, table, n):
    size = -(-table.num_rows // n)
    return ray.data.from_arrow([table.slice(i * size, size) for i in range(n)])


def all_rows(dataset):
    return pa.concat_tables(dataset.iter_batches(batch_format="pyarrow"))


def dying(model, flag, **params):
    """A transformer whose process is killed in its third transform, but only once."""

    class Dying(LLMEmbeddingTransformer):  # local, so that it travels by value
        def transform(self, X):
            self.n_calls = getattr(self, "n_calls", 0) + 1
            if self.n_calls == 3:
                try:
                    os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
            return super().transform(X)

    return Dying(model, **params)


# --- refusals --------------------------------------------------------------------------


def test_what_must_learn_is_refused_before_ray_starts(llama, tmp_path):
    ray = pytest.importorskip("ray")
    was_running = ray.is_initialized()
    encoder = LLMEmbeddingTransformer(llama, n_components=2)
    with pytest.raises(NotFittedError, match="is not fitted yet. With 'n_components'"):
        embed_parquet(tmp_path, tmp_path / "out", encoder, "title")
    assert ray.is_initialized() == was_running


@pytest.mark.parametrize("absent", ["ray.data", "pyarrow.parquet"])
def test_the_extra_is_named(monkeypatch, absent):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ImportError, match=r"pip install .*\[ray\]"):
        embed_parquet("a", "b", LLMEmbeddingTransformer(), "title")


@pytest.mark.parametrize(
    "change, error, sentence",
    [
        ({"transformer": make_pipeline("passthrough")}, TypeError, "Got Pipeline"),
        ({"columns": None}, ValueError, "'columns' parameter of .* must name"),
        ({"output_columns": ["a", "b"]}, ValueError, "must be 1 distinct names"),
        ({"output_columns": "title"}, ValueError, "must be 1 distinct names"),
        ({"concurrency": 0}, ValueError, "'concurrency' parameter of .* must be"),
        ({"concurrency": (3, 2)}, ValueError, "the fewest and the most"),
        ({"num_cpus": "2"}, ValueError, "'num_cpus' parameter of .* must be"),
        ({"batch_size": True}, ValueError, "'batch_size' parameter of .* must be"),
    ],
)
def test_wrong_arguments(llama, tmp_path, change, error, sentence):
    arguments = {
        "transformer": LLMEmbeddingTransformer(llama),
        "columns": "title",
        **change,
    }
    with pytest.raises(error, match=sentence):
        embed_parquet(tmp_path, tmp_path / "out", **arguments)


def test_columns_other_than_those_of_fit(llama, tmp_path):
    table = make_table(10)
    encoder = LLMEmbeddingTransformer(llama, cache=False).fit(table.select(["title"]))
    with pytest.raises(ValueError, match="feature names should match"):
        embed_parquet(tmp_path, tmp_path / "out", encoder, "review")


# --- Ray Data --------------------------------------------------------------------------


def test_a_dataset_gets_the_features_of_transform_though_an_actor_is_killed(
    cluster, llama, tmp_path
):
    table = make_table(60)
    flag = tmp_path / "died"
    encoder = dying(llama, str(flag), cache=False, missing="nan", layer=2)
    encoder.set_output(transform="pandas")
    dataset = in_blocks(cluster, table, 4)
    with pytest.raises(ValueError, match="no \\['text'\\], but"):
        embed_dataset(dataset, encoder, "text")
    with pytest.raises(TypeError, match="ray.data.Dataset. Got Table"):
        embed_dataset(table, encoder, "title")
    made = embed_dataset(
        dataset, encoder, ["title", "review"], concurrency=2, batch_size=5
    )
    got = all_rows(made)
    assert flag.exists()
    assert sorted(got["id"].to_pylist()) == list(range(60))
    got = got.take(pa.compute.sort_indices(got["id"]))
    added = ["title_embedding", "review_embedding"]
    assert got.column_names == [*table.column_names, *added]
    assert got.select(table.column_names).equals(table)
    want = clone(encoder).set_output(transform="default")
    want = want.fit_transform(table.select(["title", "review"]))
    same_bits(features(got, "title_embedding"), want[:, :32])
    same_bits(features(got, "review_embedding"), want[:, 32:])


def test_actors_load_a_gguf_file(cluster, tmp_path):
    path = save_gguf(tmp_path / "model.gguf", small_llama(), kind="Q8_0")
    table = make_table(20)
    encoder = LLMEmbeddingTransformer(str(path), cache=False)
    got = all_rows(embed_dataset(in_blocks(cluster, table, 2), encoder, "title"))
    got = got.take(pa.compute.sort_indices(got["id"]))
    want = encoder.fit_transform(table.select(["title"]))
    same_bits(features(got, "title_embedding"), want)


def test_parquet_files_a_killed_actor_and_a_second_call(cluster, llama, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    names = ["a.parquet", "b.parquet", "deep/c.parquet"]
    tables = {name: make_table(30, seed) for seed, name in enumerate(names)}
    for name, table in tables.items():
        pq.write_table(table, source / name, row_group_size=11)
    flag, cache = tmp_path / "died", EmbeddingCache(tmp_path / "cache")
    encoder = dying(llama, str(flag), cache=cache)
    settings = {"columns": "title", "concurrency": 1, "batch_size": 8}

    report = embed_parquet(source, out, encoder, **settings)
    assert report == (3, 0, 3, 90)
    assert flag.exists()
    plain = LLMEmbeddingTransformer(llama, cache=False)
    for name, table in tables.items():
        got = pq.read_table(out / name)
        assert got.drop_columns("title_embedding").equals(table)
        want = plain.fit_transform(table.select(["title"]))
        same_bits(features(got, "title_embedding"), want)
    parts = [path.name for path in out.rglob("*.part")]
    assert len(parts) <= 1  # of the process that was killed

    n_encoded = cache.info()["texts_encoded"]
    before = {name: os.stat(out / name).st_mtime_ns for name in names}
    assert embed_parquet(source, out, encoder, **settings) == (3, 3, 0, 0)
    os.unlink(out / "a.parquet")
    pq.write_table(make_table(25, seed=9), source / "deep/c.parquet")
    assert embed_parquet(source, out, encoder, **settings) == (3, 1, 2, 55)
    assert os.stat(out / "b.parquet").st_mtime_ns == before["b.parquet"]
    assert pq.read_table(out / "deep/c.parquet").num_rows == 25
    new = set(make_table(25, seed=9)["title"].to_pylist()) - {None}
    assert cache.info()["texts_encoded"] <= n_encoded + len(new)

    other = clone(encoder).set_params(normalize=True)
    with pytest.raises(ValueError, match="normalize False, here True"):
        embed_parquet(source, out, other, **settings)
    with pytest.raises(ValueError, match="a folder outside of 'source'"):
        embed_parquet(source, source / "out", encoder, **settings)
    with pytest.raises(ValueError, match="a folder outside of 'source'"):
        embed_parquet(source / "a.parquet", source, encoder, overwrite=True, **settings)


# --- a search over several processes of a cluster --------------------------------------


@pytest.fixture
def search(llama, tmp_path):
    """A search whose cache is new, its data, and the scores of one process."""
    rng = np.random.default_rng(0)
    texts = sorted({" ".join(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(60)})
    y = [text.split()[0] in WORDS[:20] for text in texts]

    def make(cache):
        pipe = make_pipeline(
            LLMEmbeddingTransformer(llama, cache=cache), RidgeClassifier()
        )
        grid = layer_pooling_grid(pipe, layers=[1, 3, 4], poolings=["mean", "last"])
        return GridSearchCV(pipe, grid, cv=3, n_jobs=2, error_score="raise")

    cache = EmbeddingCache(tmp_path / "cache")
    alone = make(EmbeddingCache(tmp_path / "alone")).set_params(n_jobs=1)
    return make(cache), texts, np.array(y), cache, alone


def check_search(search, texts, y, cache, alone):
    alone.fit(texts, y)
    for name, values in alone.cv_results_.items():
        if name.endswith("_test_score") and name != "rank_test_score":
            np.testing.assert_array_equal(search.cv_results_[name], values)
    assert search.best_params_ == alone.best_params_
    assert cache.info()["texts_encoded"] == len(texts)


def test_a_search_with_the_ray_backend(cluster, search):
    from ray.util.joblib import register_ray

    search, texts, y, cache, alone = search
    register_ray()
    with joblib.parallel_config("ray"):
        search.fit(texts, y)
    check_search(search, texts, y, cache, alone)


def test_a_search_with_the_dask_backend(search):
    dask = pytest.importorskip("distributed")
    search, texts, y, cache, alone = search
    with (
        dask.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            host="127.0.0.1",
            local_directory=str(cache.path.parent / "dask"),
        ) as local,
        dask.Client(local),
        joblib.parallel_config("dask"),
    ):
        search.fit(texts, y)
    check_search(search, texts, y, cache, alone)
