"""Stages: network, batches and loss of one training, put together.

The network is loaded for each stage anew, with the adapters of the stages before it
merged; rows are made as ``transform`` makes them.
"""

import json
import threading
from pathlib import Path

import numpy as np
import torch

from sklearn_llm2vec._adapt import batches as examples
from sklearn_llm2vec._adapt.trainer import (
    add_lora,
    make_loss,
    own_randomness,
    pool_batch,
    train_stage,
)
from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._common.imports import loading
from sklearn_llm2vec._model.adapters import TrainedAdapter, merge_adapters
from sklearn_llm2vec._model.loading import load_network, load_with_head
from sklearn_llm2vec._model.registry import make_room
from sklearn_llm2vec._model.tokenizer import load_tokenizer
from sklearn_llm2vec._network.attention import make_bidirectional, sees_future
from sklearn_llm2vec._network.lm_heads import split_head
from sklearn_llm2vec._text.tokens import TextTokenizer

ROWS_AT_A_TIME = 32
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
    with own_randomness(stage.seed):
        wrapped = add_lora(network, stage, n_layers)
    config, weights, history, n_parts = train_stage(
        wrapped,
        stage,
        make_loss(stage, source.model.n_layers, head),
        batches_of(Material(stage, data, source, wrapped, tokenizer)),
        folder,
        name=_hub_id(source.model),
        verbose=verbose,
    )
    if bidirectional and seen() != before:
        raise RuntimeError(
            f"{source.model.name!r} was causal again after {stage.name!r}."
        )
    adapter = TrainedAdapter(
        stage=stage.name,
        config=config,
        weights=weights,
        bidirectional=bidirectional and source.model.causal,
        note=json.dumps(_note_of(stage, data, source, n_parts)),
    )
    return adapter, history


def _hub_id(model):
    """The model's name, unless it is a folder: that says nothing elsewhere."""
    return None if Path(model.name).expanduser().exists() else model.name


def _note_of(stage, data, source, n_parts):
    """How an adapter was made, for people who look into its folder."""
    return {
        "model": source.model.name,
        "pooling": stage.pooling,
        "template": source.spec.template,
        "n_texts": len(data.of(stage.name)),
        "steps": stage.steps,
        "batch_size": stage.batch_size,
        "parts_of_a_batch": n_parts,
        "learning_rate": stage.learning_rate,
    }


def load_for_training(stage, source, adapters):
    """The network that a stage trains, its head for MNTP, and the tokenizer."""
    model, spec = source.model, source.spec
    dtype = spec.dtype if stage.precision == "auto" else stage.precision
    # float16 has no room for gradients.
    dtype = getattr(torch, "float32" if dtype == "float16" else dtype)
    make_room(model.n_bytes, source.device)
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


def _dropout_of(stage, model):
    """Dropout of the attention; None leaves the model's own."""
    if stage.dropout != "auto":
        return stage.dropout
    # LLM2Vec, appendix D.1.2; encoders bring what they were trained with, as SimCSE.
    return 0.3 if stage.name == "simcse" and model.decoder else None


class Material:
    """What the batches of a stage are made of.

    Parameters
    ----------
    stage : Stage
    data : TrainingTexts
    source : Source
    network : peft model
    tokenizer : transformers fast tokenizer
    """

    def __init__(self, stage, data, source, network, tokenizer):
        self.stage, self.data, self.source = stage, data, source
        self.network, self.tokenizer = network, tokenizer
        self._make_rows = TextTokenizer(
            tokenizer,
            special_tokens=source.spec.special_tokens,
            max_length=min(stage.max_length, source.spec.max_length),
            template=source.spec.template,
            counts=source.spec.counts,
        )
        self.rows = self.rows_of(data.of(stage.name))
        # Behind the mask any token will do, if the model has it.
        self.n_tokens = network.get_input_embeddings().weight.shape[0]
        known = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self.pad_id = next(
            one for one in known if one is not None and one < self.n_tokens
        )

    def rows_of(self, texts):
        """One row a text, cut where it is too long."""
        return [parts[0] for parts in self._make_rows(texts)[0]] if texts else []

    def vectors_of(self, rows):
        """Pooled vectors of rows before the training, of shape (n_rows, hidden)."""
        self.network.eval()
        order = np.argsort([len(row.ids) for row in rows], kind="stable")
        made, n_layers = [], self.source.model.n_layers
        with torch.no_grad():
            for start in range(0, len(rows), ROWS_AT_A_TIME):
                part = order[start : start + ROWS_AT_A_TIME]
                batch = examples.padded([rows[i] for i in part], self.pad_id)
                device = self.network.device
                batch = {name: value.to(device) for name, value in batch.items()}
                pooled = pool_batch(self.network, batch, self.stage, n_layers)
                made.append(pooled.cpu().numpy())
        vectors = np.empty_like(np.concatenate(made))
        vectors[order] = np.concatenate(made)
        return vectors


def batches_of(material):
    """A function from batch size and number to the data set of a stage's batches."""
    if material.stage.name == "mntp":
        kind, more = examples.MaskedBatches, _masked_material(material)
    elif material.stage.name == "simcse":
        kind, more = examples.ViewBatches, {}
    elif material.data.positives is None:
        kind, more = examples.ClassBatches, _class_material(material)
    else:
        kind, more = examples.PairBatches, _pair_material(material)
    more |= {"pad_id": material.pad_id, "seed": material.stage.seed}

    def make_batches(batch_size, n_batches):
        return kind(material.rows, batch_size=batch_size, n_batches=n_batches, **more)

    return make_batches


def _masked_material(material):
    """What `MaskedBatches` takes beside the rows."""
    return {
        "mask_id": _mask_id(material.stage, material.tokenizer, material.n_tokens),
        "special_ids": set(material.tokenizer.all_special_ids),
        "n_tokens": material.n_tokens,
        "probability": material.stage.mask_probability,
        "strategy": material.stage.mask_strategy,
        "offset": 1 if material.source.model.decoder else 0,
    }


def _class_material(material):
    """What `ClassBatches` takes beside the rows."""
    labels, n = material.data.labels, material.stage.hard_negatives
    negatives = np.empty((len(labels), 0), int)
    if n:
        negatives = examples.nearest(material.vectors_of(material.rows), labels, n)
    return {"labels": labels, "negatives": negatives}


def _pair_material(material):
    """What `PairBatches` takes beside the rows."""
    data, n = material.data, material.stage.hard_negatives
    given = [(row, text) for row, text in enumerate(data.negatives or ()) if text]
    hard = [text for _, text in given]
    numbers = {}
    texts = {
        name: np.array([numbers.setdefault(one, len(numbers)) for one in some], int)
        for name, some in (
            ("rows", data.anchors),
            ("positives", data.positives),
            ("negatives", hard),
        )
    }
    positives, negatives = material.rows_of(data.positives), material.rows_of(hard)
    negatives_of = [[] for _ in positives]
    for place, (row, _) in enumerate(given):
        negatives_of[row].append(place)
    if n:
        found = examples.nearest(
            material.vectors_of(material.rows),
            texts["positives"],
            n,
            material.vectors_of(positives),
            texts["positives"],
        )
        for row, places in enumerate(found):
            negatives_of[row] += [len(negatives) + int(place) for place in places]
        negatives = negatives + positives
        texts["negatives"] = np.concatenate([texts["negatives"], texts["positives"]])
    return {
        "positives": positives,
        "negatives": negatives,
        "negatives_of": negatives_of,
        "texts": texts,
    }


def _mask_id(stage, tokenizer, n_tokens):
    """The id of the token that MNTP puts in the place of others."""
    token = stage.mask_token
    if token == "auto":
        own = tokenizer.mask_token_id
        if own is not None and own < n_tokens:
            return own
        token = "_"  # LLM2Vec's, for tokenizers without one
    if token in tokenizer.get_vocab():
        return tokenizer.get_vocab()[token]
    ids = tokenizer(token, add_special_tokens=False)["input_ids"]
    # Some tokenizers put a space of its own before a word.
    ids = [one for one in ids if tokenizer.decode([one]).strip()]
    if len(ids) != 1:
        raise refused(
            "mask_token",
            "a single token of the model's tokenizer",
            token,
            f"This is {len(ids)} tokens.",
            of="LLM2VecRecipe",
        )
    return ids[0]
