"""Sizes in a configuration: those of any honest model pass, endless loops don't."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers as t
from conftest import llama_config, save_model
from safetensors.torch import load_file, save_file
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._model.sizes import check_fits, check_sizes

CONFIG = Path("config.json")
# A tensor of ten million numbers: fewer than any model of a default size has.
SMALLEST = [(10**7,)]
LISTS = ("CAUSAL_LM", "MASKED_LM", "SEQ_TO_SEQ_CAUSAL_LM", "TEXT_ENCODING")


def kinds_of_text_models():
    names = set()
    for which in LISTS:
        names |= set(getattr(modeling_auto, f"MODEL_FOR_{which}_MAPPING_NAMES"))
    return sorted(names)


def test_the_default_sizes_of_all_text_models_pass():
    n_checked = 0
    for kind in kinds_of_text_models():
        try:
            config = CONFIG_MAPPING[kind]().to_dict()
        except Exception:  # one that has no default: the error is transformers'
            continue
        check_sizes(config, CONFIG, SMALLEST)
        n_checked += 1
    assert n_checked > 150


@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("num_hidden_layers", 1024),
        ("num_attention_heads", 1024),
        ("n_layer", 1024),
        ("decoder_layers", 1024),
        ("depths", 1024),
        ("block_sizes", 1024),
        ("num_feedforward_networks", 1024),
        ("num_layers_per_stack", 1024),
        ("index_n_heads", 1024),
        ("llama.block_count", 1024),
        ("llama.attention.head_count_kv", 1024),
        ("num_local_experts", 2**15),
        ("llama.expert_count", 2**15),
        ("hidden_size", 10**7),
        ("max_position_embeddings", 2**24),
        ("original_max_position_embeddings", 2**24),
        ("vocab_size_per_layer_input", 2**63 - 1),
        ("num_hash_buckets", 2**63 - 1),
    ],
)
def test_the_largest_size(name, largest):
    for wrapped in ({name: largest}, {"text_config": {name: [1, largest]}}):
        check_sizes(wrapped, CONFIG, SMALLEST)
    for wrapped in ({name: largest + 1}, {"text_config": {name: [1, largest + 1]}}):
        with pytest.raises(ValueError, match=f"{name}.* at most {largest:,}. Got"):
            check_sizes(wrapped, CONFIG, SMALLEST)


def test_a_table_of_positions_must_be_in_the_weights():
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "vocab_size": 8}
    config = t.GPT2Config(**sizes, n_positions=2**24)
    check_sizes(config.to_dict(), CONFIG, SMALLEST)
    with torch.device("meta"):
        network = t.GPT2Model(config)
    model = SimpleNamespace(shapes=SMALLEST, place=Path("model"))
    with pytest.raises(ValueError, match="must fill the network"):
        check_fits(network, model)


def test_weights_of_four_bits_are_told_as_such(tmp_path):
    """GPTQ keeps eight of them in a whole number."""
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 2}
    folder = save_model(tmp_path, llama_config(**sizes), "llama")
    packed = {
        name.replace("weight", "qweight") if "_proj" in name else name: (
            torch.zeros(weight.shape[0] // 8, weight.shape[1], dtype=torch.int32)
            if "_proj" in name
            else weight
        )
        for name, weight in load_file(folder / "model.safetensors").items()
    }
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    how = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": how})
    )
    with pytest.raises(ValueError, match=r"quantized ones \(gptq\).*GGUF file"):
        LLMEmbeddingTransformer(folder, cache=None).fit_transform(["a card"])
