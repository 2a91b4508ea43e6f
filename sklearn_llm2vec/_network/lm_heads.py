"""Heads: the part of a language model that turns states into words, taken off.

Masked tokens are few, and a vocabulary is large: the head alone, applied to their states
only, costs a fraction of a pass with it. That it is the same head is proved on one small
pass.
"""

import torch
from torch import nn

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._network.layers import some_ids


class _GivenStates(nn.Module):
    """Stands where the layers were, and returns the states that it was given."""

    def __init__(self, output_type):
        super().__init__()
        self.output_type, self.states = output_type, None

    def forward(self, *args, **kwargs):
        return self.output_type(last_hidden_state=self.states)


def split_head(network, name):
    """Take a model with a language-model head apart.

    Parameters
    ----------
    network : transformers model for causal or masked language modeling
        Its layers are taken out of it.
    name : str
        Of the model, for messages.

    Returns
    -------
    layers : transformers model
        Without a head; its states are those of ``AutoModel``.
    head : callable
        Takes states of shape (n, hidden), returns logits of shape (n, vocabulary).

    Raises
    ------
    ValueError
        When the head alone doesn't give the logits of the whole.
    """
    prefix = network.base_model_prefix
    layers = getattr(network, prefix, None)
    if layers is None:
        raise _refusal(name, f"{type(network).__name__} has no part {prefix!r}")
    ids = some_ids(network)
    with torch.no_grad():
        whole = network(input_ids=ids).logits[0].float()  # (tokens, vocabulary)
        output = layers(input_ids=ids)
    given = _GivenStates(type(output))
    setattr(network, prefix, given)

    def head(states):
        # The head's own dtype: pooled and trained states may come in float32.
        given.states = states[None].to(network.dtype)  # (1, n, hidden)
        here = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
        try:
            return network(input_ids=here).logits[0]
        finally:
            given.states = None

    try:
        with torch.no_grad():
            alone = head(output.last_hidden_state[0]).float()
        same = torch.allclose(
            alone, whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max())
        )
    except (AttributeError, TypeError, RuntimeError) as error:
        raise _refusal(name, f"its head can't be used alone: {error}") from error
    if not same:
        raise _refusal(name, "its head alone gives other logits")
    return layers, head


def _refusal(name, reason):
    expected = f"'simcse' or 'supervised' for {name!r}"
    return refused("adapt", expected, "mntp", f"With 'mntp', {reason}.")
