"""What the parity benchmark knows of one family of models."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Family:
    """A folder's content, how its vectors are made elsewhere, and how here.

    Attributes
    ----------
    name : str
        Of the folder.
    like : str
        A published model with this structure.
    config : dict
        config.json.
    tokenizer : callable
        Returns the tokenizer's files: name -> content.
    files : callable or None
        Returns the other files: path in the folder -> content. A dict of arrays is
        written as safetensors.
    by : dict
        How the reference makes vectors: ``{"pooling": "mean"}`` of transformers' last
        hidden states, ``{"sentence_transformers": True, "prompt": ...}``,
        ``{"model2vec": True}``, or {} for what isn't to be encoded anywhere.
    parameters : dict
        Of LLMEmbeddingTransformer, beside the model, for the same vectors.
    refused : str
        What the refusal must say; "" where the vectors are equal.
    newer : bool
        Whether only the last reference knows how such a folder is read.
    remote_code : bool
        Whether the reference runs code of the folder.
    weights : callable or None
        Changes the weights (name -> array) before they are written.
    inner : str
        Folder of the transformer inside the family's; usually "".
    random : bool
        Whether the class that the configuration names has random weights to change.
    """

    name: str
    like: str
    config: dict
    tokenizer: Callable
    files: Callable | None = None
    by: dict = field(default_factory=lambda: {"pooling": "mean"})
    parameters: dict = field(default_factory=dict)
    refused: str = ""
    newer: bool = False
    remote_code: bool = False
    weights: Callable | None = None
    inner: str = ""
    random: bool = True
