"""The files of a model's folder: which ones there are, and reading the small ones."""

import json
import os
from pathlib import Path

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

# What decides no vector, whatever it says.
IRRELEVANT_STARTS = (".", "README", "LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
IRRELEVANT_NAMES = {
    "config.json",  # named by a digest of its own
    "generation_config.json",  # how text is written
    "trainer_state.json",
    "all_results.json",
    "train_results.json",
    "eval_results.json",
    # What these say is in the settings of a space: pooling, prompt, what counts.
    "modules.json",
    "config_sentence_transformers.json",
}
IRRELEVANT_SUFFIXES = {
    *(".md", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".mp4"),
    # Weights: those that are loaded have a digest of their own, others aren't read.
    *(
        ".safetensors",
        ".bin",
        ".pt",
        ".pth",
        ".ckpt",
        ".h5",
        ".msgpack",
        ".ot",
        ".onnx",
    ),
    *(".onnx_data", ".tflite", ".mlmodel", ".pb", ".nemo", ".gguf"),
    *(".py", ".pyc", ".log", ".lock", ".part", ".tmp", ".csv", ".tsv", ".parquet"),
}


def read_json(path):
    """The object in a JSON file; {} where there is none.

    Raises
    ------
    ValueError
        For a damaged file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(
            f"The file {path} must contain JSON. It is damaged: {error}"
        ) from error
    return content if isinstance(content, dict) else {}


def weight_files(folder):
    """The safetensors files of a model folder that transformers loads, by its rules.

    Raises
    ------
    ValueError
        For an index that names a file outside of the folder.
    """
    named = read_json(folder / "config.json").get("transformers_weights")
    one = folder / (named if isinstance(named, str) else "model.safetensors")
    if one.suffix != ".json" and one.is_file():
        return [_inside(folder, one)]
    index = one if one.suffix == ".json" else folder / "model.safetensors.index.json"
    if index.is_file():
        weight_map = read_json(_inside(folder, index)).get("weight_map")
        names = set(weight_map.values()) if isinstance(weight_map, dict) else ()
        return [_inside(folder, folder / name) for name in sorted(map(str, names))]
    return sorted(folder.glob("model*.safetensors")) or sorted(
        path
        for path in folder.glob("*.safetensors")
        if not path.name.startswith(("consolidated", "adapter"))
    )


def _inside(folder, path):
    # By its name: the files of a hub snapshot are links to others.
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(folder)):
        raise ValueError(
            f"The weights of the model in {folder} must be files in that folder. Its "
            f"index names {str(path)!r} instead: copy or download the model again."
        )
    return path


def counted_files(folder):
    """The files at the top of a model's folder that may decide a vector.

    Everything counts that isn't known not to: tokenizers come in files of any name. Left
    out are the weights and ``config.json``, which are named by digests of their own, and
    Python code, which counts only where it may run.

    Returns
    -------
    list of Path, in order of their names
    """
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file()
        and path.name not in IRRELEVANT_NAMES
        and path.suffix.lower() not in IRRELEVANT_SUFFIXES
        and not path.name.startswith(IRRELEVANT_STARTS)
        and not path.name.endswith((".bin.index.json", ".msgpack.index.json"))
    )


def state_of_files(folders):
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


def listing(folder):
    """The names of the first files in a folder, for messages."""
    names = sorted(path.name for path in folder.iterdir())
    return (
        ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "an empty folder"
    )
