"""What `adapt` trains, and how it is saved for other programs."""

import numbers
from pathlib import Path

from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state

from sklearn_llm2vec._adapt.adapt import adapt
from sklearn_llm2vec._adapt.store import AdapterStore
from sklearn_llm2vec._common.imports import loading
from sklearn_llm2vec._estimator.fitted import check_fitted
from sklearn_llm2vec._estimator.source import open_cache, open_source
from sklearn_llm2vec._model.adapters import save_adapter


def train_adapters(params, recipe, texts, source):
    """Train what a recipe says, or take it from beside the cache.

    Parameters
    ----------
    params : SimpleNamespace
        As `check_parameters` gives it.
    recipe : LLM2VecRecipe
    texts : TrainingTexts
    source : LocalSource
        Before the adaptation.

    Returns
    -------
    adapters : tuple of TrainedAdapter
    history : dict of str to list
    """
    seed = params.random_state
    if not isinstance(seed, numbers.Integral):
        seed = 0 if seed is None else check_random_state(seed).randint(2**31)
    check_random_state(int(seed))  # refuses negative and too large ones
    cache = open_cache(params.cache)
    return adapt(
        texts,
        recipe,
        source,
        pooling=source.pooling,
        seed=int(seed),
        store=AdapterStore(None if cache is None else cache.adapters_path),
        verbose=params.verbose,
    )


def save_adapters(estimator, folder):
    """Write the trained adapters into a folder each; return the folders in order."""
    _check_adapted(estimator)
    paths = []
    for n, adapter in enumerate(estimator.adapter_, start=1):
        paths.append(Path(folder) / f"{n}-{adapter.stage}")
        save_adapter(adapter, paths[-1])
    return list(map(str, paths))


def merge_and_save(estimator, folder):
    """Write the model with all its adapters as a folder of transformers."""
    with loading:
        from sklearn_llm2vec._model.loading import save_merged

    _check_adapted(estimator)
    source = open_source(estimator)
    save_merged(
        source.model,
        folder,
        dtype=source.spec.dtype,
        attention=source.spec.attention,
        adapters=source.adapters,
    )


def _check_adapted(estimator):
    """Raise NotFittedError where nothing was trained."""
    check_fitted(estimator)
    if estimator.adapt is None:
        raise NotFittedError(
            f"This {type(estimator).__name__} instance has no trained adapters: set "
            "'adapt' and call 'fit' first."
        )
