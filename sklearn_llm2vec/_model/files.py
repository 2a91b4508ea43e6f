"""The files of a model's folder: which ones there are, and reading the small ones."""

import json
import os
import stat
from pathlib import Path

from sklearn_llm2vec._common.people import printable

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

NAMES_OF_WEIGHTS = (".safetensors", ".safetensors.index.json")

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


# Of a file that is read whole; the largest vocabularies have about 40 MB.
MOST_BYTES = 256 * 2**20
MOST_DIGITS = 40
ABSENT = FileNotFoundError, NotADirectoryError
# Ends of the names of files that some reader takes into memory.
READ_WHOLE = (
    *TOKENIZER_FILES,
    *(
        "config.json",
        ".index.json",
        "modules.json",
        "tekken.json",
        "sklearn_llm2vec.json",
    ),
    *(".jinja", ".model", ".spm", ".tiktoken"),
)
# Of any other file that counts: it is only hashed, at about a gigabyte a second.
MOST_HASHED = 2**33


def read_bytes(path):
    """The content of a small file.

    Raises
    ------
    FileNotFoundError
    OSError
        When it is no plain file, which could block forever or never end.
    ValueError
        When it is too large to be one.
    """
    try:
        state = os.stat(path)  # of what a link leads to
        check_plain(path, state.st_mode)
        check_size(path, state.st_size)
        return Path(path).read_bytes()
    except OSError as error:
        if error.errno is None or isinstance(error, ABSENT):
            raise
        failure = type(error)(
            f"The file {str(path)!r} must be readable. It isn't: {error.strerror}."
        )
        failure.errno = error.errno  # says whether the file or the machine is to blame
        raise failure from error


def check_plain(path, mode):
    """Raise if the mode of a file is that of a pipe, a device or a folder."""
    if not stat.S_ISREG(mode):
        raise OSError(
            f"The file {str(path)!r} must be a plain file. Got a folder, pipe, device or "
            "socket instead: copy or download it again."
        )


def check_size(path, n_bytes, most=MOST_BYTES):
    """Raise for a file that is too large to be read whole, or to be hashed."""
    if n_bytes > most:
        raise ValueError(
            f"The file {str(path)!r} must have at most {most:,} bytes. Got "
            f"{n_bytes:,} instead: copy or download it again."
        )


def read_text(path):
    """The text of a small file; raises as `read_bytes` does."""
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"The file {str(path)!r} must contain text in UTF-8. It is damaged: {error}"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path, kind=dict):
    """The content of a JSON file, an object; an empty one where there is no file.

    Parameters
    ----------
    path : Path
    kind : {dict, list}, default=dict
        What the content must be.

    Raises
    ------
    OSError
        When it is no plain file.
    ValueError
        When it is damaged, or holds something else.
    """
    try:
        text = read_text(path)
    except ABSENT:
        return kind()
    return parse_json(text, path, kind)


def parse_json(text, path, kind=dict):
    """The content of what was read from a JSON file; raises as `read_json` does."""
    try:
        content = json.loads(text, parse_int=_read_int)
    except RecursionError:
        said = "It is nested too deeply"
    except ValueError as error:
        said = f"It is damaged: {error}"
    else:
        if isinstance(content, kind):
            return content
        said = f"Got a {type(content).__name__} instead"
    what = "object" if kind is dict else "list"
    raise ValueError(
        f"The file {str(path)!r} must contain a JSON {what}. {said}."
    ) from None


def _read_int(digits):
    # Some files write 10**30 for "no limit"; longer numbers are never meant.
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def entry(content, name, kind, path):
    """An entry of a JSON object; None where it is absent.

    Parameters
    ----------
    content : dict
    name : str
    kind : type or tuple of types
        What it must be; a bool is no int.
    path : Path
        The file, for the message.

    Raises
    ------
    ValueError
        When it is of another kind.
    """
    value = content.get(name)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    right = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if value is None or right:
        return value
    allowed = " or ".join(one.__name__ for one in kinds)
    raise ValueError(
        f"The entry {name!r} in {str(path)!r} must be of type {allowed}. Got "
        f"{printable(repr(value), 80)} instead: correct or download the file again."
    )


def inner_folder(folder, name, path):
    """A folder inside another one, by the name that a file gives.

    Raises
    ------
    ValueError
        When the name leads out of the folder.
    """
    inner = os.path.normpath(folder / name)
    if name.isprintable() and Path(inner).is_relative_to(os.path.normpath(folder)):
        return folder / name
    raise ValueError(
        f"The folders that {str(path)!r} names must be in the same folder. Got "
        f"{printable(repr(name), 80)} instead: copy or download the model again."
    )


def weight_files(folder):
    """The safetensors files of a model folder that transformers loads, by its rules.

    Raises
    ------
    ValueError
        For an index that names a file outside of the folder.
    """
    named = read_json(folder / "config.json").get("transformers_weights")
    one = named if isinstance(named, str) else "model.safetensors"
    if Path(one).suffix != ".json" and (folder / one).is_file():
        return [_inside(folder, one)]
    index = one if Path(one).suffix == ".json" else "model.safetensors.index.json"
    if (folder / index).is_file():
        weight_map = read_json(_inside(folder, index)).get("weight_map")
        said = weight_map.values() if isinstance(weight_map, dict) else ()
        return [_inside(folder, name) for name in sorted(set(map(str, said)))]
    return sorted(folder.glob("model*.safetensors")) or sorted(
        path
        for path in folder.glob("*.safetensors")
        if not path.name.startswith(("consolidated", "adapter"))
    )


def _inside(folder, name):
    """The path of a file by the name that a file of the folder gives."""
    # By its name: the files of a hub snapshot are links to others.
    if not name.endswith(NAMES_OF_WEIGHTS) or not name.isprintable():
        raise ValueError(
            f"The weights of the model in {folder} must be safetensors files. Its index "
            f"or config.json names {printable(name[-200:])!r} instead: copy or "
            "download the model again."
        )
    path = folder / name
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(folder)):
        raise ValueError(
            f"The weights of the model in {folder} must be files in that folder. Its "
            f"index names {name!r} instead: copy or download the model again."
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
        path for path in folder.iterdir() if path.is_file() and _counts(path.name)
    )


def _counts(name):
    return (
        name not in IRRELEVANT_NAMES
        and Path(name).suffix.lower() not in IRRELEVANT_SUFFIXES
        and not name.startswith(IRRELEVANT_STARTS)
        and not name.endswith((".bin.index.json", ".msgpack.index.json"))
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


def check_plain_files(folders):
    """Raise for pipes, devices and files of absurd sizes in the folders of a model.

    transformers or tokenizers, which read them later, would wait or read forever.

    Parameters
    ----------
    folders : sequence of Path

    Raises
    ------
    OSError, ValueError
    """
    for folder in folders:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue  # whoever needs it says that it is absent
        for entry in entries:
            try:
                state = entry.stat()
            except OSError:
                continue  # a link to nothing counts as absent
            if not stat.S_ISDIR(state.st_mode):
                check_plain(entry.path, state.st_mode)
            if entry.name.endswith(READ_WHOLE):
                check_size(entry.path, state.st_size)
            elif _counts(entry.name):
                check_size(entry.path, state.st_size, MOST_HASHED)


def listing(folder):
    """The names of the first files in a folder, for messages."""
    names = sorted(printable(path.name, 60) for path in folder.iterdir())
    return (
        ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "an empty folder"
    )
