"""The old place of ``quiet``."""

from sklearn_llm2vec._common.imports import quiet  # noqa: F401
