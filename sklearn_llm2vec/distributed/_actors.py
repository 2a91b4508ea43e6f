"""Ray, and the actors that it is asked for: how many, with which share of a host."""

from sklearn_llm2vec._common.checks import is_integer, is_number, refused
from sklearn_llm2vec._common.extras import not_installed


def import_ray():
    """Ray with Ray Data; raise with the pip line when it or pyarrow is absent."""
    try:
        import pyarrow.parquet  # noqa: F401
        import ray.data
    except ImportError as error:
        who = "sklearn_llm2vec.distributed"
        raise not_installed(who, "Ray Data and pyarrow", "ray") from error
    return ray


def check_batch_size(batch_size, caller):
    """Raise unless so many rows can be a batch."""
    if not is_integer(batch_size, least=1):
        raise refused("batch_size", "an int of at least 1", batch_size, of=caller)


def check_share(num_cpus, num_gpus, caller):
    """The share of a host that each actor gets, as Ray takes it."""
    for name, value in (("num_cpus", num_cpus), ("num_gpus", num_gpus)):
        if value is not None and not (is_number(value) and value >= 0):
            raise refused(name, "a number of at least 0 or None", value, of=caller)
    if num_cpus is None and not num_gpus:
        num_cpus = 1
    return {"num_cpus": num_cpus, "num_gpus": num_gpus}


def pool_size(concurrency, caller):
    """How many actors there are, as ``ActorPoolStrategy`` takes it."""
    if concurrency is None:
        return {}
    sizes = concurrency if isinstance(concurrency, tuple) else (concurrency,)
    counts = all(is_integer(size, least=1) for size in sizes)
    if not counts or len(sizes) not in (1, 2) or sizes[0] > sizes[-1]:
        expected = "a number of actors, a tuple of the fewest and the most, or None"
        raise refused("concurrency", expected, concurrency, of=caller)
    if len(sizes) == 1:
        return {"size": sizes[0]}
    return {"min_size": sizes[0], "max_size": sizes[1]}
