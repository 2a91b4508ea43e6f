"""Folders of models that aren't text encoders: their hidden states would mislead."""

from sklearn_llm2vec._model.files import read_json

# What sentence-transformers' folders say they are, when they aren't embedding models.
OTHER_TYPES = {
    "CrossEncoder": "a cross-encoder, which scores pairs of texts",
    "SparseEncoder": "a sparse encoder (SPLADE), whose features are words",
}
CROSS_ENCODER = OTHER_TYPES["CrossEncoder"]
# One that is looked up as sentence-transformers and model2vec do it.
STATIC_MODULE = "StaticEmbedding"
# These split texts into words with code of their own.
WORD_MODULES = ("WordEmbeddings", "BoW")
WORDS = "a model of word vectors or word counts"
# Late interaction keeps a vector a token, and compares them all.
LATE = "a late-interaction model (ColBERT), which has a vector for each token"


def is_static(kinds, config):
    """Whether a folder holds a static model: vectors of tokens and no layers.

    Parameters
    ----------
    kinds : list of str
        Whole names of the modules' types, in order; empty without ``modules.json``.
    config : dict
        What ``config.json`` says.
    """
    if kinds:
        return kinds[0].rpartition(".")[2] == STATIC_MODULE
    return config.get("model_type") == "model2vec"


def check_kind(folder, kinds, config, name):
    """Raise when a folder holds a model that doesn't make one vector of a text.

    Parameters
    ----------
    folder : Path
        Holds ``modules.json``, where there is one.
    kinds : list of str
        Whole names of the modules' types, in order; empty without ``modules.json``.
    config : dict
        What ``config.json`` says.
    name : str
        The model's, for messages.

    Raises
    ------
    ValueError
    """
    what = _other_kind(read_json(folder / "config_sentence_transformers.json"), config)
    what = what or _other_modules(kinds)
    if what is not None and what.startswith(WORDS):
        raise ValueError(
            f"The model {str(name)!r} must be a text encoder or decoder, or a static "
            f"model with a tokenizer.json. Got {what}: its words are split by code of "
            "its own. Use the package that it was made with, in "
            "FunctionTransformer(SentenceTransformer(name).encode) for example, or "
            "choose another embedding model."
        )
    if what is not None:
        raise ValueError(
            f"The model {str(name)!r} must be a text encoder or decoder. Got {what}: "
            "its hidden states weren't trained to represent a text as one vector. "
            "Choose an embedding model or a language model. To use the hidden states "
            "all the same, save only the base model with "
            "AutoModel.from_pretrained(folder).save_pretrained(new_folder)."
        )


def _other_kind(settings, config):
    said = settings.get("model_type")
    if said in OTHER_TYPES:
        return OTHER_TYPES[said]
    architectures = [str(one) for one in config.get("architectures") or ()]
    if any("colbert" in one.lower() for one in architectures):
        return LATE
    if settings.get("similarity_fn_name") == "MaxSim":
        return LATE
    classifies = any(one.endswith("SequenceClassification") for one in architectures)
    # One label is a score of a pair; several may be classes of single texts.
    n_labels = len(config.get("id2label") or (0, 1))
    saved_by_cross_encoder = any(
        key in config
        for key in ("sbert_ce_default_activation_function", "sentence_transformers")
    )
    if classifies and (n_labels == 1 or saved_by_cross_encoder):
        return CROSS_ENCODER
    return None


def _other_modules(kinds):
    """In words the first module that takes the place of a model or of its pooling."""
    if not kinds:
        return None
    names = [kind.rpartition(".")[2] for kind in kinds]
    if "MLMTransformer" in names or "SpladePooling" in names:
        return OTHER_TYPES["SparseEncoder"]
    if any("pylate" in kind.lower() or "colbert" in kind.lower() for kind in kinds):
        return LATE
    if names[0] in WORD_MODULES:
        return f"{WORDS} ({names[0]})"
    if names[0] == STATIC_MODULE:
        return None
    if names[0] != "Transformer":
        return f"a module of type {kinds[0]!r} in the place of the transformer"
    if "Pooling" not in names:
        return "modules.json without a module that pools"
    return None
