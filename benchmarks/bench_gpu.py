"""What a GPU gives: tokens/s, and how much of the card's own matrix products that is.

Random Llamas of the shapes of a 7B and a 0.6B model in bfloat16, and MiniLM, through
`transform` without a cache: texts of 128 tokens, then texts of 8 to 256. Bars for the 7B
shape: 50 % of the rate that the card reaches in one large bfloat16 product, and layer 8
of 32 at least four times as fast as all 32. sentence-transformers beside it. Without a
CUDA device nothing is measured, and the last line says so.

    python benchmarks/bench_gpu.py [--small] [--shapes 7b 0.6b minilm]
"""

import statistics
import time
import warnings

import harness
import numpy as np
import torch
from throughput import by_sentence_transformers, operations, ours

SHAPES = {
    "7b": {
        "hidden": 4096,
        "layers": 32,
        "intermediate": 11008,
        "heads": 32,
        "kv_heads": 32,
    },
    "0.6b": {
        "hidden": 1024,
        "layers": 28,
        "intermediate": 3072,
        "heads": 16,
        "kv_heads": 8,
    },
}
WORDS = [f"word{i}" for i in range(1000)]


def matmul_rate(seconds=2.0):
    """Operations/s of large bfloat16 products on the card."""
    a, b = (
        torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2)
    )
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    started, n = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        for _ in range(10):
            a @ b
        torch.cuda.synchronize()
        n += 10
    return n * 2 * 8192**3 / (time.perf_counter() - started)


def make(shape, root):
    """A folder with a model of this shape, and words that are a token each."""
    if shape == "minilm":
        return harness.minilm().folder
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            return harness.random_llama(root / shape, words=WORDS, **SHAPES[shape])
    finally:
        torch.set_default_dtype(before)
        torch.cuda.empty_cache()


def texts_of(n_texts, low, high):
    """Texts of so many words, one token each for the random models."""
    rng = np.random.default_rng(0)
    return [
        " ".join(rng.choice(WORDS, n)) for n in rng.integers(low, high + 1, n_texts)
    ]


def seconds_of(function, texts, rounds):
    """Median seconds of a call; the device is idle again at its end."""
    function(texts[:64])
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        function(texts)
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def one_shape(shape, root, args, rate):
    """Rows of one model: what, tokens/s, part of the card's rate."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    folder = str(make(shape, root))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.device("meta"):
        network = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    depth = network.config.num_hidden_layers
    settings = {"device": "cuda", "dtype": "bfloat16", "pooling": "mean"}
    rows = []

    def note(what, function, texts, max_length, layers=depth):
        ids = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        lengths = [len(row) for row in ids]
        taken = seconds_of(function, texts, args.rounds)
        n_operations = operations(network, lengths) * layers / depth
        rows.append(
            {
                "shape": shape,
                "what": what,
                "seconds": round(taken, 3),
                "tokens_per_second": round(sum(lengths) / taken),
                "of_card": round(n_operations / taken / rate, 3),
            }
        )
        print(rows[-1], flush=True)
        return taken

    # The random models' tokenizer puts one token before the words.
    even, mixed = texts_of(args.texts, 127, 127), texts_of(args.texts, 7, 255)
    whole = note("128 tokens", ours(folder, **settings, max_length=128), even, 128)
    shallow = ours(folder, **settings, max_length=128, layer=depth // 4)
    part = note("128 tokens, a quarter of the layers", shallow, even, 128, depth // 4)
    note("8 to 256 tokens", ours(folder, **settings, max_length=256), mixed, 256)
    for size in (32, 256):
        peer = by_sentence_transformers(
            folder, 256, size, device="cuda", model_kwargs={"dtype": torch.bfloat16}
        )
        note(f"8 to 256, sentence-transformers, batch {size}", peer, mixed, 256)
    return rows, whole / part


def main():
    args = harness.read_sizes(
        __doc__,
        shapes=(["7b", "0.6b", "minilm"], ["0.6b", "minilm"]),
        texts=(4096, 512),
        rounds=(3, 1),
    )
    if not torch.cuda.is_available():
        harness.skip("no CUDA device")
    warnings.simplefilter("ignore", UserWarning)  # cut texts
    rate, rows, passed = matmul_rate(), [], {}
    card = torch.cuda.get_device_name()
    print(f"{card}: {rate / 1e12:.0f} TFLOP/s in one large bfloat16 product")
    with harness.new_folder() as root:
        for shape in args.shapes:
            found, faster = one_shape(shape, root, args, rate)
            rows += found
            if shape == "7b":
                of_card = found[0]["of_card"]
                passed[f"50 % of the card's rate: {of_card}"] = of_card >= 0.5
                passed[f"layer 8 of 32 at least 4 times as fast: {faster:.2f}"] = (
                    faster >= 4
                )
            from sklearn_llm2vec._model.registry import forget_models

            forget_models()
            torch.cuda.empty_cache()
    header = ["shape", "what", "seconds", "tokens_per_second", "of_card"]
    harness.print_table(header, [[row[h] for h in header] for row in rows])
    harness.finish(args, passed=passed, card=card, tflops=rate / 1e12, rows=rows)


if __name__ == "__main__":
    main()
