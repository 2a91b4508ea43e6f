"""What a sentence-transformers folder declares to come around its model.

Its ``modules.json`` names a pooling, dense layers and a prompt; with ``pooling="auto"``
and the last layer they are followed. Neither torch nor sentence-transformers is imported.
"""

from dataclasses import dataclass

from sklearn_llm2vec._common.people import printable
from sklearn_llm2vec._model.files import entry, inner_folder, read_json
from sklearn_llm2vec._model.kinds import STATIC_MODULE

# Poolings of sentence-transformers by their names of today, and by their old flags.
POOLING_NAMES = {
    "mean": "mean",
    "cls": "first",
    "max": "max",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
POOLING_FLAGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# What follows the pooling; dropout does nothing outside training.
BEHIND = {"Dense", "Normalize", "Dropout"}
KNOWN = {"Transformer", "Pooling", *BEHIND}
# No model has more than ten.
MOST_MODULES = 100


@dataclass(frozen=True)
class Declared:
    """What a folder says.

    Attributes
    ----------
    transformer : str
        Folder of the transformer or static model itself, inside the model's; usually "".
    pooling : str or None
        In our names.
    behind : tuple of (Path or None)
        What follows the pooling, in order: the folder of a dense layer, or None for
        unit length.
    truncate_dim : int or None
        How many features are kept of what then comes out.
    prompt : str or None
        What stands before each text by default.
    includes_prompt : bool
        Whether the prompt's tokens count in the pooling.
    prompts : tuple of (str, str)
        All prompts by name, empty ones too.
    lowercase : bool
        Whether texts are to be in lower case, whatever the tokenizer does.
    unknown : str or None
        What can't be followed, in words.
    """

    transformer: str = ""
    pooling: str | None = None
    behind: tuple = ()
    truncate_dim: int | None = None
    prompt: str | None = None
    includes_prompt: bool = True
    prompts: tuple = ()
    lowercase: bool = False
    unknown: str | None = None


def read_declared(folder):
    """Read what a model's folder declares; without ``modules.json`` only its pooling.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Declared
    """
    modules = _read_modules(folder / "modules.json")
    kinds = [(kind.rpartition(".")[2], path) for kind, path in modules]
    by_kind = dict(reversed(kinds))
    pooling_file = folder / by_kind.get("Pooling", "1_Pooling") / "config.json"
    pooling, unknown = _read_pooling(pooling_file)
    unknown = _unknown_module([kind for kind, _ in kinds]) or unknown
    transformer = _encoder_of(by_kind)
    settings_file = folder / "config_sentence_transformers.json"
    texts = read_json(settings_file)
    settings = transformer_settings(folder / transformer)
    prompts = _read_prompts(texts, settings_file)
    default = entry(texts, "default_prompt_name", str, settings_file)
    truncate_dim = entry(texts, "truncate_dim", int, settings_file)
    if truncate_dim is not None and truncate_dim < 1:
        raise ValueError(
            f"The entry 'truncate_dim' in {str(settings_file)!r} must be at least 1. Got "
            f"{truncate_dim} instead: correct or download the file again."
        )
    return Declared(
        transformer=transformer,
        pooling=pooling,
        behind=tuple(
            folder / path if kind == "Dense" else None
            for kind, path in kinds
            if kind in ("Dense", "Normalize")
        ),
        truncate_dim=truncate_dim,
        prompt=prompts.get(default) or None,
        includes_prompt=read_json(pooling_file).get("include_prompt") is not False,
        prompts=tuple(prompts.items()),
        lowercase=settings.get("do_lower_case") is True,
        unknown=unknown,
    )


def _read_prompts(settings, path):
    """Prompts by name; empty ones are those that are null in the file."""
    prompts = entry(settings, "prompts", dict, path) or {}
    return {name: entry(prompts, name, str, path) or "" for name in prompts}


def transformer_settings(folder):
    """What sentence-transformers saved about a transformer: length, letter case.

    Before its version 2.0 the file was named by the architecture.
    """
    names = (
        "bert",
        "roberta",
        "distilbert",
        "camembert",
        "albert",
        "xlm-roberta",
        "xlnet",
    )
    for name in names:
        if settings := read_json(folder / f"sentence_{name}_config.json"):
            return settings
    return {}


def encoder_folder(folder):
    """The folder of the transformer or static model itself, inside the model's."""
    modules = _read_modules(folder / "modules.json")
    return folder / _encoder_of(
        {kind.rpartition(".")[2]: path for kind, path in reversed(modules)}
    )


def _encoder_of(by_kind):
    return by_kind.get("Transformer", by_kind.get(STATIC_MODULE, ""))


def module_kinds(folder):
    """Whole names of the types in ``modules.json``, in order."""
    return [kind for kind, _ in _read_modules(folder / "modules.json")]


def module_folders(folder):
    """The folders whose files `read_declared` and its callers read.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path
    """
    named = [path for _, path in _read_modules(folder / "modules.json")]
    return [folder / path for path in dict.fromkeys(["", "1_Pooling", *named])]


def _read_modules(path):
    modules = read_json(path, list)
    if len(modules) > MOST_MODULES or not all(isinstance(m, dict) for m in modules):
        raise ValueError(
            f"The file {str(path)!r} must contain a list of at most {MOST_MODULES} "
            "objects. Got something else instead: copy or download the model again."
        )
    found = []
    for module in modules:
        kind = entry(module, "type", str, path)
        if kind is None:
            raise ValueError(
                f"Each module in {str(path)!r} must have a 'type'. Got one without it: "
                "copy or download the model again."
            )
        name = entry(module, "path", str, path) or ""
        inner_folder(path.parent, name, path)
        found.append((kind, name))
    return found


def _unknown_module(kinds):
    """In words the first module that can't be followed, or None."""
    known = KNOWN
    if kinds[:1] == [STATIC_MODULE]:  # its vectors are those of whole texts
        kinds, known = kinds[1:], BEHIND
    for kind in kinds:
        if kind not in known:
            return f"a module of type {kind!r}"
    pooled = kinds.index("Pooling") if "Pooling" in kinds else 0
    if "Dense" in kinds[:pooled]:
        return "a module of type 'Dense' before the pooling"
    return None


def _read_pooling(path):
    """The pooling's name among ours, and in words what can't be followed."""
    config = read_json(path)
    modes = entry(config, "pooling_mode", (str, list), path)
    if modes is None:
        modes = [
            mode for flag, mode in POOLING_FLAGS.items() if config.get(flag) is True
        ]
    elif isinstance(modes, str):
        modes = [modes]
    modes = [printable(mode, 40) for mode in modes]
    if len(modes) == 1 and modes[0] in POOLING_NAMES:
        return POOLING_NAMES[modes[0]], None
    return None, f"the pooling {' + '.join(modes)!r}" if modes else None
