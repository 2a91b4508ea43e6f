"""LlamaIndex's interface of embeddings. Importing this file needs llama-index-core."""

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from sklearn_llm2vec.integrations._features import features_of_texts, has_none

# The largest that LlamaIndex allows, because the transformer makes its own batches.
MOST_TEXTS = 2048


class LlamaIndexEmbedding(BaseEmbedding):
    """Two transformers, of queries and of documents, as LlamaIndex's embeddings."""

    _queries: Any = PrivateAttr()
    _documents: Any = PrivateAttr()

    def __init__(self, queries, documents, model_name):
        super().__init__(model_name=model_name, embed_batch_size=MOST_TEXTS)
        self._queries, self._documents = queries, documents

    @classmethod
    def class_name(cls):
        """The name by which LlamaIndex knows it."""
        return cls.__name__

    def _get_query_embedding(self, query):
        return _vectors(self._queries, [query])[0]

    def _get_text_embedding(self, text):
        return _vectors(self._documents, [text])[0]

    def _get_text_embeddings(self, texts):
        return _vectors(self._documents, texts)

    async def _aget_query_embedding(self, query):
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text):
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts):
        # Together: LlamaIndex would ask for each text by itself.
        return await asyncio.to_thread(self._get_text_embeddings, texts)


def _vectors(transformer, texts):
    if has_none(texts):
        return []
    return features_of_texts(transformer, texts, "as_llama_index_embedding").tolist()
