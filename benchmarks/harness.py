"""What the benchmarks share: sizes, data, a model, fresh processes, the last line.

Import this before sklearn_llm2vec or transformers: it keeps the hub out.

Each benchmark prints tables for people and, as its last line, one JSON object: its name,
whether it ran with ``--small`` sizes, its figures, ``passed`` (a bar -> whether it was
reached) and ``met`` (whether all were). Where something that it needs is absent, the line
holds ``skipped``, the reason, in place of these.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import argparse
import json
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def read_sizes(description, **sizes):
    """The command line: an option for each size, given as ``name=(full, small)``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a quick run")
    for name, (full, small) in sizes.items():
        many = isinstance(full, list)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(full[0] if many else full),
            nargs="+" if many else None,
            help=f"default: {full}, with --small {small}",
        )
    args = parser.parse_args()
    for name, (full, small) in sizes.items():
        if getattr(args, name) is None:
            setattr(args, name, small if args.small else full)
    return args


def data_file(name):
    """Path of a development data set's file; skips the benchmark where it is absent."""
    path = DATA / name
    if not path.is_file():
        skip(f"no {name} in {DATA}")
    return path


def read_frame(name):
    """A CSV data set, e.g. ``read_frame("banking77/train")``."""
    import pandas as pd

    return pd.read_csv(data_file(f"{name}.csv.gz"), keep_default_na=False)


def banking_texts(n_texts):
    """Texts and labels of Banking77's train split, the classes kept in proportion."""
    from sklearn.model_selection import train_test_split

    frame = read_frame("banking77/train")
    if n_texts < len(frame):
        few = n_texts < 2 * frame["label"].nunique()
        labels = None if few else frame["label"]
        frame, _ = train_test_split(
            frame, train_size=n_texts, stratify=labels, random_state=0
        )
    return frame["text"].tolist(), frame["label"].to_numpy()


def minilm(cache=None):
    """all-MiniLM-L6-v2 as ``read_model`` gives it; skips the benchmark without it.

    What it reads is remembered beside that cache, by default beside the default cache:
    call it within `new_folder`.
    """
    from sklearn_llm2vec import ModelNotFoundError
    from sklearn_llm2vec._model.folders import read_model

    try:
        return read_model(MINILM, memo_directory=cache)
    except ModelNotFoundError:
        skip(f"{MINILM} is not on this machine (pip extra: minilm)")


def random_llama(
    folder, *, hidden=64, layers=4, intermediate=128, heads=4, kv_heads=2, words=()
):
    """Write a Llama with random weights and a tokenizer of words; return the folder."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    vocabulary = 2048
    names = list(dict.fromkeys(["<unk>", "<s>", "</s>", *words]))[:vocabulary]
    names += [f"w{i}" for i in range(vocabulary - len(names))]
    ids = {name: i for i, name in enumerate(names)}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", ids["<s>"])]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",  # peers can't do without
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=1024,
    )
    LlamaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def new_folder():
    """A temporary folder; the default cache is in it, also for processes started."""
    with tempfile.TemporaryDirectory(
        prefix="sklearn-llm2vec-bench-", ignore_cleanup_errors=True
    ) as folder:
        os.environ["SKLEARN_LLM2VEC_CACHE"] = str(Path(folder, "default-cache"))
        yield Path(folder)


def command_of(function, *args):
    """A command that calls a benchmark's function in a process of its own.

    The function has to be at the top level of its file and its arguments have to be JSON;
    the last line that the process prints is what it returned, as JSON.
    """
    module = Path(function.__code__.co_filename).stem
    code = (
        f"import json, sys; sys.path.insert(0, {str(HERE)!r}); import {module}; "
        f"print(json.dumps({module}.{function.__name__}(*json.loads(sys.argv[1]))))"
    )
    return [sys.executable, "-c", code, json.dumps(args, default=str)]


def call_in_new_process(function, *args):
    """What the function returns in a process of its own."""
    import subprocess

    command = command_of(function, *args)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def need_linux():
    """Skip the benchmark where memory and signals can't be had as it needs them."""
    if sys.platform != "linux":
        skip("it needs Linux")


def memory_now():
    """Resident memory of this process in bytes."""
    return _memory("VmRSS")


def memory_peak():
    """The most resident memory that this process has had, in bytes.

    Not ``ru_maxrss``: to a process just started, that shows the peak of its parent.
    """
    return _memory("VmHWM")


def _memory(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {name}")


def reset_memory_peak():
    """Let the peak start again from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def print_table(header, rows):
    """Print rows below a header, columns aligned."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    print()
    for row in cells:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
    print(flush=True)


def finish(args, *, passed, **figures):
    """Print the last line: the figures, and which bars were reached."""
    for bar, reached in passed.items():
        print(f"{'reached' if reached else 'MISSED'}: {bar}")
    _print_last(small=args.small, **figures, passed=passed, met=all(passed.values()))


def skip(reason):
    """Print the last line with the reason and end the process."""
    print(f"skipped: {reason}")
    _print_last(skipped=reason)
    sys.exit()


def _print_last(**entries):
    name = Path(sys.argv[0]).stem.removeprefix("bench_")
    print(json.dumps({"benchmark": name, **entries}, default=_plain), flush=True)


def _plain(value):
    return value.item() if hasattr(value, "item") else str(value)
