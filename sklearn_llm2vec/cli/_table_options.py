"""The options that say which table is read, how, and which of its columns are texts."""

import argparse

from sklearn_llm2vec.cli._formats import READ, endings_of, listed

READABLE = listed(endings_of(READ))


def add_table(command):
    """Add the table that a command reads, and how it is read."""
    command.add_argument("file", metavar="FILE", help=f"the table: {READABLE}")
    add_reading(command)


def add_reading(command):
    """Add how tables are read."""
    texts = endings_of(one for one in READ if one.is_text)
    group = command.add_argument_group(f"options for {listed(texts, 'and')}")
    group.add_argument("--encoding", default="utf-8-sig", help="default: utf-8")
    group.add_argument(
        "--separator", metavar="CHAR", help="separator of .csv files (default: a comma)"
    )
    group.add_argument(
        "--no-quotes",
        action="store_true",
        help="treat quotation marks as ordinary characters",
    )


class AppendOnce(argparse.Action):
    """Append a value, unless it was given before."""

    def __call__(self, parser, namespace, value, option_string=None):
        values = getattr(namespace, self.dest) or []
        setattr(namespace, self.dest, list(dict.fromkeys([*values, value])))


def add_texts(command):
    """Add the columns of texts."""
    command.add_argument(
        "--text",
        action=AppendOnce,
        required=True,
        metavar="COL",
        help="column of texts; may be repeated, and each column gives its own features",
    )
