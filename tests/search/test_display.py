"""The display reads searches and scores; artists and messages are looked at."""

import sys

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, make_scorer, zero_one_loss
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from sklearn_llm2vec import LayerPoolingDisplay

matplotlib = pytest.importorskip("matplotlib", reason="the display needs matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class Toy(TransformerMixin, BaseEstimator):
    """Features that are good at layer 2 with pooling "last", and noise elsewhere."""

    def __init__(self, layer=0, pooling="mean", model="small", fail=False):
        self.layer = layer
        self.pooling = pooling
        self.model = model
        self.fail = fail

    def fit(self, X, y=None):
        if self.fail:
            raise ValueError("told to fail")
        return self

    def transform(self, X):
        good = self.layer == 2 and self.pooling == "last"
        X = np.asarray(X, dtype=float)
        return X if good else np.cos(1e4 * X + len(self.pooling) + len(self.model))


X = np.linspace(-1, 1, 60)[:, None]
Y = (X[:, 0] > 0).astype(int)
ORDER = np.random.default_rng(0).permutation(60)
X, Y = X[ORDER], Y[ORDER]

PIPE = Pipeline([("llm", Toy()), ("clf", LogisticRegression())])
GRID = {"llm__layer": [2, 0, 1], "llm__pooling": ["last", "mean"]}


def fitted(grid=GRID, pipe=PIPE, search=GridSearchCV, **options):
    return search(pipe, grid, cv=3, **options).fit(X, Y)


# --- from_search -------------------------------------------------------------------


def test_cells_are_the_scores_of_the_search():
    search = fitted()
    display = LayerPoolingDisplay.from_search(search)
    (table,) = display.tables.values()
    assert table.layers == [0, 1, 2]
    assert table.poolings == ["mean", "last"]
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        i = table.layers.index(params["llm__layer"])
        j = table.poolings.index(params["llm__pooling"])
        assert table.scores[i, j] == score
    assert display.best_ == {
        "panel": "score",
        "layer": 2,
        "pooling": "last",
        "score": search.best_score_,
    }


def test_a_bare_transformer_has_no_prefix():
    class Regressor(Toy):
        def predict(self, X):
            return self.transform(X)[:, 0]

        def score(self, X, y):
            return -np.abs(self.predict(X) - y).mean()

    search = GridSearchCV(Regressor(), {"layer": [0, 2], "pooling": ["mean", "last"]})
    assert LayerPoolingDisplay.from_search(search.fit(X, Y)).best_["layer"] in (0, 2)


def test_other_parameters_give_their_best():
    search = fitted({**GRID, "clf__C": [1e-9, 1.0]})
    (table,) = LayerPoolingDisplay.from_search(search).tables.values()
    assert table.scores[table.best] == search.best_score_
    assert table.scores.shape == (3, 2)


def test_cells_without_a_candidate_stay_open():
    grids = [
        {"llm__layer": [0], "llm__pooling": ["mean", "last"]},
        {"llm__layer": [(0, 1)], "llm__pooling": ["mean"]},
        {"clf__C": [2.0]},
    ]
    (table,) = LayerPoolingDisplay.from_search(fitted(grids)).tables.values()
    assert table.layers == [0, (0, 1)]
    assert np.isnan(table.scores).tolist() == [[False, False], [False, True]]


@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.FitFailedWarning", "ignore:.*non-finite"
)
def test_failed_fits_stay_open():
    search = fitted({**GRID, "llm__layer": [0, 2], "llm__fail": [True, False]})
    (table,) = LayerPoolingDisplay.from_search(search).tables.values()
    assert np.isfinite(table.scores).all()  # of each cell, one candidate worked
    grids = [
        {"llm__layer": [0], "llm__pooling": ["last"], "llm__fail": [True]},
        {"llm__layer": [2], "llm__pooling": ["last"]},
    ]
    display = LayerPoolingDisplay.from_search(fitted(grids))
    (table,) = display.tables.values()
    assert np.isnan(table.scores).tolist() == [[True], [False]]
    assert display.best_["layer"] == 2


def test_random_search():
    search = fitted(search=RandomizedSearchCV, n_iter=4, random_state=0)
    (table,) = LayerPoolingDisplay.from_search(search).tables.values()
    assert np.isfinite(table.scores).sum() == 4
    assert table.layers == sorted(table.layers)


def test_halving_agrees_with_its_best():
    search = fitted(search=HalvingGridSearchCV, random_state=0, min_resources=12)
    best = LayerPoolingDisplay.from_search(search).best_
    assert best["layer"] == search.best_params_["llm__layer"]
    assert best["pooling"] == search.best_params_["llm__pooling"]
    assert best["score"] == search.best_score_


@pytest.mark.parametrize(
    ("scoring", "name"),
    [
        (None, "score"),
        ("accuracy", "accuracy"),
        (make_scorer(accuracy_score), "accuracy_score"),
        (make_scorer(zero_one_loss, greater_is_better=False), "neg_zero_one_loss"),
    ],
)
def test_name_of_the_metric(scoring, name):
    display = LayerPoolingDisplay.from_search(fitted(scoring=scoring))
    assert list(display.tables) == [name]
    assert display.ax_.get_title(loc="left").startswith(name)


@pytest.fixture(scope="module")
def two_metrics():
    return fitted(scoring=["accuracy", "neg_log_loss"], refit="accuracy")


@pytest.mark.parametrize(
    ("metric", "panels"),
    [
        (None, ["accuracy", "neg_log_loss"]),
        ("neg_log_loss", ["neg_log_loss"]),
        (["neg_log_loss", "accuracy"], ["neg_log_loss", "accuracy"]),
    ],
)
def test_one_panel_per_metric(two_metrics, metric, panels):
    display = LayerPoolingDisplay.from_search(two_metrics, metric=metric)
    assert list(display.tables) == panels
    assert len(display.axes_) == len(display.images_) == len(panels)
    assert display.best_["panel"] == panels[0]


@pytest.mark.parametrize("metric", ["r2", ["accuracy", "r2"], []])
def test_unknown_metric(two_metrics, metric):
    with pytest.raises(
        ValueError, match=r"\['accuracy', 'neg_log_loss'\], which .*Got"
    ):
        LayerPoolingDisplay.from_search(two_metrics, metric=metric)


def test_one_panel_per_model():
    search = fitted({**GRID, "llm__model": ["small", "larger"]}, scoring="accuracy")
    display = LayerPoolingDisplay.from_search(search)
    assert set(display.tables) == {"small", "larger"}
    colors = {image.get_clim() for image in display.images_}
    assert len(colors) == 1  # so that the models can be compared


def test_models_and_metrics():
    search = fitted(
        {**GRID, "llm__model": ["small", "larger"]},
        scoring=["accuracy", "roc_auc"],
        refit=False,
    )
    display = LayerPoolingDisplay.from_search(search)
    assert set(display.tables) == {
        "small, accuracy",
        "larger, accuracy",
        "small, roc_auc",
        "larger, roc_auc",
    }
    assert display.best_["panel"].endswith("accuracy")


def test_several_searches():
    searches = {"linear": fitted(), "ridge": fitted(pipe=make_ridge(), scoring="r2")}
    display = LayerPoolingDisplay.from_search(searches)
    assert list(display.tables) == ["linear, score", "ridge, r2"]
    same = LayerPoolingDisplay.from_search({"a": searches["linear"], 2: fitted()})
    assert list(same.tables) == ["a", "2"]


def make_ridge():
    return Pipeline([("llm", Toy()), ("clf", Ridge())])


def test_several_transformers_need_a_prefix():
    union = FeatureUnion([("a", Toy()), ("b", Toy())])
    pipe = Pipeline([("u", union), ("clf", LogisticRegression())])
    grid = {"u__a__layer": [0], "u__b__layer": [0, 2]}
    grid |= {"u__a__pooling": ["last"], "u__b__pooling": ["last"]}
    search = fitted(grid, pipe)
    with pytest.raises(ValueError, match=r"several .*'u__a', 'u__b'"):
        LayerPoolingDisplay.from_search(search)
    display = LayerPoolingDisplay.from_search(search, prefix="u__b")
    assert display.best_["layer"] == 2


def test_not_fitted():
    with pytest.raises(NotFittedError):
        LayerPoolingDisplay.from_search(GridSearchCV(PIPE, GRID))


@pytest.mark.parametrize("grid", [{"clf__C": [1.0]}, {"llm__layer": [0, 1]}])
def test_search_over_something_else(grid):
    message = (
        rf"over the 'layer' and the 'pooling' .* Got one over \['{next(iter(grid))}"
    )
    with pytest.raises(ValueError, match=message):
        LayerPoolingDisplay.from_search(fitted(grid))


def test_no_searches():
    with pytest.raises(ValueError, match="Got an empty dict"):
        LayerPoolingDisplay.from_search({})


# --- from_scores -------------------------------------------------------------------

SCORES = np.array([[0.1, 0.5], [0.9, np.nan], [0.3, 0.2]])


def test_array():
    display = LayerPoolingDisplay.from_scores(SCORES, poolings=["mean", "last"])
    assert display.best_ == {
        "panel": "score",
        "layer": 1,
        "pooling": "mean",
        "score": 0.9,
    }
    np.testing.assert_array_equal(display.tables["score"].scores, SCORES)


def test_array_of_all_poolings():
    display = LayerPoolingDisplay.from_scores(np.eye(5)[:2], layers=[3, -1])
    table = display.tables["score"]
    assert table.poolings == ["mean", "weighted_mean", "last", "first", "max"]
    assert table.layers == [3, -1]


def test_dict_of_cells():
    cells = {(-1, "max"): 3, (np.int64(4), "mean"): 1, ((1, 2), "mean"): 2}
    table = LayerPoolingDisplay.from_scores(cells, metric="r2").tables["r2"]
    assert table.layers == [4, -1, (1, 2)]
    assert table.poolings == ["mean", "max"]
    assert np.isnan(table.scores).sum() == 3


def test_dict_of_cells_with_chosen_layers():
    cells = {(k, p): k for k in range(4) for p in ("mean", "last")}
    display = LayerPoolingDisplay.from_scores(cells, layers=[2, 0], poolings=["last"])
    assert display.tables["score"].scores.tolist() == [[2], [0]]


def test_dict_of_panels():
    panels = {"a": {(0, "mean"): 1.0}, "b": [[2.0]]}
    display = LayerPoolingDisplay.from_scores(panels, layers=[0], poolings=["mean"])
    assert display.best_["panel"] == "b"


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (SCORES, {}, r"shape \(3, n_poolings\).*Got shape \(3, 2\)"),
        (SCORES, {"layers": [0], "poolings": ["a", "b"]}, r"\(1, 2\).*Got .*\(3, 2\)"),
        ([0.1, 0.2], {}, r"\(n_layers, n_poolings\).*Got shape \(2,\)"),
        ({}, {}, "at least one layer and one pooling"),
    ],
)
def test_scores_that_do_not_fit(scores, options, message):
    with pytest.raises(ValueError, match=message):
        LayerPoolingDisplay.from_scores(scores, **options)


def test_no_score_at_all():
    display = LayerPoolingDisplay.from_scores([[np.nan]], poolings=["mean"])
    assert display.best_ is None
    assert display.best_marker_ is None
    assert "no score" in display.ax_.get_title(loc="left")


# --- plot --------------------------------------------------------------------------


@pytest.fixture
def display():
    return LayerPoolingDisplay.from_scores(SCORES, poolings=["mean", "last"])


def test_artists(display):
    assert display.figure_ is display.ax_.figure
    assert display.im_.get_array().shape == (2, 3)
    assert display.im_.get_array().mask.sum() == 1
    assert display.text_[1, 0].get_text() == "0.900"
    assert display.text_[1, 1] is None
    assert display.ax_.get_xlabel() == "layer"
    assert display.ax_.get_ylabel() == "pooling"
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["0", "1", "2"]
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["mean", "last"]
    assert display.ax_.get_title(loc="left") == "score\nbest 0.900: layer 1, mean"


def test_best_is_marked(display):
    outline, star = display.best_marker_
    assert outline.get_xy() == (0.5, -0.5)
    assert star.get_marker() == "*"


def test_plot_again_returns_self(display):
    first = display.figure_
    assert display.plot(cmap="cividis", values_format=".1f", colorbar=False) is display
    assert display.figure_ is not first
    assert display.im_.get_cmap().name == "cividis"
    assert display.text_[0, 1].get_text() == "0.5"
    assert len(display.figure_.axes) == 1


def test_many_cells_have_no_values():
    display = LayerPoolingDisplay.from_scores(np.eye(40, 5))
    assert display.text_ is None
    assert len(display.ax_.get_xticklabels()) <= 32
    assert display.plot(include_values=True).text_.shape == (40, 5)


def test_labels_of_layers():
    layers = [0, -1, 0.5, (1, 3), (1, 2, 3)]
    display = LayerPoolingDisplay.from_scores(
        np.zeros((5, 1)), layers=layers, poolings=["mean"]
    )
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == ["0", "-1", "0.5", "1+3", "1+...+3"]


def test_given_axes(display):
    _, ax = plt.subplots()
    assert display.plot(ax).ax_ is ax
    _, axes = plt.subplots(1, 2)
    with pytest.raises(ValueError, match=r"each of the 1 panels\. Got 2"):
        display.plot(axes)
    two = LayerPoolingDisplay.from_scores(
        {"a": SCORES, "b": SCORES}, poolings=["mean", "last"], ax=axes
    )
    assert list(two.axes_) == list(axes)


def test_matplotlib_is_missing(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install .*\[plot\]"):
        display.plot()


def test_a_pipeline_of_make_pipeline():
    search = fitted(
        {"toy__layer": [0, 2], "toy__pooling": ["last"]},
        make_pipeline(Toy(), LogisticRegression()),
    )
    assert LayerPoolingDisplay.from_search(search).best_["layer"] == 2


# --- other tools, and what fit chose --------------------------------------------------


class OtherSearch(BaseEstimator):
    """A search of another tool, with results of its own form."""

    def __init__(self, results=None):
        self.results = results

    def fit(self, X, y=None):
        self.study_ = "done"
        if self.results is not None:
            self.cv_results_ = self.results
        return self


@pytest.mark.parametrize("results", [None, {"mean_test_score": [0.5]}, {"params": []}])
def test_searches_of_other_tools_are_refused_in_a_sentence(results):
    with pytest.raises(
        ValueError, match=r"cv_results_ of scikit-learn's.*OtherSearch.*from_scores"
    ):
        LayerPoolingDisplay.from_search(OtherSearch(results).fit(None))
    with pytest.raises(NotFittedError):
        LayerPoolingDisplay.from_search(OtherSearch(results))


def test_what_fit_chose_is_drawn_a_panel_for_each_column():
    toy = Toy()
    toy.choice_ = {
        "column": ["a"] * 3 + ["b"],
        "layer": [4, 1, 1, 4],
        "pooling": ["mean", "mean", "last", "mean"],
        "mean": [0.5, 0.4, 0.51, 0.2],
        "std": [0, 0.1, 0.1, 0],
        "chosen": [True, False, False, True],
    }
    display = LayerPoolingDisplay.from_transformer(toy)
    assert list(display.tables) == ["a", "b"]
    table = display.tables["a"]
    assert table.layers == [1, 4]
    np.testing.assert_array_equal(table.scores, [[0.4, 0.51], [0.5, np.nan]])
    # Not the highest: it wasn't clearly better than what is declared.
    assert (table.layers[table.best[0]], table.poolings[table.best[1]]) == (4, "mean")
    assert display.best_["panel"] == "a"


def test_a_transformer_that_chose_nothing_is_refused():
    with pytest.raises(NotFittedError, match="no 'choice_' to draw"):
        LayerPoolingDisplay.from_transformer(Toy())
