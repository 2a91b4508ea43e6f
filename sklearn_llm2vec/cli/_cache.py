"""``sklearn-llm2vec cache``: look at the cache, check it, make it smaller.

Needs numpy and SQLite only, so it answers at once.
"""

import json
import sys

from sklearn_llm2vec._common.people import format_bytes, visible
from sklearn_llm2vec._common.words import bytes_from, count_from, duration_from
from sklearn_llm2vec.cli._commands import PROGRAM, add_command, new_parser
from sklearn_llm2vec.cli._console import format_table, note
from sklearn_llm2vec.cli._model_options import open_named_cache

EXAMPLES = f"""\
examples:
  {PROGRAM} cache info
  {PROGRAM} cache verify
  {PROGRAM} cache prune --max-bytes 5GB --older-than 30d
  {PROGRAM} cache clear --yes
"""


def add_to(commands, summary):
    """Add the command, its actions and their options."""
    command = new_parser(
        commands.add_parser,
        "cache",
        help=summary,
        about="Inspect and maintain the cache of vectors.",
        examples=EXAMPLES,
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name, summary, run):
        added = add_command(actions, name, summary, run=run, examples=EXAMPLES)
        added.add_argument(
            "--cache", metavar="FOLDER", help="the cache (default: your own cache)"
        )
        return added.add_argument

    add = action("info", "Show what the cache contains.", _info)
    add("--json", action="store_true", help="print JSON for other programs")
    add = action("verify", "Compare stored vectors with their checksums.", _verify)
    add("--json", action="store_true", help="print JSON for other programs")
    add(
        "--sample",
        type=count_from,
        metavar="N",
        help="number of blocks to check (default: all)",
    )
    add("--seed", type=int, default=0, metavar="N", help="seed of the sample")
    add = action("prune", "Remove old vectors.", _prune)
    add(
        "--max-bytes",
        type=bytes_from,
        metavar="SIZE",
        help="size to shrink to, such as 5GB",
    )
    add(
        "--older-than",
        type=duration_from,
        metavar="TIME",
        help="remove what is older than this, such as 30d or 12h",
    )
    add(
        "--space",
        metavar="NAME",
        help="remove vectors of this space only, given by its first digits",
    )
    add = action("clear", "Remove everything.", _clear)
    add("--yes", action="store_true", help="don't ask for confirmation")


def _info(args):
    cache = open_named_cache(args)
    info = cache.info()
    if args.json:
        print(json.dumps(info, indent=2))
        return
    if not info["file_bytes"] and not info["adapter_bytes"]:
        print(f"The cache {visible(str(args.cache or info['path']))} is empty.")
        return
    asked = info["hits"] + info["misses"]
    share = f" ({info['hits'] / asked:.0%} of what was asked for)" if asked else ""
    facts = {
        "path": info["path"],
        "vectors": f"{info['vectors']:,} of {info['texts']:,} texts",
        "size": f"{format_bytes(info['bytes'])} of at most "
        f"{format_bytes(info['size_limit'])}; {format_bytes(info['file_bytes'])} on disk",
        "adapters": format_bytes(info["adapter_bytes"]),
        "found": f"{info['hits']:,}{share}",
        "encoded": f"{info['texts_encoded']:,} texts in its lifetime",
    }
    width = max(map(len, facts))
    for name, fact in facts.items():
        print(f"{name.ljust(width)}  {visible(fact)}")
    if info["spaces"]:
        print()
        print(_spaces_table(info["spaces"]))


def _spaces_table(spaces):
    header = ["space", "model", "settings", "texts", "cells", "size", "last used (UTC)"]
    rows = [
        [
            space["fingerprint"][:12],
            space["note"].get("model") or space["note"].get("name") or "?",
            _settings(space["note"]),
            f"{space['texts']:,}",
            f"{len(space['cells']):,}",
            format_bytes(space["bytes"]),
            space["last_used"][:16].replace("T", " "),
        ]
        for space in spaces
    ]
    return format_table(header, rows, left=3)


def _settings(note):
    """What tells spaces of one model apart, in a few words."""
    parts = [str(note.get(name) or "") for name in ("attention", "dtype", "endpoint")]
    if note.get("max_length"):
        parts.append(f"{note['max_length']} tokens")
    if note.get("template"):
        parts.append(f"template {note['template']!r}")
    adapters = note.get("adapters")
    if adapters and isinstance(adapters, list):
        parts.append(f"{len(adapters)} adapter{'s' * (len(adapters) > 1)}")
    words = ", ".join(filter(None, parts))
    return words if len(words) <= 48 else words[:45] + "..."


def _verify(args):
    cache = open_named_cache(args)
    result = cache.verify(args.sample, random_state=args.seed)
    if args.json:
        print(json.dumps(result))
    else:
        print(f"{result['checked']:,} vectors checked, {result['damaged']:,} damaged")
    if not result["ok"]:
        raise ValueError(
            f"The cache {cache.path} is damaged. Damaged vectors are never used and "
            "are computed again when they are needed. 'cache clear' removes "
            "everything."
        )


def _prune(args):
    if args.max_bytes is None and args.older_than is None and not args.space:
        args.parser.error("give at least one of --max-bytes, --older-than and --space")
    cache = open_named_cache(args)
    freed = cache.prune(
        max_bytes=args.max_bytes, older_than=args.older_than, space=args.space
    )
    left = format_bytes(cache.info()["bytes"])
    print(f"Removed {format_bytes(freed)} of vectors; {left} are left.")


def _clear(args):
    cache = open_named_cache(args)
    info = cache.info()
    holds = (
        f"{info['vectors']:,} vectors of {info['texts']:,} texts "
        f"({format_bytes(info['bytes'] + info['adapter_bytes'])}, adapters included)"
    )
    if not args.yes and not _confirms(f"Remove {holds} from {cache.path}? [y/N] "):
        raise ValueError("Nothing was removed. Answer 'y', or give --yes.")
    cache.clear()
    note(f"Removed {holds} from {cache.path}.", args)


def _confirms(question):
    # On stderr: stdout is for results.
    print(question, end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    return answer.strip().lower() in ("y", "yes")
