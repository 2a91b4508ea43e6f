"""``transform_to_npy``: features of more rows than memory holds, in a ``.npy`` file.

Rows go through `transform` block by block, and what comes out is written behind what is
there. Any transformer of scikit-learn will do.
"""

from collections.abc import Sequence
from pathlib import Path

import narwhals as nw
import numpy as np
from numpy.lib import format as npy
from scipy.sparse import issparse

from sklearn_llm2vec._common.checks import is_integer, refused
from sklearn_llm2vec._common.halves import as_float16
from sklearn_llm2vec._common.people import progress_bar
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._common.whole_files import check_file, whole_file
from sklearn_llm2vec._text.columns import read_native


@public_in("sklearn_llm2vec")
def transform_to_npy(
    transformer, X, path, *, block_rows=10_000, dtype=None, verbose="auto"
):
    """Write the features of `X` to a ``.npy`` file, a block of rows at a time.

    Memory doesn't grow with the number of rows, because only `X` and one or two blocks
    are held in memory. The file appears under its name when it is complete. An existing
    file remains until then.

    Parameters
    ----------
    transformer : estimator with `transform`
        A fitted transformer or pipeline whose features are dense.
    X : list, array, Series or frame of shape (n_rows,) or (n_rows, n_columns)
        The input for `transform`, from any library that narwhals supports.
    path : path-like
        The file, in an existing folder.
    block_rows : int, default=10_000
        Number of rows in one call of `transform`.
    dtype : "float16" or None, default=None
        "float16" takes half the space of float32 and keeps about three digits. None is
        the dtype of the first block.
    verbose : "auto" or bool, default="auto"
        Whether to show a progress bar. "auto" shows it if the call takes longer than 3
        seconds.

    Returns
    -------
    features : memmap of shape (n_rows, n_features)
        A read-only map of the file.

    Raises
    ------
    TypeError
        For input whose rows can't be counted, for a transformer without `transform`, and
        for sparse features.
    ValueError
        If a block has an unexpected number of rows, number of features or dtype, for
        features that float16 can't represent, and for parameters out of range.
    OSError
        If the file can't be written. After any error, including those of `transform`, the
        unfinished file is removed.

    See Also
    --------
    sklearn_llm2vec.distributed.embed_parquet : Embed Parquet files on many machines.

    Notes
    -----
    The rows are those of ``transformer.transform(X)``. With `LLMEmbeddingTransformer` on
    a CPU in float32, they are the same bit for bit. Its `last_report_` refers to the last
    block, and warnings, for example about texts that were cut, refer to one block at a
    time. Texts that occur in several blocks are found in the cache, and so are those that
    an interrupted call has encoded. With ``cache=False``, they are encoded again.

    A process that is killed may leave ``.{name}.xxxxxxxx.part`` behind, which is never
    read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer, transform_to_npy
    >>> path = Path(tempfile.mkdtemp(), "features.npy")
    >>> encoder = LLMEmbeddingTransformer(cache=False)
    >>> features = transform_to_npy(encoder, ["a text", "another", None], path)
    >>> features.shape, features.dtype
    ((3, 384), dtype('float32'))
    """
    _check_transformer(transformer)
    if not is_integer(block_rows, least=1):
        expected = "an int of at least 1"
        raise refused("block_rows", expected, block_rows, of="transform_to_npy")
    if not (dtype is None or (isinstance(dtype, str) and dtype == "float16")):
        raise refused("dtype", "'float16' or None", dtype, of="transform_to_npy")
    n_rows, take = _sliceable(X)
    path = Path(path)
    check_file(path, "transform_to_npy", "features.npy")
    # Not through a memory map, whose pages would count as memory of this process; and a
    # full disk is an error here, where it would kill the process there.
    with whole_file(path) as file:
        blocks = _blocks(transformer, n_rows, take, block_rows)
        if dtype is not None:
            blocks = (as_float16(block, "transform_to_npy") for block in blocks)
        with progress_bar(n_rows, "row", f"Writing {path.name}", verbose) as bar:
            _write(file, blocks, n_rows, bar)
    return npy.open_memmap(path, mode="r")


def _check_transformer(transformer):
    if not hasattr(transformer, "transform") or isinstance(transformer, type):
        raise TypeError(
            "The 'transformer' parameter of transform_to_npy must be a fitted "
            f"transformer. Got {transformer!r}, which has no 'transform'."
        )


def _sliceable(X):
    """The number of rows, and a function that takes the rows from start to stop."""
    native = read_native(X, "transform_to_npy")
    if isinstance(native, (nw.DataFrame, nw.Series)):
        return len(native), lambda start, stop: native[start:stop].to_native()
    if getattr(X, "shape", None):  # arrays of any library
        return len(X), lambda start, stop: X[start:stop]
    if isinstance(X, Sequence):
        rows = X if isinstance(X, (list, tuple)) else list(X)  # a deque has no slices
        return len(rows), lambda start, stop: rows[start:stop]
    raise TypeError(
        "transform_to_npy expects a list, array, Series or frame, got "
        f"{type(X).__name__}."
    )


def _blocks(transformer, n_rows, take, block_rows):
    """Yield dense blocks, each as wide as the first and of a dtype that fits into its."""
    width = dtype = None
    # At least one, if an empty one: the width of no rows is the transformer's to say.
    for start in range(0, max(n_rows, 1), block_rows):
        stop = min(start + block_rows, n_rows)
        which = f"rows {start} to {stop} (not included)"
        block = _dense(transformer.transform(take(start, stop)))
        if block.ndim != 2 or len(block) != stop - start:
            raise ValueError(
                "transform_to_npy expects features of shape (n_rows, n_features), one "
                f"row for each row of X. Got {block.shape} for {which}."
            )
        if start == 0:
            width, dtype = block.shape[1], block.dtype
        _check_features(block, width, dtype, which)
        yield block.astype(dtype, copy=False)


def _dense(features):
    if issparse(features):
        raise TypeError(
            "transform_to_npy expects dense features, got a sparse "
            f"{type(features).__name__}. Make the transformer return dense features, "
            "for example with sparse_output=False or sparse_threshold=0."
        )
    native = nw.from_native(features, pass_through=True)
    if isinstance(native, nw.DataFrame):
        return native.to_numpy()
    return np.asarray(features)


def _check_features(block, width, dtype, which):
    if block.dtype.hasobject:
        raise ValueError(
            f"transform_to_npy expects features that are numbers. Got {block.dtype} for "
            f"{which}: a column that isn't numeric was passed through."
        )
    if block.shape[1] != width:
        raise ValueError(
            "transform_to_npy expects the same number of features in each block as "
            f"in the first, {width}. Got {block.shape[1]} for {which}: the "
            "transformer must be fitted, and the number of its features must not "
            "depend on the rows."
        )
    if not np.can_cast(block.dtype, dtype):
        raise ValueError(
            "transform_to_npy expects features whose dtype fits into that of the "
            f"first block, {dtype}. Got {block.dtype} for {which}: convert them to "
            "one dtype, for example with a FunctionTransformer at the end."
        )


def _write(file, blocks, n_rows, bar):
    for n, block in enumerate(blocks):
        if n == 0:
            header = {
                "descr": npy.dtype_to_descr(block.dtype),
                "fortran_order": False,
                "shape": (n_rows, block.shape[1]),
            }
            npy.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8))
        bar.update(len(block))
