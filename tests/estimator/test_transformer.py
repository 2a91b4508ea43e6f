"""The contract of the estimator: parameters, inputs, outputs, cache, scikit-learn."""

import copy
import io
import pickle
import time
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._encode.encoder import Encoder

TEXTS = ["card payment", "the bank", "a small blue cat", "the bank", "refund"]


@pytest.fixture
def make(bert, cache):
    def make(model=bert, **params):
        return LLMEmbeddingTransformer(model, **{"cache": cache, **params})

    return make


@pytest.fixture
def counted(monkeypatch):
    """The texts that went through a model, in order."""
    seen = []
    encode = Encoder.encode

    def counting(self, texts, *args, **kwargs):
        seen.extend(texts)
        return encode(self, texts, *args, **kwargs)

    monkeypatch.setattr(Encoder, "encode", counting)
    return seen


# --- parameters ----------------------------------------------------------------------


def test_init_only_stores():
    params = {name: object() for name in LLMEmbeddingTransformer().get_params()}
    estimator = LLMEmbeddingTransformer(**params)
    assert all(getattr(estimator, name) is value for name, value in params.items())
    assert estimator.get_params() == params


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer", "last"),
        ("layer", True),
        ("layer", ()),
        ("layer", None),
        ("layer", 1.5),
        ("layer", 4),
        ("layer", -5),
        ("layer", (0, 9)),
        ("layer", float("nan")),
        ("pooling", "avg"),
        ("layer", "best"),
        ("cache", ""),
        ("cache", " "),
        ("pooling", None),
        ("special_tokens", "yes"),
        ("special_tokens", 1),
        ("attention", "both"),
        ("attention", "causal"),  # of an encoder
        ("n_components", 0),
        ("n_components", 2.0),
        ("n_components", 33),
        ("normalize", "l2"),
        ("missing", "drop"),
        ("max_length", 0),
        ("max_length", 10**6),
        ("long_texts", "chop"),
        ("cache", 1),
        ("keep", "everything"),
        ("keep", ([0], ["avg"])),
        ("keep", ([0],)),
        ("dtype", "fp32"),
        ("batch_tokens", -1),
        ("batch_tokens", "many"),
        ("revision", 1),
        ("trust_remote_code", "yes"),
        ("verbose", 2),
    ],
)
def test_bad_parameters_say_what_was_expected_and_what_came(make, name, value):
    estimator = make(**{name: value})
    with pytest.raises(ValueError, match=f"'{name}' parameter.*must.*Got") as error:
        estimator.fit(TEXTS)
    assert str(value) in str(error.value) or repr(value) in str(error.value)


@pytest.mark.parametrize(
    ("layer", "which"),
    [
        (0, 0),
        (2, 2),
        (-1, 3),
        (-4, 0),
        (0.0, 0),
        (0.5, 2),
        (1.0, 3),
        (np.int64(1), 1),
        ((1, -1), (1, 3)),
        ((0.0, 2), (0, 2)),
    ],
)
def test_layers(make, layer, which):
    estimator = make(layer=layer).fit(TEXTS)
    assert estimator.layer_ == which
    got = estimator.transform(TEXTS)
    several = which if isinstance(which, tuple) else (which,)
    parts = [make(layer=k).fit_transform(TEXTS) for k in several]
    np.testing.assert_array_equal(
        got, sum(parts[1:], parts[0]) / np.float32(len(parts))
    )


def test_layers_and_poolings_differ(make):
    cells = [
        make(layer=layer, pooling=pooling).fit_transform(TEXTS)
        for layer in range(4)
        for pooling in ("mean", "weighted_mean", "last", "first", "max")
    ]
    for i, one in enumerate(cells):
        for other in cells[:i]:
            # [CLS] of the embeddings alone is the same for "first" only
            assert not np.allclose(one, other)


def test_auto_means_what_the_model_is(make, bert, llama):
    encoder, decoder = make(bert).fit(TEXTS), make(llama).fit(TEXTS)
    assert (encoder.pooling_, decoder.pooling_) == ("mean", "weighted_mean")
    for model, special in ((bert, True), (llama, False)):
        auto = make(model).fit_transform(TEXTS)
        same = make(model, special_tokens=special).fit_transform(TEXTS)
        other = make(model, special_tokens=not special).fit_transform(TEXTS)
        np.testing.assert_array_equal(auto, same)
        assert not np.allclose(auto, other)


def test_set_params_takes_effect(make, bert, llama):
    estimator = make(bert).fit(TEXTS)
    estimator.set_params(layer=1, pooling="max")
    np.testing.assert_array_equal(
        estimator.transform(TEXTS), make(bert, layer=1, pooling="max").transform(TEXTS)
    )
    estimator.set_params(model=llama)
    np.testing.assert_array_equal(
        estimator.transform(TEXTS), make(llama, layer=1, pooling="max").transform(TEXTS)
    )


# --- inputs and outputs --------------------------------------------------------------


def frames():
    column = ["a card", None, "the bank"]
    return {
        "list": column,
        "object array": np.array(column, dtype=object),
        "pandas Series": pd.Series(column, index=[7, 3, 5], name="t"),
        "pandas string Series": pd.Series(column, dtype="string"),
        "polars Series": pl.Series("t", column),
        "pandas frame": pd.DataFrame({"t": column}),
        "polars frame": pl.DataFrame({"t": column}),
        "2-D array": np.array(column, dtype=object)[:, None],
        "pandas category": pd.DataFrame({"t": pd.Categorical(column)}),
    }


@pytest.mark.parametrize("kind", frames())
def test_every_kind_of_input_gives_the_same_features(make, kind):
    X = frames()[kind]
    want = make().fit_transform(["a card", "the bank"])
    for got in (
        make().fit(X).transform(X),
        make().fit_transform(X),
        make().transform(X),
    ):
        assert got.dtype == np.float32
        assert got.shape == (3, 32)
        np.testing.assert_array_equal(got[[0, 2]], want)
        np.testing.assert_array_equal(got[1], 0)


def test_missing_values(make):
    X = ["a card", None, np.nan, pd.NA, pd.NaT]
    assert np.isnan(make(missing="nan").fit_transform(X)[1:]).all()
    assert (make(missing="zero").fit_transform(X)[1:] == 0).all()
    empty = make(missing="empty").fit_transform(X)
    np.testing.assert_array_equal(empty[1:], np.repeat(make().transform([""]), 4, 0))
    with pytest.raises(ValueError, match="missing"):
        make(missing="error").fit_transform(X)


def test_zeros_of_missing_texts_take_part_in_the_pca(make):
    """As in a pipeline with scikit-learn's own PCA; NaN stays NaN, and takes no part."""
    from sklearn.decomposition import PCA

    texts = ["card", "the bank", "a cat", "refund", "red", "blue", None, None, "dog"]
    plain = make().fit_transform(texts)
    expected = PCA(2, random_state=0).fit(plain).transform(plain)
    reduced = make(n_components=2, random_state=0)
    features = reduced.fit_transform(texts)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert np.linalg.norm(features[6]) > 0.1
    np.testing.assert_array_equal(reduced.transform([None]), features[[6]])

    skipped = make(n_components=2, random_state=0, missing="nan")
    found = skipped.fit_transform(texts)
    present = plain[[0, 1, 2, 3, 4, 5, 8]]
    np.testing.assert_allclose(
        skipped.pca_[0].mean_, PCA(2).fit(present).mean_, atol=1e-6
    )
    assert np.isnan(found[6:8]).all() and np.isfinite(np.delete(found, [6, 7], 0)).all()


def test_all_missing(make, counted):
    assert (make().fit_transform([None, None]) == np.zeros((2, 32))).all()
    assert counted == []


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("a text", ValueError, "string"),
        (b"a text", TypeError, "bytes"),
        ([b"a text"], TypeError, "bytes"),
        ([1, 2], TypeError, "int"),
        (["a", 2], TypeError, "int"),
        (np.zeros((2, 2)), TypeError, "float"),
        ([], ValueError, "0 sample"),
        (pd.DataFrame({"a": ["x"], "n": [1]}), TypeError, "'n'"),
    ],
)
def test_data_of_the_wrong_kind(make, counted, X, error, message):
    for method in ("fit", "transform", "fit_transform"):
        with pytest.raises(error, match=message):
            getattr(make(), method)(X)
    assert counted == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\t",
        "\0",
        "a\0b",
        "\ud800",
        "x\udfffy",
        "🙂👩‍👩‍👧",
        "שלום עולם",
        "مرحبا",
        "\ufeff",
    ],
)
def test_odd_texts_have_a_vector_that_doesnt_depend_on_others(make, text):
    alone = make(cache=None).fit_transform([text])
    assert np.isfinite(alone).all()
    among = make().fit_transform([*TEXTS, text])
    np.testing.assert_array_equal(among[-1:], alone)
    again = make().fit_transform([text])
    np.testing.assert_array_equal(again, alone)


def test_a_megabyte_of_text(make):
    estimator = make(max_length=100)
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than 100 tokens"):
        got = estimator.fit_transform(["card bank " * 100_000, "card"])
    np.testing.assert_array_equal(
        got[:1], make(max_length=100).fit_transform(["card bank " * 49])
    )


def test_long_texts_can_be_refused_before_anything_is_encoded(make, counted):
    estimator = make(max_length=5, long_texts="error")
    with pytest.raises(ValueError, match=r"at most 5.*Got 1 .*has 8 .*'a b c d e f'"):
        estimator.fit_transform(["a", "a b c d e f"])
    assert counted == []
    assert estimator.fit_transform(["a b"]).shape == (1, 32)


def test_long_texts_are_refused_whatever_the_cache_holds(make):
    long = "card bank dog cat red blue"
    with pytest.warns(UserWarning, match="1 of 1 texts are longer than 5 tokens"):
        make(max_length=5).fit_transform([long])
    estimator = make(max_length=5, long_texts="error")
    with pytest.raises(ValueError, match=r"at most 5.*Got 1 .*has 8"):
        estimator.fit_transform([long])
    make(max_length=5).fit_transform(["a"])
    estimator.fit_transform(["a"])
    assert estimator.last_report_.cached == 1


def test_columns_are_blocks_and_share_one_pass(make, counted):
    X = pd.DataFrame(
        {"title": ["a card", "bank"], "review": ["bank", None]}, index=[5, 2]
    )
    estimator = make().fit(X)
    got = estimator.transform(X)
    assert got.shape == (2, 64)
    np.testing.assert_array_equal(got[:, :32], make().transform(["a card", "bank"]))
    np.testing.assert_array_equal(got[:, 32:], make().transform(["bank", None]))
    assert sorted(counted) == ["a card", "bank"]
    assert list(estimator.feature_names_in_) == ["title", "review"]
    assert estimator.n_features_in_ == 2
    names = estimator.get_feature_names_out()
    assert [names[0], names[31], names[32]] == ["title_0", "title_31", "review_0"]


def test_names_of_nameless_columns(make):
    assert make().fit(TEXTS).get_feature_names_out()[1] == "llm_1"
    assert make().fit(pd.Series(TEXTS, name="t")).get_feature_names_out()[1] == "t_1"
    two = make().fit(np.array([["a", "b"]], dtype=object)).get_feature_names_out()
    assert [two[0], two[32]] == ["x0_0", "x1_0"]
    assert not hasattr(make().fit(TEXTS), "feature_names_in_")
    assert make().fit(TEXTS).get_feature_names_out(["t"])[0] == "t_0"
    with pytest.raises(ValueError, match="length equal to number of features"):
        make().fit(TEXTS).get_feature_names_out(["t", "u"])
    with pytest.raises(ValueError, match="not equal to feature_names_in_"):
        make().fit(pd.DataFrame({"a": TEXTS})).get_feature_names_out(["b"])
    with pytest.raises(NotFittedError):
        make().get_feature_names_out()


def test_set_output(make):
    X = pd.DataFrame({"t": TEXTS}, index=list("vwxyz"))
    frame = make().set_output(transform="pandas").fit(X).transform(X)
    assert list(frame.index) == list("vwxyz")
    assert list(frame.columns[:2]) == ["t_0", "t_1"]
    assert set(frame.dtypes) == {np.dtype("float32")}
    frame = (
        make().set_output(transform="polars").fit_transform(pl.DataFrame({"t": TEXTS}))
    )
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns[31] == "t_31"
    np.testing.assert_array_equal(frame.to_numpy(), make().transform(TEXTS))


@pytest.mark.parametrize("kind", ["Series", "DataFrame"])
def test_pandas_output_has_the_index_of_a_series_too(make, kind):
    X = pd.DataFrame({"t": TEXTS}, index=list("vwxyz"))
    X = X["t"] if kind == "Series" else X
    encoder = make().set_output(transform="pandas")
    for frame in (encoder.fit_transform(X), encoder.transform(X)):
        assert list(frame.index) == list("vwxyz")
        assert list(frame.columns[:2]) == ["t_0", "t_1"]
    assert isinstance(make().fit_transform(X), np.ndarray)


def test_columns_at_transform(make):
    X = pd.DataFrame({"a": ["x", "y"], "b": ["u", "v"]})
    estimator = make().fit(X)
    with pytest.raises(ValueError, match="seen at fit time, yet now missing:\n- b"):
        estimator.transform(X[["a"]])
    with pytest.raises(ValueError, match="unseen at fit time:\n- c"):
        estimator.transform(X.rename(columns={"b": "c"}))
    with pytest.raises(ValueError, match="same order"):
        estimator.transform(X[["b", "a"]])
    with pytest.raises(ValueError, match="X has 1 features, but .* expecting 2"):
        estimator.transform(["x"])


def test_normalize(make):
    got = make(normalize=True).fit_transform([*TEXTS, None])
    np.testing.assert_allclose(np.linalg.norm(got[:-1], axis=1), 1, rtol=1e-6)
    assert (got[-1] == 0).all()


def test_truncate_dim_takes_the_first_features(make, counted, cache):
    X = pd.DataFrame({"a": TEXTS, "b": [*TEXTS[::-1][:-1], None]})
    whole = make().fit_transform(X)
    estimator = make(truncate_dim=5)
    got = estimator.fit_transform(X)
    np.testing.assert_array_equal(got, whole[:, [*range(5), *range(32, 37)]])
    assert estimator.embedding_dim_ == 5
    names = ["a_0", "a_1", "a_2", "a_3", "a_4", "b_0", "b_1", "b_2", "b_3", "b_4"]
    assert list(estimator.get_feature_names_out()) == names
    assert got.flags.c_contiguous
    # The cache has whole vectors, under the same names.
    assert len(counted) == 4
    assert estimator.fingerprint_ == make().fit(X).fingerprint_

    first = make().fit_transform(TEXTS)[:, :5]
    unit = make(truncate_dim=5, normalize=True).fit_transform(TEXTS)
    np.testing.assert_allclose(
        unit, first / np.linalg.norm(first, axis=1, keepdims=True), rtol=1e-6
    )
    pca = make(truncate_dim=5, n_components=2).fit(TEXTS)
    assert pca.pca_[0].n_features_in_ == 5
    assert pca.transform(TEXTS).shape == (5, 2)
    assert make(truncate_dim=32).fit_transform(X).shape == (5, 64)
    with pytest.raises(ValueError, match="'truncate_dim'.*at most 32.*Got 33"):
        make(truncate_dim=33).fit(TEXTS)


def test_pca_is_one_a_column_and_learned_in_fit(make):
    rng = np.random.default_rng(0)
    words = np.array("card bank cat dog red blue small large reads table".split())
    X = pd.DataFrame(
        {c: [" ".join(rng.choice(words, 5)) for _ in range(30)] for c in "ab"}
    )
    X.loc[3, "a"] = None
    estimator = make(n_components=4, random_state=0)
    with pytest.raises(NotFittedError, match="'n_components' call 'fit'"):
        estimator.transform(X)
    got = estimator.fit_transform(X)
    assert got.shape == (30, 8)
    assert list(estimator.get_feature_names_out()[3:5]) == ["a_3", "b_0"]
    np.testing.assert_allclose(got, estimator.transform(X), atol=1e-6)
    for n, column in enumerate("ab"):
        raw = make().fit_transform(X[column])
        want = estimator.pca_[n].transform(raw)
        np.testing.assert_allclose(got[:, 4 * n : 4 * n + 4], want, atol=1e-5)
        np.testing.assert_allclose(want.mean(0), 0, atol=1e-4)
    with pytest.raises(ValueError, match=r"'n_components'.*\(2\).*Got 4"):
        make(n_components=4).fit(["a", "b"])


def test_too_few_texts_for_a_pca_are_refused_before_the_pass(make, tmp_path):
    with EmbeddingCache(tmp_path / "empty") as cache:
        with pytest.raises(ValueError, match="'n_components'"):
            make(n_components=4, cache=cache).fit(["a", "b"])
        assert cache.info()["texts_encoded"] == 0


# --- the cache -----------------------------------------------------------------------


def test_every_text_goes_through_the_model_once(make, counted):
    estimator = make()
    first = estimator.fit_transform(TEXTS)
    assert sorted(counted) == sorted(set(TEXTS))
    report = estimator.last_report_
    assert (report.texts, report.unique, report.cached, report.encoded) == (5, 4, 0, 4)
    assert report.bytes_written >= 4 * 32 * 4
    assert report.tokens >= 4 * 3
    again = make()
    np.testing.assert_array_equal(again.fit(TEXTS).transform(TEXTS[::-1]), first[::-1])
    assert (again.last_report_.cached, again.last_report_.encoded) == (4, 0)
    assert len(counted) == 4
    make().transform(["the bank", "new"])
    assert counted[4:] == ["new"]


@pytest.mark.parametrize(
    "change",
    [
        {"special_tokens": False},
        {"max_length": 100},
        {"dtype": "bfloat16"},
    ],
)
def test_what_changes_vectors_has_its_own_space(make, counted, change):
    a = make().fit(TEXTS)
    a.transform(TEXTS)
    b = make(**change).fit(TEXTS)
    b.transform(TEXTS)
    assert a.fingerprint_ != b.fingerprint_
    assert len(counted) == 8


@pytest.mark.parametrize(
    "change",
    [
        {"normalize": True},
        {"n_components": 2},
        {"batch_tokens": 64},
        {"missing": "nan"},
        {"device": "cpu"},
        {"verbose": False},
    ],
)
def test_what_doesnt_change_vectors_shares_them(make, counted, change):
    a = make().fit(TEXTS)
    a.transform(TEXTS)
    b = make(**change).fit(TEXTS)
    b.transform(TEXTS)
    assert a.fingerprint_ == b.fingerprint_
    assert len(counted) == 4


def test_keep_requested_all_and_named(make, cache, counted):
    make(keep="requested", layer=1, pooling="max").fit_transform(TEXTS)
    assert cache.info()["vectors"] == 4
    make(keep=([0, -1], ["mean"]), layer=1, pooling="last").fit_transform(["x y"])
    (space,) = cache.info()["spaces"]
    assert {(0, "mean"), (3, "mean"), (1, "last")} <= {tuple(c) for c in space["cells"]}
    make(keep="all").fit_transform(["z"])
    n = len(counted)
    for layer in range(4):
        for pooling in ("mean", "weighted_mean", "last", "first", "max"):
            make(layer=layer, pooling=pooling).fit_transform(["z"])
    assert len(counted) == n


def test_keep_auto_takes_everything_in_the_second_pass(make, counted):
    for layer in range(4):
        for pooling in ("mean", "last", "max"):
            make(layer=layer, pooling=pooling).fit_transform(TEXTS)
    assert len(counted) == 2 * 4


def test_keep_auto_says_when_everything_is_too_much(bert, tmp_path, counted):
    cache = EmbeddingCache(tmp_path, size_limit=4000)
    made = LLMEmbeddingTransformer(bert, cache=cache, layer=0)
    made.fit_transform(TEXTS)
    with pytest.warns(UserWarning, match="size_limit"):
        made.set_params(layer=1).fit_transform(TEXTS)
    assert cache.info()["vectors"] == 8


def test_the_bits_dont_depend_on_cache_or_keep(make, texts):
    reference = make(cache=None).fit_transform(texts)
    for keep in ("requested", "all", "auto", ([1], ["max"])):
        estimator = make(keep=keep)
        np.testing.assert_array_equal(estimator.fit_transform(texts), reference)
        np.testing.assert_array_equal(estimator.transform(texts), reference)
        estimator.cache.clear()


@pytest.mark.parametrize("off", [None, False])
def test_without_cache(make, counted, off, tmp_path):
    estimator = make(cache=off)
    estimator.fit(TEXTS)
    estimator.transform(TEXTS)
    estimator.transform(TEXTS)
    assert len(counted) == 8
    assert estimator.last_report_.bytes_written == 0


def test_cache_as_path(bert, tmp_path, counted):
    for path in (tmp_path / "c", str(tmp_path / "c")):
        LLMEmbeddingTransformer(bert, cache=path).fit_transform(TEXTS)
    assert len(counted) == 4
    assert EmbeddingCache(tmp_path / "c").info()["texts"] == 4


def test_a_cache_path_that_is_a_file_is_refused_before_encoding(
    bert, tmp_path, counted
):
    path = tmp_path / "file"
    path.write_text("not a folder")
    with pytest.raises(ValueError, match="must be a folder"):
        LLMEmbeddingTransformer(bert, cache=path).fit_transform(TEXTS)
    assert counted == []
    assert path.read_text() == "not a folder"


def test_a_damaged_row_is_made_again(make, cache, counted):
    import sqlite3

    want = make().fit_transform(TEXTS)
    with sqlite3.connect(cache.path / "embeddings.sqlite3") as db:
        ((n, data),) = db.execute("SELECT rowid, data FROM cells").fetchall()
        damaged = bytearray(data)
        damaged[5] ^= 255
        db.execute("UPDATE cells SET data = ? WHERE rowid = ?", (bytes(damaged), n))
    db.close()
    with pytest.warns(UserWarning, match="damaged"):
        np.testing.assert_array_equal(make().fit_transform(TEXTS), want)
    assert len(counted) == 5


# --- scikit-learn --------------------------------------------------------------------


def test_fit_reads_no_weights(make, monkeypatch):
    monkeypatch.setattr(
        "sklearn_llm2vec._model.loading.load_network", lambda *_: pytest.fail("loaded")
    )
    estimator = make()
    assert estimator.fit(TEXTS) is estimator
    assert estimator.embedding_dim_ == 32
    assert estimator.n_layers_ == 3


def test_clones_share_the_model(make, monkeypatch):
    from sklearn_llm2vec._model import loading
    from sklearn_llm2vec._model.registry import forget_models

    loads = []
    load = loading.load_network
    monkeypatch.setattr(loading, "load_network", lambda *a: loads.append(a) or load(*a))
    forget_models()
    estimator = make(cache=None)
    for _ in range(3):
        clone(estimator).fit_transform(TEXTS)
    assert len(loads) == 1


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("how", ["pickle", "joblib", "copy", "deepcopy"])
def test_copies_give_the_same_features_and_are_small(make, how, fitted, tmp_path):
    estimator = make(n_components=2 if fitted else None)
    want = estimator.fit_transform(TEXTS)
    if not fitted:
        estimator = make()
    if how == "joblib":
        joblib.dump(estimator, tmp_path / "e")
        other = joblib.load(tmp_path / "e")
    else:
        other = {
            "pickle": lambda e: pickle.loads(pickle.dumps(e)),
            "copy": copy.copy,
            "deepcopy": copy.deepcopy,
        }[how](estimator)
    np.testing.assert_allclose(other.transform(TEXTS), want, atol=1e-6)
    assert len(pickle.dumps(make().fit(TEXTS))) < 5_000


def test_fitting_again_forgets_what_was_learned(make):
    estimator = make(n_components=2).fit(pd.DataFrame({"a": TEXTS}))
    estimator.set_params(n_components=None).fit(TEXTS)
    assert not hasattr(estimator, "pca_")
    assert not hasattr(estimator, "feature_names_in_")


def test_a_changed_model_is_refused_after_fit(bert, cache, tmp_path):
    import shutil

    folder = shutil.copytree(bert, tmp_path / "model")
    estimator = LLMEmbeddingTransformer(folder, cache=cache).fit(TEXTS)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="must be the same as in 'fit'"):
        estimator.transform(TEXTS)
    assert estimator.fit(TEXTS).transform(TEXTS).shape == (5, 32)


def table(n=40):
    rng = np.random.default_rng(0)
    words = np.array("card bank cat dog red blue small large reads table".split())
    y = np.arange(n) % 2
    return pd.DataFrame(
        {
            "title": [" ".join(rng.choice(words[5 * k : 5 * k + 5], 3)) for k in y],
            "review": [" ".join(rng.choice(words, 6)) for _ in y],
            "price": rng.normal(size=n),
        }
    ), y


@pytest.mark.parametrize("columns", ["title", ["title"], ["title", "review"]])
def test_in_a_column_transformer(make, columns):
    X, y = table()
    transformer = make_column_transformer((make(), columns), remainder="passthrough")
    X = X.drop(columns=[] if "review" in columns else ["review"])
    pipe = make_pipeline(transformer, StandardScaler(), LogisticRegression()).fit(X, y)
    assert pipe.score(X, y) == 1
    names = pipe[:-1].get_feature_names_out()
    assert names[0] == "llmembeddingtransformer__title_0"
    n_text = 1 if isinstance(columns, str) else len(columns)
    assert len(names) == 32 * n_text + 1


def test_in_a_union_a_cross_validation_and_frozen(make, counted):
    X, y = table()
    union = FeatureUnion([("a", make(layer=1)), ("b", make(layer=2, keep="all"))])
    pipe = make_pipeline(union, LogisticRegression())
    assert cross_val_score(pipe, X["title"], y, cv=4).mean() > 0.9
    frozen = FrozenEstimator(make().fit(X["title"]))
    assert clone(frozen).transform(X["title"]).shape == (40, 32)


def test_pandas_output_through_a_column_transformer(make):
    X, _ = table()
    transformer = ColumnTransformer(
        [("t", make(), "title"), ("p", "passthrough", ["price"])]
    )
    X.index = X.index[::-1] + 7
    frame = transformer.set_output(transform="pandas").fit_transform(X)
    assert list(frame.columns[[0, 32]]) == ["t__title_0", "p__price"]
    np.testing.assert_array_equal(frame["p__price"], X["price"])
    assert list(frame.index) == list(X.index)
    assert frame.shape == (40, 33)


def test_repr_and_html(make):
    assert "layer=2" in repr(make(layer=2))
    assert "LLMEmbeddingTransformer" in make()._repr_html_()


# check_estimator skips nearly all checks for estimators of text; these apply.
CHECKS = [
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_mixin_order,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_scikit_learns_checks(check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check("LLMEmbeddingTransformer", LLMEmbeddingTransformer())


def test_fit_is_idempotent_and_leaves_parameters_alone(make):
    estimator = make(layer=(1, -1), keep=([0], ["mean"]))
    params = estimator.get_params()
    first = estimator.fit(TEXTS).transform(TEXTS)
    np.testing.assert_array_equal(estimator.fit(TEXTS).transform(TEXTS), first)
    assert estimator.get_params() == params


def test_rows_order_and_subsets(make):
    whole = make().fit_transform(TEXTS)
    order = [3, 0, 4, 1, 2]
    estimator = make().fit(TEXTS)
    np.testing.assert_array_equal(
        estimator.transform([TEXTS[i] for i in order]), whole[order]
    )
    np.testing.assert_array_equal(
        np.concatenate([estimator.transform([t]) for t in TEXTS]), whole
    )


def test_the_bar_begins_when_the_model_is_loaded(make, monkeypatch):
    from tqdm.auto import tqdm

    from sklearn_llm2vec._estimator import local

    made, loaded = [], []

    def keep(total, unit, description, verbose, **options):
        made.append(tqdm(total=total, disable=False, file=io.StringIO(), **options))
        return made[0]

    load = local.LocalSource.encoder

    def slow(self, depth):
        encoder = load(self, depth)
        loaded.append(time.time())
        return encoder

    monkeypatch.setattr("sklearn_llm2vec._estimator.vectors.progress_bar", keep)
    monkeypatch.setattr(local.LocalSource, "encoder", slow)
    make(cache=None).fit_transform(TEXTS)
    assert made[0].start_t >= loaded[0]
    assert made[0].n == made[0].total


def test_progress_bar(make, capsys):
    make(verbose=True).fit_transform(TEXTS)
    assert "Encoding" in capsys.readouterr().err
    make(verbose=False).fit_transform(["new"])
    make(verbose="auto").fit_transform(["quick"])
    assert capsys.readouterr().err == ""
