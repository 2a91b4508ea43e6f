"""Transformers for tools in which an embedding model must inherit from a base class.

There is a file for each tool, which imports the tool and is imported when it is needed.
"""

from importlib import import_module

from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec.integrations._features import check_ready, two_sides


@public_in("sklearn_llm2vec.integrations")
def as_bertopic_backend(transformer):
    """Make a transformer an ``embedding_model`` of BERTopic.

    If BERTopic is given the transformer itself, it silently loads another model.

    Parameters
    ----------
    transformer : estimator with `transform`
        A transformer or pipeline that accepts a list of texts. It must be fitted if it
        learns something.

    Returns
    -------
    bertopic.backend.BaseEmbedder

    Raises
    ------
    ImportError
        If bertopic isn't installed.
    NotFittedError
        If the transformer has to be fitted first.
    TypeError
        If it isn't a transformer.

    Examples
    --------
    >>> from bertopic import BERTopic                                # doctest: +SKIP
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer          # doctest: +SKIP
    >>> from sklearn_llm2vec.integrations import as_bertopic_backend # doctest: +SKIP
    >>> backend = as_bertopic_backend(LLMEmbeddingTransformer())     # doctest: +SKIP
    >>> topics, _ = BERTopic(embedding_model=backend).fit_transform(texts)
    ... # doctest: +SKIP
    """
    wrapper = _import("_bertopic", "as_bertopic_backend", "bertopic")
    check_ready(transformer, "as_bertopic_backend")
    return wrapper.BERTopicBackend(transformer)


@public_in("sklearn_llm2vec.integrations")
def as_keybert_backend(transformer):
    """Make a transformer a ``model`` of KeyBERT.

    If KeyBERT is given the transformer itself, it silently loads another model.

    Parameters
    ----------
    transformer : estimator with `transform`
        As in `as_bertopic_backend`.

    Returns
    -------
    keybert.backend.BaseEmbedder

    Raises
    ------
    ImportError
        If keybert isn't installed.
    NotFittedError, TypeError
        As in `as_bertopic_backend`.

    Examples
    --------
    >>> from keybert import KeyBERT                                  # doctest: +SKIP
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer          # doctest: +SKIP
    >>> from sklearn_llm2vec.integrations import as_keybert_backend  # doctest: +SKIP
    >>> backend = as_keybert_backend(LLMEmbeddingTransformer())      # doctest: +SKIP
    >>> KeyBERT(backend).extract_keywords("a long text ...")         # doctest: +SKIP
    """
    wrapper = _import("_keybert", "as_keybert_backend", "keybert")
    check_ready(transformer, "as_keybert_backend")
    return wrapper.KeyBERTBackend(transformer)


@public_in("sklearn_llm2vec.integrations")
def as_langchain_embeddings(
    transformer, *, query_template=None, document_template=None
):
    """Make a transformer an ``Embeddings`` of LangChain.

    Parameters
    ----------
    transformer : estimator with `transform`
        As in `as_bertopic_backend`.
    query_template, document_template : str or None, default=None
        The transformer's `template` for queries and for documents. None leaves it
        unchanged.

    Returns
    -------
    langchain_core.embeddings.Embeddings

    Raises
    ------
    ImportError
        If langchain-core isn't installed.
    NotFittedError, TypeError
        As in `as_bertopic_backend`.
    ValueError
        If the transformer has no `template` to set.

    Examples
    --------
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer          # doctest: +SKIP
    >>> from sklearn_llm2vec.integrations import as_langchain_embeddings
    ... # doctest: +SKIP
    >>> embeddings = as_langchain_embeddings(                        # doctest: +SKIP
    ...     LLMEmbeddingTransformer("intfloat/e5-small-v2"),
    ...     query_template="query: {text}",
    ...     document_template="passage: {text}",
    ... )
    >>> len(embeddings.embed_query("a question"))                    # doctest: +SKIP
    384
    """
    caller = "as_langchain_embeddings"
    wrapper = _import("_langchain", caller, "langchain-core")
    sides = two_sides(transformer, query_template, document_template, caller)
    return wrapper.LangChainEmbeddings(*sides)


@public_in("sklearn_llm2vec.integrations")
def as_llama_index_embedding(
    transformer, *, query_template=None, document_template=None
):
    """Make a transformer a ``BaseEmbedding`` of LlamaIndex.

    Parameters
    ----------
    transformer : estimator with `transform`
        As in `as_bertopic_backend`.
    query_template, document_template : str or None, default=None
        As in `as_langchain_embeddings`.

    Returns
    -------
    llama_index.core.embeddings.BaseEmbedding

    Raises
    ------
    ImportError
        If llama-index-core isn't installed.
    NotFittedError, TypeError, ValueError
        As in `as_langchain_embeddings`.

    Examples
    --------
    >>> from llama_index.core import Document, VectorStoreIndex      # doctest: +SKIP
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer          # doctest: +SKIP
    >>> from sklearn_llm2vec.integrations import as_llama_index_embedding
    ... # doctest: +SKIP
    >>> embedding = as_llama_index_embedding(LLMEmbeddingTransformer())
    ... # doctest: +SKIP
    >>> index = VectorStoreIndex.from_documents(                     # doctest: +SKIP
    ...     [Document(text="a text")], embed_model=embedding
    ... )
    """
    caller = "as_llama_index_embedding"
    wrapper = _import("_llama_index", caller, "llama-index-core")
    sides = two_sides(transformer, query_template, document_template, caller)
    name = str(getattr(transformer, "model", type(transformer).__name__))
    return wrapper.LlamaIndexEmbedding(*sides, name)


def _import(file, caller, package):
    """The file of a tool; if the tool is missing, an error says how to install it."""
    try:
        return import_module(f"sklearn_llm2vec.integrations.{file}")
    except ImportError as error:
        raise ImportError(f"{caller} needs {package}: pip install {package}") from error
