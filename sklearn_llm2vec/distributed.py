"""Features of more texts than one machine encodes: over Ray Data, and file by file.

Ray's actors each hold a transformer, and with it the model; what comes out are the bits
of ``transform``. This file knows Ray and Parquet, and of the transformer what changes its
features. It doesn't know how vectors are made, nor who works where and what is done again
after a fault: that is Ray's business.
"""

import hashlib
import json
import numbers
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sklearn_llm2vec._parameters import (
    check_parameters,
    resolve_layer,
    resolve_pooling,
    template_columns,
)
from sklearn_llm2vec._transformer import LLMEmbeddingTransformer
from sklearn_llm2vec._vectors import open_cache

__all__ = ["ParquetReport", "embed_dataset", "embed_parquet"]

KEY = b"sklearn_llm2vec"
FORMAT = 1
# Where a file can be renamed in one step. An object store shows a file once it is whole.
RENAMING = ("local", "hdfs")


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
    columns, outputs = _check_task(transformer, columns, output_columns)
    _check_number("batch_size", batch_size)
    schema = dataset.schema(fetch_if_missing=False)
    if schema is not None:
        _check_names(schema.names, columns, outputs)
    share = _check_share(num_cpus, num_gpus)
    return dataset.map_batches(
        _Embedder,
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
    transformer, columns, output_columns, concurrency, num_cpus, num_gpus
        As in `embed_dataset`. An actor has one file at a time.
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
    columns, outputs = _check_task(transformer, columns, output_columns)
    _check_number("batch_size", batch_size)
    share, size = _check_share(num_cpus, num_gpus), _pool_size(concurrency)
    task = (transformer, columns, outputs)
    places = _absolute(source), _absolute(destination)
    # By a worker like those that will encode: here may be neither the model nor a GPU,
    # on which the dtype and so the identity depends.
    survey = ray.remote(_survey).options(**share)
    try:
        found = ray.get(survey.remote(task, places, overwrite))
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


# --- what the actors hold ------------------------------------------------------------


class _Embedder:
    """An actor: holds the transformer, and adds its features to tables."""

    def __init__(self, transformer, columns, outputs, num_cpus):
        if num_cpus is not None:
            import torch

            # Ray counts CPUs but doesn't keep torch from using all of them.
            torch.set_num_threads(max(1, int(num_cpus)))
        self.columns, self.outputs = columns, outputs
        # Its pickle came here, so this is no one else's. Arrays, whatever the user set.
        self.transformer = transformer.set_output(transform="default")
        if transformer.verbose == "auto":
            transformer.verbose = False
        self.width = _width(transformer)
        cache = open_cache(transformer.cache)
        if cache is not None:
            # Actors have rows of their own: to wait for each other would be for nothing.
            cache.takes_turns = False

    def __call__(self, table):
        import pyarrow as pa

        _check_names(table.column_names, self.columns, self.outputs)
        width = self.width
        features = np.zeros((0, width * len(self.outputs)), np.float32)
        if table.num_rows:
            features = self.transformer.transform(table.select(self.columns))
        for i, name in enumerate(self.outputs):
            part = np.ascontiguousarray(features[:, i * width : (i + 1) * width])
            part = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), width)
            table = table.append_column(name, part)
        return table


class _FileEmbedder:
    """An actor: embeds one file after the other."""

    def __init__(self, task, places, folder, identity, batch_size):
        self.embedder = _Embedder(*task)
        self.identity, self.batch_size = identity, batch_size
        source, self.destination = map(_open_place, places)
        self.source = source._replace(path=folder)
        here = _identity(self.embedder)
        if here != identity:
            raise ValueError(
                "embed_parquet must run on hosts that make the same features. Got "
                f"{_difference(identity, here)}: bring the same model to all of them, "
                "and give 'dtype'."
            )

    def __call__(self, batch):
        rows = [self._embed(str(name)) for name in batch["name"]]
        return {"name": batch["name"], "rows": np.array(rows)}

    def _embed(self, name):
        source, target = self.source.join(name), self.destination.join(name)
        mark = _mark(self.identity, _source_mark(source))
        return _embed_file(self.embedder, source, target, mark, self.batch_size)


def _width(transformer):
    """Features of one text column; parameters may have changed since `fit`."""
    source = transformer._source()
    behind = transformer._behind(source)
    width = source.model.hidden_size
    return transformer._width(width if behind is None else behind.width(width))


def _sample(columns):
    import pyarrow as pa

    return pa.table({name: ["a"] for name in columns})


# --- files ---------------------------------------------------------------------------


class _File(NamedTuple):
    """A file or folder, and the file system that it is in."""

    system: object
    path: str

    def join(self, name):
        return self._replace(path=f"{self.path.rstrip('/')}/{name}")


def _absolute(place):
    """A path that means the same in another process; a URI as it is."""
    place = os.fspath(place)
    return place if "://" in place else Path(place).expanduser().absolute().as_posix()


def _open_place(place):
    import pyarrow as pa
    from pyarrow import fs

    if "://" not in place:
        return _File(fs.LocalFileSystem(), place)
    try:
        return _File(*fs.FileSystem.from_uri(place))
    except pa.ArrowInvalid:  # none of pyarrow's own
        import fsspec

        system, path = fsspec.core.url_to_fs(place)
        return _File(fs.PyFileSystem(fs.FSSpecHandler(system)), path)


def _list_files(place):
    """The folder of a file or folder, and the names in it of the Parquet files."""
    from pyarrow import fs

    info = place.system.get_file_info(place.path)
    if info.type == fs.FileType.File:
        folder, _, name = place.path.rpartition("/")
        return place._replace(path=folder), [name]
    names = []
    if info.type == fs.FileType.Directory:
        base = f"{place.path.strip('/')}/"
        selector = fs.FileSelector(place.path, recursive=True)
        for info in place.system.get_file_info(selector):
            name = info.path.lstrip("/").removeprefix(base)
            hidden = any(part[0] in "._" for part in name.split("/"))
            if info.is_file and name.endswith(".parquet") and not hidden:
                names.append(name)
    if not names:
        raise FileNotFoundError(
            "The 'source' parameter of embed_parquet must be a Parquet file or a folder "
            f"with '*.parquet' in it. Found none in {place.path!r}."
        )
    return place, sorted(names)


def _survey(task, places, overwrite):
    """What there is to do, before anything is encoded.

    Returns the number of files, their folder, the names of those to embed, and what
    makes their features.
    """
    embedder = _Embedder(*task, None)  # encodes nothing
    identity = _identity(embedder)
    source, destination = map(_open_place, places)
    folder, names = _list_files(source)
    inputs = {folder.join(name).path for name in names}
    inside = f"{destination.path}/".startswith(f"{source.path.rstrip('/')}/")
    replaced = inputs & {destination.join(name).path for name in names}
    if source.system == destination.system and (inside or replaced):
        raise ValueError(
            "The 'destination' parameter of embed_parquet must be a folder apart from "
            f"'source'. Got {places[1]!r}, where output would be taken for input."
        )

    def look(name):
        file = folder.join(name)
        _check_names(_read_names(file), embedder.columns, embedder.outputs)
        mark = _source_mark(file)
        return _is_finished(destination.join(name), identity, mark, overwrite)

    with ThreadPoolExecutor(16) as pool:  # an object store answers slowly, but many
        finished = list(pool.map(look, names))
    todo = [name for name, done in zip(names, finished, strict=True) if not done]
    return len(names), folder.path, todo, identity


def _read_names(file):
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.system.open_input_file(file.path) as opened:
            return pq.read_schema(opened).names
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"The file {file.path!r} must be a Parquet file. Reading it failed: {error}"
        ) from error


def _is_finished(target, identity, source_mark, overwrite):
    """Whether an output is there and whole; raise for one that isn't ours to replace."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import fs

    if target.system.get_file_info(target.path).type == fs.FileType.NotFound:
        return False
    try:
        with target.system.open_input_file(target.path) as file:
            metadata = pq.read_metadata(file)
    except (pa.ArrowInvalid, OSError):
        return False  # the end is missing: a writer was stopped
    said = (metadata.metadata or {}).get(KEY)
    if said is None and not overwrite:
        raise FileExistsError(
            f"embed_parquet must not replace {target.path!r}, which another program "
            "wrote. Choose another 'destination', or overwrite=True."
        )
    said = {} if said is None else json.loads(said)
    there = said.get("transformer", {})
    if there != identity and not overwrite:
        raise ValueError(
            f"The file {target.path!r} holds features of another transformer: "
            f"{_difference(there, identity)}. Choose another 'destination', or "
            "overwrite=True to make it anew."
        )
    return said == _mark(identity, source_mark)


def _embed_file(embedder, source, target, mark, batch_size):
    """Embed one file; return its rows. Under its name it is whole or not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    renames = target.system.type_name in RENAMING
    folder, _, name = target.path.rpartition("/")
    beside = target
    if renames:
        target.system.create_dir(folder, recursive=True)
        beside = _File(target.system, f"{folder}/.{name}.{secrets.token_hex(4)}.part")
    try:
        with (
            source.system.open_input_file(source.path) as file,
            target.system.open_output_stream(beside.path) as sink,
        ):
            reader = pq.ParquetFile(file)
            schema = embedder(reader.schema_arrow.empty_table()).schema
            writer = pq.ParquetWriter(sink, schema)
            for batch in reader.iter_batches(batch_size):
                writer.write_table(embedder(pa.Table.from_batches([batch])))
            # Last: a file that a fault left behind has neither this nor an end.
            writer.add_key_value_metadata({KEY: json.dumps(mark)})
            writer.close()
        if renames:
            target.system.move(beside.path, target.path)
    except BaseException:
        if renames and beside.system.get_file_info(beside.path).is_file:
            beside.system.delete_file(beside.path)
        raise
    return reader.metadata.num_rows


# --- what an output was made of ------------------------------------------------------


def _mark(identity, source_mark):
    return {"format": FORMAT, "transformer": identity, "source": source_mark}


def _source_mark(file):
    """What tells a file's content from what it was: size, time, and Parquet footer.

    The footer has the sizes, places and statistics of all columns; to read the whole file
    would cost what a resumed job saves.
    """
    with file.system.open_input_file(file.path) as opened:
        size = opened.size()
        length = int.from_bytes(opened.read_at(4, size - 8), "little")
        footer = opened.read_at(length + 8, size - length - 8)
    return {
        "size": size,
        "mtime_ns": file.system.get_file_info(file.path).mtime_ns,
        "footer": hashlib.sha256(footer).hexdigest(),
    }


def _identity(embedder):
    """All that changes the features which a transformer adds to a table."""
    transformer = embedder.transformer
    source = transformer._source()
    declared = transformer._behind(source) is not None
    identity = {
        "fingerprint": source.spec.fingerprint,
        "layer": resolve_layer(transformer.layer, source.model.n_layers),
        "pooling": resolve_pooling(transformer, source.model, source.spec.attention),
        "behind": source.model.digest_modules() if declared else None,
        "template": transformer.template,
        "pca": _pca_digest(transformer),
        "normalize": bool(transformer.normalize),
        "missing": transformer.missing,
        "columns": embedder.columns,
        "output_columns": embedder.outputs,
    }
    return json.loads(json.dumps(identity, default=int))  # as it comes out of a file


def _pca_digest(transformer):
    if transformer.n_components is None:
        return None
    digest = hashlib.sha256()
    for pca in transformer.pca_:
        for array in (pca.components_, pca.mean_):
            digest.update(f"{array.dtype} {array.shape};".encode() + array.tobytes())
    return digest.hexdigest()


def _difference(there, here):
    names = [name for name in here if there.get(name) != here[name]]
    return ", ".join(f"{n} {there.get(n)!r}, here {here[n]!r}" for n in names)


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


def _check_task(transformer, columns, outputs):
    """The text columns and the new ones, as lists; raise for what can't be done."""
    if not isinstance(transformer, LLMEmbeddingTransformer):
        raise TypeError(
            "The 'transformer' parameter must be an LLMEmbeddingTransformer. Got "
            f"{type(transformer).__name__} instead; of a pipeline, give that step."
        )
    check_parameters(transformer)
    transformer._check_is_fitted()
    columns = _list_columns(transformer, columns)
    read = transformer._read(_sample(columns))
    transformer._check_columns(read)
    if outputs is None:
        outputs = [f"{name}_embedding" for name in columns]
        if transformer._is_one_block():
            outputs = ["embedding"]
    outputs = [outputs] if isinstance(outputs, str) else list(outputs)
    n_blocks = read.inverse.shape[1]
    if len(outputs) != n_blocks or len({*outputs, *columns}) != n_blocks + len(columns):
        raise ValueError(
            f"The 'output_columns' parameter must be {n_blocks} distinct names, other "
            f"than {columns}. Got {outputs!r} instead."
        )
    return columns, outputs


def _list_columns(transformer, columns):
    if isinstance(columns, str):
        return [columns]
    if columns is None:
        columns = getattr(transformer, "feature_names_in_", None)
    if columns is None:
        columns = template_columns(transformer.template)
    if columns is None or not len(columns):
        raise ValueError(
            "The 'columns' parameter must name the text columns, unless the transformer "
            f"was fitted on a frame or its template names them. Got {columns!r} instead."
        )
    return [str(name) for name in columns]


def _check_names(names, columns, outputs):
    absent = [name for name in columns if name not in names]
    taken = [name for name in outputs if name in names]
    if absent:
        raise ValueError(
            f"The columns {columns} must be in the data. It has no {absent}, but "
            f"{list(names)}."
        )
    if taken:
        raise ValueError(
            f"The data must not have the columns {taken}, which are to be added. Give "
            "other 'output_columns', or drop them."
        )


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
