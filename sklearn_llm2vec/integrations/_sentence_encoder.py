"""``SentenceEncoder``: a transformer with the interface of sentence-transformers."""

import numpy as np

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._common.imports import loading
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._common.rowwise import unit_length
from sklearn_llm2vec.integrations._features import features_of_texts, two_sides

# Settings that would change a vector, which the transformer determines, with the
# defaults of sentence-transformers.
FIXED = {
    "output_value": "sentence_embedding",
    "precision": "float32",
    "prompt": None,
    "prompt_name": None,
    "truncate_dim": None,
}
# Settings that change no vector. The transformer has parameters of its own for them.
IGNORED = {"batch_size", "show_progress_bar", "device", "pool", "chunk_size"}


@public_in("sklearn_llm2vec.integrations")
class SentenceEncoder:
    """A transformer with the methods of ``sentence_transformers.SentenceTransformer``.

    It is for tools that call ``encode`` on the model that they are given, such as vector
    databases.

    Parameters
    ----------
    transformer : estimator with `transform`
        A transformer or pipeline that accepts a list of texts. It must be fitted if it
        learns something.
    query_template, document_template : str or None, default=None
        The transformer's `template` in `encode_query` and `encode_document`. None leaves
        it unchanged: unlike sentence-transformers, it doesn't choose a prompt that the
        model declares for queries or documents. Pass ``query_template="query"`` for that.

    Raises
    ------
    NotFittedError
        If the transformer has to be fitted first.
    TypeError, ValueError
        If it isn't a transformer, or has no `template` to set.

    Examples
    --------
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer
    >>> from sklearn_llm2vec.integrations import SentenceEncoder
    >>> encoder = SentenceEncoder(LLMEmbeddingTransformer(cache=False))
    >>> encoder.encode("one text").shape
    (384,)
    >>> encoder.encode(["one text", "another"], normalize_embeddings=True).shape
    (2, 384)
    >>> encoder.get_sentence_embedding_dimension()
    384
    """

    def __init__(self, transformer, *, query_template=None, document_template=None):
        self.transformer = transformer
        self._queries, self._documents = two_sides(
            transformer, query_template, document_template, "SentenceEncoder"
        )

    def encode(self, sentences, **settings):
        """Compute the features of one text or of several.

        Parameters
        ----------
        sentences : str or sequence of str
            Any number of texts, including none.
        **settings : dict
            Those of sentence-transformers. ``normalize_embeddings``,
            ``convert_to_tensor`` and ``convert_to_numpy`` do what they do there.
            ``batch_size``, ``show_progress_bar``, ``device``, ``pool`` and
            ``chunk_size`` are ignored, because the transformer has its own parameters for
            them. Anything that would change vectors, such as ``prompt`` or ``precision``,
            is refused.

        Returns
        -------
        features : float32 ndarray of shape (n_texts, n_features)
            For a single str, the shape is (n_features,). With ``convert_to_tensor=True``,
            it is a tensor, and with ``convert_to_numpy=False``, a list of tensors.

        Raises
        ------
        TypeError
            For settings that sentence-transformers doesn't have, and if a row isn't text.
        ValueError
            For settings that would change vectors.
        """
        return _encode(self.transformer, sentences, **settings)

    def encode_query(self, sentences, **settings):
        """Compute the features of queries, with `query_template`.

        Parameters
        ----------
        sentences : str or sequence of str
            As in `encode`.
        **settings : dict
            As in `encode`.

        Returns
        -------
        features : float32 ndarray
            As in `encode`.
        """
        return _encode(self._queries, sentences, **settings)

    def encode_document(self, sentences, **settings):
        """Compute the features of documents, with `document_template`.

        Parameters
        ----------
        sentences : str or sequence of str
            As in `encode`.
        **settings : dict
            As in `encode`.

        Returns
        -------
        features : float32 ndarray
            As in `encode`.
        """
        return _encode(self._documents, sentences, **settings)

    def get_sentence_embedding_dimension(self):
        """Number of features of a text.

        Returns
        -------
        int
        """
        return self.encode([]).shape[1]

    # As sentence-transformers calls it since version 5.2.
    get_embedding_dimension = get_sentence_embedding_dimension


def _encode(
    transformer,
    sentences,
    *,
    convert_to_numpy=True,
    convert_to_tensor=False,
    normalize_embeddings=False,
    **settings,
):
    _check_settings(settings)
    is_one = isinstance(sentences, str)
    texts = [sentences] if is_one else sentences
    features = features_of_texts(transformer, texts, "SentenceEncoder")
    if normalize_embeddings:
        features = unit_length(features)
    features = features[0] if is_one else features
    if convert_to_numpy and not convert_to_tensor:
        return features
    with loading:
        import torch

    tensor = torch.from_numpy(np.array(features))
    return tensor if convert_to_tensor or is_one else list(tensor)


def _check_settings(settings):
    for name, value in settings.items():
        if name in FIXED and value != FIXED[name]:
            raise refused(
                name,
                f"{FIXED[name]!r}, because the transformer determines the features",
                value,
                "Set the parameters of the transformer instead, such as 'template' or "
                "'truncate_dim'.",
                of="SentenceEncoder.encode",
            )
        if name not in FIXED and name not in IGNORED:
            raise TypeError(
                f"SentenceEncoder.encode expects settings of sentence-transformers. Got "
                f"{name!r}, which isn't known here: leave it out."
            )
