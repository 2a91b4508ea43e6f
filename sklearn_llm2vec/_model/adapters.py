"""Adapters: PEFT adapters found, named, and merged into a network.

A chain is merged in order, as published LLM2Vec checkpoints need it (first MNTP, then
SimCSE or supervised). peft is imported only when weights are merged.
"""

import functools
import hashlib
import json
import math
import os
import re
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

from sklearn_llm2vec._common.checks import is_integer
from sklearn_llm2vec._common.digests import file_digest
from sklearn_llm2vec._common.extras import not_installed
from sklearn_llm2vec._common.imports import loading
from sklearn_llm2vec._common.people import printable
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._common.whole_files import check_output, whole_file
from sklearn_llm2vec._model.adapter_patterns import endless_search
from sklearn_llm2vec._model.damage import SENTENCES, blamed_on, is_of_files
from sklearn_llm2vec._model.files import (
    check_plain_files,
    entry,
    listing,
    parse_json,
    read_bytes,
    read_json,
)
from sklearn_llm2vec._model.places import (
    ModelNotFoundError,
    hub_folder,
    looks_like_path,
)
from sklearn_llm2vec._model.sizes import shapes_of

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
# Before every name that peft writes.
START = "base_model.model."
# What peft's configuration has no place for: how the adapter is to be used.
NOTE = "sklearn_llm2vec.json"
# What peft writes where no code of Megatron is asked for.
MEGATRON = (None, "", "megatron.core")


@dataclass(frozen=True)
class AdapterFolder:
    """One adapter's folder.

    Attributes
    ----------
    name : str
        As the user gave it.
    folder : Path
    bidirectional : bool
        Whether its configuration names one of LLM2Vec's classes, such as LlamaBiModel or
        LlamaEncoderModel, or it was trained here for bidirectional attention.
    digest : str
        Of the contents of configuration and weights.
    base : str or None
        The model that it says it was trained on.
    """

    name: str
    folder: Path
    bidirectional: bool
    digest: str
    base: str | None = None

    def read_config(self):
        """The configuration as JSON bytes."""
        return read_bytes(self.folder / CONFIG)

    def load_weights(self):
        """Tensors by name."""
        with loading:
            from safetensors.torch import load_file

        return load_file(self.folder / WEIGHTS)


@public_in("sklearn_llm2vec")
@dataclass(frozen=True)
class TrainedAdapter:
    """One adapter that `fit` trained, held in memory and in the estimator's pickle.

    Attributes
    ----------
    stage : str
        "mntp", "simcse" or "supervised".
    config : bytes
        What ``adapter_config.json`` holds.
    weights : bytes
        What ``adapter_model.safetensors`` holds.
    bidirectional : bool
        Whether it was trained with bidirectional attention.
    note : str
        How it was trained, as JSON, for people.
    """

    stage: str
    config: bytes = field(repr=False)
    weights: bytes = field(repr=False)
    bidirectional: bool
    note: str = field(repr=False, default="{}")

    @property
    def name(self):
        """For messages and notes."""
        return f"trained: {self.stage}"

    @functools.cached_property
    def digest(self):
        """The same as that of a folder with these contents."""
        return _digest_of(
            hashlib.sha256(part).hexdigest() for part in (self.config, self.weights)
        )

    def read_config(self):
        """The configuration as JSON bytes."""
        return self.config

    def load_weights(self):
        """Tensors by name."""
        with loading:
            from safetensors.torch import load

        return load(self.weights)


def save_adapter(adapter, folder):
    """Write a trained adapter as a folder that `read_adapters` and peft read.

    Parameters
    ----------
    adapter : TrainedAdapter
    folder : Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    note = {**json.loads(adapter.note), "bidirectional": adapter.bidirectional}
    note = json.dumps({"stage": adapter.stage, **note}, indent=2).encode()
    contents = {CONFIG: adapter.config, WEIGHTS: adapter.weights, NOTE: note}
    for name in contents:
        check_output(folder / name)
    for name, content in contents.items():
        with whole_file(folder / name) as file:
            file.write(content)


def _digest_of(digests):
    """One digest of the digests of configuration and weights."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def read_adapters(adapters, memo_directory, token_env=None):
    """Find adapters and read what they say; no weights are loaded.

    Parameters
    ----------
    adapters : None, str, path-like or sequence of these
        Local folders or hub ids.
    memo_directory : path-like
    token_env : str or None, default=None
        Name of the environment variable with a token of the hub.

    Returns
    -------
    tuple of AdapterFolder

    Raises
    ------
    ModelNotFoundError
        When no place holds an adapter, or its folder lacks a file.
    """
    if adapters is None:
        return ()
    if isinstance(adapters, str | os.PathLike):
        adapters = [adapters]
    return tuple(
        _read_adapter(adapter, memo_directory, token_env) for adapter in adapters
    )


def _read_adapter(adapter, memo_directory, token_env):
    folder = _find_folder(str(adapter), token_env)
    with blamed_on(folder, "be those of an adapter", SENTENCES):
        return _read_files(adapter, folder, memo_directory)


def _read_files(adapter, folder, memo_directory):
    check_plain_files([folder])
    config = read_json(folder / CONFIG)
    if not config or not (folder / WEIGHTS).is_file():
        raise ModelNotFoundError(
            f"The folder of adapter {str(adapter)!r} ({folder}) must contain "
            f"adapter_config.json and {WEIGHTS}. Got {listing(folder)} instead."
        )
    shapes_of([folder / WEIGHTS])  # before all of it is read
    mapping = entry(config, "auto_mapping", dict, folder / CONFIG) or {}
    base = entry(mapping, "base_model_class", str, folder / CONFIG) or ""
    bidirectional = bool(re.search(r"Bi(Model|For)|EncoderModel$", base))
    contents = (
        file_digest(folder / name, memo_directory) for name in (CONFIG, WEIGHTS)
    )
    return AdapterFolder(
        name=str(adapter),
        folder=folder,
        bidirectional=bidirectional
        or bool(read_json(folder / NOTE).get("bidirectional")),
        digest=_digest_of(contents),
        base=entry(config, "base_model_name_or_path", str, folder / CONFIG),
    )


def _find_folder(name, token_env):
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if looks_like_path(name):
        raise ModelNotFoundError(
            f"The 'adapters' parameter of LLMEmbeddingTransformer names the folder "
            f"{name!r}, which doesn't exist."
        )

    def is_whole(folder):
        return (folder / WEIGHTS).is_file()

    try:
        for local_files_only in (True, False):
            folder = hub_folder(
                name,
                local_files_only=local_files_only,
                is_whole=is_whole,
                token_env=token_env,
            )
            if folder is not None:
                break
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"The adapter {name!r} was found in none of these places: a local folder "
            "of that name; the hub's cache; the Hugging Face hub (not reached, or it "
            "has no such adapter). Pass a folder that contains it, or go online "
            "once."
        ) from error
    return folder


def merge_adapters(network, adapters, n_layers):
    """Merge adapters into a network, in order.

    Parameters
    ----------
    network : transformers model
        Changed in place. It may hold only the first layers of the whole model.
    adapters : sequence of AdapterFolder or TrainedAdapter
    n_layers : int
        Layers of the whole model.

    Returns
    -------
    transformers model

    Raises
    ------
    ImportError
        Without peft.
    ValueError
        For an adapter of another model, or of a kind that can't be merged.
    """
    with loading:
        for adapter in adapters:
            network = _merge(network, adapter, n_layers)
    return network


def _merge(network, adapter, n_layers):
    try:
        import peft
    except ImportError as error:
        who = "The 'adapters' parameter of LLMEmbeddingTransformer"
        raise not_installed(who, "peft", "adapt") from error

    depth = getattr(network, "n_layers_loaded", n_layers)
    weights = adapter.load_weights()
    theirs = {
        name: weight
        for name, weight in weights.items()
        if not _is_left_out(name, depth, n_layers)
    }
    if weights and not theirs:
        return network
    outer = _put_in(network, theirs)
    with blamed_on(adapter.name, "be those of an adapter", SENTENCES):
        _check_config(adapter, theirs, [name for name, _ in outer.named_modules()])
    with blamed_on(adapter.name, f"have an {CONFIG} that peft can read"):
        config = _peft_config(adapter)
    _check_known(adapter, config)
    config.inference_mode = True
    config.task_type = None  # the head that a task adds isn't loaded
    # A name proves nothing, and peft would warn of another place of the same model; names
    # and shapes of the weights are compared below.
    config.base_model_name_or_path = None
    with _refused(adapter, network):
        with warnings.catch_warnings():
            # peft asks transformers by names that are going out of use.
            warnings.simplefilter("ignore", FutureWarning)
            # It says that AdaLoRA's pattern is ignored, and follows it; ranks that differ
            # are found by the shapes.
            message = "The following rank_pattern keys did not match"
            warnings.filterwarnings("ignore", message, RuntimeWarning)
            if depth < n_layers:  # and would miss the layers that are cut off
                warnings.simplefilter("ignore", RuntimeWarning)
            wrapped = peft.get_peft_model(outer, config)
        own = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    matched = _matched(theirs, own, adapter)
    with _refused(adapter, network):
        peft.set_peft_model_state_dict(wrapped, matched)
        merged = wrapped.merge_and_unload()
    # What peft leaves behind would make it warn when the next adapter comes.
    merged.__dict__.pop("peft_config", None)
    for name in _path_to_network(network, theirs):
        merged = getattr(merged, name)
    return merged.eval().requires_grad_(False)


@contextmanager
def _refused(adapter, network):
    """Refuse an adapter whose settings or weights peft and torch don't take."""
    try:
        yield
    except BaseException as error:
        if not is_of_files(error):
            raise
        kind = type(network).__name__
        reason = f"it can't be merged into {kind}: {printable(error, 300)}"
        raise ValueError(_refusal(adapter, reason)) from error


def _is_left_out(name, depth, n_layers):
    """Whether a weight is the base's own, or behind the hidden states that are wanted."""
    layer = re.search(r"\.(\d+)\.", name)
    return (
        "lm_head." in name
        or "base_layer." in name
        or bool(layer and depth <= int(layer[1]) < n_layers)
    )


def _path_to_network(network, theirs):
    """Attributes that lead to the network in the model that the adapter was saved from.

    An adapter of the whole language model says ``model.layers`` where the network without
    its head, and LLM2Vec, say ``layers``: then it is ``["model"]``.
    """
    children = dict(network.named_children())
    for name in theirs:
        parts = name.removeprefix(START).split(".")
        for n in range(min(3, len(parts))):
            if parts[n] in children:
                return parts[:n]
    return []


def _put_in(network, theirs):
    """The network where the adapter's names have it.

    Its configuration speaks of these names too: in full, as patterns, or by what stands
    before a layer's number.
    """
    import torch

    model = network
    for name in reversed(_path_to_network(network, theirs)):
        outer = torch.nn.Module()
        outer.config = network.config
        setattr(outer, name, model)
        model = outer
    return model


def _check_config(adapter, weights, names):
    """Refuse settings that change vectors in an unintended way or take forever."""
    said = parse_json(adapter.read_config(), CONFIG)
    _check_ranks(adapter, said, weights)
    if (why := endless_search(said, names)) is not None:
        raise ValueError(
            _refusal(
                adapter, f"its patterns of modules can't be searched for: it {why}"
            )
        )
    if said.get("layer_replication"):
        raise ValueError(
            _refusal(adapter, "it repeats layers of the model ('layer_replication')")
        )
    alphas = said.get("alpha_pattern") or {}
    for value in (said.get("lora_alpha"), *alphas.values()):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(_refusal(adapter, f"its 'lora_alpha' is {value}"))
    # peft imports the module that the second names.
    if said.get("megatron_config") or said.get("megatron_core") not in MEGATRON:
        raise ValueError(
            _refusal(adapter, "it would import other code ('megatron_core')")
        )


def _check_ranks(adapter, said, weights):
    """Refuse ranks that the weights don't have: peft would make room for them first."""
    most = max(
        (size for weight in weights.values() for size in weight.shape), default=0
    )
    patterns = entry(said, "rank_pattern", dict, CONFIG) or {}
    for rank in (said.get("r", 1), said.get("init_r", 1), *patterns.values()):
        # AdaLoRA says of each direction whether it was kept; OFT's 0 is "by the size".
        n = len(rank) if isinstance(rank, list) else rank
        if not is_integer(n, least=0) or n > most:
            got = printable(repr(rank), 40)
            reason = f"its rank 'r' is {got}, and its weights have at most {most} rows"
            raise ValueError(_refusal(adapter, reason))


def _check_known(adapter, config):
    """Refuse settings that this peft would leave out: the vectors would be others."""
    import peft

    known = {one.name for one in fields(config)} | {"peft_version"}
    said = parse_json(adapter.read_config(), CONFIG)
    foreign = sorted(name for name in said if name not in known and said[name])
    if foreign:
        raise ValueError(
            _refusal(
                adapter,
                f"its configuration has {foreign}, which peft {peft.__version__} doesn't "
                "know; a newer peft may",
            )
        )


def _peft_config(adapter):
    """The configuration as peft's object; peft reads it from a folder only."""
    import peft

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, CONFIG).write_bytes(adapter.read_config())
        with warnings.catch_warnings():
            # What it leaves out is refused here.
            warnings.filterwarnings("ignore", "Unexpected keyword", UserWarning)
            return peft.PeftConfig.from_pretrained(folder)


def _matched(theirs, own, adapter):
    """The adapter's weights, once all of them are found to be the network's too."""
    for name, weight in theirs.items():
        if name not in own or own[name].shape != weight.shape:
            got = f"{tuple(own[name].shape)}" if name in own else "no such layer"
            raise ValueError(
                _refusal(
                    adapter,
                    f"its {printable(name, 100)} has the shape "
                    f"{tuple(weight.shape)}, but the model has {got}",
                )
            )
    missing = sorted(set(own) - set(theirs))
    if missing:
        raise ValueError(
            _refusal(adapter, f"it lacks {len(missing)} weights, such as {missing[0]}")
        )
    return theirs


def _refusal(adapter, reason):
    return (
        "The 'adapters' parameter of LLMEmbeddingTransformer must name adapters of the "
        f"model they are merged into. Got {adapter.name!r} instead, but {reason}."
    )
