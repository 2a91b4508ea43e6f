"""The main job, start to end, offline: text columns in, honest scores out.

Without arguments the data are the functions and classes of the scientific packages
installed here: which sub-package does one live in, by its name and the first sentence of
its documentation? Eight rows of each sub-package have a label, as in a project that has
just begun. With ``--csv`` it is your own table, in three folds::

    python examples/quickstart.py --csv FILE --text COL [--text COL] --target COL

Layer and pooling are chosen inside each training part, so that the score is one for rows
that had no say in the choice.
"""

import argparse
import importlib
import inspect
import pkgutil
import time
import warnings

import pandas as pd
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ParameterGrid,
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from sklearn_llm2vec import (
    EmbeddingCache,
    LayerPoolingDisplay,
    LLMEmbeddingTransformer,
    layer_pooling_grid,
)

LABELLED = 8  # rows of each class
POOLINGS = ["mean", "max"]
PACKAGES = ("numpy", "scipy", "sklearn", "pandas", "matplotlib", "joblib")
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def package_table(per_class=40, at_least=15):
    """One row for each documented public function or class of the installed packages."""
    rows = []
    for package in PACKAGES:
        try:
            root = importlib.import_module(package)
        except ImportError:
            continue
        for module in pkgutil.iter_modules(root.__path__):
            if not module.name.startswith("_") and module.name not in (
                "tests",
                "conftest",
            ):
                rows += public_members(f"{package}.{module.name}")
    table = pd.DataFrame(rows).drop_duplicates("summary")
    sizes = table["target"].value_counts()
    table = table[table["target"].isin(sizes[sizes >= at_least].index)]
    shuffled = table.sample(frac=1, random_state=0)
    return shuffled.groupby("target").head(per_class).sort_index()


def public_members(name):
    """Rows for the public functions and classes of one sub-package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module(name)
        except Exception:  # an optional dependency of that sub-package is missing
            return []
        members = inspect.getmembers(module)
    rows = []
    for member, value in members:
        document = inspect.getdoc(value) if callable(value) else None
        home = getattr(value, "__module__", None) or ""
        if member.startswith("_") or not document or not home.startswith(name):
            continue
        summary = document.partition("\n\n")[0]
        try:
            n_parameters = len(inspect.signature(value).parameters)
        except (TypeError, ValueError):
            n_parameters = 0
        rows.append(
            {
                "name": member,
                "summary": " ".join(summary.split()),
                "n_parameters": n_parameters,
                "n_lines": document.count("\n") + 1,
                "target": name,
            }
        )
    return rows


def user_table(args):
    """The user's CSV file, cut to its text, numeric and target columns."""
    table = pd.read_csv(args.csv).dropna(subset=[args.target])
    numeric = table.select_dtypes("number").columns.difference(
        [args.target, *args.text]
    )
    return table[[*args.text, *numeric, args.target]].rename(
        columns={args.target: "target"}
    )


def read_table(args):
    """The table, its text and numeric columns, and what is to be predicted."""
    if args.csv:
        table, text = user_table(args), args.text
    else:
        table, text = package_table(), ["name", "summary"]
    X, y = table.drop(columns="target"), table["target"]
    numeric = [name for name in X.columns if name not in text]
    if numeric:
        X[numeric] = X[numeric].fillna(X[numeric].median())
    for column in text:
        X[column] = X[column].astype(object).where(X[column].notna(), None)
    return X, y, text, numeric


def split_for(y, own_table):
    """Training and test parts, the folds inside a training part, the metric, a head."""
    if pd.api.types.is_float_dtype(y):
        folds = KFold(3, shuffle=True, random_state=0)
        return folds, folds, "r2", make_pipeline(StandardScaler(), Ridge(alpha=100))
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, tol=1e-2))
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    if own_table:
        return folds, folds, "accuracy", head
    n_train = LABELLED * y.nunique()
    few = StratifiedShuffleSplit(3, train_size=n_train, random_state=0)
    return few, StratifiedKFold(4, shuffle=True, random_state=0), "accuracy", head


def tfidf_search(text, numeric, inside, metric):
    """The baseline; how much it is regularized is chosen inside, too."""
    columns = make_column_transformer(
        *((TfidfVectorizer(sublinear_tf=True), column) for column in text),
        (StandardScaler(), numeric),
    )
    if metric.__name__ == "r2":
        head, grid = Ridge(), {"ridge__alpha": [0.1, 1.0, 10.0]}
    else:
        head = LogisticRegression(tol=1e-2, max_iter=200)
        grid = {"logisticregression__C": [1.0, 10.0, 100.0]}
    return GridSearchCV(make_pipeline(columns, head), grid, cv=inside, scoring=metric)


def counted(metric, bar):
    """The metric as a scorer that moves a progress bar on with each fit."""
    scorer = get_scorer(metric)

    def score(estimator, X, y):
        bar.update()
        return scorer(estimator, X, y)

    score.__name__ = metric  # what LayerPoolingDisplay calls it
    return score


def count_fits(parts, inside, *searches):
    """How many fits a search on all rows and the comparison on the splits make."""
    n_parts, n_folds = parts.get_n_splits(), inside.get_n_splits()
    sizes = [len(ParameterGrid(search.param_grid)) for search in searches]
    return sizes[-1] * n_folds + n_parts * (1 + sum(n * n_folds + 1 for n in sizes))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--csv", help="a CSV file instead of the installed packages")
    parser.add_argument("--text", action="append", help="a text column (repeatable)")
    parser.add_argument("--target", help="the column to predict")
    parser.add_argument("--model", default=MODEL, help="hub id or folder of a model")
    parser.add_argument(
        "--cache", help="folder of the cache; the user's default if left out"
    )
    parser.add_argument(
        "--png", default="quickstart.png", help="where the heat map goes"
    )
    args = parser.parse_args()
    if args.csv and not (args.text and args.target):
        parser.error("--csv needs at least one --text and a --target")

    X, y, text, numeric = read_table(args)
    parts, inside, metric, head = split_for(y, own_table=bool(args.csv))
    n_classes = f", {y.nunique()} classes" if metric == "accuracy" else ""
    print(f"{len(X)} rows; text: {', '.join(text)}; numbers: {numeric}{n_classes}")

    cache = EmbeddingCache(args.cache)
    before = cache.info()["texts_encoded"]
    transformer = LLMEmbeddingTransformer(args.model, cache=cache)
    columns = make_column_transformer((transformer, text), (StandardScaler(), numeric))
    pipeline = make_pipeline(columns, head)
    # Of a deep model every third hidden state will do.
    n_layers = clone(transformer).fit(X[text]).n_layers_
    layers = list(range(0, n_layers + 1, 3 if n_layers > 12 else 1))
    grid = layer_pooling_grid(pipeline, layers=layers, poolings=POOLINGS)
    bar = tqdm(desc="Fitting", unit="fit", delay=3, leave=False)
    score = counted(metric, bar)
    search = GridSearchCV(pipeline, grid, cv=inside, scoring=score)
    baseline = tfidf_search(text, numeric, inside, score)
    bar.total = count_fits(parts, inside, baseline, search)

    started = time.perf_counter()
    # On all rows, for the heat map; every layer and pooling is in the cache then.
    on_all = clone(search).fit(X, y)
    scored = {"TF-IDF": baseline}
    scored["last layer, mean"] = clone(pipeline).set_params(
        **{name.replace("layer", "pooling"): "mean" for name in grid if "layer" in name}
    )
    scored["layer and pooling chosen inside"] = search
    print(f"\n{metric} on the test rows of {parts.get_n_splits()} splits")
    known = X.assign(**{column: X[column].fillna("") for column in text})
    for name, model in scored.items():
        rows = known if name == "TF-IDF" else X
        scores = cross_val_score(model, rows, y, cv=parts, scoring=score)
        bar.clear()
        print(f"  {name:<36}{scores.mean():.3f} ± {scores.std(ddof=1):.3f}", flush=True)
    seconds = time.perf_counter() - started
    bar.close()

    info = cache.info()
    print(
        f"\n{info['texts_encoded'] - before:,} texts went through the model, once each "
        f"({seconds:.0f} s in all).\nThe cache holds {info['vectors']:,} vectors in "
        f"{info['bytes'] / 1e6:.0f} MB. Run this again: none will be encoded."
    )
    LayerPoolingDisplay.from_search(on_all).figure_.savefig(
        args.png, dpi=150, bbox_inches="tight"
    )
    print(f"The heat map of layer x pooling, on all rows, is in {args.png}")


if __name__ == "__main__":
    main()
