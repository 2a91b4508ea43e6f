"""The grid names the right parameters, and one candidate keeps what all need."""

import pickle
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ParameterGrid, TimeSeriesSplit
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

from sklearn_llm2vec import (
    EmbeddingCache,
    LLMEmbeddingTransformer,
    layer_pooling_grid,
)
from sklearn_llm2vec._model.folders import read_model

POOLINGS = ["mean", "weighted_mean", "last", "first", "max"]
N_LAYERS = 4


@pytest.fixture(autouse=True)
def four_layers(monkeypatch):
    """A model of four layers, a decoder if its name says so; the calls are recorded."""
    calls = []

    def read_model(model, **options):
        calls.append((model, options))
        causal = "decoder" in model
        return SimpleNamespace(
            name=model,
            n_layers=N_LAYERS,
            hidden_size=32,
            causal=causal,
            memo_directory=None,
        )

    monkeypatch.setattr("sklearn_llm2vec._estimator.local.read_model", read_model)
    return calls


HOMES = {
    "itself": (lambda t: t, ""),
    "pipeline": (
        lambda t: make_pipeline(t, LogisticRegression()),
        "llmembeddingtransformer__",
    ),
    "column transformer": (
        lambda t: make_column_transformer((t, ["text"])),
        "llmembeddingtransformer__",
    ),
    "column transformer in pipeline": (
        lambda t: make_pipeline(make_column_transformer((t, ["text"]))),
        "columntransformer__llmembeddingtransformer__",
    ),
    "union": (lambda t: FeatureUnion([("llm", t)]), "llm__"),
    "search": (
        lambda t: GridSearchCV(Pipeline([("llm", t)]), {"llm__layer": [0]}),
        "estimator__llm__",
    ),
}


@pytest.mark.parametrize(("home", "prefix"), HOMES.values(), ids=HOMES)
def test_finds_the_transformer_and_sets_real_parameters(home, prefix):
    estimator = home(LLMEmbeddingTransformer())
    grid = layer_pooling_grid(estimator)
    assert grid == {
        f"{prefix}layer": [0, 1, 2, 3, 4],
        f"{prefix}pooling": POOLINGS,
    }
    assert {pooling.cells for pooling in grid[f"{prefix}pooling"]} == {"all"}
    for params in ParameterGrid(grid):
        estimator.set_params(**params)


def test_the_first_token_of_a_causal_decoder_is_left_out():
    decoder = LLMEmbeddingTransformer("a decoder")
    assert layer_pooling_grid(decoder)["pooling"] == [
        p for p in POOLINGS if p != "first"
    ]
    kept = ("all", ("mean", "weighted_mean", "last", "max"))
    assert layer_pooling_grid(decoder)["pooling"][0].cells == kept
    decoder.set_params(attention="bidirectional")
    assert layer_pooling_grid(decoder)["pooling"] == POOLINGS
    named = layer_pooling_grid(
        LLMEmbeddingTransformer("a decoder"), poolings=["first", "mean"]
    )
    assert named["pooling"] == ["first", "mean"]


def test_reads_the_model_that_the_transformer_names(four_layers):
    transformer = LLMEmbeddingTransformer("some/model", revision="v1")
    layer_pooling_grid(transformer)
    options = {"revision": "v1", "trust_remote_code": False, "token_env": None}
    assert four_layers == [("some/model", options)]


@pytest.mark.parametrize(
    ("layers", "poolings", "keep"),
    [
        ("all", POOLINGS, "all"),
        ("all", ["mean"], ("all", ("mean",))),
        ([0, 2], ["last", "mean"], ((0, 2), ("last", "mean"))),
        ([-1, 4, -2], ["mean"], ((3, 4), ("mean",))),
        ([0.5, 1.0], ["mean"], ((2, 4), ("mean",))),
        ([(1, -1), 0.25, (2, 3)], ["mean"], ((1, 2, 3, 4), ("mean",))),
        (range(3), POOLINGS, ((0, 1, 2), tuple(POOLINGS))),
        (np.arange(2), ["max"], ((0, 1), ("max",))),
    ],
)
def test_keep(layers, poolings, keep):
    grid = layer_pooling_grid(
        LLMEmbeddingTransformer(), layers=layers, poolings=poolings
    )
    assert grid["pooling"] == poolings
    assert {pooling.cells for pooling in grid["pooling"]} == {keep}
    everything = isinstance(layers, str)
    assert grid["layer"] == list(range(N_LAYERS + 1) if everything else layers)


def test_where_folds_grow_only_the_grids_cells_are_kept(bert, tmp_path, monkeypatch):
    """Later folds look like a refit; their new rows cost a second pass, and no more."""
    monkeypatch.setattr("sklearn_llm2vec._estimator.local.read_model", read_model)
    encoder = LLMEmbeddingTransformer(bert, cache=tmp_path, verbose=False)
    pipe = make_pipeline(encoder, LogisticRegression())
    grid = layer_pooling_grid(pipe, layers=[1, 2], poolings=["mean", "max"])
    X = [f"{color} {what}" for what in "abcdef" for color in ("red", "blue")]
    GridSearchCV(pipe, grid, cv=TimeSeriesSplit(3)).fit(X, [0, 1] * 6)
    info = EmbeddingCache(tmp_path).info()
    kept = {tuple(cell[:2]) for cell in info["spaces"][0]["cells"]}
    assert kept == {(1, "mean"), (1, "max"), (2, "mean"), (2, "max")}
    assert info["texts_encoded"] <= 2 * len(X)


def test_new_rows_end_a_search_that_is_fitted_anew(bert, tmp_path, monkeypatch):
    """best_params_ in another pipeline, fitted to more rows than the search had."""
    monkeypatch.setattr("sklearn_llm2vec._estimator.local.read_model", read_model)
    encoder = LLMEmbeddingTransformer(bert, cache=tmp_path, verbose=False)
    grid = layer_pooling_grid(encoder, layers=[1, 2], poolings=["mean", "max"])
    encoder.set_params(layer=1, pooling=grid["pooling"][0])
    cache = EmbeddingCache(tmp_path)
    encoder.fit_transform(["red", "blue"])  # as a candidate: all cells
    assert cache.info()["vectors"] == 2 * 4
    encoder.transform(["green"])  # its test fold
    assert cache.info()["vectors"] == 3 * 4
    encoder.transform(["yellow"])  # new rows
    assert cache.info()["vectors"] == 3 * 4 + 1
    encoder.fit_transform(["black"])  # fitted anew
    assert cache.info()["vectors"] == 4 * 4 + 1


@pytest.mark.parametrize(
    ("n_layers", "hidden_size"), [(28, 1024), (12, 768), (32, 4096)]
)
def test_the_advice_of_a_large_search_ends_its_warning(
    monkeypatch, n_layers, hidden_size
):
    large = SimpleNamespace(
        name="a decoder",
        n_layers=n_layers,
        hidden_size=hidden_size,
        causal=True,
        memo_directory=None,
    )
    monkeypatch.setattr(
        "sklearn_llm2vec._estimator.local.read_model", lambda *_, **__: large
    )
    with pytest.warns(UserWarning, match="Use fewer layers") as caught:
        layer_pooling_grid(LLMEmbeddingTransformer("a decoder"))
    advice = re.search(r"layers=range\((.*?)\)", str(caught[0].message)).group(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer_pooling_grid(
            LLMEmbeddingTransformer("a decoder"),
            layers=range(*map(int, advice.split(","))),
        )


def test_a_large_search_is_announced(monkeypatch):
    """31 layers of 576 features with 4 poolings, as of SmolLM2: 286 kB a text."""
    large = SimpleNamespace(
        name="a decoder",
        n_layers=30,
        hidden_size=576,
        causal=True,
        memo_directory=None,
    )
    monkeypatch.setattr(
        "sklearn_llm2vec._estimator.local.read_model", lambda *_, **__: large
    )
    with pytest.warns(
        UserWarning, match=r"124 fits for each fold.*285.7 kB for each t"
    ):
        layer_pooling_grid(LLMEmbeddingTransformer("a decoder"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer_pooling_grid(LLMEmbeddingTransformer("a decoder"), layers=range(0, 31, 4))


def test_layers_are_plain_numbers():
    layers = layer_pooling_grid(LLMEmbeddingTransformer(), layers=np.arange(2))["layer"]
    assert [type(layer) for layer in layers] == [int, int]


# --- several transformers ----------------------------------------------------------


@pytest.fixture
def two():
    return ColumnTransformer(
        [
            ("title", LLMEmbeddingTransformer(), ["title"]),
            ("body", LLMEmbeddingTransformer(), ["body"]),
        ]
    )


def test_several_need_a_prefix(two):
    with pytest.raises(ValueError, match=r"several .*'title', 'body'\. Select one"):
        layer_pooling_grid(two)


@pytest.mark.parametrize("prefix", ["body", "body__"])
def test_prefix_chooses(two, prefix):
    grid = layer_pooling_grid(two, prefix=prefix)
    assert list(grid) == ["body__layer", "body__pooling"]


def test_unknown_prefix(two):
    with pytest.raises(ValueError, match=r"must be one of 'title', 'body'\. Got 'x'"):
        layer_pooling_grid(two, prefix="x")


# --- refused -----------------------------------------------------------------------


def test_no_transformer():
    with pytest.raises(ValueError, match="Got RandomForestClassifier without one"):
        layer_pooling_grid(RandomForestClassifier())


@pytest.mark.parametrize("poolings", [["avg"], "mean", [], ["mean", "auto"]])
def test_wrong_poolings(poolings):
    with pytest.raises(ValueError, match=r"'poolings' parameter .* must be .* Got "):
        layer_pooling_grid(LLMEmbeddingTransformer(), poolings=poolings)


@pytest.mark.parametrize("layers", ["last", 3, [], None, [None], ["1"], [True], [()]])
def test_wrong_layers(layers):
    with pytest.raises(ValueError, match=r"'layers' parameter .* must be .* Got "):
        layer_pooling_grid(LLMEmbeddingTransformer(), layers=layers)


@pytest.mark.parametrize("layer", [5, -6, 1.5, (0, 5)])
def test_layers_that_the_model_has_not(layer):
    with pytest.raises(ValueError, match=r"'layer' parameter .* from -5 to 4 .* Got "):
        layer_pooling_grid(LLMEmbeddingTransformer(), layers=[layer])


# --- in a search -------------------------------------------------------------------


class Lengths(TransformerMixin, BaseEstimator):
    """Takes the parameters of the real one, and no model."""

    def __init__(self, layer=-1, pooling="auto"):
        self.layer = layer
        self.pooling = pooling

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.array([[len(text)] for text in X], dtype=float)


def test_a_search_takes_the_grid_with_tuples():
    grid = layer_pooling_grid(
        make_pipeline(LLMEmbeddingTransformer()),
        layers=[0, -1, 0.5, (1, 2)],
        poolings=["mean", "last"],
    )
    pipe = Pipeline(
        [("llmembeddingtransformer", Lengths()), ("c", LogisticRegression())]
    )
    X, y = ["a", "bbbbbb"] * 6, [0, 1] * 6
    search = GridSearchCV(pipe, grid, cv=2).fit(X, y)
    layers = search.cv_results_["param_llmembeddingtransformer__layer"]
    assert set(layers) == {0, -1, 0.5, (1, 2)}
    assert len(layers) == 8
    assert search.best_score_ == 1


def test_a_search_with_the_real_transformer(bert, monkeypatch):
    monkeypatch.setattr("sklearn_llm2vec._estimator.local.read_model", read_model)
    transformer = LLMEmbeddingTransformer(bert, cache=False)
    pipe = make_pipeline(transformer, LogisticRegression())
    grid = layer_pooling_grid(pipe, layers=[1, (1, -1)], poolings=["mean", "max"])
    X, y = ["red cat", "blue dog", "red card", "blue book"] * 2, [0, 1] * 4
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 4


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_is_one_pass_and_leaves_no_trace(bert, tmp_path, monkeypatch, n_jobs):
    """New rows of the best pipeline, saved or not, keep the chosen cell only."""
    monkeypatch.setattr("sklearn_llm2vec._estimator.local.read_model", read_model)
    pipe = make_pipeline(
        ColumnTransformer([("text", LLMEmbeddingTransformer(bert, cache=tmp_path), 0)]),
        LogisticRegression(),
    )
    grid = layer_pooling_grid(pipe, layers=[1, 2, 3], poolings=["mean", "max"])
    texts = [f"{color} {what}" for color in ("red", "blue") for what in "abcdef"]
    X, y = np.array(texts)[:, None], [0] * 6 + [1] * 6
    with threadpool_limits(1):
        search = GridSearchCV(pipe, grid, cv=3, n_jobs=n_jobs).fit(X, y)
    cache = EmbeddingCache(tmp_path)
    counts = cache.info()
    assert (counts["texts_encoded"], counts["vectors"]) == (12, 12 * 6)
    assert set(search.best_params_) == {
        "columntransformer__text__layer",
        "columntransformer__text__pooling",
    }
    assert b"sklearn_llm2vec._" not in pickle.dumps(search.best_params_)
    saved = pickle.dumps(search.best_estimator_)
    assert b"SearchedPooling" not in saved

    search.best_estimator_.predict(np.array([["green"]]))
    assert cache.info()["vectors"] == counts["vectors"] + 1
    pickle.loads(saved).predict(np.array([["yellow"]]))
    assert cache.info()["vectors"] == counts["vectors"] + 2
