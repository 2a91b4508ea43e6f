"""EmbedFilter: what the unembedding matrix says about which directions carry meaning.

A small transformer for a ``Pipeline``, behind ``LLMEmbeddingTransformer``. It reads one
matrix of the model and nothing else.
"""

import functools

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_llm2vec._common.checks import is_integer, is_number, refused
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._common.rowwise import row_products
from sklearn_llm2vec._estimator.parameters import check_variable
from sklearn_llm2vec._model.folders import read_model

NAME = "UnembeddingFilter"
# Where language models keep the matrix from hidden states to the vocabulary; with tied
# embeddings it is the one from the vocabulary to hidden states.
UNEMBEDDINGS = ("lm_head.weight", "embed_out.weight", "output.weight")
EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
)


@public_in("sklearn_llm2vec")
class UnembeddingFilter(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Keep the middle right-singular vectors of a model's unembedding matrix.

    The unembedding matrix turns hidden states into words. Its first singular directions
    mostly encode how frequent a word is, and its last directions encode nothing useful.
    This transformer projects the features onto the directions between them (EmbedFilter),
    which reduces their number and needs neither data nor training.

    Parameters
    ----------
    model : str or path-like
        Hub id or local folder of the causal decoder that computed the features.
    n_components : int or float, default=0.5
        Number of directions to keep, or their share if it is a float in (0, 1].
    start : int or None, default=None
        The first direction to keep, counted from 0 in descending order of the singular
        values. None leaves out as many directions at the beginning as at the end.
    revision : str or None, default=None
        Branch, tag or commit of the model on the hub.
    token_env : str or None, default=None
        Name of the environment variable with a token of the hub, as in
        `LLMEmbeddingTransformer`.

    Attributes
    ----------
    components_ : float32 ndarray of shape (n_components, hidden)
        The directions that are kept, one in each row.
    singular_values_ : ndarray of shape (hidden,)
        All singular values of the matrix, in descending order.
    n_features_in_ : int
        Number of features seen in `fit`, for one or several text columns.

    Notes
    -----
    With the unembedding matrix ``W = U S V^T`` of shape (vocabulary, hidden), features
    ``x`` become ``x V[:, start : start + n_components]``. Whitening and standardizing
    have the same purpose but learn from data. For these, use scikit-learn's
    ``PCA(whiten=True)`` and ``StandardScaler``.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer, UnembeddingFilter
    >>> pipe = make_pipeline(
    ...     LLMEmbeddingTransformer("Qwen/Qwen3-0.6B", template="prompt_eol"),
    ...     UnembeddingFilter("Qwen/Qwen3-0.6B", n_components=0.5),
    ... )
    """

    def __init__(
        self, model, *, n_components=0.5, start=None, revision=None, token_env=None
    ):
        self.model = model
        self.n_components = n_components
        self.start = start
        self.revision = revision
        self.token_env = token_env

    def fit(self, X, y=None):
        """Read the model's unembedding matrix. Nothing is learned from `X`.

        Parameters
        ----------
        X : array of shape (n_rows, n_columns * hidden)
            Features of the model's hidden states.
        y : ignored

        Returns
        -------
        self : UnembeddingFilter

        Raises
        ------
        ValueError
            If the model has no such matrix, or if the number of features doesn't fit.
        """
        X = validate_data(self, X, dtype=np.float32, ensure_all_finite="allow-nan")
        check_variable("token_env", self.token_env, "token", "UnembeddingFilter")
        folder = read_model(
            self.model, revision=self.revision, token_env=self.token_env
        )
        self.singular_values_, directions = _singular_directions(
            folder.place, folder.weights_digest, folder.tied and folder.causal
        )
        hidden = len(directions)
        if X.shape[1] % hidden:
            raise ValueError(
                f"UnembeddingFilter expects the {hidden} features of {folder.name!r}, "
                f"or a multiple of them for several columns. Got {X.shape[1]} "
                "instead."
            )
        start, stop = self._range(hidden)
        self.components_ = directions[start:stop]
        self._n_features_out = X.shape[1] // hidden * (stop - start)
        return self

    def transform(self, X):
        """Project features onto the directions that are kept.

        Parameters
        ----------
        X : array of shape (n_rows, n_columns * hidden)
            Features of the model's hidden states, as in `fit`.

        Returns
        -------
        float32 ndarray of shape (n_rows, n_columns * n_components)
        """
        check_is_fitted(self)
        X = validate_data(
            self, X, dtype=np.float32, reset=False, ensure_all_finite="allow-nan"
        )
        hidden = self.components_.shape[1]
        blocks = [
            row_products(X[:, at : at + hidden], self.components_.T)
            for at in range(0, X.shape[1], hidden)
        ]
        return np.concatenate(blocks, axis=1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _range(self, hidden):
        n = self.n_components
        if is_number(n) and not is_integer(n) and 0 < n <= 1:
            n = max(1, round(n * hidden))
        if not is_integer(n, least=1) or n > hidden:
            expected = f"an int from 1 to {hidden} or a float in (0, 1]"
            raise refused("n_components", expected, self.n_components, of=NAME)
        start = (hidden - n) // 2 if self.start is None else self.start
        if not is_integer(start, least=0) or start > hidden - n:
            expected = (
                f"None or an int from 0 to {hidden - n}, so that {n} of {hidden} "
                "directions follow it"
            )
            raise refused("start", expected, self.start, of=NAME)
        return start, start + n


@functools.lru_cache(maxsize=4)
def _singular_directions(folder, digest, tied):
    """Singular values and right-singular vectors of the unembedding matrix.

    Parameters
    ----------
    folder : Path
        Or a GGUF file.
    digest : str
        Of the weights: another content is another matrix.
    tied : bool
        Whether the embeddings are the unembedding matrix too.

    Returns
    -------
    values : float64 ndarray of shape (hidden,)
        Falling.
    directions : float32 ndarray of shape (hidden, hidden)
        One a row; the largest entry of each is positive.
    """
    gram = _gram(_unembedding(folder, tied))
    values, vectors = np.linalg.eigh(gram)  # rising
    values, directions = values[::-1], vectors.T[::-1]
    largest = np.abs(directions).argmax(1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    return np.sqrt(values.clip(0)), (directions * signs[:, None]).astype(np.float32)


def _gram(matrix, rows=16384):
    """``W^T W`` in float64, a block of the vocabulary at a time."""
    hidden = matrix.shape[1]
    gram = np.zeros((hidden, hidden))
    for start in range(0, len(matrix), rows):
        block = matrix[start : start + rows].double().numpy()
        gram += block.T @ block
    return gram


def _unembedding(folder, tied):
    """The matrix as a tensor of shape (vocabulary, hidden)."""
    from sklearn_llm2vec._model.gguf_weights import unembedding

    find = unembedding if folder.is_file() else _in_safetensors
    if (matrix := find(folder, tied)) is not None:
        return matrix
    raise ValueError(
        "The 'model' parameter of UnembeddingFilter must name a causal decoder whose "
        f"weights contain an unembedding matrix. {folder} has none of "
        f"{', '.join(UNEMBEDDINGS)}, and isn't a causal decoder with tied embeddings."
    )


def _in_safetensors(folder, tied):
    """The matrix in a folder's safetensors files, or None."""
    from safetensors import safe_open

    from sklearn_llm2vec._model.files import weight_files

    # Embeddings that aren't tied, an encoder's or those of a decoder that was saved
    # without its head, say nothing of the way from hidden states to words.
    for endings in (UNEMBEDDINGS, EMBEDDINGS) if tied else (UNEMBEDDINGS,):
        for path in weight_files(folder):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():
                    if name.endswith(endings):
                        return file.get_tensor(name)
    return None
