"""Transformers in the form that other tools accept.

Each tool asks for embeddings by an interface of its own. These are thin wrappers around
any scikit-learn transformer of texts; tools that accept a scikit-learn estimator need
none.
"""

from importlib import import_module

_HOMES = {
    "SentenceEncoder": "_sentence_encoder",
    "as_bertopic_backend": "_wrappers",
    "as_keybert_backend": "_wrappers",
    "as_langchain_embeddings": "_wrappers",
    "as_llama_index_embedding": "_wrappers",
    "mlflow_requirements": "_mlflow",
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
