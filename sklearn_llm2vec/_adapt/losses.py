"""Losses: what the stages of an adaptation make small.

Pure functions of tensors, and before them what a stage gives these: the vectors that a
network computes of a batch.
"""

import torch
from torch.nn import functional as F

from sklearn_llm2vec._network.pooling import pool_all


def contrast_views(vectors, batch, stage):
    """SimCSE's loss of a batch that holds all texts, and then all of them again.

    Parameters
    ----------
    vectors : tensor of shape (2 * n_texts, hidden)
    batch : dict
        As `ViewBatches` makes it.
    stage : Stage

    Raises
    ------
    ValueError
        When the two views are the same, for want of dropout.
    """
    first, second = vectors.chunk(2)
    if torch.equal(first, second):
        raise ValueError(
            "The 'dropout' or the 'lora_dropout' parameter of LLM2VecRecipe must be "
            "above 0 for 'simcse'. This model has no dropout of its own: with "
            f"dropout={stage.dropout!r} and lora_dropout={stage.lora_dropout} the two "
            "views of a text are the same."
        )
    return view_loss(first, second, stage.temperature)


def contrast_classes_or_pairs(vectors, batch, stage):
    """The supervised loss of a batch, of `ClassBatches` or `PairBatches`."""
    n = int(batch["n_anchors"])
    if "classes" in batch:
        return class_loss(vectors, batch["classes"], n, stage.temperature)
    own = torch.arange(n, device=vectors.device)
    excluded = batch["excluded"]
    return pair_loss(vectors[:n], vectors[n:], own, excluded, stage.temperature)


def pool_batch(network, batch, stage, n_layers):
    """The pooled vectors that a contrastive stage trains.

    Parameters
    ----------
    network : callable
    batch : dict
        As `padded` makes it.
    stage : Stage
    n_layers : int
        Of the whole model; `network` may hold fewer.

    Returns
    -------
    float32 tensor of shape (n_rows, hidden)
    """
    last = stage.layer == n_layers
    output = network(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        output_hidden_states=not last,
    )
    states = output.last_hidden_state if last else output.hidden_states[stage.layer]
    ends = batch["lengths"] - 1
    return pool_all(states, batch["counted"], [stage.pooling], ends)[stage.pooling]


def masked_token_loss(logits, targets):
    """Cross-entropy of the hidden tokens, averaged over them.

    Parameters
    ----------
    logits : tensor of shape (n_masked, vocabulary)
        Read at the position before each hidden token (MNTP; LLM2Vec, section 2.1), or at
        its own (an encoder's MLM).
    targets : int tensor of shape (n_masked,)
    """
    return F.cross_entropy(logits.float(), targets)


def view_loss(first, second, temperature):
    """SimCSE: each text's other view among those of the whole batch.

    Parameters
    ----------
    first, second : tensor of shape (batch, hidden)
        The same texts under two dropouts.
    temperature : float

    Notes
    -----
    ``-log(exp(cos(a_i, b_i) / t) / sum_j exp(cos(a_i, b_j) / t))``, averaged over i
    (arXiv 2104.08821, eq. 4). One direction only, as there and in LLM2Vec.
    """
    similarity = _cosines(first, second) / temperature  # (batch, batch)
    own = torch.arange(len(first), device=first.device)
    return F.cross_entropy(similarity, own)


def class_loss(vectors, labels, n_anchors, temperature):
    """Supervised contrastive loss: all others of a text's class are its positives.

    Parameters
    ----------
    vectors : tensor of shape (batch, hidden)
    labels : int tensor of shape (batch,)
    n_anchors : int
        The first rows are anchors; those behind, hard negatives, are only contrasted
        with.
    temperature : float

    Notes
    -----
    Khosla et al., "Supervised Contrastive Learning", arXiv 2004.11362, eq. 2, with the
    sum over positives outside of the logarithm. Anchors without a positive don't count.
    """
    similarity = (
        _cosines(vectors[:n_anchors], vectors) / temperature
    )  # (anchors, batch)
    itself = torch.eye(*similarity.shape, dtype=torch.bool, device=vectors.device)
    log_share = similarity.masked_fill(itself, float("-inf")).log_softmax(1)
    positive = (labels[:n_anchors, None] == labels[None, :]) & ~itself
    n_positives = positive.sum(1)
    there = n_positives > 0
    total = log_share.masked_fill(~positive, 0).sum(1)
    return -(total[there] / n_positives[there]).mean()


def pair_loss(anchors, candidates, positive, excluded, temperature):
    """Each anchor's positive among all candidates of the batch.

    Parameters
    ----------
    anchors : tensor of shape (batch, hidden)
    candidates : tensor of shape (n_candidates, hidden)
        The positives of all anchors, and hard negatives.
    positive : int tensor of shape (batch,)
        Which candidate is an anchor's.
    excluded : bool tensor of shape (batch, n_candidates)
        Candidates that are no negatives of an anchor: copies of its own positive.
    temperature : float
    """
    similarity = _cosines(anchors, candidates) / temperature
    similarity = similarity.masked_fill(excluded, float("-inf"))
    return F.cross_entropy(similarity, positive)


def _cosines(first, second):
    """Cosine of each row with each, in float32: shape (n_first, n_second)."""
    first, second = first.float(), second.float()
    return F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
