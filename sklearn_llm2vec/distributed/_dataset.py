"""``embed_dataset``: the features of a Ray dataset's text columns."""

from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec.distributed._actors import (
    check_batch_size,
    check_share,
    import_ray,
    pool_size,
)
from sklearn_llm2vec.distributed._tables import (
    TableEmbedder,
    check_names,
    check_task,
)


@public_in("sklearn_llm2vec.distributed")
def embed_dataset(
    dataset,
    transformer,
    columns=None,
    *,
    output_columns=None,
    concurrency=None,
    num_cpus=None,
    num_gpus=None,
    batch_size=1024,
):
    """Add the features of text columns to a Ray dataset.

    The texts are encoded when the returned dataset is read. Actors hold the model, and
    Ray sends them one batch after another. If an actor dies, Ray starts a new one and
    repeats its batches.

    Parameters
    ----------
    dataset : ray.data.Dataset
        A dataset that contains the text columns.
    transformer : LLMEmbeddingTransformer
        Must be fitted if it learns from data. Its model must be available to every host,
        under its hub id or as a folder at the same path.
    columns : str, list of str or None, default=None
        The text columns, in the order of `fit`. None stands for those seen in `fit`, or
        for those that the template names if it isn't fitted.
    output_columns : str, list of str or None, default=None
        Names of the new columns: one for each text column, or a single one if `template`
        makes one vector for each row. None stands for ``{column}_embedding``, or for
        ``embedding`` if there is a single vector.
    concurrency : int, tuple of (int, int) or None, default=None
        Number of actors, or the smallest and the largest number. With None, there is at
        least one, and more as long as Ray has resources and work for them. A fixed number
        should leave one CPU for the preceding steps. If the actors have reserved all
        CPUs, reading waits forever.
    num_cpus : float or None, default=None
        Number of CPUs of an actor, which is also its number of threads. None is 1 without
        a GPU. With a GPU, Ray decides.
    num_gpus : float or None, default=None
        Number of GPUs of an actor.
    batch_size : int, default=1024
        Largest number of rows in one call of `transform`.

    Returns
    -------
    ray.data.Dataset
        All columns of `dataset`, and new columns of type ``fixed_size_list<float>``.
        Missing texts are treated as the transformer's `missing` says.

    Raises
    ------
    ImportError
        Without Ray Data or pyarrow.
    NotFittedError
        If the transformer has to be fitted first.
    TypeError, ValueError
        For invalid arguments and missing columns.

    See Also
    --------
    embed_parquet : The same for Parquet files; a stopped job can be resumed.

    Notes
    -----
    The features of each row are those of `transform`, bit for bit on CPUs of the same
    kind. Ray keeps the order of the rows only with
    ``ray.data.DataContext.get_current().execution_options.preserve_order = True``.

    Examples
    --------
    >>> import ray                                                 # doctest: +SKIP
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer        # doctest: +SKIP
    >>> from sklearn_llm2vec.distributed import embed_dataset      # doctest: +SKIP
    >>> reviews = ray.data.read_parquet("reviews/")                # doctest: +SKIP
    >>> encoder = LLMEmbeddingTransformer(cache=False)             # doctest: +SKIP
    >>> features = embed_dataset(reviews, encoder, "review")       # doctest: +SKIP
    >>> features.write_parquet("features/")                        # doctest: +SKIP
    """
    ray = import_ray()
    if not isinstance(dataset, ray.data.Dataset):
        raise TypeError(
            "The 'dataset' parameter of embed_dataset must be a ray.data.Dataset. Got "
            f"{type(dataset).__name__} instead: make one with ray.data.from_pandas, "
            "from_items or read_parquet."
        )
    caller = "embed_dataset"
    columns, outputs = check_task(transformer, columns, output_columns, caller)
    check_batch_size(batch_size, caller)
    schema = dataset.schema(fetch_if_missing=False)
    if schema is not None:
        check_names(schema.names, columns, outputs)
    share = check_share(num_cpus, num_gpus, caller)
    return dataset.map_batches(
        TableEmbedder,
        fn_constructor_args=(transformer, columns, outputs, share["num_cpus"]),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(**pool_size(concurrency, caller)),
        udf_modifying_row_count=False,
        **share,
    )
