"""Tables of pyarrow: a transformer adds its features to them as columns.

What is done to one table, in one process; which columns it takes and adds, and what makes
its features, so that it can be told whether they would be others now.
"""

import hashlib
import json

import numpy as np

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._common.halves import as_float16
from sklearn_llm2vec._common.imports import loading
from sklearn_llm2vec._estimator.features import block_widths
from sklearn_llm2vec._estimator.fitted import check_columns, check_fitted
from sklearn_llm2vec._estimator.inputs import (
    makes_one_block,
    read_input,
    template_columns,
)
from sklearn_llm2vec._estimator.parameters import check_parameters
from sklearn_llm2vec._estimator.source import open_cache, open_sources
from sklearn_llm2vec._estimator.transformer import LLMEmbeddingTransformer


class TableEmbedder:
    """Holds a transformer, and adds its features to tables.

    Parameters
    ----------
    transformer : LLMEmbeddingTransformer
        Nobody else's: its output and its progress bar are changed.
    columns : list of str
        The text columns.
    outputs : list of str
        The new ones, as `check_task` gives them.
    num_cpus : float or None
        Threads to encode with; None leaves torch as it is.
    dtype : {"float32", "float16"}, default="float32"
        Of the features.
    """

    def __init__(self, transformer, columns, outputs, num_cpus, dtype="float32"):
        if num_cpus is not None:
            with loading:
                import torch

            # Ray counts CPUs but doesn't keep torch from using all of them.
            torch.set_num_threads(max(1, int(num_cpus)))
        self.columns, self.outputs, self.dtype = columns, outputs, dtype
        # Arrays, whatever the user set.
        self.transformer = transformer.set_output(transform="default")
        if transformer.verbose == "auto":
            transformer.verbose = False
        # Parameters may have changed since `fit`.
        self.widths = block_widths(transformer, _sources(transformer, outputs))
        cache = open_cache(transformer.cache)
        if cache is not None:
            # Each embedder has rows of its own: to wait for another would be for nothing.
            cache.takes_turns = False

    def __call__(self, table):
        import pyarrow as pa

        check_names(table.column_names, self.columns, self.outputs)
        features = np.zeros((0, sum(self.widths)), np.float32)
        if table.num_rows:
            features = self.transformer.transform(table.select(self.columns))
        if self.dtype == "float16":
            features = as_float16(features, "embed_parquet")
        blocks = np.split(features, np.cumsum(self.widths)[:-1], axis=1)
        for name, width, block in zip(self.outputs, self.widths, blocks, strict=True):
            part = np.ascontiguousarray(block)
            part = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), width)
            table = table.append_column(name, part)
        return table


def _sample(columns):
    import pyarrow as pa

    return pa.table({name: ["a"] for name in columns})


# --- what makes features -------------------------------------------------------------


def identity_of(embedder):
    """All that changes the features which a transformer adds to a table."""
    transformer = embedder.transformer
    sources = _sources(transformer, embedder.outputs)
    identity = {
        "fingerprint": sources[0].fingerprint,
        "layer": _one_or_all([source.layer for source in sources]),
        "pooling": _one_or_all([source.pooling for source in sources]),
        "behind": _one_or_all([source.finish_digest for source in sources]),
        "truncate_dim": transformer.truncate_dim,
        "template": transformer.template,
        "pca": _pca_digest(transformer),
        "normalize": bool(transformer.normalize),
        "missing": transformer.missing,
        "columns": embedder.columns,
        "output_columns": embedder.outputs,
    }
    if embedder.dtype != "float32":  # files of before say nothing of it
        identity["dtype"] = embedder.dtype
    return json.loads(json.dumps(identity, default=int))  # as it comes out of a file


def _sources(transformer, outputs):
    return open_sources(transformer, check_parameters(transformer), len(outputs))


def _one_or_all(values):
    """The value that all of them are, or the list."""
    return values[0] if all(value == values[0] for value in values) else values


def _pca_digest(transformer):
    if transformer.n_components is None:
        return None
    digest = hashlib.sha256()
    for pca in transformer.pca_:
        for array in (pca.components_, pca.mean_):
            digest.update(f"{array.dtype} {array.shape};".encode() + array.tobytes())
    return digest.hexdigest()


def difference(there, here):
    """Where two identities differ, in words."""
    names = [n for n in {**here, **there} if there.get(n) != here.get(n)]
    return ", ".join(f"{n} {there.get(n)!r}, here {here.get(n)!r}" for n in names)


# --- columns -------------------------------------------------------------------------


def check_task(transformer, columns, outputs, caller):
    """The text columns and the new ones, as lists; raise for what can't be done."""
    if not isinstance(transformer, LLMEmbeddingTransformer):
        raise TypeError(
            f"The 'transformer' parameter of {caller} must be an "
            f"LLMEmbeddingTransformer. Got {type(transformer).__name__} instead. If "
            "you have a pipeline, pass only that step."
        )
    params = check_parameters(transformer)
    check_fitted(transformer)
    columns = _list_columns(transformer, columns, caller)
    read = read_input(params, _sample(columns))
    check_columns(transformer, read)
    if outputs is None:
        outputs = [f"{name}_embedding" for name in columns]
        if makes_one_block(params.template):
            outputs = ["embedding"]
    outputs = [outputs] if isinstance(outputs, str) else list(outputs)
    n_blocks = read.inverse.shape[1]
    if len(outputs) != n_blocks or len({*outputs, *columns}) != n_blocks + len(columns):
        expected = f"{n_blocks} distinct names, other than {columns}"
        raise refused("output_columns", expected, outputs, of=caller)
    return columns, outputs


def _list_columns(transformer, columns, caller):
    if isinstance(columns, str):
        return [columns]
    if columns is None:
        columns = getattr(transformer, "feature_names_in_", None)
    if columns is None:
        columns = template_columns(transformer.template)
    if columns is None or not len(columns):
        raise ValueError(
            f"The 'columns' parameter of {caller} must name the text columns, unless the "
            "transformer was fitted on a frame or its template names them. Got "
            f"{columns!r} instead."
        )
    return [str(name) for name in columns]


def check_names(names, columns, outputs):
    """Raise unless a table of these names has the columns, and room for the outputs."""
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
