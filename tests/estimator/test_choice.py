"""``layer="cv"`` and ``pooling="cv"``: fit chooses by the target, each column its own."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import EmbeddingCache, LLM2VecRecipe, LLMEmbeddingTransformer
from sklearn_llm2vec._estimator import choice
from sklearn_llm2vec._estimator.choice import Cell, clearly_better
from sklearn_llm2vec._estimator.probe import leave_one_out


@pytest.fixture
def make(llama, tmp_path):
    def make_it(**parameters):
        parameters = {"cache": tmp_path / "cache", "layer": "cv", **parameters}
        return LLMEmbeddingTransformer(llama, verbose=False, **parameters)

    return make_it


@pytest.fixture
def many(texts):
    """So many texts that a probe can tell layers apart."""
    return [f"{a} {b}" for a in texts[:20] for b in texts[20:30]]


def target_of(llama, texts, layer, pooling="mean"):
    """Numbers that this cell predicts without an error."""
    encoder = LLMEmbeddingTransformer(llama, layer=layer, pooling=pooling, cache=False)
    vectors = encoder.fit_transform(texts)
    return vectors @ np.random.default_rng(0).normal(size=vectors.shape[1])


@pytest.mark.parametrize(("layer", "pooling"), [(1, "mean"), (2, "last"), (3, "max")])
def test_the_cell_that_predicts_the_target_is_chosen(layer, pooling, make, llama, many):
    y = target_of(llama, many, layer, pooling)
    chosen = make(pooling="cv").fit(many, y)
    assert (chosen.layer_, chosen.pooling_) == (layer, pooling)
    named = make(layer=layer, pooling=pooling).fit_transform(many)
    np.testing.assert_array_equal(chosen.transform(many), named)


def test_only_what_is_left_open_is_chosen(make, llama, many):
    y = target_of(llama, many, 1, "last")
    assert make(pooling="mean").fit(many, y).pooling_ == "mean"
    fixed = make(layer=3, pooling="cv").fit(many, y)
    assert fixed.layer_ == 3
    assert set(fixed.choice_["layer"]) == {3}
    several = make(layer=(1, 2), pooling="cv").fit(many, y)
    assert several.layer_ == (1, 2)


def test_what_is_declared_stays_where_nothing_is_clearly_better(make, many):
    y = np.random.default_rng(0).normal(size=len(many))
    chosen = make(pooling="cv").fit(many, y)
    assert (chosen.layer_, chosen.pooling_) == (4, "weighted_mean")


@pytest.mark.parametrize(("better", "expected"), [(0.5, "declared"), (2.0, "other")])
def test_better_means_by_more_than_a_standard_error(better, expected):
    noise = np.array([1.0, -1.0] * 50)
    error = noise.std(ddof=1) / 10
    declared = Cell((-1, "auto"), 4, "mean")
    other = Cell((1, "mean"), 1, "mean")
    errors = {declared: np.full(100, 5.0), other: 5.0 - better * error + noise}
    scores = {cell: (one, None) for cell, one in errors.items()}
    assert clearly_better(scores) is (other if expected == "other" else declared)


def test_a_cell_that_classifies_fewer_rows_right_is_not_better():
    declared = Cell((-1, "auto"), 4, "mean")
    lower, second = Cell((1, "mean"), 1, "mean"), Cell((2, "mean"), 2, "mean")
    scores = {
        declared: (np.full(100, 5.0), 80),
        lower: (np.full(100, 3.0), 79),
        second: (np.full(100, 4.0), 80),
    }
    assert clearly_better(scores) is second


def test_each_column_has_its_own_cell(make, llama, many):
    frame = pd.DataFrame({"a": many, "b": many[::-1]})
    y = target_of(llama, many, 1) + target_of(llama, many[::-1], 3)
    chosen = make(pooling="mean").fit(frame, y)
    table = pd.DataFrame(chosen.choice_)
    assert list(table["column"].unique()) == ["a", "b"]
    by_column = table[table["chosen"]].set_index("column")["layer"]
    assert chosen.layer_ == tuple(by_column)
    assert chosen.pooling_ == ("mean", "mean")
    alone = [
        make(layer=layer, pooling="mean").fit_transform(frame[name])
        for name, layer in zip(frame, chosen.layer_, strict=True)
    ]
    np.testing.assert_array_equal(chosen.transform(frame), np.hstack(alone))
    assert list(chosen.get_feature_names_out()[[0, 32]]) == ["a_0", "b_0"]


def test_the_table_says_how_well_each_cell_predicts(make, llama, many):
    chosen = make(pooling="cv").fit(many, target_of(llama, many, 2))
    table = pd.DataFrame(chosen.choice_)
    assert list(table) == ["column", "layer", "pooling", "mean", "std", "chosen"]
    # The first token of a causal decoder says nothing of the text.
    assert len(table) == 5 * 4
    assert "first" not in set(table["pooling"])
    assert table["chosen"].sum() == 1
    best = table.loc[table["mean"].idxmax()]
    assert best["chosen"]
    assert best["mean"] == pytest.approx(1, abs=0.01)
    declared = table.iloc[0]
    assert (declared["layer"], declared["pooling"], declared["std"]) == (
        4,
        "weighted_mean",
        0,
    )


def test_only_the_rows_that_decide_go_through_all_layers(
    make, llama, many, tmp_path, monkeypatch
):
    monkeypatch.setattr(choice, "DECIDING_ROWS", 50)
    y = target_of(llama, many, 1)
    chosen = make(pooling="cv").fit(many, y)
    assert chosen.layer_ == 1
    chosen.transform(many)
    assert chosen.last_report_.cached == 50
    assert chosen.last_report_.encoded == len(many) - 50
    info = EmbeddingCache(tmp_path / "cache").info()
    assert info["vectors"] == 50 * 20 + (len(many) - 50)


def test_the_same_texts_decide_in_any_order_and_in_other_folds(
    make, many, tmp_path, monkeypatch
):
    monkeypatch.setattr(choice, "DECIDING_ROWS", 50)
    y = np.arange(len(many)) / 7
    make().fit(many, y)
    before = EmbeddingCache(tmp_path / "cache").info()["vectors"]
    make().fit(many[::-1], y[::-1])
    assert EmbeddingCache(tmp_path / "cache").info()["vectors"] == before
    make(random_state=1).fit(many, y)
    assert EmbeddingCache(tmp_path / "cache").info()["vectors"] > before


def test_a_random_state_is_not_used_up(make, many, monkeypatch):
    monkeypatch.setattr(choice, "DECIDING_ROWS", 50)
    state = np.random.RandomState(3)
    make(random_state=state).fit(many, np.arange(len(many)) / 7)
    assert state.randint(10**6) == np.random.RandomState(3).randint(10**6)


@pytest.mark.parametrize("kept", [False, "too small", "read-only"])
def test_without_room_in_a_cache_the_choice_is_the_same(
    kept, make, llama, many, tmp_path, monkeypatch
):
    y = target_of(llama, many, 1)
    cache = kept
    if kept == "too small":
        cache = EmbeddingCache(tmp_path / "small", size_limit=100_000)
    if kept == "read-only":
        cache = EmbeddingCache(tmp_path / "read-only")
        monkeypatch.setattr(EmbeddingCache, "put_many", put_nothing(cache))
    monkeypatch.setattr(choice.tempfile, "tempdir", str(tmp_path))
    chosen = make(pooling="cv", cache=cache).fit(many, y)
    assert (chosen.layer_, chosen.pooling_) == (1, "mean")
    assert not list(tmp_path.glob("sklearn-llm2vec-*"))


def put_nothing(cache):
    """A `put_many` that keeps nothing in one cache."""
    put_many = EmbeddingCache.put_many

    def changed(self, *args):
        return 0 if self is cache or self == cache else put_many(self, *args)

    return changed


def test_only_the_training_rows_are_seen(make, many, monkeypatch):
    seen = []
    scores_of_cells = choice._scores_of_cells

    def spy(estimator, params, texts, targets):
        seen.append(set(texts))
        return scores_of_cells(estimator, params, texts, targets)

    monkeypatch.setattr(choice, "_scores_of_cells", spy)
    y = np.arange(len(many)) / 7
    found = cross_validate(
        make_pipeline(make(), Ridge()), many, y, cv=4, return_indices=True
    )
    trained = [{many[i] for i in rows} for rows in found["indices"]["train"]]
    assert seen == trained


def test_in_a_column_transformer(make, llama, many):
    frame = pd.DataFrame({"text": many, "number": np.arange(len(many))})
    columns = make_column_transformer(
        (make(pooling="mean"), "text"), ("passthrough", ["number"])
    )
    columns.fit_transform(frame, target_of(llama, many, 3))
    assert columns.transformers_[0][1].layer_ == 3
    assert columns.transform(frame).shape == (len(many), 33)


def test_missing_texts_and_repeated_ones(make, llama, many):
    y = target_of(llama, many, 1)
    holes = [None, *many, *many[:5], None]
    longer = np.array([5.0, *y, *y[:5], -5.0])
    chosen = make(pooling="mean").fit(holes, longer)
    assert chosen.layer_ == 1
    assert not chosen.transform(holes)[[0, -1]].any()


def test_classes(make, llama, many):
    numbers = target_of(llama, many, 1)
    y = np.where(numbers > np.median(numbers), "high", "low")
    assert make(pooling="mean").fit(many, y).layer_ == 1


def test_with_a_template_and_a_pca(make, llama, many):
    frame = pd.DataFrame({"a": many, "b": many[::-1]})
    y = target_of(llama, many, 1)
    one = make(template="{a} then {b}", n_components=3).fit(frame, y)
    assert one.transform(frame).shape == (len(many), 3)
    assert set(one.choice_["column"]) == {"llm"}


def test_cells_are_compared_by_their_first_components(make, llama, many):
    vectors = make(layer=1, pooling="mean").fit_transform(many)
    y = PCA(svd_solver="full").fit_transform(vectors)[:, 20]  # little of the variance
    assert make(pooling="mean").fit(many, y).layer_ == 1
    assert make(pooling="mean", n_components=5).fit(many, y).layer_ != 1


@pytest.mark.parametrize("parameters", [{}, {"n_components": 4, "normalize": True}])
def test_what_is_compared_is_what_transform_gives(parameters, make, many, monkeypatch):
    compared = []

    def recording(features, target):
        compared.append(features)
        return leave_one_out(features, target)

    monkeypatch.setattr(choice, "leave_one_out", recording)
    rows = [*many, *many[:7]]
    chosen = make(pooling="cv", **parameters).fit(rows, np.arange(len(rows)) / 7)
    features = compared[chosen.choice_["chosen"].index(True)]
    np.testing.assert_array_equal(features, chosen.transform(rows))


def test_fewer_deciding_rows_than_components(make, many, monkeypatch):
    monkeypatch.setattr(choice, "DECIDING_ROWS", 12)
    chosen = make(n_components=20).fit(many, np.arange(len(many)) / 7)
    assert chosen.transform(many[:3]).shape == (3, 20)


def test_with_an_adaptation(llama_lm, many, tmp_path):
    recipe = LLM2VecRecipe("simcse", simcse_steps=2, simcse_batch_size=4, lora_rank=2)
    chosen = LLMEmbeddingTransformer(
        llama_lm, layer="cv", pooling="cv", adapt=recipe, cache=tmp_path, verbose=False
    ).fit(many, np.arange(len(many)) / 7)
    assert len(chosen.adapter_) == 1
    assert chosen.transform(many).shape == (len(many), 32)


def test_a_pickle_holds_the_choice(make, llama, many):
    chosen = make(pooling="cv").fit(many, target_of(llama, many, 2, "last"))
    loaded = pickle.loads(pickle.dumps(chosen))
    assert (loaded.layer_, loaded.pooling_) == (2, "last")
    assert loaded.choice_ == chosen.choice_
    np.testing.assert_array_equal(loaded.transform(many), chosen.transform(many))


def test_a_layer_that_is_set_later_takes_effect(make, llama, many):
    chosen = make(pooling="cv").fit(many, target_of(llama, many, 2, "last"))
    chosen.set_params(layer=3)
    named = make(layer=3, pooling="last").fit_transform(many)
    np.testing.assert_array_equal(chosen.transform(many), named)


def test_another_fit_leaves_nothing_of_the_choice(make, many):
    chosen = make().fit(many, np.arange(len(many)) / 7)
    chosen.set_params(layer=2).fit(many)
    assert not hasattr(chosen, "choice_")
    chosen.set_params(layer="cv")
    with pytest.raises(NotFittedError, match="'layer'"):
        chosen.transform(many)


def test_other_blocks_than_those_chosen_for_are_refused(make, many):
    frame = pd.DataFrame({"a": many, "b": many[::-1]})
    chosen = make().fit(frame, np.arange(len(many)) / 7)
    chosen.set_params(template="{a} {b}")
    with pytest.raises(ValueError, match=r"each of 2 blocks.*there are 1: call 'fit'"):
        chosen.transform(frame)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({}, "layer='cv'"), ({"pooling": "cv"}, "layer='cv' and pooling='cv'")],
)
def test_a_fit_without_a_target_is_refused(parameters, named, make, many):
    with pytest.raises(ValueError, match=rf"With {named}.*needs y. Got y=None"):
        make(**parameters).fit(many)


def test_targets_of_another_length_are_refused(make, many):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        make().fit(many, [0, 1])


@pytest.mark.parametrize("name", ["layer", "pooling"])
def test_a_server_chooses_nothing(name):
    asked = LLMEmbeddingTransformer("m", endpoint="http://localhost:1", **{name: "cv"})
    with pytest.raises(ValueError, match=rf"'{name}' parameter.*where the server"):
        asked.fit(["a"], [1])


def test_a_constant_target_changes_nothing(make, many):
    chosen = make(pooling="cv").fit(many, np.ones(len(many)))
    assert chosen.layer_ == 4


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_rows_to_compare_leave_what_is_declared(n, make, many):
    chosen = make(pooling="cv").fit([*many[:n], None], [0.5] * n + [1.5])
    assert (chosen.layer_, chosen.pooling_) == (4, "weighted_mean")
