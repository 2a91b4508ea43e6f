"""``sklearn-llm2vec evaluate``: what the features of a model are worth, on a table.

A task is a file of ``evaluation``, which imports nothing heavy before it runs. It has

- ``SUMMARY``, ``USAGE`` and ``EXAMPLES``: for its help,
- ``TABLES``: the tables that it reads, by the names of their arguments,
- ``GROUPS``: what tells rows of its result apart that aren't draws of the same,
- ``add_options``: its options, but for those of all tasks,
- ``evaluate_tables``: from a transformer, `Tables` and the parsed arguments to values.
"""

from functools import partial
from importlib import import_module
from textwrap import indent

from sklearn_llm2vec import evaluation
from sklearn_llm2vec._common.whole_files import check_output, whole_file
from sklearn_llm2vec._common.words import file_ending_in
from sklearn_llm2vec.cli._columns import Tables
from sklearn_llm2vec.cli._commands import PROGRAM, add_command, new_parser
from sklearn_llm2vec.cli._console import format_table
from sklearn_llm2vec.cli._model_options import add_model_options, make_transformer
from sklearn_llm2vec.cli._table_options import READABLE, add_reading, add_texts


def add_to(commands, summary):
    """Add the command, its tasks and their options."""
    tasks = {
        name: import_module(f"sklearn_llm2vec.evaluation._{name}")
        for name in evaluation.TASKS
    }
    examples = {name: _examples(name, task) for name, task in tasks.items()}
    command = new_parser(
        commands.add_parser,
        "evaluate",
        help=summary,
        about="Score the features of a model on your own data.",
        examples="examples:\n" + "".join(examples.values()),
    )
    added = command.add_subparsers(dest="task", metavar="TASK", required=True)
    for name, task in tasks.items():
        _add_task(added, name, task, f"examples:\n{examples[name]}")


def _examples(name, task):
    lines = [
        line if line.startswith(" ") else f"{PROGRAM} evaluate {name} {line}"
        for line in task.EXAMPLES.splitlines(keepends=True)
    ]
    return indent("".join(lines), "  ")


def _add_task(tasks, name, task, examples):
    added = add_command(
        tasks,
        name,
        task.SUMMARY,
        run=partial(run, task=task),
        examples=examples,
        usage=f"evaluate {name} {task.USAGE}",
    )
    for argument, about in task.TABLES.items():
        about = about.format(table=f"a table: {READABLE}")
        added.add_argument(argument, metavar=argument.upper(), help=about)
    add_reading(added)
    add_texts(added)
    added.add_argument(
        "-o",
        "--output",
        type=file_ending_in(".csv"),
        metavar="FILE",
        help="file for all values, one per row",
    )
    add_model_options(added)
    task.add_options(added.add_argument)
    added.set_defaults(resumes=True)


def run(args, task):
    """Run ``evaluate`` for a task."""
    check_output(args.output, [getattr(args, name) for name in task.TABLES])
    values = task.evaluate_tables(make_transformer(args), Tables(args), args)
    print(_means_table(values, task.GROUPS))
    if args.output:
        with whole_file(args.output) as file:
            values.to_csv(file, index=False)


def _means_table(values, groups):
    """Mean of the draws, and their standard deviation where there are several."""
    groups = [name for name in groups if name in values]
    found = values.groupby(groups, sort=False, dropna=False)["value"]
    table = found.agg(["mean", "std", "size"]).reset_index()
    rows = []
    for record in table.to_dict("records"):
        names = [_name(record[group]) for group in groups]
        several = record["size"] > 1
        deviation = f"{record['std']:.4f}" if several else ""
        rows.append([*names, f"{record['mean']:.4f}", deviation, f"{record['size']}"])
    header = [*groups, "mean", "std", "draws"]
    if table["size"].max() == 1:
        header = [*groups, "value"]
        rows = [row[:-2] for row in rows]
    return format_table(header, rows, left=len(groups))


def _name(value):
    import pandas as pd

    return "all" if pd.isna(value) else str(value)
