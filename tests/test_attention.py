"""The bidirectional switch, proved on every architecture that has it."""

import numpy as np
import pytest
import torch
import transformers as t
from conftest import save_model
from test_layers import DECODERS, GROUPED, IDS, SMALL, configs

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._attention import make_bidirectional, sees_future


def more_configs():
    return {
        "mistral-window": lambda: t.MistralConfig(**GROUPED, sliding_window=4),
        "gemma": lambda: t.GemmaConfig(**GROUPED),
        "gemma3-window": lambda: t.Gemma3TextConfig(**GROUPED, sliding_window=4),
        "phi": lambda: t.PhiConfig(**SMALL),
        "olmo3": lambda: t.Olmo3Config(
            **SMALL, num_key_value_heads=2, sliding_window=4
        ),
        "stablelm": lambda: t.StableLmConfig(**SMALL, num_key_value_heads=2),
        "starcoder2": lambda: t.Starcoder2Config(**SMALL, num_key_value_heads=2),
        "cohere2": lambda: t.Cohere2Config(**GROUPED, **IDS),
        "qwen3_moe": lambda: t.Qwen3MoeConfig(
            **GROUPED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16
        ),
        "glm4": lambda: t.Glm4Config(**GROUPED, **IDS),
        "exaone4": lambda: t.Exaone4Config(**GROUPED),
        "ministral3": lambda: t.Ministral3Config(**GROUPED),
        "gptj": lambda: t.GPTJConfig(
            vocab_size=128, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=64
        ),
        "codegen": lambda: t.CodeGenConfig(
            vocab_size=128, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=64
        ),
    }


ALL = {**{name: make for name, make in configs().items() if name in DECODERS}}
ALL |= more_configs()
REFUSED = {"gpt_neo", "mamba"}
NO_SDPA = {"gemma2", "bloom", "gptj", "codegen"}


def network_of(config, implementation):
    torch.manual_seed(0)
    network = t.AutoModel.from_config(config, attn_implementation=implementation)
    network.config.use_cache = False
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return network.eval()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", sorted(set(ALL) - REFUSED))
def test_the_switch_is_proved(name, implementation):
    if implementation == "sdpa" and name in NO_SDPA:
        pytest.skip(f"{name} has no sdpa attention in transformers")
    network = network_of(ALL[name](), implementation)
    assert not sees_future(network, padded=False)
    assert not sees_future(network, padded=True)
    make_bidirectional(network, name)
    assert sees_future(network, padded=False)
    assert sees_future(network, padded=True)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_model_that_ignores_the_switch_is_refused(name, tmp_path):
    folder = str(save_model(tmp_path, ALL[name](), "llama"))
    estimator = LLMEmbeddingTransformer(folder, attention="bidirectional", cache=None)
    with pytest.raises(
        ValueError, match=r"'attention' parameter.*'bidirectional' inst"
    ):
        estimator.fit_transform(["a card"])
    LLMEmbeddingTransformer(folder, cache=None).fit_transform(["a card"])


def test_layers_that_stay_causal_are_told():
    config = t.Lfm2Config(
        **SMALL,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention", "conv", "full_attention"],
    )
    network = network_of(config, "sdpa")
    with pytest.warns(UserWarning, match="2 layers of 'lfm2' stay causal.*conv layers"):
        make_bidirectional(network, "lfm2")


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
    from sklearn_llm2vec._models import forget_models

    whole = LLMEmbeddingTransformer(llama, **{**make, "layer": (2, 4)})
    whole.fit_transform(texts)
    want = LLMEmbeddingTransformer(llama, **make).fit_transform(texts)
    forget_models()
    got = LLMEmbeddingTransformer(llama, **make).fit_transform(texts)
    np.testing.assert_array_equal(got, want)
