"""BERTopic's interface of an embedding model. Importing this file needs BERTopic."""

from bertopic.backend import BaseEmbedder

from sklearn_llm2vec.integrations._features import features_of_texts


class BERTopicBackend(BaseEmbedder):
    """A transformer as a backend with which BERTopic embeds documents and words."""

    def __init__(self, transformer):
        super().__init__()
        self.embedding_model = transformer

    def embed(self, documents, verbose=False):
        """One row for each text; the transformer decides about the progress bar."""
        return features_of_texts(self.embedding_model, documents, "as_bertopic_backend")
