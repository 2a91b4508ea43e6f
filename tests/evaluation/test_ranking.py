"""Measures against hand-made examples and other code; search against sorting."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score, ndcg_score

from sklearn_llm2vec.evaluation._ranking import (
    average_precision,
    ndcg,
    recall,
    search_scores,
    search_vectors,
    top_rows,
)


def search(*args, **kwargs):
    return np.concatenate([ranked for _, ranked in search_vectors(*args, **kwargs)])


def test_a_hand_made_ranking():
    # Ranks 1 to 5; a document of relevance 1 wasn't found.
    gains, judged = np.array([3.0, 0, 1, 0, 2]), np.array([1.0, 3, 2, 1])
    found = 3 + 1 / 2 + 2 / math.log2(6)
    best = 3 + 2 / math.log2(3) + 1 / 2 + 1 / math.log2(5)
    assert ndcg(gains, judged, 10) == pytest.approx(found / best, rel=1e-12)
    at_3 = (3 + 1 / 2) / (3 + 2 / math.log2(3) + 1 / 2)
    assert ndcg(gains, judged, 3) == pytest.approx(at_3, rel=1e-12)
    precisions = 1 / 1 + 2 / 3 + 3 / 5
    assert average_precision(gains, judged) == pytest.approx(precisions / 4, rel=1e-12)
    assert recall(gains, judged, 3) == 2 / 4
    assert recall(gains, judged, 100) == 3 / 4


def test_nothing_found_is_zero():
    gains, judged = np.zeros(4), np.array([1.0])
    assert ndcg(gains, judged, 10) == 0
    assert average_precision(gains, judged) == 0
    assert recall(gains, judged, 10) == 0


def test_a_negative_relevance_costs_nothing():
    with_spam = ndcg(np.array([-2.0, 1, 0]), np.array([1.0]), 10)
    assert with_spam == ndcg(np.array([0.0, 1, 0]), np.array([1.0]), 10)


@pytest.fixture
def judged_scores():
    """Distinct scores of 30 queries and 80 documents; relevances from 0 to 3."""
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.arange(30 * 80)).reshape(30, 80) / 100
    relevance = rng.choice([0, 0, 0, 0, 1, 2, 3], size=(30, 80))
    return scores, relevance


def test_measures_are_those_of_scikit_learn(judged_scores):
    for scores, relevance in zip(*judged_scores, strict=True):
        gains, judged = relevance[np.argsort(-scores)], relevance[relevance > 0]
        for k in (1, 10, 80):
            wanted = ndcg_score(relevance[None], scores[None], k=k)
            assert ndcg(gains, judged, k) == pytest.approx(wanted, rel=1e-12)
        wanted = average_precision_score(relevance > 0, scores)
        assert average_precision(gains, judged) == pytest.approx(wanted, rel=1e-12)


def test_measures_are_those_of_trec_eval(judged_scores):
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="it comes with mteb")
    scores, relevance = judged_scores
    names = [f"d{n:02}" for n in range(80)]
    qrels, run = {}, {}
    for n, (row, judged) in enumerate(zip(scores, relevance, strict=True)):
        qrels[f"q{n}"] = dict(zip(names, map(int, judged), strict=True))
        run[f"q{n}"] = dict(zip(names, map(float, row), strict=True))
    wanted = pytrec_eval.RelevanceEvaluator(
        qrels, {"map", "ndcg_cut.10", "recall.10,100"}
    ).evaluate(run)
    ranked = np.concatenate(
        [r for _, r in search_scores(scores.__getitem__, 30, 80, 80)]
    )
    for n, row in enumerate(ranked):
        gains, judged = relevance[n][row], relevance[n][relevance[n] > 0]
        got = {
            "map": average_precision(gains, judged),
            "ndcg_cut_10": ndcg(gains, judged, 10),
            "recall_10": recall(gains, judged, 10),
            "recall_100": recall(gains, judged, 100),
        }
        assert got == pytest.approx(wanted[f"q{n}"], rel=1e-9)


@pytest.mark.parametrize("depth", [1, 4, 7, 8, 20])
def test_the_top_is_that_of_a_stable_sort(depth):
    rng = np.random.default_rng(depth)
    scores = rng.integers(0, 4, size=(50, 8)).astype(np.float32)  # many are equal
    scores[scores == 3] = -np.inf
    wanted = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    assert top_rows(scores, depth).tolist() == wanted.tolist()


@pytest.mark.parametrize("block_scores", [1, 600, 5000, 1 << 24])
@pytest.mark.parametrize("kind", [np.asarray, csr_matrix])
def test_blocks_dont_change_the_ranking(block_scores, kind):
    rng = np.random.default_rng(0)
    # Whole numbers: sums are exact, and many scores are equal.
    queries = rng.integers(-2, 3, size=(300, 4)).astype(np.float32)
    documents = rng.integers(-2, 3, size=(90, 4)).astype(np.float32)
    wanted = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :20]
    got = search(kind(queries), kind(documents), 20, block_scores=block_scores)
    assert got.tolist() == wanted.tolist()


def test_what_isnt_found_isnt_ranked():
    scores = np.array([[0.0, -np.inf, 5.0], [-np.inf] * 3, [-1.0, 1.0, 1.0]])
    blocks = search_scores(scores.__getitem__, 3, 3, 3, block_scores=4)
    got = [(start, ranked.tolist()) for start, ranked in blocks]
    assert got == [(0, [[2, 0, -1]]), (1, [[-1, -1, -1]]), (2, [[1, 2, 0]])]


def test_memory_is_that_of_a_block():
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((256, 8), np.float32)
    documents = rng.standard_normal((40_000, 8), np.float32)  # 41 MB of scores
    tracemalloc.start()
    for _ in search_vectors(queries, documents, 10, block_scores=1 << 19):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
