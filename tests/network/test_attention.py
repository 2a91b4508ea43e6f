"""The bidirectional switch, proved on every architecture that has it."""

import warnings

import numpy as np
import pytest
import torch
import transformers as t
from architectures import ALL, GEMMA4, GROUPED, configs
from conftest import save_model, skip_before_all_architectures

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.loading import load_network
from sklearn_llm2vec._model.registry import forget_models, load_model
from sklearn_llm2vec._network.attention import (
    causal_layers,
    make_bidirectional,
    sees_future,
)
from sklearn_llm2vec._network.layers import loaded_layers

pytestmark = pytest.mark.usefixtures("one_thread")
REFUSED = {
    "gpt_neo": "doesn't see the last one",
    "mamba": "doesn't see the last one",
    "mpt": "fails with",
    "llama4_text": r"in layer 0 \(chunked_attention\)",
}
NO_SDPA = {"gemma2", "bloom", "gptj", "codegen", "gpt_oss", "gpt_neo", "mamba", "mpt"}
# Layers that read in one direction, all or a part of each, and what they are.
ONE_WAY = {
    "qwen3_5_text": ([0, 1, 2], "linear_attention"),
    "qwen3_next": ([0, 1, 2], "linear_attention"),
    "lfm2": ([0, 1, 3], "conv"),
    "falcon_h1": ([0, 1, 2, 3], "hybrid"),
}
ENCODERS = ["bert", "roberta", "modernbert", "deberta-v2"]
PADDED = (False, True)
SMALL_GEMMA4 = {**GEMMA4, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0}


def network_of(config, implementation):
    torch.manual_seed(0)
    network = t.AutoModel.from_config(config, attn_implementation=implementation)
    network.config.use_cache = False
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return network.eval()


def switch(network, name):
    """Switch and return what was told."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        make_bidirectional(network, name)
    return [str(w.message) for w in told if "remain causal" in str(w.message)]


def skip_without(implementation, name):
    if implementation == "sdpa" and name in {*NO_SDPA, "deberta-v2"}:
        pytest.skip(f"{name} has no sdpa attention in transformers")
    if name == "falcon_h1":
        skip_before_all_architectures("doesn't say that its layers are hybrids")


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", sorted(set(ALL) - set(REFUSED)))
def test_the_switch_is_proved(name, implementation):
    skip_without(implementation, name)
    network = network_of(ALL[name](), implementation)
    layers = loaded_layers(network)
    for padded in PADDED:
        assert not sees_future(network, padded=padded)
        blind = causal_layers(network, layers, padded=padded)
        assert blind == list(range(len(layers)))
    told = switch(network, name)
    one_way, kind = ONE_WAY.get(name, ([], None))
    assert len(told) == bool(one_way)
    if told:
        assert f"{len(one_way)} of 4 layers of '{name}' remain causal" in told[0]
        assert f"they are {kind} layers" in told[0]
    for padded in PADDED:
        assert sees_future(network, padded=padded)
        blind = causal_layers(network, layers, padded=padded)
        # Beside the part that stays causal a hybrid layer has attention, which sees.
        assert blind == ([] if kind == "hybrid" else one_way)


@pytest.mark.parametrize("cap", [0.5, None])
def test_a_cap_of_the_attention_is_followed(cap, tmp_path, monkeypatch):
    """Before version 5.21, transformers gave Gemma 2 an attention without a cap."""
    from transformers.models.gemma2.modeling_gemma2 import Gemma2PreTrainedModel

    monkeypatch.setattr(Gemma2PreTrainedModel, "_supports_sdpa", True)
    config = ALL["gemma2"]()
    config.attn_logit_softcapping = cap
    folder = save_model(tmp_path / "model", config, "llama")
    network = load_network(read_model(folder), config.num_hidden_layers, torch.float32)
    wanted = t.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        states, same = (one(ids).last_hidden_state for one in (network, wanted))
    torch.testing.assert_close(states, same)
    used = network.config._attn_implementation
    assert used == ("sdpa" if cap is None else "eager")


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", REFUSED)
def test_why_a_model_is_refused(name, implementation):
    skip_without(implementation, name)
    network = network_of(ALL[name](), implementation)
    with pytest.raises(ValueError, match=rf"'attention' parameter.*{REFUSED[name]}"):
        make_bidirectional(network, name)


@pytest.mark.parametrize("layer", [0, 2, -1])
@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_ignores_the_switch_is_refused(name, layer, tmp_path):
    folder = str(save_model(tmp_path, ALL[name](), "llama"))
    made = {"layer": layer, "cache": None}
    estimator = LLMEmbeddingTransformer(folder, attention="bidirectional", **made)
    with pytest.raises(
        ValueError, match=r"'attention' parameter.*'bidirectional' inst"
    ):
        estimator.fit_transform(["a card"])
    LLMEmbeddingTransformer(folder, **made).fit_transform(["a card"])


@pytest.mark.parametrize("name", ["qwen3_5_text", "qwen3_next", "lfm2", "falcon_h1"])
def test_hybrids_can_be_cut_anywhere(name, tmp_path):
    """Where the attention lies deeper than what is loaded, nothing sees the future."""
    if name == "falcon_h1":
        skip_before_all_architectures("doesn't say that its layers are hybrids")
    folder = str(save_model(tmp_path, ALL[name](), "llama"))
    ids = torch.tensor(
        t.AutoTokenizer.from_pretrained(folder)(["a blue cat"]).input_ids
    )
    network = t.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = network(ids, is_causal=False, output_hidden_states=True).hidden_states
    for layer in range(5):
        forget_models()
        made = LLMEmbeddingTransformer(
            folder, layer=layer, attention="bidirectional", pooling="last", cache=None
        )
        stay = f"of {max(layer, 2)} layers.*remain causal"
        with pytest.warns(UserWarning, match=stay) as caught:
            got = made.fit_transform(["a blue cat"])
        assert {one.filename for one in caught} == {__file__}
        np.testing.assert_allclose(got[0], states[layer][0, -1], rtol=1e-4, atol=1e-5)


def test_attention_behind_layers_without_any(tmp_path):
    """Zamba 2 begins with Mamba layers; its "hybrid" ones have attention."""
    skip_before_all_architectures("can't run Zamba 2 without positions")
    config = t.Zamba2Config(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        layers_block_type=["mamba", "mamba", "hybrid", "mamba"],
        mamba_d_state=8,
        mamba_headdim=8,
        n_mamba_heads=8,
        mamba_ngroups=1,
        num_mem_blocks=1,
        max_position_embeddings=64,
    )
    folder = str(save_model(tmp_path, config, "llama"))
    for layer, told in [(1, "2 of 2 layers"), (4, "4 of 4 layers")]:
        forget_models()
        made = LLMEmbeddingTransformer(
            folder, layer=layer, attention="bidirectional", cache=None
        )
        with pytest.warns(UserWarning, match=told):
            made.fit_transform(["a card"])


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "gemma3-window", "falcon"])
def test_the_causal_twin_stays_causal(name, tmp_path):
    model = read_model(save_model(tmp_path, ALL[name](), "llama"))
    make = {"depth": 4, "dtype": "float32", "device": "cpu"}
    causal = load_model(model, **make, attention="causal")
    both = load_model(model, **make, attention="bidirectional")
    assert load_model(model, **make, attention="causal") is causal
    for padded in PADDED:
        assert not sees_future(causal.states.network, padded=padded)
        assert sees_future(both.states.network, padded=padded)
    forget_models()
    again = load_model(model, **make, attention="causal")
    assert not sees_future(again.states.network, padded=False)


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3-window", "qwen3_moe", "opt"])
def test_switched_back_it_is_what_it_was(name):
    """The switch changes flags and no weights."""
    if name == "opt":
        skip_before_all_architectures("has a second flag for OPT")
    network = network_of(ALL[name](), "sdpa")
    ids = torch.arange(12)[None] + 5
    with torch.inference_mode():
        before = network(ids).last_hidden_state
        make_bidirectional(network, name)
        assert not torch.allclose(network(ids).last_hidden_state, before)
        network.config.is_causal = True
        torch.testing.assert_close(network(ids).last_hidden_state, before)


@pytest.mark.parametrize(
    ("config", "causal"),
    [
        (lambda: t.Gemma4TextConfig(**SMALL_GEMMA4), True),
        (
            lambda: t.Gemma4TextConfig(
                **SMALL_GEMMA4, use_bidirectional_attention="vision"
            ),
            True,
        ),
        (
            lambda: t.Gemma4TextConfig(
                **SMALL_GEMMA4, use_bidirectional_attention="all"
            ),
            False,
        ),
        (lambda: t.Gemma3TextConfig(**GROUPED, sliding_window=4), True),
        (
            lambda: t.Gemma3TextConfig(
                **GROUPED, sliding_window=4, use_bidirectional_attention=True
            ),
            False,
        ),
        (lambda: t.Qwen3Config(**GROUPED, is_causal=False), False),
    ],
)
def test_what_a_configuration_says_is_what_the_network_does(config, causal, tmp_path):
    model = read_model(save_model(tmp_path, config(), "llama"))
    assert model.causal == causal
    network = t.AutoModel.from_pretrained(tmp_path).eval()
    assert sees_future(network, padded=False) != causal
    make = {"depth": 4, "dtype": "float32", "device": "cpu"}
    loaded = load_model(model, **make, attention="bidirectional")
    assert sees_future(loaded.states.network, padded=False)


def test_a_model_that_isnt_bidirectional_as_it_says_is_refused(tmp_path):
    config = ALL["gpt_neo"]()
    config.is_causal = False
    folder = str(save_model(tmp_path, config, "llama"))
    for attention in ("auto", "bidirectional"):
        made = LLMEmbeddingTransformer(folder, attention=attention, cache=None)
        with pytest.raises(
            ValueError, match=r"'model' parameter.*is bidirectional, but"
        ):
            made.fit_transform(["a card"])


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ENCODERS)
def test_the_switch_leaves_encoders_as_they_are(name, implementation):
    skip_without(implementation, name)
    network = network_of(configs()[name](), implementation)
    ids = torch.arange(12)[None] + 5
    with torch.inference_mode():
        before = network(ids).last_hidden_state
        for padded in PADDED:
            assert sees_future(network, padded=padded)
        assert switch(network, name) == []
        assert torch.equal(network(ids).last_hidden_state, before)


def test_encoders_see_the_future_as_they_are(bert):
    a = LLMEmbeddingTransformer(bert, cache=None).fit(["a card"])
    b = LLMEmbeddingTransformer(bert, attention="bidirectional", cache=None)
    assert b.fit(["a card"]).fingerprint_ == a.fingerprint_


def test_as_a_parameter(llama, tmp_path, texts):
    make = {"cache": tmp_path, "pooling": "mean"}
    causal = LLMEmbeddingTransformer(llama, **make)
    both = LLMEmbeddingTransformer(llama, attention="bidirectional", **make)
    one, two = causal.fit_transform(texts), both.fit_transform(texts)
    assert causal.fingerprint_ != both.fingerprint_
    longer = [len(text.split()) > 1 for text in texts]
    assert (np.abs(one - two).max(1) > 1e-4)[longer].all()
    # Switching one leaves the other's model alone.
    uncached = LLMEmbeddingTransformer(llama, cache=None, pooling="mean")
    np.testing.assert_array_equal(uncached.fit_transform(texts), one)
    again = LLMEmbeddingTransformer(
        llama, attention="bidirectional", cache=None, pooling="mean", batch_tokens=40
    )
    np.testing.assert_array_equal(again.fit_transform(texts[::-1]), two[::-1])


def test_values_against_transformers_own_switch(llama):
    """``is_causal=False`` as an argument of the forward pass is official API."""
    got = LLMEmbeddingTransformer(
        llama, attention="bidirectional", pooling="last", layer=2, cache=None
    ).fit_transform(["a small blue cat reads"])
    network = t.AutoModel.from_pretrained(llama).eval()
    tokenizer = t.AutoTokenizer.from_pretrained(llama)
    ids = torch.tensor(tokenizer(["a small blue cat reads"])["input_ids"])
    with torch.inference_mode():
        states = network(ids, is_causal=False, output_hidden_states=True).hidden_states
    np.testing.assert_allclose(got[0], states[2][0, -1], rtol=1e-5, atol=1e-5)


def test_auto_pooling_follows_the_attention(llama):
    made = LLMEmbeddingTransformer(llama, attention="bidirectional", cache=None)
    assert made.fit(["a"]).pooling_ == "mean"
    assert made.set_params(attention="causal").fit(["a"]).pooling_ == "weighted_mean"


def test_a_cut_model_is_switched_too(llama, texts):
    make = {"attention": "bidirectional", "cache": None, "layer": 2}
    whole = LLMEmbeddingTransformer(llama, **{**make, "layer": (2, 4)})
    whole.fit_transform(texts)
    want = LLMEmbeddingTransformer(llama, **make).fit_transform(texts)
    forget_models()
    got = LLMEmbeddingTransformer(llama, **make).fit_transform(texts)
    np.testing.assert_array_equal(got, want)
