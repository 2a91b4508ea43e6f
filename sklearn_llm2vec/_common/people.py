"""Sizes, texts and progress as people read them."""

import sys


def format_bytes(n_bytes):
    """A size in powers of 1,000.

    Examples
    --------
    >>> from sklearn_llm2vec._common.people import format_bytes
    >>> format_bytes(999), format_bytes(1_540_000), format_bytes(20_000_000_000)
    ('999 B', '1.5 MB', '20.0 GB')
    """
    if n_bytes < 1000:
        return f"{n_bytes} B"
    units = ["kB", "MB", "GB", "TB"]
    size = n_bytes / 1000
    while size >= 999.95 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.1f} {units[0]}"


def printable(text, most=None):
    r"""A text on one line, with control characters escaped for a terminal.

    Parameters
    ----------
    text : object
        Its ``str`` is taken.
    most : int or None, default=None
        Largest number of characters that are shown.

    Examples
    --------
    >>> from sklearn_llm2vec._common.people import printable
    >>> printable("a\x1b[2J  b\n")
    'a\\x1b[2J b'
    """
    line = " ".join(str(text).split())
    if most is not None and len(line) > most:
        line = line[:most] + "..."
    return visible(line)


def visible(line):
    """A line with control characters escaped for a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def beginning(text):
    """The first characters of a text, or of the texts of a row, for messages."""
    return (text if isinstance(text, str) else "; ".join(text))[:40]


def progress_bar(total, unit, description, verbose, **options):
    """A tqdm bar as the `verbose` parameter asks for it.

    Parameters
    ----------
    total : int
    unit, description : str
    verbose : "auto" or bool
        "auto" shows the bar when the work lasts longer than 3 seconds.
    **options
        Of tqdm.
    """
    from tqdm.auto import tqdm

    if not sys.stderr.isatty():
        # In a log, a bar below another one would be empty lines.
        options = {"position": 0, **options}
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        delay=3 if verbose == "auto" else 0,
        disable=not verbose,
        **options,
    )
