"""A pickle of the transformer contains plain values in place of this library's classes.

To load a skops file or a model from mlflow, the transformer is the only type of this
library that has to be trusted, whatever its parameters are.
"""

import dataclasses
import os

from sklearn_llm2vec._adapt.recipe import LLM2VecRecipe
from sklearn_llm2vec._cache.store import EmbeddingCache
from sklearn_llm2vec._estimator.vectors import Report
from sklearn_llm2vec._model.adapters import TrainedAdapter


def plain_state(state):
    """The attributes as dicts, lists, strings and numbers.

    Parameters
    ----------
    state : dict
        Attributes of an estimator, whose parameters are as `plain_parameters` has them.

    Returns
    -------
    dict
        For `full_state`. Paths and devices stay strings.
    """
    state = dict(state)
    if isinstance(state["cache"], EmbeddingCache):
        state["cache"] = state["cache"].__getstate__()
    if isinstance(state["adapt"], LLM2VecRecipe):
        state["adapt"] = state["adapt"].get_params()
    for name in ("model", "cache", "adapters", "device"):
        state[name] = _as_names(state[name])
    if "last_report_" in state:
        state["last_report_"] = state["last_report_"]._asdict()
    if "adapter_" in state:
        state["adapter_"] = [dataclasses.asdict(one) for one in state["adapter_"]]
    return state


def full_state(state):
    """The attributes that `plain_state` made plain."""
    state = dict(state)
    if isinstance(state["cache"], dict):
        state["cache"] = EmbeddingCache(**state["cache"])
    if isinstance(state["adapt"], dict):
        state["adapt"] = LLM2VecRecipe(**state["adapt"])
    if "last_report_" in state:
        state["last_report_"] = Report(**state["last_report_"])
    if "adapter_" in state:
        state["adapter_"] = tuple(TrainedAdapter(**one) for one in state["adapter_"])
    return state


def _as_names(value):
    """Paths and devices of torch, also in a tuple, as strings."""
    if isinstance(value, tuple | list):
        return type(value)(map(_as_names, value))
    is_device = type(value).__name__ == "device"
    return str(value) if is_device or isinstance(value, os.PathLike) else value
