"""Attention: a causal decoder made bidirectional, and the proof that it is.

The switch is transformers' public one, ``config.is_causal``, for every architecture. Some
ignore it, some in a part of their layers, so nothing is believed: after the switch the
last token is changed, and the state of the first has to move, in the whole network and in
each layer.
"""

import torch
import transformers

from sklearn_llm2vec._common.checks import warn
from sklearn_llm2vec._network.layers import loaded_layers, some_ids

# Layers of hybrid models that go through the text in one direction by construction;
# "hybrid" ones have such a part beside their attention.
ONE_WAY = ("linear", "conv", "mamba", "recurrent", "ssm", "hybrid")

FAILURES = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def make_bidirectional(network, name):
    """Let every token of a causal decoder see all others, or refuse.

    Parameters
    ----------
    network : transformers model
        Changed in place. It may hold only the first layers of the whole model.
    name : str
        Of the model, for messages.

    Raises
    ------
    ValueError
        When the network, or the attention in one of its layers, stays causal or fails
        under the switch.
    """
    for config in _configs(network):
        config.is_causal = False
    for module in network.modules():
        # Some kernels ask the module and not the configuration.
        if getattr(module, "is_causal", None) is True:
            module.is_causal = False
    layers = loaded_layers(network)
    kinds = _layer_kinds(network)
    here = kinds if layers is None else kinds[: len(layers)]
    one_way = {k: kind for k, kind in enumerate(here) if _is_one_way(kind)}
    # The first layers of a hybrid may all be such, and its attention lie deeper.
    deeper = any(map(_attends, kinds)) and not any(map(_attends, here))
    for padded in (False, True):
        _check_switched(network, name, padded, must_move=not deeper)
        for k in causal_layers(network, layers, padded=padded):
            kind = here[k] if here else "causal"
            if _attends(kind):
                reason = f"ignores transformers' switch in layer {k} ({kind})"
                raise ValueError(_refusal(network, name, reason))
            one_way[k] = kind
    if one_way:
        warn(
            f"{len(one_way)} of {len(here or layers)} layers of {name!r} remain "
            "causal with attention='bidirectional', entirely or in part, because "
            f"they are {', '.join(sorted(set(one_way.values())))} layers, which read "
            "the text in one direction. The other layers see all tokens."
        )


def _check_switched(network, name, padded, *, must_move):
    try:
        moved = sees_future(network, padded=padded)
    except FAILURES as error:
        raise ValueError(_refusal(network, name, f"fails with: {error}")) from error
    if must_move and not moved:
        state = "with padding" if padded else "without padding"
        reason = (
            "ignores transformers' switch 'config.is_causal': its first token "
            f"doesn't see the last one ({state})"
        )
        raise ValueError(_refusal(network, name, reason))


def follow_caps(network):
    """Choose the attention that caps its scores, for models that were trained like this.

    Versions of transformers before 5.21 give Gemma 2 and its relatives torch's attention,
    which knows no cap and leaves it out without a word.

    Parameters
    ----------
    network : transformers model
        Changed in place.
    """
    capped = any(
        getattr(config, "attn_logit_softcapping", None) for config in _configs(network)
    )
    if capped and network.config._attn_implementation == "sdpa":
        network.set_attn_implementation("eager")


def check_bidirectional(network, name):
    """Refuse a decoder that calls itself bidirectional and isn't.

    Other versions of transformers have read over such a configuration, and the features
    of a model that runs with an attention it wasn't made for look like any others.
    """
    if not sees_future(network, padded=False):
        raise ValueError(
            "The 'model' parameter of LLMEmbeddingTransformer must name a model that "
            "the installed transformers runs as intended. The configuration of "
            f"{name!r} says that its attention is bidirectional, but with "
            f"transformers {transformers.__version__} its first token doesn't see the "
            "last one: install another version of transformers."
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


def _layer_kinds(network):
    """What the configuration says each layer of the whole model is; often nothing.

    Parameters
    ----------
    network : transformers model

    Returns
    -------
    list of str
    """
    config = network.config.get_text_config()
    for entry in ("layer_types", "layers_block_type"):
        kinds = getattr(config, entry, None)
        if kinds and len(kinds) == config.num_hidden_layers:
            return list(kinds)
    return []


def _is_one_way(kind):
    return any(word in kind for word in ONE_WAY)


def _attends(kind):
    return "hybrid" in kind or ("attention" in kind and not _is_one_way(kind))


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
    ids, mask, last = _probe(network, padded)
    other = ids.clone()
    vocabulary = network.get_input_embeddings().weight.shape[0]
    other[0, last] = (other[0, last] + 11) % vocabulary

    def first_state(tokens):
        output = network(input_ids=tokens, attention_mask=mask)
        return output.last_hidden_state[0, 0]  # (hidden,)

    return _moved(first_state(ids), first_state(other))


@torch.inference_mode()
def causal_layers(network, layers, *, padded):
    """The layers whose last token sees others, and whose first token sees none.

    Parameters
    ----------
    network : transformers model
    layers : ModuleList or None
    padded : bool
        As in `sees_future`.

    Returns
    -------
    list of int
        Empty also for a network whose layers can't be looked into.
    """
    ids, mask, last = _probe(network, padded, rows=3)
    found = []

    def before(module, args, kwargs):
        # Three rows of one text: as it is, all after the first token changed, all before
        # the last one.
        states = (args[0] if args else kwargs["hidden_states"]).clone()
        states[1:] = states[:1]
        states[1, 1 : last + 1] = states[0, 1 : last + 1].roll(1, -1)
        states[2, :last] = states[0, :last].roll(1, -1)
        if args:
            return (states, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": states}

    def after(k):
        def hook(module, args, output):
            states = output[0] if isinstance(output, tuple) else output
            sees_past = _moved(states[0, last], states[2, last])
            if sees_past and not _moved(states[0, 0], states[1, 0]):
                found.append(k)

        return hook

    hooks = []
    for k, layer in enumerate(layers or ()):
        hooks.append(layer.register_forward_pre_hook(before, with_kwargs=True))
        hooks.append(layer.register_forward_hook(after(k)))
    try:
        network(input_ids=ids, attention_mask=mask)
    except FAILURES:
        return []
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _probe(network, padded, rows=1):
    """Equal rows of tokens, their mask, and the place of the last one."""
    # As short as a sliding window of a few tokens allows; at least two tokens differ.
    ids = some_ids(network, 1, 4)
    mask = None
    if padded:
        ids = torch.cat([ids, ids.new_ones(1, 3)], 1)
        mask = ids.new_tensor([[1, 1, 1, 1, 0, 0, 0]]).repeat(rows, 1)
    return ids.repeat(rows, 1), mask, 3


def _moved(one, two):
    one, two = one.float(), two.float()
    return bool((one - two).abs().max() > 1e-6 * one.abs().max().clamp_min(1e-6))
