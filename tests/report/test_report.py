"""The page of a search: its cells, its words and its code against the search itself."""

import html
import json
import math
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import WORDS
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_llm2vec import (
    EmbeddingCache,
    LayerPoolingReport,
    LLMEmbeddingTransformer,
    layer_pooling_grid,
)
from sklearn_llm2vec._report.colors import SCALES, contrast, luminance
from sklearn_llm2vec._report.facts import read_facts
from sklearn_llm2vec._report.heat_map import color_limits

RNG = np.random.default_rng(0)
X = [" ".join(RNG.choice(WORDS, RNG.integers(2, 9))) for _ in range(48)]
Y = np.array(["even" if len(text) % 2 else "odd" for text in X])
CV = StratifiedKFold(3, shuffle=True, random_state=0)


class Page(HTMLParser):
    """What a page consists of, as a browser's parser sees it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.places, self.cells, self.words = [], [], [], []
        self.inside = []
        self.data = self.source = ""
        self.rows = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.inside.append(attributes.get("id") or tag)
        for name in ("src", "href", "action", "data", "poster", "xlink:href"):
            if name in attributes:
                self.places.append(attributes[name])
        if tag == "td" and "title" in attributes:
            self.cells.append(attributes)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        self.inside = self.inside[:-1]

    def handle_data(self, data):
        where = self.inside[-1] if self.inside else ""
        if where == "data":
            self.data += data
        elif where == "source":
            self.source += data
        elif where not in ("script", "style"):
            self.words.append(data)
            if self.rows:
                self.rows[-1].append(data.strip())


def make_pipe(model, cache, **options):
    options = {"model": model, "cache": cache, **options}
    return Pipeline(
        [
            ("llm", LLMEmbeddingTransformer(**options)),
            ("scale", StandardScaler()),
            ("clf", RidgeClassifier()),
        ]
    )


def search_of(pipe, extra=(), search=GridSearchCV, **options):
    grid = {**layer_pooling_grid(pipe), **dict(extra)}
    options = {"cv": CV, "scoring": "accuracy", **options}
    return search(pipe, grid, **options).fit(X, Y)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return EmbeddingCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def search(bert, cache):
    return search_of(make_pipe(bert, cache))


@pytest.fixture(scope="module")
def report(search):
    return LayerPoolingReport.from_search(search)


@pytest.fixture(scope="module")
def page(report):
    return Page(report.html)


# --- numbers -------------------------------------------------------------------------


def test_every_cell_is_its_candidate(search, page):
    results = search.cv_results_
    said = {}
    for cell in page.cells:
        where, score, fit, *_ = cell["title"].split("\n")
        said[where] = score, fit
    assert len(page.cells) == len(said) == len(results["params"]) == 20
    for n, params in enumerate(results["params"]):
        score, fit = said[f"layer {params['llm__layer']}, {params['llm__pooling']}"]
        mean, std = results["mean_test_score"][n], results["std_test_score"][n]
        assert score == f"accuracy {mean:.3f} ± {std:.3f}"
        seconds = results["mean_fit_time"][n]
        assert fit == f"fit {f'{1000 * seconds:.0f} ms' if seconds < 1 else fit[4:]}"


def test_the_embedded_numbers_are_exact(search, page):
    data = json.loads(page.data)
    (panel,) = data["panels"]
    for n, params in enumerate(search.cv_results_["params"]):
        i = panel["layers"].index(str(params["llm__layer"]))
        j = panel["poolings"].index(params["llm__pooling"])
        assert panel["scores"][i][j] == search.cv_results_["mean_test_score"][n]
        assert panel["stds"][i][j] == search.cv_results_["std_test_score"][n]
        assert panel["fit_seconds"][i][j] == search.cv_results_["mean_fit_time"][n]


def test_the_best_is_that_of_the_search(search, report, page):
    best = search.best_params_
    assert report.best_ == {
        "panel": "accuracy",
        "layer": best["llm__layer"],
        "pooling": best["llm__pooling"],
        "score": search.best_score_,
    }
    (cell,) = [cell for cell in page.cells if "best" in cell.get("class", "")]
    name = f"layer {best['llm__layer']}, {best['llm__pooling']}"
    assert cell["title"].startswith(name)
    assert cell["title"].endswith("best cell")
    assert f"{name} pooling".capitalize() in page.text
    assert f"{search.best_score_:.3f}" in page.text
    assert "Cross-validation 3 folds" in page.text
    assert "Candidates 20 60 fits" in page.text
    assert "classification, 2 classes scored by accuracy" in page.text
    assert repr(best["llm__layer"]) in repr(report)


def test_one_cell_is_the_way_in_for_the_keyboard(page):
    assert [cell["tabindex"] for cell in page.cells].count("0") == 1


def test_the_share_of_each_layer(search, page):
    best = search.best_params_["llm__layer"]
    shares = {0: "0 %", 1: "33 %", 2: "67 %", 3: "100 %"}
    rows = [[word for word in row if word] for row in page.rows]
    for layer, share in shares.items():
        (row,) = [row for row in rows if f"{layer} of 3" in row]
        assert share in row
    assert (
        f"runs {best} of 3 blocks, which is {shares[best]} of the whole model"
        in page.text
    )


def test_what_the_search_stored(search, cache, page):
    (space,) = cache.info()["spaces"]
    where = page.rows.index(next(r for r in page.rows if "layers with poolings" in r))
    told = page.rows[where + 1]
    assert told[1:4] == [f"{space['texts']:,}", "20", f"{space['vectors']:,}"]


def test_what_others_stored_is_not_on_the_page(bert, llama, tmp_path):
    cache = EmbeddingCache(tmp_path)
    LLMEmbeddingTransformer(llama, cache=cache).fit_transform(["a secret"] * 3)
    page = LayerPoolingReport.from_search(search_of(make_pipe(bert, cache))).html
    assert llama not in page
    for word in ("hits", "misses", "lifetime"):
        assert word not in page


def test_without_a_cache(bert):
    pipe = make_pipe(bert, None)
    grid = {"llm__layer": [0, 1], "llm__pooling": ["mean"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(X[:12], [0, 1] * 6)
    report = LayerPoolingReport.from_search(search)
    assert "The search ran without a cache." in report.html
    assert "cache=None" in report.code


def test_cheapest_within_a_standard_error(search):
    (panel,) = read_facts(search, None, None).panels
    best = panel.best
    error = panel.stds[best] / math.sqrt(2)
    good = [
        (panel.depths[i], -panel.scores[i, j], i, j)
        for i in range(4)
        for j in range(5)
        if panel.scores[i, j] >= panel.scores[best] - error
    ]
    assert panel.cheapest_as_good(3) == min(good)[2:]
    assert panel.cheapest_as_good(1) is None


# --- the code ------------------------------------------------------------------------


def test_the_code_makes_the_best_again(search, report, page):
    assert page.source == report.code
    assert "keep" not in report.code
    assert max(map(len, report.code.splitlines())) <= 88
    space = {"X": X, "y": Y}
    exec(compile(report.code, "report", "exec"), space)
    np.testing.assert_array_equal(space["model"].predict(X), search.predict(X))
    np.testing.assert_array_equal(
        space["model"].decision_function(X), search.decision_function(X)
    )
    assert space["scores"].mean() == pytest.approx(search.best_score_, abs=1e-12)


def test_the_code_of_other_parameters_and_a_scorer(bert, cache):
    pipe = make_pipe(bert, cache, template="the {text}", normalize=True)
    search = search_of(
        pipe,
        {
            "clf__alpha": [0.1],
            "scale": [StandardScaler(with_mean=False), "passthrough"],
        },
        scoring=make_scorer(accuracy_score, normalize=False),
    )
    report = LayerPoolingReport.from_search(search)
    space = {"X": X, "y": Y}
    exec(compile(report.code, "report", "exec"), space)
    np.testing.assert_array_equal(
        space["model"].decision_function(X), search.decision_function(X)
    )
    assert space["scores"].mean() == pytest.approx(search.best_score_, abs=1e-12)
    assert "alpha=0.1" in Page(report.html).cells[0]["title"]


def test_the_code_of_a_bare_transformer(bert, cache):
    class Regressor(LLMEmbeddingTransformer):
        def score(self, X, y=None):
            return -float(np.abs(self.transform(X)).mean())

    search = GridSearchCV(
        Regressor(bert, cache=cache), {"layer": [0, 1], "pooling": ["mean"]}, cv=2
    ).fit(X)
    report = LayerPoolingReport.from_search(search)
    assert "Regressor = ...  # your own class: import it here" in report.code
    assert "Fill in" in Page(report.html).text


def test_the_code_of_one_function_with_all_metrics(bert, cache):
    def both(estimator, X, y):
        return {"hits": estimator.score(X, y), "rows": len(y)}

    pipe = make_pipe(bert, cache)
    search = GridSearchCV(
        pipe, layer_pooling_grid(pipe, layers=[0, 2]), scoring=both, refit="hits", cv=CV
    ).fit(X, Y)
    code = LayerPoolingReport.from_search(search).code
    (blank,) = [line for line in code.splitlines() if line.startswith("scoring = ...")]
    space = {"X": X, "y": Y, "both": both}
    exec(code.replace(blank, "scoring = both"), space)
    assert space["scores"].mean() == pytest.approx(search.best_score_, abs=1e-12)


def test_the_code_asks_for_groups(bert, cache):
    pipe, groups = make_pipe(bert, cache), np.arange(48) // 4
    grid = layer_pooling_grid(pipe, layers=[0, 2], poolings=["mean"])
    search = GridSearchCV(pipe, grid, cv=GroupKFold(3)).fit(X, Y, groups=groups)
    report = LayerPoolingReport.from_search(search)
    space = {"X": X, "y": Y, "given": groups}
    exec(report.code.replace("groups = ...", "groups = given"), space)
    assert space["scores"].mean() == pytest.approx(search.best_score_, abs=1e-12)
    assert "Fill in groups first" in Page(report.html).text


def test_the_code_asks_once_for_given_splits(bert, cache):
    splits = list(CV.split(X, Y))
    report = LayerPoolingReport.from_search(
        search_of(make_pipe(bert, cache), cv=splits)
    )
    blanks = [line for line in report.code.splitlines() if " = ..." in line]
    assert len(blanks) == 1
    space = {"X": X, "y": Y, "given": splits}
    exec(report.code.replace("cv = ...", "cv = given"), space)
    assert space["scores"].mean() == pytest.approx(report.best_["score"], abs=1e-12)


# --- several panels --------------------------------------------------------------------


def test_metrics_and_models(bert, llama, cache):
    pipe = make_pipe(bert, cache)
    grid = {
        "llm__layer": [0, -1, (0, 1)],
        "llm__pooling": ["mean", "max"],
        "llm__model": [bert, llama],
    }
    scoring = ["roc_auc", "accuracy"]
    search = GridSearchCV(pipe, grid, cv=CV, scoring=scoring, refit="accuracy").fit(
        X, Y
    )
    report = LayerPoolingReport.from_search(search)
    data = json.loads(Page(report.html).data)
    assert [panel["metric"] for panel in data["panels"]] == ["accuracy"] * 2 + [
        "roc_auc"
    ] * 2
    assert data["panels"][0]["model"] == search.best_params_["llm__model"]
    assert {panel["model"]: panel["n_layers"] for panel in data["panels"]} == {
        bert: 3,
        llama: 4,
    }
    assert report.best_["score"] == search.best_score_
    (panel,) = [p for p in data["panels"][:2] if p["model"] == llama]
    assert dict(zip(panel["layers"], panel["depths"], strict=True)) == {
        "0": 0,
        "-1": 4,
        "0+1": 1,
    }
    space = {"X": X, "y": Y}
    exec(compile(report.code, "report", "exec"), space)
    np.testing.assert_array_equal(space["model"].predict(X), search.predict(X))

    only = LayerPoolingReport.from_search(search, metric="roc_auc")
    data = json.loads(Page(only.html).data)
    assert [panel["metric"] for panel in data["panels"]] == ["roc_auc"] * 2
    assert only.best_["score"] == search.cv_results_["mean_test_roc_auc"].max()
    assert 'scoring="roc_auc"' in only.code


def test_no_refit(bert, cache):
    search = search_of(make_pipe(bert, cache), refit=False)
    report = LayerPoolingReport.from_search(search)
    assert report.best_["score"] == search.cv_results_["mean_test_score"].max()


def test_a_refit_of_the_users_own(bert, cache):
    def lowest(results):
        return int(np.argmin(results["mean_test_score"]))

    search = search_of(make_pipe(bert, cache), refit=lowest)
    report = LayerPoolingReport.from_search(search)
    assert report.best_["layer"] == search.best_params_["llm__layer"]
    assert report.best_["score"] == search.cv_results_["mean_test_score"].min()


def test_a_candidate_without_layers_may_win(bert, cache):
    pipe = make_pipe(bert, cache)
    grids = [
        {"llm__layer": [0], "llm__pooling": ["first"]},
        {"llm__layer": [2], "clf__alpha": [1.0]},
    ]
    search = GridSearchCV(pipe, grids, cv=CV, refit=lambda results: 1).fit(X, Y)
    report = LayerPoolingReport.from_search(search)
    assert report.best_["layer"] == 0
    assert "isn't on this page: alpha=1.0, layer=2" in Page(report.html).text


@pytest.mark.parametrize("kind", ["halving", "randomized"])
def test_other_searches(bert, cache, kind):
    pipe = make_pipe(bert, cache)
    if kind == "halving":
        search = search_of(
            pipe, search=HalvingGridSearchCV, min_resources=24, random_state=0
        )
    else:
        search = search_of(pipe, search=RandomizedSearchCV, n_iter=4, random_state=0)
    report = LayerPoolingReport.from_search(search)
    assert report.best_["layer"] == search.best_params_["llm__layer"]
    assert report.best_["score"] == search.best_score_
    # A halving's scores are of parts of the rows: its code doesn't promise them.
    assert ("cross_val_score" in report.code) == (kind == "randomized")
    missing = [cell for cell in Page(report.html).cells if "none" in str(cell)]
    assert bool(missing) == (kind == "randomized")


def test_a_regression_with_a_negative_score(bert, cache):
    pipe = make_pipe(bert, cache).set_params(clf=Ridge())
    grid = layer_pooling_grid(pipe, layers=[0, 3], poolings=["mean"])
    search = GridSearchCV(pipe, grid, cv=3, scoring="neg_mean_squared_error")
    report = LayerPoolingReport.from_search(search.fit(X, [len(x) for x in X]))
    text = Page(report.html).text
    assert "regression scored by neg_mean_squared_error" in text
    assert report.best_["score"] < 0
    assert cross_val_score(
        search.best_estimator_, X, [len(x) for x in X], cv=3, scoring=search.scoring
    ).mean() == pytest.approx(search.best_score_)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_metric_without_any_score(bert, cache):
    pipe = make_pipe(bert, cache)
    scoring = {"accuracy": "accuracy", "broken": lambda estimator, X, y: math.nan}
    search = GridSearchCV(
        pipe, layer_pooling_grid(pipe), scoring=scoring, refit="accuracy", cv=CV
    )
    page = Page(LayerPoolingReport.from_search(search.fit(X, Y)).html)
    assert sum("none" in cell.get("class", "") for cell in page.cells) == 20
    assert len(page.cells) == 40
    assert page.tags.count("svg") == 2 + 5  # charts and legend of the one with scores
    with pytest.raises(ValueError, match="one score of 'broken'. Got one in which all"):
        LayerPoolingReport.from_search(search, metric="broken")


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_model_that_never_was(bert, cache):
    pipe = make_pipe(bert, cache)
    grid = {
        "llm__layer": [0, 1],
        "llm__pooling": ["mean"],
        "llm__model": [bert, "nobody/nothing"],
    }
    search = GridSearchCV(pipe, grid, cv=2)
    with pytest.warns(FitFailedWarning):
        search.fit(X, Y)
    report = LayerPoolingReport.from_search(search)
    data = json.loads(Page(report.html).data)
    assert [panel["model"] for panel in data["panels"]] == [bert, "nobody/nothing"]
    assert data["panels"][1]["scores"] == [[None], [None]]


def test_a_served_model_is_not_asked_for(bert, cache, monkeypatch):
    pipe = make_pipe(bert, cache)
    search = GridSearchCV(
        pipe, {"llm__layer": [-1], "llm__pooling": ["auto"]}, cv=2
    ).fit(X, Y)
    search.estimator.set_params(llm__endpoint="http://127.0.0.1:9/v1", llm__model="m")

    def ask(*args, **options):
        raise AssertionError("a report asks no server")

    monkeypatch.setattr("sklearn_llm2vec._estimator.served.read_served_model", ask)
    page = Page(LayerPoolingReport.from_search(search).html)
    assert "The vectors are in a cache." in page.text
    assert "What a layer costs" not in page.text


def test_large_and_tiny_scores_keep_their_digits(bert, cache):
    pipe = make_pipe(bert, cache).set_params(clf=Ridge())
    grid = layer_pooling_grid(pipe)
    lengths = np.array([len(text) for text in X])
    for target in (lengths * 1e4, lengths * 1e-4):
        search = GridSearchCV(pipe, grid, cv=3, scoring="neg_mean_squared_error")
        report = LayerPoolingReport.from_search(search.fit(X, target))
        labels = re.findall(r'text-anchor="end">([^<]*)</text>', report.html)
        assert len(set(labels)) == len(labels) / 2  # a wide and a narrow chart
        assert max(map(len, labels)) <= 9
        shown = {
            cell["title"].split("\n")[1].split()[1] for cell in Page(report.html).cells
        }
        exact = {f"{s:.3e}" for s in search.cv_results_["mean_test_score"]}
        assert {float(score) for score in shown} == {float(score) for score in exact}


def test_one_cell(bert, cache):
    pipe = make_pipe(bert, cache)
    grid = layer_pooling_grid(pipe, layers=[2], poolings=["mean"])
    report = LayerPoolingReport.from_search(GridSearchCV(pipe, grid, cv=CV).fit(X, Y))
    page = Page(report.html)
    (cell,) = page.cells
    assert (
        f"--l:{SCALES['light'].color(1.0)}" in cell["style"]
    )  # the best, not the worst
    assert "No cheaper layer" not in page.text
    # Its deviation has a width.
    corners = re.search(r'class="band" points="([^"]*)"', report.html)[1].split()
    assert len({corner.split(",")[0] for corner in corners}) == 2


def test_a_relative_depth_is_no_number_of_a_layer(bert, cache):
    pipe = make_pipe(bert, cache)
    grid = {"llm__layer": [1, 2, 0.0, 1.0], "llm__pooling": ["mean"]}
    search = GridSearchCV(pipe, grid, cv=CV).fit(X, Y)
    data = json.loads(Page(LayerPoolingReport.from_search(search).html).data)
    (panel,) = data["panels"]
    assert dict(zip(panel["layers"], panel["depths"], strict=True)) == {
        "1": 1,
        "2": 2,
        "0.0": 0,
        "1.0": 3,
    }
    scores = search.cv_results_["mean_test_score"]
    assert panel["scores"] == [[scores[0]], [scores[1]], [scores[2]], [scores[3]]]


def test_a_model_that_has_gone(bert, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    search = search_of(make_pipe(str(folder), str(tmp_path / "cache")))
    shutil.rmtree(folder)
    page = Page(LayerPoolingReport.from_search(search).html)
    assert "couldn't be read here" in page.text
    assert "What a layer costs" not in page.text
    assert len(page.cells) == 20


# --- what can't be reported ------------------------------------------------------------


def test_not_fitted(bert):
    with pytest.raises(NotFittedError):
        LayerPoolingReport.from_search(GridSearchCV(make_pipe(bert, None), {}))


def test_searches_over_something_else(bert, cache):
    apart = [{"llm__layer": [0, 1]}, {"llm__pooling": ["mean"]}]
    for grid in ({"clf__alpha": [1.0]}, apart):
        search = GridSearchCV(make_pipe(bert, cache), grid, cv=2).fit(X, Y)
        with pytest.raises(
            ValueError, match="^LayerPoolingReport expects a search over"
        ):
            LayerPoolingReport.from_search(search)

    class Other(StandardScaler):
        def __init__(self, layer=0, pooling="mean"):
            super().__init__()
            self.layer, self.pooling = layer, pooling

    pipe = Pipeline([("llm", Other()), ("clf", RidgeClassifier())])
    grid = {"llm__layer": [0], "llm__pooling": ["mean"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(np.eye(8), [0, 1] * 4)
    with pytest.raises(ValueError, match="LLMEmbeddingTransformer. Got .* of a Other"):
        LayerPoolingReport.from_search(search)


def test_unknown_metric(search):
    match = "'metric' parameter of LayerPoolingReport.from_search must be among"
    with pytest.raises(ValueError, match=match):
        LayerPoolingReport.from_search(search, metric="f1")


# --- safe and alone --------------------------------------------------------------------

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{"


def test_names_are_text_and_nothing_else(bert, cache, page):
    template = EVIL.replace("{{", "") + "{text}"
    pipe = make_pipe(bert, cache, template=template)

    def scorer(estimator, X, y):
        return estimator.score(X, y)

    search = search_of(
        pipe,
        {"llm__template": [template, template + "!"]},
        scoring={EVIL: scorer, f"{EVIL}2": scorer},
        refit=EVIL,
    )
    evil = Page(LayerPoolingReport.from_search(search).html)
    # As many of these as in any page, and no image.
    assert evil.tags.count("script") == page.tags.count("script") == 2
    assert evil.tags.count("style") == 1
    assert "img" not in evil.tags
    assert set(evil.tags) <= set(page.tags) | {"h3"}
    assert EVIL in evil.text
    assert repr(search.best_params_["llm__template"]) in evil.source
    assert json.loads(evil.data)["panels"][0]["metric"] == EVIL
    assert all("<script>alert" in cell["title"] for cell in evil.cells)


def test_nothing_is_loaded(report, page):
    assert page.places == ["data:,"]
    assert not re.search(r"https?:|url\((?!#clip)|@import|//\w+\.\w", report.html)
    assert "default-src 'none'" in report.html
    assert 'lang="en"' in report.html
    assert '<meta name="viewport" content="width=device-width' in report.html
    assert '<meta name="color-scheme" content="light dark">' in report.html
    for text in X:
        if text.count(" ") > 2:
            assert text not in report.html


def test_the_frame_of_a_notebook_holds_the_page(report):
    frame = report._repr_html_()
    (srcdoc,) = re.findall(r'srcdoc="([^"]*)"', frame)
    assert html.unescape(srcdoc) == report.html
    assert 'sandbox="allow-scripts"' in frame
    assert Page(frame).tags == ["iframe"]


# --- saving ----------------------------------------------------------------------------


def test_save(report, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = report.save("search.html")
    assert path == tmp_path / "search.html"
    assert path.read_text(encoding="utf-8") == report.html
    assert [file.name for file in tmp_path.iterdir()] == ["search.html"]


def test_a_save_that_fails_leaves_what_was_there(report, tmp_path, monkeypatch):
    path = tmp_path / "search.html"
    path.write_text("before")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        report.save(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_saved_to(report, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'path' parameter of .*Report\.save"):
        report.save(tmp_path / "none" / "search.html")
    with pytest.raises(
        IsADirectoryError, match="add a file name, such as 'report.html'"
    ):
        report.save(tmp_path)


# --- colors ---------------------------------------------------------------------------


def linear(color):
    """Linear sRGB of ``#rrggbb``."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


@pytest.mark.parametrize("name", ["light", "dark"])
def test_values_can_be_read_on_every_colour(name):
    for place in np.linspace(0, 1, 101):
        color, ink = SCALES[name].color(place), SCALES[name].text(place)
        assert contrast(luminance(linear(color)), luminance(linear(ink))) >= 4.5


@pytest.mark.parametrize("name", ["light", "dark"])
def test_equal_steps_look_equal(name):
    # OKLab from sRGB, by the inverse of what the scale computes.
    to_lms = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    rgb = np.array([linear(SCALES[name].color(p)) for p in np.linspace(0, 1, 21)])
    lab = np.cbrt(rgb @ to_lms.T) @ to_lab.T
    steps = np.diff(lab[:, 0])
    assert (steps > 0).all() or (steps < 0).all()
    assert np.abs(steps).max() < 1.3 * np.abs(steps).min()
    whole = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert whole.max() < 2 * whole.min()


def test_an_outlier_does_not_take_the_colours(search):
    (panel,) = read_facts(search, None, None).panels
    scores = np.linspace(0.7, 0.8, panel.scores.size).reshape(panel.scores.shape)
    object.__setattr__(panel, "scores", scores)
    assert color_limits([panel]) == (scores.min(), scores.max())
    scores[0, 0] = 0.1
    low, high = color_limits([panel])
    assert 0.5 < low <= scores.ravel()[1]
    assert high == scores.max()


def test_the_page_says_what_to_expect_on_new_rows(search):
    scores = [0.5, 0.7, 0.6]
    page = LayerPoolingReport.from_search(
        search, comparisons={"chosen <inside>": scores, "TF-IDF": [0.25]}
    ).html
    assert "Expected on new rows</dt><dd>0.600<small>chosen &lt;inside&gt;" in page
    assert "<td>0.600</td><td>0.352 to 0.848</td>" in page
    assert '<th scope="row">TF-IDF</th><td>0.250</td><td></td>' in page
    alone = LayerPoolingReport.from_search(search).html
    assert "is the highest of" in alone
    assert "Expected on new rows" not in alone
