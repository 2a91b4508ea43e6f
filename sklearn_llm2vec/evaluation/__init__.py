"""Scores of features: classification, similarity, retrieval and clustering.

The functions take any scikit-learn transformer and return a tidy pandas frame with one
value per row. The protocols follow mteb where it has one. Thanks to the transformer's
cache, each text is encoded only once.
"""

from importlib import import_module

# Tasks of the command line: each is a file with a function ``evaluate_{task}``.
TASKS = ("classification", "sts", "retrieval", "clustering")

_HOMES = {"BM25": "_bm25", "as_mteb_encoder": "_mteb"} | {
    f"evaluate_{task}": f"_{task}" for task in TASKS
}

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
