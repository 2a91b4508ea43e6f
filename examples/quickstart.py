"""The main job, start to end, offline: text columns in, a searched pipeline out.

Without arguments the data are the docstrings of the scientific packages installed here:
which sub-package does a function or class live in? With ``--csv`` it is your own table::

    python examples/quickstart.py --csv FILE --text COL [--text COL] --target COL
"""

import argparse
import importlib
import inspect
import pkgutil
import time
import warnings

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_llm2vec import (
    EmbeddingCache,
    LayerPoolingDisplay,
    LLMEmbeddingTransformer,
    layer_pooling_grid,
)

PACKAGES = ("numpy", "scipy", "sklearn", "pandas", "matplotlib", "joblib")
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def docstring_table(per_class=40, at_least=15):
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
    table = pd.DataFrame(rows).drop_duplicates("docstring")
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
        summary, _, rest = document.partition("\n\n")
        try:
            n_parameters = len(inspect.signature(value).parameters)
        except (TypeError, ValueError):
            n_parameters = 0
        rows.append(
            {
                "name": member,
                "summary": " ".join(summary.split()),
                # Examples and cross references name the sub-package: no riddle then.
                "docstring": " ".join(
                    rest.split("See Also")[0].split(">>>")[0].split()
                ),
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--csv", help="a CSV file instead of the docstrings")
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

    if args.csv:
        table, text = user_table(args), args.text
    else:
        table, text = docstring_table(), ["name", "summary", "docstring"]
    X, y = table.drop(columns="target"), table["target"]
    numeric = [name for name in X.columns if name not in text]
    if numeric:
        X[numeric] = X[numeric].fillna(X[numeric].median())
    for column in text:
        X[column] = X[column].astype(object).where(X[column].notna(), None)
    regression = pd.api.types.is_float_dtype(y)
    n_classes = "" if regression else f", {y.nunique()} classes"
    print(f"{len(X)} rows; text: {', '.join(text)}; numbers: {numeric}{n_classes}")

    if regression:
        head, cv, metric = Ridge(), KFold(3, shuffle=True, random_state=0), "r2"
    else:
        head = LogisticRegression(C=0.1, max_iter=200, tol=1e-2)
        cv, metric = StratifiedKFold(3, shuffle=True, random_state=0), "accuracy"

    cache = EmbeddingCache(args.cache)
    before = cache.info()["texts_encoded"]
    pipeline = make_pipeline(
        make_column_transformer(
            (LLMEmbeddingTransformer(args.model, cache=cache), text),
            (StandardScaler(), numeric),
        ),
        head,
    )
    grid = layer_pooling_grid(pipeline, poolings=["mean", "weighted_mean", "max"])
    started = time.perf_counter()
    search = GridSearchCV(pipeline, grid, cv=cv, scoring=metric).fit(X, y)
    seconds = time.perf_counter() - started

    tfidf = make_pipeline(
        make_column_transformer(
            *((TfidfVectorizer(sublinear_tf=True), column) for column in text),
            (StandardScaler(), numeric),
        ),
        head,
    )
    # LogisticRegression(C=0.1) suits dense features; TF-IDF gets the better of two.
    strong = (
        tfidf
        if regression
        else make_pipeline(tfidf[0], LogisticRegression(C=10, max_iter=200, tol=1e-2))
    )
    known = X.assign(**{column: X[column].fillna("") for column in text})
    baseline = max(
        cross_val_score(model, known, y, cv=cv, scoring=metric).mean()
        for model in (tfidf, strong)
    )

    last = search.cv_results_["mean_test_score"][
        [
            p == best_of_last_layer(grid)
            for p in map(layer_and_pooling, search.cv_results_["params"])
        ]
    ]
    print(f"\n{metric} on the same {cv.get_n_splits()} folds")
    print(f"  TF-IDF                                   {baseline:.3f}")
    print(f"  hidden states, last layer, mean          {last[0]:.3f}")
    layer, pooling = layer_and_pooling(search.best_params_)
    chosen = f"layer {layer}, {pooling}, searched"
    print(f"  hidden states, {chosen:<26}{search.best_score_:.3f}")

    info = cache.info()
    encoded = info["texts_encoded"] - before
    n_fits = len(search.cv_results_["params"]) * cv.get_n_splits()
    # Each fit transforms its training and its test part, and the refit all rows again.
    asked = (n_fits + 1) * len(X) * len(text)
    print(
        f"\n{n_fits} fits asked for the vectors of {asked:,} texts; {encoded:,} went "
        f"through the model ({seconds:.0f} s in all).\nThe cache holds "
        f"{info['vectors']:,} vectors in {info['bytes'] / 1e6:.0f} MB. Run this again: "
        "none will be encoded."
    )
    LayerPoolingDisplay.from_search(search).figure_.savefig(
        args.png, dpi=150, bbox_inches="tight"
    )
    print(f"The heat map of layer x pooling is in {args.png}")


def layer_and_pooling(params):
    """The searched layer and pooling, whatever they are nested in."""
    values = {name.rsplit("__", 1)[-1]: value for name, value in params.items()}
    return values["layer"], values["pooling"]


def best_of_last_layer(grid):
    layers = next(v for name, v in grid.items() if name.endswith("__layer"))
    return max(layers), "mean"


if __name__ == "__main__":
    main()
