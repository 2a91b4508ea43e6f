"""LLM2Vec's adaptation on small real models: what it gains, and what it costs.

Parts, each a table and a JSON line (``--part`` chooses):

- stages: causal weighted mean, bidirectional untrained, + MNTP, + MNTP + SimCSE, and
  supervised, on stsb (Spearman x 100), trec and banking77 (accuracy x 100 of a logistic
  regression on 1,000 and 1,540 texts) and cranfield (nDCG@10 x 100); at the last layer
  and at the best one. "supervised" are pairs of stsb's training part with a score of 4
  and more, "+ classes" the labels of that task's training texts.
- domain: MiniLM and a decoder adapted to the unlabeled texts of medical_abstracts,
  scicite and banking77, then few-shot accuracy; supervised adaptation with 8 to 64
  texts a class; full fine-tuning as SetFit does it.
- cost: tokens/s of each stage, memory with and without gradient checkpointing, and the
  overhead over the model's own forward and backward passes.

Adapters are kept in ``--cache``, so an interrupted run goes on. Reads shared/data and
shared/models beside the repository, and further models from ``--model``.
"""

import argparse
import itertools
import json
import time
import warnings
from pathlib import Path

import harness
import numpy as np
import study
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_llm2vec import EmbeddingCache, LLM2VecRecipe, LLMEmbeddingTransformer

MODELS = harness.DATA.parent / "models"
N_POOL = 1200
SETS = ["banking77", "scicite", "medical_abstracts"]


def sample(texts, n, seed=0):
    """Some distinct texts."""
    texts = list(dict.fromkeys(texts))
    rng = np.random.default_rng(seed)
    return [texts[i] for i in rng.choice(len(texts), min(n, len(texts)), replace=False)]


def banking(n_train, n_test):
    """Texts, and the function that scores their vectors: the same texts of each class."""
    texts, labels = harness.banking_texts(n_train)
    test = harness.read_frame("banking77/test").sample(n_test, random_state=0)

    def score(vectors):
        head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
        head.fit(vectors[: len(texts)], labels)
        return 100 * head.score(vectors[len(texts) :], test["label"])

    return [*texts, *test["text"]], score


def unlabeled_pool():
    """Training texts of all tasks: what a user has before anything is labeled."""
    stsb = harness.read_frame("stsb/train")
    return [
        *sample([*stsb["text_a"], *stsb["text_b"]], N_POOL // 2),
        *sample(harness.read_frame("trec/train")["text"], N_POOL // 5),
        *sample(harness.read_frame("banking77/train")["text"], N_POOL // 5),
        *sample(harness.read_frame("cranfield/corpus")["text"], N_POOL // 10),
    ]


def stsb_pairs():
    """Pairs of the training part that people called equal or nearly so."""
    import pandas as pd

    stsb = harness.read_frame("stsb/train")
    same = stsb[stsb["score"].astype(float) >= 4]
    return pd.DataFrame({"text": same["text_a"], "positive": same["text_b"]})


def score_layers(transformer, texts, score):
    """The score of each layer, from one pass."""
    transformer.set_params(keep=("all", (transformer.pooling_,)))
    scores = []
    for layer in range(1, transformer.n_layers_ + 1):
        transformer.set_params(layer=layer)
        scores.append(score(transformer.transform(texts)))
    return scores


def stages(args):
    """Each stage on each task; means and spread over seeds."""
    tasks = {
        "stsb": study.stsb(1379),
        "trec": study.classification("trec", 1000, 500),
        "banking77": banking(1540, 1000),
        "cranfield": study.cranfield(1398),
    }
    classes = {
        "trec": harness.read_frame("trec/train").sample(1000, random_state=0),
        "banking77": harness.banking_texts(1540),
    }
    pool, pairs = unlabeled_pool(), stsb_pairs()
    rows = []
    for model in args.model:
        for seed in args.seed:
            for name, adapt, fitted_on in variants(pool, pairs, seed):
                if args.variant is None or name in args.variant:
                    rows += score_variant(
                        model, name, adapt, fitted_on, seed, tasks, args
                    )
            for task, labelled in classes.items():
                if args.variant is not None and "+ classes" not in args.variant:
                    continue
                if task == "trec":
                    labelled = labelled["text"].tolist(), labelled["label"].to_numpy()
                adapt = LLM2VecRecipe("supervised", seed=seed)
                chosen = {task: tasks[task]}
                rows += score_variant(
                    model, "+ classes", adapt, labelled, seed, chosen, args
                )
    print_stages(rows)
    print(json.dumps({"benchmark": "adaptation", "part": "stages", "rows": rows}))


def variants(pool, pairs, seed):
    """Yield (name, adapt, what `fit` gets); untrained ones once."""
    if seed == 0:
        yield "causal", None, (pool, None)
        yield "bidirectional", "untrained", (pool, None)
    yield "+ MNTP", LLM2VecRecipe("mntp", seed=seed), (pool, None)
    yield "+ MNTP + SimCSE", LLM2VecRecipe("mntp+simcse", seed=seed), (pool, None)
    if seed == 0:
        yield "SimCSE alone", LLM2VecRecipe("simcse", seed=seed), (pool, None)
    yield "supervised", LLM2VecRecipe("supervised", seed=seed), (pairs, None)


def score_variant(model, name, adapt, fitted_on, seed, tasks, args):
    """Fit one variant; a row for each task."""
    untrained = adapt in (None, "untrained")
    transformer = LLMEmbeddingTransformer(
        model,
        adapt=None if untrained else adapt,
        attention="bidirectional" if adapt == "untrained" else "auto",
        cache=args.cache,
        max_length=160,
        verbose=False,
    )
    started = time.perf_counter()
    transformer.fit(*fitted_on)
    seconds, rows = time.perf_counter() - started, []
    for task, (texts, score) in tasks.items():
        with threadpool_limits(2, "blas"):
            scores = score_layers(transformer, texts, score)
        row = {
            "model": Path(model).name,
            "variant": name,
            "seed": seed,
            "task": task,
            "last": round(scores[-1], 2),
            "best": round(max(scores), 2),
            "layer": int(np.argmax(scores)) + 1,
            "fit_seconds": round(seconds, 1),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def print_stages(rows):
    """A table for each model: last layer and best layer, mean and spread over seeds."""
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        tasks = list(dict.fromkeys(row["task"] for row in mine))
        table = []
        for variant in dict.fromkeys(row["variant"] for row in mine):
            cells = [variant]
            for task, depth in itertools.product(tasks, ("last", "best")):
                scores = [
                    row[depth]
                    for row in mine
                    if row["variant"] == variant and row["task"] == task
                ]
                cells.append(
                    f"{np.mean(scores):.1f} ± {np.std(scores):.1f}" if scores else ""
                )
            table.append(cells)
        print(model)
        harness.print_table(
            ["", *(f"{t} {d}" for t, d in itertools.product(tasks, ("last", "best")))],
            table,
        )


# --- domain ---------------------------------------------------------------------------


def few_shot(vectors, labels, test_vectors, test_labels, n, draw):
    """Accuracy x 100 of a logistic regression on n texts of each class."""
    chosen = draw_few(labels, n, draw)
    head = LogisticRegression(max_iter=100).fit(vectors[chosen], labels[chosen])
    return 100 * head.score(test_vectors, test_labels)


def draw_few(labels, n, draw):
    """Places of n texts of each class."""
    rng = np.random.default_rng(draw)
    return np.concatenate(
        [
            rng.choice(np.flatnonzero(labels == c), min(n, (labels == c).sum()), False)
            for c in np.unique(labels)
        ]
    )


def unlabeled(model, recipe, few, train, test, args):
    """Few-shot accuracy, 8 a class and 10 draws, after an adaptation without labels.

    `few` are the texts to adapt to; the labeled ones are drawn from `train`.
    """
    transformer = LLMEmbeddingTransformer(
        model, adapt=recipe, cache=args.cache, max_length=64, verbose=False
    )
    transformer.fit(few["text"].tolist())
    chosen = [draw_few(train["label"].to_numpy(), 8, draw) for draw in range(10)]
    train = train.iloc[np.unique(np.concatenate(chosen))]
    layers = range(1, transformer.n_layers_ + 1)
    transformer.set_params(keep=("all", (transformer.pooling_,)))
    found = {}
    for layer in layers:
        transformer.set_params(layer=layer)
        vectors = transformer.transform(train["text"].tolist())
        held_out = transformer.transform(test["text"].tolist())
        labels, held_out_labels = train["label"].to_numpy(), test["label"].to_numpy()
        found[layer] = [
            few_shot(vectors, labels, held_out, held_out_labels, 8, draw)
            for draw in range(10)
        ]
    last = found[max(found)]
    best = max(found, key=lambda layer: np.mean(found[layer]))
    return last, found[best], best


def frozen(model, n, n_draws, train, test, args):
    """Accuracy of each layer without any adaptation, n texts of each class."""
    labels, found = train["label"].to_numpy(), {}
    transformer = LLMEmbeddingTransformer(
        model, cache=args.cache, max_length=64, verbose=False
    )
    for draw in range(n_draws):
        few = train.iloc[draw_few(labels, n, draw)]
        transformer.fit(few["text"].tolist())
        transformer.set_params(keep=("all", (transformer.pooling_,)))
        for layer in range(1, transformer.n_layers_ + 1):
            transformer.set_params(layer=layer)
            head = LogisticRegression(max_iter=100)
            head.fit(transformer.transform(few["text"].tolist()), few["label"])
            held_out = transformer.transform(test["text"].tolist())
            found.setdefault(layer, []).append(
                100 * head.score(held_out, test["label"])
            )
    return found


def labelled(model, n, draw, train, test, args):
    """Accuracy after supervised adaptation on n texts of each class, head included."""
    chosen = draw_few(train["label"].to_numpy(), n, draw)
    few = train.iloc[chosen]
    texts, labels = few["text"].tolist(), few["label"].to_numpy()
    transformer = LLMEmbeddingTransformer(
        model,
        adapt=LLM2VecRecipe("supervised", seed=draw),
        cache=args.cache,
        max_length=64,
        verbose=False,
    )
    vectors = transformer.fit(texts, labels).transform(texts)
    head = LogisticRegression(max_iter=100).fit(vectors, labels)
    return 100 * head.score(transformer.transform(test["text"].tolist()), test["label"])


def setfit(n, draw, train, test):
    """Accuracy of full fine-tuning on pairs and a logistic regression behind it.

    The method of SetFit (arXiv 2209.11055) by sentence-transformers' own trainer: pairs
    of one class and of two, the cosine regressed on 1 and 0, one epoch over 5 pairs of
    each kind for each text, learning rate 2e-5.
    """
    import tempfile

    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        losses,
    )

    chosen = draw_few(train["label"].to_numpy(), n, draw)
    texts, labels = train["text"].to_numpy()[chosen], train["label"].to_numpy()[chosen]
    rng, pairs = np.random.default_rng(draw), []
    for i, label in enumerate(labels):
        for same in (True, False):
            others = np.flatnonzero((labels == label) == same)
            others = others[others != i]
            for j in rng.choice(others, min(5, len(others)), replace=False):
                pairs.append((texts[i], texts[j], float(same)))
    a, b, scores = zip(*pairs, strict=True)
    folder = str(harness.minilm().folder)
    model = SentenceTransformer(folder, device="cpu")
    model.max_seq_length = 64
    with tempfile.TemporaryDirectory() as out:
        SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                out,
                num_train_epochs=1,
                per_device_train_batch_size=16,
                learning_rate=2e-5,
                warmup_steps=0.1,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=draw,
            ),
            train_dataset=Dataset.from_dict({"a": a, "b": b, "score": scores}),
            loss=losses.CosineSimilarityLoss(model),
        ).train()
    head = LogisticRegression(max_iter=100).fit(model.encode(list(texts)), labels)
    return 100 * head.score(model.encode(test["text"].tolist()), test["label"])


def domain(args):
    """Adaptation to a specialized set, without labels and with few."""
    rows = []

    def note(dataset, model, method, scores, **more):
        row = {
            "set": dataset,
            "model": model,
            "method": method,
            "mean": round(float(np.mean(scores)), 2),
            "std": round(float(np.std(scores)), 2),
            "draws": len(scores),
            **more,
        }
        rows.append(row)
        print(json.dumps(row), flush=True)

    decoder = args.model[-1]
    for name in args.set:
        train = harness.read_frame(f"{name}/train")
        few = train.sample(min(args.n_texts, len(train)), random_state=0)
        test = harness.read_frame(f"{name}/test")
        test = test.sample(min(500, len(test)), random_state=0)
        for model, label, recipe in (
            (harness.MINILM, "unadapted", None),
            (harness.MINILM, "SimCSE", LLM2VecRecipe("simcse")),
            (decoder, "unadapted", None),
            (decoder, "MNTP + SimCSE", LLM2VecRecipe("mntp+simcse")),
        ):
            with threadpool_limits(2, "blas"):
                last, best, layer = unlabeled(model, recipe, few, train, test, args)
            short = Path(model).name
            note(name, short, label, last, n=8)
            note(name, short, f"{label}, best layer", best, n=8, layer=layer)
        for n in args.shots:
            found = frozen(harness.MINILM, n, args.draws, train, test, args)
            best = max(found, key=lambda layer: np.mean(found[layer]))
            note(name, "all-MiniLM-L6-v2", "unadapted", found[max(found)], n=n)
            method = "unadapted, best layer"
            note(name, "all-MiniLM-L6-v2", method, found[best], n=n, layer=best)
            scores = [
                labelled(harness.MINILM, n, draw, train, test, args)
                for draw in range(args.draws)
            ]
            note(name, "all-MiniLM-L6-v2", "supervised", scores, n=n)
        if args.setfit:
            scores = [setfit(8, draw, train, test) for draw in range(args.draws)]
            note(name, "all-MiniLM-L6-v2", "as SetFit", scores, n=8)
    header = ["set", "model", "method", "n", "mean", "std", "draws"]
    harness.print_table(header, [[row[h] for h in header] for row in rows])
    print(json.dumps({"benchmark": "adaptation", "part": "domain", "rows": rows}))


# --- cost -----------------------------------------------------------------------------


def measured_stage(model, stage, checkpointing, n_texts, steps):
    """Tokens/s and peak memory of one stage, in a process of its own."""
    from sklearn_llm2vec._adapt import batches, training

    counted = []
    collect = batches.padded

    def counting(rows, pad_id):
        counted.append(sum(len(row.ids) for row in rows))
        return collect(rows, pad_id)

    batches.padded = counting
    texts = unlabeled_pool()[:n_texts]
    labels = [len(text) % 8 for text in texts]
    recipe = LLM2VecRecipe(
        stage, **{f"{stage}_steps": steps}, gradient_checkpointing=checkpointing
    )
    trained = []
    train_stage = training.train_stage

    def timing(*args, **kwargs):
        before = time.perf_counter()
        done = train_stage(*args, **kwargs)
        trained.append(time.perf_counter() - before)
        return done

    training.train_stage = timing
    with harness.new_folder():
        transformer = LLMEmbeddingTransformer(
            model, adapt=recipe, cache=None, verbose=False, max_length=128
        ).fit(texts, labels)
    n_tokens, peak = sum(counted), harness.memory_peak()
    seconds = plain_passes(transformer, stage, texts, labels, steps)
    return {
        "tokens_per_second": round(n_tokens / trained[0]),
        "peak_mb": round(peak / 2**20),
        "overhead": round(trained[0] / seconds, 2),
    }


def plain_passes(transformer, stage, texts, labels, steps):
    """Seconds of the same batches through the same network by a loop of four lines."""
    import torch

    from sklearn_llm2vec._adapt import gradients, lora, material, memory, training
    from sklearn_llm2vec._adapt.texts import read_training_texts
    from sklearn_llm2vec._estimator.inputs import read_input
    from sklearn_llm2vec._estimator.parameters import plain_parameters
    from sklearn_llm2vec._estimator.source import open_source

    recipe = transformer.adapt
    transformer.adapt = None
    transformer.set_params(attention="bidirectional")
    source = open_source(transformer)
    columns = read_input(plain_parameters(transformer), texts)
    data = read_training_texts(columns, labels, None, (stage,))
    plan = recipe.stage(
        stage,
        n_texts=len(data.of(stage)),
        n_layers=source.model.n_layers,
        width=source.model.hidden_size,
        pooling="mean",
        seed=0,
    )
    network, head, tokenizer = training.load_for_training(plan, source, ())
    n_layers = source.model.n_layers
    wrapped = lora.add_lora(network, plan, n_layers).train()
    if plan.gradient_checkpointing:
        lora.checkpoint_activations(wrapped)
    made_of = material.Material(plan, data, source, wrapped, tokenizer)
    batches = material.make_batches(made_of)
    gradient_of = gradients.make_gradient(plan, n_layers, head)
    tokens_a_pass, _ = memory.tokens_that_fit(wrapped, batches)
    optimizer = torch.optim.AdamW(
        [p for p in wrapped.parameters() if p.requires_grad], lr=1e-5
    )
    started = time.perf_counter()
    for i in range(steps):
        gradient_of(wrapped, batches[i], tokens_a_pass)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - started


def cost(args):
    """What a training takes beside the model's own passes."""
    rows = []
    for model in args.model:
        for stage, checkpointing in itertools.product(
            ("mntp", "simcse", "supervised"), (False, True)
        ):
            found = harness.call_in_new_process(
                measured_stage, model, stage, checkpointing, 1000, args.steps
            )
            rows.append(
                {
                    "model": Path(model).name,
                    "stage": stage,
                    "checkpointing": checkpointing,
                    **found,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    header = list(rows[0])
    harness.print_table(header, [[row[h] for h in header] for row in rows])
    print(json.dumps({"benchmark": "adaptation", "part": "cost", "rows": rows}))


def main():
    """Read the command line, run the parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"stages": stages, "domain": domain, "cost": cost}
    parser.add_argument("--part", choices=parts, nargs="+", default=list(parts))
    parser.add_argument("--model", nargs="+", help="default: the two of shared/models")
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variant", nargs="+", help="of the stages; default: all")
    parser.add_argument("--set", nargs="+", default=SETS, help="of the domain part")
    parser.add_argument("--n-texts", type=int, default=2000, help="unlabeled ones")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--shots", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--setfit", action="store_true", help="needs datasets")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cache", type=Path, default=Path("adaptation-cache"))
    args = parser.parse_args()
    args.cache = EmbeddingCache(args.cache)
    if args.model is None:
        args.model = [str(MODELS / "stories260K"), str(MODELS / "news-llama-4m")]
        if not MODELS.is_dir():
            harness.skip(f"no {MODELS}")
    warnings.simplefilter("ignore", UserWarning)  # cut texts
    for part in args.part:
        parts[part](args)


if __name__ == "__main__":
    main()
