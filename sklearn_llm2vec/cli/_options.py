"""The commands and their options, as argparse reads them.

A command is named here and lives in ``_command_{name}``, which is imported when it runs:
``--help`` imports no package. What each option does to texts is said by the API page of
`LLMEmbeddingTransformer`.
"""

import argparse

import sklearn_llm2vec
from sklearn_llm2vec.cli._model_options import (
    POOLINGS,
    add_model_arguments,
)
from sklearn_llm2vec.cli._option_types import (
    bytes_from,
    count_from,
    counts_from,
    duration_from,
    file_ending_in,
    layers_from,
    names_from,
    setting_from,
)

PROGRAM = "sklearn-llm2vec"
FEATURE_ENDINGS = (".parquet", ".npy", ".csv")
MODEL_ENDINGS = (".joblib", ".skops")
# _command_search.HEADS, whose import would cost seconds; a test compares them.
HEADS = ("logistic-regression", "ridge", "hist-gradient-boosting")
# _recipe.CHAINS
RECIPES = ("mntp", "simcse", "supervised", "mntp+simcse", "mntp+supervised")

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

EMBED_EXAMPLES = f"""\
examples:
  the vectors of one column, with the column that tells rows apart:
    {PROGRAM} embed reviews.csv --text review --keep id -o reviews.parquet
  layer and pooling that a search has found, of a larger model:
    {PROGRAM} embed reviews.jsonl --text review --model Qwen/Qwen3-0.6B \\
        --layer 17 --pooling mean -o reviews.npy
  one vector a row of two columns:
    {PROGRAM} embed reviews.parquet --text title --text review \\
        --template "Title: {{title}}. {{review}}" -o reviews.parquet.npy

A run that was stopped is resumed by the same command: what it encoded is in the
cache.
"""

SEARCH_EXAMPLES = f"""\
examples:
  a table on stdout, a heat map, and the best pipeline:
    {PROGRAM} search reviews.csv --text title --text review \\
        --target stars --html search.html --png search.png --save stars.joblib
  some layers, numbers beside the text, trees as the head:
    {PROGRAM} search houses.csv --text description --numeric rooms \\
        --target price --layers 2,4,6 --poolings mean,last \\
        --head hist-gradient-boosting
"""

ADAPT_EXAMPLES = f"""\
examples:
  without labels, then features of the adapted model:
    {PROGRAM} adapt reviews.csv --text review --model ./llama \\
        --recipe mntp+simcse -o adapted
    {PROGRAM} embed reviews.csv --text review --model ./llama \\
        --adapters adapted/1-mntp --adapters adapted/2-simcse -o reviews.npy
  with labels, a short training, and a model of its own for other servers:
    {PROGRAM} adapt reviews.csv --text review --target stars \\
        --recipe supervised --set supervised_steps=200 -o adapted \\
        --merge reviews-model
"""

EVALUATE_EXAMPLES = f"""\
examples:
  {PROGRAM} evaluate classification train.csv test.csv --text review \\
      --target stars
  {PROGRAM} evaluate classification train.csv test.csv --text review \\
      --target stars --n-per-class 8,16 --model Qwen/Qwen3-0.6B --layer 17
  {PROGRAM} evaluate sts pairs.csv --text first --text second \\
      --score similarity
  {PROGRAM} evaluate retrieval queries.csv documents.csv relevance.csv \\
      --text text --bm25
  {PROGRAM} evaluate clustering news.csv --text text --target topic
"""

CACHE_EXAMPLES = f"""\
examples:
  {PROGRAM} cache info
  {PROGRAM} cache verify
  {PROGRAM} cache prune --max-bytes 5GB --older-than 30d
  {PROGRAM} cache clear --yes
"""


def make_parser():
    """The parser of the whole command line.

    Returns
    -------
    ArgumentParser
        What it parses has ``command``, ``program`` (for messages) and ``parser``.
    """
    parser = _parser(argparse.ArgumentParser, prog=PROGRAM, about=ABOUT, ends=EXAMPLES)
    parser.add_argument(
        "--version", action="version", version=sklearn_llm2vec.__version__
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_embed(commands)
    _add_search(commands)
    _add_adapt(commands)
    _add_evaluate(commands)
    _add_cache(commands)
    return parser


def _parser(make, *args, about, ends, **kwargs):
    return make(
        *args,
        description=about,
        epilog=ends,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # An abbreviation would stop working when an option is added.
        allow_abbrev=False,
        **kwargs,
    )


def _command(commands, name, summary, about, ends, usage=None):
    # argparse's own usage would name all the options, which are listed below it.
    usage = usage and f"{PROGRAM} {usage} [options]"
    command = _parser(
        commands.add_parser, name, usage=usage, help=summary, about=about, ends=ends
    )
    command.set_defaults(parser=command, program=command.prog)
    group = command.add_argument_group("messages")
    group.add_argument("-q", "--quiet", action="store_true", help="no notes, no bars")
    group.add_argument(
        "--traceback",
        action="store_true",
        help="where an error comes from, for reports",
    )
    return command


def _add_table(command, about="the table: .csv, .tsv, .jsonl or .parquet"):
    command.add_argument("file", metavar="FILE", help=about)
    _add_reading(command)


def _add_reading(command):
    group = command.add_argument_group("reading of .csv, .tsv and .jsonl")
    group.add_argument("--encoding", default="utf-8-sig", help="default: utf-8")
    group.add_argument("--separator", metavar="CHAR", help="of .csv; default: a comma")
    group.add_argument(
        "--no-quotes", action="store_true", help="quotation marks are plain characters"
    )


class _AppendOnce(argparse.Action):
    """Append a value, unless it was given before."""

    def __call__(self, parser, namespace, value, option_string=None):
        values = getattr(namespace, self.dest) or []
        setattr(namespace, self.dest, list(dict.fromkeys([*values, value])))


def _add_texts(command):
    command.add_argument(
        "--text",
        action=_AppendOnce,
        required=True,
        metavar="COL",
        help="column of texts; again for more, each with features of its own",
    )


def _add_target(command, required=True, about="column to predict"):
    command.add_argument("--target", required=required, metavar="COL", help=about)


def _add_embed(commands):
    command = _command(
        commands,
        "embed",
        "the features of a table's texts, into a file",
        "Write the features of a table's text columns into a file. Rows are read and\n"
        "written in chunks, so that the file may be larger than memory.",
        EMBED_EXAMPLES,
        usage="embed FILE --text COL -o OUTPUT",
    )
    _add_table(command)
    _add_texts(command)
    command.add_argument(
        "-o",
        "--output",
        required=True,
        type=file_ending_in(*FEATURE_ENDINGS),
        metavar="FILE",
        help=".parquet: a column of float32 lists for each text column; .npy: a float32 "
        "array; .csv: a column for each feature",
    )
    command.add_argument(
        "--keep",
        action=_AppendOnce,
        default=[],
        metavar="COL",
        help="column to take over into .parquet or .csv; again for more",
    )
    command.add_argument("--overwrite", action="store_true", help="replace the output")
    command.add_argument(
        "--chunk-rows",
        type=count_from,
        default=10_000,
        metavar="N",
        help="rows that are in memory at once (default: 10000)",
    )
    add_model_arguments(command)
    command.set_defaults(resumes=True)


def _add_search(commands):
    command = _command(
        commands,
        "search",
        "the layer and pooling that predict a column best",
        "Cross-validate every layer with every pooling: texts go through the model once.",
        SEARCH_EXAMPLES,
        usage="search FILE --text COL --target COL",
    )
    _add_table(command)
    _add_texts(command)
    add = command.add_argument
    _add_target(command)
    add(
        "--numeric", action=_AppendOnce, default=[], metavar="COL", help="number to add"
    )
    add(
        "--task",
        choices=("auto", "classes", "numbers"),
        default="auto",
        help="auto: numbers for fractions and for more than 20 distinct integers",
    )
    add(
        "--head",
        choices=("auto", *HEADS),
        default="auto",
        help="default: logistic-regression for classes, ridge for numbers",
    )
    add(
        "--layers",
        type=layers_from,
        default="all",
        metavar="LIST",
        help="0,3,-1 or all",
    )
    add(
        "--poolings",
        type=names_from(POOLINGS),
        default=list(POOLINGS),
        metavar="LIST",
        help=f"default: {','.join(POOLINGS)}",
    )
    add("--cv", type=count_from, default=5, metavar="N", help="folds (default: 5)")
    add("--scoring", metavar="NAME", help="scikit-learn's; default: accuracy or r2")
    add("--jobs", type=int, default=1, metavar="N", help="processes that fit; -1: all")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of folds and head (default: 0)",
    )
    add(
        "--png",
        type=file_ending_in(".png"),
        metavar="FILE",
        help="heat map of layers and poolings",
    )
    add(
        "--html",
        type=file_ending_in(".html"),
        metavar="FILE",
        help="a page to share: scores, costs, and the Python of the best",
    )
    add(
        "--save",
        type=file_ending_in(*MODEL_ENDINGS),
        metavar="FILE",
        help="the best pipeline, fitted on all rows",
    )
    add(
        "--results",
        type=file_ending_in(".csv"),
        metavar="FILE",
        help="score of each layer, pooling and fold",
    )
    add_model_arguments(command, searched=True, served=False)
    command.set_defaults(resumes=True)


def _add_adapt(commands):
    command = _command(
        commands,
        "adapt",
        "train LLM2Vec adapters on a table's texts",
        "Make a model bidirectional and train adapters on the texts, as LLM2Vec does.",
        ADAPT_EXAMPLES,
        usage="adapt FILE --text COL -o FOLDER",
    )
    _add_table(command)
    _add_texts(command)
    add = command.add_argument
    add("--recipe", choices=RECIPES, default="mntp+simcse", help="default: mntp+simcse")
    _add_target(command, required=False, about="classes, for a supervised recipe")
    add("--positive", metavar="COL", help="or what belongs to each text, instead")
    add("--negative", metavar="COL", help="and what doesn't")
    add(
        "--set",
        action="append",
        default=[],
        type=setting_from,
        metavar="NAME=VALUE",
        help="parameter of LLM2VecRecipe, such as simcse_steps=200; again for more",
    )
    add("-o", "--output", required=True, metavar="FOLDER", help="gets the adapters")
    add("--merge", metavar="FOLDER", help="gets the whole adapted model")
    add("--png", type=file_ending_in(".png"), metavar="FILE", help="the loss by step")
    add("--seed", type=int, default=0, metavar="N", help="default: 0")
    add_model_arguments(command, served=False)
    command.set_defaults(resumes=True)


def _add_evaluate(commands):
    command = _parser(
        commands.add_parser,
        "evaluate",
        help="measure what the features of a model are worth",
        about="Measure what the features of a model are worth, on your own data.",
        ends=EVALUATE_EXAMPLES,
    )
    tasks = command.add_subparsers(dest="task", metavar="TASK", required=True)

    def task(name, summary, usage, files):
        added = _command(
            tasks, name, summary, summary, EVALUATE_EXAMPLES, f"evaluate {name} {usage}"
        )
        for file, about in files.items():
            added.add_argument(file, metavar=file.upper(), help=about)
        _add_reading(added)
        _add_texts(added)
        added.add_argument(
            "-o",
            "--output",
            type=file_ending_in(".csv"),
            metavar="FILE",
            help="all values, one a row",
        )
        add_model_arguments(added)
        added.set_defaults(resumes=True)
        return added.add_argument, added

    table = "a table: .csv, .tsv, .jsonl or .parquet"
    add, added = task(
        "classification",
        "Accuracy and macro F1 of a logistic regression.",
        "TRAIN TEST --text COL\n           --target COL",
        {"train": table, "test": "another one with the same columns"},
    )
    _add_target(added)
    add(
        "--n-per-class",
        type=counts_from,
        metavar="LIST",
        help="train on so many texts of each class, such as 8,16 (default: on all)",
    )
    add(
        "--draws",
        type=count_from,
        default=10,
        metavar="N",
        help="of these; default: 10",
    )
    add("--seed", type=int, default=0, metavar="N", help="of the draws (default: 0)")
    add, _ = task(
        "sts",
        "Correlation of cosines with people's scores of similarity.",
        "FILE --text COL --text COL\n           --score COL",
        {"file": f"{table}; each row has two texts"},
    )
    add("--score", required=True, metavar="COL", help="column of the scores")
    add, _ = task(
        "retrieval",
        "nDCG, mean average precision and recall of an exact search.",
        "QUERIES DOCUMENTS RELEVANCE\n           --text COL",
        {
            "queries": f"{table}, with ids and texts",
            "documents": "another one",
            "relevance": "a third one: query, document, relevance",
        },
    )
    add("--query-id", default="query_id", metavar="COL", help="default: query_id")
    add("--doc-id", default="doc_id", metavar="COL", help="default: doc_id")
    same = "where RELEVANCE calls it otherwise"
    add("--judged-query", metavar="COL", help=f"the query's id, {same}")
    add("--judged-doc", metavar="COL", help=f"the document's id, {same}")
    add("--relevant", default="relevance", metavar="COL", help="default: relevance")
    add("--query-template", metavar="TEXT", help="prompt of the queries alone")
    add("--document-template", metavar="TEXT", help="prompt of the documents alone")
    add("--k", type=count_from, default=10, metavar="N", help="of nDCG (default: 10)")
    add("--bm25", action="store_true", help="the baseline by words, beside the model")
    add, added = task(
        "clustering",
        "V-measure of a k-means.",
        "FILE --text COL\n           --target COL",
        {"file": table},
    )
    _add_target(added, about="column of the true classes")
    add(
        "--n-clusters", type=count_from, metavar="N", help="default: as many as classes"
    )
    add("--draws", type=count_from, default=10, metavar="N", help="starts; default: 10")
    add("--seed", type=int, default=0, metavar="N", help="of the starts (default: 0)")


def _add_cache(commands):
    command = _parser(
        commands.add_parser,
        "cache",
        help="look at the cache, check it, make it smaller",
        about="The store of all vectors that were ever made.",
        ends=CACHE_EXAMPLES,
    )
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name, summary):
        added = _command(actions, name, summary, summary, CACHE_EXAMPLES)
        added.add_argument("--cache", metavar="FOLDER", help="default: the user's own")
        return added

    info = action("info", "What the cache holds.")
    info.add_argument("--json", action="store_true", help="for programs")
    verify = action("verify", "Check stored vectors against their checksums.")
    verify.add_argument("--json", action="store_true", help="for programs")
    verify.add_argument(
        "--sample", type=count_from, metavar="N", help="blocks to check (default: all)"
    )
    verify.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the sample"
    )
    prune = action("prune", "Remove old vectors.")
    prune.add_argument(
        "--max-bytes", type=bytes_from, metavar="SIZE", help="5GB, 800MB"
    )
    prune.add_argument(
        "--older-than", type=duration_from, metavar="TIME", help="30d, 12h"
    )
    prune.add_argument(
        "--space", metavar="NAME", help="first digits, as info shows them"
    )
    clear = action("clear", "Remove everything.")
    clear.add_argument("--yes", action="store_true", help="don't ask")
