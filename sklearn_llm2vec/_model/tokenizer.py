"""The tokenizer of a model folder: the ids with which published vectors were made."""

import functools
from importlib.metadata import version
from importlib.util import find_spec

from sklearn_llm2vec._common.checks import warn
from sklearn_llm2vec._common.imports import loading, quiet
from sklearn_llm2vec._model.damage import SENTENCES, blamed_on
from sklearn_llm2vec._model.files import read_json
from sklearn_llm2vec._model.static import static_tokenizer
from sklearn_llm2vec._model.tokenizer_conversion import (
    convert,
    no_reader,
    sentencepiece_file,
)
from sklearn_llm2vec._model.tokenizer_growth import check_growth
from sklearn_llm2vec._model.tokenizer_probe import PROBES
from sklearn_llm2vec._model.tokenizer_rules import (
    GENERIC,
    MISTRAL_PATTERN,
    apply_settings,
    split_pattern,
)
from sklearn_llm2vec._model.tokenizer_settings import (
    default_tokens,
    installed_class,
    read_settings,
    tokenizer_class,
)

# Classes that cut words in Python first.
CUT_BY_CODE = ("CpmTokenizer", "RoFormerTokenizer")
# Flags, and the special token that each puts at one end of a text.
FLAGS = {"add_bos_token": ("bos_token", 0), "add_eos_token": ("eos_token", -1)}
# Settings that aren't for the class that is put around a backend.
INSIDE = (
    *FLAGS,
    "added_tokens_decoder",
    "auto_map",
    "backend",
    "fix_mistral_regex",
    "init_inputs",
    "merges_file",
    "name_or_path",
    "tokenizer_class",
    "tokenizer_file",
    "vocab_file",
)
# Types of models that came with a pattern that Mistral has since corrected.
MISTRAL_TYPES = ("mistral", "mistral3", "ministral", "pixtral", "voxtral")


def load_tokenizer(model):
    """The tokenizer of a model folder.

    Its ids are those of transformers 4, with which published vectors were made, whatever
    version is installed. Where they may be others, a warning says so.

    Parameters
    ----------
    model : ModelFolder

    Returns
    -------
    transformers tokenizer, or StaticTokenizer

    Raises
    ------
    ImportError
        When a package is missing that reads the folder's vocabulary.
    """
    if model.static is not None:
        return static_tokenizer(model)
    what = "contain a tokenizer that the installed transformers can read"
    with loading, quiet():
        with blamed_on(model.folder, what, SENTENCES):
            settings = read_settings(model.folder)
        with blamed_on(model.folder, what):
            return _made_of(model, settings)


def _made_of(model, settings):
    """The tokenizer of a folder with these settings."""
    kind = tokenizer_class(model.folder, settings)
    made = None if kind in GENERIC else installed_class(kind)
    settings = {**default_tokens(kind, made), **settings}
    backend = _published_backend(model.folder, settings, kind, made)
    if backend is None or (model.trust_remote_code and _brings_code(model.folder)):
        tokenizer = _made_by_transformers(model, settings, backend)
        doubt = _difference(tokenizer, backend, settings)
    else:
        tokenizer = _wrapped(backend, settings, made)
        doubt = _doubtful_pattern(tokenizer, model.folder, settings)
    if doubt:
        warn(f"The tokens of model {str(model.name)!r} {doubt}")
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        if model.declared.lowercase:
            _put_into_lowercase(tokenizer.backend_tokenizer)
    return tokenizer


def _published_backend(folder, settings, kind, made):
    """The ``tokenizers.Tokenizer`` that a folder's files hold; None for one in Python."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    in_python = made is not None and not issubclass(made, PreTrainedTokenizerFast)
    if in_python or kind in CUT_BY_CODE:
        return None
    if (folder / "tokenizer.json").is_file():
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        check_growth(backend, folder / "tokenizer.json")
    else:
        backend = convert(folder, settings, kind, made)
    if backend is not None:
        has_pieces = sentencepiece_file(folder, made) is not None
        apply_settings(backend, settings, kind, has_pieces=has_pieces)
        # A tokenizer.json may bring a truncation and a padding of its own (MiniLM's cuts
        # at 128 tokens): lengths are this library's business, but the side isn't.
        if backend.truncation is not None:
            settings.setdefault("truncation_side", backend.truncation["direction"])
        backend.no_truncation()
        backend.no_padding()
    return backend


def _wrapped(backend, settings, made):
    """A tokenizer of transformers around a backend, which stays as it is."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    settings = {name: value for name, value in settings.items() if name not in INSIDE}
    for name in ("padding_side", "truncation_side", "model_input_names"):
        if hasattr(made, name):
            settings.setdefault(name, getattr(made, name))
    # The class copies the backend that it is given, and changes it.
    empty = Tokenizer(models.BPE())
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=empty, **settings)
    tokenizer._tokenizer = backend
    return tokenizer


def _made_by_transformers(model, settings, backend):
    """The tokenizer of transformers' own class, or of code in the folder."""
    from transformers import AutoTokenizer

    # transformers 5 takes these from its caller alone, and would make a backend anew.
    given = {name: settings[name] for name in FLAGS if name in settings}
    if backend is not None:
        given["tokenizer_object"] = backend
    try:
        return AutoTokenizer.from_pretrained(
            model.folder, trust_remote_code=model.trust_remote_code, **given
        )
    except (ImportError, ValueError) as error:
        path = sentencepiece_file(model.folder, None)
        if path is None or find_spec("sentencepiece") is not None:
            raise
        raise no_reader(path) from error


def _brings_code(folder):
    """Whether the folder has a tokenizer class of its own."""
    maps = [
        read_json(folder / name).get("auto_map")
        for name in ("tokenizer_config.json", "config.json")
    ]
    return any(
        bool(found.get("AutoTokenizer") if isinstance(found, dict) else found)
        for found in maps
    )


def _doubtful_pattern(tokenizer, folder, settings):
    """What is to be said of a pattern that its authors have corrected; "" for nothing."""
    config = read_json(folder / "config.json")
    major = str(config.get("transformers_version", "4")).partition(".")[0]
    if (
        config.get("model_type") not in MISTRAL_TYPES
        or int(major) >= 5
        or "fix_mistral_regex" in settings
        or tokenizer.vocab_size <= 100_000
        or split_pattern(tokenizer.backend_tokenizer) in (None, MISTRAL_PATTERN)
    ):
        return ""
    return (
        "are cut by the pattern in its tokenizer.json, which Mistral has corrected "
        "since. A model that was trained with it needs it. For the corrected one write "
        '"fix_mistral_regex": true into tokenizer_config.json; false ends this warning.'
    )


def _difference(tokenizer, backend, settings):
    """How a tokenizer made by code differs from what the files hold; "" for not."""
    installed = f"transformers {version('transformers')}"
    if not tokenizer.is_fast:
        return ""  # the same Python in all versions
    if backend is None:
        return (
            f"were derived from its vocabulary by {installed}, and may differ from "
            "those of published vectors. With a tokenizer.json in the folder, the "
            "tokens would be certain."
        )
    for text in PROBES:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        wanted = backend.encode(text, add_special_tokens=False).ids
        if ids != wanted:
            return (
                f"differ from those of its files: under {installed}, its own code "
                f"turns {text!r} into {ids[:12]} instead of {wanted[:12]}."
            )
    ids = tokenizer("a")["input_ids"]
    for flag, (name, place) in FLAGS.items():
        if settings.get(flag) and ids[place] != getattr(tokenizer, f"{name}_id"):
            return f"lack the {name} that {flag} in tokenizer_config.json asks for."
    return ""


def _put_into_lowercase(backend):
    from tokenizers import normalizers

    others = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *others])


@functools.lru_cache(maxsize=1)
def last_tokenizer(model, digest):
    """The tokenizer that was asked for last, for questions that need no weights.

    Parameters
    ----------
    model : ModelFolder
    digest : str
        Says which content of its files it is.
    """
    return load_tokenizer(model)
