"""Reference vectors of the llm2vec package on tiny models made on the spot.

``make_folder`` and ``make_adapter`` write the same weights, bit for bit, under any
version of transformers, torch and peft. ``record`` runs llm2vec on them and is called
only when this file is run as a script, in an environment of llm2vec's own::

    python3.11 -m venv llm2vec-env
    llm2vec-env/bin/pip install torch==2.13.0 transformers==4.44.2 tokenizers==0.19.1
    llm2vec-env/bin/pip install peft==0.12.0 accelerate==0.34.2 numpy==2.4.6
    llm2vec-env/bin/pip install huggingface_hub==0.36.0 safetensors==0.8.0 tqdm
    llm2vec-env/bin/pip install --no-deps llm2vec==0.2.3
    llm2vec-env/bin/python tests/llm2vec_reference.py

The vectors in ``data/llm2vec_vectors.npz`` were recorded with these versions (Python
3.11.7, CPU, float32, sdpa attention, all texts in one batch padded on the left).

What llm2vec 0.2.3 runs for a text without an instruction:

- ``mean`` and ``weighted_mean``: the tokens ``BOS text``, and no EOS. All of them attend
  to each other; the pooled states are those of the text alone, without BOS. Weights are
  1, 2, ..., n over the n tokens of the text, divided by their sum.
- ``eos_token``: the text is stripped, and the words `` </s>`` (Llama, Mistral) or
  ``<eos>`` (Gemma) are appended before it is tokenized, so the tokens are
  ``BOS text EOS``. The vector is the last layer's state, after the final norm, at the
  last position, which is EOS. The appended string is fixed by the class of the
  configuration, not read from the tokenizer: that is why Gemma has other special tokens
  below.

``encode`` sets the padding token to EOS; the mask comes from the tokenizer, so EOS at
the end of a text is still attended to.
"""

import json
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

VECTORS = Path(__file__).parent / "data" / "llm2vec_vectors.npz"

KINDS = ("llama", "mistral", "gemma")
N_LAYERS, HIDDEN, INTERMEDIATE, N_HEADS, N_KV_HEADS, HEAD_DIM = 3, 32, 64, 4, 2, 8

WORDS = (
    "the a of and to in is it was for on with as by at from this that not are be an "
    "card payment money account bank transfer cash refund pending fee top up rate "
    "small large red blue cat dog runs sleeps reads writes book table chair window "
    "why my has been your we when house river"
).split()
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
VOCABULARY = list(
    dict.fromkeys(
        ["<unk>", "BOS", "EOS", *WORDS, *LETTERS, *"0123456789", *".,;:!?'-()"]
    )
)

TEXTS = [
    "cat sleeps",
    "why is my transfer pending ?",
    "the bank has not been refund , cash top up",
    "a small red book is on the large blue table by the window",
    "this card payment was pending for 3 - 5 and the money is not in my account !",
    "when the dog runs to the river , your cat sleeps on a chair at the window of "
    "this house ; we are not with it .",
]

# Name: (kind, pooling_mode, whether with the adapter, enable_bidirectional).
VARIANTS = {
    f"{kind}-{pooling}{'-adapter' if adapter else ''}": (kind, pooling, adapter, True)
    for kind in KINDS
    for pooling in ("mean", "weighted_mean", "eos_token")
    for adapter in (False, True)
} | {f"{kind}-mean-causal": (kind, "mean", False, False) for kind in KINDS}


def linear_shapes():
    """Shapes (outputs, inputs) of a layer's linear maps, by name."""
    queries, keys = N_HEADS * HEAD_DIM, N_KV_HEADS * HEAD_DIM
    return {
        "self_attn.q_proj": (queries, HIDDEN),
        "self_attn.k_proj": (keys, HIDDEN),
        "self_attn.v_proj": (keys, HIDDEN),
        "self_attn.o_proj": (HIDDEN, queries),
        "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
        "mlp.up_proj": (INTERMEDIATE, HIDDEN),
        "mlp.down_proj": (HIDDEN, INTERMEDIATE),
    }


def normals(name, shape):
    """Standard normals that depend on nothing but the parameter's name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.standard_normal(shape).astype(np.float32)


def make_weights(kind):
    """Every parameter of the model, by its name in transformers."""

    def norm(name):
        # Gemma's norm multiplies by 1 + weight.
        centre = 0 if kind == "gemma" else 1
        return np.float32(centre) + np.float32(0.1) * normals(name, HIDDEN)

    embeddings = "embed_tokens.weight"
    weights = {
        embeddings: normals(embeddings, (len(VOCABULARY), HIDDEN)),
        "norm.weight": norm("norm.weight"),
    }
    for layer in range(N_LAYERS):
        for module, shape in linear_shapes().items():
            name = f"layers.{layer}.{module}.weight"
            weights[name] = np.float32(0.2) * normals(name, shape)
        for module in ("input_layernorm", "post_attention_layernorm"):
            name = f"layers.{layer}.{module}.weight"
            weights[name] = norm(name)
    return weights


def make_config(kind):
    """Content of config.json, with names that transformers 4 and 5 both read."""
    config = {
        "architectures": [f"{kind.capitalize()}Model"],
        "model_type": kind,
        "vocab_size": len(VOCABULARY),
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": N_KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": 256,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "torch_dtype": "float32",
    }
    if kind == "mistral":
        config["sliding_window"] = None
    if kind == "gemma":
        activation = "gelu_pytorch_tanh"
        config |= {"hidden_act": activation, "hidden_activation": activation}
    return config


def make_tokenizer_files(kind, folder):
    """Write a word-level tokenizer that puts BOS in front of each text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    # See the docstring of this file for why Gemma's are others.
    bos, eos = ("<bos>", "<eos>") if kind == "gemma" else ("<s>", "</s>")
    tokens = ["<unk>", bos, eos, *VOCABULARY[3:]]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<unk>", bos, eos])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos} $B",
        special_tokens=[(bos, vocabulary[bos])],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": eos,
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 256,
        # No token_type_ids, which llm2vec would hand to the model.
        "model_input_names": ["input_ids", "attention_mask"],
    }
    write_json(folder / "tokenizer_config.json", config)


def make_folder(kind, folder):
    """Write a tiny model with its tokenizer as a Hugging Face folder."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", make_config(kind))
    save_file(make_weights(kind), folder / "model.safetensors", {"format": "pt"})
    make_tokenizer_files(kind, folder)
    return folder


def make_adapter(kind, folder):
    """Write a LoRA adapter in the layout of published LLM2Vec checkpoints."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rank, weights = 4, {}
    for layer in range(N_LAYERS):
        for module, (n_outputs, n_inputs) in linear_shapes().items():
            shapes = {"lora_A": (rank, n_inputs), "lora_B": (n_outputs, rank)}
            for half, shape in shapes.items():
                name = f"base_model.model.layers.{layer}.{module}.{half}.weight"
                weights[name] = np.float32(0.3) * normals(name, shape)
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "auto_mapping": {
            "base_model_class": f"{kind.capitalize()}BiModel",
            "parent_library": f"llm2vec.models.bidirectional_{kind}",
        },
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.05,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": [name.split(".")[1] for name in linear_shapes()],
        "task_type": None,
    }
    write_json(folder / "adapter_config.json", config)
    return folder


def write_json(path, content):
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def record(path):
    """Encode the texts with llm2vec, in every variant, and save the vectors."""
    import torch
    from llm2vec import LLM2Vec

    vectors = {}
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        for kind in KINDS:
            make_folder(kind, base / kind)
            make_adapter(kind, base / f"{kind}-adapter")
        for name, (kind, pooling, adapter, bidirectional) in VARIANTS.items():
            encoder = LLM2Vec.from_pretrained(
                str(base / kind),
                peft_model_name_or_path=str(base / f"{kind}-adapter")
                if adapter
                else None,
                enable_bidirectional=bidirectional,
                pooling_mode=pooling,
                torch_dtype=torch.float32,
            )
            vectors[name] = encoder.encode(
                TEXTS, convert_to_numpy=True, show_progress_bar=False, device="cpu"
            )
    assert all(
        v.shape == (len(TEXTS), HIDDEN)
        and v.dtype == np.float32
        and np.isfinite(v).all()
        for v in vectors.values()
    )
    np.savez_compressed(path, **vectors)


if __name__ == "__main__":
    record(sys.argv[1] if len(sys.argv) > 1 else VECTORS)
