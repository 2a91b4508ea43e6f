"""What a tokenizer's settings change in it, by the rules of transformers 4.

Published vectors were made with transformers 4. There a class of the folder's choice took
``tokenizer.json`` as it is, and changed parts of it as the settings say or by defaults of
its own. transformers 5 makes most tokenizers anew by their class and loses what the file
says, so the rules are kept here.
"""

import json
from types import SimpleNamespace

from sklearn_llm2vec._model.tokenizer_settings import NAMED

# Classes that change nothing but what every class does.
GENERIC = ("PreTrainedTokenizer", "TokenizersBackend")
# Classes that say themselves what stands around a text, whatever the file says; and
# whether a first token is added where the settings don't say so.
ADDS_FIRST = {
    "LlamaTokenizer": True,
    "CodeLlamaTokenizer": True,
    "GemmaTokenizer": True,
    "CohereTokenizer": True,
    "GPTNeoXTokenizer": False,
}
# Classes in which `add_prefix_space` makes what comes before the words anew.
MAKES_PREFIX = ("LlamaTokenizer", "T5Tokenizer")
# The pattern that Mistral's tokenizers should have had in 2024 and 2025.
MISTRAL_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def apply_settings(backend, settings, kind, *, has_pieces):
    """Change a ``tokenizers.Tokenizer`` as its settings say, in place.

    Parameters
    ----------
    backend : tokenizers.Tokenizer
    settings : dict
        As `read_settings` returns it.
    kind : str
        Name of the tokenizer's class.
    has_pieces : bool
        Whether the folder holds a SentencePiece model too.
    """
    if "backend" in settings:
        # Written by transformers 5, where all of it is in tokenizer.json.
        return
    _add_tokens(backend, settings)
    if kind not in MAKES_PREFIX:
        _set_prefix_space(backend, settings.get("add_prefix_space", False))
    elif has_pieces and settings.get("add_prefix_space") is not None:
        _make_prefix(backend, settings, kind)
    if kind not in GENERIC:
        _set_bert_normalizer(backend, settings)
    adds_first = settings.get("add_bos_token", ADDS_FIRST.get(kind, False))
    # A class of the folder's own that isn't run, such as gte-Qwen2's: its flags say what
    # it adds, which the class that it is derived from may not know.
    own = settings.get("auto_map") or ()
    is_own = "AutoTokenizer" in own if isinstance(own, dict) else bool(own)
    if kind in ADDS_FIRST or (is_own and (adds_first or settings.get("add_eos_token"))):
        _set_around(backend, settings, adds_first)
    if settings.get("fix_mistral_regex"):
        _set_pattern(backend, MISTRAL_PATTERN)


def _add_tokens(backend, settings):
    """Add the tokens that only the small files have, in the order of transformers 4.

    Special tokens that the backend has already stay as they are: with versions of
    tokenizers before 0.23 nothing else could be had.
    """
    from tokenizers import AddedToken

    own = backend.get_added_tokens_decoder().values()
    known = {repr(token) for token in own}
    decoder = sorted(settings["added_tokens_decoder"].items())
    tokens = [token for _, token in decoder if repr(token) not in known]
    contents = {str(token) for token in [*own, *tokens]}
    named = [settings[name] for name in NAMED if settings.get(name) is not None]
    special = [*named, *settings["additional_special_tokens"]]
    for token in special:
        if not (isinstance(token, str) and token in contents) and token not in tokens:
            tokens.append(token)
    fixed = {str(token) for token in own if token.special}
    made = []
    for token in tokens:
        if str(token) not in fixed:
            token = AddedToken(token) if isinstance(token, str) else token
            token.special = token.special or str(token) in map(str, special)
            made.append(token)
    backend.add_tokens(made)


def _set_prefix_space(backend, wanted):
    from tokenizers import pre_tokenizers

    state = _state(backend.pre_tokenizer)
    if wanted is not None and state.get("add_prefix_space", wanted) != wanted:
        state["add_prefix_space"] = wanted
        backend.pre_tokenizer = getattr(pre_tokenizers, state.pop("type"))(**state)


def _make_prefix(backend, settings, kind):
    """What a conversion from the SentencePiece model puts before the words."""
    from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS

    wanted = settings["add_prefix_space"]
    legacy = settings.get("legacy") is not False
    converter = SLOW_TO_FAST_CONVERTERS[kind]
    slow = SimpleNamespace(legacy=legacy, add_prefix_space=wanted)
    made = SimpleNamespace(original_tokenizer=slow)
    if kind == "LlamaTokenizer":
        backend.normalizer = converter.normalizer(made, None)
    backend.pre_tokenizer = converter.pre_tokenizer(made, "▁", wanted)


def _set_bert_normalizer(backend, settings):
    from tokenizers import normalizers

    state = _state(backend.normalizer)
    if state.pop("type", None) == "BertNormalizer":
        state["lowercase"] = settings.get("do_lower_case", True)
        state["strip_accents"] = settings.get("strip_accents")
        state["handle_chinese_chars"] = settings.get("tokenize_chinese_chars", True)
        backend.normalizer = normalizers.BertNormalizer(**state)


def _set_around(backend, settings, add_first):
    from tokenizers import processors

    first = settings.get("bos_token") if add_first else None
    last = settings.get("eos_token") if settings.get("add_eos_token") else None
    parts = [None if part is None else str(part) for part in (first, "$A", last)]
    single = [f"{part}:0" for part in parts if part is not None]
    pair = [f"{'$B' if part == '$A' else part}:1" for part in parts if part is not None]
    backend.post_processor = processors.TemplateProcessing(
        single=single,
        pair=single + pair,
        special_tokens=[
            (token, backend.token_to_id(token))
            for token in dict.fromkeys(parts)
            if token not in (None, "$A")
        ],
    )


def split_pattern(backend):
    """The pattern by which a text is split first; None where there is none."""
    state = _state(backend.pre_tokenizer)
    first = (state.get("pretokenizers") or [state])[0]
    return first.get("pattern", {}).get("Regex")


def _set_pattern(backend, pattern):
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    parts = backend.pre_tokenizer
    if isinstance(parts, pre_tokenizers.Sequence):
        parts[0] = split
    else:
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, parts])


def _state(component):
    """What a part of a tokenizer is made of; {} for none."""
    try:
        return {} if component is None else json.loads(component.__getstate__())
    except Exception:  # a part written in Python can't say it
        return {}
