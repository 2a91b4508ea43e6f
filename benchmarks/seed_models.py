"""The models of the seed's experiment and their hidden states, each text read once."""

from dataclasses import dataclass
from pathlib import Path

import harness
from seed_tasks import MAX_LENGTH

from sklearn_llm2vec import LLMEmbeddingTransformer


@dataclass(frozen=True)
class Model:
    """A model, the poolings that its search looks at, and how fine its tokens are."""

    name: str
    source: str
    n_layers: int
    poolings: tuple
    usual_pooling: str
    tokens: int = 1

    @property
    def cells(self):
        """All (layer, pooling) of the search; layer 0 are the embeddings."""
        return [
            (k, pooling) for k in range(self.n_layers + 1) for pooling in self.poolings
        ]


_FOLDER = harness.DATA.parent / "models"
# "first" of a causal decoder is the same for every text; "last" of MiniLM is its [SEP].
# stories260K has a vocabulary of 512: the same text takes twice as many tokens.
DECODER_POOLINGS = ("mean", "weighted_mean", "last", "max")
LLAMA = Model(
    "news-llama-4m",
    str(_FOLDER / "news-llama-4m"),
    6,
    DECODER_POOLINGS,
    "weighted_mean",
)
STORIES = Model(
    "stories260K", str(_FOLDER / "stories260K"), 5, DECODER_POOLINGS, "weighted_mean", 2
)
MINILM = Model("MiniLM", harness.MINILM, 6, ("mean", "first", "max"), "mean")
MODELS = (LLAMA, STORIES, MINILM)


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
        self.encoder = LLMEmbeddingTransformer(
            model.source,
            max_length=max_length * model.tokens,
            keep=("all", model.poolings),
            cache=cache,
            verbose=False,
        )

    def __call__(self, texts, cell):
        """Vectors of texts, float32 of shape (n_texts, n_features)."""
        layer, pooling = cell
        self.encoder.set_params(layer=layer, pooling=pooling)
        return self.encoder.fit(texts).transform(texts)
