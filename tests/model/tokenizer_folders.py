"""Small folders of tokenizers, each in a way of a published family, and their ids.

``python tests/model/tokenizer_folders.py`` prints the ids that the installed transformers
gives; ``tokenizer_ids.json`` holds what 4.57.6 gave (with tokenizers 0.22.2,
sentencepiece 0.2.3 and protobuf 7.36).
"""

import json
import string
import struct
import sys
import tempfile
from pathlib import Path

TEXTS = [
    "Hello  World 12",
    "a big cat ",
    " caf\u00e9 cafe\u0301",
    "\ufb01t \uff21",
    "a\n\u4e2dx",
    "<s>x<mask>y [MASK] z</s>",
]
LETTERS = [
    *string.ascii_letters,
    *string.digits,
    "\u00e9",
    "\u0301",
    "\u4e2d",
    *"<>[]/",
]
MERGES = [("c", "a"), ("ca", "t"), ("b", "i"), ("bi", "g"), ("1", "2"), ("l", "l")]
SPACE = "\u2581"
LLAMA = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
GPT2_SPLIT = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}


def written(folder, settings=None, model_type="llama", **files):
    """Write a folder's small files; names have "__" for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"config__json": {"model_type": model_type}, **files}
    if settings is not None:
        contents["tokenizer_config__json"] = settings
    for name, content in contents.items():
        if not isinstance(content, bytes):
            content = content if isinstance(content, str) else json.dumps(content)
            content = content.encode()
        (folder / name.replace("__", ".")).write_bytes(content)


def tokenizer_json(model, special, **parts):
    """The content of a ``tokenizer.json``; the special tokens have the first ids."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(token, place) for place, token in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": model,
        **parts,
    }


def added(content, place, **flags):
    return {
        "id": place,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
        **flags,
    }


def places(tokens):
    return {token: place for place, token in enumerate(dict.fromkeys(tokens))}


def around(single, *tokens):
    """A template; tokens are pairs of a token and its id."""
    parts = [
        {"Sequence": {"id": "A", "type_id": 0}}
        if part == "$A"
        else {"SpecialToken": {"id": part, "type_id": 0}}
        for part in single.split()
    ]
    return {
        "type": "TemplateProcessing",
        "single": parts,
        "pair": [*parts, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            token: {"id": token, "ids": [place], "tokens": [token]}
            for token, place in tokens
        },
    }


# --- pieces with a mark for the space, as SentencePiece's ------------------------------

PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), SPACE]
PIECES += [*LETTERS, *(a + b for a, b in MERGES), SPACE * 2]


def llama(post="<s> $A", legacy=True, **parts):
    if legacy:
        replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
        prepend = {"type": "Prepend", "prepend": SPACE}
        parts = {
            "normalizer": {"type": "Sequence", "normalizers": [prepend, replace]},
            **parts,
        }
    else:
        parts["pre_tokenizer"] = {
            "type": "Metaspace",
            "replacement": SPACE,
            "prepend_scheme": "first",
            "split": False,
        }
    model = {
        "type": "BPE",
        "unk_token": "<unk>",
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": places(PIECES),
        "merges": [*MERGES, (SPACE, SPACE)],
    }
    parts.setdefault("post_processor", around(post, ("<s>", 1), ("</s>", 2)))
    return tokenizer_json(model, PIECES[:3], **parts)


def unigram(special=("<s>", "<pad>", "</s>", "<unk>"), last=("<mask>",), **parts):
    pieces = [SPACE, *LETTERS, SPACE + "ca", "t", "big", "fi", "A"]
    vocab = [[piece, 0.0] for piece in special]
    vocab += [[piece, -2.0 - n / 100] for n, piece in enumerate(dict.fromkeys(pieces))]
    vocab += [[piece, 0.0] for piece in last]
    unk = next(n for n, piece in enumerate(special) if "unk" in piece.lower())
    made = tokenizer_json({"type": "Unigram", "unk_id": unk, "vocab": vocab}, special)
    if last:
        made["added_tokens"].append(added(last[0], len(vocab) - 1, lstrip=True))
    made["pre_tokenizer"] = {
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": "always",
        "split": True,
    }
    made["post_processor"] = around("<s> $A </s>", ("<s>", 0), ("</s>", 2))
    return {**made, **parts}


def sentencepiece(pieces, bpe, *, dummy_prefix=True):
    """A SentencePiece model file of (piece, score, kind)."""

    def varint(number):
        number &= (1 << 64) - 1
        made = bytearray()
        while number > 127:
            made.append(number & 127 | 128)
            number >>= 7
        return bytes([*made, number])

    def number(field, value):
        return varint(field << 3) + varint(int(value))

    def text(field, value):
        return varint(field << 3 | 2) + varint(len(value)) + value

    model = b""
    for piece, score, kind in pieces:
        entry = text(1, piece.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
        model += text(1, entry + number(3, kind))
    names = [piece for piece, _, _ in pieces]
    trainer = number(3, 2 if bpe else 1) + number(35, bpe)
    for field, name in ((40, "<unk>"), (41, "<s>"), (42, "</s>"), (43, "<pad>")):
        trainer += number(field, names.index(name) if name in names else -1)
    trainer += text(45, b"<unk>")
    normalizer = text(1, b"identity") + number(3, dummy_prefix) + number(4, 0)
    return model + text(2, trainer) + text(3, normalizer)


def llama_model():
    kinds = {"<unk>": 2, "<s>": 3, "</s>": 3}
    scored = [
        (piece, -float(n), kinds.get(piece, 6 if piece.startswith("<0x") else 1))
        for n, piece in enumerate(PIECES)
    ]
    return sentencepiece(scored, True)


def unigram_model(special):
    made = unigram(special, last=())
    kinds = {"<unk>": 2, **{token: 3 for token in special if token != "<unk>"}}
    return sentencepiece(
        [
            (piece, score, kinds.get(piece, 1))
            for piece, score in made["model"]["vocab"]
        ],
        False,
    )


# --- BERT's ----------------------------------------------------------------------------

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
BERT += ["cat", "big", "hello", "Hello", *("##" + letter for letter in LETTERS)]


def bert(**normalizer):
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
        **normalizer,
    }
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": places(BERT),
    }
    return tokenizer_json(
        model,
        BERT[:5],
        normalizer=normalizer,
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=around("[CLS] $A [SEP]", ("[CLS]", 2), ("[SEP]", 3)),
    )


# --- bytes -----------------------------------------------------------------------------


def byte_letters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [*map(chr, plain), *(chr(256 + n) for n, _ in enumerate(others))]


BYTES = ["<|endoftext|>", "<s>", "<pad>", "</s>", "<unk>", "<mask>", *byte_letters()]
BYTES += [a + b for a, b in [*MERGES, ("\u0120", "big"), ("\u0120", "\u0120")]]
BYTE_MERGES = [*MERGES, ("\u0120", "big"), ("\u0120", "\u0120")]


def byte_level(special=1, **parts):
    model = {"type": "BPE", "vocab": places(BYTES), "merges": BYTE_MERGES}
    parts = {"pre_tokenizer": GPT2_SPLIT, "post_processor": GPT2_SPLIT, **parts}
    return tokenizer_json(model, BYTES[:special], **parts)


def cut(pattern):
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    whole = {**GPT2_SPLIT, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [split, whole]}


MERGES_TXT = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in BYTE_MERGES)
VOCAB_TXT = "".join(f"{word}\n" for word in dict.fromkeys(BERT))

# --- the folders -----------------------------------------------------------------------

FOLDERS = {
    # Llama's class: flags decide what stands around a text, not the file.
    "llama": (LLAMA, {"tokenizer__json": llama()}),
    "llama-eos": ({**LLAMA, "add_eos_token": True}, {"tokenizer__json": llama()}),
    "llama-no-bos": ({**LLAMA, "add_bos_token": False}, {"tokenizer__json": llama()}),
    "llama-file-without": (LLAMA, {"tokenizer__json": llama("$A")}),
    "llama-new": (LLAMA, {"tokenizer__json": llama(legacy=False)}),
    "llama-bytes": (
        {**LLAMA, "unk_token": None},
        {"tokenizer__json": byte_level(4, pre_tokenizer=cut(r"\d| ?[a-z]+|\s+"))},
    ),
    "llama-added": (
        {**LLAMA, "pad_token": "<pad>", "additional_special_tokens": ["big"]},
        {"tokenizer__json": llama(), "added_tokens__json": {"World": 900}},
    ),
    "llama-settings-of-old": (
        {"add_bos_token": True, "tokenizer_class": "LlamaTokenizer"},
        {
            "tokenizer__json": llama(),
            "special_tokens_map__json": {
                "bos_token": {"content": "<s>", "normalized": True, "lstrip": True},
                "eos_token": "</s>",
                "mask_token": {
                    "content": "<mask>",
                    "lstrip": True,
                    "normalized": False,
                },
            },
        },
    ),
    "llama-prefix": (
        {**LLAMA, "add_prefix_space": False, "legacy": True},
        {"tokenizer__json": llama(), "tokenizer__model": llama_model()},
    ),
    "llama-prefix-new": (
        {**LLAMA, "add_prefix_space": True, "legacy": False},
        {"tokenizer__json": llama(), "tokenizer__model": llama_model()},
    ),
    "generic-with-flags": (
        {"tokenizer_class": "PreTrainedTokenizerFast", "add_eos_token": True},
        {"tokenizer__json": llama()},
    ),
    "neox-over-a-template": (
        {"tokenizer_class": "GPTNeoXTokenizerFast", "bos_token": "<s>"},
        {"tokenizer__json": byte_level(post_processor=around("<s> $A", ("<s>", 1)))},
    ),
    # BERT's class: settings or its own defaults decide, not the file.
    "bert-unsaid": ({"tokenizer_class": "BertTokenizer"}, {"tokenizer__json": bert()}),
    "bert-cased-file": (
        {"tokenizer_class": "BertTokenizer"},
        {"tokenizer__json": bert(lowercase=False)},
    ),
    "bert-cased": (
        {"tokenizer_class": "BertTokenizer", "do_lower_case": False},
        {"tokenizer__json": bert()},
    ),
    "bert-accents": (
        {"tokenizer_class": "DistilBertTokenizer", "strip_accents": False},
        {"tokenizer__json": bert()},
    ),
    "bert-chinese": (
        {"tokenizer_class": "BertTokenizerFast", "tokenize_chinese_chars": False},
        {"tokenizer__json": bert(strip_accents=True)},
    ),
    "bert-generic": (
        {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True},
        {"tokenizer__json": bert(lowercase=False)},
    ),
    # The file is taken as it is, whatever the class.
    "xlm-roberta-nfkc": (
        {"tokenizer_class": "XLMRobertaTokenizer"},
        {"tokenizer__json": unigram(normalizer={"type": "NFKC"})},
    ),
    "unigram-of-bert": (
        {"tokenizer_class": "BertTokenizer", "do_lower_case": True},
        {"tokenizer__json": unigram(normalizer={"type": "NFKC"})},
    ),
    "qwen2-digits": (
        {"tokenizer_class": "Qwen2Tokenizer"},
        {"tokenizer__json": byte_level(pre_tokenizer=cut(r"\d{1,3}| ?[A-z]+|\s+"))},
    ),
    "gpt2-prefix": (
        {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True},
        {"tokenizer__json": byte_level()},
    ),
    "gpt2-file-with-prefix": (
        {"tokenizer_class": "GPT2Tokenizer"},
        {
            "tokenizer__json": byte_level(
                pre_tokenizer={**GPT2_SPLIT, "add_prefix_space": True}
            )
        },
    ),
    # No tokenizer.json.
    "bert-words": (None, {"vocab__txt": VOCAB_TXT}, "bert"),
    "bert-words-cased": ({"do_lower_case": False}, {"vocab__txt": VOCAB_TXT}, "bert"),
    "gpt2-words": (
        None,
        {"vocab__json": places(BYTES), "merges__txt": MERGES_TXT},
        "gpt2",
    ),
    "roberta-words": (
        None,
        {"vocab__json": places(BYTES), "merges__txt": MERGES_TXT},
        "roberta",
    ),
    "opt-words": (
        {
            "tokenizer_class": "GPT2Tokenizer",
            "add_bos_token": True,
            "bos_token": "</s>",
        },
        {"vocab__json": places(BYTES), "merges__txt": MERGES_TXT},
        "opt",
    ),
    "llama-pieces": (LLAMA, {"tokenizer__model": llama_model()}),
    "llama-pieces-new": (
        {**LLAMA, "legacy": False, "add_eos_token": True},
        {"tokenizer__model": llama_model()},
    ),
    "t5-pieces": (
        {"extra_ids": 2},
        {"spiece__model": unigram_model(["<pad>", "</s>", "<unk>"])},
        "t5",
    ),
    "xlm-roberta-pieces": (
        None,
        {"sentencepiece__bpe__model": unigram_model(["<unk>", "<s>", "</s>"])},
        "xlm-roberta",
    ),
    "deberta-v3-pieces": (
        None,
        {"spm__model": unigram_model(["[PAD]", "[CLS]", "[SEP]", "<unk>"])},
        "deberta-v2",
    ),
}


def make_folder(name, folder):
    """Write one of the folders."""
    settings, files, *model_type = FOLDERS[name]
    written(Path(folder), settings, *model_type, **files)


def main():
    import transformers

    transformers.logging.set_verbosity_error()
    made = {}
    for name in FOLDERS:
        folder = Path(tempfile.mkdtemp()) / name
        make_folder(name, folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        made[name] = [tokenizer(text)["input_ids"] for text in TEXTS]
    lines = (f"  {json.dumps(name)}: {json.dumps(ids)}" for name, ids in made.items())
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
