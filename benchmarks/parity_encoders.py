"""Encoders as they are published, without sentence-transformers' files."""

import parity_configs as configs
from parity_configs import Id
from parity_family import Family
from parity_folders import random_weight
from parity_tokenizers import (
    around,
    bert,
    byte_bpe,
    bytes_of,
    clip,
    deberta_v3,
    fold,
    fold_and_squeeze,
    mpnet,
    one_mark,
    replace,
    roberta_surround,
    sequence,
    t5,
    unigram,
    words_marked,
    xlm_roberta,
)

NO_LIMIT = 1000000000000000019884624838656
FIRST = {"by": {"pooling": "first"}, "parameters": {"pooling": "first"}}

# --- BERT and its tokenizer -------------------------------------------------------------

BERT_NAMES = {
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
}
# tokenizer_config.json as transformers 4 saves it.
BERT_UNCASED = {
    "clean_up_tokenization_spaces": True,
    "do_basic_tokenize": True,
    "do_lower_case": True,
    "model_max_length": 512,
    "never_split": None,
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "tokenizer_class": "BertTokenizer",
    **BERT_NAMES,
}


def bert_families():
    return [
        Family(
            "bert-uncased",
            "google-bert/bert-base-uncased",
            configs.bert(architectures=["BertForMaskedLM"]),
            lambda: bert(
                {"do_lower_case": True, "model_max_length": 512}, lowercase=True
            ),
        ),
        Family(
            "bert-cased",
            "google-bert/bert-base-cased",
            configs.bert(architectures=["BertForMaskedLM"]),
            lambda: bert(
                {"do_lower_case": False, "model_max_length": 512}, lowercase=False
            ),
        ),
        Family(
            "bert-cased-unsaid",
            "a cased BERT whose tokenizer_config.json doesn't say do_lower_case",
            configs.bert(),
            lambda: bert({"model_max_length": 512}, lowercase=False),
        ),
        Family(
            "bert-cased-unsaid-class",
            "the same, with tokenizer_class BertTokenizer",
            configs.bert(),
            lambda: bert(
                {"model_max_length": 512, "tokenizer_class": "BertTokenizer"},
                lowercase=False,
            ),
        ),
        Family(
            "bert-cased-fast-class",
            "a cased BERT that declares PreTrainedTokenizerFast",
            configs.bert(),
            lambda: bert(
                {
                    "model_max_length": 512,
                    "tokenizer_class": "PreTrainedTokenizerFast",
                    **BERT_NAMES,
                },
                lowercase=False,
                tokens=True,
            ),
        ),
        Family(
            "bert-uncased-unsaid",
            "an uncased BERT whose tokenizer_config.json doesn't say do_lower_case",
            configs.bert(),
            lambda: bert({"model_max_length": 512}, lowercase=True),
        ),
        Family(
            "bert-uncased-vocabulary-alone",
            "an uncased BERT with vocab.txt and no tokenizer.json",
            configs.bert(),
            lambda: bert({"do_lower_case": True}, lowercase=True, json=False),
        ),
        Family(
            "bert-cased-vocabulary-alone",
            "a cased BERT with vocab.txt and no tokenizer.json",
            configs.bert(),
            lambda: bert({"do_lower_case": False}, lowercase=False, json=False),
        ),
        Family(
            "bert-uncased-accents-kept",
            "an uncased BERT that keeps accents (German, French)",
            configs.bert(),
            lambda: bert(
                {**BERT_UNCASED, "strip_accents": False},
                lowercase=True,
                strip_accents=False,
            ),
        ),
        Family(
            "distilbert-uncased",
            "distilbert/distilbert-base-uncased",
            configs.distilbert(architectures=["DistilBertForMaskedLM"]),
            lambda: bert(
                {"do_lower_case": True, "model_max_length": 512}, lowercase=True
            ),
        ),
        Family(
            "distilbert-multilingual-cased",
            "distilbert/distilbert-base-multilingual-cased",
            configs.distilbert(architectures=["DistilBertForMaskedLM"]),
            lambda: bert(
                {"do_lower_case": False, "model_max_length": 512}, lowercase=False
            ),
        ),
        Family(
            "electra",
            "google/electra-base-discriminator",
            configs.electra(),
            lambda: bert(
                {"do_lower_case": True, "model_max_length": 512}, lowercase=True
            ),
        ),
        Family(
            "mpnet",
            "microsoft/mpnet-base",
            configs.mpnet(),
            lambda: mpnet({"do_lower_case": True, "model_max_length": 512}),
        ),
        Family(
            "modernbert",
            "answerdotai/ModernBERT-base",
            configs.modernbert(),
            modernbert_tokenizer,
            by={"pooling": "first"},
            parameters={"pooling": "first"},
        ),
        Family(
            "unsup-simcse-bert",
            "princeton-nlp/unsup-simcse-bert-base-uncased",
            configs.bert(),
            lambda: bert(
                {
                    "do_lower_case": True,
                    "model_max_length": 512,
                    "name_or_path": "bert-base-uncased",
                    "special_tokens_map_file": None,
                    "strip_accents": None,
                    "tokenize_chinese_chars": True,
                    **BERT_NAMES,
                },
                lowercase=True,
            ),
            **FIRST,
        ),
        Family(
            "bge-without-modules",
            "BAAI/bge-base-en of August 2023, used by its card with transformers",
            configs.bert(),
            lambda: bert(BERT_UNCASED, lowercase=True),
            **FIRST,
        ),
    ]


MODERNBERT_TOKENS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]


def modernbert_tokenizer():
    """OLMo's vocabulary with BERT's special tokens behind it."""
    whites = [" " * n for n in range(8, 1, -1)]
    return byte_bpe(
        {
            "clean_up_tokenization_spaces": True,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": 8192,
            "tokenizer_class": "PreTrainedTokenizerFast",
            **BERT_NAMES,
        },
        first=["|||IP_ADDRESS|||", "<|padding|>"],
        special=["<|endoftext|>", *MODERNBERT_TOKENS],
        inside=False,
        plain=whites,
        pre=bytes_of(),
        normalizer={"type": "NFC"},
        post=around(["[CLS]"], ["[SEP]"]),
        as_dicts=True,
        slow_files=False,
        changes={
            "[MASK]": {"lstrip": True},
            **{white: {"normalized": True} for white in whites},
        },
    )


# --- RoBERTa and its byte-level BPE -----------------------------------------------------


def roberta_tokenizer(config=None, **settings):
    """RoBERTa's: fairseq's four special tokens first, <mask> last."""
    defaults = {
        "first": ["<s>", "<pad>", "</s>", "<unk>"],
        "special": ["<mask>"],
        "pre": bytes_of(),
        "post": lambda ids: roberta_surround("<s>", "</s>", ids),
        "tokens": False,
        "changes": {"<mask>": {"lstrip": True, "normalized": True}},
    }
    return byte_bpe(config or {"model_max_length": 512}, **defaults | settings)


ROBERTA = {
    "add_prefix_space": False,
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "errors": "replace",
    "mask_token": "<mask>",
    "model_max_length": 512,
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "tokenizer_class": "RobertaTokenizer",
    "trim_offsets": True,
    "unk_token": "<unk>",
}
XLMR_NAMES = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "mask_token": "<mask>",
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
}


def roberta_families():
    return [
        Family(
            "roberta",
            "FacebookAI/roberta-base",
            configs.roberta(architectures=["RobertaForMaskedLM"]),
            roberta_tokenizer,
        ),
        Family(
            "roberta-with-config",
            "a RoBERTa saved by transformers 4",
            configs.roberta(),
            lambda: roberta_tokenizer(ROBERTA),
            **FIRST,
        ),
        Family(
            "roberta-slow-files",
            "a RoBERTa with vocab.json and merges.txt alone",
            configs.roberta(),
            lambda: roberta_tokenizer(json=False),
        ),
        Family(
            "xlm-roberta",
            "FacebookAI/xlm-roberta-base",
            configs.xlm_roberta(architectures=["XLMRobertaForMaskedLM"]),
            lambda: xlm_roberta({"model_max_length": 512}),
        ),
        Family(
            "xlm-roberta-slow-file",
            "an XLM-R with sentencepiece.bpe.model alone",
            configs.xlm_roberta(),
            lambda: xlm_roberta({"model_max_length": 512}, json=False),
        ),
        Family(
            "xlm-roberta-2022",
            "an XLM-R saved by transformers 4.2x",
            configs.xlm_roberta(),
            lambda: xlm_roberta(
                {
                    "model_max_length": 512,
                    "tokenizer_class": "XLMRobertaTokenizer",
                    **XLMR_NAMES,
                },
                normalizer=fold_and_squeeze(),
                pre=one_mark(),
            ),
        ),
        Family(
            "camembert",
            "almanach/camembert-base",
            configs.camembert(architectures=["CamembertForMaskedLM"]),
            camembert_tokenizer,
        ),
        Family(
            "camembert-saved",
            "dangvantuan/sentence-camembert-base (as a plain encoder)",
            configs.camembert(),
            lambda: camembert_tokenizer(
                {
                    "additional_special_tokens": ["<s>NOTUSED", "</s>NOTUSED"],
                    "model_max_length": 512,
                    "tokenizer_class": "CamembertTokenizer",
                    **XLMR_NAMES,
                }
            ),
        ),
    ]


def camembert_tokenizer(config=None):
    """CamemBERT's: XLM-R's kind, with two tokens that aren't used."""
    first = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"]
    return unigram(
        config or {"model_max_length": 512},
        first=[*first, "<s>", "</s>"],
        last=["<mask>"],
        unknown="<unk>",
        pre=words_marked(),
        post=lambda ids: roberta_surround("<s>", "</s>", ids, prefix=True),
        slow="sentencepiece.bpe.model",
        slow_first=["<unk>", "<s>", "</s>"],
        special=[
            "<s>NOTUSED",
            "<pad>",
            "</s>NOTUSED",
            "<unk>",
            "<s>",
            "</s>",
            "<mask>",
        ],
        changes={"<mask>": {"lstrip": True}},
    )


# --- T5, DeBERTa, ALBERT, XLNet, CLIP ---------------------------------------------------

T5_NAMES = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
DEBERTA = {"do_lower_case": False, "vocab_type": "spm"}
DEBERTA_SAVED = {
    "bos_token": "[CLS]",
    "clean_up_tokenization_spaces": True,
    "do_lower_case": False,
    "eos_token": "[SEP]",
    "model_max_length": 512,
    "sp_model_kwargs": {},
    "split_by_punct": False,
    "tokenizer_class": "DebertaV2Tokenizer",
    "vocab_type": "spm",
    **BERT_NAMES,
}


def other_families():
    return [
        Family(
            "t5",
            "google-t5/t5-base",
            configs.t5(architectures=["T5ForConditionalGeneration"]),
            lambda: t5({"model_max_length": 512}),
        ),
        Family(
            "t5-encoder",
            "a T5EncoderModel as transformers 5 saves it",
            configs.t5(),
            lambda: t5(
                {
                    "additional_special_tokens": [
                        f"<extra_id_{n}>" for n in range(100)
                    ],
                    "extra_ids": 100,
                    "model_max_length": 512,
                    "tokenizer_class": "T5Tokenizer",
                    **T5_NAMES,
                }
            ),
        ),
        Family(
            "t5-v1.1",
            "google/t5-v1_1-base (spiece.model alone)",
            configs.t5(
                architectures=["T5ForConditionalGeneration"],
                feed_forward_proj="gated-gelu",
                tie_word_embeddings=False,
            ),
            lambda: t5({"model_max_length": 512}, json=False),
        ),
        Family(
            "flan-t5",
            "google/flan-t5-base",
            configs.t5(
                architectures=["T5ForConditionalGeneration"],
                feed_forward_proj="gated-gelu",
                tie_word_embeddings=False,
            ),
            lambda: t5(
                {
                    "additional_special_tokens": [
                        f"<extra_id_{n}>" for n in range(100)
                    ],
                    "extra_ids": 100,
                    "model_max_length": 512,
                    "name_or_path": "google/t5-v1_1-base",
                    "sp_model_kwargs": {},
                    "tokenizer_class": "T5Tokenizer",
                    **T5_NAMES,
                },
                normalizer=fold(),
                pre=words_marked(),
            ),
        ),
        Family(
            "mt5",
            "google/mt5-base with a tokenizer.json",
            configs.t5(
                architectures=["MT5ForConditionalGeneration"],
                feed_forward_proj="gated-gelu",
                model_type="mt5",
                tie_word_embeddings=False,
                tokenizer_class="T5Tokenizer",
            ),
            lambda: t5(
                {
                    "additional_special_tokens": None,
                    "extra_ids": 0,
                    "model_max_length": NO_LIMIT,
                    "sp_model_kwargs": {},
                    "tokenizer_class": "T5Tokenizer",
                    **T5_NAMES,
                },
                extra_ids=0,
            ),
        ),
        Family(
            "mt5-encoder",
            "an MT5EncoderModel as transformers 5 saves it",
            configs.t5(
                architectures=["MT5EncoderModel"],
                feed_forward_proj="gated-gelu",
                model_type="mt5",
                tie_word_embeddings=False,
                tokenizer_class="T5Tokenizer",
            ),
            lambda: t5(
                {
                    "extra_ids": 0,
                    "model_max_length": NO_LIMIT,
                    "tokenizer_class": "T5Tokenizer",
                    **T5_NAMES,
                },
                extra_ids=0,
            ),
        ),
        Family(
            "deberta-v3",
            "a DeBERTa-v3 with tokenizer.json (fine-tuned and saved by transformers 4)",
            configs.deberta_v3(),
            lambda: deberta_v3(DEBERTA_SAVED, json=True),
        ),
        Family(
            "deberta-v3-slow-file",
            "microsoft/deberta-v3-base (spm.model alone)",
            configs.deberta_v3(),
            lambda: deberta_v3(DEBERTA, json=False),
        ),
        Family(
            "albert",
            "albert/albert-base-v2",
            configs.albert(architectures=["AlbertForMaskedLM"]),
            lambda: albert_tokenizer({"model_max_length": 512}),
        ),
        Family(
            "albert-saved",
            "sentence-transformers/paraphrase-albert-small-v2 (as a plain encoder)",
            configs.albert(),
            lambda: albert_tokenizer(
                {
                    "bos_token": "[CLS]",
                    "cls_token": "[CLS]",
                    "do_lower_case": True,
                    "eos_token": "[SEP]",
                    "keep_accents": False,
                    "mask_token": "[MASK]",
                    "model_max_length": 512,
                    "pad_token": "<pad>",
                    "remove_space": True,
                    "sep_token": "[SEP]",
                    "tokenizer_class": "AlbertTokenizer",
                    "unk_token": "<unk>",
                }
            ),
        ),
        Family(
            "xlnet",
            "xlnet/xlnet-base-cased",
            configs.xlnet(),
            xlnet_tokenizer,
        ),
        Family(
            "clip-text",
            "openai/clip-vit-base-patch32 (its text model)",
            clip_text_config(),
            lambda: clip(CLIP),
            by={"pooling": "last"},
            parameters={"pooling": "last"},
            weights=named_as_published,
        ),
    ]


def named_as_published(weights):
    """CLIP's weights, whose names begin otherwise where transformers 5 writes them."""
    start = "text_model."
    names = {start + name.removeprefix(start): w.shape for name, w in weights.items()}
    return {name: random_weight(name, shape, "clip") for name, shape in names.items()}


CLIP = {
    "add_prefix_space": False,
    "bos_token": "<|startoftext|>",
    "do_lower_case": True,
    "eos_token": "<|endoftext|>",
    "errors": "replace",
    "model_max_length": 77,
    "name_or_path": "openai/clip-vit-base-patch32",
    "pad_token": "<|endoftext|>",
    "special_tokens_map_file": "./special_tokens_map.json",
    "tokenizer_class": "CLIPTokenizer",
    "unk_token": "<|endoftext|>",
}


def clip_text_config():
    return {
        "architectures": ["CLIPTextModel"],
        "attention_dropout": 0.0,
        "bos_token_id": Id("<|startoftext|>"),
        "eos_token_id": Id("<|endoftext|>"),
        "hidden_act": "quick_gelu",
        "hidden_size": 32,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": 64,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "pad_token_id": 1,
        "projection_dim": 16,
        "torch_dtype": "float32",
        "vocab_size": None,
    }


def albert_tokenizer(config):
    """ALBERT's: quotes, accents and case folded before the pieces."""
    return unigram(
        config,
        first=["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"],
        unknown="<unk>",
        normalizer=sequence(
            "normalizers",
            replace("``", '"'),
            replace("''", '"'),
            {"type": "NFKD"},
            {"type": "StripAccents"},
            {"type": "Lowercase"},
            fold(),
        ),
        pre=words_marked(),
        post=around(["[CLS]"], ["[SEP]"]),
        slow="spiece.model",
        changes={"[MASK]": {"lstrip": True}},
    )


def xlnet_tokenizer():
    """XLNet's: special tokens behind the text, CLS last."""
    first = [
        "<unk>",
        "<s>",
        "</s>",
        "<cls>",
        "<sep>",
        "<pad>",
        "<mask>",
        "<eod>",
        "<eop>",
    ]
    made = unigram(
        {"model_max_length": NO_LIMIT},
        first=first,
        unknown="<unk>",
        normalizer=sequence(
            "normalizers",
            replace("``", '"'),
            replace("''", '"'),
            {"type": "NFKD"},
            {"type": "StripAccents"},
            fold(),
        ),
        pre=words_marked(),
        post=around([], ["<sep>", "<cls>"]),
        slow="spiece.model",
        changes={"<mask>": {"lstrip": True}},
    )
    return made


def families():
    return [*bert_families(), *roberta_families(), *other_families()]
