"""UnembeddingFilter against numpy's SVD."""

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as t
from conftest import llama_config, make_tokenizer, save_model
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import LLMEmbeddingTransformer, UnembeddingFilter


@pytest.fixture(scope="module")
def untied(tmp_path_factory):
    """A Llama with a head of its own."""
    folder = tmp_path_factory.mktemp("untied")
    torch.manual_seed(0)
    config = llama_config(tie_word_embeddings=False)
    t.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    make_tokenizer("llama").save_pretrained(folder)
    return str(folder)


def matrix_of(folder):
    model = t.AutoModelForCausalLM.from_pretrained(folder)
    return model.lm_head.weight.detach().double().numpy()


@pytest.mark.parametrize(
    ("params", "start", "stop"),
    [
        ({}, 8, 24),
        ({"n_components": 10}, 11, 21),
        ({"n_components": 5, "start": 2}, 2, 7),
    ],
)
def test_against_the_svd(untied, params, start, stop):
    X = np.random.default_rng(0).normal(size=(7, 32)).astype(np.float32)
    _, values, directions = np.linalg.svd(matrix_of(untied))
    made = UnembeddingFilter(untied, **params).fit(X)
    np.testing.assert_allclose(made.singular_values_, values, rtol=1e-6)
    got, want = made.transform(X), X @ directions[start:stop].T
    assert got.dtype == np.float32
    np.testing.assert_allclose(np.abs(got), np.abs(want), rtol=1e-3, atol=1e-5)
    largest = np.abs(made.components_).argmax(1)
    assert (made.components_[np.arange(stop - start), largest] > 0).all()


def test_tied_embeddings(tmp_path):
    config = llama_config(tie_word_embeddings=True)
    folder = str(save_model(tmp_path, config, "llama"))
    X = np.eye(32, dtype=np.float32)
    values = UnembeddingFilter(folder).fit(X).singular_values_
    embed = t.AutoModel.from_pretrained(folder).embed_tokens.weight.detach().numpy()
    np.testing.assert_allclose(values, np.linalg.svd(embed)[1], rtol=1e-5)


def test_embeddings_that_arent_tied_to_it(llama, bert):
    """A decoder without its head, and an encoder: no way to words is known."""
    for folder in (llama, bert):
        with pytest.raises(ValueError, match="must name a causal decoder whose"):
            UnembeddingFilter(folder).fit(np.eye(32, dtype=np.float32))


def test_in_a_pipeline(untied, texts):
    pipe = make_pipeline(
        LLMEmbeddingTransformer(untied, cache=None, template="prompt_eol"),
        UnembeddingFilter(untied),
    ).set_output(transform="pandas")
    out = pipe.fit_transform(texts)
    assert out.shape == (len(texts), 16)
    assert out.columns[0] == "unembeddingfilter0"
    again = clone(pipe).fit_transform(texts[::-1])
    np.testing.assert_array_equal(out.to_numpy()[::-1], again.to_numpy())


def test_columns_beside_each_other(untied):
    X = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    made = UnembeddingFilter(untied, n_components=4)
    both = made.fit_transform(X)
    np.testing.assert_array_equal(both[:, :4], made.fit_transform(X[:, :32]))
    np.testing.assert_array_equal(both[:, 4:], made.fit_transform(X[:, 32:]))
    frame = pd.DataFrame(X).rename(columns=str)
    np.testing.assert_array_equal(made.fit_transform(frame), both)
    assert np.isnan(made.transform(frame * np.nan)).all()


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"n_components": 33}, "'n_components' parameter.*1 to 32.*Got 33"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"n_components": 1.5}, "'n_components' parameter"),
        ({"n_components": 30, "start": 3}, "'start' parameter.*0 to 2.*Got 3"),
    ],
)
def test_what_is_refused(untied, params, says):
    with pytest.raises(ValueError, match=says):
        UnembeddingFilter(untied, **params).fit(np.zeros((2, 32)))


def test_other_features(untied, bert):
    with pytest.raises(ValueError, match="expects the 32 features.*Got 33"):
        UnembeddingFilter(untied).fit(np.zeros((2, 33)))
    with pytest.raises(ValueError, match="expecting 32 features"):
        UnembeddingFilter(untied).fit(np.zeros((2, 32))).transform(np.zeros((2, 64)))
