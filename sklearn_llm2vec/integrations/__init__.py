"""Transformers in the form that other tools accept.

Each tool has its own interface for embeddings. These functions and classes are thin
wrappers around any scikit-learn transformer of texts. Tools that accept a scikit-learn
estimator don't need them.
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
