"""Data that isn't in memory is refused, with an error that names the call to read it.

None of the libraries is imported: their objects are recognized by their classes.
"""

import sys

# The packages, a method that only their lazy classes have, and what to do.
_LAZY = (
    (("dask", "dask_expr"), "compute", "Call `.compute()` on it."),
    (("duckdb", "_duckdb"), "pl", "Call `.pl()` or `.df()` on it."),
    (("pyarrow",), "read_all", "Call `.read_all()` on it."),
    (("pyarrow",), "to_table", "Call `.to_table()` on it."),
    (("pyspark", "sqlframe"), "toPandas", "Call `.toPandas()` on it."),
    (("ibis",), "to_pandas", "Call `.to_pandas()` on it."),
    (
        ("ray",),
        "map_batches",
        "Give it to sklearn_llm2vec.distributed.embed_dataset, or call `.to_pandas()` "
        "on it.",
    ),
    (("datasets",), "num_rows", "Choose one of its splits, such as X['train']."),
    (("datasets",), "take", "Read it with datasets.Dataset.from_list(list(X))."),
)


def refuse_lazy(X, estimator_name):
    """Raise TypeError for data that isn't in memory, by its class.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from sklearn_llm2vec._text.lazy import refuse_lazy
    >>> reader = pa.table({"review": ["good"]}).to_reader()
    >>> refuse_lazy(reader, "LLMEmbeddingTransformer")
    Traceback (most recent call last):
        ...
    TypeError: LLMEmbeddingTransformer expects texts in memory, got a lazy \
RecordBatchReader of pyarrow. Call `.read_all()` on it.
    """
    packages = _packages_of(X)
    for names, method, advice in _LAZY:
        if packages.intersection(names) and hasattr(type(X), method):
            raise not_in_memory(X, advice, estimator_name)


def as_table(X):
    """A RecordBatch of pyarrow and a Dataset of datasets as a pyarrow table.

    Anything else stays as it is. The table of a Dataset stays in its file, as the dataset
    does.
    """
    if "datasets" in _packages_of(X, "Dataset"):
        return X.with_format("arrow")[:]
    if "pyarrow" in _packages_of(X, "RecordBatch"):
        # The oldest narwhals takes it for metadata; arrays of it lose their names.
        return sys.modules["pyarrow"].Table.from_batches([X])
    return X


def not_in_memory(X, advice, estimator_name):
    """The error for data that isn't in memory."""
    package = type(X).__module__.partition(".")[0].lstrip("_")
    return TypeError(
        f"{estimator_name} expects texts in memory, got a lazy {type(X).__name__} of "
        f"{package}. {advice}"
    )


def _packages_of(X, name=None):
    """The packages of the class of X and of those that it inherits from.

    If a name is given, only classes of that name are considered.
    """
    return {
        kind.__module__.partition(".")[0]
        for kind in type(X).__mro__
        if name in (None, kind.__name__)
    }
