"""Vectors of the official llm2vec package on tiny models, recorded for the parity test.

The package needs an older transformers than this library, so it runs in an environment of
its own (Python 3.11, torch 2.13.0):

    pip install torch transformers==4.44.2 tokenizers==0.19.1 peft==0.12.0 \
        accelerate==0.34.2 "huggingface_hub<1.0" numpy
    pip install --no-deps llm2vec==0.2.3
    python tests/llm2vec_reference.py

Models and adapters are made here, each weight from the name of its parameter, so that
both environments have the same ones. ``last_token`` of llm2vec is the last state of
``<s>`` and the text; its means leave ``<s>`` out.
"""

import json
import zlib
from pathlib import Path

import numpy as np

RECORDED = Path(__file__).parent / "data" / "llm2vec_vectors.npz"
KINDS = {"llama": "Llama", "mistral": "Mistral", "gemma": "Gemma"}
POOLINGS = {"mean": "mean", "weighted_mean": "weighted_mean", "last_token": "last"}
PROJECTIONS = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
]
WORDS = (
    "a the card payment bank money small red blue cat dog reads writes runs sleeps book "
    "table chair window of and in to with for on is was not this that large green tree"
).split()
TEXTS = [
    "red card",
    "the small blue cat reads a book on the table",
    "money",
    "a payment to the bank was not in the book of this bank and that was not small",
    "the dog sleeps",
    "this is the window of the large green tree and the cat runs to the window for it",
]


def normal(name, shape, scale):
    """Numbers that follow from a parameter's name, in any version of anything."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def make_folder(kind, folder):
    """Write a tiny model and its tokenizer."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    config = getattr(transformers, f"{KINDS[kind]}Config")(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        pad_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    network = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            shape = tuple(parameter.shape)
            if "norm" in name:
                # Gemma adds one to its norms' weights itself.
                value = normal(name, shape, 0.1) + (kind != "gemma")
            else:
                value = normal(name, shape, 1.0 if "embed" in name else 0.2)
            parameter.copy_(torch.from_numpy(np.asarray(value, np.float32)))
    network.save_pretrained(folder, safe_serialization=True)

    vocabulary = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    return str(folder)


def make_adapter(kind, folder):
    """Write a LoRA adapter as published LLM2Vec checkpoints have it."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "auto_mapping": {
            "base_model_class": f"{KINDS[kind]}BiModel",
            "parent_library": f"llm2vec.models.bidirectional_{kind}",
        },
        "base_model_name_or_path": "",
        "bias": "none",
        "r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.05,
        "target_modules": PROJECTIONS,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))
    sizes = {"q": (32, 32), "k": (16, 32), "v": (16, 32), "o": (32, 32)}
    sizes |= {"gate": (64, 32), "up": (64, 32), "down": (32, 64)}
    weights = {}
    for layer in range(3):
        for projection in PROJECTIONS:
            wide, narrow = sizes[projection.removesuffix("_proj")]
            part = "self_attn" if projection[0] in "qkvo" else "mlp"
            name = f"base_model.model.layers.{layer}.{part}.{projection}"
            for letter, shape in (("A", (4, narrow)), ("B", (wide, 4))):
                key = f"{name}.lora_{letter}.weight"
                weights[key] = normal(key, shape, 0.3)
    save_file(weights, folder / "adapter_model.safetensors")
    return str(folder)


def variants():
    """Yield (name, kind, pooling of llm2vec, with adapter, bidirectional)."""
    for kind in KINDS:
        for adapted in (False, True):
            for pooling in POOLINGS:
                name = f"{kind} {pooling} {'adapter' if adapted else 'base'}"
                yield name, kind, pooling, adapted, True
        yield f"{kind} mean causal", kind, "mean", False, False


def record():
    """Run llm2vec and write what comes out."""
    import tempfile

    import torch
    from llm2vec import LLM2Vec

    vectors = {}
    with tempfile.TemporaryDirectory() as root:
        for kind in KINDS:
            make_folder(kind, f"{root}/{kind}")
            make_adapter(kind, f"{root}/{kind}-adapter")
        for name, kind, pooling, adapted, bidirectional in variants():
            model = LLM2Vec.from_pretrained(
                f"{root}/{kind}",
                peft_model_name_or_path=f"{root}/{kind}-adapter" if adapted else None,
                merge_peft=adapted,
                enable_bidirectional=bidirectional,
                pooling_mode=pooling,
                torch_dtype=torch.float32,
            )
            encoded = model.encode(TEXTS, show_progress_bar=False)
            vectors[name] = np.asarray(encoded, dtype=np.float32)
            assert np.isfinite(vectors[name]).all(), name
    RECORDED.parent.mkdir(exist_ok=True)
    np.savez_compressed(RECORDED, **vectors)
    print(f"{len(vectors)} variants, {RECORDED.stat().st_size} bytes")


if __name__ == "__main__":
    record()
