"""What works on a model's folder works on a GGUF file: searches, training, commands."""

import numpy as np
import pandas as pd
import pytest
from gguf_files import save_gguf, small_llama
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from tables import same_bits

from sklearn_llm2vec import (
    EmbeddingCache,
    LLM2VecRecipe,
    LLMEmbeddingTransformer,
    layer_pooling_grid,
)
from sklearn_llm2vec._model.registry import forget_models
from sklearn_llm2vec.cli import main

WORDS = "the man in a tree and on the other then re entered an inn".split()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("gguf") / "model.gguf"
    return str(save_gguf(file, small_llama(), kind="Q8_0"))


@pytest.fixture
def texts():
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(24)]


def test_a_search_with_workers_encodes_each_text_once(path, texts, tmp_path):
    labels = [len(text) % 2 for text in texts]
    cache = EmbeddingCache(tmp_path)
    pipe = make_pipeline(LLMEmbeddingTransformer(path, cache=cache), RidgeClassifier())
    grid = layer_pooling_grid(pipe, poolings=["mean", "last"])
    search = GridSearchCV(pipe, grid, cv=3, n_jobs=2).fit(texts, labels)
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert cache.info()["texts_encoded"] == len(set(texts))


@pytest.mark.parametrize(
    "params",
    [
        {"attention": "bidirectional"},
        {"template": "prompt_eol"},
        {"template": "prompt_eol", "token_prepending": 2},
        {"template": "echo"},
        {"long_texts": "chunk", "max_length": 8},
    ],
    ids=lambda params: "-".join(map(str, params.values())),
)
def test_a_text_has_the_same_bits_alone(params, path, texts):
    encoder = LLMEmbeddingTransformer(path, cache=None, layer=2, **params)
    together = encoder.fit_transform(texts)
    assert np.abs(together - LLMEmbeddingTransformer(path).fit_transform(texts)).max()
    same_bits(encoder.transform(texts[3:4]), together[3:4])


def test_adapting_saving_and_merging(path, texts, tmp_path):
    steps = {f"{stage}_steps": 3 for stage in ("mntp", "simcse")}
    steps |= {f"{stage}_batch_size": 6 for stage in ("mntp", "simcse")}
    recipe = LLM2VecRecipe("mntp+simcse", lora_rank=2, max_length=12, **steps)
    adapted = LLMEmbeddingTransformer(path, adapt=recipe, cache=None).fit(texts)
    assert [adapter.stage for adapter in adapted.adapter_] == ["mntp", "simcse"]
    vectors = adapted.transform(texts)
    folders = adapted.save_adapters(tmp_path / "adapters")
    forget_models()
    loaded = LLMEmbeddingTransformer(path, adapters=folders, cache=None)
    np.testing.assert_allclose(loaded.fit_transform(texts), vectors, atol=1e-5)
    adapted.merge_and_save(tmp_path / "merged")
    merged = LLMEmbeddingTransformer(str(tmp_path / "merged"), cache=None)
    np.testing.assert_allclose(merged.fit_transform(texts), vectors, atol=1e-4)


def test_the_command_line_embeds_with_it(path, texts, tmp_path):
    pd.DataFrame({"text": texts}).to_csv(tmp_path / "in.csv", index=False)
    argv = ["embed", str(tmp_path / "in.csv"), "--text", "text", "--model", path]
    argv += ["-o", str(tmp_path / "out.npy"), "--layer", "2", "--no-cache"]
    assert main(argv) == 0
    want = LLMEmbeddingTransformer(path, layer=2, cache=None).fit_transform(texts)
    same_bits(np.load(tmp_path / "out.npy"), want)
