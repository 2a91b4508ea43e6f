"""Networks of GGUF files compute what those that they were made from compute."""

import re

import numpy as np
import pytest
import torch
import transformers as t
from conftest import skip_before_all_architectures
from gguf_files import VOCABULARY_SIZE, save_gguf

from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.gguf_file import StoredTensor
from sklearn_llm2vec._model.loading import load_network

IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    **IDS,
}
OLD = {"vocab_size": VOCABULARY_SIZE, "hidden_size": 32, "n_layer": 3, "n_head": 4}
T5 = {
    "vocab_size": VOCABULARY_SIZE,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 3,
    "num_heads": 4,
}
WIDE = {**SMALL, "head_dim": 16}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LOCAL = {"query_pre_attn_scalar": 16, "sliding_window": 8}
FALCON = {**OLD, "num_hidden_layers": 3, "num_attention_heads": 4, "bias": False}


def rope(kind, **settings):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 5000.0, **settings}}


FAMILIES = {
    "llama": lambda: t.LlamaConfig(**SMALL),
    "llama, wide heads, tied": lambda: t.LlamaConfig(**WIDE, tie_word_embeddings=True),
    "llama, biases": lambda: t.LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True),
    "llama 3": lambda: t.LlamaConfig(
        **SMALL | {"max_position_embeddings": 512},
        **rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
    ),
    "llama, linear": lambda: t.LlamaConfig(**SMALL, **rope("linear", factor=4.0)),
    "llama, yarn": lambda: t.LlamaConfig(
        **SMALL | {"max_position_embeddings": 256},
        **rope("yarn", factor=4.0, original_max_position_embeddings=64),
    ),
    "mistral": lambda: t.MistralConfig(**SMALL, sliding_window=None),
    "qwen2": lambda: t.Qwen2Config(**SMALL),
    "qwen3": lambda: t.Qwen3Config(**WIDE),
    "qwen2_moe": lambda: t.Qwen2MoeConfig(
        **SMALL, **MOE, shared_expert_intermediate_size=40
    ),
    "gemma2": lambda: t.Gemma2Config(**WIDE, **LOCAL),
    "gemma3": lambda: t.Gemma3TextConfig(**WIDE | {"num_hidden_layers": 7}, **LOCAL),
    "gemma3, linear": lambda: t.Gemma3TextConfig(
        **WIDE | {"num_hidden_layers": 7},
        **LOCAL,
        rope_parameters={
            "full_attention": {
                "rope_type": "linear",
                "factor": 8.0,
                "rope_theta": 1_000_000.0,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    ),
    "phi3": lambda: t.Phi3Config(**SMALL, partial_rotary_factor=0.5),
    "phi3, long": lambda: t.Phi3Config(
        **SMALL | {"max_position_embeddings": 256},
        original_max_position_embeddings=32,
        **rope(
            "longrope",
            short_factor=[1.0, 1.5, 2.0, 3.0],
            long_factor=[2.0, 3.0, 5.0, 9.0],
            original_max_position_embeddings=32,
        ),
    ),
    "stablelm": lambda: t.StableLmConfig(**SMALL, use_qkv_bias=True),
    "starcoder2": lambda: t.Starcoder2Config(**SMALL, **rope("default")),
    "nemotron": lambda: t.NemotronConfig(**SMALL),
    "falcon, 7B": lambda: t.FalconConfig(**FALCON, num_kv_heads=1),
    "falcon, 40B": lambda: t.FalconConfig(
        **FALCON, num_kv_heads=2, new_decoder_architecture=True
    ),
    "bloom": lambda: t.BloomConfig(**OLD),
    "gpt2": lambda: t.GPT2Config(
        vocab_size=VOCABULARY_SIZE,
        n_embd=32,
        n_layer=3,
        n_head=4,
        n_positions=64,
        **IDS,
    ),
    "mamba": lambda: t.MambaConfig(
        vocab_size=VOCABULARY_SIZE, hidden_size=32, num_hidden_layers=3, state_size=8
    ),
    "lfm2": lambda: t.Lfm2Config(
        **SMALL,
        layer_types=["conv", "full_attention", "conv"],
        block_auto_adjust_ff_dim=False,
    ),
    "t5, gated": lambda: t.T5Config(**T5, feed_forward_proj="gated-gelu"),
    "t5, first": lambda: t.T5Config(**T5, feed_forward_proj="relu"),
    "umt5": lambda: t.UMT5Config(**T5),
    "gpt-oss": lambda: t.GptOssConfig(
        **SMALL, head_dim=8, num_local_experts=4, num_experts_per_tok=2
    ),
}
# Entries that a converter writes beside the usual ones.
CHANGES = {
    "gemma3": {"rope__freq_base_swa": 10_000.0},
    "phi3, long": {
        # The root of 1 + log(256 / 32) / log(32).
        "rope__scaling__attn_factor": 1.6**0.5
    },
}


def original(config):
    """A model with random weights and its language-model head."""
    torch.manual_seed(0)
    factory = t.AutoModelForCausalLM
    if config.is_encoder_decoder:
        factory = t.AutoModelForTextEncoding
    model = factory.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "A_log" not in name:
                weight.mul_(3)
            elif "norm" in name or "bias" in name:
                weight.add_(torch.randn_like(weight) * 0.1)
    return model


def states(network, n_tokens=24):
    ids = torch.arange(5, 5 + 7 * n_tokens, 7) % (VOCABULARY_SIZE - 20) + 3
    with torch.no_grad():
        return network(ids[None], output_hidden_states=True).hidden_states


@pytest.mark.parametrize("name", FAMILIES)
def test_hidden_states_are_those_of_the_original(name, tmp_path):
    model = original(FAMILIES[name]())
    if model.config.model_type in ("lfm2", "gpt_oss"):
        skip_before_all_architectures("comes with a gguf that doesn't know this one")
    path = save_gguf(tmp_path / "model.gguf", model, **CHANGES.get(name, {}))
    read = read_model(path)
    network = load_network(read, read.n_layers, torch.float32)
    ours, theirs = states(network), states(model)
    assert len(ours) == len(theirs) == read.n_layers + 1
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * float(other.abs().max()))


def test_a_family_that_the_gguf_package_doesnt_know(tmp_path, monkeypatch):
    import gguf

    path = save_gguf(tmp_path / "model.gguf", original(FAMILIES["stablelm"]()))
    known = {k: v for k, v in gguf.MODEL_ARCH_NAMES.items() if v != "stablelm"}
    monkeypatch.setattr(gguf, "MODEL_ARCH_NAMES", known)
    with pytest.raises(ImportError, match="know the architecture 'stablelm'.*upgrade"):
        load_network(read_model(path), 2, torch.float32)


# transformers' own reader leaves out what the other families' states depend on.
@pytest.mark.parametrize("name", ["llama", "qwen2", "stablelm", "bloom", "lfm2"])
def test_hidden_states_are_those_of_transformers_own_reader(name, tmp_path):
    skip_before_all_architectures("reads the weights of some families turned round")
    path = save_gguf(tmp_path / "model.gguf", original(FAMILIES[name]()))
    theirs = t.AutoModel.from_pretrained(tmp_path, gguf_file=path.name).eval()
    read = read_model(path)
    network = load_network(read, read.n_layers, torch.float32)
    for one, other in zip(states(network), states(theirs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "t5, gated"])
def test_only_the_layers_that_are_needed_are_unpacked(name, tmp_path, monkeypatch):
    model = original(FAMILIES[name]())
    read = read_model(save_gguf(tmp_path / "model.gguf", model))
    unpacked = []
    plain = StoredTensor.read

    def noted(self, dtype=None):
        unpacked.append(self.name)
        return plain(self, dtype)

    monkeypatch.setattr(StoredTensor, "read", noted)
    network = load_network(read, 2, torch.float32)
    assert network.n_layers_loaded == 2
    blocks = {int(n) for name in unpacked for n in re.findall(r"blk\.(\d+)", name)}
    assert blocks == {0, 1}
    assert not any(name.startswith(("output.", "dec.")) for name in unpacked)
    for one, other in zip(states(network)[:2], states(model)[:2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * float(other.abs().max()))


def test_bfloat16_is_the_float32_rounded(tmp_path):
    read = read_model(save_gguf(tmp_path / "model.gguf", original(FAMILIES["llama"]())))
    half = load_network(read, 3, torch.bfloat16).state_dict()
    for name, weight in load_network(read, 3, torch.float32).state_dict().items():
        assert torch.equal(half[name], weight.bfloat16()), name


def test_other_architectures_are_refused_by_name(tmp_path):
    path = save_gguf(tmp_path / "model.gguf", original(FAMILIES["llama"]()))
    content = path.read_bytes().replace(b"llama", b"lamar")
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match="must be complete and have an architecture.*Got 'lamar'"
    ):
        read_model(path)


def test_a_tensor_without_a_place_is_refused(tmp_path):
    model = original(FAMILIES["llama"]())
    path = save_gguf(
        tmp_path / "model.gguf", model, extra={"blk.1.attn_q.scale": [1.0]}
    )
    with pytest.raises(ValueError, match=r"blk\.1\.attn_q\.scale doesn't"):
        load_network(read_model(path), 3, torch.float32)


def test_a_missing_tensor_is_refused(tmp_path):
    model = original(FAMILIES["llama"]())
    path = save_gguf(tmp_path / "model.gguf", model, without="blk.1.ffn_up.weight")
    with pytest.raises(ValueError, match=r"model\.gguf must fill every layer.*up_proj"):
        load_network(read_model(path), 3, torch.float32)


def test_settings_that_cant_be_followed_are_refused(tmp_path):
    model = original(FAMILIES["llama"]())
    path = save_gguf(tmp_path / "model.gguf", model, residual_scale=0.5)
    with pytest.raises(ValueError, match=r"Got llama\.residual_scale = 0\.5"):
        read_model(path)
