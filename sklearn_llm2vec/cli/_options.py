"""The parser of the command line: a command's options are in the command's own file.

These files import no package before they run, so that ``--help`` is instant.
"""

import argparse

import sklearn_llm2vec
from sklearn_llm2vec.cli import _adapt, _cache, _embed, _evaluate, _search
from sklearn_llm2vec.cli._commands import PROGRAM, new_parser

# In the order of ``--help``.
COMMANDS = (_embed, _search, _adapt, _evaluate, _cache)

ABOUT = """\
Hidden states of large language models as features: every text goes through the
model once, ever. Results go to stdout, notes and progress bars to stderr.

exit codes: 0 done, 1 an error (one line on stderr), 2 wrong usage, 130 Ctrl-C
"""

EXAMPLES = f"""\
examples:
  {PROGRAM} embed reviews.csv --text review -o reviews.parquet --keep id
  {PROGRAM} search reviews.csv --text title --text review --target stars
  {PROGRAM} COMMAND --help
"""


def make_parser():
    """The parser of the whole command line.

    Returns
    -------
    ArgumentParser
        What it parses has ``run``, and ``program`` and ``parser`` for messages.
    """
    parser = new_parser(
        argparse.ArgumentParser, prog=PROGRAM, about=ABOUT, examples=EXAMPLES
    )
    parser.add_argument(
        "--version", action="version", version=sklearn_llm2vec.__version__
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return parser
