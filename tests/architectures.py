"""Small configurations of many architectures, for tests of several folders."""

import transformers as t

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


# Every decoder; "ALL" of the tests of attention, padding and prefixes.
ALL = {**{name: make for name, make in configs().items() if name in DECODERS}}
ALL |= more_configs()
