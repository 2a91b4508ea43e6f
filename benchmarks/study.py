"""Layer x pooling x template x attention on real tasks: which defaults the data support.

For each model, each template and each attention one pass keeps every layer and pooling;
each cell is then scored on

- stsb: Spearman x 100 of the cosine with the human score, test split;
- trec: accuracy x 100 of a logistic regression behind a StandardScaler; which cell would
  be chosen and what it gives are both read on the test split, so compare cells, not
  methods;
- sst2: the same;
- cranfield: nDCG@10 x 100 of the cosine, prompts cut at 160 tokens (192 for "echo").

Writes one CSV line a cell. Reads shared/data and shared/models beside the repository.
"""

import argparse
import csv
import itertools
import json
import warnings
from pathlib import Path

import harness
import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer

POOLINGS = ("mean", "weighted_mean", "last", "first", "max")
TEMPLATES = (None, "prompt_eol", "cot", "ke", "echo")
MODELS = harness.DATA.parent / "models"


def unit(vectors):
    """Rows of length one; a zero row stays."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def stsb(n):
    """Texts, and the function that scores their vectors."""
    frame = harness.read_frame("stsb/test").head(n)
    gold = frame["score"].astype(float)

    def score(vectors):
        first, second = np.split(unit(vectors), 2)
        if np.ptp((first * second).sum(1)) < 1e-6:
            return 0.0  # the first token of a decoder is the same for all texts
        return 100 * float(spearmanr((first * second).sum(1), gold).statistic)

    return [*frame["text_a"], *frame["text_b"]], score


def classification(name, n_train, n_test):
    """The same for a set with labels."""
    train = harness.read_frame(f"{name}/train").sample(n_train, random_state=0)
    test = harness.read_frame(f"{name}/test").head(n_test)

    def score(vectors):
        head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
        head.fit(vectors[:n_train], train["label"])
        return 100 * head.score(vectors[n_train:], test["label"])

    return [*train["text"], *test["text"]], score


def cranfield(n_documents):
    """The same for retrieval."""
    corpus = harness.read_frame("cranfield/corpus").head(n_documents)
    queries = harness.read_frame("cranfield/queries")
    place = {int(doc): i for i, doc in enumerate(corpus["doc_id"])}
    wanted = {}
    for row in harness.read_frame("cranfield/qrels").itertuples():
        if int(row.relevance) > 0 and int(row.doc_id) in place:
            wanted.setdefault(int(row.query_id), set()).add(place[int(row.doc_id)])

    def score(vectors):
        vectors = unit(vectors)
        similarity = vectors[len(corpus) :] @ vectors[: len(corpus)].T
        gains = []
        for number, row in zip(queries["query_id"], similarity, strict=True):
            if int(number) not in wanted:
                continue
            relevant = wanted[int(number)]
            best = np.argsort(-row, kind="stable")[:10]
            discount = 1 / np.log2(np.arange(2, 12))
            found = sum(d for d, i in zip(discount, best, strict=True) if i in relevant)
            gains.append(found / discount[: len(relevant)].sum())
        return 100 * float(np.mean(gains))

    return [*corpus["text"], *queries["text"]], score


def cells(model, template, attention, texts, cache):
    """Yield (layer, pooling, vectors) of all cells; one pass makes them."""
    encoder = LLMEmbeddingTransformer(
        model,
        template=template,
        attention=attention,
        keep="all",
        cache=cache,
        max_length=192 if template == "echo" else 160,
        verbose=False,
    )
    n_layers = encoder.fit(texts).n_layers_
    for layer, pooling in itertools.product(range(n_layers + 1), POOLINGS):
        encoder.set_params(layer=layer, pooling=pooling)
        yield layer, pooling, encoder.transform(texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("study.csv"))
    parser.add_argument("--small", action="store_true")
    parser.add_argument(
        "--model", nargs="+", help="folders of decoders, in place of all"
    )
    parser.add_argument("--task", nargs="+", help="of stsb, trec, sst2, cranfield")
    args = parser.parse_args()
    few = 8 if args.small else 1
    tasks = {
        "stsb": stsb(1379 // few),
        "trec": classification("trec", 1500 // few, 500 // few),
        "sst2": classification("sst2", 1500 // few, 500 // few),
        "cranfield": cranfield(1398 // few),
    }
    models = {
        "stories260K": (str(MODELS / "stories260K"), ("causal", "bidirectional")),
        "news-llama-4m": (str(MODELS / "news-llama-4m"), ("causal", "bidirectional")),
        "MiniLM": (harness.MINILM, ("auto",)),
    }
    if args.model is not None:
        both = ("causal", "bidirectional")
        models = {Path(model).name: (model, both) for model in args.model}
    if args.task is not None:
        tasks = {task: tasks[task] for task in args.task}
    warnings.simplefilter("ignore", UserWarning)  # cut texts, presets that don't fit
    best = {}
    with args.out.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(
            ["model", "task", "template", "attention", "layer", "pooling", "score"]
        )
        for (name, (model, attentions)), (task, (texts, score)) in itertools.product(
            models.items(), tasks.items()
        ):
            for template, attention in itertools.product(TEMPLATES, attentions):
                if name == "MiniLM" and template is not None:
                    continue
                with harness.new_folder() as folder, threadpool_limits(2, "blas"):
                    cache = EmbeddingCache(folder)
                    for layer, pooling, vectors in cells(
                        model, template, attention, texts, cache
                    ):
                        row = [
                            name,
                            task,
                            template or "none",
                            attention,
                            layer,
                            pooling,
                        ]
                        value = round(score(vectors), 2)
                        out.writerow([*row, value])
                        key = f"{name} {task}"
                        best[key] = max(best.get(key, (0,)), (value, *row[2:]))
                file.flush()
                print(name, task, template, attention, "done", flush=True)
    print(json.dumps(best))


if __name__ == "__main__":
    main()
