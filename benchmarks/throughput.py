"""How fast texts become vectors: ours beside what else gives them, and the floor.

Parts, each a table and figures in the last JSON line (``--part`` chooses):

- minilm: 2,000 real texts of mixed length through MiniLM. Ours, sentence-transformers
  with its default and other batch sizes, a plain AutoModel loop, skrub, embetter, ONNX
  Runtime and OpenVINO (where they are installed), interleaved, medians.
- llama: a random Llama of SmolLM-135M's shape, ours and sentence-transformers.
- one: latency of `transform` on one text over the bare forward pass of that text.
- few: 4 to 128 short texts at a time, as a served model is asked, ours and
  sentence-transformers. Few of them have the same length.

The floor is the time that the matrix products of the real tokens take at the rate that
this machine reaches in one large product a thread, measured between the rounds.

    python benchmarks/throughput.py [--small] [--part minilm llama one few]
"""

import statistics
import time
from importlib.util import find_spec

import harness
import numpy as np
from bench_prefix import make_model
from runtimes import by_runtime, export_onnx, mean_of, onnx_session, openvino_session

from sklearn_llm2vec import LLMEmbeddingTransformer

MIXED = {  # set -> texts; the median is about 30 tokens, one in twenty has 256 or more
    "banking77/train": 450,
    "tweet_emotion/train": 450,
    "sst2/train": 450,
    "scicite/train": 500,
    "newsgroups_mini/train": 75,
    "medical_abstracts/train": 75,
}


def mixed_texts(n):
    """Real texts of mixed length, in a random order."""
    texts = []
    for name, share in MIXED.items():
        frame = harness.read_frame(name).sample(share, random_state=0)
        texts += frame["text"].tolist()
    texts = list(dict.fromkeys(texts))
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[i] for i in order[:n]]


# --- the floor ------------------------------------------------------------------------


def matmul_rate(seconds=1.0):
    """Operations/s of large float32 products on all threads.

    The better of two ways: one product on all threads, and one a thread side by side.
    """
    import torch

    from sklearn_llm2vec._network.threads import in_parallel

    n_threads = torch.get_num_threads()
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)

    def products(_):
        until, n = time.perf_counter() + seconds / 2, 0
        while time.perf_counter() < until:
            a @ b
            n += 1
        return n

    rates = []
    started = time.perf_counter()
    n = products(None)
    rates.append(n / (time.perf_counter() - started))
    started = time.perf_counter()
    n = sum(in_parallel(products, range(n_threads), n_threads))
    rates.append(n / (time.perf_counter() - started))
    return max(rates) * 2 * 1024**3


def operations(network, lengths):
    """Floating point operations of the products for texts of these lengths.

    Two for each weight of a linear layer and token, and attention's two products.
    """
    import torch

    lengths = np.asarray(lengths, dtype=np.float64)
    weights = sum(
        module.weight.numel()
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and "pooler" not in name
    )
    config = network.config
    width = config.hidden_size * config.num_hidden_layers
    return 2 * weights * lengths.sum() + 4 * width * (lengths**2).sum()


def token_counts(folder, texts, max_length):
    """Tokens of each text, special tokens included, cut at `max_length`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    return [len(row) for row in ids]


# --- what is compared -----------------------------------------------------------------


def ours(folder, **params):
    """Our transformer without a cache: each call encodes."""
    encoder = LLMEmbeddingTransformer(folder, cache=None, verbose=False, **params)
    encoder.transform(["a first text loads the model"])
    return encoder.transform


def by_sentence_transformers(
    folder, max_length, batch_size=32, device="cpu", **options
):
    """`SentenceTransformer.encode`, vectors as the model gives them."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device=device, **options)
    model.max_seq_length = max_length
    return lambda texts: model.encode(
        texts, batch_size=batch_size, show_progress_bar=False
    )


def by_auto_model(folder, max_length):
    """What one writes oneself: padded batches of 32 in the order of the texts."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModel.from_pretrained(folder).eval()

    def encode(texts):
        blocks = []
        with torch.inference_mode():
            for start in range(0, len(texts), 32):
                batch = tokenizer(
                    texts[start : start + 32],
                    padding=True,
                    truncation=True,
                    max_length=max_length,
                    return_tensors="pt",
                )
                states = model(**batch).last_hidden_state
                blocks.append(mean_of(states, batch["attention_mask"]).numpy())
        return np.concatenate(blocks)

    return encode


def by_skrub(folder, max_length):
    """TextEncoder of skrub without its PCA."""
    import pandas as pd
    from skrub import TextEncoder

    encoder = TextEncoder(str(folder), n_components=None, device="cpu")
    encoder.fit(pd.Series(["a text", "another"], name="text"))
    return lambda texts: encoder.transform(pd.Series(texts, name="text")).to_numpy()


def by_embetter(folder, max_length):
    """SentenceEncoder of embetter."""
    from embetter.text import SentenceEncoder

    return SentenceEncoder(str(folder), device="cpu").transform


def everyone(folder, root, max_length, batch_sizes, runtimes):
    """Yield (name, function of texts); what isn't installed is left out, and said."""
    yield "ours", ours(folder, pooling="mean")
    for size in batch_sizes:
        name = f"sentence-transformers, batch {size}"
        yield name, by_sentence_transformers(folder, max_length, size)
    yield "AutoModel, batch 32, unsorted", by_auto_model(folder, max_length)
    for package, make in (("skrub", by_skrub), ("embetter", by_embetter)):
        if find_spec(package):
            yield package, make(folder, max_length)
        else:
            print(f"left out: {package} is not installed")
    if not runtimes:
        return
    missing = [n for n in ("onnx", "onnxscript") if not find_spec(n)]
    if missing:
        print(f"left out: ONNX Runtime and OpenVINO; {missing} are not installed")
        return
    path = export_onnx(folder, root / "model.onnx")
    for package, make in (
        ("onnxruntime", onnx_session),
        ("openvino", openvino_session),
    ):
        if find_spec(package):
            yield package, by_runtime(folder, max_length, make(path))
        else:
            print(f"left out: {package} is not installed")


def compare(functions, texts, rounds, n_operations, n_tokens):
    """Seconds of each function, interleaved, between measurements of the floor.

    Returns
    -------
    rows : list of dict
        ``name``, median ``seconds``, ``tokens_per_second``, ``of_floor`` (the median of
        the rounds' ratios) and ``difference``: the largest to the first's vectors.
    """
    seconds, floors = {name: [] for name in functions}, []
    vectors = {}
    for _ in range(rounds):
        for name, function in functions.items():
            rate = matmul_rate()
            started = time.perf_counter()
            found = np.asarray(function(texts))
            seconds[name].append(time.perf_counter() - started)
            # Some give unit length and some don't: compare directions.
            vectors[name] = found / np.linalg.norm(found, axis=1, keepdims=True)
            floors.append((name, n_operations / rate))
            print(f"  {name}: {seconds[name][-1]:.2f} s", flush=True)
    reference = next(iter(vectors.values()))
    rows = []
    for name, times in seconds.items():
        mine = [floor for of, floor in floors if of == name]
        ratios = [f / s for f, s in zip(mine, times, strict=True)]
        same = vectors[name].shape == reference.shape
        rows.append(
            {
                "name": name,
                "seconds": round(statistics.median(times), 2),
                "tokens_per_second": round(n_tokens / statistics.median(times)),
                "of_floor": round(statistics.median(ratios), 2),
                "difference": float(np.abs(vectors[name] - reference).max())
                if same
                else None,
            }
        )
    return rows


def show(rows):
    header = ["", "seconds", "tokens/s", "of the floor", "differs by"]
    harness.print_table(
        header,
        [
            [
                row["name"],
                row["seconds"],
                row["tokens_per_second"],
                row["of_floor"],
                "" if row["difference"] is None else f"{row['difference']:.1e}",
            ]
            for row in rows
        ],
    )


def ratio_to(rows, prefix, pick=min):
    """How many times our time those take whose name begins so."""
    mine = next(row["seconds"] for row in rows if row["name"] == "ours")
    others = [row["seconds"] for row in rows if row["name"].startswith(prefix)]
    return round(pick(others) / mine, 2)


def minilm(args, root):
    from transformers import AutoModel

    folder = str(harness.minilm().folder)
    texts = mixed_texts(args.texts)
    lengths = token_counts(folder, texts, 256)
    print(
        f"{len(texts)} texts, {sum(lengths)} tokens, median {np.median(lengths):.0f}, "
        f"{np.mean(np.array(lengths) >= 256):.1%} cut at 256"
    )
    functions = dict(everyone(folder, root, 256, args.batch_sizes, True))
    network = AutoModel.from_pretrained(folder)
    rows = compare(
        functions, texts, args.rounds, operations(network, lengths), sum(lengths)
    )
    show(rows)
    default = ratio_to(rows, "sentence-transformers, batch 32")
    best = ratio_to(rows, "sentence-transformers")
    floor = rows[0]["of_floor"]
    passed = {
        f"1.4 times sentence-transformers' default: {default}": default >= 1.4,
        f"1.2 times its best batch size: {best}": best >= 1.2,
        f"80 % of the floor: {floor}": floor >= 0.8,
    }
    return {"rows": rows, "default": default, "best": best}, passed


def llama(args, root):
    from transformers import AutoModel

    tokenizer_of = harness.DATA.parent / "models" / "news-llama-4m"
    if not tokenizer_of.is_dir():
        harness.skip(f"no tokenizer in {tokenizer_of}")
    folder = root / "llama"
    make_model(folder, args.layers, tokenizer_of)
    texts = mixed_texts(args.texts)[: args.llama_texts]
    lengths = token_counts(folder, texts, 256)
    functions = {
        "ours": ours(str(folder), pooling="mean", max_length=256, special_tokens=True),
        "sentence-transformers, batch 32": by_sentence_transformers(folder, 256),
        "sentence-transformers, batch 8": by_sentence_transformers(folder, 256, 8),
    }
    network = AutoModel.from_pretrained(folder)
    rows = compare(
        functions, texts, args.rounds, operations(network, lengths), sum(lengths)
    )
    show(rows)
    default = ratio_to(rows, "sentence-transformers, batch 32")
    floor = rows[0]["of_floor"]
    passed = {
        f"1.3 times sentence-transformers: {default}": default >= 1.3,
        f"80 % of the floor: {floor}": floor >= 0.8,
    }
    return {"rows": rows, "default": default}, passed


def one(args, root):
    """Latency of one text over its bare pass on one thread."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = str(harness.minilm().folder)
    network = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    transform = ours(folder)
    texts = mixed_texts(args.texts)[: args.one_texts]
    bare, mine = [], []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        with torch.inference_mode():
            started = time.perf_counter()
            network(**ids)
            bare.append(time.perf_counter() - started)
        torch.set_num_threads(before)
        started = time.perf_counter()
        transform([text])
        mine.append(time.perf_counter() - started)
    bare, mine = np.array(bare) * 1e3, np.array(mine) * 1e3
    over = float(np.median(mine - 1.1 * bare))
    harness.print_table(
        ["milliseconds, median of texts", ""],
        [
            ["bare pass, one thread", f"{np.median(bare):.2f}"],
            ["transform", f"{np.median(mine):.2f}"],
            ["transform over 1.1 passes", f"{over:.2f}"],
        ],
    )
    figures = {"bare_ms": np.median(bare), "transform_ms": np.median(mine)}
    return {**figures, "over_ms": over}, {f"at most 1 ms over: {over:.2f}": over <= 1}


def few(args, root):
    """Milliseconds for a few short texts, medians over draws, interleaved."""
    folder = str(harness.minilm().folder)
    functions = {
        "ours": ours(folder, pooling="mean"),
        "sentence-transformers": by_sentence_transformers(folder, 256),
    }
    texts = [text for text in mixed_texts(2000) if len(text) < 220]
    functions["ours"](texts[:400])  # what is proved once a model
    rng = np.random.default_rng(0)
    rows = []
    for n in (4, 8, 16, 32, 64, 128):
        times = {name: [] for name in functions}
        for _ in range(args.draws):
            drawn = [texts[i] for i in rng.choice(len(texts), n, replace=False)]
            for name, function in functions.items():
                started = time.perf_counter()
                function(drawn)
                times[name].append(1e3 * (time.perf_counter() - started))
        mine, theirs = (statistics.median(its) for its in times.values())
        rows.append(
            {
                "texts": n,
                "ours_ms": round(mine, 1),
                "theirs_ms": round(theirs, 1),
                "times": round(theirs / mine, 2),
            }
        )
    harness.print_table(
        ["texts", "ours, ms", "sentence-transformers, ms", "times as fast"],
        [list(row.values()) for row in rows],
    )
    least = min(row["times"] for row in rows if row["texts"] >= 16)
    return {"rows": rows}, {f"16 and more at least as fast: {least}": least >= 1}


def main():
    parts = {"minilm": minilm, "llama": llama, "one": one, "few": few}
    args = harness.read_sizes(
        __doc__,
        part=(list(parts), ["minilm", "one", "few"]),
        texts=(2000, 200),
        rounds=(3, 1),
        batch_sizes=([32, 8, 16, 64], [32, 8]),
        llama_texts=(200, 20),
        layers=(30, 4),
        one_texts=(200, 50),
        draws=(15, 3),
    )
    figures, passed = {}, {}
    with harness.new_folder() as root:
        for name in args.part:
            figures[name], reached = parts[name](args, root)
            passed |= reached
    harness.finish(args, passed=passed, **figures)


if __name__ == "__main__":
    main()
