"""``sklearn-llm2vec search``: every layer with every pooling, cross-validated.

The pipeline is that of a user: a ColumnTransformer with the texts and perhaps numbers,
and a head. All texts go through the model once, before the first fit; the search itself
is scikit-learn's.
"""

import csv
import io
from itertools import islice

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV, RidgeCV
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_llm2vec._common.whole_files import check_output, whole_file
from sklearn_llm2vec._report.report import LayerPoolingReport
from sklearn_llm2vec._search.display import LayerPoolingDisplay
from sklearn_llm2vec._search.grid import layer_pooling_grid
from sklearn_llm2vec.cli._columns import (
    as_classes,
    open_named_table,
    split_target,
    survey_texts,
)
from sklearn_llm2vec.cli._console import format_table, make_bar, note
from sklearn_llm2vec.cli._figures import find_pyplot, save_figure
from sklearn_llm2vec.cli._model_options import make_transformer
from sklearn_llm2vec.cli._pipelines import (
    check_format,
    loading_lines,
    save_pipeline,
)
from sklearn_llm2vec.cli._reading import check_kinds, read_frame

MOST_CLASSES_OF_INTEGERS = 20
# Standardised features: from hardly any shrinkage to nearly all.
ALPHAS = np.logspace(0, 5, 11)
# What predicts classes, and what predicts numbers.
HEADS = {
    "logistic-regression": (lambda seed: LogisticRegression(max_iter=1000), None),
    "ridge": (lambda seed: RidgeClassifierCV(ALPHAS), lambda seed: RidgeCV(ALPHAS)),
    "hist-gradient-boosting": (
        lambda seed: HistGradientBoostingClassifier(random_state=seed),
        lambda seed: HistGradientBoostingRegressor(random_state=seed),
    ),
}
TRANSFORMER = "features__texts"  # its name in the pipeline
CANDIDATES_AT_A_TIME = 5


def run(args):
    """Run ``search``."""
    _check_outputs(args)
    frame, target, classes = _read_rows(args)
    search = _search_layers(frame, target, classes, args)
    try:
        # Files first: whoever reads stdout may stop reading, as `head` does.
        _write_outputs(search, args)
    finally:
        print(_scores_table(search))
    if args.save:
        lines = loading_lines(
            args.save,
            args.table_path,
            separator=args.separator,
            encoding=args.encoding,
            no_quotes=args.no_quotes,
        )
        print(f"\n{lines}")


def _write_outputs(search, args):
    """Write the files that were asked for."""
    if args.results:
        _write_results(search, args.results)
    if args.png:
        save_figure(lambda: LayerPoolingDisplay.from_search(search), args.png)
    if args.html:
        LayerPoolingReport.from_search(search).save(args.html)
    if args.save:
        save_pipeline(_ready_to_use(search.best_estimator_), args.save)


def _check_outputs(args):
    """Refuse, before anything is read, outputs that can't be written."""
    for path in (args.png, args.html, args.save, args.results):
        check_output(path, [args.file])
    if args.save:
        check_format(args.save)
    if args.png:
        find_pyplot()
    if args.scoring:
        get_scorer(args.scoring)


# --- the rows ------------------------------------------------------------------------


def _read_rows(args):
    """The table without rows whose target is missing, the target, and its kind.

    Returns
    -------
    frame : pandas frame
    target : ndarray of shape (n_rows,)
    classes : bool
        Whether the target is to be predicted as classes; as numbers otherwise.
    """
    table = open_named_table(args)
    args.table_path = table.path
    if args.target in (*args.text, *args.numeric):
        args.parser.error(f"--target {args.target} can't be among what predicts it")
    survey = survey_texts(table, args, [*args.numeric, args.target])
    numbers = ["int", "float", "bool"]
    advice = "Name other columns with --numeric."
    check_kinds(table, survey, args.numeric, numbers, advice)
    advice = "Name another column with --target."
    kinds = numbers if args.task == "numbers" else [*numbers, "text"]
    check_kinds(table, survey, [args.target], kinds, advice)
    frame, target = split_target(read_frame(table, survey), table, args)
    if target.dtype.kind not in "iuf" or args.task == "classes":
        return frame, as_classes(target), args.task != "numbers"
    whole = bool((target == np.round(target)).all())
    few = len(np.unique(target)) <= MOST_CLASSES_OF_INTEGERS
    if args.task == "auto" and whole and few:
        return frame, as_classes(target), True
    return frame, target.astype(float), False


# --- the search ----------------------------------------------------------------------


class SearchWithBar(GridSearchCV):
    """GridSearchCV with a progress bar: it gives its candidates out a few at a time."""

    # Of the class: an instance is pickled for the workers of n_jobs, a bar can't be.
    bar = None

    def _run_search(self, evaluate_candidates):
        candidates = iter(ParameterGrid(self.param_grid))
        while part := list(islice(candidates, CANDIDATES_AT_A_TIME)):
            evaluate_candidates(part)
            self.bar.update(len(part))


def _search_layers(frame, target, classes, args):
    """Search layers and poolings.

    Returns
    -------
    GridSearchCV
        Fitted, the best pipeline on all rows.
    """
    if classes and len(np.unique(target)) < 2:
        raise ValueError(
            f"The target {args.target!r} must have at least two classes. It has "
            f"{str(target[0])!r} only. Name another column with --target."
        )
    pipeline = _make_search_pipeline(classes, args)
    grid = layer_pooling_grid(pipeline, layers=args.layers, poolings=args.poolings)
    scoring = args.scoring or ("accuracy" if classes else "r2")
    folds = StratifiedKFold if classes else KFold
    search = SearchWithBar(
        pipeline,
        grid,
        cv=folds(args.cv, shuffle=True, random_state=args.seed),
        scoring=scoring,
        n_jobs=args.jobs,
        error_score="raise",
    )
    head = type(pipeline[-1]).__name__
    kind = f"{len(np.unique(target))} classes" if classes else "numbers"
    note(f"{len(frame):,} rows; {args.target}: {kind}; head: {head}", args)
    _encode_once(pipeline, grid, frame, args)
    n_cells = len(grid[f"{TRANSFORMER}__layer"]) * len(grid[f"{TRANSFORMER}__pooling"])
    with make_bar(n_cells, "cell", f"{args.cv} fits each", args) as bar:
        SearchWithBar.bar = bar
        return search.fit(frame, target)


def _make_search_pipeline(classes, args):
    """The pipeline of a search, before layer and pooling are chosen."""
    name = args.head
    if name == "auto":
        name = "logistic-regression" if classes else "ridge"
    make_head = HEADS[name][0 if classes else 1]
    if make_head is None:
        raise ValueError(
            f"The head {name!r} predicts classes, and {args.target!r} holds numbers. "
            "Choose --head ridge, or --task classes."
        )
    trees = name == "hist-gradient-boosting"
    columns = [("texts", make_transformer(args), args.text)]
    if args.numeric:
        numbers = "passthrough" if trees else SimpleImputer(strategy="median")
        columns.append(("numbers", numbers, args.numeric))
    steps = [("features", ColumnTransformer(columns))]
    if not trees:
        steps.append(("scale", StandardScaler()))
    return Pipeline([*steps, ("head", make_head(args.seed))])


def _encode_once(pipeline, grid, frame, args):
    """Put what all candidates need into the cache: one pass, with one progress bar.

    Each cell is asked for, because an earlier command may have left some of them only;
    the first that is missing makes a pass that keeps them all.
    """
    (keep,) = grid[f"{TRANSFORMER}__keep"]
    transformer = clone(pipeline.get_params()[TRANSFORMER]).set_params(keep=keep)
    n_encoded = 0
    for layer in grid[f"{TRANSFORMER}__layer"]:
        for pooling in grid[f"{TRANSFORMER}__pooling"]:
            transformer.set_params(layer=layer, pooling=pooling)
            transformer.fit_transform(frame[args.text])
            n_encoded += transformer.last_report_.encoded
    n_texts = transformer.last_report_.unique
    note(f"{n_encoded:,} of {n_texts:,} texts went through the model", args)


def _ready_to_use(pipeline):
    """The fitted pipeline for new rows: it keeps no layers but the one it uses."""
    texts = pipeline.named_steps["features"].named_transformers_["texts"]
    texts.set_params(keep="requested", verbose="auto")
    pipeline.set_params(
        **{f"{TRANSFORMER}__keep": "requested", f"{TRANSFORMER}__verbose": "auto"}
    )
    return pipeline


# --- what comes out ------------------------------------------------------------------


def _scores_table(search):
    """The mean score of each layer and pooling, and the best of them, for people."""
    results = search.cv_results_
    cells, poolings = {}, []
    for params, score in zip(
        results["params"], results["mean_test_score"], strict=True
    ):
        layer, pooling = _cell(params)
        cells.setdefault(layer, {})[pooling] = score
        poolings = list(dict.fromkeys([*poolings, pooling]))
    best = search.best_index_
    layer, pooling = _cell(results["params"][best])
    rows = [
        [
            _layer_name(k),
            *(
                f"{scores[p]:.4f}{'*' if (k, p) == (layer, pooling) else ' '}"
                for p in poolings
            ),
        ]
        for k, scores in cells.items()
    ]
    header = ["layer", *(f"{pooling} " for pooling in poolings)]
    score, deviation = (results[f"{n}_test_score"][best] for n in ("mean", "std"))
    return (
        f"{search.scoring}, mean of {search.n_splits_} folds\n\n"
        f"{format_table(header, rows, left=0)}\n\n"
        f"best: layer {_layer_name(layer)}, pooling {pooling}: {score:.4f} "
        f"(standard deviation over the folds {deviation:.4f})\n"
        f"It is the highest of {len(results['params'])} scores: expect a little less on "
        "new rows."
    )


def _cell(params):
    return params[f"{TRANSFORMER}__layer"], params[f"{TRANSFORMER}__pooling"]


def _layer_name(layer):
    return ",".join(map(str, layer)) if isinstance(layer, tuple) else str(layer)


def _write_results(search, path):
    results = search.cv_results_
    folds = [f"split{i}_test_score" for i in range(search.n_splits_)]
    names = [f"fold_{i}" for i in range(1, len(folds) + 1)]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["layer", "pooling", "mean", "std", *names])
    for i, params in enumerate(results["params"]):
        layer, pooling = _cell(params)
        scores = [
            results[key][i] for key in ("mean_test_score", "std_test_score", *folds)
        ]
        rows.writerow([_layer_name(layer), pooling, *map(float, scores)])
    with whole_file(path) as file:
        file.write(text.getvalue().encode())
