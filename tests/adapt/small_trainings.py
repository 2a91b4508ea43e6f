"""A few texts with labels, and estimators that train on them in a moment."""

import numpy as np
from conftest import WORDS

from sklearn_llm2vec import LLM2VecRecipe, LLMEmbeddingTransformer

N_TEXTS = 24


def few_texts():
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(N_TEXTS)]


def few_labels():
    return np.array(["card", "cat", "book"] * (N_TEXTS // 3))


def recipe(stages="mntp+simcse", **params):
    few = {f"{stage}_steps": 3 for stage in ("mntp", "simcse", "supervised")}
    few |= {f"{stage}_batch_size": 6 for stage in ("mntp", "simcse", "supervised")}
    return LLM2VecRecipe(stages, **{**few, "lora_rank": 2, "max_length": 12, **params})


def make(folder, adapt=None, **params):
    return LLMEmbeddingTransformer(folder, adapt=adapt, **{"cache": None, **params})
