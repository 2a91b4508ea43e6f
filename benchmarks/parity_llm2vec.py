"""Published LLM2Vec checkpoints: a base, and adapters that are merged in order."""

import parity_configs as configs
from parity_configs import Id
from parity_decoders import (
    BOS,
    GEMMA,
    LLAMA3,
    LLAMA3_CHAT,
    MISTRAL,
    MISTRAL_CHAT,
    gemma,
    llama2,
    llama3,
)
from parity_family import Family
from parity_folders import normal
from parity_tokenizers import sentencepiece_bpe

TARGETS = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]
INSTRUCTION = (
    "Given a web search query, retrieve relevant passages that answer the query:"
)


def adapter(folder, base_class, base, *, kv=2, layers=3, width=32, wide=64):
    """A LoRA adapter as LLM2Vec publishes it: of the model without its head."""
    config = {
        "alpha_pattern": {},
        "auto_mapping": {
            "base_model_class": base_class,
            "parent_library": "llm2vec.models.bidirectional_" + base_class.lower()[:-7],
        },
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "loftq_config": {},
        "lora_alpha": 8,
        "lora_dropout": 0.05,
        "megatron_config": None,
        "megatron_core": "megatron.core",
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": 4,
        "rank_pattern": {},
        "revision": None,
        "target_modules": TARGETS,
        "task_type": None,
        "use_rslora": False,
    }
    narrow = 8 * kv
    sizes = {"q": (width, width), "k": (narrow, width), "v": (narrow, width)}
    sizes |= {"o": (width, width), "gate": (wide, width), "up": (wide, width)}
    sizes |= {"down": (width, wide)}
    weights = {}
    for layer in range(layers):
        for target in TARGETS:
            out, into = sizes[target.removesuffix("_proj")]
            part = "self_attn" if target[0] in "qkvo" else "mlp"
            stem = f"base_model.model.layers.{layer}.{part}.{target}"
            for letter, shape in (("A", (4, into)), ("B", (out, 4))):
                key = f"{stem}.lora_{letter}.weight"
                weights[key] = normal(folder + key, shape, 0.15)
    return {
        f"{folder}/adapter_config.json": config,
        f"{folder}/adapter_model.safetensors": weights,
    }


def checkpoint(
    name, like, base, config, tokenizer, base_class, *, stages=("mntp",), **told
):
    """A family: base and adapters, with an instruction or without."""
    instruction = told.pop("instruction", None)
    kv = config["num_key_value_heads"]
    parameters = {
        "adapters": ["{folder}/" + stage for stage in stages],
        "template": "llm2vec" if instruction is None else f"llm2vec:{instruction}",
    }
    return Family(
        name,
        like,
        config,
        tokenizer,
        lambda: {
            path: content
            for stage in stages
            for path, content in adapter(stage, base_class, base, kv=kv).items()
        },
        {"llm2vec": True, "stages": stages, "instruction": instruction, **told},
        parameters,
    )


def mistral_instruct():
    return sentencepiece_bpe(
        {**MISTRAL, "chat_template": MISTRAL_CHAT}, post=BOS, as_dicts=False
    )


def llama3_instruct():
    return llama3({**LLAMA3, "eos_token": "<|eot_id|>", "chat_template": LLAMA3_CHAT})


MISTRAL_BASE = "mistralai/Mistral-7B-Instruct-v0.2"
LLAMA3_BASE = "meta-llama/Meta-Llama-3-8B-Instruct"
SHEARED_BASE = "princeton-nlp/Sheared-LLaMA-1.3B"
MISTRAL_WRAP = "[INST] ", " [/INST]"
LLAMA3_WRAP = "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"


def families():
    mistral = configs.mistral(sliding_window=None, rope_theta=1000000.0)
    instruct = configs.llama3(eos_token_id=Id("<|eot_id|>"))
    supervised = ("mntp", "supervised")
    return [
        checkpoint(
            "llm2vec-mistral",
            "McGill-NLP/LLM2Vec-Mistral-7B-Instruct-v2-mntp-supervised",
            MISTRAL_BASE,
            mistral,
            mistral_instruct,
            "MistralEncoderModel",
            stages=supervised,
            wrap=MISTRAL_WRAP,
        ),
        checkpoint(
            "llm2vec-mistral-instruction",
            "McGill-NLP/LLM2Vec-Mistral-7B-Instruct-v2-mntp-supervised, queries",
            MISTRAL_BASE,
            mistral,
            mistral_instruct,
            "MistralEncoderModel",
            stages=supervised,
            wrap=MISTRAL_WRAP,
            instruction=INSTRUCTION,
        ),
        checkpoint(
            "llm2vec-llama-3",
            "McGill-NLP/LLM2Vec-Meta-Llama-3-8B-Instruct-mntp-supervised",
            LLAMA3_BASE,
            instruct,
            llama3_instruct,
            "LlamaEncoderModel",
            stages=supervised,
            wrap=LLAMA3_WRAP,
        ),
        checkpoint(
            "llm2vec-llama-3-instruction",
            "McGill-NLP/LLM2Vec-Meta-Llama-3-8B-Instruct-mntp-supervised, queries",
            LLAMA3_BASE,
            instruct,
            llama3_instruct,
            "LlamaEncoderModel",
            stages=supervised,
            wrap=LLAMA3_WRAP,
            instruction=INSTRUCTION,
        ),
        checkpoint(
            "llm2vec-sheared-llama",
            "McGill-NLP/LLM2Vec-Sheared-LLaMA-mntp-unsup-simcse",
            SHEARED_BASE,
            configs.llama(pad_token_id=0),
            llama2,
            "LlamaEncoderModel",
            stages=("mntp", "unsup-simcse"),
        ),
        checkpoint(
            "llm2vec-sheared-llama-instruction",
            "McGill-NLP/LLM2Vec-Sheared-LLaMA-mntp-supervised, queries",
            SHEARED_BASE,
            configs.llama(pad_token_id=0),
            llama2,
            "LlamaEncoderModel",
            stages=supervised,
            instruction=INSTRUCTION,
        ),
        checkpoint(
            "llm2vec-llama-2-chat",
            "McGill-NLP/LLM2Vec-Llama-2-7b-chat-hf-mntp-supervised",
            "meta-llama/Llama-2-7b-chat-hf",
            configs.llama(),
            llama2,
            "LlamaEncoderModel",
            stages=supervised,
            wrap=MISTRAL_WRAP,
        ),
        checkpoint(
            "llm2vec-gemma",
            "an LLM2Vec Gemma",
            "google/gemma-2b",
            configs.gemma(hidden_act="gelu_pytorch_tanh"),
            lambda: gemma(GEMMA),
            "GemmaEncoderModel",
        ),
    ]
