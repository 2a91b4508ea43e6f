"""Ways to get more from a raw decoder without training it: what each one gives.

SmolLM2-135M with each of these, alone:

- bidirectional attention, untrained;
- the prompts "prompt_eol", "cot" and "ke", with the last token;
- "prompt_eol" with Token Prepending before the first fifth of the layers;
- "echo", with the mean over the second occurrence;
- whitening (PCA to 128 components) and EmbedFilter (the middle half of the unembedding
  matrix's singular vectors), without a prompt and behind "prompt_eol".

Each is scored at the last layer with its usual pooling, and at the layer and pooling that
held-out data choose as in `seed_experiment.py`: stsb's validation part for similarity,
cross-validation on the training texts for classification, the other half of the queries
for retrieval.

    python benchmarks/methods.py --results methods --dtype bfloat16

Each method's results on a task are a JSON file, so an interrupted run goes on.
"""

import json
import time
import warnings
from functools import partial
from pathlib import Path

import harness
import numpy as np
import seed_page
import seed_scores as scores
from seed_models import SMOLLM
from seed_tasks import YEARS, Limits, load_classification, load_retrieval
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from sklearn_llm2vec import LLMEmbeddingTransformer, UnembeddingFilter

LAYERS = (1, 5, 10, 15, 20, 25, 30)
POOLINGS = ("mean", "weighted_mean", "last")
RESULTS = (Path("methods"), Path("methods-small"))
SIZES = {  # (full, small)
    "train": (400, 150),
    "test": (400, 100),
    "pairs": (250, 60),
    "documents": (400, 60),
    "max_length": (96, 48),
    "dtype": ("float32", "bfloat16"),
    "cache": ("methods-cache", "methods-cache-small"),
    "write_page": (Path(), Path()),
}
CLASSIFICATION = ("trec", "sst2", "subj", "scicite")
PROMPTED = "prompt_eol"
# What is asked of the model, and the pooling that the method's authors use.
METHODS = {
    "nothing": ({}, "weighted_mean"),
    "bidirectional": ({"attention": "bidirectional"}, "mean"),
    PROMPTED: ({"template": PROMPTED}, "last"),
    "cot": ({"template": "cot"}, "last"),
    "ke": ({"template": "ke"}, "last"),
    "prompt_eol + Token Prepending": (
        {"template": PROMPTED, "token_prepending": (1, 7)},
        "last",
    ),
    "echo": ({"template": "echo"}, "mean"),
}
AFTERWARDS = {
    "whitening": lambda: PCA(128, whiten=True, random_state=0),
    "EmbedFilter": lambda: UnembeddingFilter(SMOLLM.source),
}


def sts_task(args):
    """Pairs to choose on, and those to score on."""
    parts = {"valid": "stsb/valid", "stsb": "stsb/test"}
    parts |= {year: f"sts12_16/{year}" for year in YEARS}
    frames = {name: harness.read_frame(path) for name, path in parts.items()}
    # The years hold pairs of stsb's validation part.
    valid = {
        frozenset(pair) for pair in frames["valid"][["text_a", "text_b"]].to_numpy()
    }
    for year in YEARS:
        pairs = frames[year][["text_a", "text_b"]].to_numpy()
        frames[year] = frames[year][[frozenset(pair) not in valid for pair in pairs]]
    return {
        name: frame.sample(min(args.pairs, len(frame)), random_state=0)
        for name, frame in frames.items()
    }


def similarity(encode, usual, frames):
    """Mean Spearman correlation of the six test files, usual and chosen."""

    def cosines(cell, frame):
        return scores.cosines(
            encode(frame["text_a"], cell), encode(frame["text_b"], cell)
        )

    def score(cell):
        found = [
            scores.spearman(cosines(cell, frame), frame["score"].to_numpy(float))
            for name, frame in frames.items()
            if name != "valid"
        ]
        return float(np.mean(found))

    valid = frames["valid"]
    found = {cell: cosines(cell, valid) for cell in encode.cells}
    best, _ = scores.choose_for_cosines(found, valid["score"].to_numpy(float), usual)
    return {"usual": score(usual), "chosen": score(best), "cell": best}


def classification(encode, usual, task):
    """Accuracy x 100, usual and chosen."""
    cells = {cell: encode(task.train, cell) for cell in encode.cells}
    best, _ = scores.choose_for_classes(cells, task.train_labels, usual)

    def score(cell):
        head = scores.fit_head(cells[cell], task.train_labels)
        return 100 * head.score(encode(task.test, cell), task.test_labels)

    return {"usual": score(usual), "chosen": score(best), "cell": best}


def retrieval(encode, usual, task):
    """nDCG@10 x 100 of the cosine, usual and chosen."""
    found = {}
    for cell in encode.cells:
        queries, documents = (
            scores.unit(encode(texts, cell)) for texts in (task.queries, task.documents)
        )
        found[cell] = scores.ndcg_at_10(queries @ documents.T, task.relevant)
    half = np.random.default_rng(0).permutation(len(task.queries)) % 2
    cells = [
        scores.choose_clearly_better({c: v[half != k] for c, v in found.items()}, usual)
        for k in (0, 1)
    ]
    values = np.where(half == 0, found[cells[0]], found[cells[1]])
    usual_score = float(found[usual].mean())
    return {"usual": usual_score, "chosen": float(values.mean()), "cell": cells}


class Encode:
    """Vectors of one cell by one method; steps afterwards learn from `learned_from`."""

    cells = tuple((layer, pooling) for layer in LAYERS for pooling in POOLINGS)

    def __init__(self, encoder, afterwards, learned_from):
        self.encoder = encoder
        self.afterwards, self.learned_from = afterwards, list(learned_from)
        self.fitted = {}

    def __call__(self, texts, cell):
        vectors = self._encode(list(texts), cell)
        if self.afterwards is None:
            return vectors
        if cell not in self.fitted:
            known = self._encode(self.learned_from, cell)
            self.fitted[cell] = self.afterwards().fit(known)
        return self.fitted[cell].transform(vectors).astype(np.float32)

    def _encode(self, texts, cell):
        self.encoder.set_params(layer=cell[0], pooling=cell[1])
        return self.encoder.transform(texts)


def make_encoder(args, **settings):
    """The model with one method; every cell that is compared comes from one pass."""
    return LLMEmbeddingTransformer(
        SMOLLM.source,
        keep=(LAYERS, POOLINGS),
        max_length=args.max_length,
        dtype=args.dtype,
        cache=args.cache,
        verbose=False,
        **settings,
    )


def jobs(args):
    """Yield (task, function, what it scores, texts that a method may learn from)."""
    frames = sts_task(args)
    train = harness.read_frame("stsb/train").sample(args.train, random_state=0)
    yield "similarity", similarity, frames, train["text_a"]
    limits = Limits(args.train, args.test, 0, 0, args.documents)
    for name in CLASSIFICATION:
        task = load_classification(name, limits)
        yield name, classification, task, task.train
    task = load_retrieval("cranfield", limits)
    yield "cranfield", retrieval, task, task.documents


def all_methods():
    """Yield (name, settings, step afterwards, usual pooling)."""
    for name, (settings, pooling) in METHODS.items():
        yield name, settings, None, pooling
        if name in ("nothing", PROMPTED):
            for step, make in AFTERWARDS.items():
                before = "" if name == "nothing" else f"{name} + "
                yield before + step, settings, make, pooling


def run(args):
    """Do what has no file yet; return task -> method -> result."""
    found = {}
    for task, function, data, learned_from in jobs(args):
        for method, settings, afterwards, pooling in all_methods():
            encode = Encode(make_encoder(args, **settings), afterwards, learned_from)
            score = partial(function, encode, (LAYERS[-1], pooling), data)
            result = once(args.results / f"{task} {method}.json", score)
            found.setdefault(task, {})[method] = result
    return found


def once(path, score):
    """What a function returns, from a file if it was called before."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        with threadpool_limits(1, "blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # cut texts
            result = score()
        path.write_text(json.dumps(result))
        seconds = time.perf_counter() - start
        print(time.strftime("%H:%M:%S"), path.stem, f"{seconds:.0f} s", flush=True)
    return json.loads(path.read_text())


def table(found, methods):
    """A row for each method: last layer / chosen cell on each task."""
    rows = []
    for method in methods:
        row = ["no method" if method == "nothing" else method]
        for results in found.values():
            one = results.get(method)
            row.append(one and f"{one['usual']:.1f} / {one['chosen']:.1f}")
        classes = [found[name].get(method) for name in CLASSIFICATION]
        means = [
            all(classes) and np.mean([one[kind] for one in classes])
            for kind in ("usual", "chosen")
        ]
        rows.append([*row, all(means) and " / ".join(f"{m:.1f}" for m in means)])
    rows = [[cell or "" for cell in row] for row in rows]
    return ["last layer / chosen", *found, "mean of classification"], rows


def show(found, methods, page, block):
    """Print the table, and write it into a block of a page where one is given."""
    header, rows = table(found, methods)
    harness.print_table(header, rows)
    if page != Path():
        seed_page.fill(page, {block: seed_page.markdown(header, rows)})


def main():
    args = harness.read_sizes(__doc__, **SIZES, results=RESULTS)
    found = run(args)
    names = [name for name, *_ in all_methods()]
    show(found, names, args.write_page, "methods")
    harness.finish(args, passed={}, results=found)


if __name__ == "__main__":
    main()
