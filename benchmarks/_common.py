"""What the benchmarks share: the data, temporary places, tiny models, the last line.

Import this module before sklearn_llm2vec or transformers: it keeps the hub out.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import json
import sys
import tempfile
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def read_data(name):
    """A data set as a frame, e.g. ``read_data("banking77/train")``; exits if absent."""
    import pandas as pd

    path = DATA / f"{name}.csv.gz"
    if not path.is_file():
        sys.exit(
            f"{path} is not there. This benchmark reads the development data from the "
            "folder shared/data beside the repository."
        )
    return pd.read_csv(path, keep_default_na=False)


def banking_texts(n_texts, random_state=0):
    """Texts and labels of banking77's train split, the classes kept in proportion."""
    from sklearn.model_selection import train_test_split

    frame = read_data("banking77/train")
    if n_texts >= len(frame):
        return frame["text"].tolist(), frame["label"].to_numpy()
    few = n_texts < 2 * frame["label"].nunique()
    frame, _ = train_test_split(
        frame,
        train_size=n_texts,
        stratify=None if few else frame["label"],
        random_state=random_state,
    )
    return frame["text"].tolist(), frame["label"].to_numpy()


def new_folder():
    """A temporary folder, removed with the object: use it in a ``with`` statement."""
    return tempfile.TemporaryDirectory(
        prefix="sklearn-llm2vec-bench-", ignore_cleanup_errors=True
    )


def own_cache(folder):
    """Make `folder` the default cache of this process and of those it starts."""
    os.environ["SKLEARN_LLM2VEC_CACHE"] = str(folder)


def tiny_llama(
    folder,
    *,
    hidden=64,
    layers=4,
    intermediate=128,
    heads=4,
    kv_heads=2,
    vocabulary=2048,
    words=(),
):
    """Write a Llama with random weights and a tokenizer of words; return the folder."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    names = ["<unk>", "<s>", "</s>", *words]
    names = list(dict.fromkeys(names))[:vocabulary]
    names += [f"w{i}" for i in range(vocabulary - len(names))]
    ids = {name: i for i, name in enumerate(names)}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", ids["<s>"])]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
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


def print_table(header, rows):
    """Print rows below a header, columns aligned."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for n, row in enumerate(cells):
        print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
        if n == 0:
            print("  ".join("-" * width for width in widths))
    print(flush=True)


def finish(name, *, passed, **numbers):
    """Print whether the bar was reached and, last, one line of JSON."""
    missed = [bar for bar, reached in passed.items() if not reached]
    for bar in missed:
        print(f"MISSED: {bar}")
    print("all bars reached" if not missed else f"{len(missed)} bar(s) missed")
    result = {"benchmark": name, **numbers, "passed": passed}
    print(json.dumps(result, default=_plain), flush=True)


def _plain(value):
    return value.item() if hasattr(value, "item") else str(value)
