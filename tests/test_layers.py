"""Hidden states equal those of transformers, for every architecture and depth."""

import numpy as np
import pytest
import torch
import transformers
from conftest import bert_config, llama_config, save_model

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._folders import read_model
from sklearn_llm2vec._layers import HiddenStates, find_layers
from sklearn_llm2vec._models import forget_models, load_model, load_network

SMALL = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
IDS = dict.fromkeys(
    [f"{name}_token_id" for name in ("pad", "bos", "eos", "cls", "sep")], 1
)
GROUPED = {**SMALL, "num_key_value_heads": 2, "head_dim": 8}
LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
GEMMA4 = {
    **GROUPED,
    "global_head_dim": 8,
    "sliding_window": 4,
    "vocab_size_per_layer_input": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}


def configs():
    """One small configuration for each architecture."""
    t = transformers
    gpt2 = {
        "vocab_size": 128,
        "n_embd": 32,
        "n_layer": 4,
        "n_head": 4,
        "n_positions": 64,
    }
    rope_hybrid = {**GROUPED, "sliding_window": 8}
    return {
        "bert": lambda: t.BertConfig(**SMALL),
        "roberta": lambda: t.RobertaConfig(**SMALL),
        "xlm-roberta": lambda: t.XLMRobertaConfig(**SMALL),
        "electra": lambda: t.ElectraConfig(**SMALL, embedding_size=16),
        "albert": lambda: t.AlbertConfig(**SMALL, embedding_size=16),
        "mpnet": lambda: t.MPNetConfig(**SMALL),
        "modernbert": lambda: t.ModernBertConfig(**SMALL, **IDS, local_attention=8),
        "distilbert": lambda: t.DistilBertConfig(
            vocab_size=128, dim=32, hidden_dim=48, n_layers=4, n_heads=4
        ),
        "deberta-v2": lambda: t.DebertaV2Config(
            **SMALL,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
        ),
        "deberta-v2-conv": lambda: t.DebertaV2Config(**SMALL, conv_kernel_size=3),
        "t5": lambda: t.T5Config(
            vocab_size=128, d_model=32, d_ff=48, num_layers=4, num_heads=4, d_kv=8
        ),
        "bart": lambda: t.BartConfig(
            vocab_size=128,
            d_model=32,
            encoder_layers=4,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            max_position_embeddings=64,
        ),
        "gpt2": lambda: t.GPT2Config(**gpt2),
        "gpt_neo": lambda: t.GPTNeoConfig(
            vocab_size=128,
            hidden_size=32,
            num_layers=4,
            num_heads=4,
            attention_types=[[["global", "local"], 2]],
            window_size=8,
            max_position_embeddings=64,
        ),
        "gpt_neox": lambda: t.GPTNeoXConfig(**SMALL),
        "opt": lambda: t.OPTConfig(
            vocab_size=128,
            hidden_size=32,
            ffn_dim=48,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=64,
            word_embed_proj_dim=32,
        ),
        "bloom": lambda: t.BloomConfig(
            vocab_size=128, hidden_size=32, n_layer=4, n_head=4
        ),
        "llama": lambda: t.LlamaConfig(**GROUPED),
        "mistral": lambda: t.MistralConfig(**rope_hybrid),
        "mixtral": lambda: t.MixtralConfig(**rope_hybrid, num_local_experts=4),
        "qwen2": lambda: t.Qwen2Config(**SMALL, num_key_value_heads=2),
        "qwen3": lambda: t.Qwen3Config(**GROUPED),
        "gemma2": lambda: t.Gemma2Config(**rope_hybrid, query_pre_attn_scalar=8),
        "gemma3": lambda: t.Gemma3TextConfig(**rope_hybrid, query_pre_attn_scalar=8),
        "phi3": lambda: t.Phi3Config(
            **SMALL, num_key_value_heads=2, pad_token_id=0, sliding_window=None
        ),
        "olmo2": lambda: t.Olmo2Config(**SMALL, num_key_value_heads=2),
        "smollm3": lambda: t.SmolLM3Config(**SMALL, **IDS, num_key_value_heads=2),
        "granite": lambda: t.GraniteConfig(**SMALL, num_key_value_heads=2),
        "falcon": lambda: t.FalconConfig(
            vocab_size=128, hidden_size=32, num_hidden_layers=4, num_attention_heads=4
        ),
        "mamba": lambda: t.MambaConfig(
            vocab_size=128, hidden_size=32, num_hidden_layers=4, state_size=8
        ),
        **hybrid_configs(),
        **configs_that_count_their_layers(),
    }


def hybrid_configs():
    """Architectures whose layers differ from each other."""
    t = transformers
    return {
        "qwen2-window": lambda: t.Qwen2Config(
            **SMALL,
            num_key_value_heads=2,
            use_sliding_window=True,
            sliding_window=4,
            max_window_layers=0,
        ),
        "phi3-window": lambda: t.Phi3Config(
            **SMALL, num_key_value_heads=2, pad_token_id=0, sliding_window=4
        ),
        "gpt_oss": lambda: t.GptOssConfig(
            **GROUPED, num_local_experts=4, num_experts_per_tok=2, sliding_window=4
        ),
        "llama4_text": lambda: t.Llama4TextConfig(
            **GROUPED, num_local_experts=2, intermediate_size_mlp=48
        ),
        "qwen3_5_text": lambda: t.Qwen3_5TextConfig(**GROUPED, **LINEAR),
        "qwen3_next": lambda: t.Qwen3NextConfig(
            **GROUPED,
            **LINEAR,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
        ),
        "lfm2": lambda: t.Lfm2Config(
            **SMALL,
            num_key_value_heads=2,
            layer_types=["conv", "conv", "full_attention", "conv"],
        ),
        "falcon_h1": lambda: t.FalconH1Config(
            **SMALL,
            num_key_value_heads=2,
            mamba_d_ssm=32,
            mamba_n_heads=4,
            mamba_d_head=8,
            mamba_d_state=8,
            mamba_n_groups=1,
            mamba_chunk_size=8,
        ),
        "mpt": lambda: t.MptConfig(
            vocab_size=128, d_model=32, n_layers=4, n_heads=4, max_seq_len=64
        ),
    }


def configs_that_count_their_layers():
    """Architectures where a layer depends on how many the model has."""
    t = transformers
    return {
        "minicpm3": lambda: t.MiniCPM3Config(
            **SMALL,
            num_key_value_heads=4,
            q_lora_rank=8,
            kv_lora_rank=8,
            qk_rope_head_dim=4,
            qk_nope_head_dim=4,
            v_head_dim=8,
            head_dim=4,
        ),
        "gemma4_text": lambda: t.Gemma4TextConfig(
            **GEMMA4, hidden_size_per_layer_input=8, num_kv_shared_layers=0
        ),
        "gemma4_text-shared": lambda: t.Gemma4TextConfig(
            **GEMMA4, hidden_size_per_layer_input=8, num_kv_shared_layers=2
        ),
    }


DECODERS = {
    *("gpt2", "gpt_neo", "gpt_neox", "opt", "bloom", "llama", "mistral", "mixtral"),
    *("qwen2", "qwen3", "gemma2", "gemma3", "phi3", "olmo2", "smollm3", "granite"),
    *("falcon", "mamba", *hybrid_configs(), *configs_that_count_their_layers()),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny products on several threads wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def empty_registry():
    forget_models()
    yield
    forget_models()


@pytest.mark.parametrize("name", configs())
def test_every_hidden_state_equals_transformers(name, tmp_path):
    config = configs()[name]()
    model = read_model(save_model(tmp_path, config))
    assert model.n_layers == 4
    assert model.hidden_size == 32
    assert model.causal == (name in DECODERS)

    whole = load_network(model, 4, torch.float32)
    ids = torch.arange(24).reshape(2, 12) + 5
    with torch.inference_mode():
        reference = whole(input_ids=ids, output_hidden_states=True).hidden_states
    assert len(reference) == 5
    for depth in (4, 0, 1, 2, 3):
        forget_models()
        states = load_model(model, depth=depth, dtype="float32", device="cpu").states
        with torch.inference_mode():
            got = states(ids, range(depth + 1), lambda h: h.clone())
        assert sorted(got) == list(range(depth + 1))
        for k, state in got.items():
            torch.testing.assert_close(state, reference[k], rtol=1e-5, atol=1e-5)


# Their hidden states are no outputs of layers, or the network isn't a stack of them.
FALL_BACK = {"albert", "deberta-v2-conv", "mamba"}


@pytest.mark.parametrize("name", configs())
def test_only_the_layers_needed_are_loaded(name, tmp_path):
    model = read_model(save_model(tmp_path, configs()[name]()))
    whole = load_model(model, depth=4, dtype="float32", device="cpu")
    assert (whole.states.layers is None) == (name in FALL_BACK)
    forget_models()
    part = load_model(model, depth=2, dtype="float32", device="cpu")
    if name in FALL_BACK:
        assert part.depth == 4
    else:
        assert part.depth == 2
        assert part.n_bytes < whole.n_bytes
        # And no others were read from the file.
        network = load_network(model, 2, torch.float32)
        assert network.n_layers_loaded == 2
        assert len(find_layers(network, 2)) == 2
        assert type(network) is type(whole.states.network)


@pytest.mark.parametrize("name", configs_that_count_their_layers())
def test_a_vector_doesnt_depend_on_the_copy_that_serves_it(name, tmp_path):
    folder = str(save_model(tmp_path, configs()[name](), "llama"))
    made = LLMEmbeddingTransformer(folder, layer=2, cache=None)
    alone = made.fit_transform(["a small card"])
    forget_models()
    LLMEmbeddingTransformer(folder, cache=None).fit_transform(["a small card"])
    np.testing.assert_array_equal(made.transform(["a small card"]), alone)


def test_a_model_that_cant_be_made_blank_is_loaded_whole(llama, monkeypatch):
    def refuse(*args, **kwargs):
        raise NotImplementedError("needs real numbers")

    model = read_model(llama)
    monkeypatch.setattr(transformers.AutoModel, "from_config", refuse)
    assert load_network(model, 2, torch.float32).n_layers_loaded == 4
    loaded = load_model(model, depth=2, dtype="float32", device="cpu")
    assert loaded.depth == 2
    assert len(loaded.states.network.layers) == 2


def test_states_that_are_stacks_are_refused(tmp_path):
    config = transformers.Gemma3nTextConfig(
        **GROUPED,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=128,
        sliding_window=4,
        num_kv_shared_layers=0,
        laurel_rank=4,
    )
    model = read_model(save_model(tmp_path, config))
    for depth in (4, 2):
        with pytest.raises(ValueError, match=r"'model' parameter.*one state a token"):
            load_model(model, depth=depth, dtype="float32", device="cpu")


def test_layers_are_found_by_what_they_are(tmp_path):
    network = transformers.AutoModel.from_config(llama_config())
    assert find_layers(network, 4) is network.layers
    assert find_layers(network, 5) is None


def test_a_network_without_a_list_of_layers_falls_back():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = transformers.AutoModel.from_config(bert_config())
            self.inner.encoder.layer = torch.nn.Sequential(*self.inner.encoder.layer)

        def get_input_embeddings(self):
            return self.inner.get_input_embeddings()

        def forward(self, **kwargs):
            return self.inner(**kwargs)

    network = Odd().eval()
    states = HiddenStates.of(network, 3, 3)
    assert states.layers is None
    ids = torch.arange(16)[None]
    with torch.inference_mode():
        reference = network(input_ids=ids, output_hidden_states=True).hidden_states
        got = states(ids, [1, 3], lambda h: h.clone())
    assert torch.equal(got[1], reference[1])
    assert torch.equal(got[3], reference[3])


def test_early_exit_doesnt_run_deeper_layers(llama):
    loaded = load_model(read_model(llama), depth=4, dtype="float32", device="cpu")
    ran = []
    for index, layer in enumerate(loaded.states.layers):
        layer.register_forward_pre_hook(lambda *_, index=index: ran.append(index))
    ids = torch.arange(16)[None]
    with torch.inference_mode():
        loaded.states(ids, [2], lambda h: None)
        assert ran == [0, 1]
        ran.clear()
        loaded.states(ids, [0, 4], lambda h: None)
        assert ran == [0, 1, 2, 3]


def test_hooks_are_off_while_the_network_is_changed(llama):
    states = load_model(
        read_model(llama), depth=4, dtype="float32", device="cpu"
    ).states
    ids = torch.arange(16)[None]
    with torch.inference_mode():
        before = states(ids, [2, 4], lambda h: h.clone())
        with states.unhooked():
            embed = states.network.embed_tokens
            assert not embed._forward_hooks
            twin = torch.nn.Embedding.from_pretrained(embed.weight * 2)
            states.network.set_input_embeddings(twin)
        after = states(ids, [2, 4], lambda h: h.clone(), edit=lambda k, h: h)
    assert len(twin._forward_hooks) == 1
    assert all((after[k] - before[k]).abs().max() > 1e-3 for k in (2, 4))


def test_hooks_keep_nothing_when_a_pass_fails(llama):
    loaded = load_model(read_model(llama), depth=4, dtype="float32", device="cpu")
    ids = torch.arange(16)[None]

    def broken(states):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        loaded.states(ids, [1], broken)
    with torch.inference_mode():  # the network works on as if nothing had been
        output = loaded.states.network(input_ids=ids)
        assert output.last_hidden_state.shape == (1, 16, 32)


def test_the_registry_serves_from_a_deeper_copy(llama):
    model = read_model(llama)
    shallow = load_model(model, depth=2, dtype="float32", device="cpu")
    deep = load_model(model, depth=4, dtype="float32", device="cpu")
    assert deep is not shallow
    assert load_model(model, depth=1, dtype="float32", device="cpu") is deep
