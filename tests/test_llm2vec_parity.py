"""The official llm2vec package's vectors, recorded, against ours."""

import numpy as np
import pytest
from llm2vec_reference import (
    KINDS,
    POOLINGS,
    RECORDED,
    TEXTS,
    make_adapter,
    make_folder,
    variants,
)

from sklearn_llm2vec import LLMEmbeddingTransformer


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("llm2vec")
    made = {kind: make_folder(kind, root / kind) for kind in KINDS}
    adapters = {kind: make_adapter(kind, root / f"{kind}-adapter") for kind in KINDS}
    return made, adapters


@pytest.fixture(scope="module")
def recorded():
    with np.load(RECORDED) as file:
        return dict(file)


@pytest.mark.parametrize(("name", "kind", "pooling", "adapted", "both"), [*variants()])
def test_the_same_vectors(folders, recorded, name, kind, pooling, adapted, both):
    models, adapters = folders
    attention = "bidirectional" if both else "causal"
    ours = LLMEmbeddingTransformer(
        models[kind],
        adapters=adapters[kind] if adapted else None,
        # What an adapter of LLM2Vec says by itself.
        attention="auto" if adapted else attention,
        pooling=POOLINGS[pooling],
        cache=None,
    ).fit_transform(TEXTS)
    want = recorded[name]
    assert np.abs(ours - want).max() <= 1e-5 * max(1, np.abs(want).max())


def test_the_variants_differ(recorded):
    """Else the test above would say little."""
    for kind in KINDS:
        kept = [vectors for name, vectors in recorded.items() if name.startswith(kind)]
        for n, one in enumerate(kept):
            for other in kept[n + 1 :]:
                assert np.abs(one - other).max() > 0.05
