"""Settings: what the small files beside a vocabulary say of its tokenizer.

Special tokens may stand in any of four files, which transformers has written in different
ways over the years; here they come together.
"""

import inspect

from sklearn_llm2vec._common.people import printable
from sklearn_llm2vec._model.files import read_json, read_text

NAMED = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
# Default tokens of classes that are younger than the published models.
YOUNG = {
    "CohereTokenizer": ("sep_token", "pad_token", "cls_token", "mask_token"),
    "FNetTokenizer": ("bos_token", "eos_token"),
    "GemmaTokenizer": ("mask_token",),
    "GPTNeoXTokenizer": ("pad_token",),
}
# Types of models whose tokenizer was Llama's where the folder named no class, for which
# transformers 5 has none.
LLAMA_TYPES = (
    "arcee",
    "deepseek_v2",
    "deepseek_v3",
    "diffllama",
    "ernie4_5",
    "jamba",
    "jetmoe",
    "llama",
    "llama4_text",
    "ministral",
    "mistral",
    "mixtral",
    "persimmon",
    "phi3",
    "phimoe",
    "zamba",
    "zamba2",
)


def read_settings(folder):
    """The settings of a folder's tokenizer.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict
        The content of ``tokenizer_config.json`` with that of the other files in it.
        Special tokens are ``str`` or ``AddedToken``. ``added_tokens_decoder`` holds the
        tokens by id that are added to the vocabulary, ``additional_special_tokens`` the
        special ones without a name of their own.
    """
    settings = read_json(folder / "tokenizer_config.json")
    settings |= {name: _as_tokens(settings[name]) for name in NAMED if name in settings}
    settings["additional_special_tokens"] = _unnamed(settings)
    settings.pop("extra_special_tokens", None)
    decoder = settings.get("added_tokens_decoder")
    if decoder is not None:
        decoder = _by_id(decoder, folder / "tokenizer_config.json")
    else:  # the other files count only beside old ones
        _read_special_tokens_map(folder, settings)
        decoder = _read_added_tokens(folder, settings)
    settings["added_tokens_decoder"] = decoder
    known = {str(token): token for token in decoder.values()}
    for name in NAMED:
        if settings.get(name) is not None:
            settings[name] = known.get(str(settings[name]), settings[name])
    if templates := _chat_templates(folder):
        only = list(templates) == ["default"]
        settings["chat_template"] = templates["default"] if only else templates
    return settings


def tokenizer_class(folder, settings):
    """Name of the tokenizer's class, without "Fast", as the folder gives it.

    Without one it is what the installed transformers takes for the type of model.
    """
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    config = read_json(folder / "config.json")
    name = settings.get("tokenizer_class") or config.get("tokenizer_class")
    if name is None and (kind := config.get("model_type")) is not None:
        name = TOKENIZER_MAPPING_NAMES.get(kind)
        name = "LlamaTokenizer" if kind in LLAMA_TYPES else name
    return (name or "PreTrainedTokenizer").removesuffix("Fast")


def installed_class(name):
    """The class of transformers with this name; None where there is none."""
    import transformers

    return getattr(transformers, name, None) or getattr(
        transformers, f"{name}Fast", None
    )


def default_tokens(kind, made):
    """The special tokens that a tokenizer class has where the folder names none.

    Parameters
    ----------
    kind : str
        Name of the class.
    made : class of transformers or None
        The class itself.
    """
    from tokenizers import AddedToken

    found = {}
    for one in getattr(made, "__mro__", ()):
        parameters = inspect.signature(one.__init__).parameters
        found = {
            name: parameters[name].default
            for name in NAMED
            if name in parameters and isinstance(parameters[name].default, str)
        }
        if found:
            break
    for name in YOUNG.get(kind, ()):
        found.pop(name, None)
    if kind == "DebertaV2Tokenizer" and found:
        found["unk_token"] = AddedToken(found["unk_token"], normalized=True)
    elif "mask_token" in found and "strip_accents" not in parameters:
        # But for BERT's, a mask takes the space before it.
        mask = AddedToken(found["mask_token"], lstrip=True, normalized=False)
        found["mask_token"] = mask
    return found


def _as_tokens(value, **flags):
    """A special token, or a list of some, as ``AddedToken`` where flags are given."""
    from tokenizers import AddedToken

    if isinstance(value, list | tuple):
        return [_as_tokens(one, **flags) for one in value]
    if not isinstance(value, dict):
        return value
    value = {name: flag for name, flag in value.items() if name != "__type"}
    return AddedToken(**{**value, **flags})


def _by_id(decoder, path):
    """The tokens of ``added_tokens_decoder``, whose names are numbers."""
    strange = [place for place in decoder if not place.isdecimal()]
    if strange:
        raise ValueError(
            f"The entry 'added_tokens_decoder' in {str(path)!r} must name tokens by "
            f"their ids. Got {printable(repr(strange[0]), 80)} instead: correct or "
            "download the file again."
        )
    return {int(place): _as_tokens(token) for place, token in decoder.items()}


def _unnamed(content, **flags):
    """Special tokens beside the usual ones; a dict has names of the model's own."""
    found = content.get("additional_special_tokens") or content.get(
        "extra_special_tokens"
    )
    found = list(found.values()) if isinstance(found, dict) else found
    return _as_tokens(found or [], **flags)


def _read_special_tokens_map(folder, settings):
    content = read_json(folder / "special_tokens_map.json")
    named = {name: content[name] for name in NAMED if name in content}
    settings |= {name: _as_tokens(value, special=True) for name, value in named.items()}
    before = settings["additional_special_tokens"]
    settings["additional_special_tokens"] = before + [
        token
        for token in _unnamed(content, special=True)
        if str(token) not in map(str, before)
    ]


def _read_added_tokens(folder, settings):
    from tokenizers import AddedToken

    special = [settings.get(name) for name in NAMED]
    special = {str(t) for t in [*special, *settings["additional_special_tokens"]]}
    return {
        place: AddedToken(
            content, normalized=content not in special, special=content in special
        )
        for content, place in read_json(folder / "added_tokens.json").items()
    }


def _chat_templates(folder):
    """Chat templates in files of their own, by name."""
    files = {"default": folder / "chat_template.jinja"}
    for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        files[path.stem] = path
    return {name: read_text(path) for name, path in files.items() if path.is_file()}
