"""Features of more texts than one machine encodes: datasets and Parquet files over Ray.

Ray's actors each hold a transformer, and with it the model; what comes out are the bits
of ``transform``. Who works where, and what is done again after a fault, is Ray's
business.
"""

import numbers
from typing import NamedTuple

import numpy as np

from sklearn_llm2vec.distributed._parquet import (
    absolute,
    embed_file,
    file_state,
    make_mark,
    open_place,
    survey,
)
from sklearn_llm2vec.distributed._tables import (
    TableEmbedder,
    check_names,
    check_task,
    difference,
    identity_of,
)

__all__ = ["ParquetReport", "embed_dataset", "embed_parquet"]


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
    ray = _import_ray()
    if not isinstance(dataset, ray.data.Dataset):
        raise TypeError(
            "The 'dataset' parameter of embed_dataset must be a ray.data.Dataset. Got "
            f"{type(dataset).__name__} instead: make one with ray.data.from_pandas, "
            "from_items or read_parquet."
        )
    columns, outputs = check_task(transformer, columns, output_columns)
    _check_number("batch_size", batch_size)
    schema = dataset.schema(fetch_if_missing=False)
    if schema is not None:
        check_names(schema.names, columns, outputs)
    share = _check_share(num_cpus, num_gpus)
    return dataset.map_batches(
        TableEmbedder,
        fn_constructor_args=(transformer, columns, outputs, share["num_cpus"]),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(**_pool_size(concurrency)),
        udf_modifying_row_count=False,
        **share,
    )


class ParquetReport(NamedTuple):
    """What one `embed_parquet` did.

    Attributes
    ----------
    files : int
        Input files.
    finished : int
        Of those, whose output was there, whole, and of the same input and transformer.
    written : int
        Of those, embedded now.
    rows : int
        Rows of the files written now.
    """

    files: int
    finished: int
    written: int
    rows: int


def embed_parquet(
    source,
    destination,
    transformer,
    columns=None,
    *,
    output_columns=None,
    concurrency=None,
    num_cpus=None,
    num_gpus=None,
    batch_size=1024,
    overwrite=False,
):
    """Embed Parquet files, one output file for each; go on where a job was stopped.

    An output file has the name, the rows in their order and all columns of its input,
    and the features. It appears under its name only when it is whole, and its metadata
    (key ``sklearn_llm2vec``) say which input and which transformer made it. A second
    call leaves alone what is finished. An output whose input has changed since, or that
    is broken, is made anew.

    Parameters
    ----------
    source : str or path-like
        A Parquet file, or a folder: all ``*.parquet`` in it at any depth, but no names
        that begin with a dot or an underscore. A path that all hosts see, or a URI that
        pyarrow or fsspec opens, such as ``s3://bucket/reviews``.
    destination : str or path-like
        A folder, not in `source`.
    transformer : LLMEmbeddingTransformer
        Fitted, where it learns something; as in `embed_dataset`.
    columns : str, list of str or None, default=None
        The text columns, as in `embed_dataset`.
    output_columns : str, list of str or None, default=None
        Names of the new columns, as in `embed_dataset`.
    concurrency : int, tuple of (int, int) or None, default=None
        Actors, as in `embed_dataset`. An actor has one file at a time.
    num_cpus : float or None, default=None
        CPUs of an actor, as in `embed_dataset`.
    num_gpus : float or None, default=None
        GPUs of an actor.
    batch_size : int, default=1024
        Rows that are read, embedded and written at a time; a row group of the output.
    overwrite : bool, default=False
        Whether files of the destination that another transformer or another program
        made are replaced.

    Returns
    -------
    ParquetReport

    Raises
    ------
    ImportError, NotFittedError, TypeError, ValueError
        As `embed_dataset`. ValueError also where the destination holds output of another
        transformer, before anything is encoded.
    FileNotFoundError
        When `source` has no Parquet file.
    FileExistsError
        When the destination holds a Parquet file of another program in the place of an
        output file.

    Examples
    --------
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer        # doctest: +SKIP
    >>> from sklearn_llm2vec.distributed import embed_parquet      # doctest: +SKIP
    >>> encoder = LLMEmbeddingTransformer(cache=False)             # doctest: +SKIP
    >>> embed_parquet("reviews", "features", encoder, "review")    # doctest: +SKIP
    ParquetReport(files=2, finished=0, written=2, rows=20000)
    >>> embed_parquet("reviews", "features", encoder, "review")    # doctest: +SKIP
    ParquetReport(files=2, finished=2, written=0, rows=0)
    """
    ray = _import_ray()
    columns, outputs = check_task(transformer, columns, output_columns)
    _check_number("batch_size", batch_size)
    share, size = _check_share(num_cpus, num_gpus), _pool_size(concurrency)
    task = (transformer, columns, outputs)
    places = absolute(source), absolute(destination)
    # By a worker like those that will encode: here may be neither the model nor a GPU,
    # on which the dtype and so the identity depends.
    look = ray.remote(survey).options(**share)
    try:
        found = ray.get(look.remote(task, places, overwrite))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    n_files, folder, names, identity = found
    if not names:
        return ParquetReport(n_files, n_files, 0, 0)
    done = ray.data.from_items(
        [{"name": name} for name in names], override_num_blocks=len(names)
    ).map_batches(
        _FileEmbedder,
        fn_constructor_args=(
            (*task, share["num_cpus"]),
            places,
            folder,
            identity,
            batch_size,
        ),
        batch_size=1,
        # A file lasts long: none waits for one actor while another is idle.
        compute=ray.data.ActorPoolStrategy(**size, max_tasks_in_flight_per_actor=1),
        **share,
    )
    # Added here: a task of Ray's would wait for a CPU, and the actors may have them all.
    rows = sum(int(row["rows"]) for row in done.iter_rows())
    return ParquetReport(n_files, n_files - len(names), len(names), rows)


class _FileEmbedder:
    """An actor: embeds one file after the other."""

    def __init__(self, task, places, folder, identity, batch_size):
        self.embedder = TableEmbedder(*task)
        self.identity, self.batch_size = identity, batch_size
        source, self.destination = map(open_place, places)
        self.source = source._replace(path=folder)
        here = identity_of(self.embedder)
        if here != identity:
            raise ValueError(
                "embed_parquet must run on hosts that make the same features. Got "
                f"{difference(identity, here)}: bring the same model to all of them, "
                "and give 'dtype'."
            )

    def __call__(self, batch):
        rows = [self._embed(str(name)) for name in batch["name"]]
        return {"name": batch["name"], "rows": np.array(rows)}

    def _embed(self, name):
        source, target = self.source.join(name), self.destination.join(name)
        mark = make_mark(self.identity, file_state(source))
        return embed_file(self.embedder, source, target, mark, self.batch_size)


# --- checks --------------------------------------------------------------------------


def _import_ray():
    try:
        import pyarrow.parquet  # noqa: F401
        import ray.data
    except ImportError as error:
        raise ImportError(
            "sklearn_llm2vec.distributed needs Ray Data and pyarrow: "
            "pip install 'sklearn-llm2vec[ray]'"
        ) from error
    return ray


def _check_number(name, value, least=1, kind=numbers.Integral):
    if not isinstance(value, kind) or isinstance(value, bool) or not value >= least:
        raise ValueError(
            f"The {name!r} parameter must be a number of at least {least}. Got {value!r} "
            "instead."
        )


def _check_share(num_cpus, num_gpus):
    for name, value in (("num_cpus", num_cpus), ("num_gpus", num_gpus)):
        if value is not None:
            _check_number(name, value, least=0, kind=numbers.Real)
    if num_cpus is None and not num_gpus:
        num_cpus = 1
    return {"num_cpus": num_cpus, "num_gpus": num_gpus}


def _pool_size(concurrency):
    if concurrency is None:
        return {}
    sizes = concurrency if isinstance(concurrency, tuple) else (concurrency,)
    for size in sizes:
        _check_number("concurrency", size)
    if len(sizes) == 1:
        return {"size": sizes[0]}
    if len(sizes) != 2 or sizes[0] > sizes[1]:
        raise ValueError(
            "The 'concurrency' parameter must be a number of actors, or the fewest and "
            f"the most of them. Got {concurrency!r} instead."
        )
    return {"min_size": sizes[0], "max_size": sizes[1]}
