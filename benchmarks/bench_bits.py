"""A text's vector has the same bits in any batch, order and company.

300 real texts of 1 to 512 tokens, MiniLM and a random Llama, CPU, float32. Bar: no vector
of any variant differs from the reference in any bit.
"""

import argparse
import json
import os
import random
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["SKLEARN_LLM2VEC_CACHE"] = tempfile.mkdtemp()

import numpy as np
import pandas as pd
import torch
from common import MINILM, data, random_llama

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._models import forget_models


def real_texts(n, seed=0):
    """Distinct cuts of real texts, of 1 to about 400 words."""
    rng = random.Random(seed)
    short = pd.read_csv(data("banking77/train.csv.gz"), keep_default_na=False)["text"]
    words = " ".join(pd.read_csv(data("medical_abstracts/train.csv.gz"))["text"]).split()
    texts = rng.sample(sorted(set(short)), n // 2)
    for _ in range(n - n // 2):
        start, length = rng.randrange(len(words) - 500), rng.randint(1, 400)
        texts.append(" ".join(words[start : start + length]))
    return list(dict.fromkeys(texts))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=300)
    args = parser.parse_args()
    texts = real_texts(args.texts)
    order = random.Random(1).sample(range(len(texts)), len(texts))
    result = {"benchmark": "bits", "texts": len(texts), "differing": {}}
    for name, model in (("MiniLM", MINILM), ("Llama", random_llama(64, 6))):
        made = LLMEmbeddingTransformer(
            model, layer=3, pooling="mean", max_length=512, cache=None, verbose=False
        )

        def run(rows=None, made=made, **params):
            chosen = texts if rows is None else [texts[i] for i in rows]
            return made.set_params(**params).fit_transform(chosen)

        reference = run(layer=(3,))  # a deeper model than needed is loaded below
        variants = {}
        forget_models()
        made.set_params(layer=6).transform(texts[:1])
        variants["a deeper model loaded"] = run(layer=3)
        forget_models()
        variants["early exit"] = run()
        for budget in (16, 64, 4096):
            variants[f"batch_tokens={budget}"] = run(batch_tokens=budget)
        made.set_params(batch_tokens="auto")
        variants["shuffled"] = run(order)[np.argsort(order)]
        variants["alone"] = np.concatenate([run([i]) for i in range(len(texts))])
        for n in (1, 2, 3):
            before = torch.get_num_threads()
            torch.set_num_threads(n)
            variants[f"{n} threads"] = run()
            torch.set_num_threads(before)
        for keep in ("requested", "all", ([0, 6], ["max"])):
            made.set_params(cache=tempfile.mkdtemp(), keep=keep)
            variants[f"keep={keep}"] = run()
            variants[f"keep={keep}, from the cache"] = run()
        made.set_params(cache=None)
        print(f"\n{name}: vectors of {len(texts)} that differ")
        for variant, vectors in variants.items():
            n = int((vectors.view("u4") != reference.view("u4")).any(1).sum())
            print(f"  {variant:<36}{n:>6}")
            result["differing"][f"{name}, {variant}"] = n
    result["passed"] = not any(result["differing"].values())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
