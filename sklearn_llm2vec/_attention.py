"""Attention: a causal decoder made bidirectional, and the proof that it is.

The switch is transformers' public one, ``config.is_causal``, for every architecture. Some
ignore it, so nothing is believed: after the switch the last token is changed, and the
state of the first has to move. This file knows networks, and neither texts nor folders.
"""

import warnings

import torch

__all__ = ["make_bidirectional", "sees_future"]

# Layers of hybrid models that go through the text in one direction by construction.
ONE_WAY = ("linear", "conv", "mamba", "recurrent", "ssm")


def make_bidirectional(network, name):
    """Let every token of a causal decoder see all others, or refuse.

    Parameters
    ----------
    network : transformers model
        Changed in place.
    name : str
        Of the model, for messages.

    Raises
    ------
    ValueError
        When the network stays causal, or fails, under the switch.
    """
    for config in _configs(network):
        config.is_causal = False
    for module in network.modules():
        # Some kernels ask the module and not the configuration.
        if getattr(module, "is_causal", None) is True:
            module.is_causal = False
    for padded in (False, True):
        try:
            moved = sees_future(network, padded=padded)
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(_refusal(network, name, f"fails with: {error}")) from error
        if not moved:
            state = "with padding" if padded else "without padding"
            reason = (
                "ignores transformers' switch 'config.is_causal': its first token "
                f"doesn't see the last one ({state})"
            )
            raise ValueError(_refusal(network, name, reason))
    if one_way := one_way_layers(network):
        warnings.warn(
            f"{len(one_way)} layers of {name!r} stay causal with "
            f"attention='bidirectional': they are {', '.join(sorted(set(one_way)))} "
            "layers, which read the text in one direction. The others see all tokens.",
            UserWarning,
            stacklevel=2,
        )


def _refusal(network, name, reason):
    return (
        "The 'attention' parameter of LLMEmbeddingTransformer must be 'auto' or 'causal' "
        f"for {name!r}. Got 'bidirectional' instead, but its architecture "
        f"({type(network).__name__}) {reason}."
    )


def _configs(network):
    text = network.config.get_text_config()
    return {id(config): config for config in (network.config, text)}.values()


def one_way_layers(network):
    """The types of those layers that can't be made bidirectional.

    Parameters
    ----------
    network : transformers model

    Returns
    -------
    list of str
    """
    types = getattr(network.config.get_text_config(), "layer_types", None) or ()
    return [kind for kind in types if any(word in kind for word in ONE_WAY)]


@torch.inference_mode()
def sees_future(network, *, padded):
    """Whether the state of the first token depends on the last token.

    Parameters
    ----------
    network : transformers model
    padded : bool
        Whether the row ends in padding, which takes other kernels and masks.

    Returns
    -------
    bool
    """
    vocabulary = network.get_input_embeddings().weight.shape[0]
    device = next(network.parameters()).device
    # As short as a sliding window of a few tokens allows; at least two tokens differ.
    ids = (torch.arange(4, device=device) * 7 + 5).remainder(vocabulary)[None]
    other = ids.clone()
    other[0, -1] = (other[0, -1] + 11) % vocabulary
    mask = None
    if padded:
        pad = torch.full((1, 3), 1, device=device)
        ids, other = torch.cat([ids, pad], 1), torch.cat([other, pad], 1)
        mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]], device=device)

    def first_state(tokens):
        output = network(input_ids=tokens, attention_mask=mask)
        return output.last_hidden_state[0, 0].float()  # (hidden,)

    one, two = first_state(ids), first_state(other)
    return bool((one - two).abs().max() > 1e-6 * one.abs().max().clamp_min(1e-6))
