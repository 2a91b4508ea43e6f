"""How much longer a tokenizer can make a text, so that none can fill the memory.

The parts of a ``tokenizer.json`` say what a text becomes before it is cut: a character
may be replaced by many, and those again. Such a text is made inside the package
tokenizers, which ends the process when it finds no memory.
"""

import base64
import json
import math

# What published normalizers do with one character makes at most 18 of it.
MOST_GROWTH = 1000
# Times that a text stands in its row; published ones have it once.
MOST_REPEATS = 8


def check_growth(backend, path):
    """Refuse a tokenizer that makes texts much longer than they are.

    Parameters
    ----------
    backend : tokenizers.Tokenizer
    path : Path
        The file that it was read from.

    Raises
    ------
    ValueError
    """
    growth = 1.0
    if backend.normalizer is not None:
        said = json.loads(backend.normalizer.__getstate__())
        growth = math.prod((_growth(part) for part in _parts(said)), start=1.0)
    repeats = 1
    if backend.post_processor is not None:
        said = json.loads(backend.post_processor.__getstate__())
        repeats = max(map(_repeats, _parts(said)), default=1)
    if growth > MOST_GROWTH or repeats > MOST_REPEATS:
        raise ValueError(
            f"The normalizer in {str(path)!r} must make a text at most {MOST_GROWTH:,} "
            f"times as long, and the post-processor must repeat it at most "
            f"{MOST_REPEATS} times. Got {growth:.3g} and {repeats:,} instead"
        )


def _parts(said):
    """The parts of a normalizer or post-processor that may be a sequence of others."""
    inner = said.get("normalizers") or said.get("processors")
    if said.get("type") != "Sequence" or inner is None:
        return [said]
    return [part for one in inner for part in _parts(one)]


def _growth(part):
    """By how much a normalizer makes a text longer at most."""
    kind = part.get("type")
    if kind == "Replace":
        # An empty pattern, or one for a single character, is found at every place.
        return max(1, len(part["content"]))
    if kind == "Prepend":
        return 1 + len(part["prepend"])
    if kind == "Precompiled":
        return _longest_replacement(part["precompiled_charsmap"])
    return 1


def _longest_replacement(charsmap):
    """Bytes of the longest string in sentencepiece's table of replacements."""
    table = base64.b64decode(charsmap)
    n_bytes_of_trie = int.from_bytes(table[:4], "little")
    strings = table[4 + n_bytes_of_trie :].split(b"\0")
    return max(1, max(map(len, strings)))


def _repeats(part):
    """How often a text stands in its row."""
    single = part.get("single") or ()
    return sum("Sequence" in piece for piece in single if isinstance(piece, dict))
