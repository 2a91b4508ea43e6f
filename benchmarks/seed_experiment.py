"""Do hidden states beat TF-IDF, word2vec and usual embeddings? All development sets.

Classification: accuracy of one head (logistic regression) on each kind of features.
Similarity: Spearman correlation of the cosine with human scores. Retrieval: nDCG@10 of
the cosine, and of BM25. A row "chosen" takes the layer and pooling that are best on

- classification: 3-fold cross-validation on at most 1,500 training texts (few-shot: on
  the few texts alone);
- similarity: 2,000 pairs of stsb's training part, also for sts12 to sts16, of which the
  pairs of that part are left out;
- retrieval: the half of the queries that a query isn't in (neither set has a training
  part).

    python benchmarks/seed_experiment.py --small
    python benchmarks/seed_experiment.py --write-page docs/results.md

Each set's results are a JSON file in the folder of ``--results``, so an interrupted run
goes on where it was. Every text goes through each model once: the folder of ``--cache``
keeps every layer and pooling. The page's tables and plots can be made again from the
summary: ``--from-summary benchmarks/seed_results.json --write-page docs/results.md``.
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import harness
import numpy as np
import seed_classical as classical
import seed_page
import seed_scores as scores
from seed_models import MINILM, MODELS, HiddenStates, cut_as_read
from seed_summary import summarise
from seed_tasks import (
    CLASSIFICATION,
    LONG,
    MAX_LENGTH,
    RETRIEVAL,
    Limits,
    load_classification,
    load_retrieval,
    load_sts,
)
from threadpoolctl import threadpool_limits

SHOTS = (8, 64)
SIZES = {  # (full, small)
    "train": (2000, 300),
    "test": (1500, 200),
    "pairs": (1500, 150),
    "test_pairs": (1400, 150),
    "documents": (10_000, 100),
    "draws": (3, 2),  # of few texts a class
}


def neural_rows(model):
    """Rows of one model that need no choice: name -> cell."""
    if model is MINILM:
        return {"MiniLM, CLS": (6, "first"), "MiniLM, mean": (6, "mean")}
    return {f"{model.name}, last": model.usual}


def run_classification(name, limits, cache):
    """Every kind of features with all training texts."""
    task = load_classification(name, limits)
    methods = {}
    for row, (train, test) in classical_features(task).items():
        methods[row] = scores.classify(train, task.train_labels, test, task.test_labels)
    for model in MODELS:
        states = HiddenStates(model, MAX_LENGTH, cache)
        cells = all_cells(states, task)
        many = len(np.unique(task.train_labels)) >= scores.MANY_CLASSES
        if many:
            best = scores.choose_by_probe(cells, task.train_labels, model.usual)
        else:
            best, searched = scores.choose_for_classes(
                cells, task.train_labels, model.usual
            )
        chosen = {**neural_rows(model), f"{model.name}, chosen": best}
        for row, cell in chosen.items():
            methods[row] = {
                **scores.classify(
                    states(task.train, cell),
                    task.train_labels,
                    states(task.test, cell),
                    task.test_labels,
                ),
                "cell": cell,
            }
        if many:
            continue
        methods[f"{model.name}, chosen"]["search"] = [
            [*cell, round(100 * score, 2)] for cell, (score, _) in searched.items()
        ]
        # For the choice of defaults, which is made on other sets than those scored.
        methods[f"{model.name}, chosen"]["tested"] = [
            [*cell, round(100 * accuracy_with(states, task, cell, strength), 2)]
            for cell, (_, strength) in searched.items()
        ]
    counts = np.unique(task.test_labels, return_counts=True)[1]
    return {
        "kind": "classification",
        "n_train": len(task.train),
        "n_test": len(task.test),
        "n_classes": len(np.unique(task.train_labels)),
        "majority": 100 * counts.max() / counts.sum(),
        "methods": methods,
    }


def accuracy_with(states, task, cell, strength):
    """Accuracy on the test texts of one cell and one C."""
    head = scores.fit_with(states(task.train, cell), task.train_labels, strength)
    return head.score(states(task.test, cell), task.test_labels)


def run_few(name, limits, cache, n_draws):
    """The same with a few texts a class; word vectors and idf know all training texts."""
    task = load_classification(name, limits)
    few = {n: {} for n in SHOTS}
    fixed, searched = classical_features(task), {}
    for model in MODELS:
        states = HiddenStates(model, MAX_LENGTH, cache)
        for row, cell in neural_rows(model).items():
            fixed[row] = states(task.train, cell), states(task.test, cell)
        searched[f"{model.name}, chosen"] = states, all_cells(states, task)
    for n, seed in [(n, seed) for n in SHOTS for seed in range(n_draws)]:
        rows = scores.draw_few(task.train_labels, n, seed)
        labels = task.train_labels[rows]

        def accuracy(train, test, rows=rows, labels=labels):
            result = scores.classify(train[rows], labels, test, task.test_labels)
            return 100 * float(np.mean(result["right"]))

        for row, (train, test) in fixed.items():
            few[n].setdefault(row, []).append(accuracy(train, test))
        for row, (states, cells) in searched.items():
            drawn = {cell: vectors[rows] for cell, vectors in cells.items()}
            usual = states.model.usual
            best, _ = scores.choose_for_classes(drawn, labels, usual)
            value = accuracy(cells[best], states(task.test, best))
            few[n].setdefault(row, []).append(value)
    return {"kind": "few", "n_draws": n_draws, "few": few}


def run_cut(limits, cache):
    """TF-IDF of only what MiniLM reads of a text, on the sets with the longest texts."""
    accuracies = {}
    for name in LONG:
        task = load_classification(name, limits)
        train, test = (cut_as_read(texts, cache) for texts in (task.train, task.test))
        tfidf = classical.fit_tfidf(train)
        result = scores.classify(
            tfidf.transform(train),
            task.train_labels,
            tfidf.transform(test),
            task.test_labels,
        )
        accuracies[name] = 100 * float(np.mean(result["right"]))
    return {"kind": "cut", "accuracies": accuracies}


def classical_features(task):
    """Name -> matrices of the training and the test texts."""
    tfidf = classical.fit_tfidf(task.train)
    found = {"TF-IDF": (tfidf.transform(task.train), tfidf.transform(task.test))}
    for row, vectors in {
        "word2vec": classical.fit_word2vec(task.train),
        "GloVe 25d": classical.read_glove(),
    }.items():
        found[row] = tuple(
            classical.mean_of_words(vectors, texts) for texts in (task.train, task.test)
        )
    return found


def all_cells(states, task):
    """Every cell's vectors of the training texts; the test texts are encoded too."""
    states(task.train + task.test, states.model.usual)
    return {cell: states(task.train, cell) for cell in states.model.cells}


def run_sts(limits, cache):
    """Similarity: stsb's test part and the five years."""
    train, train_texts, tests = load_sts(limits)
    methods = {}

    def add(row, encode, **more):
        found = {
            test.name: scores.cosines(encode(test.first), encode(test.second)).tolist()
            for test in tests
        }
        methods[row] = {"cosines": found, **more}

    add("TF-IDF", classical.fit_tfidf(train_texts).transform)
    word_vectors = {
        "word2vec": classical.fit_word2vec(train_texts),
        "GloVe 25d": classical.read_glove(),
    }
    for row, vectors in word_vectors.items():
        add(row, partial(classical.mean_of_words, vectors))
    for model in MODELS:
        states = HiddenStates(model, MAX_LENGTH, cache)
        parts = [train, *tests]
        everything = [text for part in parts for text in (*part.first, *part.second)]
        states(everything, model.usual)  # one pass, the longest batches
        cosines = {
            cell: scores.cosines(states(train.first, cell), states(train.second, cell))
            for cell in model.cells
        }
        best, found = scores.choose_for_cosines(cosines, train.gold, model.usual)
        for row, cell in neural_rows(model).items():
            add(row, partial(states, cell=cell), cell=cell)
        add(f"{model.name}, chosen", partial(states, cell=best), cell=best)
        methods[f"{model.name}, chosen"]["search"] = [
            [*cell, round(score, 2)] for cell, score in found.items()
        ]
    return {
        "kind": "similarity",
        "n_train": len(train.gold),
        "gold": {test.name: test.gold.tolist() for test in tests},
        "methods": methods,
    }


def run_retrieval(name, limits, cache):
    """Retrieval; the cell of a query is chosen on the half of the queries it isn't in."""
    task = load_retrieval(name, limits)
    methods = {}

    def gains(encode):
        documents, queries = (
            scores.unit(encode(texts)) for texts in (task.documents, task.queries)
        )
        similarity = queries @ documents.T
        if hasattr(similarity, "toarray"):
            similarity = similarity.toarray()
        return scores.ndcg_at_10(similarity, task.relevant)

    def add(row, values, **more):
        methods[row] = {"ndcg": values.tolist(), **more}

    bm25 = classical.bm25_scores(task.documents, task.queries)
    add("BM25", scores.ndcg_at_10(bm25, task.relevant))
    add("TF-IDF", gains(classical.fit_tfidf(task.documents).transform))
    for row, vectors in {
        "word2vec": classical.fit_word2vec(task.documents),
        "GloVe 25d": classical.read_glove(),
    }.items():
        add(row, gains(partial(classical.mean_of_words, vectors)))
    half = np.random.default_rng(0).permutation(len(task.queries)) % 2
    for model in MODELS:
        states = HiddenStates(model, MAX_LENGTH, cache)
        states(task.documents + task.queries, model.usual)
        found = {cell: gains(partial(states, cell=cell)) for cell in model.cells}
        for row, cell in neural_rows(model).items():
            add(row, found[cell], cell=cell)
        # cells[k] is for the queries of half k, chosen on the others
        cells = [
            scores.choose_clearly_better(
                {cell: gain[half != k] for cell, gain in found.items()}, model.usual
            )
            for k in (0, 1)
        ]
        values = np.where(half == 0, found[cells[0]], found[cells[1]])
        add(
            f"{model.name}, chosen",
            values,
            cells=cells,
            search=[[*cell, round(v.mean(), 2)] for cell, v in found.items()],
        )
    return {
        "kind": "retrieval",
        "n_test": len(task.queries),
        "n_documents": len(task.documents),
        "methods": methods,
    }


def jobs(args, cache):
    """Name -> function that returns the job's results; all of them can be JSON."""
    sizes = (args.train, args.test, args.pairs, args.test_pairs, args.documents)
    limits = Limits(*sizes)
    sets = ("trec", "cr") if args.small else CLASSIFICATION
    found = {name: partial(run_classification, name, limits, cache) for name in sets}
    found["sts"] = partial(run_sts, limits, cache)
    for name in RETRIEVAL[: 1 if args.small else None]:
        found[name] = partial(run_retrieval, name, limits, cache)
    if not args.small:
        found["cut"] = partial(run_cut, limits, cache)
    for name in sets[: 1 if args.small else None]:
        found[f"{name}-few"] = partial(run_few, name, limits, cache, args.draws)
    return found


def run_jobs(todo, folder, sizes):
    """Do what has no file in the folder yet; a file appears when it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, job in todo.items():
        path = folder / f"{name}.json"
        if path.exists():
            made_with = json.loads(path.read_text())["sizes"]
            if made_with != sizes:
                sys.exit(f"{path} was made with {made_with}, not with {sizes}.")
            continue
        start = time.monotonic()
        with threadpool_limits(1, "blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # cut texts, rare classes
            result = job()
        result["sizes"] = sizes
        result["seconds"] = round(time.monotonic() - start, 1)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result, default=lambda value: value.item()))
        part.replace(path)
        now = time.strftime("%H:%M:%S")
        print(now, name, f"{result['seconds']:.0f} s", flush=True)


def command(args, sizes):
    """The command line without its paths, which are nobody else's."""
    words = ["python", "benchmarks/seed_experiment.py", *(["--small"] * args.small)]
    for name, size in sizes.items():
        if size != SIZES[name][args.small]:
            words += [f"--{name.replace('_', '-')}", str(size)]
    return " ".join(words)


def machine():
    """What the figures were made on."""
    import sklearn
    import torch
    import transformers

    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            **{m.__name__: m.__version__ for m in (torch, transformers, sklearn)},
        },
    }


def read_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="subsets, two minutes")
    parser.add_argument("--results", type=Path, help="folder of each set's results")
    parser.add_argument("--cache", type=Path, help="folder of the hidden states")
    parser.add_argument("--only", nargs="+", help="jobs, such as trec, sts or trec-few")
    parser.add_argument("--summary", type=Path, help="write the summary here")
    parser.add_argument("--from-summary", type=Path, help="run nothing, read this")
    parser.add_argument("--write-page", type=Path, help="write the page, and plots")
    for name, (full, small) in SIZES.items():
        text = f"default: {full}, with --small {small}"
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=text)
    args = parser.parse_args()
    for name, (full, small) in SIZES.items():
        if getattr(args, name) is None:
            setattr(args, name, small if args.small else full)
    return args


def main():
    args = read_arguments()
    if args.from_summary is not None:
        summary = json.loads(args.from_summary.read_text())
    else:
        for module in ("bm25s", "gensim", "Stemmer"):
            if importlib.util.find_spec(module) is None:
                harness.skip(f"no {module} (pip install bm25s gensim PyStemmer)")
        with tempfile.TemporaryDirectory(prefix="sklearn-llm2vec-bench-") as scratch:
            results = args.results or Path(scratch, "results")
            cache = args.cache or Path(scratch, "cache")
            harness.minilm(cache)
            todo = jobs(args, cache)
            if args.only is not None:
                todo = {name: todo[name] for name in args.only}
            sizes = {name: getattr(args, name) for name in SIZES}
            run_jobs(todo, results, sizes)
            read = {p.stem: json.loads(p.read_text()) for p in results.glob("*.json")}
        summary = {
            **machine(),
            "command": command(args, sizes),
            **summarise(read),
        }
    if args.summary is not None:
        args.summary.write_text(json.dumps(summary, indent=1) + "\n")
    for name, header, rows in seed_page.tables(summary):
        print(f"\n{name}")
        harness.print_table(header, rows)
    if args.write_page is not None:
        seed_page.write(summary, args.write_page)
    harness.finish(
        args, passed=seed_page.claims(summary), means=seed_page.plain_means(summary)
    )


if __name__ == "__main__":
    main()
