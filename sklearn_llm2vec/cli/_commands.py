"""How the parser of a command is made."""

import argparse

PROGRAM = "sklearn-llm2vec"


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
    group.add_argument(
        "-q", "--quiet", action="store_true", help="print no notes and no progress bars"
    )
    group.add_argument(
        "--traceback",
        action="store_true",
        help="show where an error was raised",
    )
    return command
