"""Models made for embeddings, with sentence-transformers' files around them."""

import parity_configs as configs
from parity_configs import Id
from parity_decoders import (
    BOS,
    GEMMA,
    LLAMA3,
    MISTRAL,
    NO_LIMIT,
    QWEN,
    llama3,
    qwen,
)
from parity_encoders import (
    BERT_NAMES,
    BERT_UNCASED,
    ROBERTA,
    T5_NAMES,
    XLMR_NAMES,
    albert_tokenizer,
    camembert_tokenizer,
    modernbert_tokenizer,
    roberta_tokenizer,
)
from parity_family import Family
from parity_modules import NEW, sentence_transformers
from parity_tokenizers import (
    bert,
    byte_bpe,
    bytes_of,
    bytes_then,
    fold_and_squeeze,
    gemma,
    mpnet,
    one_mark,
    sentencepiece_bpe,
    t5,
    xlm_roberta,
)

ENCODE = {"sentence_transformers": True}
UNIT = {"normalize": True}


def encode(**told):
    """sentence-transformers' encode, with a prompt or without."""
    return {"sentence_transformers": True, **told}


def uncased(**changes):
    """An uncased BERT's tokenizer as sentence-transformers' first models have it."""
    return lambda: bert({**BERT_UNCASED, **changes}, lowercase=True)


def around(*modes, **told):
    """sentence-transformers' files, made when the folder is written."""
    return lambda: sentence_transformers(*modes, **told)


# --- sentence-transformers' own ---------------------------------------------------------


def minilm_tokenizer():
    """all-MiniLM's: its tokenizer.json cuts at 128 tokens and pads."""
    made = uncased()()
    made["tokenizer.json"]["truncation"] = {
        "direction": "Right",
        "max_length": 128,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    made["tokenizer.json"]["padding"] = {
        "strategy": {"Fixed": 128},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    return made


MPNET = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "do_lower_case": True,
    "eos_token": "</s>",
    "mask_token": "<mask>",
    "model_max_length": 512,
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "tokenizer_class": "MPNetTokenizer",
    "unk_token": "[UNK]",
}
# The multilingual MiniLM was loaded and saved with BERT's class.
MULTILINGUAL_MINILM = {
    "do_lower_case": True,
    "model_max_length": 512,
    "name_or_path": "old_models/paraphrase-multilingual-MiniLM-L12-v2/0_Transformer",
    "special_tokens_map_file": None,
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    **XLMR_NAMES,
}


def multilingual_minilm(**changes):
    """Its tokenizer: XLM-R's pieces beside a BERT, with a unigram.json of old."""
    made = xlm_roberta({**MULTILINGUAL_MINILM, **changes})
    pieces = made["tokenizer.json"]["model"]["vocab"]
    made["unigram.json"] = {"unk_id": 3, "vocab": pieces}
    return made


def first_models():
    small = 16  # so that the limit is seen in the vectors of the probe texts
    return [
        Family(
            "all-MiniLM-L6-v2",
            "sentence-transformers/all-MiniLM-L6-v2",
            configs.bert(),
            minilm_tokenizer,
            around("mean", max_seq_length=256),
            ENCODE,
            UNIT,
        ),
        Family(
            "all-mpnet-base-v2",
            "sentence-transformers/all-mpnet-base-v2",
            configs.mpnet(),
            lambda: mpnet(MPNET),
            around("mean", max_seq_length=384),
            ENCODE,
            UNIT,
        ),
        Family(
            "all-distilroberta-v1",
            "sentence-transformers/all-distilroberta-v1",
            configs.roberta(architectures=["RobertaForMaskedLM"]),
            lambda: roberta_tokenizer(ROBERTA),
            around("mean", max_seq_length=512),
            ENCODE,
            UNIT,
        ),
        Family(
            "paraphrase-MiniLM-L6-v2",
            "sentence-transformers/paraphrase-MiniLM-L6-v2",
            configs.bert(),
            uncased(),
            around("mean", max_seq_length=128, normalize=False),
            ENCODE,
        ),
        Family(
            "paraphrase-multilingual-MiniLM-old",
            "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2 of 2021",
            configs.bert(),
            multilingual_minilm,
            around("mean", max_seq_length=128, normalize=False),
            ENCODE,
        ),
        Family(
            "paraphrase-multilingual-MiniLM",
            "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
            configs.bert(),
            lambda: multilingual_minilm(tokenizer_class="PreTrainedTokenizerFast"),
            around("mean", max_seq_length=128, normalize=False),
            ENCODE,
        ),
        Family(
            "paraphrase-multilingual-mpnet",
            "sentence-transformers/paraphrase-multilingual-mpnet-base-v2",
            configs.xlm_roberta(),
            lambda: xlm_roberta(
                {
                    "model_max_length": 512,
                    "tokenizer_class": "XLMRobertaTokenizer",
                    **XLMR_NAMES,
                }
            ),
            around("mean", max_seq_length=128, normalize=False),
            ENCODE,
        ),
        Family(
            "distiluse-multilingual",
            "sentence-transformers/distiluse-base-multilingual-cased-v2",
            configs.distilbert(),
            lambda: bert(
                {
                    "do_lower_case": False,
                    "model_max_length": 512,
                    "strip_accents": None,
                    "tokenize_chinese_chars": True,
                    "tokenizer_class": "DistilBertTokenizer",
                    **BERT_NAMES,
                },
                lowercase=False,
            ),
            around("mean", max_seq_length=128, normalize=False, dense=[{"out": 24}]),
            ENCODE,
        ),
        Family(
            "labse",
            "sentence-transformers/LaBSE",
            configs.bert(),
            lambda: bert(
                {
                    "do_lower_case": False,
                    "full_tokenizer_file": None,
                    "model_max_length": 512,
                    "strip_accents": None,
                    "tokenize_chinese_chars": True,
                    "tokenizer_class": "BertTokenizer",
                    **BERT_NAMES,
                },
                lowercase=False,
            ),
            around("cls", max_seq_length=256, dense=[{"out": 32}]),
            ENCODE,
            UNIT,
        ),
        Family(
            "multi-qa-mpnet-dot",
            "sentence-transformers/multi-qa-mpnet-base-dot-v1",
            configs.mpnet(),
            lambda: mpnet(MPNET),
            around("cls", max_seq_length=512, normalize=False),
            ENCODE,
        ),
        Family(
            "stsb-roberta",
            "sentence-transformers/stsb-roberta-base (sentence_roberta_config.json)",
            configs.roberta(),
            lambda: roberta_tokenizer(ROBERTA),
            around(
                "mean",
                max_seq_length=small,
                normalize=False,
                settings_file="sentence_roberta_config.json",
            ),
            ENCODE,
        ),
        Family(
            "msmarco-distilbert",
            "sentence-transformers/msmarco-distilbert-base-v2 (old settings file)",
            configs.distilbert(),
            lambda: bert(
                {
                    "do_lower_case": True,
                    "model_max_length": 512,
                    "tokenizer_class": "DistilBertTokenizer",
                    **BERT_NAMES,
                },
                lowercase=True,
            ),
            around(
                "mean",
                max_seq_length=small,
                normalize=False,
                settings_file="sentence_distilbert_config.json",
            ),
            ENCODE,
        ),
        Family(
            "sentence-camembert",
            "dangvantuan/sentence-camembert-base (sentence_camembert_config.json)",
            configs.camembert(),
            lambda: camembert_tokenizer(
                {
                    "additional_special_tokens": ["<s>NOTUSED", "</s>NOTUSED"],
                    "model_max_length": 512,
                    "tokenizer_class": "CamembertTokenizer",
                    **XLMR_NAMES,
                }
            ),
            around(
                "mean",
                max_seq_length=small,
                normalize=False,
                settings_file="sentence_camembert_config.json",
            ),
            ENCODE,
        ),
        Family(
            "paraphrase-albert",
            "sentence-transformers/paraphrase-albert-small-v2 (sentence_albert_config)",
            configs.albert(),
            lambda: albert_tokenizer(
                {
                    "bos_token": "[CLS]",
                    "do_lower_case": True,
                    "eos_token": "[SEP]",
                    "keep_accents": False,
                    "model_max_length": 512,
                    "remove_space": True,
                    "tokenizer_class": "AlbertTokenizer",
                    **BERT_NAMES,
                    "pad_token": "<pad>",
                    "unk_token": "<unk>",
                }
            ),
            around(
                "mean",
                max_seq_length=small,
                normalize=False,
                settings_file="sentence_albert_config.json",
            ),
            ENCODE,
        ),
        Family(
            "xlm-r-old-settings",
            "sentence-transformers/xlm-r-distilroberta-base-paraphrase-v1 "
            "(sentence_xlm-roberta_config.json)",
            configs.xlm_roberta(),
            lambda: xlm_roberta(
                {
                    "model_max_length": 512,
                    "tokenizer_class": "XLMRobertaTokenizer",
                    **XLMR_NAMES,
                }
            ),
            around(
                "mean",
                max_seq_length=small,
                normalize=False,
                settings_file="sentence_xlm-roberta_config.json",
            ),
            ENCODE,
        ),
        Family(
            "lowercase-by-settings",
            "a cased BERT whose sentence_bert_config.json says do_lower_case",
            configs.bert(),
            lambda: bert({**BERT_UNCASED, "do_lower_case": False}, lowercase=False),
            around("mean", lowercase=True, normalize=False),
            ENCODE,
        ),
        Family(
            "limit-above-tokenizer",
            "a folder whose max_seq_length is above model_max_length",
            configs.bert(),
            uncased(model_max_length=small),
            around("mean", max_seq_length=64, normalize=False),
            ENCODE,
        ),
        Family(
            "limit-unsaid",
            "a folder without sentence_bert_config.json",
            configs.bert(max_position_embeddings=64),
            uncased(model_max_length=NO_LIMIT),
            around("mean", settings_file=None, normalize=False),
            ENCODE,
        ),
        Family(
            "saved-by-sentence-transformers-6",
            "a MiniLM saved by sentence-transformers 6",
            configs.bert(),
            uncased(tokenizer_class="BertTokenizer"),
            saved_by_6,
            ENCODE,
            UNIT,
            newer=True,
        ),
        Family(
            "sqrt-len-pooling",
            "a folder that pools by mean_sqrt_len",
            configs.bert(),
            uncased(),
            around("mean_sqrt_len", normalize=False),
            ENCODE,
            refused="mean_sqrt_len",
        ),
        Family(
            "two-poolings",
            "a folder that concatenates CLS and mean",
            configs.bert(),
            uncased(),
            around("cls", "mean", normalize=False),
            ENCODE,
            refused="mean + cls",
        ),
        Family(
            "sgpt",
            "Muennighoff/SGPT-125M-weightedmean-nli-bitfit",
            gpt_neo_config(),
            lambda: byte_bpe(
                {
                    "add_prefix_space": False,
                    "bos_token": "<|endoftext|>",
                    "eos_token": "<|endoftext|>",
                    "errors": "replace",
                    "model_max_length": 2048,
                    "name_or_path": "EleutherAI/gpt-neo-125M",
                    "pad_token": "<|endoftext|>",
                    "tokenizer_class": "GPT2Tokenizer",
                    "unk_token": "<|endoftext|>",
                },
                pre=bytes_of(),
                special=["<|endoftext|>"],
                tokens=False,
            ),
            around("weightedmean", max_seq_length=75, normalize=False),
            ENCODE,
        ),
    ]


def gpt_neo_config():
    return {
        "activation_function": "gelu_new",
        "architectures": ["GPTNeoModel"],
        "attention_dropout": 0,
        "attention_layers": ["global", "local", "global"],
        "attention_types": [[["global", "local"], 1], [["global"], 1]],
        "bos_token_id": Id("<|endoftext|>"),
        "embed_dropout": 0,
        "eos_token_id": Id("<|endoftext|>"),
        "hidden_size": 32,
        "initializer_range": 0.02,
        "intermediate_size": None,
        "layer_norm_epsilon": 1e-05,
        "max_position_embeddings": 2048,
        "model_type": "gpt_neo",
        "num_heads": 4,
        "num_layers": 3,
        "resid_dropout": 0,
        "vocab_size": None,
        "window_size": 16,
    }


def saved_by_6():
    """Its files, as sentence-transformers 6 writes them."""
    made = sentence_transformers(
        "mean",
        types=NEW,
        settings_file=None,
        version="6.2.0",
        prompts={"query": "", "document": ""},
        similarity_fn_name="cosine",
        model_type="SentenceTransformer",
    )
    made["1_Pooling/config.json"] = {
        "embedding_dimension": 32,
        "pooling_mode": "mean",
        "include_prompt": True,
    }
    made["sentence_bert_config.json"] = {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": {"method": "forward", "method_output_name": "last_hidden_state"}
        },
        "module_output_name": "token_embeddings",
    }
    return made


# --- T5 ---------------------------------------------------------------------------------


def t5_tokenizer(**changes):
    """T5's, as saved by transformers 4."""
    return lambda: t5(
        {
            "additional_special_tokens": [f"<extra_id_{n}>" for n in range(100)],
            "extra_ids": 100,
            "model_max_length": 512,
            "name_or_path": "models/sentence-t5-base",
            "special_tokens_map_file": None,
            "tokenizer_class": "T5Tokenizer",
            **T5_NAMES,
            **changes,
        }
    )


T5_DENSE = {"out": 24, "bias": False, "activation": "Identity"}


def t5_models():
    return [
        Family(
            "sentence-t5",
            "sentence-transformers/sentence-t5-base",
            configs.t5(feed_forward_proj="relu"),
            t5_tokenizer(),
            around("mean", max_seq_length=256, dense=[T5_DENSE]),
            ENCODE,
            UNIT,
        ),
        Family(
            "gtr-t5",
            "sentence-transformers/gtr-t5-base",
            configs.t5(feed_forward_proj="relu"),
            t5_tokenizer(),
            around(
                "mean", max_seq_length=512, dense=[{**T5_DENSE, "dtype": "float16"}]
            ),
            ENCODE,
            UNIT,
        ),
        Family(
            "instructor",
            "hkunlp/instructor-base",
            configs.t5(feed_forward_proj="relu"),
            t5_tokenizer(),
            around("mean", max_seq_length=512, dense=[T5_DENSE]),
            encode(prompt=INSTRUCTION, include_prompt=False),
            # Its folder doesn't say that the instruction is left out.
            {**UNIT, "template": INSTRUCTION + "{text}", "prompt_counts": False},
        ),
        Family(
            "mt5-sentence",
            "an MT5EncoderModel with sentence-transformers' files",
            configs.t5(
                architectures=["MT5EncoderModel"],
                feed_forward_proj="gated-gelu",
                model_type="mt5",
                tie_word_embeddings=False,
            ),
            lambda: t5(
                {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, **T5_NAMES},
                extra_ids=0,
            ),
            around(
                "mean", max_seq_length=128, dense=[{**T5_DENSE, "dtype": "bfloat16"}]
            ),
            ENCODE,
            UNIT,
        ),
    ]


INSTRUCTION = "Represent the Science sentence: "

# --- encoders of 2023 to 2025 -----------------------------------------------------------

BGE_QUERY = "Represent this sentence for searching relevant passages: "
XLMR = {
    "clean_up_tokenization_spaces": True,
    "model_max_length": 512,
    "tokenizer_class": "XLMRobertaTokenizer",
    **XLMR_NAMES,
}


def xlmr_2023(**changes):
    """XLM-R's tokenizer as saved from 2022 on."""
    return lambda: xlm_roberta(
        {**XLMR, **changes},
        normalizer=fold_and_squeeze(),
        pre=one_mark(),
        tokens=True,
    )


def encoder_models():
    return [
        Family(
            "e5-base-v2",
            "intfloat/e5-base-v2",
            configs.bert(),
            uncased(),
            around("mean"),
            encode(prompt="query: "),
            {**UNIT, "template": "query: {text}"},
        ),
        Family(
            "multilingual-e5-small",
            "intfloat/multilingual-e5-small (a BERT with XLM-R's tokenizer)",
            configs.bert(tokenizer_class="XLMRobertaTokenizer"),
            xlmr_2023(),
            around("mean"),
            encode(prompt="passage: "),
            {**UNIT, "template": "passage: {text}"},
        ),
        Family(
            "multilingual-e5-base",
            "intfloat/multilingual-e5-base",
            configs.xlm_roberta(),
            xlmr_2023(),
            around("mean"),
            encode(prompt="query: "),
            {**UNIT, "template": "query: {text}"},
        ),
        Family(
            "multilingual-e5-instruct",
            "intfloat/multilingual-e5-large-instruct",
            configs.xlm_roberta(),
            xlmr_2023(),
            around("mean"),
            encode(prompt=E5_INSTRUCT),
            {**UNIT, "template": E5_INSTRUCT + "{text}"},
        ),
        Family(
            "bge-small-en-v1.5",
            "BAAI/bge-small-en-v1.5",
            configs.bert(),
            uncased(),
            around("cls"),
            encode(prompt=BGE_QUERY),
            {**UNIT, "template": BGE_QUERY + "{text}"},
        ),
        Family(
            "bge-m3",
            "BAAI/bge-m3",
            configs.xlm_roberta(max_position_embeddings=8194),
            xlmr_2023(model_max_length=8192, sp_model_kwargs={}),
            around("cls", max_seq_length=8192),
            ENCODE,
            {**UNIT, "max_length": 8192},
        ),
        Family(
            "bge-m3-beyond-positions",
            "a bge-m3 whose limits are above its positions",
            configs.xlm_roberta(max_position_embeddings=130),
            xlmr_2023(model_max_length=8192),
            around("cls", max_seq_length=128),
            ENCODE,
            UNIT,
        ),
        Family(
            "gte-base",
            "thenlper/gte-base",
            configs.bert(),
            uncased(model_max_length=NO_LIMIT),
            around("mean"),
            ENCODE,
            UNIT,
        ),
        Family(
            "mxbai-embed-large",
            "mixedbread-ai/mxbai-embed-large-v1",
            configs.bert(),
            uncased(),
            around(
                "cls",
                normalize=False,
                include_prompt=True,
                prompts={"query": BGE_QUERY, "passage": ""},
            ),
            encode(prompt_name="query"),
            {"template": BGE_QUERY + "{text}"},
        ),
        Family(
            "arctic-embed-m",
            "Snowflake/snowflake-arctic-embed-m",
            configs.bert(),
            uncased(),
            around("cls", include_prompt=True, prompts={"query": BGE_QUERY}),
            encode(prompt_name="query"),
            {**UNIT, "template": BGE_QUERY + "{text}"},
        ),
        Family(
            "arctic-embed-l-v2",
            "Snowflake/snowflake-arctic-embed-l-v2.0",
            configs.xlm_roberta(max_position_embeddings=8194),
            xlmr_2023(model_max_length=8192),
            around(
                "cls",
                max_seq_length=8192,
                include_prompt=True,
                prompts={"query": "query: "},
                similarity_fn_name="cosine",
            ),
            encode(prompt_name="query"),
            {**UNIT, "max_length": 8192, "template": "query: {text}"},
        ),
        Family(
            "stella-base-v2",
            "infgrad/stella-base-en-v2",
            configs.bert(),
            uncased(),
            around(
                "mean", normalize=False, dense=[{"out": 24, "activation": "Identity"}]
            ),
            ENCODE,
        ),
        Family(
            "default-prompt",
            "a folder with a default prompt that counts",
            configs.bert(),
            uncased(),
            around(
                "mean",
                include_prompt=True,
                prompts={"query": "search query: ", "document": "a passage: "},
                default="query",
            ),
            ENCODE,
            UNIT,
        ),
        Family(
            "default-prompt-left-out",
            "a BERT folder with a default prompt and include_prompt false",
            configs.bert(),
            uncased(),
            around(
                "mean",
                include_prompt=False,
                prompts={"query": "search query: "},
                default="query",
            ),
            ENCODE,
            UNIT,
        ),
        Family(
            "prompt-left-out-cls",
            "a BERT folder with CLS pooling and include_prompt false",
            configs.bert(),
            uncased(),
            around(
                "cls",
                include_prompt=False,
                prompts={"query": "search query: "},
                default="query",
            ),
            ENCODE,
            UNIT,
        ),
        Family(
            "prompt-left-out-xlm-r",
            "an XLM-R folder with include_prompt false",
            configs.xlm_roberta(),
            xlmr_2023(),
            around(
                "mean",
                include_prompt=False,
                prompts={"query": "search query: "},
                default="query",
            ),
            ENCODE,
            UNIT,
        ),
        Family(
            "matryoshka",
            "tomaarsen/mpnet-base-nli-matryoshka with truncate_dim in its settings",
            configs.mpnet(),
            lambda: mpnet(MPNET),
            around("mean", normalize=False, truncate_dim=16),
            ENCODE,
            newer=True,
        ),
        Family(
            "matryoshka-by-parameter",
            "mixedbread-ai/mxbai-embed-large-v1 at 16 features",
            configs.bert(),
            uncased(),
            around("cls", normalize=False),
            encode(truncate_dim=16, normalize=True),
            {"truncate_dim": 16, "normalize": True},
        ),
        Family(
            "gte-modernbert",
            "Alibaba-NLP/gte-modernbert-base",
            configs.modernbert(architectures=["ModernBertModel"]),
            modernbert_tokenizer,
            around("cls", max_seq_length=8192, normalize=False),
            ENCODE,
            {"max_length": 8192},
        ),
        Family(
            "modernbert-embed",
            "nomic-ai/modernbert-embed-base",
            configs.modernbert(),
            modernbert_tokenizer,
            around("mean", max_seq_length=8192, include_prompt=True),
            encode(prompt="search_query: "),
            {**UNIT, "max_length": 8192, "template": "search_query: {text}"},
        ),
        Family(
            "granite-embedding",
            "ibm-granite/granite-embedding-125m-english",
            configs.roberta(),
            lambda: roberta_tokenizer(ROBERTA),
            around("cls", normalize=True),
            ENCODE,
            UNIT,
        ),
        Family(
            "roberta-few-positions",
            "a RoBERTa with 66 positions and no other limit",
            configs.roberta(max_position_embeddings=66),
            lambda: roberta_tokenizer({**ROBERTA, "model_max_length": 64}),
            around("mean", settings_file=None, normalize=False),
            ENCODE,
        ),
        Family(
            "clip-multilingual",
            "sentence-transformers/clip-ViT-B-32-multilingual-v1",
            configs.distilbert(),
            lambda: bert(
                {
                    "do_lower_case": False,
                    "model_max_length": 512,
                    "tokenizer_class": "DistilBertTokenizer",
                    **BERT_NAMES,
                },
                lowercase=False,
            ),
            around(
                "mean",
                max_seq_length=128,
                normalize=False,
                dense=[{"out": 24, "bias": False, "activation": "Identity"}],
            ),
            ENCODE,
        ),
    ]


E5_INSTRUCT = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the "
    "query\nQuery: "
)

# --- decoders for embeddings ------------------------------------------------------------

E5_MISTRAL = {
    **MISTRAL,
    "add_eos_token": True,
    "pad_token": "</s>",
}


def mistral_with_eos(**changes):
    """e5-mistral's tokenizer: the flag adds </s>, its tokenizer.json doesn't."""
    return lambda: sentencepiece_bpe(
        {**E5_MISTRAL, **changes}, post=BOS, as_dicts=False
    )


QWEN_EMBEDDING = {
    **QWEN,
    "add_bos_token": False,
    "eos_token": "<|im_end|>",
    "extra_special_tokens": {},
    "model_max_length": 131072,
}
END = "<|endoftext|>"
EMBEDDING_GEMMA_PROMPTS = {
    "query": "task: search result | query: ",
    "document": "title: none | text: ",
    "BitextMining": "task: search result | query: ",
    "Clustering": "task: clustering | query: ",
    "Classification": "task: classification | query: ",
    "STS": "task: sentence similarity | query: ",
}


def decoder_models():
    return [
        Family(
            "e5-mistral",
            "intfloat/e5-mistral-7b-instruct",
            configs.mistral(pad_token_id=2),
            mistral_with_eos(),
            around(
                "lasttoken",
                max_seq_length=4096,
                prompts={"web_search_query": E5_INSTRUCT},
            ),
            encode(prompt_name="web_search_query"),
            {**UNIT, "max_length": 4096, "template": E5_INSTRUCT + "{text}"},
        ),
        Family(
            "sfr-embedding-mistral",
            "Salesforce/SFR-Embedding-Mistral",
            configs.mistral(architectures=["MistralModel"], pad_token_id=2),
            mistral_with_eos(padding_side="left"),
            around("lasttoken", max_seq_length=4096),
            ENCODE,
            {**UNIT, "max_length": 4096},
        ),
        Family(
            "linq-embed-mistral",
            "Linq-AI-Research/Linq-Embed-Mistral",
            configs.mistral(architectures=["MistralModel"], pad_token_id=2),
            mistral_with_eos(
                additional_special_tokens=["</s>"], model_input_names=["input_ids"]
            ),
            around("lasttoken", max_seq_length=4096, include_prompt=True),
            encode(prompt=E5_INSTRUCT),
            {**UNIT, "max_length": 4096, "template": E5_INSTRUCT + "{text}"},
        ),
        Family(
            "bge-en-icl",
            "BAAI/bge-en-icl",
            configs.mistral(architectures=["MistralModel"]),
            mistral_with_eos(pad_token="<unk>"),
            around(
                "lasttoken",
                max_seq_length=32768,
                include_prompt=True,
                prompts={"query": "<instruct>Find passages.\n<query>"},
            ),
            encode(prompt_name="query"),
            {
                **UNIT,
                "max_length": 32768,
                "template": "<instruct>Find passages.\n<query>{text}",
            },
        ),
        Family(
            "bge-multilingual-gemma2",
            "BAAI/bge-multilingual-gemma2",
            configs.gemma2(architectures=["Gemma2Model"]),
            lambda: gemma({**GEMMA, "add_eos_token": True, "padding_side": "left"}),
            around(
                "lasttoken",
                max_seq_length=8192,
                include_prompt=True,
                prompts={"web_search_query": "<instruct>Find passages.\n<query>"},
            ),
            encode(
                prompt_name="web_search_query",
                options={"attn_implementation": "eager"},
            ),
            {
                **UNIT,
                "max_length": 8192,
                "template": "<instruct>Find passages.\n<query>{text}",
            },
        ),
        Family(
            "qwen3-embedding",
            "Qwen/Qwen3-Embedding-0.6B",
            configs.qwen3(),
            lambda: qwen(QWEN_EMBEDDING, post=bytes_then([], [END]), plain=["<think>"]),
            around(
                "lasttoken",
                settings_file=None,
                include_prompt=True,
                prompts={"query": E5_INSTRUCT.rstrip(), "document": ""},
                similarity_fn_name="cosine",
            ),
            encode(prompt_name="query"),
            {**UNIT, "max_length": 32768, "template": E5_INSTRUCT.rstrip() + "{text}"},
        ),
        Family(
            "qwen3-embedding-documents",
            "Qwen/Qwen3-Embedding-0.6B, without a prompt",
            configs.qwen3(),
            lambda: qwen(QWEN_EMBEDDING, post=bytes_then([], [END]), plain=["<think>"]),
            around(
                "lasttoken",
                settings_file=None,
                include_prompt=True,
                prompts={"query": E5_INSTRUCT.rstrip(), "document": ""},
            ),
            ENCODE,
            {**UNIT, "max_length": 32768},
        ),
        Family(
            "gte-qwen2-flags",
            "Alibaba-NLP/gte-Qwen2-1.5B-instruct (add_eos_token by its own class)",
            configs.qwen2(
                auto_map={
                    "AutoModel": "modeling_qwen.Qwen2Model",
                    "AutoModelForCausalLM": "modeling_qwen.Qwen2ForCausalLM",
                }
            ),
            lambda: qwen(GTE_QWEN),
            lambda: (
                sentence_transformers("lasttoken", max_seq_length=8192) | GTE_QWEN_CODE
            ),
            ENCODE,
            {**UNIT, "max_length": 8192, "attention": "bidirectional"},
            remote_code=True,
        ),
        Family(
            "gte-qwen2-not-causal",
            "a gte-Qwen2 whose config.json says is_causal false",
            configs.qwen2(is_causal=False),
            lambda: qwen(post=bytes_then([], [END])),
            around("lasttoken", max_seq_length=8192),
            encode(bidirectional=True),
            {**UNIT, "max_length": 8192},
        ),
        Family(
            "kalm-embedding",
            "HIT-TMG/KaLM-embedding-multilingual-mini-instruct-v1.5",
            configs.qwen2(architectures=["Qwen2Model"]),
            lambda: qwen({**QWEN, "model_max_length": 512}),
            around("mean", max_seq_length=512, include_prompt=True),
            ENCODE,
            UNIT,
        ),
        Family(
            "stella-1.5b",
            "NovaSearch/stella_en_1.5B_v5 (with remote code left out: a plain Qwen 2)",
            configs.qwen2(architectures=["Qwen2Model"]),
            lambda: qwen(post=bytes_then([], [END])),
            around(
                "mean",
                normalize=False,
                include_prompt=True,
                dense=[{"out": 24, "activation": "Identity"}],
                prompts={"s2p_query": E5_INSTRUCT, "s2s_query": "Instruct: similar.\n"},
            ),
            encode(prompt_name="s2p_query"),
            {"template": E5_INSTRUCT + "{text}"},
        ),
        Family(
            "embedding-gemma",
            "google/embeddinggemma-300m",
            configs.gemma3(
                architectures=["Gemma3TextModel"],
                layer_types=[
                    "sliding_attention",
                    "sliding_attention",
                    "full_attention",
                ],
                use_bidirectional_attention=True,
                max_position_embeddings=2048,
                rope_local_base_freq=10000.0,
            ),
            lambda: gemma(
                {**GEMMA, "add_eos_token": True, "model_max_length": 2048},
                after=["<eos>"],
            ),
            around(
                "mean",
                max_seq_length=2048,
                include_prompt=True,
                dense=[
                    {"out": 64, "bias": False, "activation": "Identity"},
                    {"out": 32, "bias": False, "activation": "Identity"},
                ],
                prompts=EMBEDDING_GEMMA_PROMPTS,
                similarity_fn_name="cosine",
            ),
            encode(prompt_name="query"),
            {
                **UNIT,
                "max_length": 2048,
                "template": EMBEDDING_GEMMA_PROMPTS["query"] + "{text}",
            },
        ),
        Family(
            "embedding-gemma-documents",
            "google/embeddinggemma-300m, documents",
            configs.gemma3(
                architectures=["Gemma3TextModel"],
                layer_types=[
                    "sliding_attention",
                    "sliding_attention",
                    "full_attention",
                ],
                use_bidirectional_attention=True,
                max_position_embeddings=2048,
            ),
            lambda: gemma(
                {**GEMMA, "add_eos_token": True, "model_max_length": 2048},
                after=["<eos>"],
            ),
            around(
                "mean",
                max_seq_length=2048,
                include_prompt=True,
                dense=[
                    {"out": 64, "bias": False, "activation": "Identity"},
                    {"out": 32, "bias": False, "activation": "Identity"},
                ],
                prompts=EMBEDDING_GEMMA_PROMPTS,
            ),
            encode(prompt_name="document"),
            {
                **UNIT,
                "max_length": 2048,
                "template": EMBEDDING_GEMMA_PROMPTS["document"] + "{text}",
            },
        ),
        Family(
            "llama-3-embedder-prompt-left-out",
            "a Llama 3 embedder with mean pooling and include_prompt false",
            configs.llama3(architectures=["LlamaModel"]),
            lambda: llama3({**LLAMA3, "pad_token": "<|end_of_text|>"}),
            around(
                "mean",
                include_prompt=False,
                prompts={"query": "Instruct: find passages.\nQuery: "},
                default="query",
            ),
            ENCODE,
            UNIT,
        ),
        Family(
            "llama-embedder-eos",
            "a Llama 2 embedder with add_eos_token and last-token pooling",
            configs.llama(architectures=["LlamaModel"]),
            lambda: sentencepiece_bpe(
                {**E5_MISTRAL, "legacy": False}, post=BOS, as_dicts=True
            ),
            around("lasttoken", max_seq_length=4096),
            ENCODE,
            {**UNIT, "max_length": 4096},
        ),
        Family(
            "promptriever-like",
            "a Llama 3.1 embedder whose template ends in EOS, weighted mean",
            configs.llama3(
                architectures=["LlamaModel"], rope_scaling=configs.LLAMA31_ROPE
            ),
            lambda: llama3(
                {**LLAMA3, "pad_token": "<|end_of_text|>"},
                post=bytes_then(["<|begin_of_text|>"], ["<|end_of_text|>"]),
            ),
            around("weightedmean", max_seq_length=512, normalize=False),
            ENCODE,
        ),
    ]


GTE_QWEN = {
    **QWEN,
    "add_eos_token": True,
    "auto_map": {
        "AutoTokenizer": [
            "tokenization_qwen.Qwen2Tokenizer",
            "tokenization_qwen.Qwen2TokenizerFast",
        ]
    },
}
# What gte-Qwen2's own files do, in a few lines: an EOS behind each text, and attention to
# all tokens.
GTE_QWEN_CODE = {
    "tokenization_qwen.py": """
from tokenizers import processors
from transformers import Qwen2Tokenizer as Qwen2Tokenizer_
from transformers import Qwen2TokenizerFast as Fast


class Qwen2Tokenizer(Qwen2Tokenizer_):
    pass


class Qwen2TokenizerFast(Fast):
    def __init__(self, *args, add_eos_token=False, **kwargs):
        super().__init__(*args, **kwargs)
        if add_eos_token:
            eos = self.eos_token
            self._tokenizer.post_processor = processors.TemplateProcessing(
                single=f"$A:0 {eos}:0",
                pair=f"$A:0 {eos}:0 $B:1 {eos}:1",
                special_tokens=[(eos, self.eos_token_id)],
            )
""",
    "modeling_qwen.py": """
import torch
from transformers import Qwen2ForCausalLM
from transformers import Qwen2Model as Qwen2Model_


class Qwen2Model(Qwen2Model_):
    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        n = input_ids.shape[1]
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        mask = torch.zeros(len(input_ids), 1, n, n)
        mask = mask.masked_fill(attention_mask[:, None, None] == 0, -3e38)
        return super().forward(input_ids=input_ids, attention_mask=mask, **kwargs)
""",
}


def families():
    return [*first_models(), *t5_models(), *encoder_models(), *decoder_models()]
