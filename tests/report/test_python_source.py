"""The source of an estimator is run, and what it makes is compared."""

import re

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, get_scorer, make_scorer
from sklearn.model_selection import KFold, RepeatedKFold, StratifiedKFold
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_llm2vec import EmbeddingCache, LLM2VecRecipe, LLMEmbeddingTransformer
from sklearn_llm2vec._report.python_source import SourceWriter


def run(value, **filled):
    """The value that the source of `value` makes; `filled` are its blanks."""
    writer = SourceWriter()
    body = writer.assignment("made", value)
    assert set(writer.blanks) == set(filled)
    head = "\n".join(
        line for line in writer.head().splitlines() if " = ...  # " not in line
    )
    space = dict(filled)
    exec(compile(f"{head}\n{body}", "source", "exec"), space)
    return space["made"], f"{head}\n\n{body}"


def described(estimator):
    """All parameters, however deep, without the addresses of objects."""
    params = estimator.get_params(deep=True)
    return {name: re.sub(" at 0x[0-9a-f]+", "", repr(v)) for name, v in params.items()}


ESTIMATORS = [
    LLMEmbeddingTransformer(
        "some/model", layer=(1, -1), pooling="max", template='A "{text}" \n\''
    ),
    LLMEmbeddingTransformer(adapt=LLM2VecRecipe("simcse", lora_rank=4), n_components=3),
    make_pipeline(
        ColumnTransformer(
            [
                ("text", TfidfVectorizer(ngram_range=(1, 2), dtype=np.float32), "a"),
                (
                    "number",
                    IterativeImputer(),
                    make_column_selector(dtype_include=float),
                ),
                ("log", FunctionTransformer(np.log1p), slice(2, 4)),
                ("off", "drop", np.array([7, 8])),
            ],
            remainder=StandardScaler(),
        ),
        HistGradientBoostingClassifier(max_iter=7, categorical_features=np.array([1])),
    ),
    FeatureUnion([("a", StandardScaler(with_std=False)), ("b", "passthrough")]),
    LogisticRegression(class_weight={0: 1.5, "b": 2.0}, C=np.inf),
    GaussianProcessRegressor(2.0 * RBF([1.0, 2.0]) + WhiteKernel()),
    IterativeImputer(missing_values=-1, min_value=np.array([0.0, 1.5])),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_the_source_makes_the_same(estimator):
    made, source = run(estimator)
    assert type(made) is type(estimator)
    assert described(made) == described(estimator)
    assert "._" not in source  # imported from where it is documented
    assert max(map(len, source.splitlines())) <= 88


@pytest.mark.parametrize(
    "splitter",
    [
        StratifiedKFold(4, shuffle=True, random_state=0),
        KFold(),
        RepeatedKFold(n_splits=2, n_repeats=3, random_state=1),
    ],
)
def test_splitters(splitter):
    made, _ = run(splitter)
    X = np.zeros((24, 1))
    y = np.arange(24) % 2
    for one, other in zip(made.split(X, y), splitter.split(X, y), strict=True):
        np.testing.assert_array_equal(one[1], other[1])


def test_scorers():
    y, guess = np.array([0, 1, 2, 1]), np.array([0, 2, 2, 1])

    class Guesser(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(3)

        def predict(self, X):
            return guess

    made, _ = run(make_scorer(f1_score, average="macro"))
    assert made(Guesser(), None, y) == f1_score(y, guess, average="macro")
    made, source = run(get_scorer("neg_log_loss"))
    assert repr(made) == repr(get_scorer("neg_log_loss"))
    assert "greater_is_better=False" in source


def test_a_cache_is_written_as_its_place(tmp_path):
    cache = EmbeddingCache(tmp_path, size_limit=5, storage="float16")
    made, _ = run(LLMEmbeddingTransformer(cache=cache))
    assert made.cache == cache


def test_what_is_at_its_default_is_left_out():
    assert run(LLMEmbeddingTransformer(layer=-1))[1].endswith(
        "made = LLMEmbeddingTransformer()"
    )


class Own:
    pass


Own.__module__ = "__main__"


def test_what_cannot_be_written_is_left_blank():
    square = lambda x: x**2  # noqa: E731
    estimator = make_pipeline(
        FunctionTransformer(square), FunctionTransformer(inverse_func=square)
    )
    made, _ = run(estimator, func=square, inverse_func=square)
    assert made[0].func is square and made[1].inverse_func is square
    rng = np.random.RandomState(0)
    made, _ = run(LogisticRegression(random_state=rng), random_state=rng)
    assert made.random_state is rng
    writer = SourceWriter()
    writer.assignment("model", FunctionTransformer(kw_args={"own": Own()}))
    assert writer.head().splitlines()[-1] == (
        "own = ...  # <__main__.Own object> can't be written as code: define it here"
    )


def test_numbers_of_numpy_are_plain_numbers():
    writer = SourceWriter()
    values = [np.int64(-1), np.float32(0.5), np.bool_(True), float("nan")]
    assert writer.assignment("made", values) == 'made = [-1, 0.5, True, float("nan")]'


def test_a_tuple_of_one_list_is_a_tuple_on_several_lines():
    value = FunctionTransformer(kw_args={"names": (["a" * 40, "b" * 40],)})
    made, source = run(value)
    assert made.kw_args == value.kw_args
    assert max(map(len, source.splitlines())) <= 88


def test_two_blanks_have_two_names():
    one, other = (lambda x: x), (lambda x: -x)
    writer = SourceWriter()
    source = writer.assignment("made", [one, other])
    assert source == "made = [made, made_2]"


def test_names_in_quotes_cannot_leave_them():
    evil = '"); import os; os.abort()  #'
    made, _ = run(FunctionTransformer(kw_args={evil: [evil, "\\", "'\n"]}))
    assert made.kw_args == {evil: [evil, "\\", "'\n"]}
