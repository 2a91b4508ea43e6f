"""Adaptation: the stages of a recipe, one after the other, each trained once.

``adapt`` names each stage by all that its adapter depends on and asks the store first; a
stage that isn't there is trained on the result of those before it. This file knows
models, stages and the store; how a stage is trained is known by ``_training``, what it is
trained on by ``_examples``.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from sklearn_llm2vec._adapters import TrainedAdapter
from sklearn_llm2vec._recipe import LLM2VecRecipe
from sklearn_llm2vec._spec import text_keys

__all__ = ["LLM2VecRecipe", "TrainingTexts", "adapt", "read_training_texts"]

# Raised when the same recipe gives another adapter than before.
ADAPTATION_VERSION = 1


@dataclass(frozen=True)
class TrainingTexts:
    """What a recipe is trained on.

    Attributes
    ----------
    texts : list of str, or of tuple of str
        In order, each once (with `labels` once a label); those that aren't missing.
    labels : int ndarray of shape (n_texts,) or None
        Classes, from 0.
    positives, negatives : list of str or None
        One for each text; a negative may be None.
    """

    texts: list
    labels: np.ndarray | None = None
    positives: list | None = None
    negatives: list | None = None

    def digest(self, *, with_labels):
        """SHA-256 of the texts in order, and of what belongs to them."""
        digest = hashlib.sha256(b"".join(text_keys(self.texts)))
        if with_labels:
            if self.labels is not None:
                digest.update(self.labels.astype("<i8").tobytes())
            for others in (self.positives, self.negatives):
                digest.update(b"".join(text_keys([one or "" for one in others or ()])))
        return digest.hexdigest()


def read_training_texts(columns, y, pairs, names):
    """Read what a recipe is trained on, and refuse what it can't be.

    Parameters
    ----------
    columns : TextColumns
    y : array-like of shape (n_rows,) or None
    pairs : tuple of (list, list or None) or None
        Positives and negatives of the rows.
    names : tuple of str
        The recipe's stages.

    Returns
    -------
    TrainingTexts

    Raises
    ------
    ValueError
        For labels that are no classes, for none where some are needed, or for a single
        class.
    """
    present = columns.inverse >= 0  # (rows, columns)
    if "supervised" not in names:
        used = np.unique(columns.inverse[present])
        return TrainingTexts([columns.unique[i] for i in used])
    if pairs is not None:
        return _read_pairs(columns, present, *pairs)
    if y is None:
        raise ValueError(
            "With a 'supervised' stage, LLMEmbeddingTransformer.fit needs y, the classes "
            "of the texts, or a frame with the columns 'text', 'positive' and, if there "
            "are any, 'negative'. Got y=None and no such frame instead: choose "
            "adapt='simcse' to adapt without labels."
        )
    labels = _read_classes(y, len(columns.inverse))
    rows, _ = np.nonzero(present)
    both = np.stack([columns.inverse[present], labels[rows]], 1)
    both = both[np.sort(np.unique(both, axis=0, return_index=True)[1])]
    labels = both[:, 1]
    sizes = np.bincount(labels)
    if (sizes > 0).sum() < 2 or not (sizes > 1).any():
        raise ValueError(
            "A 'supervised' stage needs y with at least 2 classes, one of them with at "
            f"least 2 texts. Got {(sizes > 0).sum()} class(es), the largest with "
            f"{sizes.max(initial=0)} text(s)."
        )
    return TrainingTexts([columns.unique[i] for i in both[:, 0]], labels)


def _read_classes(y, n_rows):
    from sklearn.utils.multiclass import type_of_target

    y = np.asarray(y)
    if len(y) != n_rows:
        raise ValueError(
            f"y must have one label for each of the {n_rows} rows of X. Got {len(y)}."
        )
    if any(label is None or label != label for label in y.ravel().tolist()):
        raise ValueError("y must have no missing labels for a 'supervised' stage.")
    kind = type_of_target(y)
    if kind not in ("binary", "multiclass"):
        raise ValueError(
            "A 'supervised' stage needs y to be classes: texts of one class are drawn "
            "together. Got a target of the type "
            f"{kind!r} instead, in which no two texts belong together by themselves. "
            "For regression choose adapt='simcse', or put the target into classes."
        )
    return np.unique(y.ravel(), return_inverse=True)[1].ravel()


def _read_pairs(columns, present, positives, negatives):
    rows = [
        row
        for row in np.flatnonzero(present[:, 0])
        if positives[row] is not None and positives[row] != ""
    ]
    texts = [columns.unique[columns.inverse[row, 0]] for row in rows]
    return TrainingTexts(
        texts,
        positives=[positives[row] for row in rows],
        negatives=None if negatives is None else [negatives[row] for row in rows],
    )


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
            n_texts=len(data.texts),
            width=source.model.hidden_size,
            pooling=pooling,
            seed=seed,
        )
        for name in recipe.names()
    ]
    check_enough(data, stages)
    check_model(source, stages)
    check_packages()
    adapters, history, before = (), [], ""
    for stage in stages:
        key = stage_key(stage, data, source, before)
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


def check_enough(data, stages):
    """Refuse too few texts before anything is loaded."""
    filled = [
        t for t in data.texts if (t if isinstance(t, str) else "".join(t)).strip()
    ]
    if not filled:
        raise ValueError(
            "Adapting a model needs texts. Got "
            f"{len(data.texts)} distinct ones, all of them empty."
        )
    for stage in stages:
        if len(filled) < 2 * stage.batch_size:
            raise ValueError(
                f"The stage {stage.name!r} of LLM2VecRecipe needs at least two batches, "
                f"{2 * stage.batch_size} distinct texts. Got {len(filled)}: give more "
                f"texts, or a smaller '{stage.name}_batch_size'."
            )


def check_model(source, stages):
    """Refuse what this model, or its other parameters, can't be adapted with."""
    spec, model = source.spec, source.model
    names = [stage.name for stage in stages]
    if spec.token_prepending is not None:
        raise ValueError(
            "The 'token_prepending' parameter of LLMEmbeddingTransformer must be None "
            f"with 'adapt'. Got {spec.token_prepending!r} instead."
        )
    if "mntp" in names and spec.attention == "causal":
        raise ValueError(
            "The 'attention' parameter of LLMEmbeddingTransformer must be 'auto' or "
            "'bidirectional' with MNTP, which teaches tokens to see those behind them. "
            "Got 'causal' instead: choose adapt='simcse' to stay causal."
        )
    if "mntp" in names and model.is_encoder_decoder:
        raise ValueError(
            "The 'adapt' parameter of LLMEmbeddingTransformer must be 'simcse' or "
            f"'supervised' for {model.name!r}, an encoder-decoder. Got 'mntp' instead."
        )
    for stage in stages:
        if not -model.n_layers - 1 <= stage.layer <= model.n_layers or (
            stage.layer in (0, -model.n_layers - 1)
        ):
            raise ValueError(
                f"The 'layer' parameter of LLM2VecRecipe must be from 1 to "
                f"{model.n_layers}, the layers of {model.name!r}, or negative from the "
                f"end. Got {stage.layer} instead."
            )


def check_packages():
    """Raise with the pip line when peft or accelerate is absent."""
    from importlib.util import find_spec

    absent = [name for name in ("peft", "accelerate") if find_spec(name) is None]
    if absent:
        raise ImportError(
            "The 'adapt' parameter of LLMEmbeddingTransformer needs "
            f"{' and '.join(absent)}: pip install 'sklearn-llm2vec[adapt]'"
        )


def stage_key(stage, data, source, before):
    """The name of a stage's adapter: all that it depends on."""
    spec = source.spec
    about = {
        "version": ADAPTATION_VERSION,
        "space": spec.fingerprint,
        "stage": stage.digest,
        "before": before,
        "texts": data.digest(with_labels=stage.name == "supervised"),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def train(stage, data, source, adapters, folder, verbose):
    """Train one stage on a model with the adapters of those before it.

    Returns
    -------
    adapter : TrainedAdapter
    history : list of dict
    """
    from sklearn_llm2vec._attention import sees_future
    from sklearn_llm2vec._training import (
        add_lora,
        make_loss,
        own_randomness,
        train_stage,
    )

    bidirectional = source.spec.attention == "bidirectional"
    network, head, tokenizer = load_for_training(stage, source, adapters)

    def seen():
        return [sees_future(network, padded=padded) for padded in (False, True)]

    # Not always all: the first layers of a hybrid may see nothing of the future.
    before = bidirectional and seen()
    n_layers = getattr(network, "n_layers_loaded", source.model.n_layers)
    with own_randomness(stage.seed):
        wrapped = add_lora(network, stage, n_layers)
    make_batches = batches_of(stage, data, source, wrapped, tokenizer, head)
    config, weights, history = train_stage(
        wrapped,
        stage,
        make_loss(stage, source.model.n_layers, head),
        make_batches,
        folder,
        precision=source.spec.dtype if stage.precision == "auto" else stage.precision,
        verbose=verbose,
    )
    if bidirectional and seen() != before:
        raise RuntimeError(
            f"{source.model.name!r} was causal again after {stage.name!r}."
        )
    note = {
        "model": source.model.name,
        "pooling": stage.pooling,
        "template": source.spec.template,
        "n_texts": len(data.texts),
        "steps": stage.steps,
        "batch_size": stage.batch_size,
        "learning_rate": stage.learning_rate,
    }
    adapter = TrainedAdapter(
        stage=stage.name,
        config=config,
        weights=weights,
        bidirectional=bidirectional and source.model.causal,
        note=json.dumps(note),
    )
    return adapter, history


def load_for_training(stage, source, adapters):
    """The network that a stage trains, its head for MNTP, and the tokenizer."""
    import torch

    from sklearn_llm2vec._adapters import merge_adapters
    from sklearn_llm2vec._attention import make_bidirectional
    from sklearn_llm2vec._heads import split_head
    from sklearn_llm2vec._models import (
        load_network,
        load_tokenizer,
        load_with_head,
        make_room,
    )

    model, spec = source.model, source.spec
    dtype = spec.dtype if stage.precision == "auto" else stage.precision
    # float16 has no room for gradients.
    dtype = getattr(torch, "float32" if dtype == "float16" else dtype)
    make_room(sum(path.stat().st_size for path in model.weight_files))
    head = None
    if stage.name == "mntp":
        network = load_with_head(model, dtype).to(source.device)
        network, head = split_head(network, model.name)
    else:
        layer = stage.layer + model.n_layers + 1 if stage.layer < 0 else stage.layer
        # One more than trained: its output isn't the last and gets no final norm.
        depth = min(layer + 1, model.n_layers)
        network = load_network(model, depth, dtype, dropout=dropout_of(stage, model))
        network = network.to(source.device)
    network = merge_adapters(network, (*source.adapters, *adapters), model.n_layers)
    if spec.attention == "bidirectional" and model.causal:
        make_bidirectional(network, model.name)
    return network, head, load_tokenizer(model)


def dropout_of(stage, model):
    """Dropout of the attention; None leaves the model's own."""
    if stage.dropout != "auto":
        return stage.dropout
    # LLM2Vec, appendix D.1.2; encoders bring what they were trained with, as SimCSE.
    return 0.3 if stage.name == "simcse" and model.causal else None


def batches_of(stage, data, source, network, tokenizer, head):
    """A function from batch size and number to the data set of a stage's batches."""
    from sklearn_llm2vec import _examples as examples
    from sklearn_llm2vec._tokens import TextTokenizer

    spec = source.spec
    make_rows = TextTokenizer(
        tokenizer,
        special_tokens=spec.special_tokens,
        max_length=min(stage.max_length, spec.max_length),
        template=spec.template,
        counts=spec.counts,
    )

    def rows_of(texts):
        return [parts[0] for parts in make_rows(texts)[0]] if texts else []

    rows = rows_of(data.texts)
    pad_id = tokenizer.pad_token_id
    if pad_id is None:
        pad_id = tokenizer.eos_token_id or 0  # behind the mask it is never seen
    common = {"rows": rows, "pad_id": pad_id, "seed": stage.seed}
    if stage.name == "mntp":
        probability, strategy, _ = stage.mask
        more = {
            "mask_id": mask_id(stage, tokenizer),
            "special_ids": set(tokenizer.all_special_ids),
            "n_tokens": network.get_input_embeddings().weight.shape[0],
            "probability": probability,
            "strategy": strategy,
            "offset": 1 if source.model.causal else 0,
        }
        kind = examples.MaskedBatches
    elif stage.name == "simcse":
        kind, more = examples.ViewBatches, {}
    elif data.positives is None:
        kind = examples.ClassBatches
        n = stage.hard_negatives
        negatives = np.empty((len(rows), 0), int)
        if n:
            vectors = vectors_before(network, stage, source, rows, pad_id)
            negatives = examples.nearest(vectors, data.labels, n)
        more = {"labels": data.labels, "negatives": negatives}
    else:
        kind = examples.PairBatches
        more = pair_rows(data, stage, source, network, rows_of, rows, pad_id)

    def make_batches(batch_size, n_batches):
        return kind(batch_size=batch_size, n_batches=n_batches, **common, **more)

    return make_batches


def pair_rows(data, stage, source, network, rows_of, rows, pad_id):
    """What `PairBatches` takes beside the rows."""
    from sklearn_llm2vec._examples import nearest

    _, same = np.unique(np.array(data.positives, dtype=object), return_inverse=True)
    positives = rows_of(data.positives)
    negatives, negatives_of = [], [[] for _ in rows]
    for n, text in enumerate(data.negatives or ()):
        if text:
            negatives_of[n].append(len(negatives))
            negatives.append(text)
    negatives = rows_of(negatives)
    if stage.hard_negatives:
        vectors = vectors_before(network, stage, source, rows, pad_id)
        others = vectors_before(network, stage, source, positives, pad_id)
        for n, found in enumerate(
            nearest(vectors, same, stage.hard_negatives, others, same)
        ):
            negatives_of[n] += [len(negatives) + int(i) for i in found]
        negatives = negatives + positives
    return {
        "positives": positives,
        "same": same.ravel(),
        "negatives": negatives,
        "negatives_of": negatives_of,
    }


def vectors_before(network, stage, source, rows, pad_id):
    """Pooled vectors of rows before the training."""
    import torch

    from sklearn_llm2vec._examples import padded
    from sklearn_llm2vec._training import pool_batch

    network.eval()
    order = np.argsort([len(row.ids) for row in rows], kind="stable")
    made = []
    with torch.no_grad():
        for start in range(0, len(rows), 32):
            batch = padded([rows[i] for i in order[start : start + 32]], pad_id)
            batch = {name: value.to(network.device) for name, value in batch.items()}
            made.append(
                pool_batch(network, batch, stage, source.model.n_layers).cpu().numpy()
            )
    vectors = np.concatenate(made)
    vectors[order] = vectors.copy()
    return vectors


def mask_id(stage, tokenizer):
    """The id of the token that MNTP puts in the place of others."""
    token = stage.mask[2]
    if token == "auto":
        if tokenizer.mask_token_id is not None:
            return tokenizer.mask_token_id
        token = "_"  # LLM2Vec's, for tokenizers without one
    if token in tokenizer.get_vocab():
        return tokenizer.get_vocab()[token]
    ids = tokenizer(token, add_special_tokens=False)["input_ids"]
    # Some tokenizers put a space of its own before a word.
    ids = [one for one in ids if tokenizer.decode([one]).strip()]
    if len(ids) != 1:
        raise ValueError(
            "The 'mask_token' parameter of LLM2VecRecipe must be a single token of the "
            f"model's tokenizer. Got {token!r} instead, which is {len(ids)} tokens."
        )
    return ids[0]
