"""The tokenizer that vocabulary files make, where a folder has no ``tokenizer.json``.

transformers still holds the converters that made the published ``tokenizer.json`` of each
family. Its classes of today don't use them, and lose what a SentencePiece model says.
"""

from types import SimpleNamespace

from sklearn_llm2vec._model.files import parse_json, read_text
from sklearn_llm2vec._model.tokenizer_settings import NAMED

# Classes whose settings were others than the rest's where a folder has none.
LOWERCASE = ("AlbertTokenizer",)
KEEP_ACCENTS = ("FNetTokenizer", "RemBertTokenizer")


def sentencepiece_file(folder, made):
    """The folder's SentencePiece model, or None.

    Parameters
    ----------
    folder : Path
    made : class of transformers or None
        It knows by which name its model goes.
    """
    name = getattr(made, "vocab_files_names", {}).get("vocab_file", "")
    paths = [folder / name, *sorted(folder.glob("*.model"))]
    for path in paths:
        # Others go by the same names: tiktoken's begin with a letter.
        if path.suffix == ".model" and path.is_file():
            with path.open("rb") as content:
                if content.read(1) == b"\n":
                    return path
    return None


def convert(folder, settings, kind, made):
    """The ``tokenizers.Tokenizer`` of a folder's vocabulary files.

    Parameters
    ----------
    folder : Path
    settings : dict
        As `read_settings` returns it, with the special tokens of the class.
    kind : str
        Name of the tokenizer's class.
    made : class of transformers or None
        The class itself.

    Returns
    -------
    tokenizers.Tokenizer or None
        None where there is no converter for these files.

    Raises
    ------
    ImportError
        When a package is missing that reads SentencePiece models.
    """
    from transformers.convert_slow_tokenizer import (
        SLOW_TO_FAST_CONVERTERS,
        SpmConverter,
    )

    converter = SLOW_TO_FAST_CONVERTERS.get(kind)
    if converter is None:
        return None
    defaults = {
        "do_lower_case": kind in LOWERCASE,
        "keep_accents": kind in KEEP_ACCENTS,
        "split_by_punct": False,
        "add_prefix_space": issubclass(converter, SpmConverter),
        "extra_ids": 100,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    given |= {name: str(given[name]) for name in NAMED if name in given}
    settings = {**defaults, **given}
    try:
        if issubclass(converter, SpmConverter):
            path = sentencepiece_file(folder, made)
            return path and _from_sentencepiece(converter, path, settings)
        return _from_words(converter, folder, settings, made)
    except (AttributeError, KeyError, OSError, TypeError):
        return None  # it asks for more than the files say


def no_reader(path):
    """The error for a SentencePiece model that nothing installed can read."""
    return ImportError(
        f"The tokenizer in {path} is a SentencePiece model, which needs two packages "
        "that aren't both installed: pip install sentencepiece protobuf"
    )


def _from_sentencepiece(converter, path, settings):
    slow = SlowTokenizer(**{**settings, "vocab_file": str(path)})
    try:
        made = converter(slow)
    except ImportError as error:
        raise no_reader(path) from error
    made.SpmExtractor = Merges
    slow.pieces = [piece.piece for piece in made.proto.pieces]
    slow.ids = {piece: place for place, (piece, _) in enumerate(made.vocab(made.proto))}
    backend = made.converted()
    extra = [f"<extra_id_{i}>" for i in range(settings["extra_ids"])]  # T5's
    backend.add_special_tokens([token for token in extra if token in slow.ids])
    return backend


def _from_words(converter, folder, settings, made):
    slow = SlowTokenizer(**settings)
    names = getattr(made, "vocab_files_names", {})
    if "merges_file" in names:
        slow.ids = slow.encoder = _words(folder / names["vocab_file"])
        slow.bpe_ranks = _merges(folder / names["merges_file"])
    else:
        lines = read_text(folder / names["vocab_file"]).removesuffix("\n").split("\n")
        slow.ids = slow.vocab = {word: place for place, word in enumerate(lines)}
    return converter(slow).converted()


class SlowTokenizer(SimpleNamespace):
    """What a converter asks of the tokenizer that it converts."""

    ids = {}

    def __getattr__(self, name):
        if name.endswith("_token_id"):
            return self.convert_tokens_to_ids(getattr(self, name.removesuffix("_id")))
        if name == "_extra_ids":
            return self.extra_ids
        raise AttributeError(name)

    def convert_tokens_to_ids(self, token):
        return self.ids.get(str(token))

    def convert_ids_to_tokens(self, place):
        return self.pieces[place]


class Merges:
    """Merges of a SentencePiece vocabulary, by the scores of what they make."""

    def __init__(self, path):
        pass  # what the converter has read is enough

    def extract(self, scored):
        from transformers.convert_slow_tokenizer import generate_merges

        places = {piece: place for place, (piece, _) in enumerate(scored)}
        return places, generate_merges(places, scored)


def _words(path):
    """The ids of a ``vocab.json``."""
    return parse_json(read_text(path), path)


def _merges(path):
    """The pairs of a ``merges.txt``, by rank."""
    lines = [
        line for line in read_text(path).split("\n") if not line.startswith("#version")
    ]
    pairs = [tuple(line.split()) for line in lines]
    return {pair: rank for rank, pair in enumerate(pairs) if len(pair) == 2}
