"""The recipe's parameters, and what "auto" makes of them."""

import pytest
from sklearn.base import clone

from sklearn_llm2vec import LLM2VecRecipe, LLMEmbeddingTransformer
from sklearn_llm2vec._adapt.recipe import CHAINS, STAGES, resolve_recipe


def stage(name, n_texts, width=4096, **params):
    return LLM2VecRecipe(**params).stage(
        name, n_texts=n_texts, n_layers=6, width=width, pooling="mean", seed=0
    )


def test_the_papers_defaults_where_there_are_texts_enough():
    mntp = stage("mntp", 100_000)
    assert (mntp.batch_size, mntp.steps, mntp.learning_rate) == (32, 1000, 5e-5)
    assert (mntp.warmup_steps, mntp.mask_probability) == (0, 0.2)
    simcse = stage("simcse", 100_000)
    assert (simcse.batch_size, simcse.steps, simcse.learning_rate) == (128, 1000, 3e-5)
    assert simcse.temperature == 0.05
    supervised = stage("supervised", 100_000)
    assert (supervised.learning_rate, supervised.warmup_steps) == (2e-4, 300)
    assert (simcse.lora_rank, simcse.lora_alpha, simcse.lora_dropout) == (16, 32, 0.05)
    assert simcse.layer == stage("simcse", 99, layer=6).layer == 6


def test_few_texts_make_small_batches_and_few_steps():
    assert stage("mntp", 16).batch_size == 8
    for n_texts in (16, 40, 200, 2000):
        for name in STAGES:
            one = stage(name, n_texts)
            assert 2 * one.batch_size <= max(n_texts, 16)
            assert 1 <= one.steps <= 1000
            assert one.steps * one.batch_size <= 11 * n_texts


def test_narrow_models_learn_faster_up_to_a_limit():
    assert stage("mntp", 999, width=1024).learning_rate == pytest.approx(8e-4)
    assert stage("supervised", 999, width=192).learning_rate == 1e-3
    assert stage("mntp", 999, width=64, mntp_learning_rate=0.5).learning_rate == 0.5


def test_what_is_given_is_taken():
    given = {"mntp_steps": 7, "mntp_batch_size": 5, "mntp_warmup": 0.5, "seed": 9}
    one = stage("mntp", 100, **given)
    assert (one.steps, one.batch_size, one.warmup_steps, one.seed) == (7, 5, 4, 9)
    assert stage("mntp", 100, mntp_warmup=3).warmup_steps == 3


@pytest.mark.parametrize("name", CHAINS)
def test_short_names(name):
    assert resolve_recipe(name).names() == tuple(name.split("+"))
    LLMEmbeddingTransformer(adapt=name)


WRONG = {
    "stages": "simcse+mntp",
    "mntp_steps": 0,
    "simcse_batch_size": 1,
    "supervised_learning_rate": -1e-3,
    "mntp_warmup": 1.5,
    "mask_probability": 0,
    "mask_strategy": "roberta",
    "mask_token": "",
    "temperature": 0,
    "dropout": 1.0,
    "lora_rank": 2.5,
    "lora_alpha": True,
    "lora_dropout": -0.1,
    "lora_targets": "q_proj",
    "layer": 0.5,
    "max_length": 0,
    "hard_negatives": -1,
    "gradient_checkpointing": 1,
    "precision": "fp16",
    "seed": -1,
}
WRONG_TOO = {"seed": 2**32, "mntp_batch_size": "many", "layer": True}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parameters(name):
    message = f"The '{name}' parameter of LLM2VecRecipe must be .*instead"
    with pytest.raises(ValueError, match=message):
        LLM2VecRecipe(**{name: WRONG[name]}).names()


@pytest.mark.parametrize("name", WRONG_TOO)
def test_more_wrong_parameters(name):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of LLM2VecRecipe"):
        LLM2VecRecipe(**{name: WRONG_TOO[name]}).names()


def test_two_views_need_a_dropout():
    with pytest.raises(ValueError, match="its two views are the same"):
        LLM2VecRecipe("simcse", dropout=0.0, lora_dropout=0.0).names()
    LLM2VecRecipe("mntp", dropout=0.0, lora_dropout=0.0).names()


@pytest.mark.parametrize("adapt", ["simcse+mntp", "", True, 3, ["mntp"]])
def test_wrong_adapt(adapt):
    with pytest.raises(
        ValueError, match=r"'adapt' parameter of LLMEmb.*LLM2VecRecipe or"
    ):
        LLMEmbeddingTransformer(adapt=adapt).fit(["a text"])


def test_the_contract():
    recipe = LLM2VecRecipe("mntp", seed=4)
    assert clone(recipe).get_params() == recipe.get_params()
    assert "seed=4" in repr(recipe)
    assert recipe.set_params(lora_rank=4).lora_rank == 4
