"""The parser of the command line: a command's options are in the command's own file.

The file of a command is imported when the command is called or its help is asked for,
and it imports no package before it runs: ``--help`` is instant.
"""

import argparse
from importlib import import_module

import sklearn_llm2vec
from sklearn_llm2vec.cli._commands import PROGRAM, new_parser

# In the order of ``--help``; each is a file with ``add_to``.
COMMANDS = {
    "embed": "write the features of a table's texts to a file",
    "search": "find the layer and pooling that predict a column best",
    "adapt": "train LLM2Vec adapters on a table's texts",
    "evaluate": "score the features of a model on your own data",
    "cache": "inspect, check and shrink the cache",
}

ABOUT = """\
Use hidden states of large language models as features. Vectors are kept in a
cache, so that texts aren't encoded again. Results are written to stdout, and
notes and progress bars to stderr.

exit codes: 0 success, 1 error (one line on stderr), 2 wrong usage, 130 Ctrl-C
"""

EXAMPLES = f"""\
examples:
  {PROGRAM} embed reviews.csv --text review -o reviews.parquet --keep id
  {PROGRAM} search reviews.csv --text title --text review --target stars
  {PROGRAM} COMMAND --help
"""


def make_parser(argv=None):
    """The parser of the command line.

    Parameters
    ----------
    argv : list of str or None, default=None
        The arguments that are to be parsed: of the commands only the one that they name
        gets its options. None gives all of them their options.

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
    named = next((word for word in argv or () if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        if argv is None or name == named:
            import_module(f"sklearn_llm2vec.cli._{name}").add_to(commands, summary)
        else:
            commands.add_parser(name, help=summary)
    return parser
