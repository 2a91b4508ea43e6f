"""Small GGUF files, written as llama.cpp's converter writes them."""

import numpy as np

BYTES = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [b for b in range(256) if b not in BYTES]
# GPT-2's characters for bytes: printable ones stand for themselves.
CHARACTERS = {b: chr(b) for b in BYTES} | {
    b: chr(256 + i) for i, b in enumerate(OTHERS)
}
MERGES = ["Ġ t", "h e", "Ġt he", "Ġ a", "i n", "e r", "o n", "r e", "a n", "Ġa n"]
TOKENS = [
    *(CHARACTERS[b] for b in range(256)),
    *(merge.replace(" ", "") for merge in MERGES),
    "<|begin|>",
    "<|end|>",
    "<extra>",
]
VOCABULARY_SIZE = 288  # with places that stand empty
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def byte_tokenizer(pre="gpt-2", *, begins=True):
    """Metadata of a tokenizer of bytes with a few merges, for `write_gguf`."""
    n_empty = VOCABULARY_SIZE - len(TOKENS)
    first = TOKENS.index("<|begin|>")
    kinds = [NORMAL] * first + [CONTROL, CONTROL, USER_DEFINED] + [UNUSED] * n_empty
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": TOKENS + [f"[PAD{i}]" for i in range(n_empty)],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": first,
        "tokenizer.ggml.eos_token_id": first + 1,
        "tokenizer.ggml.padding_token_id": first + 1,
        "tokenizer.ggml.add_bos_token": begins,
        "tokenizer.chat_template": (
            "{% for m in messages %}<|begin|>{{ m['content'] }}<|end|>{% endfor %}"
        ),
    }


def write_gguf(path, metadata, tensors, kind=None):
    """Write a GGUF file.

    Parameters
    ----------
    path : Path
    metadata : dict
        Values by key; ints become uint32, floats float32.
    tensors : dict of str to float32 ndarray
    kind : str or None
        What matrices are quantized to, by the name of its type; None keeps float32.
    """
    import gguf

    writer = gguf.GGUFWriter(path, metadata["general.architecture"])
    for key, value in metadata.items():
        if key == "general.architecture":
            continue  # written by the writer
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, values in tensors.items():
        values = np.ascontiguousarray(values, np.float32)
        if kind is None or values.ndim < 2:
            writer.add_tensor(name, values)
        else:
            packed = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quantize(values, packed), raw_dtype=packed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def small_llama(**changes):
    """A Llama with random weights whose tokens are those of `byte_tokenizer`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**settings, **changes}))


def save_gguf(
    path, model, *, pre="gpt-2", kind=None, extra=None, without=None, **changes
):
    """Write a transformers model as llama.cpp's converter would.

    Parameters
    ----------
    path : Path
    model : transformers model
        With its language-model head.
    pre : str
        Name of the tokenizer's rules for words.
    kind : str or None
        As `write_gguf` takes it.
    extra : dict of str to array or None
        More tensors.
    without : str or None
        A tensor that is left out.
    **changes
        Entries under the architecture's name, with dots written as "__".

    Returns
    -------
    Path
    """
    config = model.config
    architecture = ARCHITECTURES.get(config.model_type, config.model_type)
    entries = _entries(config) | {
        key.replace("__", "."): value for key, value in changes.items()
    }
    metadata = {"general.architecture": architecture, "general.name": "a model"}
    metadata |= {f"{architecture}.{key}": value for key, value in entries.items()}
    metadata |= byte_tokenizer(pre)
    tensors = {}
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if name == "encoder.embed_tokens.weight":
            continue  # T5's shared table once more
        values = weight.detach().float().numpy()
        for stored, part in _converted(config, architecture, name, values):
            tensors[stored] = part
    tensors |= _extra(config) | (extra or {})
    tensors.pop(without, None)
    return write_gguf(path, metadata, tensors, kind)


ARCHITECTURES = {
    "gemma3_text": "gemma3",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "gpt_oss": "gpt-oss",
    "umt5": "t5",
    "mistral": "llama",
}
RMS = ("rms_norm_eps", "norm_eps")


def _entries(config):
    """What a converter says of every network, and of some families."""
    get = config.to_dict().get
    heads = get("num_attention_heads") or get("n_head") or get("num_heads") or 0
    width = config.hidden_size
    head = get("head_dim") or get("d_kv") or (width // heads if heads else 0)
    groups = get("num_kv_heads") or get("num_key_value_heads") or heads
    rope = get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    eps = next((get(n) for n in (*RMS, "layer_norm_epsilon") if get(n)), 1e-5)
    entries = {
        "block_count": config.num_hidden_layers,
        "context_length": get("max_position_embeddings") or get("n_positions") or 512,
        "embedding_length": width,
        "feed_forward_length": get("intermediate_size") or get("d_ff") or 4 * width,
        "attention.head_count": heads,
        "attention.head_count_kv": groups,
        "attention.layer_norm_rms_epsilon": eps,
        "attention.layer_norm_epsilon": get("layer_norm_eps")
        or get("norm_epsilon")
        or eps,
        "attention.key_length": head,
        "attention.value_length": head,
        "rope.dimension_count": int(head * rope.get("partial_rotary_factor", 1)),
        "rope.freq_base": float(rope.get("rope_theta", 10_000.0)),
    }
    if rope.get("rope_type") in ("linear", "yarn"):
        entries["rope.scaling.type"] = rope["rope_type"]
        entries["rope.scaling.factor"] = float(rope["factor"])
    if "original_max_position_embeddings" in rope:
        original = rope["original_max_position_embeddings"]
        entries["rope.scaling.original_context_length"] = original
    family = {
        "gemma2": lambda: {"attention.sliding_window": config.sliding_window},
        "gemma3_text": lambda: {"attention.sliding_window": config.sliding_window},
        "qwen2_moe": lambda: {
            "expert_count": config.num_experts,
            "expert_used_count": config.num_experts_per_tok,
            "expert_feed_forward_length": config.moe_intermediate_size,
            "expert_shared_feed_forward_length": config.shared_expert_intermediate_size,
        },
        "gpt_oss": lambda: {
            "expert_count": config.num_local_experts,
            "expert_used_count": config.num_experts_per_tok,
            "attention.sliding_window": config.sliding_window,
        },
        "mamba": lambda: {
            "ssm.conv_kernel": config.conv_kernel,
            "ssm.inner_size": config.intermediate_size,
            "ssm.state_size": config.state_size,
            "ssm.time_step_rank": int(config.time_step_rank),
        },
        "lfm2": lambda: {
            "attention.head_count_kv": [
                config.num_key_value_heads * (kind == "full_attention")
                for kind in config.layer_types
            ],
            "shortconv.l_cache": config.conv_L_cache,
        },
        "t5": lambda: {"attention.relative_buckets_count": 32},
        "umt5": lambda: {"attention.relative_buckets_count": 32},
        "phi3": lambda: {"attention.sliding_window": 0},
    }.get(config.model_type, dict)()
    return entries | family


def _converted(config, architecture, name, values):
    """Yield llama.cpp's tensors for a weight: names and values."""
    import gguf

    if name.endswith("experts.gate_up_proj"):
        block = name.split(".")[2]
        if architecture == "gpt-oss":
            values = values.swapaxes(1, 2)
            halves = values[:, ::2], values[:, 1::2]
        else:
            halves = np.split(values, 2, axis=1)
        yield f"blk.{block}.ffn_gate_exps.weight", halves[0]
        yield f"blk.{block}.ffn_up_exps.weight", halves[1]
        return
    if name.endswith("experts.gate_up_proj_bias"):
        block = name.split(".")[2]
        yield f"blk.{block}.ffn_gate_exps.bias", values[:, ::2]
        yield f"blk.{block}.ffn_up_exps.bias", values[:, 1::2]
        return
    if architecture == "gpt-oss" and ".experts.down_proj" in name:
        values = values if name.endswith("_bias") else values.swapaxes(1, 2)
        name = name.replace("down_proj_bias", "down_proj.bias")
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], config.num_hidden_layers)
    stem, _, suffix = name.rpartition(".")
    if suffix not in ("weight", "bias"):
        stem, suffix = name, "" if architecture == "mamba" else "weight"
    # Bloom was converted from the model without a head.
    stored = names.get_name(stem) or names.get_name(stem.removeprefix("transformer."))
    assert stored is not None, name
    full = f"{stored}.{suffix}" if suffix else stored
    yield full, _turned(config, architecture, full, values)


def _turned(config, architecture, name, values):
    """A weight in llama.cpp's form."""
    part = name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
    if architecture == "llama" and part in ("attn_q", "attn_k"):
        heads = config.num_attention_heads
        heads = heads if part == "attn_q" else config.num_key_value_heads
        halves = values.reshape(heads, 2, -1, *values.shape[1:])
        return halves.swapaxes(1, 2).reshape(values.shape)
    shifted = architecture in ("gemma2", "gemma3", "nemotron")
    if shifted and name.endswith("norm.weight"):
        return values + 1
    if architecture == "gpt2" and values.ndim == 2 and name.startswith("blk"):
        return values.T
    if architecture == "bloom" and part == "attn_qkv":
        by_head = values.reshape(config.n_head, 3, -1, *values.shape[1:])
        return by_head.swapaxes(0, 1).reshape(values.shape)
    if architecture == "falcon" and part == "attn_qkv":
        head = config.hidden_size // config.num_attention_heads
        groups = values.reshape(config.num_kv_heads, -1, head, values.shape[1])
        parts = groups[:, :-2], groups[:, -2:-1], groups[:, -1:]
        return np.concatenate([p.reshape(-1, values.shape[1]) for p in parts])
    if part == "ssm_a":
        return -np.exp(values)
    if part in ("ssm_conv1d", "conv") and values.ndim == 3:
        return values.squeeze(1)
    return values


def _extra(config):
    """Factors of positions, which converters write as tensors."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        return {
            "rope_factors_short.weight": np.array(rope["short_factor"]),
            "rope_factors_long.weight": np.array(rope["long_factor"]),
        }
    if rope.get("rope_type") != "llama3":
        return {}
    half = np.arange(0, config.head_dim, 2) / config.head_dim
    lengths = 2 * np.pi * rope["rope_theta"] ** half
    original = rope["original_max_position_embeddings"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = ((original / lengths - low) / (high - low)).clip(0, 1)
    return {"rope_freqs.weight": 1 / ((1 - smooth) / rope["factor"] + smooth)}
