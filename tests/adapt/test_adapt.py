"""fit adapts the model: what comes out, and how often it is trained."""

import os
import pickle
import random
import warnings
from datetime import timedelta

import joblib
import numpy as np
import pandas as pd
import peft
import pytest
import torch
import transformers as t
from conftest import WORDS, llama_config, save_model
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from small_trainings import N_TEXTS, few_labels, few_texts, make, recipe

from sklearn_llm2vec import EmbeddingCache, LLM2VecRecipe
from sklearn_llm2vec._adapt import adapt as adaptation
from sklearn_llm2vec._adapt import loop, lora, material, training
from sklearn_llm2vec._adapt.texts import TrainingTexts
from sklearn_llm2vec._estimator.source import open_source
from sklearn_llm2vec._model.registry import forget_models, load_model
from sklearn_llm2vec._network.attention import sees_future


@pytest.fixture(autouse=True)
def empty_registry():
    forget_models()
    yield
    forget_models()


@pytest.fixture
def texts():
    return few_texts()


@pytest.fixture
def y():
    return few_labels()


@pytest.fixture
def trained(monkeypatch):
    """The (stage, texts) of every training that really runs."""
    seen, train = [], adaptation.train

    def counting(stage, data, *args):
        seen.append((stage.name, list(data.of(stage.name))))
        return train(stage, data, *args)

    monkeypatch.setattr(adaptation, "train", counting)
    return seen


# --- what comes out -------------------------------------------------------------------


@pytest.mark.parametrize(
    "stages", ["mntp", "simcse", "supervised", "mntp+simcse", "mntp+supervised"]
)
def test_every_chain_on_a_decoder(stages, llama_lm, texts, y):
    plain = make(llama_lm, attention="bidirectional").fit_transform(texts)
    adapted = make(llama_lm, recipe(stages)).fit(texts, y)
    assert [adapter.stage for adapter in adapted.adapter_] == stages.split("+")
    assert adapted.pooling_ == "mean"  # of bidirectional attention
    history = adapted.adaptation_history_
    assert history["step"] == [1, 2, 3] * len(adapted.adapter_)
    assert history["stage"] == [s for s in stages.split("+") for _ in range(3)]
    assert np.isfinite(history["loss"]).all()
    vectors = adapted.transform(texts)
    assert vectors.shape == plain.shape
    assert np.abs(vectors - plain).max() > 1e-4


@pytest.mark.parametrize("stages", ["mntp+simcse", "supervised"])
def test_encoders_are_adapted_as_they_are(stages, bert_lm, texts, y):
    plain = make(bert_lm).fit_transform(texts)
    adapted = make(bert_lm, recipe(stages)).fit(texts, y)
    assert np.abs(adapted.transform(texts) - plain).max() > 1e-4
    assert not any(adapter.bidirectional for adapter in adapted.adapter_)


def test_the_loss_falls(llama_lm):
    texts = [f"{a} cat {b} cat" for a in WORDS[:8] for b in WORDS[8:16]]
    y = [text.split()[0] for text in texts]
    learning = recipe(
        "mntp+supervised",
        mntp_steps=40,
        supervised_steps=40,
        mntp_learning_rate=0.02,
        supervised_learning_rate=0.02,
        supervised_batch_size=24,
        lora_rank=8,
    )
    history = make(llama_lm, learning).fit(texts, y).adaptation_history_
    losses = np.array(history["loss"]).reshape(2, 4, 10).mean(2)
    assert losses[0, -1] < losses[0, 0] - 0.3
    assert losses[1, -1] < losses[1, 0] - 0.3


def network_of(estimator, attention="bidirectional"):
    source = open_source(estimator)
    settings = source.model_settings(source.model.n_layers)
    assert settings["attention"] == attention
    return load_model(source.model, **settings).states.network


@pytest.mark.parametrize("stages", ["mntp", "mntp+simcse", "mntp+supervised"])
def test_bidirectional_after_every_stage(stages, llama_lm, texts, y):
    network = network_of(make(llama_lm, recipe(stages)).fit(texts, y))
    assert sees_future(network, padded=False)
    assert sees_future(network, padded=True)


def test_causal_stays_causal(llama_lm, texts):
    fitted = make(llama_lm, recipe("simcse"), attention="causal").fit(texts)
    assert not sees_future(network_of(fitted, "causal"), padded=True)
    assert fitted.pooling_ == "weighted_mean"


def test_a_network_that_turned_causal_is_noticed(llama_lm, texts, monkeypatch):
    train_stage = loop.train_stage

    def turned(network, *args, **kwargs):
        done = train_stage(network, *args, **kwargs)
        network.config.is_causal = True
        return done

    monkeypatch.setattr(training, "train_stage", turned)
    with pytest.raises(RuntimeError, match="causal again after the stage 'mntp'"):
        make(llama_lm, recipe("mntp")).fit(texts)


def test_saved_adapters_are_the_parameter_and_peft_reads_them(
    llama_lm, texts, tmp_path
):
    fitted = make(llama_lm, recipe()).fit(texts)
    folders = fitted.save_adapters(tmp_path / "saved")
    assert [folder.rpartition("/")[2] for folder in folders] == ["1-mntp", "2-simcse"]
    again = make(llama_lm, adapters=folders).fit(texts)
    assert again.fingerprint_ == fitted.fingerprint_  # so cached vectors serve both
    forget_models()
    np.testing.assert_array_equal(again.transform(texts), fitted.transform(texts))
    network = t.AutoModel.from_pretrained(llama_lm)
    network.config.is_causal = False
    for folder in folders:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            wrapped = peft.PeftModel.from_pretrained(network, folder)
        assert type(wrapped.peft_config["default"]).__name__ == "LoraConfig"
        network = wrapped.merge_and_unload()
        network.__dict__.pop("peft_config", None)
    ids = t.AutoTokenizer.from_pretrained(llama_lm)(texts[0], return_tensors="pt")
    with torch.inference_mode():
        states = network.eval()(ids["input_ids"]).last_hidden_state
    want = fitted.transform(texts[:1])[0]
    np.testing.assert_allclose(states[0, 1:].mean(0), want, rtol=1e-4, atol=1e-5)


def test_a_chain_goes_on_from_adapters(llama_lm, texts, tmp_path):
    first = make(llama_lm, recipe("mntp")).fit(texts).save_adapters(tmp_path / "one")
    second = make(llama_lm, recipe("simcse"), adapters=first).fit(texts)
    whole = make(llama_lm, recipe("mntp+simcse")).fit(texts)
    np.testing.assert_array_equal(second.transform(texts), whole.transform(texts))


def test_a_merged_model_is_a_plain_folder(llama_lm, texts, tmp_path):
    fitted = make(llama_lm, recipe()).fit(texts)
    fitted.merge_and_save(tmp_path / "merged")
    network = t.AutoModel.from_pretrained(tmp_path / "merged").eval()
    assert network.config.is_causal is False
    assert sees_future(network, padded=True)
    assert not [name for name in network.state_dict() if "lora" in name]
    again = make(str(tmp_path / "merged")).fit(texts)
    assert again.pooling_ == "mean"
    np.testing.assert_allclose(
        again.transform(texts), fitted.transform(texts), rtol=1e-5, atol=1e-6
    )


def test_a_pickle_carries_the_adapters(llama_lm, texts, tmp_path):
    fitted = make(llama_lm, recipe(), cache=tmp_path / "here").fit(texts)
    want = fitted.transform(texts)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    loaded = joblib.load(tmp_path / "fitted.joblib")
    n_bytes = (tmp_path / "fitted.joblib").stat().st_size
    assert n_bytes < 20_000 + sum(len(adapter.weights) for adapter in loaded.adapter_)
    forget_models()
    loaded.set_params(cache=tmp_path / "elsewhere")
    np.testing.assert_array_equal(loaded.transform(texts), want)
    assert loaded.last_report_.encoded == len(texts)


def test_vectors_of_adapted_models_never_mix(llama_lm, texts, y, tmp_path):
    cache = EmbeddingCache(tmp_path)
    fitted = [
        make(llama_lm, one, attention="bidirectional", cache=cache).fit(texts, y)
        for one in (None, recipe("mntp"), recipe(), recipe("supervised"))
    ]
    vectors = [one.transform(texts) for one in fitted]
    assert len({one.fingerprint_ for one in fitted}) == 4
    assert cache.info()["texts_encoded"] == 4 * len(texts)
    for one, want in zip(fitted, vectors, strict=True):
        np.testing.assert_array_equal(one.transform(texts), want)
    for i in range(4):
        for j in range(i):
            assert np.abs(vectors[i] - vectors[j]).max() > 1e-5


# --- trained once ---------------------------------------------------------------------


def test_same_seed_same_adapter(llama_lm, texts):
    one, two = (make(llama_lm, recipe(seed=3)).fit(texts) for _ in range(2))
    assert [a.digest for a in one.adapter_] == [a.digest for a in two.adapter_]
    other = make(llama_lm, recipe(seed=4)).fit(texts)
    assert one.adapter_[0].digest != other.adapter_[0].digest
    # The transformer's seed is the recipe's where that has none.
    three = make(llama_lm, recipe(), random_state=3).fit(texts)
    assert [a.digest for a in three.adapter_] == [a.digest for a in one.adapter_]


def test_a_refit_is_free_and_stages_are_shared(llama_lm, texts, y, trained, tmp_path):
    make(llama_lm, recipe("mntp"), cache=tmp_path).fit(texts)
    again = make(llama_lm, recipe("mntp"), cache=tmp_path).fit(texts)
    assert [name for name, _ in trained] == ["mntp"]
    both = make(llama_lm, recipe("mntp+simcse"), cache=tmp_path).fit(texts)
    make(llama_lm, recipe("mntp+supervised"), cache=tmp_path).fit(texts, y)
    assert [name for name, _ in trained] == ["mntp", "simcse", "supervised"]
    assert both.adapter_[0].digest == again.adapter_[0].digest
    assert both.adaptation_history_["stage"] == ["mntp"] * 3 + ["simcse"] * 3
    # What a stage doesn't use doesn't train it again.
    make(
        llama_lm, recipe("mntp"), cache=tmp_path, max_length=300, long_texts="chunk"
    ).fit(texts)
    make(llama_lm, recipe("mntp", temperature=0.2), pooling="max", cache=tmp_path).fit(
        texts
    )
    make(llama_lm, recipe("mntp", gradient_checkpointing=True), cache=tmp_path).fit(
        texts
    )
    assert len(trained) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"mntp_steps": 4},
        {"mask_probability": 0.3},
        {"mask_strategy": "all"},
        {"mask_token": "cat"},
        {"lora_rank": 3},
        {"lora_targets": ["q_proj"]},
        {"mntp_learning_rate": 0.01},
        {"max_length": 5},
        {"seed": 1},
    ],
)
def test_what_changes_an_adapter_is_in_its_name(
    change, llama_lm, texts, trained, tmp_path
):
    one = make(llama_lm, recipe("mntp"), cache=tmp_path).fit(texts)
    two = make(llama_lm, recipe("mntp", **change), cache=tmp_path).fit(texts)
    assert len(trained) == 2
    assert one.adapter_[0].digest != two.adapter_[0].digest


def test_order_of_texts_and_labels_are_in_its_name(
    llama_lm, texts, y, trained, tmp_path
):
    def fit(stages, texts, y=None):
        make(llama_lm, recipe(stages), cache=tmp_path).fit(texts, y)
        return len(trained)

    assert fit("simcse", texts) == 1
    assert fit("simcse", texts[::-1]) == 2
    assert fit("simcse", texts, y) == 2  # labels don't matter here
    assert fit("supervised", texts, y) == 3
    assert fit("supervised", texts, np.roll(y, 1)) == 4
    numbers = [{"card": 5, "cat": 7, "book": 1}[label] for label in np.roll(y, 1)]
    assert fit("supervised", texts, numbers) == 4  # the same classes by other names


def test_each_fold_trains_once_a_stage_on_its_own_texts(
    llama_lm, texts, y, trained, tmp_path
):
    pipe = make_pipeline(make(llama_lm, cache=tmp_path), RidgeClassifier())
    grid = {
        "llmembeddingtransformer__adapt": [
            None,
            recipe("simcse"),
            recipe("mntp+simcse"),
            recipe("mntp+supervised"),
        ],
        "ridgeclassifier__alpha": [0.1, 1.0],
    }
    folds = KFold(2)
    GridSearchCV(pipe, grid, cv=folds, refit=False).fit(texts, y)
    by_fold = [[texts[i] for i in train] for train, _ in folds.split(texts)]
    for fold, held_out in zip(by_fold, by_fold[::-1], strict=True):
        stages = [name for name, seen in trained if set(seen) == set(fold)]
        assert sorted(stages) == ["mntp", "simcse", "simcse", "supervised"]
        assert not any(set(seen) & set(held_out) for _, seen in trained if seen == fold)
    assert len(trained) == 8


def test_workers_train_once(llama_lm, texts, y, tmp_path):
    pipe = make_pipeline(
        make(llama_lm, recipe("mntp"), cache=tmp_path), RidgeClassifier()
    )
    grid = {"ridgeclassifier__alpha": [0.1, 1.0]}
    GridSearchCV(pipe, grid, cv=KFold(2), n_jobs=2, refit=False).fit(texts, y)
    made = [path for path in (tmp_path / "adapters").iterdir() if path.is_dir()]
    assert len(made) == 2


def test_a_damaged_adapter_is_trained_again(llama_lm, texts, trained, tmp_path):
    one = make(llama_lm, recipe("mntp"), cache=tmp_path).fit(texts)
    (weights,) = (tmp_path / "adapters").glob("*/adapter_model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    two = make(llama_lm, recipe("mntp"), cache=tmp_path).fit(texts)
    assert len(trained) == 2
    assert two.adapter_[0].digest == one.adapter_[0].digest
    assert EmbeddingCache(tmp_path).info()["adapter_bytes"] > 1000
    cache = EmbeddingCache(tmp_path)
    one.transform(texts)
    cache.prune(older_than=timedelta(hours=1))
    assert cache.info()["adapter_bytes"] > 1000
    for path in (tmp_path / "adapters").iterdir():
        os.utime(path, (0, 0))
    cache.prune(older_than=timedelta(hours=1))
    assert not list((tmp_path / "adapters").iterdir())
    make(llama_lm, recipe("mntp"), cache=tmp_path).fit(texts)
    cache.clear()
    assert cache.info()["adapter_bytes"] == 0


# --- scikit-learn ---------------------------------------------------------------------


def test_its_parameters_are_the_transformers(llama_lm, texts, trained):
    estimator = make(llama_lm, recipe("mntp")).set_params(adapt__mntp_steps=2)
    assert estimator.get_params()["adapt__mntp_steps"] == 2
    copy = clone(estimator)
    assert copy.adapt is not estimator.adapt
    assert copy.fit(texts).adaptation_history_["step"] == [1, 2]
    copy.set_params(adapt__mntp_steps=3)
    with pytest.raises(NotFittedError, match="With 'adapt' call 'fit'"):
        copy.transform(texts)
    copy.set_params(adapt=None)
    plain = make(llama_lm).fit_transform(texts)
    np.testing.assert_array_equal(copy.transform(texts), plain)


def test_transform_needs_a_fit(llama_lm, texts, tmp_path):
    estimator = make(llama_lm, "simcse")
    assert estimator.__sklearn_tags__().requires_fit
    for call in (
        lambda: estimator.transform(texts),
        lambda: estimator.save_adapters(tmp_path),
        lambda: estimator.merge_and_save(tmp_path),
        lambda: make(llama_lm).fit(texts).save_adapters(tmp_path),
    ):
        with pytest.raises(NotFittedError, match="'adapt'"):
            call()


def test_columns_rows_missing_texts_and_y_through_a_pipeline(
    llama_lm, texts, y, trained
):
    table = pd.DataFrame({"a": texts, "b": texts[::-1], "n": range(N_TEXTS)})
    table.loc[0, "a"] = None
    columns = make_column_transformer(
        (make(llama_lm, recipe("supervised")), ["a", "b"]),
        (make(llama_lm, recipe("simcse"), template="{a}. {n}"), ["a", "n"]),
        remainder="passthrough",
    )
    pipe = make_pipeline(columns, RidgeClassifier()).fit(table, y)
    assert pipe.predict(table).shape == (N_TEXTS,)
    by_name = dict(trained)
    # Each text once with each label.
    labelled = {*zip(texts[1:], y[1:], strict=True), *zip(texts[::-1], y, strict=True)}
    assert len(by_name["supervised"]) == len(labelled)
    assert by_name["simcse"][0] == ("", "0")


def test_the_users_random_numbers_go_on(llama_lm, texts):
    def numbers():
        return random.random(), np.random.rand(), float(torch.rand(1))  # noqa: NPY002

    def seeded():
        random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002

    seeded()
    want = numbers()
    seeded()
    make(llama_lm, recipe("simcse")).fit(texts)
    assert numbers() == want


def test_pairs_train_on_their_positives(llama_lm, texts, trained):
    pairs = pd.DataFrame(
        {"text": texts, "positive": texts[::-1], "negative": [*texts[1:], None]}
    )
    fitted = make(llama_lm, recipe("supervised")).fit(pairs)
    assert fitted.n_features_in_ == 1
    vectors = fitted.transform(pairs)
    np.testing.assert_array_equal(vectors, fitted.transform(pairs[["text"]]))
    assert vectors.shape == (N_TEXTS, 32)
    two = make(llama_lm, recipe("supervised")).fit(pairs.drop(columns="negative"))
    assert two.adapter_[0].digest != fitted.adapter_[0].digest
    assert two.fit_transform(pairs.drop(columns="negative")).shape == vectors.shape


@pytest.mark.parametrize("kind", ["classes", "pairs"])
def test_hard_negatives_change_what_is_learned(kind, llama_lm, texts, y):
    X, labels = texts, y
    if kind == "pairs":
        X = pd.DataFrame({"text": texts, "positive": texts[::-1]})
        labels = None
    few, more = (
        make(llama_lm, recipe("supervised", hard_negatives=n)).fit(X, labels)
        for n in (0, 2)
    )
    assert few.adaptation_history_["loss"][0] < more.adaptation_history_["loss"][0]


def test_the_layer_that_is_trained(llama_lm, texts):
    one = make(llama_lm, recipe("simcse", layer=1)).fit(texts)
    last = make(llama_lm, recipe("simcse")).fit(texts)
    assert one.adaptation_history_["loss"] != last.adaptation_history_["loss"]
    # Nothing behind the layer that is trained can move.
    state = one.adapter_[0].load_weights()
    moved = {name for name, w in state.items() if "lora_B" in name and w.any()}
    assert moved and all(".layers.0." in name for name in moved)
    assert one.transform(texts).shape == (N_TEXTS, 32)


def test_a_shallow_layer_of_a_deep_model(tmp_path, texts):
    config = llama_config(num_hidden_layers=4)
    folder = save_model(tmp_path / "m", config, "llama", factory="AutoModelForCausalLM")
    fitted = make(str(folder), recipe("mntp+simcse", layer=1)).fit(texts)
    vectors = fitted.transform(texts)  # of the last layer
    again = make(str(folder), adapters=fitted.save_adapters(tmp_path / "saved"))
    np.testing.assert_array_equal(again.fit_transform(texts), vectors)
    fitted.merge_and_save(tmp_path / "merged")
    merged = make(str(tmp_path / "merged")).fit_transform(texts)
    np.testing.assert_allclose(merged, vectors, rtol=1e-4, atol=1e-5)
    shallow = fitted.set_params(layer=1).transform(texts)
    assert np.abs(shallow - vectors).max() > 1e-3


@pytest.mark.parametrize("stages", ["mntp", "simcse", "supervised"])
def test_bfloat16(stages, llama_lm, texts, y):
    half = make(llama_lm, recipe(stages, precision="bfloat16")).fit(texts, y)
    whole = make(llama_lm, recipe(stages)).fit(texts, y)
    losses = (np.array(one.adaptation_history_["loss"]) for one in (half, whole))
    assert 0 < np.abs(np.subtract(*losses)).max() < 0.3


def test_gradient_checkpointing_computes_again(llama_lm, texts, monkeypatch):
    n_calls = {}
    forward = t.models.llama.modeling_llama.LlamaMLP.forward

    def counting(self, x):
        n_calls[key] = n_calls.get(key, 0) + torch.is_grad_enabled()
        return forward(self, x)

    monkeypatch.setattr(t.models.llama.modeling_llama.LlamaMLP, "forward", counting)
    for key in (False, True):
        make(llama_lm, recipe("simcse", gradient_checkpointing=key)).fit(texts)
    # Each of 3 steps goes through the 2 layers once more.
    assert n_calls[True] - n_calls[False] == 3 * 2


def test_gradient_checkpointing_gives_the_same(llama_lm, texts):
    one = make(llama_lm, recipe(lora_dropout=0.0, dropout=0.1)).fit(texts)
    two = make(
        llama_lm, recipe(lora_dropout=0.0, dropout=0.1, gradient_checkpointing=True)
    ).fit(texts)
    np.testing.assert_allclose(
        one.adaptation_history_["loss"], two.adaptation_history_["loss"], rtol=1e-4
    )


@pytest.mark.parametrize("kind", ["llama", "bert"])
@pytest.mark.parametrize(
    "params",
    [
        {"pooling": "mean"},
        {"pooling": "weighted_mean", "layer": 1},
        {"pooling": "last", "template": "the book: {text} reads"},
        {"pooling": "max", "special_tokens": True},
    ],
)
def test_what_is_trained_is_what_transform_gives(
    kind, params, llama_lm, bert_lm, texts
):
    estimator = make(llama_lm if kind == "llama" else bert_lm, "simcse", **params)
    source = open_source(estimator)
    layer = params.get("layer", -1)
    stage = LLM2VecRecipe("simcse", layer=layer).stage(
        "simcse",
        n_texts=N_TEXTS,
        n_layers=source.model.n_layers,
        width=32,
        pooling=params["pooling"],
        seed=0,
    )
    network, _, tokenizer = training.load_for_training(stage, source, ())
    wrapped = lora.add_lora(network, stage, network.n_layers_loaded)
    data = TrainingTexts(texts)
    made_of = material.Material(stage, data, source, wrapped, tokenizer)
    # An adapter that isn't trained yet changes nothing.
    estimator.set_params(adapt=None, attention="bidirectional")
    np.testing.assert_allclose(
        made_of.vectors_of(made_of.rows),
        estimator.fit_transform(texts),
        rtol=1e-4,
        atol=1e-5,
    )


def test_another_base_is_refused(llama_lm, texts, tmp_path):
    other = save_model(
        tmp_path,
        llama_config(num_hidden_layers=2),
        "llama",
        seed=1,
        factory="AutoModelForCausalLM",
    )
    fitted = make(llama_lm, recipe("simcse")).fit(texts)
    with pytest.raises(ValueError, match="must be the same as in 'fit'"):
        fitted.set_params(model=str(other)).transform(texts)


def test_the_place_of_a_model_is_no_part_of_an_adapter(llama_lm, texts, tmp_path):
    import shutil

    copy = shutil.copytree(llama_lm, tmp_path / "copy")
    one, two = (make(str(f), recipe()).fit(texts) for f in (llama_lm, copy))
    assert one.fingerprint_ == two.fingerprint_
    assert llama_lm.encode() not in one.adapter_[0].config


def test_a_merged_decoder_goes_on_as_the_chain_does(llama_lm, texts, tmp_path):
    make(llama_lm, recipe("mntp")).fit(texts).merge_and_save(tmp_path / "merged")
    on = make(str(tmp_path / "merged"), recipe("simcse")).fit(texts)
    chain = make(llama_lm, recipe("mntp+simcse")).fit(texts)
    want = chain.adaptation_history_["loss"][3:]
    np.testing.assert_allclose(on.adaptation_history_["loss"], want, rtol=1e-4)
    with pytest.raises(ValueError, match="only for a checkpoint with a language-model"):
        make(str(tmp_path / "merged"), recipe("mntp")).fit(texts)


def test_a_recipe_pickles_and_compares(llama_lm):
    one = recipe()
    assert pickle.loads(pickle.dumps(one)).get_params() == one.get_params()
