"""Wrappers for tools: run by the tool where it is installed, else by its interface.

The stand-ins have what the wrappers use of a tool, and nothing else. BERTopic and
LlamaIndex are too large for the tests' environment and were run by hand.
"""

import asyncio
import importlib.util
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sklearn_llm2vec import LLMEmbeddingTransformer, integrations

pytestmark = pytest.mark.filterwarnings("ignore")  # the tools' own

TEXTS = ["card payment", "the bank", "a small blue cat"]


class BaseEmbedder:
    """As BERTopic and KeyBERT have it."""

    def __init__(self, embedding_model=None, word_embedding_model=None):
        self.embedding_model = embedding_model
        self.word_embedding_model = word_embedding_model


class Embeddings:
    """As langchain-core has it, without its asynchronous methods."""


class BaseEmbedding:
    """As llama-index-core has it: batches of texts, and settings by name."""

    def __init__(self, *, model_name, embed_batch_size):
        assert 0 < embed_batch_size <= 2048
        self.model_name, self.embed_batch_size = model_name, embed_batch_size

    def get_query_embedding(self, query):
        return self._get_query_embedding(query)

    def get_text_embedding(self, text):
        return self._get_text_embedding(text)

    def get_text_embedding_batch(self, texts):
        size = self.embed_batch_size
        batches = (texts[i : i + size] for i in range(0, len(texts), size))
        return [one for batch in batches for one in self._get_text_embeddings(batch)]

    async def aget_text_embedding_batch(self, texts):
        return await self._aget_text_embeddings(texts)

    async def aget_query_embedding(self, query):
        return await self._aget_query_embedding(query)


# What is imported of each tool.
TOOLS = {
    "bertopic": {"bertopic.backend": {"BaseEmbedder": BaseEmbedder}},
    "keybert": {"keybert.backend": {"BaseEmbedder": BaseEmbedder}},
    "langchain_core": {"langchain_core.embeddings": {"Embeddings": Embeddings}},
    "llama_index": {
        "llama_index.core.base.embeddings.base": {"BaseEmbedding": BaseEmbedding},
        "llama_index.core.bridge.pydantic": {"PrivateAttr": lambda: None},
    },
}
INSTALLED = {tool: importlib.util.find_spec(tool) is not None for tool in TOOLS}
WRAPPERS = {
    "as_bertopic_backend": ("bertopic", "bertopic", "_bertopic"),
    "as_keybert_backend": ("keybert", "keybert", "_keybert"),
    "as_langchain_embeddings": ("langchain_core", "langchain-core", "_langchain"),
    "as_llama_index_embedding": ("llama_index", "llama-index-core", "_llama_index"),
}


@pytest.fixture
def wrap(monkeypatch):
    """Makes a wrapper by its name, over the tool or what stands in for it."""

    def make(name, *args, **kwargs):
        tool, _, file = WRAPPERS[name]
        if not INSTALLED[tool]:
            for module, contents in TOOLS[tool].items():
                parts = module.split(".")
                for n in range(1, len(parts) + 1):
                    monkeypatch.setitem(
                        sys.modules, ".".join(parts[:n]), ModuleType(parts[n - 1])
                    )
                vars(sys.modules[module]).update(contents)
            monkeypatch.delitem(
                sys.modules, f"sklearn_llm2vec.integrations.{file}", raising=False
            )
        return getattr(integrations, name)(*args, **kwargs)

    yield make
    for _, _, file in WRAPPERS.values():
        sys.modules.pop(f"sklearn_llm2vec.integrations.{file}", None)


@pytest.fixture
def transformer(bert, tmp_path):
    return LLMEmbeddingTransformer(bert, cache=str(tmp_path))


def rows_of(transformer, template=None):
    """What the transformer gives with a template, as lists of floats."""
    transformer.set_params(template=template)
    rows = transformer.transform(TEXTS).tolist()
    transformer.set_params(template=None)
    return rows


@pytest.mark.parametrize("name", ["as_bertopic_backend", "as_keybert_backend"])
def test_backends_embed_documents_and_words(wrap, transformer, name):
    backend = wrap(name, transformer)
    expected = transformer.transform(TEXTS)
    np.testing.assert_array_equal(backend.embed(TEXTS, verbose=False), expected)
    np.testing.assert_array_equal(backend.embed(np.array(TEXTS)), expected)
    assert backend.embed([]).shape == (0, 32)
    with pytest.raises(ValueError, match="Put a single text in a list"):
        backend.embed("bank")  # not four texts of a letter


@pytest.mark.parametrize("name", ["as_bertopic_backend", "as_keybert_backend"])
def test_tools_take_the_backend_for_what_it_is(wrap, transformer, name):
    tool = WRAPPERS[name][0]
    backend = wrap(name, transformer)
    base = sys.modules[f"{tool}.backend"].BaseEmbedder
    assert isinstance(backend, base)
    if not INSTALLED[tool]:
        pytest.skip(f"{tool} isn't installed")
    utils = importlib.import_module(f"{tool}.backend._utils")
    assert utils.select_backend(backend) is backend


def test_langchain(wrap, transformer):
    embeddings = wrap(
        "as_langchain_embeddings",
        transformer,
        query_template="the {text}",
        document_template="a {text}",
    )
    assert isinstance(embeddings, sys.modules["langchain_core.embeddings"].Embeddings)
    assert embeddings.embed_documents(TEXTS) == rows_of(transformer, "a {text}")
    assert embeddings.embed_query(TEXTS[1]) == rows_of(transformer, "the {text}")[1]
    assert embeddings.embed_documents([]) == []
    for text in ("card payment", ""):
        with pytest.raises(ValueError, match="string object received"):
            embeddings.embed_documents(text)


def test_llama_index(wrap, transformer):
    embedding = wrap(
        "as_llama_index_embedding", transformer, query_template="the {text}"
    )
    plain, asked = rows_of(transformer), rows_of(transformer, "the {text}")
    assert embedding.get_text_embedding_batch(TEXTS) == plain
    assert embedding.get_text_embedding(TEXTS[0]) == plain[0]
    assert embedding.get_query_embedding(TEXTS[1]) == asked[1]
    assert embedding.get_text_embedding_batch([]) == []
    assert embedding.model_name == transformer.model


def test_llama_index_without_waiting(wrap, transformer):
    embedding = wrap("as_llama_index_embedding", transformer)
    expected = rows_of(transformer)

    async def ask():
        return (
            await embedding.aget_text_embedding_batch(TEXTS),
            await embedding.aget_query_embedding(TEXTS[2]),
        )

    assert asyncio.run(ask()) == (expected, expected[2])


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_travel_in_pickles(wrap, transformer, name):
    wrapper = wrap(name, transformer)
    copy = pickle.loads(pickle.dumps(wrapper))
    if hasattr(copy, "embed"):
        np.testing.assert_array_equal(copy.embed(TEXTS), wrapper.embed(TEXTS))
    elif name == "as_langchain_embeddings":
        assert copy.embed_query("the bank") == wrapper.embed_query("the bank")
    else:
        one, other = (w.get_query_embedding("the bank") for w in (copy, wrapper))
        assert one == other


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_isnt_ready_is_refused(wrap, bert, name):
    with pytest.raises(NotFittedError):
        wrap(name, LLMEmbeddingTransformer(bert, n_components=2))
    with pytest.raises(TypeError, match=f"'transformer' parameter of {name}"):
        wrap(name, "all-MiniLM-L6-v2")


@pytest.mark.parametrize("name", WRAPPERS)
def test_an_absent_tool_is_named_with_the_line_for_pip(name, monkeypatch, transformer):
    tool, package, file = WRAPPERS[name]
    monkeypatch.setitem(sys.modules, tool, None)
    for module in [one for one in sys.modules if one.startswith(f"{tool}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(
        sys.modules, f"sklearn_llm2vec.integrations.{file}", raising=False
    )
    line = f"{name} needs {package}: pip install {package}"
    with pytest.raises(ImportError, match=line):
        getattr(integrations, name)(transformer)
