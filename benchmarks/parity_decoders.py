"""Language models as they are published: decoders without a pooling of their own."""

import parity_configs as configs
from parity_configs import LLAMA31_ROPE, Id
from parity_family import Family
from parity_pieces import SPACE
from parity_tokenizers import (
    CL100K,
    GEMMA_TURNS,
    O200K,
    QWEN2,
    TEKKEN,
    around,
    byte_bpe,
    bytes_of,
    bytes_then,
    cut_then_bytes,
    digits,
    gemma,
    metaspace_pre,
    replace,
    sentencepiece_bpe,
    sequence,
    split,
)

# Mean over all tokens: nothing is left out, so that every id counts.
MEAN = {"pooling": "mean", "special_tokens": True}
NO_LIMIT = 1000000000000000019884624838656


def serialized(token, **changes):
    """A token in a tokenizer_config.json of 2022 and 2023."""
    entry = {
        "__type": "AddedToken",
        "content": token,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
    }
    return entry | changes


# --- Llama and Mistral: SentencePiece ---------------------------------------------------

LLAMA2 = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": serialized("<s>"),
    "clean_up_tokenization_spaces": False,
    "eos_token": serialized("</s>"),
    "legacy": False,
    "model_max_length": NO_LIMIT,
    "pad_token": None,
    "padding_side": "right",
    "sp_model_kwargs": {},
    "tokenizer_class": "LlamaTokenizer",
    "unk_token": serialized("<unk>"),
}
MISTRAL = {
    "add_bos_token": True,
    "add_eos_token": False,
    "additional_special_tokens": [],
    "bos_token": "<s>",
    "clean_up_tokenization_spaces": False,
    "eos_token": "</s>",
    "legacy": True,
    "model_max_length": NO_LIMIT,
    "pad_token": None,
    "sp_model_kwargs": {},
    "spaces_between_special_tokens": False,
    "tokenizer_class": "LlamaTokenizer",
    "unk_token": "<unk>",
    "use_default_system_prompt": False,
}
BOS = around(["<s>"])
MISTRAL_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token}}{% endif %}{% endfor %}"
)


def llama2(config=LLAMA2, **settings):
    """Llama 2's files."""
    defaults = {"post": BOS, "tokens": False}
    return sentencepiece_bpe(config, **defaults | settings)


def llama_families():
    return [
        Family(
            "llama-1",
            "huggyllama/llama-7b",
            configs.llama(max_position_embeddings=2048, pad_token_id=0),
            lambda: llama2(
                {
                    **LLAMA2,
                    "model_max_length": 2048,
                    "legacy": True,
                    "bos_token": serialized("<s>", normalized=True),
                    "eos_token": serialized("</s>", normalized=True),
                    "unk_token": serialized("<unk>", normalized=True),
                },
                normalized=True,
            ),
            parameters=MEAN,
        ),
        Family(
            "llama-2",
            "meta-llama/Llama-2-7b-hf",
            configs.llama(),
            llama2,
            parameters=MEAN,
        ),
        Family(
            "llama-2-slow",
            "a Llama 2 saved with tokenizer.model alone",
            configs.llama(),
            lambda: llama2(json=False),
            parameters=MEAN,
        ),
        Family(
            "tinyllama",
            "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
            configs.llama(max_position_embeddings=2048),
            lambda: llama2(
                {
                    "bos_token": "<s>",
                    "clean_up_tokenization_spaces": False,
                    "eos_token": "</s>",
                    "legacy": False,
                    "model_max_length": 2048,
                    "pad_token": "</s>",
                    "padding_side": "right",
                    "sp_model_kwargs": {},
                    "tokenizer_class": "LlamaTokenizer",
                    "unk_token": "<unk>",
                    "use_default_system_prompt": False,
                },
                tokens=True,
            ),
            parameters=MEAN,
        ),
        Family(
            "sheared-llama",
            "princeton-nlp/Sheared-LLaMA-1.3B",
            configs.llama(pad_token_id=0),
            lambda: llama2({**LLAMA2, "legacy": True}),
            parameters=MEAN,
        ),
        Family(
            "llama-with-eos",
            "a Llama 2 fine-tuned for embeddings with add_eos_token",
            configs.llama(),
            lambda: llama2({**LLAMA2, "add_eos_token": True, "pad_token": "</s>"}),
            parameters=MEAN,
        ),
        Family(
            "llama-without-bos",
            "a Llama 2 fine-tuned for embeddings without add_bos_token",
            configs.llama(),
            lambda: llama2({**LLAMA2, "add_bos_token": False}),
            parameters=MEAN,
        ),
        Family(
            "llama-fast-class-eos",
            "a Llama 2 that declares LlamaTokenizerFast with add_eos_token",
            configs.llama(),
            lambda: llama2(
                {
                    **LLAMA2,
                    "tokenizer_class": "LlamaTokenizerFast",
                    "add_eos_token": True,
                },
                slow=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "vicuna",
            "lmsys/vicuna-7b-v1.5",
            configs.llama(pad_token_id=0),
            lambda: llama2({**LLAMA2, "pad_token": "<unk>", "model_max_length": 4096}),
            parameters=MEAN,
        ),
        Family(
            "yi",
            "01-ai/Yi-6B",
            configs.llama(
                bos_token_id=1, eos_token_id=2, pad_token_id=0, rope_theta=5000000.0
            ),
            lambda: llama2(
                {
                    "add_bos_token": False,
                    "add_eos_token": False,
                    "bos_token": "<|startoftext|>",
                    "clean_up_tokenization_spaces": False,
                    "eos_token": "<|endoftext|>",
                    "legacy": True,
                    "model_max_length": 4096,
                    "pad_token": "<unk>",
                    "padding_side": "right",
                    "sp_model_kwargs": {},
                    "tokenizer_class": "LlamaTokenizer",
                    "unk_token": "<unk>",
                    "use_default_system_prompt": False,
                },
                first=["<unk>", "<|startoftext|>", "<|endoftext|>"],
                normalizer=replace(" ", SPACE),
                post=None,
                tokens=True,
                dummy_prefix=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "codellama",
            "codellama/CodeLlama-7b-hf",
            configs.llama(max_position_embeddings=16384, rope_theta=1000000),
            lambda: llama2(
                {
                    **LLAMA2,
                    "legacy": None,
                    "eot_token": f"{SPACE}<EOT>",
                    "fill_token": "<FILL_ME>",
                    "middle_token": f"{SPACE}<MID>",
                    "prefix_token": f"{SPACE}<PRE>",
                    "suffix_token": f"{SPACE}<SUF>",
                    "tokenizer_class": "CodeLlamaTokenizer",
                },
                special=[f"{SPACE}<{name}>" for name in ("PRE", "MID", "SUF", "EOT")],
            ),
            parameters=MEAN,
        ),
        Family(
            "codellama-class-bytes",
            "a code model with CodeLlama's class over byte-level BPE",
            configs.llama(),
            lambda: byte_bpe(
                {
                    "add_bos_token": True,
                    "add_eos_token": False,
                    "bos_token": "<s>",
                    "eos_token": "</s>",
                    "clean_up_tokenization_spaces": False,
                    "model_max_length": 16384,
                    "tokenizer_class": "CodeLlamaTokenizer",
                    "unk_token": "<unk>",
                },
                first=["<unk>", "<s>", "</s>"],
                special=[f"{SPACE}<{name}>" for name in ("PRE", "MID", "SUF", "EOT")],
                pre=cut_then_bytes(CL100K),
                post=around(["<s>"]),
                slow_files=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "mistral-v0.1",
            "mistralai/Mistral-7B-v0.1",
            configs.mistral(),
            lambda: sentencepiece_bpe(MISTRAL, post=BOS, as_dicts=False),
            parameters=MEAN,
        ),
        Family(
            "mistral-instruct-v0.2",
            "mistralai/Mistral-7B-Instruct-v0.2",
            configs.mistral(sliding_window=None, rope_theta=1000000.0),
            lambda: sentencepiece_bpe(
                {**MISTRAL, "chat_template": MISTRAL_CHAT}, post=BOS, as_dicts=False
            ),
            parameters={**MEAN},
        ),
        Family(
            "mistral-v0.3",
            "mistralai/Mistral-7B-v0.3",
            configs.mistral(sliding_window=None, rope_theta=1000000.0),
            lambda: sentencepiece_bpe(
                {**MISTRAL, "add_prefix_space": True, "legacy": False},
                first=["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"],
                post=BOS,
                normalizer=None,
                pre=metaspace_pre(),
                as_dicts=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "mixtral",
            "mistralai/Mixtral-8x7B-v0.1",
            configs.mistral(
                architectures=["MixtralForCausalLM"],
                model_type="mixtral",
                num_experts_per_tok=2,
                num_local_experts=4,
                output_router_logits=False,
                router_aux_loss_coef=0.02,
                sliding_window=None,
                rope_theta=1000000.0,
            ),
            lambda: sentencepiece_bpe(MISTRAL, post=BOS, as_dicts=False),
            parameters=MEAN,
        ),
        Family(
            "zephyr",
            "HuggingFaceH4/zephyr-7b-beta",
            configs.mistral(pad_token_id=2),
            lambda: sentencepiece_bpe(
                {
                    **MISTRAL,
                    "additional_special_tokens": ["<unk>", "<s>", "</s>"],
                    "pad_token": "</s>",
                    "padding_side": "left",
                    "truncation_side": "left",
                },
                post=BOS,
                as_dicts=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "phi-3",
            "microsoft/Phi-3-mini-4k-instruct",
            configs.phi3(),
            lambda: sentencepiece_bpe(
                {
                    "add_bos_token": False,
                    "add_eos_token": False,
                    "bos_token": "<s>",
                    "clean_up_tokenization_spaces": False,
                    "eos_token": "<|endoftext|>",
                    "legacy": False,
                    "model_max_length": 4096,
                    "pad_token": "<|endoftext|>",
                    "padding_side": "left",
                    "sp_model_kwargs": {},
                    "tokenizer_class": "LlamaTokenizer",
                    "unk_token": "<unk>",
                    "use_default_system_prompt": False,
                },
                post=around([]),
                special=["<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>"],
                as_dicts=True,
            ),
            parameters=MEAN,
        ),
        Family(
            "phi-3-first-revision",
            "microsoft/Phi-3-mini-4k-instruct of April 2024",
            configs.phi3(),
            lambda: sentencepiece_bpe(
                {
                    "add_bos_token": True,
                    "add_eos_token": False,
                    "bos_token": "<s>",
                    "clean_up_tokenization_spaces": False,
                    "eos_token": "<|endoftext|>",
                    "model_max_length": 4096,
                    "pad_token": "<|endoftext|>",
                    "padding_side": "left",
                    "sp_model_kwargs": {},
                    "tokenizer_class": "LlamaTokenizer",
                    "unk_token": "<unk>",
                },
                post=BOS,
                special=["<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>"],
            ),
            parameters=MEAN,
        ),
        Family(
            "minicpm-like",
            "openbmb/MiniCPM-2B (structure; LlamaTokenizer, remote code left out)",
            configs.llama(),
            lambda: llama2({**LLAMA2, "legacy": True, "pad_token": "<unk>"}, slow=True),
            parameters=MEAN,
        ),
    ]


# --- Llama 3 and Qwen: bytes ------------------------------------------------------------

LLAMA3_TOKENS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]
LLAMA3 = {
    "bos_token": "<|begin_of_text|>",
    "clean_up_tokenization_spaces": True,
    "eos_token": "<|end_of_text|>",
    "model_input_names": ["input_ids", "attention_mask"],
    "model_max_length": NO_LIMIT,
    "tokenizer_class": "PreTrainedTokenizerFast",
}
LLAMA3_CHAT = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN = {
    "add_prefix_space": False,
    "additional_special_tokens": QWEN_TOKENS[1:],
    "bos_token": None,
    "clean_up_tokenization_spaces": False,
    "eos_token": "<|endoftext|>",
    "errors": "replace",
    "model_max_length": 32768,
    "pad_token": "<|endoftext|>",
    "split_special_tokens": False,
    "tokenizer_class": "Qwen2Tokenizer",
    "unk_token": None,
}


def llama3(config=LLAMA3, **settings):
    """Llama 3's files."""
    defaults = {
        "pre": cut_then_bytes(CL100K),
        "special": LLAMA3_TOKENS,
        "inside": False,
        "post": bytes_then(["<|begin_of_text|>"]),
        "model": {"ignore_merges": True},
        "slow_files": False,
    }
    return byte_bpe(config, **defaults | settings)


def qwen(config=QWEN, **settings):
    """Qwen 2's and 3's files."""
    defaults = {
        "pre": cut_then_bytes(QWEN2),
        "special": QWEN_TOKENS,
        "inside": False,
        "normalizer": {"type": "NFC"},
    }
    return byte_bpe(config, **defaults | settings)


def byte_families():
    return [
        Family(
            "llama-3",
            "meta-llama/Meta-Llama-3-8B",
            configs.llama3(),
            llama3,
            parameters=MEAN,
        ),
        Family(
            "llama-3-first-revision",
            "meta-llama/Meta-Llama-3-8B of April 2024 (no template with BOS)",
            configs.llama3(),
            lambda: llama3(post=around(["<|begin_of_text|>"])),
            parameters=MEAN,
        ),
        Family(
            "llama-3-instruct",
            "meta-llama/Meta-Llama-3-8B-Instruct",
            configs.llama3(eos_token_id=Id("<|eot_id|>")),
            lambda: llama3(
                {**LLAMA3, "eos_token": "<|eot_id|>", "chat_template": LLAMA3_CHAT}
            ),
            parameters=MEAN,
        ),
        Family(
            "llama-3.1",
            "meta-llama/Llama-3.1-8B",
            configs.llama3(rope_scaling=LLAMA31_ROPE, max_position_embeddings=131072),
            lambda: llama3({**LLAMA3, "model_max_length": 131072}),
            parameters=MEAN,
        ),
        Family(
            "llama-3.2",
            "meta-llama/Llama-3.2-1B",
            configs.llama3(
                rope_scaling={**LLAMA31_ROPE, "factor": 32.0},
                max_position_embeddings=131072,
                head_dim=8,
                mlp_bias=False,
                tie_word_embeddings=True,
            ),
            lambda: llama3({**LLAMA3, "model_max_length": 131072}),
            parameters=MEAN,
        ),
        Family(
            "llama-3-with-eos",
            "a Llama 3 for embeddings whose template ends in EOS",
            configs.llama3(),
            lambda: llama3(
                {**LLAMA3, "pad_token": "<|end_of_text|>"},
                post=bytes_then(["<|begin_of_text|>"], ["<|end_of_text|>"]),
            ),
            parameters=MEAN,
        ),
        Family(
            "qwen2",
            "Qwen/Qwen2-1.5B",
            configs.qwen2(),
            qwen,
            parameters=MEAN,
        ),
        Family(
            "qwen2.5",
            "Qwen/Qwen2.5-1.5B",
            configs.qwen2(eos_token_id=Id("<|endoftext|>")),
            lambda: qwen(
                {**QWEN, "add_bos_token": False, "model_max_length": 131072},
                plain=["<tool_call>", "</tool_call>", "<|fim_prefix|>"],
            ),
            parameters=MEAN,
        ),
        Family(
            "qwen3",
            "Qwen/Qwen3-0.6B",
            configs.qwen3(),
            lambda: qwen(
                {
                    **QWEN,
                    "add_bos_token": False,
                    "eos_token": "<|im_end|>",
                    "model_max_length": 131072,
                },
                plain=["<tool_call>", "</tool_call>", "<think>", "</think>"],
            ),
            parameters=MEAN,
        ),
        Family(
            "qwen2-other-cut",
            "a qwen2 architecture with Llama 3's pre-tokenizer and Qwen's class",
            configs.qwen2(),
            lambda: qwen(pre=cut_then_bytes(CL100K), normalizer=None),
            parameters=MEAN,
        ),
        Family(
            "qwen2-other-cut-fast",
            "a qwen2 architecture with Llama 3's pre-tokenizer, PreTrainedTokenizerFast",
            configs.qwen2(),
            lambda: qwen(
                {**QWEN, "tokenizer_class": "PreTrainedTokenizerFast"},
                pre=cut_then_bytes(CL100K),
                normalizer=None,
                slow_files=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "qwen2-digits-fast",
            "a qwen2 architecture with single digits and a BOS, PreTrainedTokenizerFast",
            configs.qwen2(),
            lambda: qwen(
                {**QWEN, "tokenizer_class": "PreTrainedTokenizerFast"},
                pre=sequence("pretokenizers", digits(True), bytes_of()),
                post=bytes_then(["<|im_start|>"]),
                normalizer=None,
                slow_files=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "deepseek-r1-distill-qwen",
            "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
            configs.qwen2(
                bos_token_id=Id("<\uff5cbegin\u2581of\u2581sentence\uff5c>"),
                eos_token_id=Id("<\uff5cend\u2581of\u2581sentence\uff5c>"),
            ),
            lambda: byte_bpe(
                DEEPSEEK,
                pre=cut_then_bytes(QWEN2),
                special=DEEPSEEK_TOKENS,
                inside=False,
                normalizer={"type": "NFC"},
                post=bytes_then([DEEPSEEK_TOKENS[0]]),
                tokens=False,
                slow_files=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "deepseek-r1-distill-llama",
            "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
            configs.llama(
                bos_token_id=Id(DEEPSEEK_TOKENS[0]), eos_token_id=Id(DEEPSEEK_TOKENS[1])
            ),
            lambda: byte_bpe(
                DEEPSEEK,
                pre=cut_then_bytes(CL100K),
                special=DEEPSEEK_TOKENS,
                inside=False,
                post=bytes_then([DEEPSEEK_TOKENS[0]]),
                tokens=False,
                slow_files=False,
                model={"ignore_merges": True},
            ),
            parameters=MEAN,
        ),
        Family(
            "deepseek-llm",
            "deepseek-ai/deepseek-llm-7b-base",
            configs.llama(
                bos_token_id=Id(DEEPSEEK_TOKENS[0]), eos_token_id=Id(DEEPSEEK_TOKENS[1])
            ),
            lambda: byte_bpe(
                {**DEEPSEEK, "model_max_length": 4096},
                pre=sequence(
                    "pretokenizers",
                    split(r"[\r\n]"),
                    split(r"\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba]+"),
                    split(r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f]+"),
                    split(r"\s+$"),
                    split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"),
                    digits(True),
                    bytes_of(regex=False),
                ),
                special=DEEPSEEK_TOKENS,
                inside=False,
                post=None,
                tokens=False,
                slow_files=False,
                changes={token: {"normalized": True} for token in DEEPSEEK_TOKENS},
            ),
            parameters=MEAN,
        ),
        Family(
            "deepseek-v3-cut",
            "deepseek-ai/DeepSeek-V3 (tokenizer; the network a small Llama)",
            configs.llama(
                bos_token_id=Id(DEEPSEEK_TOKENS[0]), eos_token_id=Id(DEEPSEEK_TOKENS[1])
            ),
            lambda: byte_bpe(
                {**DEEPSEEK, "model_max_length": 131072},
                pre=sequence(
                    "pretokenizers",
                    split(r"\p{N}{1,3}"),
                    split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
                    split(
                        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"
                        r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
                        r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
                    ),
                    bytes_of(regex=False),
                ),
                special=DEEPSEEK_TOKENS,
                inside=False,
                post=bytes_then([DEEPSEEK_TOKENS[0]]),
                normalizer=sequence("normalizers"),
                tokens=False,
                slow_files=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "mistral-nemo",
            "mistralai/Mistral-Nemo-Base-2407",
            configs.mistral(
                sliding_window=None, head_dim=8, max_position_embeddings=128000
            ),
            lambda: byte_bpe(
                {
                    "add_bos_token": True,
                    "add_eos_token": False,
                    "add_prefix_space": False,
                    "bos_token": "<s>",
                    "clean_up_tokenization_spaces": False,
                    "eos_token": "</s>",
                    "model_max_length": NO_LIMIT,
                    "tokenizer_class": "GPT2TokenizerFast",
                    "unk_token": "<unk>",
                },
                pre=cut_then_bytes(TEKKEN),
                first=["<unk>", "<s>", "</s>", "[INST]", "[/INST]"],
                post=around(["<s>"]),
                model={"ignore_merges": True},
                slow_files=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "mistral-small",
            "mistralai/Mistral-Small-24B-Base-2501",
            configs.mistral(sliding_window=None, head_dim=8, rope_theta=100000000.0),
            lambda: byte_bpe(
                {
                    "add_bos_token": True,
                    "add_eos_token": False,
                    "additional_special_tokens": ["<unk>", "<s>", "</s>", "[INST]"],
                    "bos_token": "<s>",
                    "clean_up_tokenization_spaces": False,
                    "eos_token": "</s>",
                    "extra_special_tokens": {},
                    "legacy": True,
                    "model_max_length": NO_LIMIT,
                    "pad_token": "<pad>",
                    "tokenizer_class": "LlamaTokenizerFast",
                    "unk_token": "<unk>",
                    "use_default_system_prompt": False,
                },
                pre=cut_then_bytes(TEKKEN),
                first=["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>"],
                post=around(["<s>"]),
                model={"ignore_merges": True},
                slow_files=False,
            ),
            parameters=MEAN,
        ),
    ]


DEEPSEEK_TOKENS = [
    "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "<\uff5cUser\uff5c>",
    "<\uff5cAssistant\uff5c>",
]
DEEPSEEK = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": serialized(DEEPSEEK_TOKENS[0], normalized=True),
    "clean_up_tokenization_spaces": False,
    "eos_token": serialized(DEEPSEEK_TOKENS[1], normalized=True),
    "legacy": True,
    "model_max_length": 16384,
    "pad_token": serialized(DEEPSEEK_TOKENS[1], normalized=True),
    "sp_model_kwargs": {},
    "unk_token": None,
    "tokenizer_class": "LlamaTokenizerFast",
}


# --- GPT-2's class and its heirs --------------------------------------------------------

END = "<|endoftext|>"


def gpt2_class(*, bos=END, eos=END, unk=END, **changes):
    """tokenizer_config.json of the many that declare GPT2Tokenizer."""
    return {
        "add_prefix_space": False,
        "bos_token": bos,
        "clean_up_tokenization_spaces": False,
        "eos_token": eos,
        "model_max_length": 8192,
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": unk,
        **changes,
    }


CODE_TOKENS = [END, "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"]
SMOL_TOKENS = [END, "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>"]


def gpt2_families():
    digits_then_bytes = sequence("pretokenizers", digits(True), bytes_of())
    whites = [" " * n for n in range(8, 1, -1)]
    return [
        Family(
            "gpt2",
            "openai-community/gpt2",
            configs.gpt2(),
            lambda: byte_bpe(
                {"model_max_length": 1024},
                pre=bytes_of(),
                special=[END],
                tokens=False,
                changes={END: {"normalized": True}},
            ),
            parameters=MEAN,
        ),
        Family(
            "gpt2-with-config",
            "a GPT-2 saved by transformers 4",
            configs.gpt2(),
            lambda: byte_bpe(
                gpt2_class(model_max_length=1024, pad_token=END),
                pre=bytes_of(),
                special=[END],
                changes={END: {"normalized": True}},
            ),
            parameters=MEAN,
        ),
        Family(
            "dialogpt",
            "microsoft/DialoGPT-medium (vocab.json and merges.txt alone)",
            configs.gpt2(),
            lambda: byte_bpe(
                {"model_max_length": 1024},
                pre=bytes_of(),
                special=[END],
                tokens=False,
                json=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "pythia",
            "EleutherAI/pythia-160m",
            configs.gpt_neox(),
            lambda: byte_bpe(
                {
                    "add_prefix_space": False,
                    "bos_token": END,
                    "eos_token": END,
                    "name_or_path": "EleutherAI/gpt-neox-20b",
                    "special_tokens_map_file": "/fsx/home-hailey/special_tokens_map.json",
                    "tokenizer_class": "GPTNeoXTokenizer",
                    "unk_token": END,
                },
                pre=bytes_of(),
                first=[END],
                plain=whites,
                normalizer={"type": "NFC"},
                tokens=False,
                slow_files=False,
                changes={white: {"normalized": True} for white in whites},
            ),
            parameters=MEAN,
        ),
        Family(
            "stablelm",
            "stabilityai/stablelm-3b-4e1t",
            configs.llama(
                architectures=["StableLmForCausalLM"],
                model_type="stablelm",
                bos_token_id=0,
                eos_token_id=0,
                layer_norm_eps=1e-05,
                partial_rotary_factor=0.25,
                use_qkv_bias=False,
                num_key_value_heads=4,
            ),
            lambda: byte_bpe(
                {
                    "add_prefix_space": False,
                    "bos_token": END,
                    "clean_up_tokenization_spaces": True,
                    "eos_token": END,
                    "model_max_length": NO_LIMIT,
                    "tokenizer_class": "GPTNeoXTokenizer",
                    "unk_token": END,
                },
                pre=bytes_of(),
                first=[END],
                plain=whites,
                normalizer={"type": "NFC"},
                slow_files=False,
                changes={white: {"normalized": True} for white in whites},
            ),
            parameters=MEAN,
        ),
        Family(
            "stablelm-2",
            "stabilityai/stablelm-2-1_6b",
            configs.llama(
                architectures=["StableLmForCausalLM"],
                model_type="stablelm",
                bos_token_id=Id(END),
                eos_token_id=Id(END),
                layer_norm_eps=1e-05,
                partial_rotary_factor=0.25,
                use_qkv_bias=True,
                num_key_value_heads=4,
            ),
            lambda: byte_bpe(
                gpt2_class(pad_token=END, errors="replace"),
                pre=cut_then_bytes(CL100K),
                special=[END],
                inside=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "opt-125m",
            "facebook/opt-125m",
            configs.opt(),
            opt_tokenizer,
            parameters=MEAN,
        ),
        Family(
            "opt-350m",
            "facebook/opt-350m (post-norm, with projections)",
            configs.opt(do_layer_norm_before=False, word_embed_proj_dim=16),
            opt_tokenizer,
            by={},
            refused="last hidden state has 16 features, the others 32",
        ),
        Family(
            "bloom",
            "bigscience/bloom-560m",
            configs.bloom(),
            lambda: byte_bpe(
                {
                    "bos_token": "<s>",
                    "eos_token": "</s>",
                    "name_or_path": "bigscience/tokenizer",
                    "pad_token": "<pad>",
                    "padding_side": "left",
                    "special_tokens_map_file": None,
                    "tokenizer_class": "BloomTokenizerFast",
                    "unk_token": "<unk>",
                },
                first=["<unk>", "<s>", "</s>", "<pad>"],
                pre=sequence(
                    "pretokenizers",
                    split(
                        " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
                    ),
                    bytes_of(regex=False),
                ),
                tokens=False,
                slow_files=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "falcon",
            "tiiuae/falcon-7b",
            configs.falcon(),
            lambda: byte_bpe(
                {
                    "add_prefix_space": False,
                    "eos_token": END,
                    "model_input_names": ["input_ids", "attention_mask"],
                    "model_max_length": 2048,
                    "special_tokens_map_file": None,
                    "tokenizer_class": "PreTrainedTokenizerFast",
                },
                first=[">>TITLE<<", ">>ABSTRACT<<", ">>QUESTION<<", END],
                pre=sequence(
                    "pretokenizers",
                    {"type": "Punctuation", "behavior": "Contiguous"},
                    bytes_of(),
                    digits(False),
                    split("[0-9][0-9][0-9]"),
                ),
                post=None,
                tokens=False,
                slow_files=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "falcon-3",
            "tiiuae/Falcon3-1B-Base",
            configs.llama(head_dim=8, eos_token_id=Id(END), bos_token_id=None),
            lambda: byte_bpe(
                {
                    "bos_token": None,
                    "clean_up_tokenization_spaces": True,
                    "eos_token": END,
                    "extra_special_tokens": {},
                    "model_input_names": ["input_ids", "attention_mask"],
                    "model_max_length": 8192,
                    "pad_token": "<|pad|>",
                    "tokenizer_class": "PreTrainedTokenizerFast",
                },
                first=[">>TITLE<<", ">>ABSTRACT<<", END, "<|pad|>"],
                pre=sequence(
                    "pretokenizers",
                    {"type": "Punctuation", "behavior": "Contiguous"},
                    bytes_of(),
                    digits(True),
                ),
                post=bytes_of(),
                slow_files=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "phi-2",
            "microsoft/phi-2",
            configs.phi(),
            lambda: byte_bpe(
                {
                    "add_prefix_space": False,
                    "bos_token": END,
                    "clean_up_tokenization_spaces": True,
                    "eos_token": END,
                    "model_max_length": 2048,
                    "return_token_type_ids": False,
                    "tokenizer_class": "CodeGenTokenizer",
                    "unk_token": END,
                },
                pre=bytes_of(),
                special=[END],
                plain=whites,
                changes={white: {"normalized": True} for white in whites},
            ),
            parameters=MEAN,
        ),
        Family(
            "phi-4",
            "microsoft/phi-4",
            configs.phi3(
                bos_token_id=Id(END), eos_token_id=Id(END), sliding_window=None
            ),
            lambda: byte_bpe(
                gpt2_class(model_max_length=16384, pad_token="<|dummy_85|>"),
                pre=cut_then_bytes(CL100K),
                special=[END, "<|im_start|>", "<|im_end|>", "<|dummy_85|>"],
                inside=False,
                changes={END: {"lstrip": True, "rstrip": True}},
            ),
            parameters=MEAN,
        ),
        Family(
            "starcoder2",
            "bigcode/starcoder2-3b",
            configs.llama(
                architectures=["Starcoder2ForCausalLM"],
                model_type="starcoder2",
                bos_token_id=0,
                eos_token_id=0,
                hidden_act="gelu_pytorch_tanh",
                mlp_type="default",
                norm_epsilon=1e-05,
                norm_type="layer_norm",
                use_bias=True,
                sliding_window=4096,
                embedding_dropout=0.1,
                residual_dropout=0.1,
                attention_dropout=0.1,
            ),
            lambda: byte_bpe(
                gpt2_class(additional_special_tokens=CODE_TOKENS, vocab_size=49152),
                pre=digits_then_bytes,
                first=CODE_TOKENS,
            ),
            parameters=MEAN,
        ),
        Family(
            "smollm",
            "HuggingFaceTB/SmolLM-135M",
            configs.llama(bos_token_id=0, eos_token_id=0, tie_word_embeddings=True),
            lambda: byte_bpe(
                gpt2_class(additional_special_tokens=SMOL_TOKENS, vocab_size=49152),
                pre=digits_then_bytes,
                first=SMOL_TOKENS,
            ),
            parameters=MEAN,
        ),
        Family(
            "smollm2-instruct",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            configs.llama(
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=2,
                tie_word_embeddings=True,
                rope_interleaved=False,
                rope_theta=100000,
            ),
            lambda: byte_bpe(
                gpt2_class(
                    bos="<|im_start|>",
                    eos="<|im_end|>",
                    pad_token="<|im_end|>",
                    additional_special_tokens=["<|im_start|>", "<|im_end|>"],
                    vocab_size=49152,
                ),
                pre=digits_then_bytes,
                first=SMOL_TOKENS,
            ),
            parameters=MEAN,
        ),
        Family(
            "smollm3",
            "HuggingFaceTB/SmolLM3-3B",
            configs.llama3(
                architectures=["SmolLM3ForCausalLM"],
                model_type="smollm3",
                no_rope_layers=[1, 1, 0],
                no_rope_layer_interval=4,
                layer_types=["full_attention"] * 3,
                sliding_window=None,
                use_sliding_window=False,
                max_window_layers=28,
                pad_token_id=Id("<|end_of_text|>"),
                tie_word_embeddings=True,
            ),
            lambda: llama3(
                {
                    **LLAMA3,
                    "bos_token": None,
                    "eos_token": "<|eot_id|>",
                    "fast": False,
                    "pad_token": "<|eot_id|>",
                },
                post=bytes_of(trim=False),
            ),
            parameters=MEAN,
        ),
        Family(
            "olmo2",
            "allenai/OLMo-2-0425-1B",
            configs.llama(
                architectures=["Olmo2ForCausalLM"],
                model_type="olmo2",
                eos_token_id=Id(END),
                bos_token_id=None,
                pad_token_id=Id("<|pad|>"),
                rms_norm_eps=1e-06,
            ),
            lambda: byte_bpe(
                gpt2_class(pad_token="<|pad|>", model_max_length=NO_LIMIT),
                pre=cut_then_bytes(CL100K),
                special=[END, "<|im_start|>", "<|im_end|>", "<|pad|>"],
                inside=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "olmo3",
            "allenai/Olmo-3-1025-7B",
            configs.llama(
                architectures=["Olmo3ForCausalLM"],
                model_type="olmo3",
                eos_token_id=Id(END),
                bos_token_id=None,
                pad_token_id=Id("<|pad|>"),
                rms_norm_eps=1e-06,
                rope_theta=500000,
                sliding_window=16,
                layer_types=[
                    "sliding_attention",
                    "sliding_attention",
                    "full_attention",
                ],
            ),
            lambda: byte_bpe(
                gpt2_class(pad_token="<|pad|>", model_max_length=65536),
                pre=cut_then_bytes(CL100K),
                special=[END, "<|im_start|>", "<|im_end|>", "<|pad|>"],
                inside=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "olmo-1",
            "allenai/OLMo-1B-hf",
            configs.llama(
                architectures=["OlmoForCausalLM"],
                model_type="olmo",
                clip_qkv=None,
                eos_token_id=Id(END),
                bos_token_id=None,
                pad_token_id=1,
                num_key_value_heads=4,
            ),
            lambda: byte_bpe(
                {
                    "add_bos_token": False,
                    "add_eos_token": False,
                    "add_prefix_space": False,
                    "bos_token": None,
                    "clean_up_tokenization_spaces": True,
                    "eos_token": END,
                    "model_max_length": NO_LIMIT,
                    "pad_token": "<|padding|>",
                    "tokenizer_class": "GPTNeoXTokenizer",
                    "unk_token": None,
                },
                pre=bytes_of(),
                first=["|||IP_ADDRESS|||", "<|padding|>"],
                special=[END],
                plain=whites,
                normalizer={"type": "NFC"},
                post=around([]),
                slow_files=False,
                changes={white: {"normalized": True} for white in whites},
            ),
            parameters=MEAN,
        ),
        Family(
            "granite-3",
            "ibm-granite/granite-3.1-2b-base",
            configs.llama(
                architectures=["GraniteForCausalLM"],
                model_type="granite",
                attention_multiplier=0.35,
                bos_token_id=0,
                embedding_multiplier=12.0,
                eos_token_id=0,
                logits_scaling=8.0,
                mlp_bias=False,
                pad_token_id=0,
                residual_multiplier=0.22,
                tie_word_embeddings=True,
            ),
            lambda: byte_bpe(
                gpt2_class(
                    add_bos_token=False,
                    additional_special_tokens=CODE_TOKENS,
                    pad_token=END,
                    padding_side="left",
                    vocab_size=49152,
                    errors="replace",
                ),
                pre=digits_then_bytes,
                first=CODE_TOKENS,
            ),
            parameters=MEAN,
        ),
        Family(
            "granite-4",
            "ibm-granite/granite-4.0-1b (tokenizer; the network Granite 3's)",
            configs.llama(
                architectures=["GraniteForCausalLM"],
                model_type="granite",
                attention_multiplier=0.35,
                bos_token_id=Id("<|end_of_text|>"),
                embedding_multiplier=12.0,
                eos_token_id=Id("<|end_of_text|>"),
                logits_scaling=8.0,
                mlp_bias=False,
                pad_token_id=Id("<|pad|>"),
                residual_multiplier=0.22,
                tie_word_embeddings=True,
            ),
            lambda: byte_bpe(
                gpt2_class(
                    bos="<|end_of_text|>",
                    eos="<|end_of_text|>",
                    unk="<|unk|>",
                    pad_token="<|pad|>",
                    padding_side="left",
                    model_max_length=NO_LIMIT,
                ),
                pre=cut_then_bytes(CL100K),
                special=["<|end_of_text|>", "<|pad|>", "<|unk|>"],
                inside=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "hyperclovax",
            "naver-hyperclovax/HyperCLOVAX-SEED-Text-Instruct-1.5B",
            configs.llama(
                bos_token_id=Id(END),
                eos_token_id=Id(END),
                head_dim=8,
                pad_token_id=Id(END),
                rope_theta=100000000,
            ),
            lambda: byte_bpe(
                gpt2_class(pad_token=END, model_max_length=NO_LIMIT, errors="replace"),
                pre=cut_then_bytes(CL100K),
                special=[END, "<|im_start|>", "<|im_end|>", "<|endofturn|>"],
                inside=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "exaone-4",
            "LGAI-EXAONE/EXAONE-4.0-1.2B",
            configs.llama(
                architectures=["Exaone4ForCausalLM"],
                model_type="exaone4",
                bos_token_id=Id("[BOS]"),
                eos_token_id=Id("[|endofturn|]"),
                pad_token_id=Id("[PAD]"),
                head_dim=8,
                layer_types=["full_attention"] * 3,
                sliding_window=None,
                sliding_window_pattern=None,
                tie_word_embeddings=True,
            ),
            lambda: byte_bpe(
                gpt2_class(
                    bos="[BOS]",
                    eos="[|endofturn|]",
                    unk="[UNK]",
                    pad_token="[PAD]",
                    clean_up_tokenization_spaces=True,
                ),
                first=["[PAD]", "[BOS]", "[EOS]", "[UNK]"],
                special=["[|endofturn|]"],
                pre=cut_then_bytes(
                    r"(?:'s|'t|'re|'ve|'m|'ll|'d)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+"
                    r"|\s+(?!\S)|\s+"
                ),
                normalizer={"type": "NFC"},
            ),
            parameters=MEAN,
        ),
        Family(
            "command-r",
            "CohereForAI/c4ai-command-r-v01",
            configs.llama(
                architectures=["CohereForCausalLM"],
                model_type="cohere",
                bos_token_id=Id("<BOS_TOKEN>"),
                eos_token_id=Id("<EOS_TOKEN>"),
                layer_norm_eps=1e-05,
                logit_scale=0.0625,
                pad_token_id=0,
                tie_word_embeddings=True,
                use_qk_norm=False,
            ),
            lambda: byte_bpe(
                {
                    "add_bos_token": True,
                    "add_eos_token": False,
                    "add_prefix_space": False,
                    "bos_token": "<BOS_TOKEN>",
                    "clean_up_tokenization_spaces": False,
                    "eos_token": "<EOS_TOKEN>",
                    "legacy": True,
                    "merges_file": None,
                    "model_max_length": NO_LIMIT,
                    "pad_token": "<PAD>",
                    "sp_model_kwargs": {},
                    "spaces_between_special_tokens": False,
                    "tokenizer_class": "CohereTokenizer",
                    "unk_token": None,
                    "use_default_system_prompt": False,
                    "vocab_file": None,
                },
                first=[
                    "<PAD>",
                    "<UNK>",
                    "<CLS>",
                    "<SEP>",
                    "<BOS_TOKEN>",
                    "<EOS_TOKEN>",
                ],
                pre=digits_then_bytes,
                normalizer={"type": "NFC"},
                post=around(["<BOS_TOKEN>"]),
                slow_files=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "glm-4",
            "zai-org/GLM-4-9B-0414",
            configs.llama(
                architectures=["Glm4ForCausalLM"],
                model_type="glm4",
                eos_token_id=[Id(END)],
                head_dim=8,
                pad_token_id=Id(END),
                partial_rotary_factor=0.5,
                bos_token_id=None,
            ),
            lambda: byte_bpe(
                {
                    "additional_special_tokens": [END, "[MASK]", "[gMASK]", "<sop>"],
                    "clean_up_tokenization_spaces": False,
                    "do_lower_case": False,
                    "eos_token": END,
                    "extra_special_tokens": {},
                    "model_input_names": ["input_ids", "attention_mask"],
                    "model_max_length": 128000,
                    "pad_token": END,
                    "padding_side": "left",
                    "remove_space": False,
                    "tokenizer_class": "PreTrainedTokenizerFast",
                },
                special=[END, "[MASK]", "[gMASK]", "<sop>", "<|user|>"],
                inside=False,
                pre=cut_then_bytes(CL100K),
                post=bytes_then(["[gMASK]", "<sop>"]),
                slow_files=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "gpt-oss-cut",
            "openai/gpt-oss-20b (tokenizer; the network a small Llama)",
            configs.llama(bos_token_id=Id("<|startoftext|>"), eos_token_id=Id(END)),
            lambda: byte_bpe(
                {
                    "bos_token": "<|startoftext|>",
                    "clean_up_tokenization_spaces": False,
                    "eos_token": "<|return|>",
                    "extra_special_tokens": {},
                    "model_input_names": ["input_ids", "attention_mask"],
                    "model_max_length": NO_LIMIT,
                    "pad_token": END,
                    "tokenizer_class": "PreTrainedTokenizerFast",
                },
                special=["<|startoftext|>", END, "<|return|>"],
                inside=False,
                pre=cut_then_bytes(O200K),
                slow_files=False,
                model={"ignore_merges": True},
            ),
            parameters=MEAN,
        ),
        Family(
            "nemotron",
            "nvidia/Nemotron-Mini-4B-Instruct",
            configs.llama(
                architectures=["NemotronForCausalLM"],
                model_type="nemotron",
                bos_token_id=2,
                eos_token_id=3,
                hidden_act="relu2",
                norm_eps=1e-05,
                partial_rotary_factor=0.5,
                head_dim=8,
            ),
            lambda: byte_bpe(
                {
                    "bos_token": "<s>",
                    "clean_up_tokenization_spaces": True,
                    "eos_token": "</s>",
                    "model_input_names": ["input_ids", "attention_mask"],
                    "model_max_length": NO_LIMIT,
                    "tokenizer_class": "PreTrainedTokenizerFast",
                    "unk_token": "<unk>",
                },
                first=["<unk>", "<mask>", "<s>", "</s>"],
                pre=digits_then_bytes,
                post=around(["<s>"]),
                slow_files=False,
            ),
            parameters=MEAN,
        ),
    ]


def opt_tokenizer():
    """OPT's: no tokenizer.json, and a BOS that its slow class puts in front."""
    return byte_bpe(
        {
            "add_bos_token": True,
            "add_prefix_space": False,
            "bos_token": serialized("</s>", normalized=True),
            "eos_token": serialized("</s>", normalized=True),
            "errors": "replace",
            "name_or_path": "patrickvonplaten/opt-30b",
            "pad_token": serialized("<pad>", normalized=True),
            "special_tokens_map_file": None,
            "tokenizer_class": "GPT2Tokenizer",
            "unk_token": serialized("</s>", normalized=True),
        },
        first=["<s>", "<pad>", "</s>", "<unk>"],
        pre=bytes_of(),
        tokens=False,
        as_dicts=True,
        json=False,
    )


# --- Gemma ------------------------------------------------------------------------------

GEMMA = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<bos>",
    "clean_up_tokenization_spaces": False,
    "eos_token": "<eos>",
    "legacy": None,
    "model_max_length": NO_LIMIT,
    "pad_token": "<pad>",
    "sp_model_kwargs": {},
    "spaces_between_special_tokens": False,
    "tokenizer_class": "GemmaTokenizer",
    "unk_token": "<unk>",
    "use_default_system_prompt": False,
}


def gemma_families():
    return [
        Family(
            "gemma-1",
            "google/gemma-2b",
            configs.gemma(hidden_act="gelu_pytorch_tanh"),
            lambda: gemma(GEMMA),
            parameters=MEAN,
        ),
        Family(
            "gemma-1-first-revision",
            "google/gemma-2b of February 2024 (hidden_act gelu, meant as its tanh kind)",
            configs.gemma(),
            lambda: gemma(GEMMA),
            parameters=MEAN,
            newer=True,
        ),
        Family(
            "gemma-2",
            "google/gemma-2-2b",
            configs.gemma2(),
            lambda: gemma({**GEMMA, "additional_special_tokens": GEMMA_TURNS}),
            # Only so does transformers 4.57 cap the attention.
            by={"pooling": "mean", "options": {"attn_implementation": "eager"}},
            parameters=MEAN,
        ),
        Family(
            "gemma-3",
            "google/gemma-3-1b-pt",
            configs.gemma3(),
            lambda: gemma({**GEMMA, "extra_special_tokens": {}}),
            parameters=MEAN,
        ),
        Family(
            "gemma-fast-class",
            "a Gemma that declares GemmaTokenizerFast with add_eos_token",
            configs.gemma(hidden_act="gelu_pytorch_tanh"),
            lambda: gemma(
                {
                    **GEMMA,
                    "tokenizer_class": "GemmaTokenizerFast",
                    "add_eos_token": True,
                },
                slow=False,
            ),
            parameters=MEAN,
        ),
        Family(
            "t5gemma",
            "google/t5gemma-2b-2b-prefixlm",
            t5gemma_config(),
            lambda: gemma({**GEMMA, "extra_special_tokens": {}}),
            by={"pooling": "mean", "options": {"attn_implementation": "eager"}},
            parameters={"pooling": "mean"},
        ),
    ]


def t5gemma_config():
    part = configs.gemma2()
    for entry in ("architectures", "transformers_version", "torch_dtype"):
        del part[entry]
    part |= {
        "model_type": "t5_gemma_module",
        # Wider than any text, as published: versions differ in one token at its edge.
        "sliding_window": 4096,
        "sliding_window_size": 4096,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "vocab_size": None,
    }
    return {
        "architectures": ["T5GemmaForConditionalGeneration"],
        "decoder": {**part, "is_decoder": True, "cross_attention_hidden_size": 32},
        "encoder": part,
        "eos_token_id": [1, 107],
        "is_encoder_decoder": True,
        "initializer_range": 0.02,
        "model_type": "t5gemma",
        "pad_token_id": 0,
        "torch_dtype": "float32",
        "transformers_version": "4.53.0.dev0",
        "use_cache": True,
        "vocab_size": None,
    }


def families():
    return [*llama_families(), *byte_families(), *gpt2_families(), *gemma_families()]
