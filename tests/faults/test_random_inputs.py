"""10,000 random inputs give right vectors, or an error that says what is expected."""

from collections import Counter

import pytest
from random_inputs import outcomes

from sklearn_llm2vec import LLMEmbeddingTransformer


@pytest.mark.slow
def test_random_inputs(bert, tmp_path):
    transformer = LLMEmbeddingTransformer(bert, cache=tmp_path, verbose=False)
    counts, faults = Counter(), []
    for came, X, said in outcomes(transformer, 10_000):
        counts[came] += 1
        if came == "fault":
            faults.append(f"{type(X).__name__} {X!r:.200}: {said:.300}")
    assert faults == []
    assert counts["right"] == 5_000
    assert counts["refused"] > 1_000
