"""The loss by step, drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sklearn_llm2vec import AdaptationDisplay, LLM2VecRecipe, LLMEmbeddingTransformer


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def history(n=40):
    return {
        "stage": ["mntp"] * n + ["simcse"] * n,
        "step": [*range(1, n + 1)] * 2,
        "loss": [*np.linspace(5, 3, n), *np.linspace(2, 1, n)],
        "learning_rate": [1e-3] * 2 * n,
    }


def test_a_panel_a_stage_and_a_running_mean():
    display = AdaptationDisplay.from_history(history())
    assert [axes.get_title() for axes in display.axes_] == ["mntp", "simcse"]
    each, running = display.lines_[1]
    np.testing.assert_allclose(each.get_ydata(), np.linspace(2, 1, 40))
    # Two steps of forty: the mean of a step and the one before it.
    np.testing.assert_array_equal(running.get_xdata(), np.arange(2, 41))
    want = np.linspace(2, 1, 40)
    np.testing.assert_allclose(running.get_ydata(), (want[1:] + want[:-1]) / 2)


def test_on_axes_of_the_user():
    figure, axes = plt.subplots(2)
    assert AdaptationDisplay.from_history(history(), ax=axes).figure_ is figure
    with pytest.raises(ValueError, match="each of the 2 stages. Got 1"):
        AdaptationDisplay.from_history(history(), ax=axes[0])


def test_from_a_fitted_transformer(llama_lm):
    recipe = LLM2VecRecipe("simcse", simcse_steps=3, simcse_batch_size=4)
    texts = [
        f"a {a} {b}" for a in ("red", "blue") for b in ("cat", "dog", "book", "card")
    ]
    fitted = LLMEmbeddingTransformer(llama_lm, adapt=recipe, cache=None).fit(texts)
    display = AdaptationDisplay.from_estimator(fitted)
    each, _ = display.lines_[0]
    np.testing.assert_array_equal(each.get_ydata(), fitted.adaptation_history_["loss"])


def test_wrong_input():
    with pytest.raises(NotFittedError, match="fitted with 'adapt'"):
        AdaptationDisplay.from_estimator(LLMEmbeddingTransformer())
    with pytest.raises(ValueError, match="at least one step"):
        AdaptationDisplay.from_history({"stage": [], "step": [], "loss": []})
