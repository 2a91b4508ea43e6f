"""What the command line prints: tables for people, notes and progress bars.

Results go to stdout, all else to stderr.
"""

import sys

from sklearn_llm2vec._common.people import printable, progress_bar, visible

# Lines of a log, and not the refreshes of a terminal.
SECONDS_BETWEEN_LOG_LINES = 10


def format_table(header, rows, *, left=1):
    """Lines of an aligned table.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequences of str
    left : int, default=1
        So many columns, from the first, are aligned to the left; the others, numbers,
        to the right.

    Returns
    -------
    str

    Examples
    --------
    >>> from sklearn_llm2vec.cli._console import format_table
    >>> print(format_table(["layer", "mean"], [["0", "0.5"], ["12", "0.75"]]))
    layer  mean
    -----  ----
    0       0.5
    12     0.75
    """
    # Names may come from the files of others, and a terminal obeys escapes.
    cells = [list(map(printable, row)) for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def one_line(message):
    """A message on one line, whatever line breaks and escapes it has."""
    return printable(message)


def note(message, args):
    """Say something on stderr, unless the user wants quiet."""
    if not args.quiet:
        lines = map(visible, str(message).split("\n"))
        print("\n".join(lines), file=sys.stderr, flush=True)


def make_bar(total, unit, description, args):
    """A progress bar on stderr; a line each ten seconds where that is a file."""
    terminal = sys.stderr.isatty()
    return progress_bar(
        total,
        unit,
        description,
        not args.quiet,
        file=sys.stderr,
        mininterval=0.1 if terminal else SECONDS_BETWEEN_LOG_LINES,
    )
