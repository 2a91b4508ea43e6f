"""Adaptation: the stages of a recipe, one after the other, each trained once.

``adapt`` names each stage by all that its adapter depends on and asks the store first; a
stage that isn't there is trained on the result of those before it.
"""

import hashlib
import json
from dataclasses import replace

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._common.extras import not_installed
from sklearn_llm2vec._common.imports import loading

# Raised when the same recipe gives another adapter than before.
ADAPTATION_VERSION = 2


def adapt(data, recipe, source, *, pooling, seed, store, verbose):
    """Train what a recipe says, or take it from the store.

    Parameters
    ----------
    data : TrainingTexts
    recipe : LLM2VecRecipe
    source : Source
        The model before the adaptation, and how `transform` will make texts into rows.
    pooling : str
        As in `transform`.
    seed : int
        Where the recipe has none.
    store : AdapterStore
    verbose : "auto" or bool

    Returns
    -------
    adapters : tuple of TrainedAdapter
        In the order in which they are merged.
    history : dict of str to list
        ``stage``, ``step``, ``loss`` and ``learning_rate`` of all steps.

    Raises
    ------
    ValueError
        When there are too few texts, or the model can't be adapted this way.
    ImportError
        Without peft and accelerate.
    """
    stages = [
        recipe.stage(
            name,
            n_texts=len(data.of(name)),
            n_layers=source.model.n_layers,
            width=source.model.hidden_size,
            pooling=pooling,
            seed=seed,
        )
        for name in recipe.names()
    ]
    _check_enough(data, stages)
    _check_model(source, stages)
    _check_packages()
    adapters, history, before = (), [], ""
    for stage in stages:
        key = _stage_key(stage, data, source, before)
        found = store.get(key)
        if found is None:
            with store.training(key) as folder:
                found = store.get(key)  # another process may have been faster
                if found is None:
                    found = train(stage, data, source, adapters, folder, verbose)
                    store.put(key, *found)
        adapter, steps = found
        adapters, before = (*adapters, adapter), key
        history += [{"stage": stage.name, **step} for step in steps]
    columns = ("stage", "step", "loss", "learning_rate")
    return adapters, {name: [entry[name] for entry in history] for name in columns}


def _check_enough(data, stages):
    """Refuse too few texts before anything is loaded."""
    for stage in stages:
        texts = data.of(stage.name)
        joined = (text if isinstance(text, str) else "".join(text) for text in texts)
        n_filled = sum(bool(text.strip()) for text in joined)
        if not n_filled:
            raise ValueError(
                f"Adapting a model requires texts that aren't empty. Got {len(texts)} "
                "distinct texts, all of them empty."
            )
        if n_filled < 2 * stage.batch_size:
            raise ValueError(
                f"The stage {stage.name!r} of LLM2VecRecipe needs at least two "
                f"batches, {2 * stage.batch_size} distinct texts. Got {n_filled}: "
                f"pass more texts, or set a smaller '{stage.name}_batch_size'."
            )


def _check_model(source, stages):
    """Refuse what this model, or its other parameters, can't be adapted with."""
    spec, model = source.spec, source.model
    names = [stage.name for stage in stages]
    if spec.token_prepending is not None:
        raise refused("token_prepending", "None with 'adapt'", spec.token_prepending)
    if "mntp" in names and spec.attention == "causal":
        raise refused(
            "attention",
            "'auto' or 'bidirectional' with MNTP, which teaches tokens to use those "
            "after them",
            "causal",
            "Choose adapt='simcse' to keep attention causal.",
        )
    if "mntp" in names and model.is_encoder_decoder:
        expected = f"'simcse' or 'supervised' for {model.name!r}, an encoder-decoder"
        raise refused("adapt", expected, "mntp")
    if source.device.startswith("cuda:") and source.device != "cuda:0":
        raise refused(
            "device",
            "'cuda' or 'cuda:0' with 'adapt'",
            source.device,
            "Name the GPU in the environment variable CUDA_VISIBLE_DEVICES.",
        )


def _check_packages():
    """Raise with the pip line when peft or accelerate is absent."""
    from importlib.util import find_spec

    absent = [name for name in ("peft", "accelerate") if find_spec(name) is None]
    if absent:
        who = "The 'adapt' parameter of LLMEmbeddingTransformer"
        raise not_installed(who, " and ".join(absent), "adapt")


def _stage_key(stage, data, source, before):
    """The name of a stage's adapter: all that it depends on."""
    # Of the lengths only what is left of a text in training matters.
    space = replace(
        source.spec,
        max_length=min(stage.max_length, source.spec.max_length),
        long_texts="truncate",
        chunk_overlap=0,
    )
    about = {
        "version": ADAPTATION_VERSION,
        "space": space.fingerprint,
        "stage": stage.digest,
        "before": before,
        "texts": data.digest(stage.name),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def train(stage, data, source, adapters, folder, verbose):
    """Train one stage; torch is imported here and not before."""
    with loading:
        from sklearn_llm2vec._adapt.training import train_on_model

    return train_on_model(stage, data, source, adapters, folder, verbose)
