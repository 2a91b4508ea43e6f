"""A model's folder: ``read_model`` finds it and reads what it says, without weights.

transformers is imported only for a configuration that wasn't met before.
"""

import dataclasses
import functools
import math
import os
from dataclasses import dataclass
from pathlib import Path

from sklearn_llm2vec._common.digests import file_digest
from sklearn_llm2vec._common.facts import remember
from sklearn_llm2vec._common.places import default_directory
from sklearn_llm2vec._model.config import (
    facts_of_config,
    has_chat_template,
    max_tokens,
)
from sklearn_llm2vec._model.contents import (
    config_digest,
    digest,
    digest_of_files,
    reading_of_config,
    tokenizer_digest,
)
from sklearn_llm2vec._model.damage import SENTENCES, blamed_on
from sklearn_llm2vec._model.declared import (
    Declared,
    module_folders,
    module_kinds,
    read_declared,
)
from sklearn_llm2vec._model.dense import DENSE_FILES
from sklearn_llm2vec._model.files import (
    check_plain_files,
    read_json,
    state_of_files,
    weight_files,
)
from sklearn_llm2vec._model.gguf_file import SUFFIX, parts_of, read_header
from sklearn_llm2vec._model.gguf_folder import small_files
from sklearn_llm2vec._model.kinds import check_kind, is_static
from sklearn_llm2vec._model.places import check_files, find_model
from sklearn_llm2vec._model.sizes import check_sizes, shapes_of
from sklearn_llm2vec._model.static import Static, read_static


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder and what its small files say.

    Attributes
    ----------
    name : str
        As the user gave it.
    folder : Path
        Of the small files, and of the weights unless these are in GGUF files.
    n_layers : int
        Transformer layers; there is one hidden state more, the embeddings. A static model
        has no other.
    hidden_size : int
        Features of a hidden state.
    causal : bool
        Whether the model was made with causal attention.
    decoder : bool
        Whether its family is one of decoders, made bidirectional or not.
    is_encoder_decoder : bool
        Whether it is the encoder of a sequence-to-sequence model.
    max_tokens : int
        The model's own limit, at most 512 unless the model is static.
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
    gguf : Path or None
        The GGUF file with the weights, if they are in one.
    static : Static or None
        What a static model says; None for a network with layers.
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
    gguf: Path | None = None
    static: Static | None = None

    @property
    def weight_files(self):
        """The safetensors or GGUF files, in order of their names."""
        return weight_files(self.folder) if self.gguf is None else parts_of(self.gguf)

    @property
    def place(self):
        """Where the weights lie, for messages."""
        return self.folder if self.gguf is None else self.gguf

    @property
    def n_bytes(self):
        """Of the weights in memory, at float32 if they are packed in a GGUF file."""
        if self.gguf is None:
            return sum(path.stat().st_size for path in self.weight_files)
        return 4 * sum(map(math.prod, self.shapes))

    @property
    def shapes(self):
        """The shapes of the tensors in the weights."""
        if self.gguf is None:
            return shapes_of(self.weight_files)
        header = read_header(self.gguf, words=False)
        return [tensor.shape for tensor in header.tensors.values()]

    @functools.cached_property
    def weights_digest(self):
        """Digest of the weights' content."""
        return digest_of_files(self.weight_files, self.memo_directory)

    @functools.cached_property
    def config_digest(self):
        """Digest of ``config.json``, of code that runs, and of what both compute."""
        return config_digest(self)

    @functools.cached_property
    def tokenizer_digest(self):
        """Digest of the tokenizer's files, and of any other that may decide a vector."""
        return tokenizer_digest(self)

    @functools.cached_property
    def modules_digest(self):
        """Digest of what is declared around the model: pooling, dense layers, prompt."""
        declared = self.declared
        said = [
            declared.pooling,
            declared.prompt,
            declared.prompts,
            declared.includes_prompt,
            declared.truncate_dim,
            declared.unknown,
        ]
        for folder in declared.behind:
            paths = [] if folder is None else [folder / name for name in DENSE_FILES]
            # Where one is absent, loading the layer says so.
            said.append(
                [file_digest(p, self.memo_directory) for p in paths if p.is_file()]
            )
        return digest(said)


# What was read of a folder, and in which state its files were then.
_read: dict[tuple, tuple] = {}


def read_model(
    model,
    *,
    revision=None,
    trust_remote_code=False,
    token_env=None,
    memo_directory=None,
):
    """Find a model's folder and read what it says; no weights are loaded.

    Parameters
    ----------
    model : str or path-like
        A local folder or a hub id. Looked for, in this order: the local folder, the hub
        cache, the installed pip packages that hold one model each (MiniLM, SmolLM2;
        checksums are verified), the hub. Or a GGUF file: its path, a folder that holds
        one, or ``"owner/name/file.gguf"`` for one on the hub.
    revision : str or None
        Branch, tag or commit on the hub.
    trust_remote_code : bool
        Whether code that the model's folder brings may run.
    token_env : str or None
        Name of the environment variable with a token of the hub.
    memo_directory : path-like or None
        Where facts that cost seconds are remembered; None is the default cache's place.

    Returns
    -------
    ModelFolder

    Raises
    ------
    ModelNotFoundError
        When no place holds the model, or its folder lacks a file that is needed.
    ValueError
        When a file is damaged or of a kind that isn't known, or a folder holds several
        models in GGUF files.
    """
    memo = Path(memo_directory) if memo_directory is not None else default_directory()
    place = find_model(model, revision, memo, token_env)
    # Asked for in every transform, so a folder whose files are as they were isn't read.
    key = os.path.abspath(place), place, str(model), memo, trust_remote_code
    folders, state, described = _read.get(key, ((), None, None))
    if described is None or state_of_files(folders) != state:
        with blamed_on(place, "be those of a model", SENTENCES):
            folders, state, described = _read_folder(
                place, str(model), memo, trust_remote_code
            )
        _read[key] = folders, state, described
    return described


def _read_folder(place, name, memo, trust_remote_code):
    """The folders that were read, the state that they were in, and what they say."""
    gguf = place if place.suffix.lower() == SUFFIX else None
    folder = place if gguf is None else small_files(gguf, memo)
    inner = folder / read_declared(folder).transformer
    # An index may name weights in other folders.
    of_weights = [place.parent] if gguf else [p.parent for p in weight_files(inner)]
    folders = list(dict.fromkeys([*module_folders(folder), *of_weights]))
    state = state_of_files(folders)  # before: a later change is seen the next time
    declared = read_declared(folder)
    inner = folder / declared.transformer
    if gguf is None:
        check_plain_files([*folders, inner / "additional_chat_templates"])
        config = read_json(inner / "config.json")
        # First: a model of another kind may lack files that are asked for.
        kinds = module_kinds(folder)
        check_kind(folder, kinds, config, name)
        if is_static(kinds, config):
            return folders, state, _describe_static(inner, name, declared, memo)
        check_files(inner, name)
        check_sizes(config, inner / "config.json", shapes_of(weight_files(inner)))
    described = _describe_folder(inner, name, declared, memo, trust_remote_code, gguf)
    return folders, state, described


def _describe_static(folder, name, declared, memo_directory):
    """What the small files of a static model's folder say."""
    static = read_static(folder, name)
    behind = declared.behind
    if static.unit_length is not None:
        behind = (None,) if static.unit_length else ()
    return ModelFolder(
        name=name,
        folder=folder,
        n_layers=0,
        hidden_size=static.hidden_size,
        causal=False,
        decoder=False,
        is_encoder_decoder=False,
        max_tokens=static.max_tokens,
        max_positions=None,
        declared=dataclasses.replace(
            declared, pooling="mean", behind=behind, lowercase=False
        ),
        chats=False,
        tied=False,
        memo_directory=memo_directory,
        static=static,
    )


def _describe_folder(folder, name, declared, memo_directory, trust_remote_code, gguf):
    """What the small files of a model folder say."""
    facts = remember(
        f"config:7:{reading_of_config(folder, trust_remote_code, memo_directory)}",
        lambda: facts_of_config(folder, trust_remote_code),
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
        max_tokens=max_tokens(folder, facts["max_positions"]),
        max_positions=facts["max_positions"],
        declared=declared,
        chats=has_chat_template(folder),
        tied=facts["tied"],
        memo_directory=memo_directory,
        trust_remote_code=trust_remote_code,
        gguf=gguf,
    )
