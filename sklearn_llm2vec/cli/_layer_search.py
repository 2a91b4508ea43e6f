"""The search of layers and poolings: a user's pipeline in scikit-learn's GridSearchCV.

The pipeline is a ColumnTransformer with the texts and perhaps numbers, and a head. All
texts go through the model once, before the first fit.
"""

from itertools import islice

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_llm2vec._common.people import format_bytes
from sklearn_llm2vec._estimator.source import open_cache
from sklearn_llm2vec._search.grid import make_grid
from sklearn_llm2vec._text.texts import read_texts
from sklearn_llm2vec.cli._comparisons import INNER_FOLDS
from sklearn_llm2vec.cli._console import make_bar, note
from sklearn_llm2vec.cli._heads import HEADS
from sklearn_llm2vec.cli._model_options import make_transformer
from sklearn_llm2vec.cli._search_scores import TRANSFORMER

CANDIDATES_AT_A_TIME = 5


class SearchWithBar(GridSearchCV):
    """GridSearchCV with a progress bar: it gives its candidates out a few at a time."""

    # Of the class: an instance is pickled for the workers of n_jobs, a bar can't be.
    bar = None

    def _run_search(self, evaluate_candidates):
        candidates = iter(ParameterGrid(self.param_grid))
        while part := list(islice(candidates, CANDIDATES_AT_A_TIME)):
            evaluate_candidates(part)
            self.bar.update(len(part))


def search_layers(frame, target, classes, args):
    """Search layers and poolings.

    Returns
    -------
    GridSearchCV
        Fitted, the best pipeline on all rows.
    """
    if classes and len(np.unique(target)) < 2:
        raise ValueError(
            f"The target {args.target!r} must have at least two classes. It has only "
            f"{str(target[0])!r}. Name another column with --target."
        )
    pipeline = _make_pipeline(classes, args)
    grid, size, _ = make_grid(pipeline, args.layers, args.poolings or "all")
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
    _say_what_it_takes(pipeline, grid, size, frame, args)
    _encode_once(pipeline, grid, frame, args)
    n_cells = len(grid[f"{TRANSFORMER}__layer"]) * len(grid[f"{TRANSFORMER}__pooling"])
    with make_bar(n_cells, "cell", f"{args.cv} fits each", args) as bar:
        SearchWithBar.bar = bar
        return search.fit(frame, target)


def _make_pipeline(classes, args):
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


def _say_what_it_takes(pipeline, grid, size, frame, args):
    """How many fits a search makes and how much it stores, and what makes it smaller."""
    transformer = pipeline.get_params()[TRANSFORMER]
    n_cells = len(ParameterGrid(grid))
    n_fits = n_cells * args.cv * (1 + min(INNER_FOLDS, args.cv))
    note(f"{n_cells} combinations of layer and pooling, about {n_fits:,} fits", args)
    cache = open_cache(transformer.cache)
    if cache is None:
        return
    n_texts = len(read_texts(frame[args.text], missing="zero").unique)
    note(
        f"their vectors take {format_bytes(n_texts * size)} of the cache; fewer --layers "
        "or --poolings take less",
        args,
    )


def _encode_once(pipeline, grid, frame, args):
    """Put what all candidates need into the cache: one pass, with one progress bar.

    Each cell is asked for, because an earlier command may have left some of them only;
    the first that is missing makes a pass that keeps them all.
    """
    transformer = clone(pipeline.get_params()[TRANSFORMER])
    n_encoded = 0
    for layer in grid[f"{TRANSFORMER}__layer"]:
        for pooling in grid[f"{TRANSFORMER}__pooling"]:
            transformer.set_params(layer=layer, pooling=pooling)
            transformer.fit_transform(frame[args.text])
            n_encoded += transformer.last_report_.encoded
    n_texts = transformer.last_report_.unique
    note(f"{n_encoded:,} of {n_texts:,} texts went through the model", args)


def ready_to_use(pipeline):
    """The fitted pipeline for new rows, with the usual progress bars."""
    texts = pipeline.named_steps["features"].named_transformers_["texts"]
    texts.set_params(verbose="auto")
    return pipeline.set_params(**{f"{TRANSFORMER}__verbose": "auto"})
