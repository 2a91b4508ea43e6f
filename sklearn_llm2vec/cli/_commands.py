"""What the commands' parsers have in common: how one is made, and shared options."""

import argparse

PROGRAM = "sklearn-llm2vec"
READABLE = ".csv, .tsv, .jsonl or .parquet"


def new_parser(make, *args, about, examples, **kwargs):
    """A parser made by `make`, whose help ends with examples.

    Parameters
    ----------
    make : callable
        ``ArgumentParser``, or the ``add_parser`` of a group of commands.
    *args, **kwargs
        Of `make`.
    about, examples : str
        What stands before and behind the options.
    """
    return make(
        *args,
        description=about,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # An abbreviation would stop working when an option is added.
        allow_abbrev=False,
        **kwargs,
    )


def add_command(commands, name, summary, *, run, examples, about=None, usage=None):
    """Add a command that can be run; return its parser.

    Parameters
    ----------
    commands : what ``add_subparsers`` returned
    name, summary : str
    run : callable
        Gets the parsed arguments, which have ``parser`` and ``program`` (for messages).
        It imports what takes time.
    examples : str
    about : str or None, default=None
        More than the summary.
    usage : str or None, default=None
        The arguments that are needed. argparse's own usage would name all the options,
        which are listed below it.
    """
    command = new_parser(
        commands.add_parser,
        name,
        usage=usage and f"{PROGRAM} {usage} [options]",
        help=summary,
        about=about or summary,
        examples=examples,
    )
    command.set_defaults(run=run, parser=command, program=command.prog)
    group = command.add_argument_group("messages")
    group.add_argument("-q", "--quiet", action="store_true", help="no notes, no bars")
    group.add_argument(
        "--traceback",
        action="store_true",
        help="where an error comes from, for reports",
    )
    return command


def add_table(command):
    """Add the table that a command reads, and how it is read."""
    command.add_argument("file", metavar="FILE", help=f"the table: {READABLE}")
    add_reading(command)


def add_reading(command):
    """Add how tables are read."""
    group = command.add_argument_group("reading of .csv, .tsv and .jsonl")
    group.add_argument("--encoding", default="utf-8-sig", help="default: utf-8")
    group.add_argument("--separator", metavar="CHAR", help="of .csv; default: a comma")
    group.add_argument(
        "--no-quotes", action="store_true", help="quotation marks are plain characters"
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
        help="column of texts; again for more, each with features of its own",
    )
