"""What a vector depends on, and its name.

An ``EncoderSpec`` holds everything that changes a text's vector except layer and pooling:
one *space*. Its fingerprint names the space in the cache, ``text_keys`` the texts in it.
Device, batch size and place of the cache are left out on purpose: they must not change a
vector. This file imports neither torch nor transformers, so that a transform whose
vectors are all cached needs neither.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

# Raised whenever our own arithmetic changes vectors: cached ones are then made anew, and
# the CHANGELOG says so under "Changed vectors".
NUMERICS_VERSION = 3


@dataclass(frozen=True)
class EncoderSpec:
    """All that changes a vector, but layer and pooling.

    Attributes
    ----------
    weights, config, tokenizer : str
        Digests of the contents of the model's files, never of their place.
    attention : {"causal", "bidirectional"}
    special_tokens : bool
        Whether BOS, CLS and SEP count in mean, weighted_mean and max.
    max_length : int
        In tokens.
    long_texts : {"truncate", "chunk"}
        What happens to the tokens after `max_length`.
    dtype : {"float32", "bfloat16", "float16"}
        Of the weights and of the arithmetic.
    numerics : int
        ``NUMERICS_VERSION``.
    template : str or None
        The prompt around the text, "chat" for the tokenizer's own.
    counts : {"text", "prompt", "rest"}
        Which tokens of a prompt count in mean-like poolings, as `TextTokenizer` takes it.
    token_prepending : tuple of (int, int) or None
        Layers before which the placeholder is replaced: start and exit.
    adapters : tuple of str
        Digests of the adapters' contents, in order.
    chunk_overlap : int
        Tokens that windows share, with ``long_texts="chunk"``.
    """

    weights: str
    config: str
    tokenizer: str
    attention: str
    special_tokens: bool
    max_length: int
    long_texts: str
    dtype: str
    numerics: int = NUMERICS_VERSION
    template: str | None = None
    counts: str = "text"
    token_prepending: tuple | None = None
    adapters: tuple = ()
    chunk_overlap: int = 0

    @property
    def fingerprint(self):
        """SHA-256 of all fields, as hexadecimal digits: the name of the space.

        What isn't used leaves no trace, so that a field of a later version doesn't give
        the spaces of an earlier one other names.
        """
        fields = dataclasses.asdict(self)
        for field in dataclasses.fields(self):
            if field.name != "numerics" and fields[field.name] == field.default:
                del fields[field.name]
        fields = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(fields.encode()).hexdigest()


def text_keys(texts):
    """The key of each text: 16 bytes of BLAKE2b of its UTF-8.

    A tuple of texts, the values of a template's columns, is hashed as JSON: no two tuples
    give the same.

    Examples
    --------
    >>> from sklearn_llm2vec._model.spec import text_keys
    >>> [key.hex()[:8] for key in text_keys(["a text"])]
    ['706860d9']
    """
    blake2b = hashlib.blake2b
    return [
        blake2b(
            (text if type(text) is str else json.dumps(text)).encode(), digest_size=16
        ).digest()
        for text in texts
    ]
