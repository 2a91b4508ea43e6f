"""Weights are all there, all used, all finite; or the folder is refused."""

import json

import pytest
import torch
import transformers as t
from architectures import DECODERS, SMALL, configs, more_configs
from conftest import llama_config, save_model
from safetensors.torch import load_file, save_file

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.loading import load_network
from sklearn_llm2vec._model.registry import forget_models

# Made whole by their own classes, with a head that a base model doesn't take.
ARCHITECTURES = {**configs(), **more_configs()}
SEQUENCE_TO_SEQUENCE = ("t5", "bart")


@pytest.fixture(autouse=True)
def empty_registry():
    forget_models()
    yield
    forget_models()


def head_of(name):
    if name in SEQUENCE_TO_SEQUENCE:
        return "AutoModelForSeq2SeqLM"
    causal = name in DECODERS or name in more_configs()
    return "AutoModelForCausalLM" if causal else "AutoModelForMaskedLM"


def change_weights(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_heads_and_layers_that_are_cut_off_are_no_left_overs(name, tmp_path):
    config = ARCHITECTURES[name]()
    save_model(tmp_path, config, "llama", factory=head_of(name))
    model = read_model(tmp_path)
    for n_layers in (2, model.n_layers):
        load_network(model, n_layers, torch.float32)


@pytest.mark.parametrize("n_layers", [2, 4])
@pytest.mark.parametrize("factory", ["AutoModel", "AutoModelForCausalLM"])
@pytest.mark.parametrize(
    "name", ["self_attn.q_proj.bias", "mlp.up_proj.weight_scale_inv", "extra.weight"]
)
def test_weights_that_have_no_place_are_refused(tmp_path, factory, name, n_layers):
    folder = save_model(
        tmp_path, llama_config(num_hidden_layers=4), "llama", 0, factory
    )
    prefix = "model." if factory == "AutoModelForCausalLM" else ""

    def add(weights):
        weights[f"{prefix}layers.0.{name}"] = torch.ones(32)

    change_weights(folder, add)
    message = rf"Got 1 more that don't belong to it: {prefix}layers\.0\.{name}"
    with pytest.raises(ValueError, match=message):
        load_network(read_model(folder), n_layers, torch.float32)


def test_more_layers_than_the_configuration_says_are_refused(tmp_path):
    folder = save_model(tmp_path, llama_config(num_hidden_layers=4), "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"belong to it: layers\.3\."):
        LLMEmbeddingTransformer(folder, layer=2, cache=None).fit_transform(["a"])


def test_classifiers_of_encoders_are_on_top(tmp_path):
    for n, factory in enumerate(
        ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
    ):
        for config in (t.BertConfig(**SMALL), t.RobertaConfig(**SMALL, pad_token_id=1)):
            folder = tmp_path / f"{n}-{config.model_type}"
            save_model(folder, config, "bert", factory=f"AutoModel{factory}")
            load_network(read_model(folder), 2, torch.float32)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_arent_finite_are_refused(llama, tmp_path, value):
    folder = save_model(tmp_path, llama_config(), "llama")

    def spoil(weights):
        weights["layers.0.mlp.up_proj.weight"][3, 4] = value

    change_weights(folder, spoil)
    with pytest.raises(ValueError, match=r"Got 1 that aren't in layers\.0\.mlp\.up"):
        LLMEmbeddingTransformer(folder, cache=None).fit_transform(["a"])


def test_large_weights_are_finite(tmp_path):
    folder = save_model(tmp_path, llama_config(), "llama")

    def grow(weights):  # their sum isn't, in float32
        weights["layers.0.mlp.down_proj.weight"][:] = 3e38

    change_weights(folder, grow)
    load_network(read_model(folder), 2, torch.float32)
