"""``SentenceEncoder`` beside sentence-transformers itself: shapes, kinds, values."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.pipeline import make_pipeline

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec.integrations import SentenceEncoder

TEXTS = ["card payment", "the bank", "a small blue cat"]


@pytest.fixture
def transformer(bert, tmp_path):
    return LLMEmbeddingTransformer(bert, cache=str(tmp_path))


@pytest.fixture
def encoder(transformer):
    return SentenceEncoder(transformer)


@pytest.fixture(scope="module")
def published(bert):
    """sentence-transformers' own model of the same folder."""
    sentence_transformers = pytest.importorskip(
        "sentence_transformers", reason="sentence-transformers isn't installed"
    )
    return sentence_transformers.SentenceTransformer(bert, device="cpu")


@pytest.mark.parametrize("sentences", ["card payment", TEXTS, tuple(TEXTS), []])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalize_embeddings": True},
        {"convert_to_tensor": True},
        {"convert_to_numpy": False},
        {"batch_size": 2, "show_progress_bar": False, "device": "cpu"},
        {"output_value": "sentence_embedding", "precision": "float32"},
    ],
    ids=str,
)
def test_it_returns_what_sentence_transformers_returns(
    encoder, published, sentences, settings
):
    ours = encoder.encode(sentences, **settings)
    theirs = published.encode(sentences, **settings)
    assert type(ours) is type(theirs)
    if isinstance(ours, list):
        assert [type(one) for one in ours] == [type(one) for one in theirs]
    # They don't know how wide no rows are.
    if len(sentences):
        ours, theirs = np.stack(list(ours)), np.stack(list(theirs))
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_no_texts_have_a_width(encoder):
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.encode(np.array([], str)).shape == (0, 32)
    assert encoder.get_sentence_embedding_dimension() == 32
    assert encoder.get_embedding_dimension() == 32


def test_values_are_those_of_the_transformer(encoder, transformer):
    expected = transformer.transform(TEXTS)
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected)
    np.testing.assert_array_equal(encoder.encode(np.array(TEXTS)), expected)
    np.testing.assert_array_equal(encoder.encode(TEXTS[1]), expected[1])


def test_queries_and_documents_have_templates_of_their_own(transformer):
    encoder = SentenceEncoder(
        transformer, query_template="the {text}", document_template="a {text}"
    )
    for encode, template in (
        (encoder.encode, None),
        (encoder.encode_query, "the {text}"),
        (encoder.encode_document, "a {text}"),
    ):
        transformer.set_params(template=template)
        np.testing.assert_array_equal(encode(TEXTS), transformer.transform(TEXTS))


@pytest.mark.parametrize(
    "setting",
    [
        {"prompt": "query: "},
        {"prompt_name": "query"},
        {"precision": "int8"},
        {"output_value": "token_embeddings"},
        {"truncate_dim": 8},
    ],
    ids=str,
)
def test_what_would_change_vectors_is_refused(encoder, setting):
    (name,) = setting
    with pytest.raises(ValueError, match=rf"'{name}' parameter of SentenceEncoder"):
        encoder.encode(TEXTS, **setting)


def test_unknown_settings_are_refused(encoder):
    with pytest.raises(TypeError, match="Got 'normalise', which isn't known"):
        encoder.encode(TEXTS, normalise=True)


@pytest.mark.parametrize(
    ("sentences", "error"),
    [
        (None, TypeError),
        (iter(TEXTS), TypeError),
        ([["a pair", "of texts"]], TypeError),
        ([("a pair", "of texts"), ("another", "one")], TypeError),
        (np.array([["a pair", "of texts"]]), ValueError),
        ({"text": ["a"], "other": ["b"]}, TypeError),
        ({"a", "b"}, TypeError),
        ([b"bytes"], TypeError),
    ],
    ids=["none", "iterator", "pair", "pairs", "rows", "dict", "set", "bytes"],
)
def test_what_isnt_one_text_a_row_is_refused(encoder, sentences, error):
    with pytest.raises(error, match="expects"):
        encoder.encode(sentences)


def test_pipelines_and_sparse_features(transformer):
    pipe = make_pipeline(transformer, PCA(2)).fit(TEXTS)
    assert SentenceEncoder(pipe).get_sentence_embedding_dimension() == 2
    hashing = HashingVectorizer(n_features=16)
    if hashing.__sklearn_tags__().requires_fit:
        pytest.skip("this scikit-learn wants HashingVectorizer to be fitted")
    hashed = SentenceEncoder(hashing).encode(TEXTS)
    assert hashed.shape == (3, 16) and hashed.dtype == np.float32


def test_what_isnt_ready_is_refused(bert):
    with pytest.raises(NotFittedError):
        SentenceEncoder(LLMEmbeddingTransformer(bert, n_components=2))
    with pytest.raises(TypeError, match="'transformer' parameter of SentenceEncoder"):
        SentenceEncoder("all-MiniLM-L6-v2")


def test_missing_texts_are_no_vectors_of_nan(bert, tmp_path):
    encoder = SentenceEncoder(
        LLMEmbeddingTransformer(bert, missing="nan", cache=str(tmp_path))
    )
    with pytest.raises(ValueError, match="SentenceEncoder expects finite features"):
        encoder.encode(["card", None])
