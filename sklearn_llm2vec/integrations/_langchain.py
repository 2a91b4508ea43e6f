"""LangChain's interface of embeddings. Importing this file needs langchain-core."""

from langchain_core.embeddings import Embeddings

from sklearn_llm2vec.integrations._features import features_of_texts, has_none


class LangChainEmbeddings(Embeddings):
    """Two transformers, of queries and of documents, as LangChain's embeddings."""

    def __init__(self, queries, documents):
        self.queries, self.documents = queries, documents

    def embed_documents(self, texts):
        """A list of floats for each text."""
        if has_none(texts):
            return []  # no text has to be encoded for this
        return features_of_texts(
            self.documents, texts, "as_langchain_embeddings"
        ).tolist()

    def embed_query(self, text):
        """The list of floats of one text."""
        (features,) = features_of_texts(self.queries, [text], "as_langchain_embeddings")
        return features.tolist()
