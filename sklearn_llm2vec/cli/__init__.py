"""The command line ``sklearn-llm2vec``: what is caught, and how it ends.

A command is a file of its own, with its options. It gets its parsed arguments, prints its
results to stdout and returns nothing.
"""

import os
import sys
import warnings
from contextlib import contextmanager

from sklearn_llm2vec.cli._console import one_line
from sklearn_llm2vec.cli._options import make_parser

__all__ = ["main"]

OK, FAILED, INTERRUPTED = 0, 1, 130  # argparse exits with 2 for wrong usage


def main(argv=None):
    """Run a command.

    Parameters
    ----------
    argv : list of str or None, default=None
        The arguments behind the program's name; None takes those of the process.

    Returns
    -------
    int
        0 when it went well; 1 for an error, which stderr has in one line; 130 after
        Ctrl-C. Wrong usage ends the process with 2, as argparse does.

    Examples
    --------
    >>> from sklearn_llm2vec.cli import main
    >>> main(["cache", "info", "--cache", "no/such/folder"])
    The cache no/such/folder is empty.
    0
    """
    argv = sys.argv[1:] if argv is None else argv
    args = make_parser(argv).parse_args(argv)
    try:
        with _plain_warnings():
            args.run(args)
            sys.stdout.flush()
        return OK
    except KeyboardInterrupt:
        _say(f"Interrupted. {_what_is_kept(args)}")
        return INTERRUPTED
    except BrokenPipeError:
        # `| head` has seen enough. Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if args.traceback:
            raise
        # A KeyError's str is its key alone, which says nothing by itself.
        known = isinstance(error, (ValueError, TypeError, OSError, ImportError))
        kind = "" if known and str(error) else f"{type(error).__name__}: "
        _say(f"{args.program}: error: {kind}{one_line(error)}")
        return FAILED


def _say(message):
    print(message, file=sys.stderr, flush=True)


def _what_is_kept(args):
    if not getattr(args, "resumes", False):
        return "Nothing was written."
    if args.no_cache:
        return "Nothing was stored, because there is no cache."
    return "Finished work is in the cache. Run the same command again to continue."


@contextmanager
def _plain_warnings():
    """Warnings as one line for users, without the line of code that gave them."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_args, **_kwargs: _say(
            f"warning: {one_line(message)}"
        )
        yield
