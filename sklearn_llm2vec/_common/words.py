"""What the words of a command's options mean: counts, layers, sizes, times, file names.

Each function takes the words as they were typed and returns a value, or raises what
argparse prints behind the name of the option. No package is imported: ``--help`` is
instant.
"""

import argparse
import ast
import re
from datetime import timedelta
from pathlib import Path

BYTES = {"": 1, "b": 1} | {
    f"{letter}{middle}b": base**power
    for power, letter in enumerate("kmgt", start=1)
    for middle, base in (("", 1000), ("i", 1024))
}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def layer_from(words):
    """A layer: an int, a relative depth, or several as their mean.

    Examples
    --------
    >>> from sklearn_llm2vec._common.words import layer_from
    >>> layer_from("-1"), layer_from("0.5"), layer_from("3,-1")
    (-1, 0.5, (3, -1))
    """
    if "," in words:
        return tuple(_one_layer(part) for part in words.split(","))
    return _one_layer(words)


def _one_layer(words):
    try:
        return int(words) if re.fullmatch(r"\s*[-+]?\d+\s*", words) else float(words)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "expected a layer such as 6, -1 or 0.5, or several, such as 3,6; got "
            f"{words!r}"
        ) from None


def layers_from(words):
    """The layers of a search: "all", or a list."""
    if words == "all":
        return "all"
    return [_one_layer(part) for part in words.split(",")]


def names_from(choices):
    """Several names, comma between them, each of which must be a choice."""

    def names(words):
        chosen = [part.strip() for part in words.split(",")]
        unknown = [name for name in chosen if name not in choices]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"expected names among {', '.join(choices)}, with commas between them; "
                f"got {unknown[0]!r}"
            )
        return list(dict.fromkeys(chosen))

    return names


def count_from(words):
    """A positive int; commas and underscores may group its digits."""
    plain = words.replace(",", "").replace("_", "")
    if not plain.isdecimal() or int(plain) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number; got {words!r}")
    return int(plain)


def counts_from(words):
    """Positive ints, a comma between them."""
    return [count_from(part.strip()) for part in words.split(",")]


def one_or_more_from(words):
    """A positive int, or "auto"."""
    return words if words == "auto" else count_from(words)


def bytes_from(words):
    """A number of bytes.

    Examples
    --------
    >>> from sklearn_llm2vec._common.words import bytes_from
    >>> bytes_from("5GB"), bytes_from("1.5 MiB"), bytes_from("800")
    (5000000000, 1572864, 800)
    """
    match = re.fullmatch(r"(\d+\.?\d*)\s*([a-z]*)", words.strip().lower())
    if not match or match[2] not in BYTES:
        raise argparse.ArgumentTypeError(
            f"expected a size such as 5GB, 800MB or 2GiB; got {words!r}"
        )
    return int(float(match[1]) * BYTES[match[2]])


def duration_from(words):
    """A length of time.

    Examples
    --------
    >>> from sklearn_llm2vec._common.words import duration_from
    >>> str(duration_from("30d")), str(duration_from("90m"))
    ('30 days, 0:00:00', '1:30:00')
    """
    match = re.fullmatch(r"(\d+\.?\d*)\s*([smhdw])", words.strip().lower())
    if not match:
        raise argparse.ArgumentTypeError(
            f"expected a time such as 30d, 12h or 2w; got {words!r}"
        )
    return timedelta(seconds=float(match[1]) * SECONDS[match[2]])


def file_ending_in(*endings):
    """A path to write, whose ending says in which format."""

    def file(words):
        path = Path(words).expanduser()
        if path.suffix.lower() not in endings:
            raise argparse.ArgumentTypeError(
                f"expected a file that ends in {' or '.join(endings)}, which "
                f"determines the format; got {words!r}"
            )
        return path

    return file


def setting_from(words):
    """A parameter and its value, as NAME=VALUE; a value is read as Python, else as words.

    Examples
    --------
    >>> from sklearn_llm2vec._common.words import setting_from
    >>> setting_from("simcse_steps=100"), setting_from("precision=bfloat16")
    (('simcse_steps', 100), ('precision', 'bfloat16'))
    """
    name, equals, value = words.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE; got {words!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
