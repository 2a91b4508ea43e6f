"""Padding on the right of a row: whether a network's states before it stay the same."""

import weakref

import torch

from sklearn_llm2vec._network.layers import agree, some_ids

# By the states of a network and whether they are causal.
_proved = weakref.WeakKeyDictionary()


def hides_padding(states, causal):
    """Whether padding on the right changes no state before it; proved once a network.

    Convolutions and models that mix all tokens read it whatever the mask says, and some
    decoders aren't as causal as their configuration has it.

    Parameters
    ----------
    states : HiddenStates
    causal : bool
        Whether tokens see only those before them; padding needs no mask then.

    Returns
    -------
    bool
    """
    known = _proved.setdefault(states, {})
    if causal not in known:
        known[causal] = _hides(states, causal)
    return known[causal]


@torch.inference_mode()
def _hides(states, causal):
    ids = some_ids(states.network, 2, 24)  # (rows, tokens)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 16:] = False
    layers = range(states.depth + 1)
    tolerance = 1e-4 if states.network.dtype == torch.float32 else 5e-2

    def before(hidden):
        return hidden[:, :16].float()

    try:
        exact = states(ids[:, :16], layers, before)
        padded = states(ids, layers, before, mask=None if causal else mask)
    except (IndexError, TypeError, ValueError):  # no mask, no positions for 24
        return False
    return all(agree(exact[k], padded[k], tolerance) for k in layers)
