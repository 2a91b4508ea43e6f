"""What a tokenizer does, as a digest of the ids that it gives to some texts.

Two tokenizers with equal files may differ in what they do: versions of transformers read
the same files in different ways.
"""

import hashlib
import json

# Each is cut otherwise by some tokenizer than by another.
PROBES = (
    "",
    " ",
    "a",
    "Hello world",
    "Apple US May",
    "apple us may",
    "HELLO WORLD",
    " leading space",
    "  two leading spaces",
    "trailing space ",
    "trailing spaces  ",
    "two  inner   spaces",
    "tab\tand\nnew line",
    "line\n\nbreaks\r\nof  \n both kinds.\n",
    "1",
    "12345",
    "In 2023 we sold 1,234,567.89 units (100%) at 3.14.",
    "I'm sure they'll say it's what we've found; I'M NOT",
    "(see 4.2) \"quoted\" 'single' [1] {2} #3 a_b c-d e/f ``x'' --- !!!???",
    "def add(a, b):\n    return a + b\n\n\tx = 100\n",
    "https://www.example.com/index.html?id=12345&page=2",
    "caf\u00e9 No\u00ebl \u00fcber",  # composed
    "cafe\u0301 Noe\u0308l u\u0308ber",  # decomposed
    "Stra\u00dfe \u0130stanbul \u00c5ngstr\u00f6m",
    "\ufb01nd the \ufb02ower of \ufb03ne \u017fort",  # ligatures, a long s
    "\uff28\uff45\uff4c\uff4c\uff4f\u3000\uff11\uff12\uff01",  # full width
    "\u2460 \u00bd \u2122 \u2026 \u338f x\u00b2",
    "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u53bb\u516c\u56ed\u3002",
    "\u6771\u4eac\u306f\u9996\u90fd\u3067\u3059\u3002 \uc548\ub155\ud558\uc138\uc694",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u0645\u0631\u062d\u0628\u0627 "
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f600 smile \U0001f469\u200d\U0001f4bb and \u2764\ufe0f",
    "non\u00a0breaking\u2009thin zero\u200bwidth\ufeff soft\u00adhyphen",
    "pneumonoultramicroscopicsilicovolcanoconiosisqzxjkvw" * 4,
)
# Of the tokens that were added to the vocabulary so many are tried in a text.
MOST_ADDED = 64


def tokenizer_probe(tokenizer):
    """A digest of what a tokenizer does.

    It is the same for two tokenizers, of whatever version of transformers, that give the
    same ids to the texts in `PROBES` and to the special tokens written out in a text.

    Parameters
    ----------
    tokenizer : transformers tokenizer

    Returns
    -------
    str
        SHA-256 as hexadecimal digits.
    """
    added = sorted(tokenizer.get_added_vocab().items(), key=lambda pair: pair[1])
    words = [(token, token.lower()) for token, _ in added[:MOST_ADDED]]
    texts = [*PROBES, *(f"a {token} b{token}c {lower}" for token, lower in words)]
    ids = [tokenizer(text, verbose=False)["input_ids"] for text in texts]
    side = getattr(tokenizer, "truncation_side", "right")
    if side != "right":  # the usual one leaves no trace
        ids.append(side)
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()
