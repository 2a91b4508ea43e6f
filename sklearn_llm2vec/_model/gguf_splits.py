r"""How a tokenizer splits a text into words before it looks for tokens, by its name.

A GGUF file holds a tokenizer's vocabulary and its merges, but of its rules for words only
a name, ``tokenizer.ggml.pre``. Here are the rules behind the names, as the published
tokenizers have them.
"""

from dataclasses import dataclass

# Words of GPT-2, which take the space before them along.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Words of GPT-4: one sign may lead the letters, and digits stand by themselves.
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
THREE_DIGITS = rf"{ENDINGS}|{LETTERS}|\p{{N}}{{1,3}}|{SIGNS}|{SPACES}"
ONE_DIGIT = rf"{ENDINGS}|{LETTERS}|\p{{N}}|{SIGNS}|{SPACES}"
# The same with accents that are characters of their own.
ACCENTS = (
    rf"{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}|"
    rf" ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{SPACES}"
)
# Words of GPT-4o, which also end where capitals follow small letters.
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD = r"[^\r\n\p{L}\p{N}]?"
CASED = rf"{LEAD}{UPPER}*{LOWER}+%s|{LEAD}{UPPER}+{LOWER}*%s"
PATHS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
TEKKEN = rf"{CASED % ('', '')}|\p{{N}}|{PATHS}|{SPACES}"
GPT4O = rf"{CASED % (ENDINGS + '?', ENDINGS + '?')}|\p{{N}}{{1,3}}|{PATHS}|{SPACES}"
ASCII_SIGNS = r"!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~"
DEEPSEEK = (
    rf"[{ASCII_SIGNS}][A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+|"
    rf" ?[\p{{P}}\p{{S}}]+[\r\n]*|{SPACES}"
)
BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+"  # noqa: RUF001
HAN = "[一-龥ࠀ-一가-퟿]+"
HAN_AND_KANA = "[一-龥\u3040-\u309f\u30a0-\u30ff]+"


@dataclass(frozen=True)
class Split:
    """What a name stands for.

    Attributes
    ----------
    patterns : tuple of str
        Regular expressions; each splits what those before it have left.
    composed : bool
        Whether accents and letters become one character before.
    whole_words : bool
        Whether a word of the vocabulary is one token, whatever the merges say.
    begins : bool
        Whether a token marks the beginning, if the file doesn't say.
    """

    patterns: tuple
    composed: bool = False
    whole_words: bool = False
    begins: bool = False


def _by_name(*rows):
    return {name: split for names, split in rows for name in names.split()}


SPLITS = _by_name(
    (
        "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
        Split((THREE_DIGITS,), whole_words=True, begins=True),
    ),
    ("dbrx smaug-bpe", Split((THREE_DIGITS,))),
    ("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez", Split((ONE_DIGIT,), composed=True)),
    ("stablelm2", Split((ONE_DIGIT,), composed=True)),
    ("qwen35", Split((ACCENTS,), composed=True)),
    ("tekken", Split((TEKKEN,), whole_words=True, begins=True)),
    ("gpt-4o llama4 kanana2 talkie minimax-m2", Split((GPT4O,))),
    ("gpt-2 phi-2 jais trillion gigachat a.x-4.0 mellum exaone4", Split((GPT2,))),
    ("mpt olmo", Split((GPT2,), composed=True)),
    ("smollm starcoder refact codeshell minerva-7b mellum2", Split((r"\p{N}", GPT2))),
    ("command-r", Split((r"\p{N}", GPT2), composed=True)),
    (
        "falcon",
        Split((r"[\p{P}$+<=>^~|`]+", GPT2, r"[0-9]{3}")),
    ),
    (
        "deepseek-coder",
        Split((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN, r"\p{N}")),
    ),
    (
        "deepseek-v3 hunyuan-dense",
        Split((r"\p{N}{1,3}", HAN_AND_KANA, DEEPSEEK)),
    ),
    ("bloom poro-chat gpt3-finnish", Split((BLOOM,))),
    ("viking", Split((BLOOM, r"\p{N}"))),
)
# What llama.cpp falls back on, for files that don't name their rules.
DEFAULT = Split((r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", r"[0-9]{3}"))
