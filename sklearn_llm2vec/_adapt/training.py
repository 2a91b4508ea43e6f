"""One stage is trained: network, batches and loss, put together.

The network is loaded for each stage anew, with the adapters of the stages before it
merged; rows are made as ``transform`` makes them.
"""

import json
import threading
from pathlib import Path

import torch

from sklearn_llm2vec._adapt.gradients import make_gradient
from sklearn_llm2vec._adapt.loop import own_randomness, train_stage
from sklearn_llm2vec._adapt.lora import add_lora
from sklearn_llm2vec._adapt.material import Material, make_batches
from sklearn_llm2vec._adapt.memory import check_fits
from sklearn_llm2vec._common.imports import loading
from sklearn_llm2vec._model.adapters import TrainedAdapter, merge_adapters
from sklearn_llm2vec._model.loading import load_network, load_with_head
from sklearn_llm2vec._model.registry import make_room
from sklearn_llm2vec._model.tokenizer import load_tokenizer
from sklearn_llm2vec._network.attention import make_bidirectional, sees_future
from sklearn_llm2vec._network.lm_heads import split_head

# accelerate's state and the random numbers are the process's: threads take turns.
_one_at_a_time = threading.Lock()


def train_on_model(stage, data, source, adapters, folder, verbose):
    """Train one stage on a model with the adapters of those before it.

    Parameters
    ----------
    stage : Stage
    data : TrainingTexts
    source : Source
    adapters : tuple of TrainedAdapter
    folder : Path
        For checkpoints.
    verbose : "auto" or bool

    Returns
    -------
    adapter : TrainedAdapter
    history : list of dict
        ``step``, ``loss`` and ``learning_rate`` of each step.
    """
    with _one_at_a_time:
        return _train(stage, data, source, adapters, folder, verbose)


def _train(stage, data, source, adapters, folder, verbose):
    bidirectional = source.spec.attention == "bidirectional"
    with loading:
        network, head, tokenizer = load_for_training(stage, source, adapters)

    def seen():
        return [sees_future(network, padded=padded) for padded in (False, True)]

    # Not always all: the first layers of a hybrid may see nothing of the future.
    before = bidirectional and seen()
    n_layers = getattr(network, "n_layers_loaded", source.model.n_layers)
    with loading, own_randomness(stage.seed):
        wrapped = add_lora(network, stage, n_layers)
    config, weights, history = train_stage(
        wrapped,
        stage,
        make_gradient(stage, source.model.n_layers, head),
        make_batches(Material(stage, data, source, wrapped, tokenizer)),
        folder,
        name=_hub_id(source.model),
        verbose=verbose,
    )
    if bidirectional and seen() != before:
        raise RuntimeError(
            f"The network of {source.model.name!r} must stay bidirectional while it is "
            f"trained. It was causal again after the stage {stage.name!r}, so the "
            "adapter isn't used."
        )
    adapter = TrainedAdapter(
        stage=stage.name,
        config=config,
        weights=weights,
        bidirectional=bidirectional and source.model.causal,
        note=json.dumps(_note_of(stage, data, source)),
    )
    return adapter, history


def _hub_id(model):
    """The model's name, unless it is a folder: that says nothing elsewhere."""
    return None if Path(model.name).expanduser().exists() else model.name


def _note_of(stage, data, source):
    """How an adapter was made, for people who look into its folder."""
    return {
        "model": source.model.name,
        "pooling": stage.pooling,
        "template": source.spec.template,
        "n_texts": len(data.of(stage.name)),
        "steps": stage.steps,
        "batch_size": stage.batch_size,
        "learning_rate": stage.learning_rate,
    }


def load_for_training(stage, source, adapters):
    """The network that a stage trains, its head for MNTP, and the tokenizer."""
    model, spec = source.model, source.spec
    dtype = getattr(torch, _dtype_of(stage, spec))
    make_room(model.n_bytes, source.device)
    check_fits(stage, source)  # after models that nobody uses now were let go
    head = None
    if stage.name == "mntp":
        network = load_with_head(model, dtype).to(source.device)
        network, head = split_head(network, model.name)
    else:
        # One more than trained: its output isn't the last and gets no final norm.
        depth = min(stage.layer + 1, model.n_layers)
        network = load_network(model, depth, dtype, dropout=_dropout_of(stage, model))
        network = network.to(source.device)
    network = merge_adapters(network, (*source.adapters, *adapters), model.n_layers)
    if spec.attention == "bidirectional" and model.causal:
        make_bidirectional(network, model.name)
    return network, head, load_tokenizer(model)


def _dtype_of(stage, spec):
    """The name of the dtype that a stage computes in."""
    dtype = spec.dtype if stage.precision == "auto" else stage.precision
    # float16 has no room for gradients.
    return "float32" if dtype == "float16" else dtype


def _dropout_of(stage, model):
    """Dropout of the attention; None leaves the model's own."""
    if stage.dropout != "auto":
        return stage.dropout
    # LLM2Vec, appendix D.1.2; encoders bring what they were trained with, as SimCSE.
    return 0.3 if stage.name == "simcse" and model.decoder else None
