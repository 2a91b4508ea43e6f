"""``as_mteb_encoder``: any transformer as a model of mteb's benchmarks.

It implements mteb's protocol of an encoder and none of its tasks. mteb is imported when
it is called.
"""

import secrets

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from sklearn_llm2vec._common.extras import not_installed
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec.evaluation._features import (
    check_transformer,
    finite_vectors,
    learns,
    with_template,
)


@public_in("sklearn_llm2vec.evaluation")
def as_mteb_encoder(
    transformer,
    *,
    query_template=None,
    document_template=None,
    name=None,
    revision=None,
):
    """Turn a transformer into an encoder for ``mteb.evaluate`` (mteb 2).

    Parameters
    ----------
    transformer : estimator with `transform`
        Must accept a list of texts. Because mteb's texts are only transformed, it must be
        fitted if it learns from data. Its own `template` is used for all texts except
        queries and documents.
    query_template, document_template : str or None, default=None
        The transformer's `template` for texts whose ``prompt_type`` is "query" or
        "document", as in retrieval. None leaves it unchanged. The instructions of mteb's
        tasks aren't used.
    name : str or None, default=None
        Name under which mteb stores results, ``organization/name``. None derives it from
        the transformer's model or class.
    revision : str or None, default=None
        Revision under which mteb stores results. None creates a new revision for each
        call, so that results of other parameters or weights are never mistaken for these.
        Give a revision to continue an evaluation that was interrupted.

    Returns
    -------
    MTEBEncoder

    Raises
    ------
    ImportError
        Without mteb 2.
    NotFittedError
        If the transformer has to be fitted first.
    TypeError, ValueError
        If it isn't a transformer, or has no `template` to set.

    Notes
    -----
    mteb's published values are those of models as loaded by sentence-transformers. If the
    model's folder has a module that scales vectors to unit length, set ``normalize=True``
    in `LLMEmbeddingTransformer`. This makes a difference for classifiers and k-means, but
    not for cosines.

    Examples
    --------
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer
    >>> from sklearn_llm2vec.evaluation import as_mteb_encoder
    >>> encoder = as_mteb_encoder(
    ...     LLMEmbeddingTransformer(normalize=True), query_template="query: {text}"
    ... )
    >>> encoder.mteb_model_meta.name
    'sklearn-llm2vec/all-MiniLM-L6-v2'
    >>> import mteb                                                # doctest: +SKIP
    >>> tasks = mteb.get_tasks(["NFCorpus", "STSBenchmark"])       # doctest: +SKIP
    >>> mteb.evaluate(encoder, tasks).to_dataframe()               # doctest: +SKIP
    """
    caller = "as_mteb_encoder"
    _import_mteb()
    check_transformer(transformer, caller)
    if learns(transformer):
        check_is_fitted(transformer)
    by_prompt = {
        "query": with_template(transformer, query_template, caller),
        "document": with_template(transformer, document_template, caller),
    }
    meta = _describe(
        name or f"sklearn-llm2vec/{_short_name(transformer)}",
        revision or secrets.token_hex(8),
        uses_templates=(query_template, document_template) != (None, None),
    )
    return MTEBEncoder(transformer, by_prompt, meta)


class MTEBEncoder:
    """What `as_mteb_encoder` makes: mteb's ``EncoderProtocol`` over a transformer.

    Parameters
    ----------
    transformer : estimator with `transform`
    by_prompt : dict of str to estimator
        Transformers for "query" and "document".
    mteb_model_meta : mteb.ModelMeta
    """

    def __init__(self, transformer, by_prompt, mteb_model_meta):
        self.transformer = transformer
        self.by_prompt = by_prompt
        self.mteb_model_meta = mteb_model_meta

    def encode(
        self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs
    ):
        """Vectors of all texts of a DataLoader.

        Parameters
        ----------
        inputs : DataLoader
            Batches with a list of texts under "text". They are joined: how texts are
            batched is for the transformer to say.
        task_metadata, hf_split, hf_subset : object
            Not used.
        prompt_type : mteb.types.PromptType or None, default=None
            Chooses the template.
        **kwargs : dict
            mteb's ``encode_kwargs``, such as batch_size; not used.

        Returns
        -------
        float ndarray of shape (n_texts, n_features)
        """
        texts = [text for batch in inputs for text in batch["text"]]
        kind = getattr(prompt_type, "value", prompt_type)
        transformer = self.by_prompt.get(kind, self.transformer)
        vectors = finite_vectors(transformer.transform(texts), "as_mteb_encoder")
        return vectors.toarray() if issparse(vectors) else np.ascontiguousarray(vectors)

    def similarity(self, embeddings1, embeddings2):
        """Cosines of all vectors of one with all of the other, as a tensor."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1, embeddings2):
        """Cosines of each vector of one with that of the other, as a tensor."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)


def _short_name(transformer):
    """The last part of the model's id or folder; the class of what has no model."""
    model = getattr(transformer, "model", None)
    if model is None:
        return type(transformer).__name__
    return str(model).rstrip("/\\").replace("\\", "/").rpartition("/")[-1]


def _describe(name, revision, *, uses_templates):
    """Mteb's description of a model; None is what we don't know."""
    from mteb.models import ModelMeta

    return ModelMeta(
        loader=None,
        name=name,
        revision=revision,
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=None,
        embed_dim=None,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=[],
        similarity_fn_name="cosine",
        use_instructions=uses_templates,
        training_datasets=None,
    )


def _import_mteb():
    try:
        from mteb.models import EncoderProtocol  # noqa: F401, mteb 2 has it
    except ImportError as error:
        raise not_installed("as_mteb_encoder", "mteb 2", "mteb") from error
