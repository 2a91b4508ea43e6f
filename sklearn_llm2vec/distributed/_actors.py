"""Ray, and the actors that it is asked for: how many, with which share of a host."""

from sklearn_llm2vec._common.checks import is_integer, is_number


def import_ray():
    """Ray with Ray Data; raise with the pip line when it or pyarrow is absent."""
    try:
        import pyarrow.parquet  # noqa: F401
        import ray.data
    except ImportError as error:
        raise ImportError(
            "sklearn_llm2vec.distributed needs Ray Data and pyarrow: "
            "pip install 'sklearn-llm2vec[ray]'"
        ) from error
    return ray


def check_batch_size(batch_size):
    """Raise unless so many rows can be a batch."""
    _check("batch_size", batch_size, is_integer(batch_size, least=1), least=1)


def check_share(num_cpus, num_gpus):
    """The share of a host that each actor gets, as Ray takes it."""
    for name, value in (("num_cpus", num_cpus), ("num_gpus", num_gpus)):
        if value is not None:
            _check(name, value, is_number(value) and value >= 0, least=0)
    if num_cpus is None and not num_gpus:
        num_cpus = 1
    return {"num_cpus": num_cpus, "num_gpus": num_gpus}


def pool_size(concurrency):
    """How many actors there are, as ``ActorPoolStrategy`` takes it."""
    if concurrency is None:
        return {}
    sizes = concurrency if isinstance(concurrency, tuple) else (concurrency,)
    for size in sizes:
        _check("concurrency", size, is_integer(size, least=1), least=1)
    if len(sizes) == 1:
        return {"size": sizes[0]}
    if len(sizes) != 2 or sizes[0] > sizes[1]:
        raise ValueError(
            "The 'concurrency' parameter must be a number of actors, or the fewest and "
            f"the most of them. Got {concurrency!r} instead."
        )
    return {"min_size": sizes[0], "max_size": sizes[1]}


def _check(name, value, holds, least):
    if not holds:
        raise ValueError(
            f"The {name!r} parameter must be a number of at least {least}. Got {value!r} "
            "instead."
        )
