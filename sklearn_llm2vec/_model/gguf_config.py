"""The configuration of the network in a GGUF file.

transformers translates what the file says into a configuration of its own, and leaves out
some of what hidden states depend on: how positions are scaled and which sizes differ from
a family's usual ones. That is added here.
"""

import re
import struct
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sklearn_llm2vec._common.imports import quiet
from sklearn_llm2vec._model.gguf_families import family_fields
from sklearn_llm2vec._model.gguf_file import ARRAY, STRING

# What becomes of an entry of the file under its own family's name, where the installed
# transformers leaves it out and the configuration has such a field.
SIZES = {
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
}
# Entries that change hidden states and that nothing here follows, with the value that
# changes nothing.
UNFOLLOWED = {
    "attention.scale": 0.0,
    "attention.clamp_kqv": 0.0,
    "attention.max_alibi_bias": 0.0,
    "attention.causal": True,
    "embedding_scale": 1.0,
    "residual_scale": 1.0,
    "expert_weights_scale": 1.0,
    "rope.scaling.yarn_log_multiplier": 0.0,
    "rope.scaling.yarn_ext_factor": 1.0,
    "rope.scaling.yarn_attn_factor": 1.0,
}


def read_config(header):
    """What transformers needs to know to build the network.

    Parameters
    ----------
    header : GGUFHeader

    Returns
    -------
    dict
        As a ``config.json`` holds it.

    Raises
    ------
    ValueError
        For an architecture that the installed transformers doesn't read, or settings
        that it can't follow.
    """
    config = _translated(header)
    config.pop("_model_name_or_path", None)
    said = Said(header)
    known = _fields(config["model_type"])
    for entry, field in SIZES.items():
        if field in known and said(entry) is not None:
            config.setdefault(field, said(entry))
    # Zero says that there is none.
    config["sliding_window"] = config.get("sliding_window") or None
    config |= family_fields(config["model_type"], said)
    config["vocab_size"] = said.shape("token_embd.weight")[0]
    config["pad_token_id"] = header.metadata.get("tokenizer.ggml.padding_token_id")
    if "mrope_section" not in config.get("rope_parameters", {}):
        config |= _positions(config, known, said)
    said.check_followed()
    return config


class Said:
    """What a file says of its network: entries under its family's name, and tensors."""

    def __init__(self, header):
        self.header = header
        self.family = header.architecture

    def __call__(self, entry, default=None):
        """An entry under the family's name, as Python's own value."""
        value = self.header.metadata.get(f"{self.family}.{entry}", default)
        return value.tolist() if isinstance(value, np.ndarray) else value

    def shape(self, tensor):
        """The shape of the tensor with this name."""
        return self.header.tensors[tensor].shape

    def values(self, tensor):
        """A small tensor as a list, or None if the file has none of that name."""
        stored = self.header.tensors.get(tensor)
        return None if stored is None else stored.read().tolist()

    def has(self, pattern):
        """Whether the name of some tensor holds what matches `pattern`."""
        return any(re.search(pattern, name) for name in self.header.tensors)

    def check_followed(self):
        """Raise for an entry that would change hidden states and isn't followed."""
        for entry, neutral in UNFOLLOWED.items():
            if self(entry, neutral) != neutral:
                raise self.unfollowed(entry)

    def unfollowed(self, entry):
        """The error for an entry that can't be followed."""
        return ValueError(
            f"The GGUF file {self.header.paths[0]} must not use settings that "
            "transformers doesn't support for its architecture. Got "
            f"{self.family}.{entry} = {self(entry)!r}: use the model's safetensors "
            "folder instead."
        )


def _translated(header):
    """The configuration as the installed transformers reads it."""
    from transformers import PreTrainedConfig

    path = header.paths[0]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "head.gguf").write_bytes(_head(header))
        try:
            with quiet():
                config, _ = PreTrainedConfig.get_config_dict(
                    folder, gguf_file="head.gguf"
                )
            _fields(config["model_type"])
        except Exception as error:  # of many classes, for what a file may lack
            raise ValueError(
                f"The GGUF file {path} must be complete and have an architecture that "
                f"transformers {version('transformers')} can read from GGUF files. "
                f"Got {header.architecture!r} instead ({error}): use the model's "
                "safetensors folder."
            ) from error
    return config


def _head(header):
    """A small GGUF file with all that is said of the network, and nothing else.

    transformers takes seconds to skip a vocabulary.
    """
    kept = [
        record
        for key, record in header.records.items()
        if not key.startswith("tokenizer.") or key.endswith("_token_id")
        # How positions are scaled is read here; transformers stops at gpt-oss's.
        if ".rope.scaling." not in key and key != "general.name"
    ]
    # transformers takes some models for others by their name. umT5 is told from T5 by
    # what places do in each of its layers.
    is_umt5 = "enc.blk.1.attn_rel_b.weight" in header.tensors
    kept.append(
        _string("general.name")
        + struct.pack("<I", STRING)
        + _string("umt5" if is_umt5 else "model")
    )
    # An empty vocabulary of one word: its size is that of the embeddings.
    name = _string("tokenizer.ggml.tokens")
    kept.append(name + struct.pack("<IIQ", ARRAY, STRING, 1) + _string(""))
    start = b"GGUF" + struct.pack("<IQQ", 3, len(header.tensors), len(kept))
    float32, at = 0, 0
    tensors = [
        _string(name) + struct.pack("<IQIQ", 1, 1, float32, at)
        for name in header.tensors
    ]
    head = b"".join([start, *kept, *tensors])
    alignment = header.metadata.get("general.alignment", 32)
    return head + bytes(-len(head) % alignment + alignment)


def _string(text):
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _fields(model_type):
    """Names of the fields that a family's configuration has."""
    from transformers import CONFIG_MAPPING

    with quiet():
        return set(CONFIG_MAPPING[model_type]().to_dict())


# --- positions ------------------------------------------------------------------------


def _positions(config, known, said):
    """Where a token's place turns its queries and keys: by how much, in what part."""
    if "rope_parameters" not in known:
        return {}
    theta = config.pop("rope_theta", said("rope.freq_base"))
    whole = {} if theta is None else {"rope_theta": theta}
    whole |= _turned_part(config, known, said) | _scaling(config, said)
    if config["model_type"] not in ("gemma3_text", "gemma4_text"):
        return {"rope_parameters": whole}
    sliding = {
        "rope_type": "default",
        "rope_theta": said("rope.freq_base_swa", 10_000.0),
    }
    if config["model_type"] == "gemma4_text":
        # Of the dimensions that aren't turned, the file says that they turn hardly.
        factors = said.values("rope_freqs.weight")
        whole = {
            "rope_type": "proportional",
            "rope_theta": theta,
            "partial_rotary_factor": sum(f == 1 for f in factors) / len(factors),
        }
    return {"rope_parameters": {"full_attention": whole, "sliding_attention": sliding}}


def _turned_part(config, known, said):
    """The share of a head's dimensions that are turned, where a family has one."""
    n_turned = said("rope.dimension_count")
    if n_turned is None or "rotary_dim" in known:
        return {}
    head_dim = config.get("head_dim") or (
        said("embedding_length") // said("attention.head_count")
    )
    return {"partial_rotary_factor": n_turned / head_dim}


def _scaling(config, said):
    kind = said("rope.scaling.type", "none")
    factor = said("rope.scaling.factor")
    original = said("rope.scaling.original_context_length")
    short, long = said.values("rope_factors_short.weight"), None
    if short is not None:
        long = said.values("rope_factors_long.weight") or short
    elif (single := said.values("rope_freqs.weight")) is not None:
        # Llama 3: one set of factors, whatever a text's length.
        short = long = single
        original = said("context_length")
    if short is not None:
        scaling = {
            "rope_type": "longrope",
            "short_factor": short,
            "long_factor": long,
            "original_max_position_embeddings": original,
            "attention_factor": said("rope.scaling.attn_factor", 1.0),
        }
        return scaling
    if kind == "none":
        return {"rope_type": "default"}
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn" and said("rope.scaling.attn_factor", 1.0) == 1.0:
        scaling = {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original,
            "truncate": config["model_type"] != "gpt_oss",
        }
        for name in ("beta_fast", "beta_slow"):
            if (value := said(f"rope.scaling.yarn_{name}")) is not None:
                scaling[name] = value
        return scaling
    raise said.unfollowed("rope.scaling.type")
