"""Warnings point to the user's line, so that Python shows each call's own."""

import json
import shutil
import sqlite3
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._cache.connections import FILE

LONG = "card bank dog cat red blue"
CUT = "texts are longer than 4 tokens"
Y = [0, 1] * 4


def texts(n):
    """Eight long texts that no other call has."""
    return [f"{LONG} {chr(97 + n)} {chr(97 + i)}" for i in range(8)]


@pytest.fixture
def make(bert, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")

    def make(**params):
        return LLMEmbeddingTransformer(bert, **{"cache": cache, **params})

    return make


def in_a_column_transformer(encoder):
    return ColumnTransformer([("text", encoder, "text")])


def test_a_second_line_is_warned_of_too(make):
    encoder = make(max_length=4)
    pipe = make_pipeline(encoder, LogisticRegression())
    columns = make_pipeline(in_a_column_transformer(encoder), LogisticRegression())
    frames = [pd.DataFrame({"text": texts(n)}) for n in range(8)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # once for each line
        encoder.fit_transform(texts(0))
        encoder.transform(texts(1))
        pipe.fit(texts(2), Y)
        pipe.predict(texts(3))
        columns.fit(frames[4], Y)
        cross_validate(pipe, texts(5), Y, cv=2)
        cross_validate(columns, frames[6], Y, cv=2, n_jobs=1, error_score="raise")
        for n in (7, 8):  # one line
            encoder.transform(texts(n))
    caught = [one for one in caught if CUT in str(one.message)]
    assert {one.filename for one in caught} == {__file__}
    lines = [one.lineno for one in caught]
    assert len(set(lines)) == 8
    assert lines.count(max(lines)) == 1


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_no_warning_points_into_a_library(make, n_jobs, recwarn):
    from joblib import parallel_config

    warnings.simplefilter("always")
    pipe = make_pipeline(make(max_length=4), LogisticRegression())
    with parallel_config("threading"):
        cross_validate(pipe, texts(0), Y, cv=2, n_jobs=n_jobs)
    files = {one.filename for one in recwarn if CUT in str(one.message)}
    assert files and not any("sklearn" in file.split("/")[-2] for file in files)


def test_a_search_that_outgrows_its_cache_says_where(bert, tmp_path):
    cache = EmbeddingCache(tmp_path, size_limit=4000)
    encoder = LLMEmbeddingTransformer(bert, cache=cache, layer=0)
    encoder.fit_transform(["card", "bank", *list("abcdefg")])
    with pytest.warns(UserWarning, match="size_limit") as caught:
        encoder.set_params(layer=1).transform(["card", "bank", *list("abcdefg")])
    assert caught[0].filename == __file__


def refuse(*args, **kwargs):
    raise sqlite3.OperationalError("unable to open database file")


def damage(cache):
    with sqlite3.connect(cache.path / FILE) as db:
        db.execute("UPDATE cells SET data = zeroblob(length(data))")
    db.close()


@pytest.mark.parametrize(
    ("names", "replacement", "message"),
    [
        (("connections", "connect"), refuse, "can't be written"),
        (("database", "_write_ahead"), lambda db: "delete", "write-ahead log"),
    ],
)
def test_a_place_that_cant_be_a_cache_says_where(
    make, monkeypatch, names, replacement, message
):
    monkeypatch.setattr(".".join(("sklearn_llm2vec._cache", *names)), replacement)
    with pytest.warns(UserWarning, match=message) as caught:
        make().transform(texts(0))
    assert {one.filename for one in caught} == {__file__}


def test_damaged_rows_say_where(make):
    encoder = make()
    encoder.transform(texts(0))
    damage(encoder.cache)
    with pytest.warns(UserWarning, match="8 damaged rows") as caught:
        encoder.transform(texts(0))
    assert {one.filename for one in caught} == {__file__}


def test_each_use_of_a_damaged_cache_is_warned_of(tmp_path):
    cache, keys = EmbeddingCache(tmp_path), [b"0123456789abcdef"]
    out = np.ones((1, 4), np.float32)
    cache.put_many("s", keys, {(0, "mean"): out})
    damage(cache)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # once for each line
        cache.get_many("s", keys, 0, "mean", out)
        cache.get_many("s", keys, 0, "mean", out)
    assert [one.filename for one in caught] == [__file__] * 2
    assert len({one.lineno for one in caught}) == 2


# --- names of columns, as scikit-learn warns of them ---------------------------------


NO_NAMES = "X does not have valid feature names, but LLMEmbeddingTransformer was"
NAMES = "X has feature names, but LLMEmbeddingTransformer was fitted without"
COLUMN = ["card payment", "the bank"]


@pytest.mark.parametrize(
    ("fitted", "X", "message"),
    [
        (pd.DataFrame({"t": COLUMN}), COLUMN, NO_NAMES),
        (pd.DataFrame({"t": COLUMN}), np.array(COLUMN, object), NO_NAMES),
        (pd.DataFrame({"t": COLUMN}), pd.Series(COLUMN, name="u"), NO_NAMES),
        (pd.DataFrame({"t": COLUMN}), pd.Series(COLUMN), NO_NAMES),
        (COLUMN, pd.DataFrame({"t": COLUMN}), NAMES),
        (pd.DataFrame({"t": COLUMN}), pd.DataFrame({"t": COLUMN}), None),
        (pd.DataFrame({"t": COLUMN}), pd.Series(COLUMN, name="t"), None),
        (pd.Series(COLUMN, name="t"), pd.DataFrame({"t": COLUMN}), None),
        (pd.Series(COLUMN, name="t"), COLUMN, None),
        (COLUMN, pd.Series(COLUMN, name="t"), None),
        (COLUMN, np.array(COLUMN, object), None),
    ],
)
def test_other_names_than_in_fit(make, fitted, X, message):
    encoder = make().fit(fitted)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = encoder.transform(X)
    assert [one.filename for one in caught] == ([__file__] if message else [])
    assert not message or message in str(caught[0].message)
    np.testing.assert_array_equal(got, make().transform(COLUMN))


def test_a_network_whose_own_code_is_left_out(llama, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling.Ours"}
    (folder / "config.json").write_text(json.dumps(config))
    encoder = LLMEmbeddingTransformer(str(folder), cache=None)
    with pytest.warns(UserWarning, match=r"its own code.*modeling\.Ours.*isn't run"):
        plain = encoder.fit_transform(["red card"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        causal = encoder.set_params(attention="causal").fit_transform(["red card"])
    np.testing.assert_array_equal(plain, causal)
