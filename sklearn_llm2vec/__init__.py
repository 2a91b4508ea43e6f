"""Hidden states of large language models as features for scikit-learn.

``LLMEmbeddingTransformer`` turns text columns into features and keeps the vectors in a
cache, so that texts aren't encoded again. Names are imported when they are first used, so
``import sklearn_llm2vec`` imports neither torch nor transformers.
"""

from importlib import import_module

__version__ = "0.1.0.dev0"

_HOMES = {
    "AdaptationDisplay": "_adapt.display",
    "EmbeddingCache": "_cache.store",
    "LLM2VecRecipe": "_adapt.recipe",
    "LLMEmbeddingTransformer": "_estimator.transformer",
    "LayerPoolingDisplay": "_search.display",
    "LayerPoolingReport": "_report.report",
    "ModelNotFoundError": "_model.places",
    # What fitted attributes hold: nobody makes one, but a pickle names it.
    "Report": "_estimator.vectors",
    "SearchedPooling": "_estimator.searched",
    "TrainedAdapter": "_model.adapters",
    "UnembeddingFilter": "_estimator.unembedding",
    "layer_pooling_grid": "_search.grid",
    "transform_to_npy": "_estimator.npy",
}

_MODULES = ("distributed", "evaluation", "integrations")

__all__ = [
    "AdaptationDisplay",
    "EmbeddingCache",
    "LLM2VecRecipe",
    "LLMEmbeddingTransformer",
    "LayerPoolingDisplay",
    "LayerPoolingReport",
    "ModelNotFoundError",
    "UnembeddingFilter",
    "__version__",
    "layer_pooling_grid",
    "transform_to_npy",
]


def __getattr__(name):
    if name in _HOMES:
        value = getattr(import_module(f"sklearn_llm2vec.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:  # `import sklearn_llm2vec` is enough to name them
        return import_module(f"sklearn_llm2vec.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__, *_MODULES})
