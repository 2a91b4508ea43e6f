"""The commands search, adapt and evaluate, against what the library gives in Python."""

import csv
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import WORDS
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import same_bits

import sklearn_llm2vec
from sklearn_llm2vec import EmbeddingCache, LLM2VecRecipe, LLMEmbeddingTransformer
from sklearn_llm2vec._common.extras import how_to_install
from sklearn_llm2vec._common.people import format_bytes
from sklearn_llm2vec.cli import _search
from sklearn_llm2vec.cli._heads import penalties

ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(Path(sklearn_llm2vec.__file__).parents[1])
}


@pytest.fixture
def reviews(tmp_path):
    """A table in a csv file: texts in which one word decides, and numbers."""
    rng = random.Random(0)
    rows = []
    for i in range(60):
        good = i % 2
        words = rng.choices(WORDS[:-30], k=6) + (["card"] if good else ["dog"]) * 2
        rng.shuffle(words)
        rows.append(
            {
                "id": i,
                "title": None if i == 7 else rng.choice(WORDS),
                "review": " ".join(words),
                "rooms": None if i == 3 else rng.randint(1, 9),
                "stars": "good" if good else "bad",
                "price": good * 10 + rng.random(),
                "grade": good + 1,
            }
        )
    frame = pd.DataFrame(rows).astype({"rooms": "Int64"})
    frame.to_csv(tmp_path / "reviews.csv", index=False)
    return frame


def table_of(out):
    """Scores by layer and pooling, as the printed table has them."""
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == ["layer"])
    poolings = lines[start].split()[1:]
    scores = {}
    for line in lines[start + 2 :]:
        if not line:
            break
        layer, *values = line.split()
        for pooling, value in zip(poolings, values, strict=True):
            scores[int(layer), pooling] = float(value.strip("*"))
    return scores


# --- search --------------------------------------------------------------------------


def test_search_prints_the_scores_of_scikit_learn(run, reviews, bert):
    code, out, err = run(
        *("search", "reviews.csv", "--text", "review", "--target", "stars"),
        *("--model", bert, "--cache", "cache", "--cv", 3, "--seed", 5),
        *("--layers", "0,2,3", "--poolings", "mean,last", "--results", "all.csv"),
    )
    assert code == 0, err
    assert "60 rows; stars: 2 classes; head: LogisticRegression" in err
    scores = table_of(out)
    assert list(scores) == [(k, p) for k in (0, 2, 3) for p in ("mean", "last")]
    folds = StratifiedKFold(3, shuffle=True, random_state=5)
    for (layer, pooling), score in scores.items():
        encoder = LLMEmbeddingTransformer(
            bert, layer=layer, pooling=pooling, cache=False
        )
        head = LogisticRegression(max_iter=1000)
        pipe = make_pipeline(encoder, StandardScaler(), head)
        want = cross_val_score(pipe, reviews[["review"]], reviews["stars"], cv=folds)
        assert score == pytest.approx(want.mean(), abs=5e-5)
    layer, pooling = max(scores, key=scores.get)
    assert (
        f"best: layer {layer}, pooling {pooling}: {scores[layer, pooling]:.4f}" in out
    )
    assert out.count("*") == 1
    results = pd.read_csv("all.csv")
    assert results["mean"].round(4).tolist() == list(scores.values())
    assert list(results)[2:] == ["mean", "std", "fold_1", "fold_2", "fold_3"]


def compared(out):
    """Mean and interval of each line below the best score."""
    _, _, block = out.partition("What to expect on new rows:")
    lines = [re.split(r" {2,}", line.strip()) for line in block.strip().splitlines()]
    return {name: (float(mean), interval) for name, mean, interval in lines[2:5]}


def test_the_best_score_is_compared_on_the_same_folds(run, reviews, bert):
    code, out, err = run(
        *("search", "reviews.csv", "--text", "review", "--text", "title"),
        *("--target", "stars", "--model", bert, "--cache", "cache", "--cv", 3),
        *("--layers", "1,3", "--poolings", "mean,last", "--html", "page.html"),
    )
    assert code == 0, err
    found = compared(out)
    assert list(found) == [
        "layer and pooling chosen inside each fold",
        "TF-IDF with the same head",
        "the most frequent class",
    ]
    texts = reviews[["review", "title"]]
    encoder = LLMEmbeddingTransformer(bert, cache="cache")
    head = LogisticRegression(max_iter=1000)
    pipe = make_pipeline(encoder, StandardScaler(), head)
    grid = {
        "llmembeddingtransformer__layer": [1, 3],
        "llmembeddingtransformer__pooling": ["mean", "last"],
    }
    inner, outer = (StratifiedKFold(n, shuffle=True, random_state=0) for n in (3, 3))
    search = GridSearchCV(pipe, grid, cv=inner)
    want = cross_val_score(search, texts, reviews["stars"], cv=outer)
    error = want.std(ddof=1) / 3**0.5 * 4.302653  # Student's t, 2 degrees of freedom
    low, high = want.mean() - error, want.mean() + error
    mean, interval = found["layer and pooling chosen inside each fold"]
    assert mean == pytest.approx(want.mean(), abs=5e-5)
    assert interval == f"{low:.4f} to {high:.4f}"
    assert found["the most frequent class"][0] == 0.5
    joined = [" ".join(t or "" for t in row) for row in texts.fillna("").to_numpy()]
    tfidf = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    want = cross_val_score(
        make_pipeline(tfidf, LogisticRegression(max_iter=1000)),
        joined,
        reviews["stars"],
        cv=outer,
    )
    assert found["TF-IDF with the same head"][0] == pytest.approx(want.mean(), abs=5e-5)
    assert (
        f"<dd>{mean:.3f}<small>layer and pooling chosen"
        in Path("page.html").read_text()
    )
    # Heads only: no text goes through the model again.
    n_texts = len({t for name in texts for t in texts[name].dropna()})
    assert EmbeddingCache("cache").info()["texts_encoded"] == n_texts


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("--no-baselines", ["layer and pooling chosen inside each fold"]),
        ("--head hist-gradient-boosting --numeric rooms", [3]),
        ("--head ridge --numeric rooms", [3]),
    ],
)
def test_baselines_with_every_head(options, names, run, reviews, bert):
    code, out, err = run(
        *("search", "reviews.csv", "--text", "review", "--target", "price"),
        *("--model", bert, "--cache", "cache", "--cv", 2, "--layers", "1"),
        *("--poolings", "mean", *options.split()),
    )
    assert code == 0, err
    found = compared(out.partition("\n\nimport")[0])
    assert list(found) == names or [len(found)] == names
    if len(found) == 3:
        assert found["the mean"][0] < 0.01


def test_too_few_rows_to_choose_inside_the_folds(run, bert):
    rows = [f"{word},{'ab'[i % 2]}" for i, word in enumerate(WORDS[:4])]
    Path("t.csv").write_text("\n".join(["text,label", *rows]))
    code, out, err = run(
        *("search", "t.csv", "--text", "text", "--target", "label", "--model", bert),
        *("--cache", "cache", "--cv", 2, "--layers", "1", "--poolings", "mean"),
    )
    assert code == 0, err
    assert "too few rows to repeat the choice inside each fold" in err
    assert "chosen inside" not in out


def test_search_encodes_each_text_once(run, reviews, bert):
    command = ["search", "reviews.csv", "--text", "review", "--text", "title"]
    command += ["--target", "stars", "--model", bert, "--cache", "cache", "--cv", "2"]
    code, _, err = run(*command)
    assert code == 0, err
    texts = {t for name in ("review", "title") for t in reviews[name].dropna()}
    info = EmbeddingCache("cache").info()
    assert info["texts_encoded"] == len(texts)
    assert info["vectors"] == len(texts) * 4 * 5  # layers 0 to 3, all poolings
    assert f"{len(texts)} of {len(texts)} texts went through the model" in err
    assert "20 combinations of layer and pooling, about 120 fits" in err
    size = format_bytes(len(texts) * 20 * 32 * 4)
    assert f"their vectors take {size} of the cache; fewer --layers" in err
    assert "2 fits each: 100%" in err and "20/20" in err


def test_search_encodes_before_the_first_fit_what_an_embed_left_out(run, reviews, bert):
    command = f"reviews.csv --text review --model {bert} --cache cache".split()
    assert run("embed", *command, "-o", "a.npy")[0] == 0
    n_texts = EmbeddingCache("cache").info()["texts_encoded"]
    code, _, err = run("search", *command, "--target", "stars", "--cv", 2)
    assert code == 0, err
    assert f"{n_texts} of {n_texts} texts went through the model" in err
    assert EmbeddingCache("cache").info()["texts_encoded"] == 2 * n_texts


def test_search_of_numbers_with_numbers(run, reviews, bert):
    code, out, err = run(
        *("search", "reviews.csv", "--text", "review", "--target", "price"),
        *("--numeric", "rooms", "--model", bert, "--cache", "cache", "--cv", 3),
        *("--layers", "3", "--poolings", "mean"),
    )
    assert code == 0, err
    assert "price: numbers; head: RidgeCV" in err
    assert out.startswith("r2, mean of 3 folds")
    encoder = LLMEmbeddingTransformer(bert, pooling="mean", cache=False)
    rooms = reviews["rooms"].astype(float)
    folds = KFold(3, shuffle=True, random_state=0)
    scores = []
    features = encoder.fit_transform(reviews[["review"]])
    for train, test in folds.split(features):
        known = rooms.fillna(rooms.iloc[train].median()).to_numpy()[:, None]
        both = np.hstack([features, known])
        head = make_pipeline(StandardScaler(), RidgeCV(penalties()))
        head.fit(both[train], reviews["price"].iloc[train])
        scores.append(head.score(both[test], reviews["price"].iloc[test]))
    assert table_of(out)[3, "mean"] == pytest.approx(np.mean(scores), abs=2e-3)


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        ("grade", "", "grade: 2 classes; head: LogisticRegression"),
        ("grade", "--task numbers", "grade: numbers; head: RidgeCV"),
        ("stars", "--head ridge", "stars: 2 classes; head: RidgeClassifierCV"),
        (
            "id",
            "--head hist-gradient-boosting --numeric rooms",
            "id: numbers; head: HistGradientBoostingRegressor",
        ),
    ],
)
def test_the_head_follows_the_target(run, reviews, bert, target, options, expected):
    command = f"search reviews.csv --text review --target {target} --model {bert}"
    more = "--cache cache --cv 2 --layers 3 --poolings mean"
    code, _, err = run(*f"{command} {more} {options}".split())
    assert code == 0, err
    assert expected in err


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        # As numbers these would be one class, or none.
        (["1.10", "1.1"], "2 classes"),
        (["Nan", "Inf"], "2 classes"),
        (["+1", "-1"], "2 classes"),
        (["1.10", "2.75"], "numbers"),
        (["3", "nan"], "15 rows without 'label' are left out"),
    ],
)
def test_a_target_is_read_as_it_is_written(run, bert, labels, expected):
    command = (
        "search t.csv --text text --target label --layers 1 --poolings mean --cv 2"
    )
    rows = [f"{word},{label}" for word, label in zip(WORDS, labels * 15, strict=False)]
    Path("t.csv").write_text("\n".join(["text,label", *rows[:30]]))
    more = [] if expected == "numbers" else ["--task", "classes"]
    _, _, err = run(*command.split(), *more, "--model", bert, "--cache", "cache")
    assert expected in err


def test_long_numbers_as_classes_are_not_rounded(run, bert):
    # Beside a missing one; as floats, both would be one class.
    labels = [2**53, 2**53 + 1, None] * 10
    frame = pd.DataFrame({"text": WORDS[:30], "label": pd.array(labels, "Int64")})
    for path in ("t.csv", "t.parquet"):
        getattr(frame, f"to_{path[2:]}")(path, index=False)
        code, _, err = run(
            *("search", path, "--text", "text", "--target", "label", "--cv", 2),
            *("--layers", 1, "--poolings", "mean", "--task", "classes"),
            *("--model", bert, "--cache", "cache"),
        )
        assert code == 0, err
        assert "20 rows; label: 2 classes" in err


@pytest.mark.parametrize("ending", ["joblib", "skops"])
def test_the_three_lines_load_the_best_pipeline(run, reviews, bert, tmp_path, ending):
    if ending == "skops":
        pytest.importorskip("skops")
    code, out, err = run(
        *("search", "reviews.csv", "--text", "review", "--text", "title"),
        *("--target", "stars", "--numeric", "rooms", "--layers", "1,2"),
        *("--poolings", "mean,max", "--model", bert, "--cache", "cache", "--cv", 2),
        *("--save", f"best.{ending}", "--jobs", 2),
    )
    assert code == 0, err
    *_, blank, first, second, third = out.splitlines()
    assert blank == "" and first.startswith("import ")
    program = f"{first}\n{second}\nguesses = {third}\nprint(*guesses)\n" + (
        "texts = pipeline[0].named_transformers_['texts']\n"
        "print(texts.layer, texts.pooling, texts.keep, texts.last_report_.encoded)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    guesses, about = done.stdout.splitlines()
    assert np.mean(np.array(guesses.split()) == reviews["stars"]) > 0.9
    layer, pooling = re.search(r"best: layer (\d), pooling (\w+)", out).groups()
    # It keeps its own cell of new texts, and known ones aren't encoded.
    assert about.split() == [layer, pooling, "auto", "0"]


def test_the_lines_read_the_table_as_it_was_read(run, bert):
    words = ["None", "NA", "kärte", '"cat'] * 6
    rows = [f"{word};{'ab'[len(word) > 4]}\r\n" for word in words]
    Path("t.csv").write_bytes("".join(["text;label\r\n", *rows]).encode("latin-1"))
    code, out, err = run(
        *"search t.csv --text text --target label --layers 1 --poolings mean".split(),
        *"--separator ; --encoding latin-1 --no-quotes --cv 2 --save a.joblib".split(),
        *("--model", bert, "--cache", "cache"),
    )
    assert code == 0, err
    expression = out.splitlines()[-1].partition("predict(")[2].removesuffix(")")
    frame = eval(expression, {"pd": pd})
    assert frame["text"].tolist() == words


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_lines_read_texts_as_texts(run, bert, ending):
    words = ["007", "1.50", "2024-05-01", "card"] * 6
    frame = pd.DataFrame({"date": words, "label": ["a", "b"] * 12})
    if ending == "csv":
        frame.to_csv("t.csv", index=False)
    else:
        frame.to_json("t.jsonl", orient="records", lines=True)
    code, out, err = run(
        *f"search t.{ending} --text date --target label --layers 1".split(),
        *("--poolings", "mean", "--cv", 2, "--save", "a.joblib"),
        *("--model", bert, "--cache", "cache"),
    )
    assert code == 0, err
    Path(f"t.{ending}").write_text(
        "date,label\n007,a\n1.50,b\n"
        if ending == "csv"
        else '{"date": "007", "label": "a"}\n{"date": "1.50", "label": "b"}\n'
    )
    expression = out.splitlines()[-1].partition("predict(")[2].removesuffix(")")
    read = eval(expression, {"pd": pd})
    assert read["date"].tolist() == ["007", "1.50"]


def test_files_are_written_before_the_table_is_printed(run, reviews, bert, monkeypatch):
    def nobody_reads(*args, **kwargs):
        raise OSError("nobody reads")  # not a broken pipe: pytest's stdout is no file

    monkeypatch.setattr(_search, "print", nobody_reads, raising=False)
    code, _, err = run(
        *"search reviews.csv --text review --target stars --layers 1".split(),
        *"--poolings mean --cv 2 --save a.joblib --cache cache --model".split(),
        bert,
    )
    assert code == 1
    assert "nobody reads" in err
    assert Path("a.joblib").exists()


def test_a_model_in_a_relative_folder_is_found_from_elsewhere(run, reviews, bert):
    import joblib

    Path("model").symlink_to(bert)
    code, _, err = run(
        *("search", "reviews.csv", "--text", "review", "--target", "stars"),
        *("--model", "model", "--cache", "cache", "--cv", 2, "--layers", "1"),
        *("--poolings", "mean", "--save", "best.joblib"),
    )
    assert code == 0, err
    texts = joblib.load("best.joblib")[0].named_transformers_["texts"]
    assert os.path.isabs(texts.model) and os.path.isabs(texts.cache)


def test_the_heat_map_is_a_picture(run, reviews, bert):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    command = f"search reviews.csv --text review --target stars --model {bert} --cv 2"
    code, _, err = run(*command.split(), "--cache", "cache", "--png", "map.png")
    assert code == 0, err
    picture = pyplot.imread("map.png")
    assert min(picture.shape[:2]) > 200
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 20
    assert not pyplot.get_fignums()


def test_the_report_is_a_page(run, reviews, bert):
    command = f"search reviews.csv --text review --target stars --model {bert} --cv 2"
    code, out, err = run(*command.split(), "--cache", "cache", "--html", "search.html")
    assert code == 0, err
    page = Path("search.html").read_text()
    best = re.search(r"best: layer (\d), pooling (\w+): (\d\.\d{3})", out)
    assert page.startswith("<!DOCTYPE html>")
    assert best[3] in page
    assert "GridSearchCV" in page and "SearchWithBar" not in page


def test_rows_without_a_target_are_left_out(run, reviews, bert):
    reviews.loc[:9, "grade"] = None
    reviews.to_json("t.jsonl", orient="records", lines=True)
    command = f"search t.jsonl --text review --target grade --model {bert} --cv 2"
    code, _, err = run(*command.split(), *"--cache c --layers 1 --poolings max".split())
    assert code == 0, err
    assert "10 rows without 'grade' are left out" in err
    assert "50 rows; grade: 2 classes" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--target x", "no column 'x'. Its columns are 'id', 'title'"),
        ("--target stars --numeric title", r"'title' of .* must hold whole numbers or"),
        ("--target stars --task numbers", r"'stars' of .*: 'bad'\). Name another"),
        ("--target stars --scoring f7", "'f7' is not a valid scoring value"),
        ("--target stars --layers 9", "must be an int from -4 to 3"),
        ("--target stars --png no/a.png", "Create 'no' first"),
        ("--target price --head logistic-regression", "Choose --head ridge"),
        ("--target empty", "'empty' of .* has no value"),
        ("--target same", "at least two classes. It has only 'x'. Name another"),
        (
            "--target stars --results reviews.csv",
            "'reviews.csv' is the same file as the input",
        ),
        ("--target stars --png folder.png", "'folder.png' is a folder"),
    ],
)
def test_a_search_that_cannot_be_done(run, reviews, bert, options, message):
    reviews.assign(empty=None, same="x").to_csv("reviews.csv", index=False)
    os.mkdir("folder.png")
    command = f"search reviews.csv --text review --model {bert} --cache cache -q"
    code, out, err = run(*command.split(), *options.split())
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert re.search(message, err), err
    assert not os.path.exists("cache")


def test_what_is_not_installed_is_said_before_anything_is_encoded(
    run, reviews, bert, monkeypatch
):
    command = f"search reviews.csv --text review --target stars --model {bert}"
    for module, option, line in (
        ("skops.io", "--save a.skops", "pip install skops"),
        ("matplotlib", "--png a.png", how_to_install("plot")),
        ("pyarrow", "", how_to_install("cli")),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            code, _, err = run(*command.split(), "--cache", "cache", *option.split())
        assert code == 1
        assert line in err
        assert not os.path.exists("cache")


# --- adapt ---------------------------------------------------------------------------

TRAINING = ["--set", "mntp_steps=2", "--set", "simcse_steps=3", "--set", "lora_rank=2"]


def test_adapt_saves_what_fit_trains(run, reviews, llama_lm):
    pytest.importorskip("peft")
    code, out, err = run(
        *("adapt", "reviews.csv", "--text", "review", "--model", llama_lm),
        *(*TRAINING, "-o", "adapted", "--merge", "merged", "--cache", "cache"),
        *("--seed", 3, "--png", "loss.png", "--template", "the {text}"),
    )
    assert code == 0, err
    assert sorted(os.listdir("adapted")) == ["1-mntp", "2-simcse"]
    assert re.search(r"^mntp +2 .*\nsimcse +3 ", out, re.M)
    recipe = LLM2VecRecipe(mntp_steps=2, simcse_steps=3, lora_rank=2)
    encoder = LLMEmbeddingTransformer(
        llama_lm,
        adapt=recipe,
        cache="cache",
        random_state=3,
        template="the {text}",
    )
    X = reviews[["review"]]
    want = encoder.fit_transform(X)
    assert len(os.listdir("cache/adapters")) >= 2
    imports, *expressions = out.splitlines()[-3:]
    namespace = {}
    exec(imports, namespace)
    loaded, merged = (
        eval(expression, namespace).set_params(cache=False)
        for expression in expressions
    )
    same_bits(loaded.fit_transform(X), want)
    np.testing.assert_allclose(merged.fit_transform(X), want, rtol=1e-3, atol=1e-4)
    assert Path("loss.png").read_bytes().startswith(b"\x89PNG")


def test_adapt_with_labels_and_with_pairs(run, reviews, bert):
    pytest.importorskip("peft")
    reviews.assign(other=reviews["review"].str[::-1]).to_csv("pairs.csv", index=False)
    base = f"pairs.csv --text review --model {bert} --recipe supervised --cache cache"
    steps = "--set supervised_steps=2 --set supervised_batch_size=8"
    digests = set()
    for name, option in (("a", "--target grade"), ("b", "--positive other")):
        code, out, err = run("adapt", *f"{base} {steps} {option} -o {name}".split())
        assert code == 0, err
        assert re.search(r"^supervised +2 ", out, re.M)
        weights = Path(name, "1-supervised", "adapter_model.safetensors").read_bytes()
        digests.add(hash(weights))
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--recipe supervised -o a", 2, "supervised needs --target or --positive"),
        ("--recipe simcse --target grade -o a", 2, "takes no --target"),
        ("--set steps=3 -o a", 2, "no parameter 'steps'. It has dropout"),
        ("--set simcse_steps=-1 -o a", 1, "'simcse_steps' parameter of LLM2VecRecipe"),
        ("-o full", 1, "'full' already exists and isn't empty"),
        ("-o no/a", 1, "Create 'no' first"),
        ("-o a --merge ./a", 2, "need different folders"),
    ],
)
def test_an_adaptation_that_cannot_be_done(run, reviews, bert, options, code, message):
    os.mkdir("full")
    Path("full/a").write_text("")
    command = f"adapt reviews.csv --text review --model {bert} --no-cache {options}"
    got, _, err = run(*command.split())
    assert got == code
    assert message in err.splitlines()[-1]
    assert sorted(os.listdir()) == ["full", "reviews.csv"]


# --- evaluate ------------------------------------------------------------------------


def read_values(path, frame):
    """A csv file of values as the frame's types have it."""
    return pd.read_csv(path).astype(frame.dtypes.to_dict())


def test_evaluate_classification(run, reviews, bert):
    from sklearn_llm2vec.evaluation import evaluate_classification

    train, test = reviews.iloc[:40], reviews.iloc[40:]
    train.to_csv("train.csv", index=False)
    test.to_parquet("test.parquet")
    code, out, err = run(
        *(
            "evaluate",
            "classification",
            "train.csv",
            "test.parquet",
            "--text",
            "review",
        ),
        *("--target", "stars", "--n-per-class", "2,4", "--draws", 3, "--seed", 1),
        *("--model", bert, "--pooling", "max", "--cache", "cache", "-o", "values.csv"),
    )
    assert code == 0, err
    want = evaluate_classification(
        LLMEmbeddingTransformer(bert, pooling="max", cache="cache"),
        *(train[["review"]], train["stars"], test[["review"]], test["stars"]),
        n_per_class=[2, 4],
        n_draws=3,
        random_state=1,
    )
    pd.testing.assert_frame_equal(read_values("values.csv", want), want)
    chosen = want[(want["n_per_class"] == 4) & (want["metric"] == "accuracy")]["value"]
    line = re.search("^4 +accuracy +(.*)$", out, re.M)[1].split()
    assert line == [f"{chosen.mean():.4f}", f"{chosen.std():.4f}", "3"]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ([1, 2, 1], [2, "none", 1]),
        (["1.0", "2.0", ""], [1, 2, 2]),  # as pandas writes whole numbers with gaps
        ([1, 2.5, 1], [1, 1, 1]),
    ],
)
def test_classes_of_two_tables_are_the_same(run, bert, train, test):
    # So often that a regularized linear model learns each text by heart.
    for name, labels, n_times in (("train", train, 200), ("test", test, 1)):
        rows = list(zip(("cat", "dog", "card"), labels, strict=True)) * n_times
        with open(f"{name}.csv", "w") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    code, out, err = run(
        *"evaluate classification train.csv test.csv --text text".split(),
        *("--target", "label", "--model", bert, "--cache", "cache"),
    )
    assert code == 0, err
    right = [
        float(a) == float(b)
        for a, b in zip(train, test, strict=True)
        if a and b != "none"
    ]
    assert f"accuracy  {sum(right) / 3:.4f}" in out


def test_evaluate_sts(run, reviews, bert):
    from sklearn_llm2vec.evaluation import evaluate_sts

    code, out, err = run(
        *("evaluate", "sts", "reviews.csv", "--text", "review", "--text", "title"),
        *("--score", "price", "--model", bert, "--cache", "cache"),
    )
    assert code == 0, err
    encoder = LLMEmbeddingTransformer(bert, cache="cache")
    want = evaluate_sts(encoder, reviews["review"], reviews["title"], reviews["price"])
    printed = dict(line.split() for line in out.splitlines()[2:])
    assert printed == {
        metric: f"{value:.4f}"
        for metric, value in zip(want["metric"], want["value"], strict=True)
    }
    code, _, err = run("evaluate", "sts", "reviews.csv", "--text=review", "--score=id")
    assert code == 2
    assert "give --text twice" in err


def test_evaluate_retrieval(run, reviews, bert):
    from sklearn_llm2vec.evaluation import evaluate_retrieval

    documents = {f"0{i}": text for i, text in enumerate(reviews["review"])}
    queries = {f"{i}": text[:20] for i, text in enumerate(reviews["review"][:5])}
    for path, names, rows in (
        ("q.csv", ["query_id", "text"], queries.items()),
        ("d.csv", ["number", "text"], documents.items()),
        ("r.csv", ["query_id", "number", "gain"], ((i, f"0{i}", 1) for i in range(5))),
    ):
        with open(path, "w") as file:
            csv.writer(file).writerows([names, *rows])
    code, out, err = run(
        *("evaluate", "retrieval", "q.csv", "d.csv", "r.csv", "--text", "text"),
        *("--doc-id", "number", "--relevant", "gain", "--k", 3, "--model", bert),
        *("--query-template", "the {text}", "--cache", "cache", "-o", "values.csv"),
    )
    assert code == 0, err
    want = evaluate_retrieval(
        LLMEmbeddingTransformer(bert, cache="cache"),
        queries,
        documents,
        {f"{i}": {f"0{i}": 1} for i in range(5)},
        query_template="the {text}",
        k=3,
    )
    pd.testing.assert_frame_equal(read_values("values.csv", want), want)
    assert [line.split()[0] for line in out.splitlines()[2:]] == want["metric"].tolist()


def test_ids_that_are_numbers_in_one_file_and_words_in_another(run, reviews, bert):
    rows = reviews[["id", "review"]].set_axis(["doc_id", "text"], axis=1)
    rows.to_json("d.jsonl", orient="records", lines=True)
    queries = rows[:5].set_axis(["query_id", "text"], axis=1)
    queries.to_parquet("q.parquet")
    judged = pd.DataFrame({"query_id": range(5), "doc_id": range(5), "relevance": 1})
    judged.to_csv("r.csv", index=False)
    command = f"evaluate retrieval q.parquet d.jsonl r.csv --text text --model {bert}"
    code, out, err = run(*command.split(), "--cache", "cache")
    assert code == 0, err
    assert re.search("^ndcg_at_10 +1.0000", out, re.M)  # the very text
    queries.assign(query_id=[0, 1, None, 3, 4]).to_parquet("q.parquet")
    code, _, err = run(*command.split(), "--cache", "cache")
    assert code == 1
    assert "'query_id' of 'q.parquet' must have an id in every row" in err
    code, _, err = run(*command.split(), "--query-id", "doc_id")
    assert code == 2
    assert "name its columns with --judged-query" in err


def test_files_as_beir_has_them(run, reviews, bert):
    rows = reviews[["id", "review"]].set_axis(["_id", "text"], axis=1)
    rows.to_json("corpus.jsonl", orient="records", lines=True)
    rows[:5].to_json("queries.jsonl", orient="records", lines=True)
    names = ["query-id", "corpus-id", "score"]
    judged = pd.DataFrame([[i, i, 1] for i in range(5)], columns=names)
    judged.to_csv("test.tsv", index=False, sep="\t")
    code, out, err = run(
        *"evaluate retrieval queries.jsonl corpus.jsonl test.tsv --text text".split(),
        *"--query-id _id --doc-id _id --judged-query query-id".split(),
        *f"--judged-doc corpus-id --relevant score --model {bert} --cache c".split(),
    )
    assert code == 0, err
    assert re.search("^ndcg_at_10 +1.0000", out, re.M)  # the very text


def test_evaluate_retrieval_beside_the_baseline_by_words(run, reviews, bert):
    pytest.importorskip("bm25s")
    # Words that two texts share are all that BM25 sees: here the answer has them all.
    rows = reviews[["id", "review"]].set_axis(["doc_id", "text"], axis=1)
    rows.to_csv("d.csv", index=False)
    rows[:5].set_axis(["query_id", "text"], axis=1).to_csv("q.csv", index=False)
    judged = pd.DataFrame({"query_id": range(5), "doc_id": range(5), "relevance": 1})
    judged.to_csv("r.csv", index=False)
    command = "evaluate retrieval q.csv d.csv r.csv --text text --bm25 --cache cache"
    code, out, err = run(*command.split(), "--model", bert)
    assert code == 0, err
    found = {tuple(line.split()[:2]): line.split()[2] for line in out.splitlines()[2:]}
    assert found["model", "ndcg_at_10"] == "1.0000"  # the very text
    assert float(found["bm25", "recall_at_10"]) == 1
    assert len(found) == 8


def test_evaluate_clustering(run, reviews, bert):
    from sklearn_llm2vec.evaluation import evaluate_clustering

    code, out, err = run(
        *("evaluate", "clustering", "reviews.csv", "--text", "review"),
        *("--target", "grade", "--draws", 2, "--seed", 4, "--n-clusters", 3),
        *("--model", bert, "--cache", "cache", "-o", "values.csv"),
    )
    assert code == 0, err
    want = evaluate_clustering(
        LLMEmbeddingTransformer(bert, cache="cache"),
        *(reviews[["review"]], reviews["grade"]),
        n_clusters=3,
        n_draws=2,
        random_state=4,
    )
    pd.testing.assert_frame_equal(read_values("values.csv", want), want)
    assert re.search(f"^v_measure +{want['value'].mean():.4f} ", out, re.M)
