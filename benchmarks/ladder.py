"""LLM2Vec's steps on a real LLM: what each one gives.

SmolLM2-135M causal, bidirectional, with MNTP, with MNTP and SimCSE on sentences of
Wikipedia, and with MNTP and then supervised training on the pairs of stsb's training part
that people called equal or nearly so. All learning rates are the recipe's own.

Each is scored as in `methods.py`: at the last layer, and at the layer and pooling that
held-out data choose. The sentences are none of the tasks' texts.

    python benchmarks/ladder.py --results ladder --dtype bfloat16 --seeds 0 1 2

Adapters are kept beside the cache, and an interrupted training goes on.
"""

import gzip
import re
from functools import partial
from pathlib import Path

import harness
import methods
import numpy as np
from methods import LAYERS, Encode, jobs, make_encoder, once

from sklearn_llm2vec import LLM2VecRecipe

WORDS = (6, 24)  # of a sentence
# Other seeds only say how far the first one's figure can be trusted.
SIMILARITY_ONLY = {f"+ MNTP + SimCSE, seed {k}" for k in range(1, 10)} | {
    "SimCSE alone"
}


def wikipedia_sentences(n):
    """Distinct sentences, drawn with a seed."""
    path = harness.data_file("corpus_wikipedia_en/corpus.txt.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        parts = [
            part for line in file for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", line)
        ]
    least, most = WORDS
    known = dict.fromkeys(part.strip() for part in parts)
    kept = [part for part in known if least <= len(part.split()) <= most]
    rows = np.random.default_rng(0).choice(len(kept), min(n, len(kept)), replace=False)
    return [kept[i] for i in rows]


def similar_pairs():
    """Pairs of stsb's training part with a score of 4 and more."""
    frame = harness.read_frame("stsb/train")
    frame = frame[frame["score"].astype(float) >= 4]
    return frame[["text_a", "text_b"]].set_axis(["text", "positive"], axis=1)


def steps(args):
    """Yield (name, settings, what is trained on); the last stage once a seed."""
    yield "causal", {}, None
    yield "bidirectional", {"attention": "bidirectional"}, None
    sentences = wikipedia_sentences(args.sentences)
    recipe = partial(
        LLM2VecRecipe,
        mntp_steps=args.mntp_steps,
        simcse_steps=args.simcse_steps,
        supervised_steps=args.supervised_steps,
        simcse_batch_size=args.batch_size,
        supervised_batch_size=args.batch_size,
        max_length=args.training_length,
    )
    mntp = {"adapt": recipe("mntp", seed=0)}
    yield "+ MNTP", mntp, sentences
    folders = make_encoder(args, **mntp).fit(sentences).save_adapters(args.results)
    for seed in args.seeds:
        settings = {"adapters": folders, "adapt": recipe("simcse", seed=seed)}
        yield f"+ MNTP + SimCSE, seed {seed}", settings, sentences
    supervised = {"adapters": folders, "adapt": recipe("supervised", seed=0)}
    yield "+ MNTP + pairs", supervised, similar_pairs()


def score_step(encoder, texts, function, data):
    """Fit one step, which is kept, and score it on one task."""
    encoder.set_params(layer=-1, pooling="auto")
    encoder.fit(["a text"] if texts is None else texts)
    usual = LAYERS[-1], encoder.pooling_
    return function(Encode(encoder, None, ()), usual, data)


def main():
    args = harness.read_sizes(
        __doc__,
        **methods.SIZES,
        results=(Path("ladder"), Path("ladder-small")),
        sentences=(5000, 200),
        mntp_steps=(150, 2),
        simcse_steps=(100, 2),
        supervised_steps=(60, 2),
        batch_size=(32, 8),
        training_length=(48, 24),
        seeds=([0, 1, 2], [0]),
    )
    found = {}
    for name, settings, texts in steps(args):
        encoder = make_encoder(args, **settings)
        for task, function, data, _ in jobs(args):
            if task != "similarity" and name in SIMILARITY_ONLY:
                continue
            score = partial(score_step, encoder, texts, function, data)
            result = once(args.results / f"{task} {name}.json", score)
            found.setdefault(task, {})[name] = result
    methods.show(found, list(found["similarity"]), args.write_page, "ladder")
    similarity = found["similarity"]
    last = [one["usual"] for name, one in similarity.items() if "SimCSE, seed" in name]
    causal = similarity["causal"]
    harness.finish(
        args,
        passed={
            "MNTP + SimCSE is 10 points above the causal last layer": min(last)
            >= causal["usual"] + 10,
            "MNTP + SimCSE is above the best causal layer": min(last)
            > causal["chosen"],
        },
        similarity={"mean": np.mean(last), "deviation": np.std(last)},
        results=found,
    )


if __name__ == "__main__":
    main()
