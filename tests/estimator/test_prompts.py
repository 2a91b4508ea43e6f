"""Prompts of sentence-transformers folders: which of their tokens count, and names."""

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers_folders import TOKENIZERS, declare, save_base

from sklearn_llm2vec import LLMEmbeddingTransformer

PROMPTS = [
    "query: ",
    "Represent this sentence:",  # a tokenizer may join the text's first letters to it
    "Instruct: Given a question, find passages\nQuery: ",
    "{title} ",
]
TEXTS = [
    "how do I top up my card?",
    "The small red cat",
    "42",
    "größe",
    "(pi)",
    "passage: a refund of 25 euros is pending, isn't it; Paris in 2024 " * 4,  # cut
]


def make(folder, **params):
    return LLMEmbeddingTransformer(str(folder), **{"cache": None, **params})


def before(prompt):
    return prompt.replace("{", "{{").replace("}", "}}") + "{text}"


def close(ours, theirs):
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * scale)


def theirs(folder, texts=TEXTS, **prompt):
    reference = SentenceTransformer(str(folder), device="cpu")
    return reference.encode(texts, **prompt)


@pytest.fixture(scope="module", params=TOKENIZERS)
def base(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    save_base(folder, request.param)
    return folder


@pytest.mark.filterwarnings("ignore:.*are longer than")
@pytest.mark.parametrize("pooling", ["mean", "max", "lasttoken", "weightedmean"])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_a_template_is_a_prompt(base, include_prompt, pooling):
    declare(base, pooling=pooling, include_prompt=include_prompt)
    if pooling == "weightedmean" and not include_prompt:
        return
    for prompt in PROMPTS:
        ours = make(base, template=before(prompt)).fit_transform(TEXTS)
        close(ours, theirs(base, prompt=prompt))
