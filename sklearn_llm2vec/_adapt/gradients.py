"""The gradient of a step, computed in passes that fit into memory.

A contrastive stage compares each text with its whole batch. The batch is therefore pooled
without a gradient first. The loss then says how each vector should change, and each pass
is computed again, with the same dropout, to carry that to the weights (GradCache: Gao et
al., 2021, arXiv 2101.06983). Memory follows from a pass and not from the batch.
"""

from contextlib import contextmanager
from functools import partial

import torch

from sklearn_llm2vec._adapt.losses import (
    contrast_classes_or_pairs,
    contrast_views,
    masked_token_loss,
    pool_batch,
)

# What belongs to each row of a batch.
BY_ROW = ("input_ids", "attention_mask", "counted", "lengths")


def make_gradient(stage, n_layers, head=None):
    """How a stage computes the gradient of a step.

    Parameters
    ----------
    stage : Stage
    n_layers : int
        Of the whole model.
    head : callable or None
        The language model's, for "mntp".

    Returns
    -------
    callable
        Takes a network, a batch, and how many tokens a pass may have, padding included;
        adds the gradient of the loss to those of the weights and returns the loss.
    """
    if stage.name == "mntp":
        return partial(masked_gradient, head=head)
    contrasts = {"simcse": contrast_views, "supervised": contrast_classes_or_pairs}
    return partial(
        contrastive_gradient,
        pool=partial(pool_batch, stage=stage, n_layers=n_layers),
        contrast=partial(contrasts[stage.name], stage=stage),
    )


def masked_gradient(network, batch, tokens_a_pass, head):
    """The gradient of the mean over all hidden tokens, which is a sum over passes.

    Parameters
    ----------
    network : callable
    batch : dict
        As `MaskedBatches` makes it.
    tokens_a_pass : int
    head : callable

    Returns
    -------
    tensor of shape ()
    """
    n_targets = len(batch["targets"])
    loss = torch.zeros((), device=batch["input_ids"].device)
    for rows in passes(batch, tokens_a_pass):
        row = batch["predict_row"]
        hidden = (row >= rows.start) & (row < rows.stop)
        if not hidden.any():
            continue
        part = take_rows(batch, rows)
        states = network(
            input_ids=part["input_ids"], attention_mask=part["attention_mask"]
        ).last_hidden_state  # (rows, tokens, hidden)
        states = states[row[hidden] - rows.start, batch["predict_at"][hidden]]
        share = hidden.sum() / n_targets
        part_loss = share * masked_token_loss(head(states), batch["targets"][hidden])
        part_loss.backward()
        loss += part_loss.detach()
    return loss


def contrastive_gradient(network, batch, tokens_a_pass, pool, contrast):
    """The gradient of a loss that compares every row of a batch with all others.

    Parameters
    ----------
    network : callable
    batch : dict
    tokens_a_pass : int
    pool : callable
        Takes network and batch, returns vectors of shape (n_rows, hidden).
    contrast : callable
        Takes vectors and batch, returns the loss.

    Returns
    -------
    tensor of shape ()
    """
    parts = [take_rows(batch, rows) for rows in passes(batch, tokens_a_pass)]
    if len(parts) == 1:
        loss = contrast(pool(network, parts[0]), batch)
        loss.backward()
        return loss.detach()
    made, random_states = [], []
    with torch.no_grad():
        for part in parts:
            random_states.append(_random_state(part["input_ids"].device))
            made.append(pool(network, part))
    vectors = torch.cat(made).requires_grad_()  # (rows, hidden)
    loss = contrast(vectors, batch)
    loss.backward()
    wanted = vectors.grad.split([len(part) for part in made])
    for part, state, gradient in zip(parts, random_states, wanted, strict=True):
        with _randomness_of(state, part["input_ids"].device):
            pool(network, part).backward(gradient)
    return loss.detach()


def passes(batch, tokens_a_pass):
    """Slices of a batch's rows with at most so many tokens each, one row at least."""
    longest = batch["input_ids"].shape[1]
    step = max(1, tokens_a_pass // longest)
    n_rows = len(batch["input_ids"])
    return [slice(at, min(at + step, n_rows)) for at in range(0, n_rows, step)]


def take_rows(batch, rows):
    """Some rows of a batch, without the padding that none of them needs."""
    longest = int(batch["lengths"][rows].max())
    part = {name: batch[name][rows] for name in BY_ROW}
    # (rows, tokens)
    return {n: v[:, :longest] if v.ndim == 2 else v for n, v in part.items()}


def kept_bytes(network, row):
    """Bytes that autograd keeps of a row for the backward pass.

    Parameters
    ----------
    network : torch module
    row : dict
        A batch of one row.

    Returns
    -------
    int
    """
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def count(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    device = row["input_ids"].device
    network.train()
    with (
        _randomness_of(_random_state(device), device),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        # Held until all is counted: what is freed may get the same address again.
        output = network(
            input_ids=row["input_ids"], attention_mask=row["attention_mask"]
        )
    del output
    return sum(kept.values())


def _random_state(device):
    """The state of the random numbers that a pass on this device draws."""
    if device.type == "cpu":
        return torch.get_rng_state()
    return getattr(torch, device.type).get_rng_state()


@contextmanager
def _randomness_of(state, device):
    """Random numbers from a state inside; outside they go on where they were."""
    backend = torch if device.type == "cpu" else getattr(torch, device.type)
    before = backend.get_rng_state()
    backend.set_rng_state(state)
    try:
        yield
    finally:
        backend.set_rng_state(before)
