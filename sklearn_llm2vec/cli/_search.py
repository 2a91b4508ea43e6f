"""``sklearn-llm2vec search``: every layer with every pooling, cross-validated."""

from sklearn_llm2vec._common.whole_files import check_output
from sklearn_llm2vec._common.words import (
    count_from,
    file_ending_in,
    layers_from,
    names_from,
)
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec.cli._columns import (
    as_classes,
    open_named_table,
    split_target,
    survey_texts,
)
from sklearn_llm2vec.cli._commands import PROGRAM, add_command
from sklearn_llm2vec.cli._figures import find_pyplot, save_figure
from sklearn_llm2vec.cli._heads import HEADS
from sklearn_llm2vec.cli._model_options import add_model_options
from sklearn_llm2vec.cli._pipelines import (
    ENDINGS,
    check_format,
    loading_lines,
    save_pipeline,
)
from sklearn_llm2vec.cli._search_scores import scores_table, write_results
from sklearn_llm2vec.cli._table_options import AppendOnce, add_table, add_texts
from sklearn_llm2vec.cli._tables import check_kinds, read_frame

MOST_CLASSES_OF_INTEGERS = 20

EXAMPLES = f"""\
examples:
  a table on stdout, a heat map, and the best pipeline:
    {PROGRAM} search reviews.csv --text title --text review \\
        --target stars --html search.html --png search.png --save stars.joblib
  some layers, numbers beside the text, trees as the head:
    {PROGRAM} search houses.csv --text description --numeric rooms \\
        --target price --layers 2,4,6 --poolings mean,last \\
        --head hist-gradient-boosting
"""


def add_to(commands, summary):
    """Add the command and its options."""
    command = add_command(
        commands,
        "search",
        summary,
        run=run,
        about="Cross-validate every layer with every pooling. Each text is encoded "
        "once.",
        examples=EXAMPLES,
        usage="search FILE --text COL --target COL",
    )
    add_table(command)
    add_texts(command)
    _add_what_is_predicted(command.add_argument)
    _add_what_is_searched(command.add_argument)
    _add_outputs(command.add_argument)
    add_model_options(command, searched=True, served=False)
    command.set_defaults(resumes=True)


def _add_what_is_predicted(add):
    add("--target", required=True, metavar="COL", help="column to predict")
    add(
        "--numeric",
        action=AppendOnce,
        default=[],
        metavar="COL",
        help="numeric column to add",
    )
    add(
        "--task",
        choices=("auto", "classes", "numbers"),
        default="auto",
        help="kind of prediction; auto is numbers if there are fractions or more than 20 "
        "distinct integers",
    )
    add(
        "--head",
        choices=("auto", *HEADS),
        default="auto",
        help="final estimator (default: logistic-regression for classes, ridge for "
        "numbers)",
    )


def _add_what_is_searched(add):
    add(
        "--layers",
        type=layers_from,
        default="all",
        metavar="LIST",
        help="such as 0,3,-1 (default: all)",
    )
    add(
        "--poolings",
        type=names_from(POOLINGS),
        metavar="LIST",
        help=f"default: {','.join(POOLINGS)}, without first for causal decoders",
    )
    add(
        "--cv",
        type=count_from,
        default=5,
        metavar="N",
        help="number of folds (default: 5)",
    )
    add(
        "--scoring",
        metavar="NAME",
        help="a scikit-learn scorer (default: accuracy or r2)",
    )
    add(
        "--no-baselines",
        dest="baselines",
        action="store_false",
        help="leave out TF-IDF and the most frequent class",
    )
    add(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="number of processes; -1 uses all cores",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the folds and the head (default: 0)",
    )


def _add_outputs(add):
    def add_file(option, *endings, about):
        add(option, type=file_ending_in(*endings), metavar="FILE", help=about)

    add_file("--png", ".png", about="heat map of layers and poolings")
    about = "HTML page to share, with scores, costs, and code of the best candidate"
    add_file("--html", ".html", about=about)
    add_file("--save", *ENDINGS, about="the best pipeline, fitted on all rows")
    add_file("--results", ".csv", about="score of each layer, pooling and fold")


def run(args):
    """Run ``search``."""
    from sklearn_llm2vec.cli._comparisons import compare
    from sklearn_llm2vec.cli._layer_search import search_layers

    _check(args)
    table = open_named_table(args)
    frame, target, classes = _read_rows(table, args)
    search = search_layers(frame, target, classes, args)
    comparisons = compare(search, frame, target, classes, args)
    try:
        # Files first: whoever reads stdout may stop reading, as `head` does.
        _write_outputs(search, comparisons, args)
    finally:
        print(scores_table(search, comparisons))
    if args.save:
        print(f"\n{loading_lines(args.save, table, args.text)}")


def _write_outputs(search, comparisons, args):
    """Write the files that were asked for."""
    from sklearn_llm2vec._report.report import LayerPoolingReport
    from sklearn_llm2vec._search.display import LayerPoolingDisplay
    from sklearn_llm2vec.cli._layer_search import ready_to_use

    if args.results:
        write_results(search, args.results)
    if args.png:
        save_figure(lambda: LayerPoolingDisplay.from_search(search), args.png)
    if args.html:
        report = LayerPoolingReport.from_search(search, comparisons=comparisons)
        report.save(args.html)
    if args.save:
        save_pipeline(ready_to_use(search.best_estimator_), args.save)


def _check(args):
    """Refuse, before anything is read, what can't be done."""
    if args.target in (*args.text, *args.numeric):
        args.parser.error(f"--target {args.target} can't be one of its own predictors")
    from sklearn.metrics import get_scorer

    for path in (args.png, args.html, args.save, args.results):
        check_output(path, [args.file])
    if args.save:
        check_format(args.save)
    if args.png:
        find_pyplot()
    if args.scoring:
        get_scorer(args.scoring)


def _read_rows(table, args):
    """The table without rows whose target is missing, the target, and its kind.

    Returns
    -------
    frame : pandas frame
    target : ndarray of shape (n_rows,)
    classes : bool
        Whether the target is to be predicted as classes; as numbers otherwise.
    """
    import numpy as np

    survey = survey_texts(table, args, [*args.numeric, args.target])
    numbers = ["int", "float", "bool"]
    advice = "Name other columns with --numeric."
    check_kinds(table, survey, args.numeric, numbers, advice)
    advice = "Name another column with --target."
    kinds = numbers if args.task == "numbers" else [*numbers, "text"]
    check_kinds(table, survey, [args.target], kinds, advice)
    frame = read_frame(table, survey, texts=args.text, numbers=args.numeric)
    frame, target = split_target(frame, table, survey, args)
    numeric = target.dtype.kind in "iuf" or args.target in survey.numeric
    if not numeric or args.task == "classes":
        return frame, as_classes(target), args.task != "numbers"
    numbers = target.astype(float)
    whole = bool((numbers == np.round(numbers)).all())
    few = len(np.unique(numbers)) <= MOST_CLASSES_OF_INTEGERS
    if args.task == "auto" and whole and few:
        return frame, as_classes(target), True
    return frame, numbers, False
