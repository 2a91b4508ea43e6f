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
            f"The file {path} must hold JSON. It is damaged: {error}"
        ) from error
    return content if isinstance(content, dict) else {}


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
