"""The first answer of a process, beside the plain way with transformers.

Fresh processes, interleaved; medians of the CPU time and the wall time until each has
ended:

- the plain way: AutoTokenizer and AutoModel, the mean of one text's last hidden states;
- a pickled pipeline of the transformer and LogisticRegression is loaded and predicts one
  new row, with an empty cache, and with one that knows the model but not the row;
- the same with a cached row;
- ``sklearn-llm2vec embed`` of a CSV file of 10 rows, with an empty cache;
- what these stand on: the imports of scikit-learn, torch and the network's module.

CPU time is what to compare on a busy machine. Bar: a new row and 10 rows in at most 0.75
of the CPU time of the plain way.

    python benchmarks/bench_first.py [--small] [--rounds 5]
"""

import os
import pickle
import shutil
import subprocess
import sys
import time

import harness
import numpy as np

PLAIN = """
import sys, torch
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModel.from_pretrained(sys.argv[1]).eval()
with torch.inference_mode():
    batch = tokenizer([sys.argv[2]], return_tensors="pt")
    states = model(**batch).last_hidden_state
    counts = batch["attention_mask"][..., None]
    print(((states * counts).sum(1) / counts.sum(1)).shape)
"""
PREDICT = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    pipeline = pickle.load(file)
print(pipeline.predict([sys.argv[2]]))
"""
SKLEARN = "import sklearn.pipeline, sklearn.linear_model"
NETWORK = "import torch, transformers.models.bert.modeling_bert"
PLAIN_WAY, NEW_ROW, TEN_ROWS = (
    "AutoModel, one text",
    "new row, empty cache",
    "embed, 10 rows",
)
BAR = 0.75


def write_inputs(root):
    """Pickle a fitted pipeline; write 10 rows as CSV."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from sklearn_llm2vec import LLMEmbeddingTransformer

    texts = [f"{what} {i}" for i in range(20) for what in ("a cat", "a dog")]
    transformer = LLMEmbeddingTransformer(harness.MINILM, verbose=False)
    pipeline = make_pipeline(transformer, LogisticRegression())
    pipeline.fit(texts, np.arange(len(texts)) % 2)
    (root / "pipeline.pickle").write_bytes(pickle.dumps(pipeline))
    rows = [f"{i},the film number {i} was a pleasure to see" for i in range(10)]
    (root / "ten.csv").write_text("\n".join(["id,review", *rows]))


def ways(root, folder, text):
    """The commands that are compared, by name, each with the cache that it uses."""
    python, pipeline = [sys.executable, "-c"], str(root / "pipeline.pickle")
    known, empty = str(root / "default-cache"), str(root / "empty")
    embed = ["-m", "sklearn_llm2vec", "embed", str(root / "ten.csv")]
    output = ["--text", "review", "--output", str(root / "ten.npy"), "--overwrite"]
    return {
        PLAIN_WAY: ([*python, PLAIN, str(folder), text], empty),
        NEW_ROW: ([*python, PREDICT, pipeline, text], empty),
        "new row, model known": ([*python, PREDICT, pipeline, text], known),
        "cached row": ([*python, PREDICT, pipeline, "a cat 1"], known),
        TEN_ROWS: ([sys.executable, *embed, *output], empty),
        "imports of scikit-learn": ([*python, SKLEARN], empty),
        "imports of the network": ([*python, NETWORK], empty),
        "both imports": ([*python, f"{SKLEARN}\n{NETWORK}"], empty),
    }


def seconds_of(command, cache):
    """CPU and wall seconds of a process until it has ended."""
    environment = {**os.environ, "SKLEARN_LLM2VEC_CACHE": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode} of {command}")
    return usage.ru_utime + usage.ru_stime, wall


def measure(root, folder, n_rounds):
    """(CPU, wall) of each round, by way; a first round isn't counted."""
    found = {}
    for n in range(n_rounds + 1):  # the first writes Python's compiled files
        for way, (command, cache) in ways(root, folder, f"a new text {n}").items():
            shutil.rmtree(root / "empty", ignore_errors=True)
            seconds = seconds_of(command, cache)
            if n:
                found.setdefault(way, []).append(seconds)
    return found


def main():
    args = harness.read_sizes(__doc__, rounds=(5, 1))
    harness.need_linux()
    with harness.new_folder() as root:
        folder = harness.minilm().folder
        write_inputs(root)
        found = measure(root, folder, args.rounds)
    medians = {way: np.median(seconds, axis=0) for way, seconds in found.items()}
    plain = np.array(found[PLAIN_WAY])
    shares = {
        way: np.median(np.array(seconds) / plain, axis=0)
        for way, seconds in found.items()
    }
    harness.print_table(
        ["what", "CPU s", "wall s", "of the plain way's CPU", "wall"],
        [
            [way, *(f"{value:.2f}" for value in (*seconds, *shares[way]))]
            for way, seconds in medians.items()
        ],
    )
    harness.finish(
        args,
        passed={
            f"{way}: at most {BAR} of the plain way": shares[way][0] <= BAR
            for way in (NEW_ROW, TEN_ROWS)
        },
        rounds=args.rounds,
        cpu_seconds={way: round(cpu, 2) for way, (cpu, _) in medians.items()},
        wall_seconds={way: round(wall, 2) for way, (_, wall) in medians.items()},
        cpu_shares={way: round(cpu, 3) for way, (cpu, _) in shares.items()},
        wall_shares={way: round(wall, 3) for way, (_, wall) in shares.items()},
    )


if __name__ == "__main__":
    main()
