"""Pooling: the hidden states of a text's tokens become one vector.

Every pooling is a pure function of ``(batch, tokens, hidden)`` states and the
``(batch, tokens)`` mask of the tokens that count. Padding stands on the right and doesn't
count; on a CPU there is none (see ``_batching``).
"""

import torch


def averages(states, counted):
    """Mean and weighted mean of each row, by one batched product.

    Both are always computed together, even when one is asked for: a product with one
    row of weights takes another kernel than one with two, and a vector must not depend,
    not even in its last bit, on what else was asked of the same pass.

    Parameters
    ----------
    states : tensor of shape (batch, tokens, hidden), float32
    counted : bool tensor of shape (batch, tokens)

    Returns
    -------
    tensor of shape (batch, 2, hidden)
        ``[:, 0]`` the mean, ``[:, 1]`` the mean with weights i / sum(i), where i is the
        position among the counted tokens, from 1 (SGPT, arXiv 2202.08904, eq. 1).
    """
    position = counted.cumsum(1) * counted  # (batch, tokens): 1, 2, ... ; 0 elsewhere
    weights = torch.stack([counted.to(position.dtype), position], 1)
    weights = weights.to(states.dtype)  # (batch, 2, tokens)
    weights = weights / weights.sum(2, keepdim=True)
    return torch.bmm(weights, states)


def mean(states, counted):
    """Mean of the counted tokens."""
    return averages(states, counted)[:, 0]


def weighted_mean(states, counted):
    """Mean that trusts later tokens more: under causal attention they saw more."""
    return averages(states, counted)[:, 1]


def last(states, counted):
    """The last token of the whole input, special tokens included."""
    # Cloned: a view would hold the states of all tokens in memory.
    return states[:, -1].clone()


def first(states, counted):
    """The first token of the whole input: BERT's [CLS]."""
    return states[:, 0].clone()


def maximum(states, counted):
    """Largest value of each feature over the counted tokens."""
    if not bool(counted.all()):
        states = states.masked_fill(~counted[:, :, None], float("-inf"))
    return states.amax(1)


POOLINGS = {
    "mean": mean,
    "weighted_mean": weighted_mean,
    "last": last,
    "first": first,
    "max": maximum,
}


def pool_all(states, counted, poolings, ends=None):
    """Several poolings of the same states; the two means share their product.

    Parameters
    ----------
    states : tensor of shape (batch, tokens, hidden)
        In any floating dtype; sums are made in float32.
    counted : bool tensor of shape (batch, tokens)
        The tokens that count in mean, weighted_mean and max. At least one a row.
    poolings : iterable of str
        Names from ``POOLINGS``.
    ends : int tensor of shape (batch,) or None
        Place of each row's last token; None where no row is padded.

    Returns
    -------
    dict of str to float32 tensor of shape (batch, hidden)
    """
    states = states.float()
    pooled = {}
    if {"mean", "weighted_mean"} & set(poolings):
        both = averages(states, counted)  # (batch, 2, hidden)
        pooled = {"mean": both[:, 0], "weighted_mean": both[:, 1]}
    if ends is not None:
        pooled["last"] = last_before_padding(states, ends)
    return {
        name: pooled[name] if name in pooled else POOLINGS[name](states, counted)
        for name in poolings
    }


def last_before_padding(states, ends):
    """The last token of each row, whose place is given."""
    return states[torch.arange(len(states), device=states.device), ends]


def pool_padded(states, counted, lengths, pooling):
    """One pooling of rows of different lengths, padded on the right: for training.

    Parameters
    ----------
    states : tensor of shape (batch, tokens, hidden)
    counted : bool tensor of shape (batch, tokens)
        False for padding, too.
    lengths : int tensor of shape (batch,)
        Tokens of each row without padding.
    pooling : str

    Returns
    -------
    float32 tensor of shape (batch, hidden)
    """
    states = states.float()
    if pooling == "last":
        return last_before_padding(states, lengths - 1)
    return POOLINGS[pooling](states, counted)
