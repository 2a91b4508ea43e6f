"""Tokenizer files as published models have them, over small vocabularies.

Each function returns the files of a folder: name -> content (a dict is written as JSON).
What a family has of its own (class, flags, special tokens) is given by its row.
"""

from parity_pieces import (
    BYTES,
    SPACE,
    byte_level,
    charsmap_base64,
    end_of_word,
    merged_vocabulary,
    metaspace,
    sentencepiece_model,
    unigrams,
    wordpieces,
)

# Not a file: token -> id, for the configuration.
IDS = ""

# --- the parts of a tokenizer.json ------------------------------------------------------


def sequence(kind, *parts):
    """Several normalizers or pre-tokenizers in a row."""
    return {"type": "Sequence", kind: list(parts)}


def split(pattern, behavior="Isolated", invert=False):
    """A pre-tokenizer that cuts at a regular expression."""
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": behavior,
        "invert": invert,
    }


def replace(pattern, content, regex=False):
    """A normalizer that replaces."""
    kind = "Regex" if regex else "String"
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def bytes_of(regex=True, prefix=False, trim=True):
    """GPT-2's bytes, as pre-tokenizer, post-processor or decoder."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": prefix,
        "trim_offsets": trim,
        "use_regex": regex,
    }


def digits(individual):
    """A pre-tokenizer that cuts at digits."""
    return {"type": "Digits", "individual_digits": individual}


def surround(before, after, ids):
    """A post-processor that puts special tokens around a text."""

    def token(name, part):
        return {"SpecialToken": {"id": name, "type_id": part}}

    one = [
        *(token(name, 0) for name in before),
        {"Sequence": {"id": "A", "type_id": 0}},
        *(token(name, 0) for name in after),
    ]
    two = [
        *one,
        {"Sequence": {"id": "B", "type_id": 1}},
        *(token(name, 1) for name in after),
    ]
    named = {
        name: {"id": name, "ids": [ids[name]], "tokens": [name]}
        for name in sorted({*before, *after})
    }
    return {
        "type": "TemplateProcessing",
        "single": one,
        "pair": two,
        "special_tokens": named,
    }


def roberta_surround(bos, eos, ids, prefix=False):
    """RoBERTa's own post-processor."""
    return {
        "type": "RobertaProcessing",
        "sep": [eos, ids[eos]],
        "cls": [bos, ids[bos]],
        "trim_offsets": True,
        "add_prefix_space": prefix,
    }


def added(token, number, special=True, **changes):
    """An entry of ``added_tokens``."""
    return {
        "id": number,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
        **changes,
    }


def tokenizer_json(
    model, tokens, *, normalizer=None, pre=None, post=None, decoder=None
):
    """The file, from its parts."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": tokens,
        "normalizer": normalizer,
        "pre_tokenizer": pre,
        "post_processor": post,
        "decoder": decoder,
        "model": model,
    }


def bpe(vocabulary, merges, **changes):
    """The model of a byte-pair tokenizer."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocabulary,
        "merges": [f"{a} {b}" for a, b in merges],
        **changes,
    }


def decoder_entries(tokens):
    """``added_tokens_decoder`` of a tokenizer_config.json."""
    entries = {}
    for token in tokens:
        token = dict(token)
        entries[str(token.pop("id"))] = token
    return entries


def special_map(config, as_dicts=False):
    """special_tokens_map.json of what the configuration names."""
    names = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
    found = {}
    for name in names:
        token = config.get(f"{name}_token")
        if token is not None:
            text = token["content"] if isinstance(token, dict) else token
            entry = added(text, 0)
            del entry["id"], entry["special"]
            found[f"{name}_token"] = entry if as_dicts else text
    return found


def files(backend, config, *, tokens=None, as_dicts=False, published=True, others=()):
    """The usual three files, and others.

    Parameters
    ----------
    backend : dict
        tokenizer.json.
    published : bool
        Whether the folder holds it.
    config : dict
        tokenizer_config.json.
    tokens : list or None
        What `added_tokens_decoder` lists; None where the model's file has none.
    as_dicts : bool
        Whether special_tokens_map.json writes its tokens out.
    """
    if tokens is not None:
        config = {"added_tokens_decoder": decoder_entries(tokens), **config}
    made = {
        "tokenizer_config.json": config,
        "special_tokens_map.json": special_map(config, as_dicts),
        **dict(others),
    }
    if published:
        made["tokenizer.json"] = backend
    return made | {IDS: ids_of(backend)}


def ids_of(backend):
    """All tokens of a tokenizer.json with their ids."""
    vocabulary = backend["model"]["vocab"]
    if isinstance(vocabulary, list):
        vocabulary = {piece: n for n, (piece, _) in enumerate(vocabulary)}
    return vocabulary | {t["content"]: t["id"] for t in backend["added_tokens"]}


# --- WordPiece --------------------------------------------------------------------------

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def bert(config, *, lowercase, strip_accents=None, tokens=False, json=True):
    """BERT's: vocab.txt and tokenizer.json.

    Parameters
    ----------
    config : dict
        tokenizer_config.json as published.
    lowercase : bool
        What tokenizer.json says.
    """
    vocabulary = [*BERT, *wordpieces(lowercase)]
    ids = {piece: n for n, piece in enumerate(vocabulary)}
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": ids,
    }
    special = [added(token, ids[token]) for token in BERT]
    backend = tokenizer_json(
        model,
        special,
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": strip_accents,
            "lowercase": lowercase,
        },
        pre={"type": "BertPreTokenizer"},
        post=surround(["[CLS]"], ["[SEP]"], ids),
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )
    made = files(
        backend,
        config,
        tokens=special if tokens else None,
        published=json,
        others={"vocab.txt": "\n".join(vocabulary) + "\n"},
    )
    if "cls_token" not in config:
        names = {"unk": 1, "sep": 3, "pad": 0, "cls": 2, "mask": 4}
        made["special_tokens_map.json"] = {
            f"{name}_token": BERT[n] for name, n in names.items()
        }
    return made


def mpnet(config):
    """MPNet's: BERT's pieces between RoBERTa's special tokens."""
    start = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [*start, *wordpieces(True), "<mask>"]
    ids = {piece: n for n, piece in enumerate(vocabulary)}
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": ids | {"[UNK]": len(ids)},
    }
    special = [added(t, ids[t]) for t in start]
    special += [added("[UNK]", len(ids)), added("<mask>", ids["<mask>"], lstrip=True)]
    backend = tokenizer_json(
        model,
        special,
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        pre={"type": "BertPreTokenizer"},
        post=roberta_surround("<s>", "</s>", ids),
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )
    text = "\n".join([*vocabulary, "[UNK]"]) + "\n"
    return files(backend, config, others={"vocab.txt": text})


# --- byte-level BPE ---------------------------------------------------------------------

GPT2_CUT = None  # inside of ByteLevel
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Llama 3, GPT-4 and many others.
CL100K = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST
# Mistral's Tekken and, with contractions behind the words, gpt-oss.
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_WORDS = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+%s|"
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*%s"
)
TEKKEN = (
    _WORDS % ("", "") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    _WORDS % (CONTRACTIONS + "?", CONTRACTIONS + "?")
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_vocabulary(first=(), last=()):
    """(ids, merges) of a byte-level vocabulary between special tokens."""
    letters, merges = byte_level()
    pieces = [*first, *merged_vocabulary(letters, merges), *last]
    return {piece: n for n, piece in enumerate(dict.fromkeys(pieces))}, merges


def cut_then_bytes(pattern):
    """Split at a pattern, then bytes: Llama 3, Qwen2, OLMo 2 and others."""
    return sequence("pretokenizers", split(pattern), bytes_of(regex=False))


def byte_bpe(
    config,
    *,
    pre,
    special=(),
    first=(),
    inside=True,
    normalizer=None,
    post="bytes",
    tokens=True,
    as_dicts=False,
    plain=(),
    slow_files=True,
    json=True,
    model=None,
    changes=None,
):
    """A byte-level BPE tokenizer.

    Parameters
    ----------
    config : dict
    pre : dict
        The pre-tokenizer.
    special : sequence of str
        Special tokens behind the vocabulary.
    first : sequence of str
        Special tokens before it.
    inside : bool
        Whether the special tokens are in the model's own vocabulary, too.
    post : dict, callable or None
        The post-processor; a callable takes the ids by token.
    plain : sequence of str
        Added tokens that aren't special.
    slow_files, json : bool
        Whether vocab.json and merges.txt, and whether tokenizer.json are there.
    model : dict or None
        Changes of the BPE model.
    changes : dict or None
        Token -> changes of its entry among the added ones.
    """
    vocabulary, merges = byte_vocabulary(first, special if inside else ())
    ids = dict(vocabulary)
    for token in [*special, *plain]:
        ids.setdefault(token, len(ids))
    entries = [
        added(t, ids[t], **(changes or {}).get(t, {})) for t in [*first, *special]
    ]
    entries += [added(t, ids[t], special=False) for t in plain]
    entries.sort(key=lambda entry: entry["id"])
    if callable(post):
        post = post(ids)
    backend = tokenizer_json(
        bpe(vocabulary, merges, **(model or {})),
        entries,
        normalizer=normalizer,
        pre=pre,
        post=bytes_of(trim=False) if post == "bytes" else post,
        decoder=bytes_of(),
    )
    others = {}
    if slow_files:
        lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
        others = {"vocab.json": vocabulary, "merges.txt": "\n".join(lines) + "\n"}
    return files(
        backend,
        config,
        tokens=entries if tokens else None,
        as_dicts=as_dicts,
        published=json,
        others=others,
    )


def bytes_then(before, after=()):
    """A post-processor of Llama 3's kind: bytes, then special tokens around."""

    def post(ids):
        around = surround(before, after, ids)
        return sequence("processors", bytes_of(trim=False), around)

    return post


def around(before, after=()):
    """A post-processor that only puts special tokens around."""
    return lambda ids: surround(before, after, ids)


def clip(config):
    """CLIP's lower-case BPE, where a word's end is marked."""
    start, merges = end_of_word()
    special = ["<|startoftext|>", "<|endoftext|>"]
    pieces = [*merged_vocabulary(start, merges), *special]
    ids = {piece: n for n, piece in enumerate(pieces)}
    words = (
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]"
        r"|[^\s\p{L}\p{N}]+"
    )
    backend = tokenizer_json(
        bpe(
            ids,
            merges,
            unk_token="<|endoftext|>",
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
        ),
        [added(t, ids[t], normalized=t == special[0]) for t in special],
        normalizer=sequence(
            "normalizers",
            {"type": "NFC"},
            replace(r"\s+", " ", regex=True),
            {"type": "Lowercase"},
        ),
        pre=sequence("pretokenizers", split(words, "Removed", invert=True), bytes_of()),
        post=roberta_surround("<|startoftext|>", "<|endoftext|>", ids),
        decoder=bytes_of(),
    )
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    others = {"vocab.json": ids, "merges.txt": "\n".join(lines) + "\n"}
    return files(backend, config, others=others)


# --- SentencePiece, BPE: Llama, Mistral, Gemma ------------------------------------------

LLAMA = ["<unk>", "<s>", "</s>"]


def prepend_space():
    """How Llama's tokenizer.json of the first years writes spaces."""
    return sequence(
        "normalizers", {"type": "Prepend", "prepend": SPACE}, replace(" ", SPACE)
    )


def metaspace_pre(scheme="first", split_words=False):
    """How later ones do."""
    return {
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": scheme,
        "split": split_words,
    }


def _fallback_decoder(strip=True):
    parts = [
        replace(SPACE, " "),
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if strip:
        parts.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return sequence("decoders", *parts)


def sentencepiece_bpe(
    config,
    *,
    first=LLAMA,
    normalizer="prepend",
    pre=None,
    post=None,
    special=(),
    plain=(),
    tokens=True,
    as_dicts=True,
    json=True,
    slow=True,
    dummy_prefix=True,
    model=None,
    normalized=False,
):
    """Llama's kind: byte-pair merges over marked spaces, bytes for unknown characters.

    Parameters
    ----------
    first : list of str
        Special tokens before the vocabulary.
    special, plain : sequence of str
        Tokens behind it, special ones and others.
    json, slow : bool
        Whether tokenizer.json and tokenizer.model are there.
    normalized : bool
        What the special tokens' entries say.
    """
    characters, merges = metaspace()
    pieces = [*first, *BYTES, *merged_vocabulary(characters, merges)]
    vocabulary = {piece: n for n, piece in enumerate(pieces)}
    ids = dict(vocabulary)
    for token in [*special, *plain]:
        ids.setdefault(token, len(ids))
    entries = [added(t, ids[t], normalized=normalized) for t in first]
    entries += [added(t, ids[t]) for t in special]
    entries += [added(t, ids[t], special=False) for t in plain]
    entries.sort(key=lambda entry: entry["id"])
    if callable(post):
        post = post(ids)
    settings = {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    backend = tokenizer_json(
        bpe(vocabulary, merges, **settings | (model or {})),
        entries,
        normalizer=prepend_space() if normalizer == "prepend" else normalizer,
        pre=pre,
        post=post,
        decoder=_fallback_decoder(dummy_prefix),
    )
    others = {}
    if slow:
        kinds = dict.fromkeys(first, "control") | {"<unk>": "unknown"}
        kinds |= dict.fromkeys(BYTES, "byte")
        merged = {a + b: n for n, (a, b) in enumerate(merges)}
        scores = {c: -len(merged) - n for n, c in enumerate(characters)}
        scores |= {piece: -n for piece, n in merged.items()}
        others["tokenizer.model"] = sentencepiece_model(
            [(p, float(scores.get(p, 0)), kinds.get(p, "normal")) for p in pieces],
            bpe=True,
            fold=False,
            byte_fallback=True,
            dummy_prefix=dummy_prefix,
        )
    return files(
        backend,
        config,
        tokens=entries if tokens else None,
        as_dicts=as_dicts,
        published=json,
        others=others,
    )


GEMMA = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
GEMMA_TURNS = ["<start_of_turn>", "<end_of_turn>"]


def gemma(config, *, post=("<bos>",), after=(), normalizer=True, slow=True):
    """Gemma's: spaces marked but none put in front."""
    return sentencepiece_bpe(
        config,
        first=[*GEMMA, "<unused0>", *GEMMA_TURNS],
        normalizer=replace(" ", SPACE),
        pre={
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        post=around(list(post), list(after)),
        slow=slow,
        dummy_prefix=False,
    )


# --- SentencePiece, Unigram: XLM-R, T5, DeBERTa-v3 --------------------------------------


def fold():
    """SentencePiece's folding of characters, as tokenizer.json holds it."""
    return {"type": "Precompiled", "precompiled_charsmap": charsmap_base64()}


def fold_and_squeeze():
    """The same, and runs of spaces to one."""
    return sequence("normalizers", fold(), replace(" {2,}", " ", regex=True))


def words_marked(legacy=True):
    """Words cut at white space, each with its mark: old tokenizer.json files."""
    mark = {"type": "Metaspace", "replacement": SPACE}
    mark |= {"add_prefix_space": True} if legacy else {"prepend_scheme": "always"}
    return sequence("pretokenizers", {"type": "WhitespaceSplit"}, mark)


def one_mark(legacy=True):
    """Spaces marked, nothing cut but there: tokenizer.json files from 2022 on."""
    mark = {"type": "Metaspace", "replacement": SPACE}
    return mark | (
        {"add_prefix_space": True}
        if legacy
        else {"prepend_scheme": "always", "split": True}
    )


def unigram(
    config,
    *,
    first,
    unknown,
    last=(),
    normalizer="fold",
    pre="words",
    post=None,
    slow=None,
    slow_first=None,
    tokens=None,
    as_dicts=False,
    json=True,
    changes=None,
    special=None,
    others=None,
):
    """A Unigram tokenizer.

    Parameters
    ----------
    first, last : sequence of str
        Special tokens before and behind the vocabulary.
    unknown : str
    slow : str or None
        Name of the SentencePiece file.
    slow_first : list of str or None
        Its special tokens, where they aren't `first`.
    special : sequence of str or None
        Which of them the added tokens list; None is all.
    changes : dict or None
        Token -> changes of its entry among the added ones.
    """
    pieces = [(token, 0.0) for token in first]
    pieces += [(p, s) for p, s in unigrams()] + [(token, 0.0) for token in last]
    ids = {piece: n for n, (piece, _) in enumerate(pieces)}
    listed = [*first, *last] if special is None else special
    entries = [added(t, ids[t], **(changes or {}).get(t, {})) for t in listed]
    entries.sort(key=lambda entry: entry["id"])
    if callable(post):
        post = post(ids)
    model = {
        "type": "Unigram",
        "unk_id": ids[unknown],
        "vocab": [list(p) for p in pieces],
    }
    backend = tokenizer_json(
        model | {"byte_fallback": False},
        entries,
        normalizer=fold() if normalizer == "fold" else normalizer,
        pre=words_marked() if pre == "words" else pre,
        post=post,
        decoder={"type": "Metaspace", "replacement": SPACE, "add_prefix_space": True},
    )
    made = dict(others or {})
    if slow:
        slow_first = list(first) if slow_first is None else slow_first
        kinds = dict.fromkeys([*slow_first, *last], "control")
        kinds |= {unknown: "unknown"}
        listed = [(t, 0.0) for t in slow_first] + unigrams()
        made[slow] = sentencepiece_model(
            [(p, s, kinds.get(p, "normal")) for p, s in listed], bpe=False, fold=True
        )
    return files(
        backend,
        config,
        tokens=entries if tokens else None,
        as_dicts=as_dicts,
        published=json,
        others=made,
    )


XLMR = ["<s>", "<pad>", "</s>", "<unk>"]


def xlm_roberta(config, **settings):
    """XLM-R's: fairseq's four special tokens first, <mask> last."""
    defaults = {
        "first": XLMR,
        "last": ["<mask>"],
        "unknown": "<unk>",
        "post": around(["<s>"], ["</s>"]),
        "slow": "sentencepiece.bpe.model",
        "slow_first": ["<unk>", "<s>", "</s>"],
        "changes": {"<mask>": {"lstrip": True}},
    }
    return unigram(config, **defaults | settings)


def t5(config, *, extra_ids=100, **settings):
    """T5's: </s> behind each text, extra ids behind the vocabulary."""
    extra = [f"<extra_id_{n}>" for n in reversed(range(extra_ids))]
    defaults = {
        "first": ["<pad>", "</s>", "<unk>"],
        "last": extra,
        "unknown": "<unk>",
        "post": around([], ["</s>"]),
        "slow": "spiece.model",
    }
    made = unigram(config, **defaults | settings)
    if extra_ids:
        made["special_tokens_map.json"]["additional_special_tokens"] = extra[::-1]
    return made


def deberta_v3(config, *, json, **settings):
    """DeBERTa-v3's: often published as spm.model alone."""
    defaults = {
        "first": ["[PAD]", "[CLS]", "[SEP]", "[UNK]"],
        "last": ["[MASK]"],
        "unknown": "[UNK]",
        "post": around(["[CLS]"], ["[SEP]"]),
        "slow": "spm.model",
        "normalizer": sequence(
            "normalizers",
            {"type": "Strip", "strip_left": True, "strip_right": True},
            fold(),
            replace(" {2,}", " ", regex=True),
        ),
        "pre": {
            "type": "Metaspace",
            "replacement": SPACE,
            "prepend_scheme": "always",
            "split": True,
        },
        "json": json,
        "slow_first": ["[PAD]", "[CLS]", "[SEP]", "[UNK]"],
    }
    return unigram(config, **defaults | settings)
