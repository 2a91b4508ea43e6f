"""Settings that decide a vector and are easily missed, one a folder.

Each is found in published models; the network around it is a small one of its kind.
"""

import parity_configs as configs
from parity_configs import Id
from parity_decoders import (
    BOS,
    LLAMA3,
    MEAN,
    MISTRAL,
    NO_LIMIT,
    QWEN,
    gpt2_class,
    llama2,
    llama3,
    qwen,
)
from parity_embedders import ENCODE, UNIT, around, uncased
from parity_encoders import (
    BERT_NAMES,
    BERT_UNCASED,
    FIRST,
    ROBERTA,
    T5_NAMES,
    roberta_tokenizer,
)
from parity_family import Family
from parity_llm2vec import adapter
from parity_modules import OLD, pooling_config, settings
from parity_tokenizers import (
    IDS,
    bert,
    byte_bpe,
    bytes_of,
    sentencepiece_bpe,
    xlm_roberta,
)

# --- tokens -----------------------------------------------------------------------------


def with_added_token(made, token, **entries):
    """The files with one more token that tokenizer.json doesn't have."""
    number = max(made[IDS].values()) + 1
    made["added_tokens.json"] = {token: number}
    made["tokenizer_config.json"] = {**made["tokenizer_config.json"], **entries}
    return made | {IDS: made[IDS] | {token: number}}


def token_settings():
    return [
        Family(
            "added-token-beside",
            "a Llama 2 whose [PAD] is in added_tokens.json alone",
            configs.llama(),
            lambda: with_added_token(llama2(), "[PAD]", pad_token="[PAD]"),
            parameters=MEAN,
        ),
        Family(
            "added-token-in-config",
            "a Qwen 2 with a token that only tokenizer_config.json lists",
            configs.qwen2(),
            added_in_config,
            parameters=MEAN,
        ),
        Family(
            "roberta-prefix-space",
            "a RoBERTa whose tokenizer_config.json says add_prefix_space",
            configs.roberta(),
            lambda: roberta_tokenizer({**ROBERTA, "add_prefix_space": True}),
        ),
        Family(
            "gpt2-prefix-space",
            "a GPT-2 whose tokenizer_config.json says add_prefix_space",
            configs.gpt2(),
            lambda: byte_bpe(
                {**gpt2_class(), "add_prefix_space": True},
                pre=bytes_of(),
                special=["<|endoftext|>"],
            ),
            parameters=MEAN,
        ),
        Family(
            "gpt2-with-bos",
            "a GPT-2 whose tokenizer_config.json says add_bos_token",
            configs.gpt2(),
            lambda: byte_bpe(
                gpt2_class(add_bos_token=True),
                pre=bytes_of(),
                special=["<|endoftext|>"],
            ),
            parameters=MEAN,
        ),
        Family(
            "bert-chinese-unsplit",
            "a BERT whose tokenizer_config.json says tokenize_chinese_chars false",
            configs.bert(),
            uncased(tokenize_chinese_chars=False),
        ),
        Family(
            "bert-accents-by-config",
            "an uncased BERT whose tokenizer_config.json says strip_accents false",
            configs.bert(),
            uncased(strip_accents=False),
        ),
        Family(
            "bert-lowercase-by-config",
            "a cased tokenizer.json whose tokenizer_config.json says do_lower_case",
            configs.bert(),
            lambda: bert(BERT_UNCASED, lowercase=False),
        ),
        Family(
            "bert-cased-by-config",
            "an uncased tokenizer.json whose tokenizer_config.json says otherwise",
            configs.bert(),
            lambda: bert({**BERT_UNCASED, "do_lower_case": False}, lowercase=True),
        ),
        Family(
            "bert-template-without-sep",
            "a BERT whose tokenizer.json puts only [CLS] around a text",
            configs.bert(),
            template_without_sep,
        ),
        Family(
            "llama-3-flag-without-bos",
            "a Llama 3 whose tokenizer_config.json says add_bos_token false",
            configs.llama3(),
            lambda: llama3({**LLAMA3, "add_bos_token": False}),
            parameters=MEAN,
        ),
        Family(
            "llama-3-flag-with-eos",
            "a Llama 3 whose tokenizer_config.json says add_eos_token",
            configs.llama3(),
            lambda: llama3({**LLAMA3, "add_eos_token": True}),
            parameters=MEAN,
        ),
        Family(
            "llama-legacy-off",
            "a Llama 2 with legacy false and a metaspace in its tokenizer.json",
            configs.llama(),
            lambda: llama2(
                normalizer=None,
                pre={
                    "type": "Metaspace",
                    "replacement": "\u2581",
                    "prepend_scheme": "first",
                    "split": False,
                },
            ),
            parameters=MEAN,
        ),
        Family(
            "phobert",
            "vinai/phobert-base (bpe.codes and vocab.txt)",
            configs.roberta(tokenizer_class="PhobertTokenizer", vocab_size=None),
            phobert_tokenizer,
        ),
        Family(
            "byt5",
            "google/byt5-small (no vocabulary)",
            configs.t5(
                architectures=["T5ForConditionalGeneration"],
                feed_forward_proj="gated-gelu",
                tie_word_embeddings=False,
                tokenizer_class="ByT5Tokenizer",
                vocab_size=384,
            ),
            lambda: {
                "tokenizer_config.json": {
                    "extra_ids": 125,
                    "tokenizer_class": "ByT5Tokenizer",
                    **T5_NAMES,
                },
                "special_tokens_map.json": T5_NAMES,
                IDS: {"<pad>": 0, "</s>": 1, "<unk>": 2},
            },
        ),
        Family(
            "mbart",
            "facebook/mbart-large-cc25 (a language's code behind each text)",
            mbart_config(),
            mbart_tokenizer,
        ),
        Family(
            "truncation-side-left",
            "a sentence-transformers folder whose tokenizer cuts on the left",
            configs.bert(),
            uncased(truncation_side="left"),
            around("mean", max_seq_length=16),
            ENCODE,
            UNIT,
        ),
        Family(
            "tokenizer-json-truncates",
            "a tokenizer.json that truncates and pads, beside no other limit",
            configs.bert(),
            truncating,
        ),
    ]


def added_in_config():
    """Qwen's files with a token in added_tokens_decoder that tokenizer.json lacks."""
    made = qwen()
    number = max(made[IDS].values()) + 1
    config = made["tokenizer_config.json"]
    entry = {**config["added_tokens_decoder"][str(number - 1)], "content": "[INST]"}
    config["added_tokens_decoder"][str(number)] = entry
    return made | {IDS: made[IDS] | {"[INST]": number}}


def template_without_sep():
    made = bert(BERT_UNCASED, lowercase=True)
    template = made["tokenizer.json"]["post_processor"]
    template["single"] = template["single"][:2]
    return made


def truncating():
    made = bert({"do_lower_case": True, "model_max_length": 512}, lowercase=True)
    made["tokenizer.json"]["truncation"] = {
        "direction": "Right",
        "max_length": 12,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    return made


def phobert_tokenizer():
    """PhoBERT's: words of letters, marked where they go on."""
    made = bert({}, lowercase=False)
    words = [piece for piece in made[IDS] if not piece.startswith(("[", "##"))]
    letters = sorted({letter for word in words for letter in word})
    pieces = [*(f"{x}@@" for x in letters), *letters]
    merges = "".join(f"{a} {b}</w> 1\n" for a in letters[:40] for b in letters[:40])
    pieces += [f"{a}{b}" for a in letters[:40] for b in letters[:40]]
    pieces = list(dict.fromkeys(pieces))
    ids = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    ids |= {piece: n for n, piece in enumerate(pieces, start=4)}
    return {
        "tokenizer_config.json": {"model_max_length": 256},
        "vocab.txt": "".join(f"{piece} 1\n" for piece in pieces),
        "bpe.codes": merges,
        IDS: ids | {"<mask>": len(ids)},
    }


def mbart_config():
    return {
        "_num_labels": 3,
        "activation_function": "gelu",
        "add_final_layer_norm": True,
        "architectures": ["MBartForConditionalGeneration"],
        "bos_token_id": 0,
        "d_model": 32,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 64,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "encoder_layers": 3,
        "eos_token_id": 2,
        "is_encoder_decoder": True,
        "max_position_embeddings": 1024,
        "model_type": "mbart",
        "normalize_before": True,
        "num_hidden_layers": 3,
        "pad_token_id": 1,
        "scale_embedding": True,
        "vocab_size": None,
    }


MBART_CODES = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR "
    "lt_LT lv_LV my_MM ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
).split()


def mbart_tokenizer():
    return xlm_roberta(
        {"model_max_length": 1024},
        last=[*MBART_CODES, "<mask>"],
        post=lambda ids: {
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
                {"SpecialToken": {"id": "en_XX", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
                {"SpecialToken": {"id": "en_XX", "type_id": 0}},
            ],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]}
                for token in ("</s>", "en_XX")
            },
        },
        slow_first=["<unk>", "<s>", "</s>"],
        slow=None,
    )


# --- networks ---------------------------------------------------------------------------


def small(name, like, **changes):
    """A Llama 3 with something else in its configuration."""
    return Family(
        name, like, configs.llama3(**changes), lambda: llama3(LLAMA3), parameters=MEAN
    )


def network_settings():
    return [
        small(
            "rope-linear",
            "deepseek-ai/deepseek-coder-6.7b-base (rope_scaling of type linear)",
            rope_scaling={"factor": 4.0, "type": "linear"},
        ),
        small(
            "rope-dynamic",
            "a Llama with rope_scaling of type dynamic",
            rope_scaling={"factor": 2.0, "type": "dynamic"},
            max_position_embeddings=128,
        ),
        small(
            "rope-yarn",
            "a Llama with rope_scaling of type yarn",
            rope_scaling={
                "factor": 4.0,
                "original_max_position_embeddings": 128,
                "rope_type": "yarn",
            },
            max_position_embeddings=512,
        ),
        Family(
            "qwen2-window",
            "a Qwen 2 that uses its sliding window in some layers",
            configs.qwen2(
                use_sliding_window=True, sliding_window=16, max_window_layers=1
            ),
            qwen,
            parameters=MEAN,
        ),
        Family(
            "mistral-window",
            "a Mistral whose window is shorter than a text",
            configs.mistral(sliding_window=16),
            lambda: sentencepiece_bpe(MISTRAL, post=BOS, as_dicts=False),
            parameters=MEAN,
        ),
        Family(
            "mistral-head-dim",
            "a Mistral whose heads are wider than hidden_size divided by their number",
            configs.mistral(head_dim=16),
            lambda: sentencepiece_bpe(MISTRAL, post=BOS, as_dicts=False),
            parameters=MEAN,
        ),
        Family(
            "bert-relative-positions",
            "zhiheng-huang/bert-base-uncased-embedding-relative-key-query",
            configs.bert(position_embedding_type="relative_key_query"),
            uncased(),
            refused="distance_embedding",
        ),
        Family(
            "bert-gelu-new",
            "a BERT with another activation",
            configs.bert(hidden_act="gelu_new"),
            uncased(),
        ),
        Family(
            "bert-as-decoder",
            "a BERT whose config.json says is_decoder",
            configs.bert(is_decoder=True, architectures=["BertLMHeadModel"]),
            uncased(),
            parameters=MEAN,
        ),
        Family(
            "half-weights",
            "a Llama 3 in float16",
            configs.llama3(torch_dtype="float16"),
            lambda: llama3(LLAMA3),
            parameters=MEAN,
            weights=lambda weights: halved(weights, "float16"),
        ),
        Family(
            "bfloat16-weights",
            "a Llama 3 in bfloat16",
            configs.llama3(torch_dtype="bfloat16"),
            lambda: llama3(LLAMA3),
            parameters=MEAN,
            weights=lambda weights: halved(weights, "bfloat16"),
        ),
        Family(
            "qwen3-moe",
            "Qwen/Qwen3-30B-A3B",
            configs.qwen3(
                architectures=["Qwen3MoeForCausalLM"],
                decoder_sparse_step=1,
                mlp_only_layers=[],
                model_type="qwen3_moe",
                moe_intermediate_size=16,
                norm_topk_prob=True,
                num_experts=4,
                num_experts_per_tok=2,
                output_router_logits=False,
                router_aux_loss_coef=0.001,
                tie_word_embeddings=False,
            ),
            lambda: qwen({**QWEN, "eos_token": "<|im_end|>"}),
            parameters=MEAN,
        ),
        Family(
            "olmoe",
            "allenai/OLMoE-1B-7B-0924",
            configs.llama(
                architectures=["OlmoeForCausalLM"],
                clip_qkv=None,
                eos_token_id=Id("<|endoftext|>"),
                model_type="olmoe",
                norm_topk_prob=False,
                num_experts=4,
                num_experts_per_tok=2,
                num_key_value_heads=4,
                pad_token_id=1,
                router_aux_loss_coef=0.01,
            ),
            lambda: byte_bpe(
                {
                    "add_prefix_space": False,
                    "eos_token": "<|endoftext|>",
                    "model_max_length": NO_LIMIT,
                    "pad_token": "<|padding|>",
                    "tokenizer_class": "GPTNeoXTokenizer",
                },
                first=["|||IP_ADDRESS|||", "<|padding|>"],
                special=["<|endoftext|>"],
                pre=bytes_of(),
                normalizer={"type": "NFC"},
                slow_files=False,
            ),
            parameters=MEAN,
        ),
    ]


def halved(weights, dtype):
    """The weights in 16 bits."""
    import torch

    return {
        name: torch.from_numpy(weight).to(getattr(torch, dtype))
        for name, weight in weights.items()
    }


# --- folders ----------------------------------------------------------------------------


def inner_folder():
    """Modules of 2020: the transformer in a folder of its own."""
    return {
        "modules.json": [
            {
                "idx": 0,
                "name": "0",
                "path": "0_Transformer",
                "type": OLD + "Transformer",
            },
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": OLD + "Pooling"},
        ],
        "config_sentence_transformers.json": settings(version="2.0.0"),
        "1_Pooling/config.json": pooling_config("max"),
    }


def folder_settings():
    return [
        Family(
            "adapter-beside",
            "a Llama 3 with a PEFT adapter in the same folder",
            configs.llama3(),
            lambda: llama3(LLAMA3),
            lambda: beside(adapter("", "LlamaModel", "")),
            parameters=MEAN,
            refused="adapter",
        ),
        Family(
            "max-pooling",
            "a folder that pools by the maximum",
            configs.bert(),
            uncased(),
            around("max", normalize=False),
            ENCODE,
        ),
        Family(
            "inner-folder",
            "a sentence-transformers folder of 2020, the transformer in 0_Transformer",
            configs.bert(),
            uncased(),
            inner_folder,
            ENCODE,
            inner="0_Transformer",
        ),
        Family(
            "limit-null",
            "a folder whose max_seq_length is null",
            configs.bert(max_position_embeddings=64),
            uncased(model_max_length=NO_LIMIT),
            around("mean", max_seq_length=None, normalize=False),
            ENCODE,
        ),
        Family(
            "dense-twice-normalized-between",
            "a folder with dense layers, GELU and ReLU",
            configs.bert(),
            uncased(),
            around(
                "mean",
                dense=[
                    {"out": 48, "activation": "GELU"},
                    {"out": 16, "activation": "ReLU", "bias": False},
                ],
            ),
            ENCODE,
            UNIT,
        ),
        Family(
            "sharded-cls",
            "a plain BERT used by its CLS token",
            configs.bert(torch_dtype="float32"),
            lambda: bert({**BERT_NAMES, "do_lower_case": True}, lowercase=True),
            **FIRST,
        ),
    ]


# --- saved by transformers 5 ------------------------------------------------------------


def saved_by_5(made, **entries):
    """The files as transformers 5 writes them: tokenizer.json and what is asked of it."""
    config = {"backend": "tokenizers", "is_local": True, "local_files_only": False}
    kept = ("tokenizer.json", IDS)
    return {name: made[name] for name in kept} | {
        "tokenizer_config.json": config | entries
    }


def modern(config, **changes):
    """config.json as transformers 5 writes it."""
    config = {**config, "dtype": config.pop("torch_dtype", "float32"), **changes}
    config["transformers_version"] = "5.24.0"
    theta = config.pop("rope_theta", None)
    if theta is not None:
        del config["rope_scaling"]
        config["rope_parameters"] = {"rope_theta": theta, "rope_type": "default"}
    return config


def saved_settings():
    return [
        Family(
            "bert-saved-by-5",
            "an uncased BERT saved by transformers 5",
            modern(configs.bert()),
            lambda: saved_by_5(
                bert(BERT_UNCASED, lowercase=True),
                do_lower_case=True,
                model_max_length=512,
                strip_accents=None,
                tokenize_chinese_chars=True,
                tokenizer_class="BertTokenizer",
                **BERT_NAMES,
            ),
        ),
        Family(
            "bert-cased-saved-by-5",
            "a cased BERT saved by transformers 5",
            modern(configs.bert()),
            lambda: saved_by_5(
                bert(BERT_UNCASED, lowercase=False),
                do_lower_case=False,
                model_max_length=512,
                strip_accents=None,
                tokenize_chinese_chars=True,
                tokenizer_class="BertTokenizer",
                **BERT_NAMES,
            ),
        ),
        Family(
            "llama-saved-by-5",
            "a Llama 2 saved by transformers 5",
            modern(configs.llama(mlp_bias=False, head_dim=8)),
            lambda: saved_by_5(
                llama2(
                    normalizer=None,
                    pre={
                        "type": "Metaspace",
                        "replacement": "\u2581",
                        "prepend_scheme": "first",
                        "split": False,
                    },
                ),
                add_prefix_space=None,
                bos_token="<s>",
                clean_up_tokenization_spaces=False,
                eos_token="</s>",
                model_max_length=NO_LIMIT,
                pad_token=None,
                sp_model_kwargs={},
                tokenizer_class="LlamaTokenizer",
                unk_token="<unk>",
            ),
            parameters=MEAN,
            newer=True,
        ),
        Family(
            "qwen2-saved-by-5",
            "a Qwen 2 saved by transformers 5",
            modern(
                configs.qwen2(rope_scaling=None, layer_types=["full_attention"] * 3)
            ),
            lambda: saved_by_5(
                qwen(),
                add_prefix_space=False,
                bos_token=None,
                eos_token="<|endoftext|>",
                errors="replace",
                extra_special_tokens=["<|im_start|>", "<|im_end|>"],
                model_max_length=32768,
                pad_token="<|endoftext|>",
                split_special_tokens=False,
                tokenizer_class="Qwen2Tokenizer",
                unk_token=None,
            ),
            parameters=MEAN,
            newer=True,
        ),
        Family(
            "tokenizers-backend",
            "a Llama 3 whose tokenizer declares transformers 5's TokenizersBackend",
            modern(configs.llama3(head_dim=8, mlp_bias=False)),
            lambda: saved_by_5(
                llama3(LLAMA3),
                bos_token="<|begin_of_text|>",
                clean_up_tokenization_spaces=True,
                eos_token="<|end_of_text|>",
                model_input_names=["input_ids", "attention_mask"],
                model_max_length=NO_LIMIT,
                tokenizer_class="TokenizersBackend",
            ),
            parameters=MEAN,
            newer=True,
        ),
    ]


def beside(files):
    """The adapter's files at the folder's own level, for the model without its head."""
    return {path.lstrip("/"): content for path, content in files.items()}


def families():
    return [
        *token_settings(),
        *network_settings(),
        *folder_settings(),
        *saved_settings(),
    ]
