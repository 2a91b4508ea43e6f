"""Values of parameters: numpy's are Python's, and what a model allows."""

import enum

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._estimator.parameters import check_parameters, plain_parameters
from sklearn_llm2vec._estimator.resolve import resolve_keep
from sklearn_llm2vec._network.pooling import POOLINGS

TEXTS = ["card payment", "the bank", "a small blue cat", "the bank", "refund"]


@pytest.fixture
def make(bert, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")

    def make(**params):
        return LLMEmbeddingTransformer(bert, **{"cache": cache, **params})

    return make


class Pooling(str, enum.Enum):
    MAX = "max"


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("pooling", np.str_("max"), "max"),
        ("pooling", Pooling.MAX, "max"),
        ("layer", np.int64(1), 1),
        ("layer", np.float32(0.5), 0.5),
        ("layer", (np.int64(1), np.int8(-1)), (1, -1)),
        ("special_tokens", np.bool_(False), False),
        ("attention", np.str_("bidirectional"), "bidirectional"),
        ("template", np.str_("the {text}"), "the {text}"),
        ("n_components", np.int64(2), 2),
        ("truncate_dim", np.int64(7), 7),
        ("normalize", np.bool_(True), True),
        ("missing", np.str_("nan"), "nan"),
        ("max_length", np.int64(50), 50),
        ("long_texts", np.str_("chunk"), "chunk"),
        ("keep", np.str_("all"), "all"),
        ("keep", (np.array([0, -1]), np.array(["max"])), ([0, -1], ["max"])),
        ("device", np.str_("cpu"), "cpu"),
        ("dtype", np.str_("bfloat16"), "bfloat16"),
        ("batch_tokens", np.int64(64), 64),
        ("batch_tokens", np.str_("auto"), "auto"),
        ("trust_remote_code", np.bool_(False), False),
        ("verbose", np.bool_(False), False),
        ("random_state", np.int64(0), 0),
        ("cache", np.bool_(False), False),
    ],
)
def test_numpys_values_mean_what_pythons_mean(make, name, value, same):
    one, other = make(**{name: value}), make(**{name: same})
    got, want = one.fit_transform(TEXTS), other.fit_transform(TEXTS)
    np.testing.assert_array_equal(got, want)
    assert one.get_params()[name] is value  # as scikit-learn wants it
    assert one.fingerprint_ == other.fingerprint_
    if name != "cache":
        assert other.last_report_.encoded == 0
    for attribute in ("layer_", "pooling_", "embedding_dim_", "n_layers_"):
        assert repr(getattr(one, attribute)) == repr(getattr(other, attribute))
    if name != "keep":
        states = one.__getstate__(), other.__getstate__()
        assert repr(states[0][name]) == repr(states[1][name])


def test_a_search_over_arrays_is_that_over_lists(make):
    texts, y = [f"{a} {b}" for a in ("cat", "card") for b in "abcdef"], [0, 1] * 6
    pipe = make_pipeline(make(), LogisticRegression())
    values = {"layer": [0, 2], "pooling": ["mean", "max"], "normalize": [True, False]}
    results = [
        RandomizedSearchCV(
            pipe,
            {f"llmembeddingtransformer__{k}": kind(v) for k, v in values.items()},
            n_iter=6,
            cv=2,
            random_state=0,
            error_score="raise",
        ).fit(texts, y)
        for kind in (list, np.array)
    ]
    assert isinstance(results[1].best_params_["llmembeddingtransformer__pooling"], str)
    scores = [search.cv_results_["mean_test_score"] for search in results]
    np.testing.assert_array_equal(*scores)


def test_plain_parameters_are_a_copy(make):
    estimator = make(layer=2)
    params = plain_parameters(estimator)
    estimator.set_params(layer=1)
    assert params.layer == 2
    assert vars(params).keys() == estimator.get_params().keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer", np.bool_(True)),
        ("layer", ((1, 2), 3)),
        ("keep", (3, "all")),
        ("keep", ([True], "all")),
        ("keep", ("all", ["all"])),
        ("chunk_overlap", -1),
        ("chunk_overlap", False),
        ("truncate_dim", 0),
        ("truncate_dim", 1.5),
        ("adapters", []),
        ("special_tokens", np.int64(1)),
    ],
)
def test_what_no_model_allows(make, name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter.*must.*Got"):
        check_parameters(make(**{name: value}))


def test_what_is_kept():
    names = list(POOLINGS)
    assert resolve_keep("requested", 2) == (([], []), None)
    assert resolve_keep("all", 2) == (([0, 1, 2], names), None)
    assert resolve_keep("auto", 2) == (([], []), ([0, 1, 2], names))
    assert resolve_keep(([0, -1], "all"), 2) == (([0, 2], names), None)
    assert resolve_keep(("all", ["max"]), 2) == (([0, 1, 2], ["max"]), None)


@pytest.mark.parametrize("layers", [[4], [0, -5]])
def test_a_layer_to_keep_must_be_there(make, layers):
    with pytest.raises(ValueError, match="'keep' parameter.*from -4 to 3.*Got"):
        make(keep=(layers, "all")).fit(TEXTS)
