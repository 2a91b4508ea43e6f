"""Static models: a vector for each token, and no layers."""

from parity_family import Family
from parity_folders import normal
from parity_modules import modules, settings
from parity_tokenizers import bert

WIDTH = 16


def families():
    """The families of this file."""
    return [static_embedding(), model2vec(), model2vec("shared", shared)]


def static_embedding():
    """sentence-transformers' StaticEmbedding."""
    tokenizer, n_tokens = made()
    kind = "StaticEmbedding"
    listed = modules(kind)
    listed[0]["path"] = f"0_{kind}"
    return Family(
        "static-embedding",
        "sentence-transformers/static-retrieval-mrl-en-v1",
        {},
        lambda: {"": {}},
        lambda: {
            "modules.json": listed,
            "config_sentence_transformers.json": settings(version="3.3.0.dev0"),
            f"0_{kind}/tokenizer.json": tokenizer["tokenizer.json"],
            f"0_{kind}/model.safetensors": {
                "embedding.weight": normal("static", (n_tokens, WIDTH), 1)
            },
        },
        by={"sentence_transformers": True},
        random=False,
    )


def model2vec(name="", weights=None):
    """model2vec's own: a matrix and a tokenizer."""
    tokenizer, n_tokens = made()
    listed = modules("StaticEmbedding", "Normalize")
    listed[0]["path"] = "."
    return Family(
        f"model2vec-{name}" if name else "model2vec",
        "minishlab/potion-base-8M" if weights is None else "a folder of few vectors",
        {
            "model_type": "model2vec",
            "architectures": ["StaticModel"],
            "tokenizer_name": "baai/bge-base-en-v1.5",
            "apply_pca": WIDTH,
            "apply_zipf": True,
            "hidden_dim": WIDTH,
            "seq_length": 1000000,
            "normalize": True,
        },
        lambda: tokenizer,
        lambda: {"modules.json": listed},
        by={"model2vec": True},
        parameters={"normalize": True},
        random=False,
        weights=lambda _: (weights or one_each)(n_tokens),
    )


def made():
    """Files of a tokenizer, and how many tokens it has."""
    files = bert({}, lowercase=True)
    chosen = {name: files[name] for name in ("tokenizer.json", "")}
    return chosen, len(files["tokenizer.json"]["model"]["vocab"])


def one_each(n_tokens):
    """A vector for each token."""
    return {"embeddings": normal("model2vec", (n_tokens, WIDTH), 1)}


def shared(n_tokens):
    """Few vectors, which tokens share, each with a weight of its own."""
    import numpy as np

    return {
        "embeddings": normal("model2vec", (50, WIDTH), 1),
        "mapping": np.arange(n_tokens) * 7 % 50,
        "weights": np.linspace(0.1, 2, n_tokens),
    }
