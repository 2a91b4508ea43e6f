"""Folders of models that aren't text encoders: their hidden states would mislead."""

from sklearn_llm2vec._model.files import read_json

# What sentence-transformers' folders say they are, when they aren't embedding models.
OTHER_TYPES = {
    "CrossEncoder": "a cross-encoder, which scores pairs of texts",
    "SparseEncoder": "a sparse encoder (SPLADE), whose features are words",
}
CROSS_ENCODER = OTHER_TYPES["CrossEncoder"]
# Of these there are no layers and no hidden states.
STATIC_MODULES = ("StaticEmbedding", "WordEmbeddings", "BoW")
STATIC = "a static model, whose tokens have the same vectors in any text"
# Late interaction keeps a vector a token, and compares them all.
LATE = "a late-interaction model (ColBERT), which has a vector for each token"


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
    if what is not None and what.startswith(STATIC):
        raise ValueError(
            f"The model {str(name)!r} must be a text encoder or decoder. Got {what}: it "
            "has no layers that could be run. Use the package that it was made with, in "
            "FunctionTransformer(SentenceTransformer(name).encode) for example, or "
            "choose an embedding model with a transformer."
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
    if config.get("model_type") == "model2vec":
        return f"{STATIC} (model2vec)"
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
    if names[0] in STATIC_MODULES:
        return f"{STATIC} ({names[0]})"
    if names[0] != "Transformer":
        return f"a module of type {kinds[0]!r} in the place of the transformer"
    if "Pooling" not in names:
        return "modules.json without a module that pools"
    return None
