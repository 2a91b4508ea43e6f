"""A model in memory: its network, loaded no deeper than needed, and its tokenizer."""

import copy
from dataclasses import dataclass

import torch
import transformers

from sklearn_llm2vec._common.imports import quiet
from sklearn_llm2vec._model.adapters import merge_adapters
from sklearn_llm2vec._model.config import auto_config, text_config
from sklearn_llm2vec._model.damage import SENTENCES, blamed_on, is_of_files
from sklearn_llm2vec._model.devices import warn_of_slow_bfloat16
from sklearn_llm2vec._model.gguf_weights import from_gguf
from sklearn_llm2vec._model.sizes import check_fits
from sklearn_llm2vec._model.static import static_vectors
from sklearn_llm2vec._model.tokenizer import load_tokenizer
from sklearn_llm2vec._model.weights import check_filled, check_finite, check_used
from sklearn_llm2vec._network.attention import (
    check_bidirectional,
    follow_caps,
    make_bidirectional,
)
from sklearn_llm2vec._network.layers import HiddenStates, agree, find_layers
from sklearn_llm2vec._network.packing import can_pack, pack, unpack
from sklearn_llm2vec._network.static import StaticNetwork

ATTENTION_DROPOUTS = (
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "attention_dropout_prob",
    "dropout_rate",  # T5's only one
)


# What sums in another order may change, as a share of the largest number in a state.
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 5e-2}


@dataclass(eq=False)
class LoadedModel:
    """A tokenizer and the first layers of a model, in evaluation mode on its device.

    Attributes
    ----------
    tokenizer : transformers fast tokenizer
    states : HiddenStates
        Runs the model and hands out its hidden states.
    depth : int
        Layers that are loaded; it can serve the hidden states 0 to depth.
    n_bytes : int
        Of the weights.
    device : torch.device
    """

    tokenizer: object
    states: object
    depth: int
    n_bytes: int
    device: object


def load(model, depth, dtype, device, attention, adapters):
    """Load a model as `load_model` of the registry takes it, whatever is there."""
    warn_of_slow_bfloat16(dtype, device)
    tokenizer = load_tokenizer(model)
    if model.static is not None:
        states = _static_states(model, getattr(torch, dtype), device)
    else:
        states = _states(model, depth, dtype, device, attention, adapters)
    network = states.network
    parts = [*network.parameters(), *network.buffers()]
    return LoadedModel(
        tokenizer=tokenizer,
        states=states,
        depth=states.depth,
        n_bytes=sum(part.numel() * part.element_size() for part in parts),
        device=torch.device(device),
    )


def _static_states(model, dtype, device):
    """The only hidden state of a static model."""
    network = StaticNetwork(static_vectors(model, dtype)).eval()
    check_finite(network, model)
    return HiddenStates(network.to(device), None, 0, last_is_output=True)


def _states(model, depth, dtype, device, attention, adapters):
    """The hidden states of a network with layers."""
    # Two layers at least: with one, nothing would prove where hidden states are taken.
    n_layers = min(max(depth, 2), model.n_layers)
    network = load_network(model, n_layers, getattr(torch, dtype)).to(device)
    states = HiddenStates.of(network, network.n_layers_loaded, model.n_layers)
    if states is None:  # a model that can't be cut is loaded whole first
        network = load_network(model, model.n_layers, getattr(torch, dtype)).to(device)
        states = HiddenStates.of(network, model.n_layers, model.n_layers)
    states.cut(n_layers)
    with states.unhooked():
        merge_adapters(network, adapters, model.n_layers)  # in place
        if adapters:
            check_finite(network, model)
        _set_attention(network, model, attention)
    _pack(states, torch.device(device), getattr(torch, dtype))
    return states


def _pack(states, device, dtype):
    """Pack the weights where that is faster, and prove that the states stay the same."""
    if not can_pack(device, dtype):
        return
    before = states.of_some_tokens()
    packed = pack(states.network)
    try:
        now = states.of_some_tokens()
    except (AttributeError, RuntimeError, TypeError):
        now = []  # something computes with a layer's weight itself
    same = len(before) == len(now) and all(
        agree(a, b, ROUNDING[dtype]) for a, b in zip(before, now, strict=True)
    )
    if not same:
        unpack(packed)


def is_switched(model, attention):
    """Whether a causal model is made bidirectional."""
    return attention == "bidirectional" and model.causal


def _set_attention(network, model, attention):
    if is_switched(model, attention):
        make_bidirectional(network, model.name)
    elif model.decoder and not model.causal:
        check_bidirectional(network, model.name)


def save_merged(model, folder, *, dtype, attention, adapters):
    """Write a model with its adapters merged, and its attention, as a plain folder.

    Parameters
    ----------
    model : ModelFolder
    folder : path-like
    dtype, attention, adapters
        As `load_model` takes them.
    """
    with quiet():
        network = load_network(model, model.n_layers, getattr(torch, dtype))
        network = merge_adapters(network, adapters, model.n_layers)
        _set_attention(network, model, attention)
        network.config.use_cache = True
        network.save_pretrained(folder)
        load_tokenizer(model).save_pretrained(folder)


def load_network(model, n_layers, dtype, *, dropout=None):
    """The text encoder or decoder, without heads, cut to its first `n_layers` layers.

    Its ``n_layers_loaded`` says how many it holds: all, where it can't be cut. Its
    configuration stays that of the whole model, because layers may depend on it.

    Parameters
    ----------
    model : ModelFolder
    n_layers : int
    dtype : torch.dtype
    dropout : float or None
        Of the attention, in training; None leaves the model's own.

    Returns
    -------
    transformers model
    """
    config = auto_config(model.folder, model.trust_remote_code)
    if dropout is not None:
        _set_attention_dropout(config, dropout)
    factory = transformers.AutoModel
    if getattr(config, "is_encoder_decoder", False):
        # T5Gemma's class of that kind wants a configuration of an encoder alone.
        takes = type(config) in transformers.AutoModelForTextEncoding._model_mapping
        if takes and not hasattr(config, "encoder"):
            factory = transformers.AutoModelForTextEncoding
    network, blank = None, _blank(factory, model, config)
    if blank is not None:
        check_fits(blank, model)
        if n_layers < model.n_layers:
            network = _cut_from_folder(blank, model, config, dtype, n_layers)
    if network is None:
        n_layers = model.n_layers
        network, report = _from_folder(factory, model, config, dtype)
        layers = find_layers(_text_part(network), n_layers)
        check_used(report, model, network, layers)
    check_finite(network, model)
    network = _prepared(_text_part(network))
    network.n_layers_loaded = n_layers
    return network


def _blank(factory, model, config):
    """The network without memory for its weights; None if it can't be built this way."""
    code = {"trust_remote_code": True} if model.trust_remote_code else {}
    try:
        with quiet(), torch.device("meta"):
            return factory.from_config(copy.deepcopy(config), **code)
    except Exception:  # an architecture's own; loading it whole meets it again
        return None


def _cut_from_folder(blank, model, config, dtype, n_layers):
    """A network made whole and cut before its weights are read, or None.

    transformers makes a network without memory for its weights, and then reads those that
    the network has names for. So it is given a subclass that makes the whole and deletes
    the deeper layers at once: nothing of these is ever in memory, and the layers that are
    left are those of the whole.

    It isn't made from a configuration with fewer layers: some layers depend on how many
    there are (MiniCPM3's residual scale, Gemma 4's shared keys), and would be others.
    """
    try:
        if find_layers(_text_part(blank), model.n_layers) is None:
            return None
        whole = type(blank)

        def init(self, *args, **kwargs):
            whole.__init__(self, *args, **kwargs)
            del find_layers(_text_part(self), model.n_layers)[n_layers:]

        # The same name and module: transformers keeps what it knows of a class by them.
        names = {"__init__": init, "__module__": whole.__module__}
        cut = type(whole.__name__, (whole,), names)
        cut.__qualname__ = whole.__qualname__
        # The folder isn't blamed yet: it may be cutting that this class can't take.
        network, report = _read_weights(cut, model, copy.deepcopy(config), dtype)
        layers = find_layers(_text_part(network), n_layers)
    except BaseException as error:
        if not is_of_files(error):
            raise
        return None  # loaded whole, which meets damage again
    check_filled(report, model)
    network.__class__ = whole  # which pickles, and makes whole networks again
    check_used(report, model, network, layers)
    return network


def load_with_head(model, dtype):
    """The whole model with its language-model head, causal or masked.

    Raises
    ------
    ValueError
        For a checkpoint without such a head.
    """
    factory = (
        transformers.AutoModelForCausalLM
        if model.decoder
        else transformers.AutoModelForMaskedLM
    )
    config = auto_config(model.folder, model.trust_remote_code)
    brings_own = model.trust_remote_code and hasattr(config, "auto_map")
    if type(config) not in factory._model_mapping and not brings_own:
        raise _no_head(model, f"transformers has none for {config.model_type}")
    with _blamed(model):
        network, report = _read_weights(factory, model, config, dtype)
    missing = sorted(report["missing_keys"])
    if missing and not any(
        name.startswith(f"{network.base_model_prefix}.") for name in missing
    ):
        raise _no_head(model, f"its weights lack {missing[0]}")
    check_filled(report, model)
    return _prepared(network)


def _no_head(model, reason):
    return ValueError(
        "The 'adapt' parameter of LLMEmbeddingTransformer can contain 'mntp' "
        f"only for a checkpoint with a language-model head, which {model.name!r} "
        f"isn't: {reason}. Choose 'simcse' or 'supervised'."
    )


def _set_attention_dropout(config, dropout):
    """Set the attention's dropout, whatever the architecture calls it."""
    text = text_config(config)
    for name in ATTENTION_DROPOUTS:
        if hasattr(text, name):
            setattr(text, name, dropout)


def _from_folder(factory, model, config, dtype):
    """The network, and what transformers reports of its weights."""
    with _blamed(model):
        network, report = _read_weights(factory, model, config, dtype)
    check_filled(report, model)
    return network, report


def _blamed(model):
    """Blame the folder for the errors of a block that reads its weights."""
    what = "be the weights of the network that config.json describes"
    if model.gguf is not None:
        return blamed_on(model.gguf, what, SENTENCES)
    return blamed_on(model.folder, what)


def _read_weights(factory, model, config, dtype):
    """As `_from_folder`, with transformers' own errors and whatever is missing."""
    if model.gguf is not None:
        return from_gguf(factory, model.gguf, config, dtype)
    with quiet():
        return factory.from_pretrained(
            model.folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=model.trust_remote_code,
            output_loading_info=True,
        )


def _prepared(network):
    configs = (network.config, text_config(network.config))
    for part in {id(config): config for config in configs}.values():
        part.use_cache = False
    follow_caps(network)
    return network.eval().requires_grad_(False)


def _text_part(network):
    """The part that reads text: the encoder of a T5, the decoder of a vision model."""
    if getattr(network.config, "is_encoder_decoder", False):
        if type(network).__name__.endswith("EncoderModel"):
            return network
        return network.get_encoder()
    return getattr(network, "language_model", network)
