"""The command line: what it prints, writes and returns, and what it leaves behind."""

import csv
import gc
import io
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tables import features, make_table, same_bits

import sklearn_llm2vec
from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec.cli._model_options import PLAIN, transformer_parameters
from sklearn_llm2vec.cli._options import make_parser

COMMANDS = ["embed", "search", "adapt"]
COMMANDS += [f"evaluate {t}" for t in ("classification", "sts", "retrieval")]
COMMANDS += ["evaluate clustering"]
COMMANDS += ["cache info", "cache verify", "cache prune", "cache clear"]
# For processes of their own, in other folders.
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(Path(sklearn_llm2vec.__file__).parents[1])
}
# As in a shell: SIGINT isn't ignored, which processes in the background inherit.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from sklearn_llm2vec.cli import main
"""


@pytest.fixture
def table(tmp_path):
    """A table, and the csv file that holds it."""
    made = make_table(50)
    with open(tmp_path / "in.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(made.column_names)
        rows.writerows(row.values() for row in made.to_pylist())
    return made


# --- all commands --------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_examples_that_parse(run, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "exit codes" in out or command
    examples = re.sub(r"\\\n\s+", "", out.partition("examples:")[2])
    lines = re.findall(r"sklearn-llm2vec (.*)", examples)
    assert lines
    for line in lines:
        if "COMMAND" not in line:
            make_parser().parse_args(shlex.split(line))


def test_help_and_cache_info_import_nothing_heavy(tmp_path):
    code = (
        "import sys; from sklearn_llm2vec.cli import main\n"
        f"main(['cache', 'info', '--cache', {str(tmp_path)!r}])\n"
        "for command in (['embed'], ['search'], ['adapt'], ['evaluate', 'sts']):\n"
        "    try: main([*command, '--help'])\n"
        "    except SystemExit: pass\n"
        "heavy = ('torch', 'transformers', 'sklearn', 'scipy', 'pandas', 'pyarrow')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_parameter_of_the_transformer_is_an_option_or_left_out_on_purpose():
    left_out = {
        "adapt",  # the command of this name
        "n_components",  # learned from all rows, which are never in memory together
        "keep",  # embed asks for one cell, search says it itself
        "cache",  # --cache, --no-cache, --cache-limit
        "verbose",  # --quiet
        "random_state",  # --seed
    }
    parameters = set(LLMEmbeddingTransformer().get_params())
    assert set(PLAIN) | left_out == parameters
    assert not set(PLAIN) & left_out


def test_options_become_parameters_and_what_is_not_given_is_not_passed_on(tmp_path):
    (tmp_path / "model").mkdir()
    given = (
        f"embed t.csv --text a -o o.npy --model {tmp_path}/model --layer 3,0.5 "
        "--pooling last --special-tokens no --token-prepending 2,8 --adapters x "
        "--adapters y --max-length 64 --device cpu --batch-tokens 1,024 --normalize "
        "--truncate-dim 64"
    )
    args = make_parser().parse_args(given.split())
    assert transformer_parameters(args) == {
        "model": f"{tmp_path}/model",
        "layer": (3, 0.5),
        "pooling": "last",
        "special_tokens": False,
        "token_prepending": (2, 8),
        "adapters": ["x", "y"],
        "max_length": 64,
        "device": "cpu",
        "batch_tokens": 1024,
        "truncate_dim": 64,
        "normalize": True,
        "cache": True,
    }
    args = make_parser().parse_args(["embed", "t.csv", "--text=a", "-oo.npy"])
    assert transformer_parameters(args) == {"cache": True}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("", "required: COMMAND"),
        ("embed t.csv", "required: --text, -o"),
        ("embed t.csv --text a -o t.txt", "ends in .parquet or .npy or .csv"),
        (
            "embed t.csv --text a -o t.npy --keep b",
            "can't contain the columns of --keep",
        ),
        ("embed t.csv --text a -o t.npy --layer six", "expected a layer such as 6"),
        ("embed t.csv --text a -o t.npy --chunk-rows 0", "expected a positive number"),
        ("search t.csv --text a --target b --poolings sum", "names among mean, w"),
        ("cache prune --max-bytes big", "a size such as 5GB"),
        ("cache prune --older-than 5", "a time such as 30d"),
        ("cache prune", "at least one of --max-bytes"),
        ("adapt t.csv --text a -o f --set steps", "expected NAME=VALUE"),
        ("embed t.csv --text a -o t.npy --cache c --no-cache", "not allowed with"),
        (
            "embed t.csv --text a -o t.csv --output-dtype float16",
            "write .parquet or .npy",
        ),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(run, argv, message):
    code, out, err = run(*argv.split())
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_the_version(run):
    assert run("--version")[:2] == (0, f"{sklearn_llm2vec.__version__}\n")


# --- embed ---------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
@pytest.mark.parametrize("output", ["out.parquet", "out.npy", "out.csv"])
def test_embed_writes_what_transform_gives(run, table, bert, source, output):
    pq.write_table(table, "in.parquet")
    text = ["--text", "title", "--text", "review"]
    keep = [] if output == "out.npy" else ["--keep", "id", "--keep", "price"]
    code, out, err = run(
        *("embed", source, *text, *keep, "-o", output, "--model", bert),
        *("--layer", 2, "--pooling", "max", "--chunk-rows", 7, "--cache", "cache"),
    )
    assert code == 0, err
    assert out == f"{output}: 50 rows, 64 features\n"
    encoder = LLMEmbeddingTransformer(bert, layer=2, pooling="max", cache=False)
    texts = table.select(["title", "review"]).to_pandas()
    want = encoder.fit_transform(texts)
    if output == "out.npy":
        same_bits(np.load(output), want)
    elif output == "out.parquet":
        got = pq.read_table(output)
        blocks = [features(got, f"{name}_embedding") for name in ("title", "review")]
        same_bits(np.hstack(blocks), want)
        assert got.select(["id", "price"]).equals(table.select(["id", "price"]))
    else:
        with open(output, newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["id", "price", *encoder.get_feature_names_out()]
        assert [row[0] for row in rows] == list(map(str, range(50)))
        assert [float(row[1]) for row in rows] == table["price"].to_pylist()
        same_bits(np.array([row[2:] for row in rows], np.float32), want)
    n_texts = len({t for name in texts for t in texts[name].dropna()})
    assert f"{n_texts} texts went through the model" in err
    assert EmbeddingCache("cache").info()["texts_encoded"] == n_texts


@pytest.mark.parametrize("output", ["out.parquet", "out.npy"])
def test_embed_in_float16(run, table, bert, output):
    argv = ("embed", "in.csv", "--text", "title", "--model", bert, "--cache", "cache")
    code, _, err = run(*argv, "-o", output, "--output-dtype", "float16")
    assert code == 0, err
    texts = table.select(["title"]).to_pandas()
    want = LLMEmbeddingTransformer(bert, cache="cache").fit_transform(texts)
    if output == "out.npy":
        got = np.load(output)
    else:
        lists = pq.read_table(output)["title_embedding"].combine_chunks()
        got = np.stack(lists.to_numpy(zero_copy_only=False))
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, want.astype(np.float16))


# Each is changed by a number: an id, a phone number, a version, names.
KEPT = {
    "phone": ["+4917612345678", "+4917612345679"],
    "id": ["12345678901234567890", "12345678901234567891"],
    "version": ["1.10", "1.1"],
    "name": ["Nan", "Inf"],
    "wide": ["\uff11\uff12\uff13", "\uff14"],
    "mixed": ["12345678901234567", "0.5"],
    "zip": ["01234", "98765"],
    "label": ["4", "4.0"],
}


@pytest.mark.parametrize("output", ["out.parquet", "out.csv"])
def test_kept_columns_come_out_as_they_went_in(run, bert, output):
    numbers = {
        "n": ["1", "-2"],
        "x": ["0.25", "3.0"],
        "y": ["1", "2.5"],
        "gap": ["7", ""],
    }
    columns = {"text": ["red card", "bank"], **KEPT, **numbers}
    with open("in.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    keep = [word for name in (*KEPT, *numbers) for word in ("--keep", name)]
    code, _, err = run(
        *("embed", "in.csv", "--text", "text", *keep, "-o", output),
        *("--model", bert, "--no-cache"),
    )
    assert code == 0, err
    if output == "out.csv":
        with open(output, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        got = dict(zip(header, zip(*rows, strict=True), strict=True))
        want = {name: tuple(values) for name, values in (KEPT | numbers).items()}
        assert {name: got[name] for name in want} == want
    else:
        got = pq.read_table(output).to_pydict()
        assert {name: got[name] for name in KEPT} == KEPT
        assert got["n"] == [1, -2] and got["gap"] == [7, None]
        assert got["x"] == [0.25, 3.0] and got["y"] == [1.0, 2.5]


def test_kept_numbers_of_json_are_not_rounded(run, bert):
    Path("in.jsonl").write_text(
        '{"text": "card", "id": 12345678901234567}\n{"text": "bank", "id": 0.5}\n'
    )
    for output in ("out.parquet", "out.csv"):
        code, _, err = run(
            *("embed", "in.jsonl", "--text", "text", "--keep", "id", "-o", output),
            *("--model", bert, "--no-cache"),
        )
        assert code == 0, err
    assert pq.read_table("out.parquet")["id"].to_pylist() == [
        "12345678901234567",
        "0.5",
    ]
    lines = Path("out.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["12345678901234567", "0.5"]


def test_embed_again_encodes_nothing(run, table, bert):
    again = ["embed", "in.csv", "--text", "title", "--model", bert, "--cache", "cache"]
    assert run(*again, "-o", "a.npy")[0] == 0
    encoded = EmbeddingCache("cache").info()["texts_encoded"]
    code, _, err = run(*again, "-o", "b.npy")
    assert code == 0
    assert "0 texts went through the model" in err
    assert EmbeddingCache("cache").info()["texts_encoded"] == encoded
    assert Path("a.npy").read_bytes() == Path("b.npy").read_bytes()


def test_embed_a_template_over_columns(run, bert):
    rows = [{"title": "red card", "price": 3}, {"title": "bank", "price": 4}]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    template = "the {title} for {price}"
    code, _, err = run(
        *("embed", "t.jsonl", "--text", "title", "--text", "price", "-o", "o.parquet"),
        *("--template", template, "--model", bert, "--no-cache", "--normalize"),
    )
    assert code == 0, err
    encoder = LLMEmbeddingTransformer(
        bert, template=template, cache=False, normalize=True
    )
    want = encoder.transform(pa.Table.from_pylist(rows))
    same_bits(features(pq.read_table("o.parquet"), "embedding"), want)


def test_quiet_and_notes(run, table, bert):
    command = ["embed", "in.csv", "--text", "title", "--model", bert, "--no-cache"]
    code, out, err = run(*command, "-o", "a.npy")
    assert "Writing a.npy: 100%" in err and "went through the model" in err
    code, out, err = run(*command, "-o", "b.npy", "--quiet")
    assert (code, out, err) == (0, "b.npy: 50 rows, 32 features\n", "")


def test_an_output_that_is_there_is_only_replaced_on_request(run, table, bert):
    Path("a.npy").write_text("mine")
    command = ["embed", "in.csv", "--text", "title", "--model", bert, "-o", "a.npy"]
    command += ["--cache", "cache"]
    code, out, err = run(*command)
    assert (code, out) == (1, "")
    assert "'a.npy' already exists" in err and "--overwrite" in err
    assert Path("a.npy").read_text() == "mine"
    assert not Path("cache").exists()
    assert run(*command, "--overwrite")[0] == 0
    assert np.load("a.npy").shape == (50, 32)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("no.csv --text title -o o.npy", "'no.csv' doesn't exist"),
        ("in.csv --text name -o o.npy", "no column 'name'.*'id', 'title', 'price'"),
        ("in.parquet --text price -o o.npy", "'price' of 'in.parquet' must hold texts"),
        (
            "in.csv --text price -o o.npy",
            "'price' of 'in.csv' must hold texts.*numbers",
        ),
        ("in.csv --text money -o o.npy", "'money' of 'in.csv' must hold texts.*'0.10'"),
        (
            "in.parquet --text title -o o.csv --keep data",
            "'data' of 'in.parquet' can't be kept: it holds bytes",
        ),
        ("in.csv --text title -o no/o.npy", "Create 'no' first"),
        (
            "in.csv --text title -o in.csv --overwrite",
            "'in.csv' is the same file as the input",
        ),
        ("in.csv --text title -o a.npy --overwrite", "'a.npy' is a folder"),
        ("in.csv --text title -o o.npy --layer 9", "must be an int from -4 to 3"),
        ("in.csv --text title -o o.npy --model ./no", "'./no'"),
        ("in.csv --text title -o o.npy --max-length 10 --long-texts error", "10"),
        (
            "in.parquet --text title -o o.parquet --keep title_embedding",
            "'title_embedding' of 'in.parquet' can't be kept",
        ),
    ],
)
def test_an_error_is_one_line_and_leaves_no_file(run, table, bert, argv, message):
    taken = table.append_column("title_embedding", table["id"])
    taken = taken.append_column("data", pa.array([b"a"] * len(table)))
    pq.write_table(taken, "in.parquet")
    lines = Path("in.csv").read_text().splitlines()
    amounts = ["money", *(f"{i}.10" for i in range(len(table)))]
    pairs = zip(amounts, lines, strict=True)
    Path("in.csv").write_text("\n".join(map(",".join, pairs)))
    os.mkdir("a.npy")
    before = set(os.listdir())
    if "--model" not in argv:
        argv += f" --model {bert}"
    code, out, err = run("embed", *argv.split(), "--no-cache", "-q")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert re.search(f"^sklearn-llm2vec embed: error: .*{message}", err), err
    assert set(os.listdir()) == before


@pytest.mark.parametrize("output", ["o.npy", "o.parquet", "o.csv"])
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_error_in_the_middle_leaves_no_file(run, table, bert, monkeypatch, output):
    transform = LLMEmbeddingTransformer.transform
    calls = []

    def fails_late(self, X):
        calls.append(X)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return transform(self, X)

    monkeypatch.setattr(LLMEmbeddingTransformer, "transform", fails_late)
    command = ["embed", "in.csv", "--text", "title", "--model", bert, "--no-cache"]
    code, _, err = run(*command, "-o", output, "--chunk-rows", 10, "-q")
    gc.collect()  # a writer left open would complain of the closed file
    assert code == 1
    assert "No space left" in err
    assert os.listdir() == ["in.csv"]


def test_a_folder_that_one_may_not_write_to(run, table, monkeypatch):
    # The user of a container may write to all of them.
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "locked")
    os.mkdir("locked")
    for command in (
        "embed in.csv --text title -o locked/a.npy",
        "search in.csv --text title --target id --save locked/a.joblib",
        "adapt in.csv --text title -o locked/a",
        "evaluate clustering in.csv --text title --target id -o locked/a.csv",
    ):
        code, _, err = run(*command.split(), "--model", "no/model")
        assert code == 1
        assert "folder that you may write to" in err


def test_traceback_on_request(run):
    with pytest.raises(FileNotFoundError):
        run("embed", "no.csv", "--text", "a", "-o", "a.npy", "--traceback")


def test_warnings_are_one_line(bert, tmp_path):
    (tmp_path / "t.csv").write_text("a\n" + "red card " * 400 + "\n")
    command = f"-m sklearn_llm2vec embed t.csv --text a -o o.npy --model {bert} -q"
    done = subprocess.run(
        [sys.executable, *command.split(), "--cache", "cache"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("warning: 1 of 1 texts are longer than")
    assert done.stderr.count("\n") == 1
    assert done.stdout == "o.npy: 1 rows, 32 features\n"


def test_memory_does_not_grow_with_rows(run, bert):
    # Without the model's part, which is another promise.
    code = f"""
import resource
{PROGRAM}
import numpy as np
from sklearn_llm2vec import LLMEmbeddingTransformer
LLMEmbeddingTransformer.transform = lambda self, X: np.zeros((len(X), 32), np.float32)
LLMEmbeddingTransformer.last_report_ = type("Nothing", (), dict(encoded=0, cached=0))
assert main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    command = f"embed t.csv --text a -o o.npy --overwrite --model {bert} --no-cache -q"
    peaks = []
    for n_rows in (1_000, 50_000):
        with open("t.csv", "w") as file:
            file.write("a\n")
            file.writelines(f"{i} {'card ' * 120}\n" for i in range(n_rows))
        done = subprocess.run(
            [sys.executable, "-c", code, *command.split(), "--chunk-rows", "500"],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]))  # kB
    assert os.path.getsize("t.csv") > 30e6
    assert peaks[1] - peaks[0] < 10_000


def test_ctrl_c_leaves_a_cache_from_which_the_same_command_goes_on(
    run, tmp_path, bert, texts
):
    Path("t.csv").write_text("\n".join(["text", *texts]))
    command = ["embed", "t.csv", "--text", "text", "-o", "o.npy", "--model", bert]
    command += ["--cache", "cache", "--chunk-rows", "5"]
    slowed = f"""
import time
{PROGRAM}
from sklearn_llm2vec import EmbeddingCache
put = EmbeddingCache.put_many
def put_slowly(*args):
    n = put(*args)
    time.sleep(1)
    return n
EmbeddingCache.put_many = put_slowly
sys.exit(main(sys.argv[1:]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", slowed, *command],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    cache = EmbeddingCache("cache")
    deadline = time.monotonic() + 120
    while cache.info()["texts"] < 10 and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "Interrupted. Finished work is in the cache" in err.splitlines()[-1]
    assert sorted(os.listdir()) == ["cache", "t.csv"]
    there = cache.info()["texts"]
    assert 10 <= there < len(texts)
    assert cache.verify()["ok"]

    code, _, err = run(*command)
    assert code == 0
    assert f"{len(texts) - there} texts went through the model, {there} were" in err
    assert cache.info()["texts_encoded"] == len(texts)
    want = LLMEmbeddingTransformer(bert, cache=False).transform(texts)
    same_bits(np.load("o.npy"), want)


# --- cache ---------------------------------------------------------------------------


@pytest.fixture
def filled(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    for space in ("ab" * 32, "cd" * 32):
        keys = [bytes([i]) * 16 for i in range(8)]
        cache.put_many(space, keys, {(3, "mean"): np.ones((8, 4), np.float32)})
    cache.describe("ab" * 32, {"model": "a/model", "dtype": "float32"})
    return cache


def test_cache_info_for_people_and_for_programs(run, filled):
    code, out, err = run("cache", "info", "--cache", "cache")
    assert (code, err) == (0, "")
    assert "16 of 16 texts" in out
    assert re.search("^abababababab +a/model +float32 +8 +1 +160 B", out, re.M)
    code, out, _ = run("cache", "info", "--cache", "cache", "--json")
    assert (code, json.loads(out)) == (0, json.loads(json.dumps(filled.info())))


@pytest.mark.parametrize(
    ("adapters", "words"),
    [
        ([], "float32 "),
        (["a"], "float32, 1 adapter "),
        (["a", "b"], "float32, 2 adapters "),
    ],
)
def test_cache_info_counts_adapters(run, filled, adapters, words):
    filled.describe("cd" * 32, {"dtype": "float32", "adapters": adapters})
    _, out, _ = run("cache", "info", "--cache", "cache")
    assert re.search(rf"^cdcdcdcdcdcd +\? +{words} *8 ", out, re.M), out


def test_cache_verify_fails_for_a_damaged_cache(run, filled):
    assert run("cache", "verify", "--cache", "cache")[:2] == (
        0,
        "16 vectors checked, 0 damaged\n",
    )
    db = sqlite3.connect(filled.path / "embeddings.sqlite3")
    db.execute("UPDATE cells SET data = zeroblob(length(data)) WHERE id = 1")
    db.commit()
    db.close()
    code, out, err = run("cache", "verify", "--cache", "cache", "--json")
    assert code == 1
    assert json.loads(out) == {"checked": 16, "damaged": 8, "ok": False}
    assert "is damaged" in err


def test_cache_prune_by_size_age_and_space(run, filled):
    out = run("cache", "prune", "--older-than", "1d", "--cache", "cache")[1]
    assert out == "Removed 0 B of vectors; 320 B are left.\n"
    out = run("cache", "prune", "--max-bytes", "0.2kB", "--cache", "cache")[1]
    assert out == "Removed 160 B of vectors; 160 B are left.\n"
    code, _, _ = run("cache", "prune", "--space", "cdcd", "--cache", "cache")
    assert (code, filled.info()["texts"]) == (0, 0)


def test_cache_clear_asks(run, filled, monkeypatch):
    for answer in ("n\n", "", "\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        code, _, err = run("cache", "clear", "--cache", "cache")
        assert code == 1
        assert "[y/N]" in err and "Nothing was removed" in err
        assert filled.info()["texts"] == 16
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert run("cache", "clear", "--cache", "cache")[0] == 0
    assert filled.info()["texts"] == 0


def test_cache_clear_with_yes_asks_nothing(run, filled):
    assert run("cache", "clear", "--cache", "cache", "--yes")[0] == 0
    assert filled.info()["texts"] == 0


def test_a_cache_that_is_none_is_an_error_and_one_that_is_not_there_is_empty(run):
    assert run("cache", "info", "--cache", "no")[1] == "The cache no is empty.\n"
    Path("file").write_text("")
    code, _, err = run("cache", "info", "--cache", "file")
    assert code == 1
    assert "must be a folder" in err
