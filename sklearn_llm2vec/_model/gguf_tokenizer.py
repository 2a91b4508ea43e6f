"""The tokenizer in a GGUF file, with the ids of the one that it was made from.

A file holds a vocabulary with merges or scores, some flags, and a chat template, which
only transformers' sandbox runs. What it doesn't hold is known by the kind of tokenizer
and by a name for its rules; see ``gguf_splits``.
"""

import numpy as np

from sklearn_llm2vec._common.checks import warn
from sklearn_llm2vec._model.gguf_splits import DEFAULT, SPLITS

# Kinds of words in a vocabulary, by their number in the file.
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5
SPACE = "▁"  # stands for a space in SentencePiece's vocabularies
ROLES = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",  # the format's own spelling
    "pad_token": "padding_token_id",
    "cls_token": "cls_token_id",
    "mask_token": "mask_token_id",
}


def build_tokenizer(header):
    """The fast tokenizer that a GGUF file describes.

    Parameters
    ----------
    header : GGUFHeader

    Returns
    -------
    transformers fast tokenizer

    Raises
    ------
    ValueError
        For a kind of tokenizer, or rules for words, that aren't known here.
    """
    from transformers import PreTrainedTokenizerFast

    words = Vocabulary(header)
    if words.kind not in BUILDERS:
        raise words.unknown("tokenizer.ggml.model", words.kind, BUILDERS)
    backend = BUILDERS[words.kind](words)
    _add_whole_words(backend, words)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=header.metadata.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        **words.roles(),
    )


class Vocabulary:
    """What a file says of its tokenizer.

    Attributes
    ----------
    kind : str
        "gpt2" for words of bytes, "llama" and "gemma4" for SentencePiece's with merges,
        "t5" for those with probabilities.
    tokens : list of str
        By id.
    kinds : list of int
        Of words, by id.
    """

    def __init__(self, header):
        self.header = header
        self.kind = self.entry("model")
        self.tokens = self.entry("tokens", [])
        kinds = self.entry("token_type", np.ones(len(self.tokens), int))
        self.kinds = np.asarray(kinds).tolist()
        if len(self.kinds) != len(self.tokens):
            raise self._short("token_type")

    def entry(self, name, default=None):
        """What the file says under this name of the tokenizer."""
        return self.header.metadata.get(f"tokenizer.ggml.{name}", default)

    def ids(self):
        """Ids by token, without the places that stand empty."""
        return {
            token: i
            for i, token in enumerate(self.tokens)
            if not (self.kinds[i] == UNUSED and token.startswith("[PAD"))
        }

    def scores(self):
        """The score of each token, by id."""
        scores = self.entry("scores")
        if scores is None or len(scores) != len(self.tokens):
            raise self._short("scores")
        return np.asarray(scores).tolist()

    def merges(self):
        """Pairs of tokens that become one, in the order in which they are tried."""
        # A token may begin with a space, which then is no gap between two.
        cuts = [(merge, merge.find(" ", 1)) for merge in self.entry("merges", [])]
        return [(merge[:cut], merge[cut + 1 :]) for merge, cut in cuts]

    def roles(self):
        """Tokens with a part of their own, by transformers' names for the parts."""
        roles = {role: self.entry(key) for role, key in ROLES.items()}
        n = len(self.tokens)
        return {r: self.tokens[i] for r, i in roles.items() if i is not None and i < n}

    def ends(self, *, begins):
        """Tokens put before and after each text, and whether a file may forget them."""
        roles = self.roles()
        first = roles.get("bos_token") if self.entry("add_bos_token", begins) else None
        ends = self.kind == "t5"
        last = roles.get("eos_token") if self.entry("add_eos_token", ends) else None
        return first, last

    def unknown(self, entry, value, known):
        """The error for an entry whose value isn't among those known here."""
        return ValueError(
            f"The tokenizer of the GGUF file {self.header.paths[0]} must be one that "
            f"this library knows: {entry} must be among {sorted(known)}. Got "
            f"{value!r} instead. Put the tokenizer.json of the original model into "
            "the same folder. It is then used instead."
        )

    def _short(self, entry):
        return ValueError(
            f"The GGUF file {self.header.paths[0]} must have a value of "
            f"tokenizer.ggml.{entry} for each of its {len(self.tokens)} tokens. Got a "
            "different number of them: the file is damaged."
        )


# --- kinds of tokenizers ----------------------------------------------------------------


def _of_bytes(words):
    """Merged from bytes, inside of words: GPT-2, Llama 3, Qwen."""
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    name = words.entry("pre", "default")
    if name == "default":
        warn(
            f"The GGUF file {words.header.paths[0]} doesn't say how its tokenizer "
            "splits texts into words, so llama.cpp's default is used. The tokens may "
            "differ from those of the original model. Put the original model's "
            "tokenizer.json into the same folder to be sure."
        )
    elif name not in SPLITS:
        raise words.unknown("tokenizer.ggml.pre", name, SPLITS)
    split = SPLITS.get(name, DEFAULT)
    backend = Tokenizer(
        models.BPE(
            vocab=words.ids(),
            merges=words.merges(),
            ignore_merges=split.whole_words,
        )
    )
    if split.composed:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(p), "isolated") for p in split.patterns),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            *_template(words, *words.ends(begins=split.begins)),
        ]
    )
    return backend


def _of_pieces(words):
    """Merged from characters by their scores, spaces among them: Llama 2, Gemma."""
    from tokenizers import Tokenizer, models, normalizers, processors

    ids = words.ids()
    if words.kind == "gemma4":
        merges = words.merges()
    else:
        ids = {_with_marks(token): i for token, i in ids.items()}
        merges = _merges_by_score(ids, words)
    backend = Tokenizer(
        models.BPE(
            vocab=ids,
            merges=merges,
            unk_token=words.roles().get("unk_token"),
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    replaced = normalizers.Replace(" ", SPACE)
    leading = words.kind == "llama" and words.entry("add_space_prefix", True)
    backend.normalizer = (
        normalizers.Sequence([normalizers.Prepend(SPACE), replaced])
        if leading
        else replaced
    )
    backend.decoder = _decoder_of_pieces(leading)
    backend.post_processor = processors.Sequence(
        _template(words, *words.ends(begins=words.kind == "llama"))
    )
    return backend


def _with_marks(token):
    """Runs of spaces as the vocabulary that a file was made from has them."""
    return SPACE * len(token) if len(token) > 1 and not token.strip(" ") else token


def _merges_by_score(ids, words):
    """All pairs of pieces that make a piece, those of the best pieces first."""
    scores = words.scores()
    found = []
    for piece, i in ids.items():
        # Those that are found whole in a text have a score all the same.
        score = 0.0 if words.kinds[i] in (CONTROL, USER_DEFINED) else scores[i]
        for cut in range(len(piece) - 1, 0, -1):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                found.append((-score, -cut, -len(right), left, right))
    found.sort(key=lambda merge: merge[:3])
    return [(left, right) for *_, left, right in found]


def _decoder_of_pieces(leading):
    from tokenizers import decoders

    parts = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if leading:
        parts.append(decoders.Strip(content=" ", left=1))
    return decoders.Sequence(parts)


def _of_probabilities(words):
    """The most probable pieces of a text: T5."""
    from tokenizers import (
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    pieces = list(zip(words.tokens, words.scores(), strict=True))
    backend = Tokenizer(models.Unigram(pieces, unk_id=words.entry("unknown_token_id")))
    charsmap = words.entry("precompiled_charsmap")
    if charsmap is not None:
        backend.normalizer = normalizers.Precompiled(np.asarray(charsmap).tobytes())
    scheme = "always" if words.entry("add_space_prefix", True) else "never"
    parts = [pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme)]
    if words.entry("remove_extra_whitespaces", True):
        parts.insert(0, pre_tokenizers.WhitespaceSplit())
    backend.pre_tokenizer = pre_tokenizers.Sequence(parts)
    backend.decoder = decoders.Metaspace(SPACE, prepend_scheme=scheme)
    backend.post_processor = processors.Sequence(
        _template(words, *words.ends(begins=False))
    )
    return backend


BUILDERS = {
    "gpt2": _of_bytes,
    "llama": _of_pieces,
    "gemma4": _of_pieces,
    "t5": _of_probabilities,
}


# --- parts that all have ----------------------------------------------------------------


def _template(words, first, last):
    """What puts a token before and after each text; nothing for neither."""
    from tokenizers import processors

    around = [token for token in (first, last) if token is not None]
    if not around:
        return []
    ids = {token: words.tokens.index(token) for token in around}
    single = [token for token in (first, "$A", last) if token is not None]
    second = [token for token in (first, "$B", last) if token is not None]
    return [
        processors.TemplateProcessing(
            single=single,
            pair=single + [f"{token}:1" for token in second],
            special_tokens=list(ids.items()),
        )
    ]


def _add_whole_words(backend, words):
    """Words that are found whole in a text, before it is split."""
    from tokenizers import AddedToken

    known = backend.get_vocab(with_added_tokens=False)
    # Those of Phi-3 take the space behind them along.
    swallows = words.header.architecture == "phi3" and words.kind == "llama"
    special, plain = [], []
    for token, kind in zip(words.tokens, words.kinds, strict=True):
        if kind not in (CONTROL, USER_DEFINED) or token not in known:
            continue
        rstrip = swallows and token not in ("<unk>", "<s>", "<|endoftext|>")
        added = special if kind == CONTROL else plain
        added.append(
            AddedToken(token, normalized=False, special=kind == CONTROL, rstrip=rstrip)
        )
    backend.add_special_tokens(special)
    backend.add_tokens(plain)
