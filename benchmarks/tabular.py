"""Tables with text columns: what each encoding of the text is worth, and costs.

Seven tables, the text columns as nothing, ordinal codes, target means, skrub's encoders,
TF-IDF + SVD, or hidden states (a column at a time, all joined by a template, the whole
row), each with gradient-boosted trees and a linear model behind it; CatBoost, which takes
text itself, as the outside reference. Every method sees the same folds and the other
columns in the same form; all that is learned is learned on the training part of a fold.

Scores: R2 for numbers, ROC AUC for classes (mean over one-versus-rest, where there are
more than two). Costs are CPU seconds of the process, all threads, so a busy machine shows
less in them than in seconds on the clock.

Each (table, encoding, head) is a JSON line in ``--out``: an interrupted run goes on where
it was. At the end tables and plot are made from these lines, and with ``--page`` put
between the marks of that page.

    python benchmarks/tabular.py [--small] [--page docs/tabular.md]

Bars: a second cross-validation sends no text through the model; hidden states (64 a
column) are ahead of ordinal codes on every table, with either head. Needs skrub,
sentence-transformers and catboost.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import shutil
import time
import warnings
from functools import partial
from pathlib import Path

import harness
import numpy as np
from seed_models import gemma_file, gemma_is_installed
from sklearn.compose import make_column_transformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)
from tabular_report import write_report
from tabular_sets import READERS, read_table

from sklearn_llm2vec import LLMEmbeddingTransformer

SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"
CHOSEN = {"layer": "cv", "pooling": "cv"}  # by `fit`, for each column
MAX_LENGTH = 128  # tokens; longer texts and rows are cut
FIRST = "hidden states, per column, 30"  # starts with an empty cache
TREES, LINEAR, CATBOOST = "trees", "linear", "CatBoost"


# --- encodings: table, cache -> a transformer of the frame -----------------------------


def each(make, table, cache):
    """A transformer of its own for each text column, which it gets as a Series."""
    return make_column_transformer(*[(make(), name) for name in table.text])


def together(transformer, table, cache):
    """One transformer that gets all text columns as a frame."""
    return make_column_transformer((transformer, table.text))


def fill_missing(column):
    return column.fillna("")


def tfidf_svd(n_components):
    return make_pipeline(
        FunctionTransformer(fill_missing),
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TruncatedSVD(n_components, random_state=0),
    )


def llm_encoder():
    from skrub import LLMEncoder

    folder = str(harness.minilm().folder)
    return LLMEncoder(folder, n_components=30, device="cpu", random_state=0)


def hidden_states(table, cache, *, template=None, **parameters):
    """Ours; `template` is None, "joined" (the table's own) or "row"."""
    encoder = LLMEmbeddingTransformer(
        template=table.template if template == "joined" else template,
        max_length=MAX_LENGTH,
        cache=cache,
        random_state=0,
        verbose=False,
        **parameters,
    )
    columns = list(table.frame.columns) if template == "row" else table.text
    return make_column_transformer((encoder, columns))


def gemma(table, cache, **parameters):
    return hidden_states(table, cache, model=gemma_file(), **parameters)


def string_encoder(n_components):
    from skrub import StringEncoder

    return StringEncoder(n_components, random_state=0)


def minhash_encoder():
    from skrub import MinHashEncoder

    return MinHashEncoder(n_components=30)


# The pass keeps layer 4 too, for the row of its own; that costs a write.
LAYERS = {"keep": ((4, 6), ("mean",))}
CODES = OrdinalEncoder(
    handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
)
TARGET_MEANS = TargetEncoder(cv=KFold(5, shuffle=True, random_state=0))
ENCODINGS = {
    "no text": None,
    "ordinal codes": partial(together, CODES),
    "target means": partial(together, TARGET_MEANS),
    "StringEncoder, 30": partial(each, partial(string_encoder, 30)),
    "StringEncoder, 64": partial(each, partial(string_encoder, 64)),
    "MinHashEncoder, 30": partial(each, minhash_encoder),
    "TF-IDF + SVD, 64": partial(each, partial(tfidf_svd, 64)),
    FIRST: partial(hidden_states, n_components=30, **LAYERS),
}
for form, template in [("per column", None), ("joined", "joined"), ("row", "row")]:
    for size in (30, 64, None):
        parameters = {"template": template, "n_components": size}
        if form == "per column":
            parameters |= LAYERS
        name = f"hidden states, {form}, {size or 'all'}"
        ENCODINGS[name] = partial(hidden_states, **parameters)
ENCODINGS["hidden states, per column, 64, layer 4 of 6"] = partial(
    hidden_states, n_components=64, layer=4, **LAYERS
)
for size in (64, None):
    name = f"hidden states, per column, {size or 'all'}"
    ENCODINGS[f"{name}, chosen layer"] = partial(
        hidden_states, n_components=size, **CHOSEN
    )
    ENCODINGS[f"{name}, SmolLM2"] = partial(
        hidden_states, n_components=size, model=SMOLLM
    )
    ENCODINGS[f"{name}, SmolLM2, chosen layer"] = partial(
        hidden_states, n_components=size, model=SMOLLM, **CHOSEN
    )
for name, parameters in (("", {}), (", chosen layer", CHOSEN)):
    ENCODINGS[f"hidden states, per column, 64, Gemma 3{name}"] = partial(
        gemma, n_components=64, **parameters
    )
EMPTY = "hidden states, per column, 64, missing='empty'"
ENCODINGS[EMPTY] = partial(hidden_states, n_components=64, missing="empty", **LAYERS)
ENCODINGS["LLMEncoder, 30"] = partial(each, llm_encoder)


def encode(encoder, train, y_train, test):
    """Features of both parts and what they cost; no columns without an encoder."""
    cpu, clock = time.process_time(), time.perf_counter()
    if encoder is None:
        parts = [np.empty((len(rows), 0)) for rows in (train, test)]
        return *parts, {"encode_cpu": 0.0, "encode_clock": 0.0, "passed": 0}
    features = [encoder.fit_transform(train, y_train)]
    passed = texts_passed(encoder)
    features.append(encoder.transform(test))
    passed += texts_passed(encoder)
    cost = {
        "encode_cpu": time.process_time() - cpu,
        "encode_clock": time.perf_counter() - clock,
        "passed": passed,
    }
    return *[np.asarray(part, dtype=np.float32) for part in features], cost


def texts_passed(encoder):
    """How many texts the last transform sent through the model."""
    inner = [transformer for _, transformer, _ in encoder.transformers_]
    return sum(t.last_report_.encoded for t in inner if hasattr(t, "last_report_"))


def remember_vectors():
    """Let sentence-transformers encode each text once in this process.

    skrub's encoder encodes all texts in every fold, which would take hours here. Its cost
    is that of the first fold, where nothing is remembered yet.
    """
    from sentence_transformers import SentenceTransformer

    original, known = SentenceTransformer.encode, {}

    def remembering(self, texts, **options):
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, original(self, new, **options), strict=True))
        return np.stack([known[text] for text in texts])

    SentenceTransformer.encode = remembering


# --- heads -----------------------------------------------------------------------------


def trees(is_class, n_iterations):
    kind = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    return kind(
        max_iter=n_iterations, max_leaf_nodes=15, early_stopping=False, random_state=0
    )


def linear(is_class, n_iterations):
    """Its strength of regularisation is chosen within the training part.

    More components than a column has ranks are rounding errors, variance 1e-15; scaled to
    one they are all that counts for a text with something new in it (R2 of -3e6).
    """
    scale = make_pipeline(VarianceThreshold(1e-10), StandardScaler())
    if not is_class:
        return make_pipeline(scale, RidgeCV(np.logspace(-1, 5, 13)))
    head = GridSearchCV(
        LogisticRegression(max_iter=200),
        {"C": np.logspace(-4, 0, 5)},
        cv=3,
        scoring="neg_log_loss",
    )
    return make_pipeline(scale, head)


HEADS = {TREES: trees, LINEAR: linear}


def other_columns(head, table):
    """The columns that aren't text, alike for all encodings, as the head likes them."""
    if head == TREES:  # missing numbers and codes are its own business
        parts = (CODES, table.categories), ("passthrough", table.numbers)
    else:
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        impute = SimpleImputer(strategy="median")
        parts = (one_hot, table.categories), (impute, table.numbers)
    present = [part for part in parts if part[1]]
    return make_column_transformer(*present or [("drop", [])])


def fit_and_score(model, X_train, y_train, X_test, y_test, is_class):
    cpu = time.process_time()
    model.fit(X_train, y_train)
    if not is_class:
        score = r2_score(y_test, model.predict(X_test))
    else:
        chances = model.predict_proba(X_test)  # (rows, classes)
        chances = chances[:, 1] if chances.shape[1] == 2 else chances
        score = roc_auc_score(y_test, chances, multi_class="ovr")
    return {"score": float(score), "head_cpu": time.process_time() - cpu}


# --- cells -----------------------------------------------------------------------------


def run_encoding(table, encoding, heads, args):
    """Each fold is encoded once, for all heads; a line for each head."""
    make = ENCODINGS[encoding]
    cache = args.out / "cache" / table.name
    if encoding == FIRST:
        shutil.rmtree(cache, ignore_errors=True)
    lines = {head: [] for head in heads}
    for train, test in table.folds(args.folds):
        parts = table.frame.iloc[train], table.frame.iloc[test]
        y_train, y_test = table.y[train], table.y[test]
        encoder = None if make is None else make(table, cache)
        *text, cost = encode(encoder, parts[0], y_train, parts[1])
        for head in heads:
            others = other_columns(head, table).fit(parts[0])
            X_train, X_test = (
                np.hstack([others.transform(part), features], dtype=np.float64)
                for part, features in zip(parts, text, strict=True)
            )
            model = HEADS[head](table.is_class, args.iterations)
            result = fit_and_score(
                model, X_train, y_train, X_test, y_test, table.is_class
            )
            lines[head].append(result | cost | {"n_features": text[0].shape[1]})
    return lines


def run_catboost(table, encoding, heads, args):
    """Text columns as CatBoost's text features, or as more of its categories."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    kind = CatBoostClassifier if table.is_class else CatBoostRegressor
    frame = table.frame.copy()
    strings = [*table.text, *table.categories]
    frame[strings] = frame[strings].astype(object).fillna("")
    as_text = encoding == "CatBoost, text as text"
    results = []
    for train, test in table.folds(args.folds):
        model = kind(
            iterations=args.catboost,
            learning_rate=0.1,
            text_features=table.text if as_text else None,
            cat_features=table.categories if as_text else strings,
            thread_count=1,
            random_seed=0,
            verbose=False,
            allow_writing_files=False,
        )
        parts = frame.iloc[train], table.y[train], frame.iloc[test], table.y[test]
        cost = {"encode_cpu": 0.0, "encode_clock": 0.0, "passed": 0}
        result = fit_and_score(model, *parts, table.is_class)
        results.append(result | cost | {"n_features": len(table.text)})
    return {CATBOOST: results}


def plan():
    """Pairs (encoding, heads) in the order in which they are run, slow ones last."""
    slow = [name for name in ENCODINGS if ", all" in name]
    late = ("LLMEncoder", "hidden states, joined", "hidden states, row")
    catboost = [
        (f"CatBoost, text as {kind}", [CATBOOST]) for kind in ("text", "categories")
    ]
    first = [name for name in ENCODINGS if not name.startswith(late)]
    then = [name for name in ENCODINGS if name.startswith(late)]
    cells = [
        (name, [LINEAR] if name in slow else [TREES, LINEAR])
        for name in [*first, *then]
    ]
    cells[len(first) : len(first)] = catboost
    return cells + [(name, [TREES]) for name in slow if "SmolLM2" not in name]


def applies(encoding, table):
    """Whether an encoding is installed and a table can show a difference by it."""
    if "Gemma" in encoding and not gemma_is_installed():
        return False
    if encoding == "no text":
        return table.frame.shape[1] > len(table.text)
    if "row" in encoding:
        return table.frame.shape[1] > 1
    if "joined" in encoding:
        return table.template is not None
    return encoding != EMPTY or table.frame[table.text].isna().any(axis=None)


def run(args):
    """Run all cells that have no line yet; return the lines of all."""
    tables = [read_table(name, args.rows) for name in args.sets]
    args.out.mkdir(parents=True, exist_ok=True)
    sizes = f"{args.rows}-{args.folds}-{args.iterations}-{args.catboost}"
    path = args.out / f"cells-{sizes}.jsonl"  # other sizes are other results
    done = read_lines(path)
    remember_vectors()
    for encoding, heads in plan():
        for table in tables:
            if not applies(encoding, table):
                continue
            missing = [h for h in heads if (table.name, encoding, h) not in done]
            if not missing:
                continue
            run_one = run_encoding if encoding in ENCODINGS else run_catboost
            for head, folds in run_one(table, encoding, missing, args).items():
                by_name = {name: [fold[name] for fold in folds] for name in folds[0]}
                key = {"set": table.name, "encoding": encoding, "head": head}
                done[table.name, encoding, head] = line = key | by_name
                with path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                spread = np.std(line["score"], ddof=1)
                score = f"{np.mean(line['score']):.3f} ± {spread:.3f}"
                cpu = f"{sum(line['encode_cpu']):.0f} + {sum(line['head_cpu']):.0f} s"
                print(*key.values(), score, cpu, sep=" | ", flush=True)
    return tables, done


def read_lines(path):
    """Lines of earlier runs by (set, encoding, head)."""
    lines = path.read_text().splitlines() if path.is_file() else []
    lines = [json.loads(line) for line in lines]
    return {(line["set"], line["encoding"], line["head"]): line for line in lines}


def bars(tables, done):
    """What the run has to show, by its name."""

    def mean(table, encoding, head):
        return np.mean(done[table.name, encoding, head]["score"])

    ours = "hidden states, per column, 64"
    again = sum(sum(done[table.name, ours, TREES]["passed"]) for table in tables)
    better = [
        mean(table, ours, head) > mean(table, "ordinal codes", head)
        for table in tables
        for head in HEADS
    ]
    return {
        "a second cross-validation sends no text through the model": again == 0,
        "hidden states are ahead of ordinal codes on every table": all(better),
    }


def main():
    args = harness.read_sizes(
        __doc__,
        rows=(3000, 600),
        folds=(5, 2),
        iterations=(100, 10),
        catboost=(300, 20),
        sets=(
            list(READERS),
            ["employee_salaries", "midwest_survey", "videogame_sales"],
        ),
        out=(Path("tabular-results"), Path("tabular-results-small")),
        page=("", ""),
    )
    warnings.filterwarnings("ignore", category=UserWarning)  # cut texts, convergence
    for module in ("skrub", "sentence_transformers", "catboost"):
        try:
            __import__(module)
        except ImportError:
            harness.skip(f"{module} is not installed")
    with harness.new_folder():  # the default cache, for what is remembered of a model
        tables, done = run(args)
    write_report(tables, done, args)
    harness.finish(args, passed=bars(tables, done), cells=len(done))


if __name__ == "__main__":
    main()
