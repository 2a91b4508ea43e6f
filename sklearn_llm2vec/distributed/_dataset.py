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

    Nothing runs before the dataset is read. The model is held by actors, to which Ray
    brings batch after batch; an actor that dies is started again and its batches are
    repeated.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With the text columns among its columns.
    transformer : LLMEmbeddingTransformer
        Fitted, where it learns something. Every host must find its model: by its hub id,
        or a folder at the same path.
    columns : str, list of str or None, default=None
        The text columns, in the order of `fit`. None takes those that `fit` saw, else
        those that the template names.
    output_columns : str, list of str or None, default=None
        Names of the new columns, one for each text column, or one in all where
        `template` makes one vector of a row. None is ``{column}_embedding``, or
        ``embedding``.
    concurrency : int, tuple of (int, int) or None, default=None
        Actors, or the fewest and the most of them. None is one, and more as long as Ray
        has room and work for them. A fixed number should leave Ray a CPU for the steps
        before: where actors have reserved all, reading waits for ever.
    num_cpus : float or None, default=None
        CPUs of an actor, which is also how many threads it encodes with. None is 1
        without a GPU, and with one what Ray decides.
    num_gpus : float or None, default=None
        GPUs of an actor.
    batch_size : int, default=1024
        Most rows of one call of `transform`.

    Returns
    -------
    ray.data.Dataset
        With all columns of `dataset`, and new ones of type ``fixed_size_list<float>``.
        Missing texts have what the transformer's `missing` says.

    Raises
    ------
    ImportError
        Without Ray Data or pyarrow.
    NotFittedError
        For a transformer that has to learn something first.
    TypeError, ValueError
        For arguments of the wrong kind, and columns that aren't there.

    See Also
    --------
    embed_parquet : The same for Parquet files; a stopped job can be resumed.

    Notes
    -----
    The features of each row are those of `transform`, on CPUs of one kind bit for bit.
    The order of rows is kept if Ray is told so:
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
