"""``embed_parquet``: the features of Parquet files, an actor for each file at a time.

Which files are to be embedded is found out first, by a worker of the cluster; who works
where, and what is done again after a fault, is Ray's business.
"""

from typing import NamedTuple

import numpy as np

from sklearn_llm2vec._common.checks import among, refused
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec.distributed._actors import (
    check_batch_size,
    check_share,
    import_ray,
    pool_size,
)
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
    check_task,
    difference,
    identity_of,
)


@public_in("sklearn_llm2vec.distributed")
class ParquetReport(NamedTuple):
    """What a call of `embed_parquet` did.

    Attributes
    ----------
    files : int
        Number of input files.
    finished : int
        Number of those that had a complete output of the same input and transformer.
    written : int
        Number of those that were embedded by this call.
    rows : int
        Number of rows in the files that were written.
    """

    files: int
    finished: int
    written: int
    rows: int


@public_in("sklearn_llm2vec.distributed")
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
    dtype="float32",
    overwrite=False,
):
    """Embed Parquet files, and write one output file for each of them.

    An output file has the same name as its input, and contains its rows in order, all of
    its columns, and the features. It appears under its name only when it is complete, and
    its metadata (key ``sklearn_llm2vec``) record the input and the transformer. A second
    call skips finished files, so that you can resume a job that was stopped. If an output
    is broken, or if its input has changed, it is written again.

    Parameters
    ----------
    source : str or path-like
        A Parquet file or a folder, as a path that all hosts see or as a URI that pyarrow
        or fsspec can open, such as ``s3://bucket/reviews``. Of a folder, all
        ``*.parquet`` files at any depth are used, except those whose names begin with a
        dot or an underscore.
    destination : str or path-like
        A folder outside of `source`.
    transformer : LLMEmbeddingTransformer
        Must be fitted if it learns from data, as in `embed_dataset`.
    columns : str, list of str or None, default=None
        The text columns, as in `embed_dataset`.
    output_columns : str, list of str or None, default=None
        Names of the new columns, as in `embed_dataset`.
    concurrency : int, tuple of (int, int) or None, default=None
        Number of actors, as in `embed_dataset`. An actor works on one file at a time.
    num_cpus : float or None, default=None
        Number of CPUs of an actor, as in `embed_dataset`.
    num_gpus : float or None, default=None
        Number of GPUs of an actor.
    batch_size : int, default=1024
        Number of rows that are read, embedded and written at a time. It is also the
        number of rows in a row group of the output.
    dtype : {"float32", "float16"}, default="float32"
        Dtype of the features in the output. "float16" takes half the disk space and keeps
        about three digits. A value that it can't represent is an error.
    overwrite : bool, default=False
        Whether to replace files in the destination that another transformer or another
        program has written.

    Returns
    -------
    ParquetReport

    Raises
    ------
    ImportError, NotFittedError, TypeError, ValueError
        As in `embed_dataset`. A ValueError is also raised if the destination contains the
        output of another transformer, before anything is encoded.
    FileNotFoundError
        If `source` has no Parquet file.
    FileExistsError
        If an output file would replace a Parquet file of another program.

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
    ray = import_ray()
    caller = "embed_parquet"
    columns, outputs = check_task(transformer, columns, output_columns, caller)
    check_batch_size(batch_size, caller)
    if dtype not in ("float32", "float16"):
        raise refused("dtype", among(("float32", "float16")), dtype, of=caller)
    share = check_share(num_cpus, num_gpus, caller)
    size = pool_size(concurrency, caller)
    task = (transformer, columns, outputs)
    places = absolute(source), absolute(destination)
    # By a worker like those that will encode: here may be neither the model nor a GPU,
    # on which the dtype and so the identity depends.
    look = ray.remote(survey).options(**share)
    try:
        found = ray.get(look.remote(task, dtype, places, overwrite))
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
            (*task, share["num_cpus"], dtype),
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
                "embed_parquet must run on hosts that compute the same features. Got "
                f"{difference(identity, here)}: put the same model on all of them, "
                "and set 'dtype'."
            )

    def __call__(self, batch):
        rows = [self._embed(str(name)) for name in batch["name"]]
        return {"name": batch["name"], "rows": np.array(rows)}

    def _embed(self, name):
        source, target = self.source.join(name), self.destination.join(name)
        mark = make_mark(self.identity, file_state(source))
        return embed_file(self.embedder, source, target, mark, self.batch_size)
