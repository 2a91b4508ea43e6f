"""Models: loaded no deeper than needed, and kept for the whole process.

``load_model`` loads a tokenizer and the layers that are needed and keeps them in a
registry, so that the clones of an estimator share one copy.
"""

import copy
import functools
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from sklearn_llm2vec._model.devices import check_device
from sklearn_llm2vec._model.folders import auto_config, text_config
from sklearn_llm2vec._model.quiet import quiet
from sklearn_llm2vec._model.tokenizer import load_tokenizer

ATTENTION_DROPOUTS = (
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "attention_dropout_prob",
    "dropout_rate",  # T5's only one
)


@dataclass
class LoadedModel:
    """A tokenizer and the first layers of a model, in evaluation mode on its device.

    Attributes
    ----------
    tokenizer : transformers fast tokenizer
    states : HiddenStates
        Runs the model and hands out its hidden states; see ``_layers``.
    depth : int
        Layers that are loaded; it can serve the hidden states 0 to depth.
    n_bytes : int
        Of the weights.
    device : torch.device
    n_tokens_alone : int
        Tokens that went through in passes of one length, and might have had company.
    prefixes : dict
        For the ids of a prompt's head its `Prefix`, or None where that can't be used.
    text_tokenizers : dict
        For settings of a space its `TextTokenizer`.
    most_tokens : int or None
        Of a pass, since the memory ran out; None while it never did.
    hides_padding : dict
        For causal or not, whether padding was proved to change nothing before it.
    """

    tokenizer: object
    states: object
    depth: int
    n_bytes: int
    device: object
    prefixes: dict = field(default_factory=dict)
    text_tokenizers: dict = field(default_factory=dict)
    most_tokens: int | None = None
    n_tokens_alone: int = 0
    hides_padding: dict = field(default_factory=dict)

    @functools.cached_property
    def has_odd_widths(self):
        """Whether some layer's width is no multiple of 32.

        Activations such as SiLU are computed 32 numbers at a time, and what is left at
        the end of a tensor by another routine, whose last bit may differ. With such a
        width the end falls into the last text of a batch, unless another row is behind.
        """
        import torch

        return any(
            width % 32
            for module in self.states.network.modules()
            if not isinstance(module, torch.nn.Embedding)
            for parameter in module.parameters(recurse=False)
            if parameter.ndim == 2
            for width in parameter.shape
        )

    def text_tokenizer(self, **settings):
        """The `TextTokenizer` of these settings, made once and not in each call."""
        from sklearn_llm2vec._text.tokens import TextTokenizer

        key = tuple(sorted(settings.items()))
        if key not in self.text_tokenizers:
            self.text_tokenizers[key] = TextTokenizer(self.tokenizer, **settings)
        return self.text_tokenizers[key]

    def prefix(self, ids):
        """Keys and values of these first ids; None if the model can't go on from them.

        Computed once for each model and prompt.
        """
        from sklearn_llm2vec._network.prefix import Prefix

        with loading:
            if ids not in self.prefixes:
                self.prefixes[ids] = Prefix.of(self.states, ids)
            return self.prefixes[ids]

    @functools.cached_property
    def varlen(self):
        """Passes of rows of several lengths, or None where that can't be proved.

        The proof takes two passes of a thousand tokens.
        """
        from sklearn_llm2vec._network.varlen import Varlen

        with loading, quiet():
            return Varlen.of(self.states)


_registry: "OrderedDict[tuple, LoadedModel]" = OrderedDict()
# transformers changes its own classes while it loads, so threads take turns.
loading = threading.RLock()


def loaded_model(model, *, depth, dtype, device, attention="auto", adapters=()):
    """The registry's copy that can serve hidden state `depth`, or None."""
    with loading:
        found = _registry.get(_registry_key(model, dtype, device, attention, adapters))
        return found if found is not None and found.depth >= depth else None


def load_model(model, *, depth, dtype, device, attention="auto", adapters=()):
    """Load a model, or take it from the registry of this process.

    Parameters
    ----------
    model : ModelFolder
    depth : int
        Deepest hidden state that is wanted; deeper layers aren't loaded. A deeper copy
        in the registry serves too, a shallower one is replaced.
    dtype, device : str
    attention : {"auto", "causal", "bidirectional"}, default="auto"
        "auto" is what the model was made for.
    adapters : sequence of AdapterFolder or TrainedAdapter
        Merged into the model, in order.

    Returns
    -------
    LoadedModel

    Raises
    ------
    ValueError
        When the weights in the folder don't fill the layers that are needed, a causal
        model can't be made bidirectional, or there is no such device.
    """
    check_device(device)
    with loading:
        key = _registry_key(model, dtype, device, attention, adapters)
        found = _registry.pop(key, None)
        if found is None or found.depth < depth:
            found = None  # lets go of the shallower copy before the next is made
            n_bytes = sum(path.stat().st_size for path in model.weight_files)
            make_room(n_bytes, device)
            found = _load(model, depth, dtype, device, attention, adapters)
        _registry[key] = found
        return found


def forget_models():
    """Empty the registry: the memory of all loaded models is given back."""
    with loading:
        _registry.clear()


def make_room(n_bytes, device="cpu"):
    """Let go of a device's models used longest ago until half its memory has room.

    Parameters
    ----------
    n_bytes : int
        That are wanted.
    device : str
        Copies of a model on several devices don't push each other out.
    """
    import torch

    device = torch.device(device)
    limit = _memory_bytes(device) // 2
    here = [key for key, model in _registry.items() if model.device == device]
    used = n_bytes + sum(_registry[key].n_bytes for key in here)
    for key in here:
        if used <= limit:
            break
        used -= _registry.pop(key).n_bytes


def _memory_bytes(device):
    from sklearn_llm2vec._network.memory import total_memory

    if device.type != "cpu" and (total := total_memory(device)) is not None:
        return total
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 16 * 2**30


def _registry_key(model, dtype, device, attention, adapters):
    return (
        tuple(adapter.digest for adapter in adapters),
        _is_switched(model, attention),
        model.weights_digest,
        model.config_digest,
        model.tokenizer_digest,
        dtype,
        str(device),
    )


def _is_switched(model, attention):
    return attention == "bidirectional" and model.causal


def _load(model, depth, dtype, device, attention, adapters):
    import torch

    from sklearn_llm2vec._model.adapters import merge_adapters
    from sklearn_llm2vec._network.layers import HiddenStates

    tokenizer = load_tokenizer(model)
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
        _set_attention(network, model, attention)
    _pack(states, torch.device(device), getattr(torch, dtype))
    parts = [*network.parameters(), *network.buffers()]
    return LoadedModel(
        tokenizer=tokenizer,
        states=states,
        depth=states.depth,
        n_bytes=sum(part.numel() * part.element_size() for part in parts),
        device=torch.device(device),
    )


def _pack(states, device, dtype):
    """Pack the weights where that is faster, and prove that the states stay the same."""
    from sklearn_llm2vec._network.layers import agree
    from sklearn_llm2vec._network.packing import can_pack, pack, unpack

    if not can_pack(device, dtype):
        return
    before = states.of_some_tokens()
    packed = pack(states.network)
    try:
        now = states.of_some_tokens()
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        now = []  # something computes with a layer's weight itself
    same = len(before) == len(now) and all(
        agree(a, b, 1e-4)  # what the rounding of other sums does
        for a, b in zip(before, now, strict=True)
    )
    if not same:
        unpack(packed)


def _set_attention(network, model, attention):
    from sklearn_llm2vec._network.attention import (
        check_bidirectional,
        make_bidirectional,
    )

    if _is_switched(model, attention):
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
    import torch

    from sklearn_llm2vec._model.adapters import merge_adapters

    with loading:
        network = load_network(model, model.n_layers, getattr(torch, dtype))
    network = merge_adapters(network, adapters, model.n_layers)
    _set_attention(network, model, attention)
    network.config.use_cache = True
    with quiet():
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
    from transformers import AutoModel, AutoModelForTextEncoding

    config = auto_config(model.folder, model.trust_remote_code)
    if dropout is not None:
        _set_attention_dropout(config, dropout)
    factory = AutoModel
    if getattr(config, "is_encoder_decoder", False):
        if type(config) in AutoModelForTextEncoding._model_mapping:
            factory = AutoModelForTextEncoding
    network = None
    if n_layers < model.n_layers:
        network = _cut_from_folder(factory, model, config, dtype, n_layers)
    if network is None:
        network, n_layers = _from_folder(factory, model, config, dtype), model.n_layers
    network = _prepared(_text_part(network))
    network.n_layers_loaded = n_layers
    return network


def _cut_from_folder(factory, model, config, dtype, n_layers):
    """A network made whole and cut before its weights are read, or None.

    It isn't made from a configuration with fewer layers: some layers depend on how many
    there are (MiniCPM3's residual scale, Gemma 4's shared keys), and would be others.
    """
    import torch

    from sklearn_llm2vec._network.layers import find_layers

    code = {"trust_remote_code": True} if model.trust_remote_code else {}
    try:
        with quiet(), torch.device("meta"):
            blank = factory.from_config(copy.deepcopy(config), **code)
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
        network = _from_folder(cut, model, copy.deepcopy(config), dtype)
    except (AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError):
        return None  # made in a way of its own: loaded whole
    network.__class__ = whole
    return network


def load_with_head(model, dtype):
    """The whole model with its language-model head, causal or masked.

    Raises
    ------
    ValueError
        For a checkpoint without such a head.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    factory = AutoModelForCausalLM if model.decoder else AutoModelForMaskedLM
    config = auto_config(model.folder, model.trust_remote_code)
    try:
        return _prepared(_from_folder(factory, model, config, dtype))
    except ValueError as error:
        raise ValueError(
            "The 'adapt' parameter of LLMEmbeddingTransformer can hold 'mntp' only for a "
            f"checkpoint with a language-model head, which {model.name!r} isn't. Choose "
            f"'simcse' or 'supervised'. ({error})"
        ) from error


def _set_attention_dropout(config, dropout):
    """Set the attention's dropout, whatever the architecture calls it."""
    text = text_config(config)
    for name in ATTENTION_DROPOUTS:
        if hasattr(text, name):
            setattr(text, name, dropout)


def _from_folder(factory, model, config, dtype):
    with quiet():
        network, report = factory.from_pretrained(
            model.folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=model.trust_remote_code,
            output_loading_info=True,
        )
    _check_loaded(report, model)
    return network


def _prepared(network):
    configs = (network.config, text_config(network.config))
    for part in {id(config): config for config in configs}.values():
        part.use_cache = False
    return network.eval().requires_grad_(False)


def _text_part(network):
    """The part that reads text: the encoder of a T5, the decoder of a vision model."""
    if getattr(network.config, "is_encoder_decoder", False):
        if type(network).__name__.endswith("EncoderModel"):
            return network
        return network.get_encoder()
    return getattr(network, "language_model", network)


def _check_loaded(report, model):
    # A missing weight is filled at random, and features of random layers look like any
    # others. BERT's pooler is no part of the hidden states.
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    wrong = report.get("mismatched_keys") or ()
    if missing or wrong:
        name = missing[0] if missing else str(next(iter(wrong)))
        raise ValueError(
            f"The weights in {model.folder} must fill every layer that is needed. "
            f"{len(missing)} are missing and {len(wrong)} have another shape, {name} "
            "first: the folder is incomplete or isn't a text encoder or decoder."
        )
