"""What the batches of a stage are made of: rows of tokens, and what belongs to them.

That is masks for MNTP, classes or positives for a supervised stage, and hard negatives:
the nearest texts of others before the training.
"""

import numpy as np
import torch

from sklearn_llm2vec._adapt import batches
from sklearn_llm2vec._adapt.losses import pool_batch
from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._text.tokens import TextTokenizer

ROWS_AT_A_TIME = 32


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
        self.n_tokens = network.get_input_embeddings().weight.shape[0]
        self._make_rows = TextTokenizer(
            tokenizer,
            special_tokens=source.spec.special_tokens,
            max_length=min(stage.max_length, source.spec.max_length),
            template=source.spec.template,
            counts=source.spec.counts,
            n_known=self.n_tokens,
        )
        self.rows = self.rows_of(data.of(stage.name))
        # Behind the mask any token will do, if the model has it.
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
                batch = batches.padded([rows[i] for i in part], self.pad_id)
                device = self.network.device
                batch = {name: value.to(device) for name, value in batch.items()}
                pooled = pool_batch(self.network, batch, self.stage, n_layers)
                made.append(pooled.cpu().numpy())
        vectors = np.empty_like(np.concatenate(made))
        vectors[order] = np.concatenate(made)
        return vectors


def make_batches(material):
    """The data set of a stage's batches, one for each step."""
    stage = material.stage
    if stage.name == "mntp":
        kind, more = batches.MaskedBatches, _masked_material(material)
    elif stage.name == "simcse":
        kind, more = batches.ViewBatches, {}
    elif material.data.positives is None:
        kind, more = batches.ClassBatches, _class_material(material)
    else:
        kind, more = batches.PairBatches, _pair_material(material)
    return kind(
        material.rows,
        pad_id=material.pad_id,
        batch_size=stage.batch_size,
        n_batches=stage.steps,
        seed=stage.seed,
        **more,
    )


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
        negatives = batches.nearest(material.vectors_of(material.rows), labels, n)
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
        found = batches.nearest(
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
