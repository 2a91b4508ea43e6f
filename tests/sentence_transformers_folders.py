"""Tiny folders of sentence-transformers whose tokenizers are those of known families."""

import json

from conftest import bert_config, llama_config
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors, trainers

CORPUS = [
    "query: how do I top up my card? passage: a refund of 25 euros is pending",
    "Represent this sentence for retrieval: The small red cat sleeps on the table.",
    "Instruct: Given a question, find passages\nQuery: which bank has a low fee",
    "Paris in 2024, isn't it; 3.14 (pi) and größe, café, naïve",
] * 3
# As Llama 3's tokenizer.json has it.
LLAMA3_WORDS = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def bert_tokenizer():
    """WordPiece in lower case, with [CLS] and [SEP] around."""
    from tokenizers import normalizers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special)
    backend.train_from_iterator(CORPUS, trainer)
    around(backend, "[CLS] $A [SEP]")
    return backend, {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]"}


def xlmr_tokenizer():
    """Unigram as of sentencepiece, with <s> and </s> around."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=special, unk_token="<unk>"
    )
    backend.train_from_iterator(CORPUS, trainer)
    around(backend, "<s> $A </s>")
    return backend, {"cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>"}


def llama3_tokenizer(template="<bos> $A"):
    """BPE of bytes, with a token in front; no word begins with a space of its own."""
    special = ["<bos>", "<eos>"]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(LLAMA3_WORDS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator(CORPUS, trainer)
    around(backend, template)
    return backend, {"bos": "<bos>", "eos": "<eos>", "pad": "<eos>"}


def around(backend, template):
    named = [part for part in template.split() if part != "$A"]
    backend.post_processor = processors.TemplateProcessing(
        single=template,
        special_tokens=[(token, backend.token_to_id(token)) for token in named],
    )


TOKENIZERS = {
    "bert": bert_tokenizer,
    "xlm-r": xlmr_tokenizer,
    "llama-3": llama3_tokenizer,
    "llama-3 with an end": lambda: llama3_tokenizer("<bos> $A <eos>"),
}


def save_base(folder, kind):
    """A model with random weights and the tokenizer of a family."""
    import torch
    import transformers

    backend, tokens = TOKENIZERS[kind]()
    tokens = {f"{name}_token": token for name, token in tokens.items()}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **tokens)
    config = llama_config if kind.startswith("llama") else bert_config
    torch.manual_seed(0)
    network = transformers.AutoModel.from_config(config(vocab_size=len(tokenizer)))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)  # so that layers and tokens really differ
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_declared(folder, kind, *, pooling="mean", include_prompt=True, prompts=None):
    """The folder of `save_base` with the files in which such a model declares itself."""
    save_base(folder, kind)
    declare(folder, pooling=pooling, include_prompt=include_prompt, prompts=prompts)
    return folder


def declare(folder, *, pooling="mean", include_prompt=True, prompts=None, default=None):
    """Write what a folder declares: pooling and prompts."""
    modes = [
        "cls_token",
        "mean_tokens",
        "max_tokens",
        "weightedmean_tokens",
        "lasttoken",
    ]
    chosen = {"mean": 1, "cls": 0, "max": 2, "weightedmean": 3, "lasttoken": 4}[pooling]
    package = "sentence_transformers.models"
    files = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": f"{package}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{package}.Pooling"},
        ],
        "config_sentence_transformers.json": {
            "prompts": prompts or {},
            "default_prompt_name": default,
        },
        "sentence_bert_config.json": {"max_seq_length": 64, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": 32,
            **{f"pooling_mode_{m}": n == chosen for n, m in enumerate(modes)},
            "include_prompt": include_prompt,
        },
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
