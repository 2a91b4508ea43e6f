"""The same bits whatever stands beside a text: batch, order, cache, keep, threads, depth.

300 real texts of 1 to 512 tokens (Banking77, and cuts from Wikipedia), MiniLM, a tiny
random Llama and one wide enough for packed weights, on the CPU. Every variant is
compared with one pass over all texts that keeps every layer and pooling; a text counts as
differing if any bit of its vectors does. Bar: 0 in every variant.

    python benchmarks/bench_bits.py [--small] [--dtype bfloat16]
"""

import gzip
from itertools import islice

import harness
import numpy as np
import torch

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._encode.encoder import Encoder
from sklearn_llm2vec._model import registry
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.tokenizer import load_tokenizer
from sklearn_llm2vec._network.pooling import POOLINGS


def real_texts(n_texts, n_words_of):
    """Distinct texts whose lengths spread from 1 to 512 tokens.

    `n_words_of` counts a text's tokens with the tokenizer of MiniLM.
    """
    path = harness.data_file("corpus_wikipedia_en/corpus.txt.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        words = " ".join(line.strip() for line in islice(file, 4000)).split()
    short = list(dict.fromkeys(harness.banking_texts(n_texts // 3)[0]))
    texts = ["", "a", *short]  # "" is the special tokens alone, one with Llama
    lengths = np.linspace(1, 512, n_texts - len(texts) + 8).astype(int)
    position = 0
    for length in lengths:
        text = " ".join(words[position : position + length])
        while n_words_of(text) > 512:
            text = text.rsplit(" ", max(1, (n_words_of(text) - 512) // 4))[0]
        position = (position + 97) % (len(words) - 600)
        texts.append(text)
    return list(dict.fromkeys(texts))[:n_texts]


def encode(encoder, texts, layers, poolings):
    """Cell -> array with a row for each text."""
    cells = {}
    for block in encoder.encode(texts, layers, poolings):
        for cell, vectors in block.cells.items():
            if cell not in cells:
                cells[cell] = np.empty((len(texts), vectors.shape[1]), np.float32)
            cells[cell][block.rows] = vectors
    return cells


def differing(reference, other):
    """Number of rows with any other bit, over the cells that both have."""
    different = np.zeros(len(next(iter(other.values()))), bool)
    for cell, vectors in other.items():
        different |= (vectors.view(np.uint32) != reference[cell].view(np.uint32)).any(1)
    return int(different.sum())


def check_model(name, folder, texts, root, special, args):
    """Rows (model, variant, texts, differing)."""
    model = read_model(folder)
    whole = model.n_layers
    every = (range(whole + 1), POOLINGS)
    layers, poolings = [1, whole // 2, whole], ["mean", "last", "max"]
    rng = np.random.default_rng(0)
    rows = []

    def load(depth, batch_tokens="auto"):
        loaded = registry.load_model(model, depth=depth, dtype=args.dtype, device="cpu")
        return Encoder(
            loaded, special_tokens=special, max_length=512, batch_tokens=batch_tokens
        )

    reference = encode(load(whole), texts, *every)

    def note(variant, cells, kept=slice(None)):
        wanted = {cell: vectors[kept] for cell, vectors in reference.items()}
        n_texts = len(next(iter(cells.values())))
        rows.append([name, variant, n_texts, differing(wanted, cells)])
        print(*rows[-1], sep="  ", flush=True)

    for budget in (64, 1024, 4096):
        cells = encode(load(whole, budget), texts, *every)
        note(f"batch_tokens={budget}", cells)
    order = rng.permutation(len(texts))
    note("shuffled", encode(load(whole), [texts[i] for i in order], *every), order)
    half = np.sort(rng.choice(len(texts), len(texts) // 2, replace=False))
    note("half the texts", encode(load(whole), [texts[i] for i in half], *every), half)
    few = np.arange(len(texts))[:: max(1, len(texts) // args.alone)]
    alone = [encode(load(whole), [texts[i]], *every) for i in few]
    joined = {cell: np.concatenate([one[cell] for one in alone]) for cell in reference}
    note("alone", joined, few)
    note("one cell", encode(load(whole), texts, [whole], ["mean"]))
    note("9 cells", encode(load(whole), texts, layers, poolings))
    threads = torch.get_num_threads()
    for n_threads in (1, 2, 3, 8):
        torch.set_num_threads(n_threads)
        note(f"threads={n_threads}", encode(load(whole), texts, *every))
    torch.set_num_threads(threads)
    for depth in sorted({0, 1, whole // 2, whole - 1}):
        cells = encode(load(whole), texts, [depth], POOLINGS)
        note(f"stopped after layer {depth}, whole model loaded", cells)
        registry.forget_models()
        cells = encode(load(depth), texts, [depth], POOLINGS)
        note(f"stopped after layer {depth}, only these loaded", cells)
    registry.forget_models()

    # Through the estimator: no cache, a cold and a warm one, every keep.
    base = {
        "model": folder,
        "max_length": 512,
        "special_tokens": special,
        "device": "cpu",
        "dtype": args.dtype,
        "verbose": False,
    }
    for layer, pooling in [(whole, "mean"), (whole // 2, "last")]:
        cell = (layer, pooling)
        chosen = {"layer": layer, "pooling": pooling}
        bare = LLMEmbeddingTransformer(**base, **chosen, cache=None)
        note(f"estimator {cell}, no cache", {cell: bare.fit_transform(texts)})
        keeps = ["requested", "all", "auto", ((0, layer), (pooling, "max"))]
        for number, keep in enumerate(keeps):
            place = root / f"{name}-{layer}-{number}"
            cached = LLMEmbeddingTransformer(**base, **chosen, cache=place, keep=keep)
            note(f"{cell}, keep={keep}, cold", {cell: cached.fit_transform(texts)})
            warm = cached.fit_transform([texts[i] for i in order])
            if cached.last_report_.encoded:
                raise RuntimeError("the warm transform encoded texts")
            note(f"{cell}, keep={keep}, warm, shuffled", {cell: warm}, order)
        half_place = root / f"{name}-{layer}-half"
        cached = LLMEmbeddingTransformer(**base, **chosen, cache=half_place)
        cached.fit_transform([texts[i] for i in half])
        note(f"{cell}, half of them cached", {cell: cached.fit_transform(texts)})
    return rows


def main():
    args = harness.read_sizes(
        __doc__, texts=(300, 40), alone=(300, 10), dtype=("float32", "float32")
    )
    with harness.new_folder() as root:
        tokenizer = load_tokenizer(harness.minilm())
        texts = real_texts(
            args.texts, lambda text: len(tokenizer(text, verbose=False)["input_ids"])
        )
        lengths = [len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]]
        print(f"{len(texts)} texts of {min(lengths)} to {max(lengths)} tokens (MiniLM)")
        words = sorted({word for text in texts for word in text.split()})
        rows = check_model("minilm", harness.MINILM, texts, root, True, args)
        folder = harness.random_llama(root / "llama", words=words)
        rows += check_model("llama", folder, texts, root, False, args)
        shape = {"hidden": 576, "intermediate": 1536, "heads": 9, "kv_heads": 3}
        folder = harness.random_llama(root / "wide", words=words, **shape)
        rows += check_model("wide llama", folder, texts, root, False, args)
    harness.print_table(["model", "variant", "texts", "differing"], rows)
    harness.finish(
        args,
        passed={"no vector differs": not any(row[-1] for row in rows)},
        texts=len(texts),
        tokens=[min(lengths), max(lengths)],
        variants=len(rows),
        compared=sum(row[2] for row in rows),
        differing=sum(row[3] for row in rows),
        where=[row for row in rows if row[3]],
    )


if __name__ == "__main__":
    main()
