"""What single families need beside what transformers knows of their GGUF files."""

import re
from dataclasses import dataclass

import numpy as np

# The 27B models of Gemma 2 and 3, by their layers: they scale their queries otherwise.
GEMMA_27B = {"gemma2": 46, "gemma3": 62}


def family_fields(model_type, said):
    """Fields of the configuration, from a file's entries and tensors.

    Parameters
    ----------
    model_type : str
        transformers' name of the family.
    said : Said
        The file; see ``gguf_config``.

    Returns
    -------
    dict
    """
    if model_type in ("gemma2", "gemma3_text"):
        is_27b = said("block_count") == GEMMA_27B[said.family]
        per_head = said("embedding_length") // said("attention.head_count")
        scale = per_head if is_27b else said("attention.key_length")
        return {"query_pre_attn_scalar": scale}
    if model_type == "gemma4_text":
        return _gemma4(said)
    if model_type in ("t5", "umt5"):
        gated = said.has(r"\.ffn_gate\.")
        kind = "gated-gelu" if gated else "relu"
        return {"feed_forward_proj": kind, "is_gated_act": gated}
    if model_type == "gpt2":
        return {"n_positions": said("context_length")}
    if model_type == "falcon":
        n_groups = said("attention.head_count_kv")
        return {
            "num_kv_heads": n_groups,
            "new_decoder_architecture": said.has(r"\.attn_norm_2\."),
            "multi_query": n_groups == 1,
        }
    if model_type == "llama":
        return {
            "attention_bias": said.has(r"\.attn_q\.bias"),
            "mlp_bias": said.has(r"\.ffn_up\.bias"),
        }
    return {}


def _gemma4(said):
    slides = said("attention.sliding_window_pattern")
    kinds = ["sliding_attention" if s else "full_attention" for s in slides]
    fields = {
        "layer_types": kinds,
        "head_dim": said("attention.key_length_swa"),
        "global_head_dim": said("attention.key_length"),
        "num_kv_shared_layers": said("attention.shared_kv_layers", 0),
        "hidden_size_per_layer_input": said("embedding_length_per_layer_input", 0),
        "vocab_size_per_layer_input": said.shape("token_embd.weight")[0],
    }
    widths = said("feed_forward_length")
    if isinstance(widths, list):
        fields["intermediate_size"] = widths[0]
        fields["use_double_wide_mlp"] = widths[-1] == 2 * widths[0]
    groups = said("attention.head_count_kv")
    if isinstance(groups, list):
        fields["num_key_value_heads"] = groups[slides.index(True)]
        fields["num_global_key_value_heads"] = groups[slides.index(False)]
    full = slides.index(False)
    fields["attention_k_eq_v"] = not said.has(rf"blk\.{full}\.attn_v\.weight")
    return fields


# --- tensors, in the way of transformers' own processors --------------------------------


@dataclass
class Turned:
    """A tensor turned back; without a name when it was put where it belongs."""

    weights: np.ndarray
    name: str | None


class Falcon:
    """Queries, keys and values of each group beside each other, as Falcon has them."""

    def __init__(self, config):
        self.config = config

    def preprocess_name(self, name):
        return name

    def perform_fallback_tensor_mapping(self, places, suffix, _, name):
        pass

    def process(self, weights, name, **_):
        if ".attn_qkv." in name:
            n_heads = self.config["num_attention_heads"]
            n_groups = self.config["num_kv_heads"]
            head_dim = self.config["hidden_size"] // n_heads
            # (heads + 2 groups) of head_dim rows -> queries, key and value by group
            q, k, v = np.split(
                weights, [n_heads * head_dim, (n_heads + n_groups) * head_dim]
            )
            parts = [
                part.reshape(n_groups, -1, *weights.shape[1:]) for part in (q, k, v)
            ]
            weights = np.concatenate(parts, axis=1).reshape(weights.shape)
        return Turned(weights, name)


class GptOss:
    """Experts' gates and ups in turn, and their matrices turned round."""

    EXPERTS = re.compile(
        r"(?P<stem>blk\.\d+\.ffn_(?P<part>gate|up|down)_exps)\.(?P<kind>weight|bias)"
    )
    PLACE = re.compile(r"model\.layers\.(\d+)\.mlp\.(.*)")

    def __init__(self, config):
        self.config = config

    def preprocess_name(self, name):
        return name

    def perform_fallback_tensor_mapping(self, places, suffix, _, name):
        name = name + suffix if suffix and not name.endswith(suffix) else name
        match = self.PLACE.fullmatch(name)
        if match is None:
            return
        block, part = f"blk.{match[1]}.ffn", match[2]
        for kind, end in (("weight", ""), ("bias", "_bias")):
            if part == f"experts.gate_up_proj{end}":
                places[f"{block}_gate_exps.{kind}"] = name
                places[f"{block}_up_exps.{kind}"] = name
            if part == f"experts.down_proj{end}":
                places[f"{block}_down_exps.{kind}"] = name

    def process(self, weights, name, *, tensor_key_mapping, parsed_parameters):
        import torch

        match = self.EXPERTS.fullmatch(name)
        if match is None:
            return Turned(weights, name)
        if match["kind"] == "weight":
            weights = weights.swapaxes(1, 2)  # (experts, in, out)
        if match["part"] == "down":
            return Turned(weights, name)
        place, made = tensor_key_mapping[name], parsed_parameters["tensors"]
        if place not in made:
            *shape, n = weights.shape
            made[place] = torch.empty(*shape, 2 * n)
        first = 0 if match["part"] == "gate" else 1
        made[place][..., first::2] = torch.from_numpy(weights)
        return Turned(weights, None)


PROCESSORS = {"falcon": Falcon, "gpt-oss": GptOss}
