"""BM25 against the formula, and as what evaluate_retrieval takes."""

import math

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_llm2vec.evaluation import BM25, evaluate_retrieval

DOCUMENTS = [
    "cats sleep and cats purr",
    "dogs sleep",
    "birds sing a very long song",
    "",
]


def formula(query, documents, k1, b):
    """Lucene's BM25 over whole words, written out."""
    words = [text.split() for text in documents]
    mean = sum(map(len, words)) / len(words)
    scores = []
    for document in words:
        score = 0.0
        for word in query.split():
            n = sum(word in other for other in words)
            f = document.count(word)
            idf = math.log(1 + (len(words) - n + 0.5) / (n + 0.5))
            score += idf * f / (f + k1 * (1 - b + b * len(document) / mean))
        scores.append(score)
    return np.array(scores)


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4)])
def test_scores_are_those_of_the_formula(k1, b):
    documents = [text.replace(" a ", " ") for text in DOCUMENTS]  # one letter, no word
    ranker = BM25(k1=k1, b=b, stopwords=None, stemmer=None).fit(documents)
    queries = ["sleep cats", "song", "sleep sleep dogs"]
    got = ranker.score_documents(queries)
    assert got.dtype == np.float32
    for row, query in zip(got, queries, strict=True):
        wanted = formula(query, documents, k1, b)
        assert np.isneginf(row).tolist() == (wanted == 0).tolist()
        np.testing.assert_allclose(row[wanted > 0], wanted[wanted > 0], rtol=1e-5)


def test_words_are_stemmed_and_stop_words_left_out():
    ranker = BM25().fit(DOCUMENTS)
    scores = ranker.score_documents(
        ["the sleeping cat", "and the", "unheard", "", None]
    )
    assert np.isfinite(scores[0]).tolist() == [True, True, False, False]
    assert scores[0, 0] > scores[0, 1]
    assert np.isneginf(scores[1:]).all()
    plain = BM25(stemmer=None).fit(DOCUMENTS)
    assert np.isneginf(plain.score_documents(["sleeping cat"])).all()
    assert np.isfinite(plain.score_documents(["sleep"])).any()


def test_documents_without_words_are_found_by_nothing():
    ranker = BM25().fit(["", None, "the"])
    assert np.isneginf(ranker.score_documents(["the cat"])).all()
    scores = evaluate_retrieval(BM25(), {"q": "cat"}, {1: "", 2: None}, {"q": {1: 1}})
    assert (scores["value"] == 0).all()


def test_bm25_goes_where_a_transformer_goes():
    documents = dict(enumerate(DOCUMENTS))
    queries = {"q1": "a cat that sleeps", "q2": "a long song"}
    relevance = {"q1": {0: 2, 1: 1, 3: 1}, "q2": {2: 1}}
    ranker = BM25()
    scores = evaluate_retrieval(ranker, queries, documents, relevance, average=None)
    table = scores.pivot(index="query_id", columns="metric", values="value")
    # The empty document isn't found, also where nothing else is left.
    assert table.loc["q1", "recall_at_100"] == pytest.approx(2 / 3)
    assert table.loc["q1", "map"] == pytest.approx(2 / 3)
    assert table.loc["q2"].tolist() == [1.0] * 4
    assert not hasattr(ranker, "n_documents_")
    assert clone(BM25(k1=2)).get_params()["k1"] == 2


def test_blocks_of_queries_give_the_same():
    rng = np.random.default_rng(0)
    words = "card bank money cat dog table chair".split()
    documents = {n: " ".join(rng.choice(words, 6)) for n in range(40)}
    queries = {n: " ".join(rng.choice(words, 2)) for n in range(600)}
    relevance = {n: {int(rng.integers(40)): 1} for n in queries}
    each = evaluate_retrieval(BM25(), queries, documents, relevance, average=None)
    each = each.pivot(index="query_id", columns="metric", values="value")
    for query in (0, 255, 256, 599):
        alone = evaluate_retrieval(
            BM25(), {query: queries[query]}, documents, {query: relevance[query]}
        )
        assert alone.set_index("metric")["value"].to_dict() == each.loc[query].to_dict()


def test_errors():
    with pytest.raises(NotFittedError):
        BM25().score_documents(["a"])
    with pytest.raises(ValueError, match="Iterable over raw text documents"):
        BM25().fit("a text")
    for texts in ({"id": "a text"}, {"a text"}):
        with pytest.raises(TypeError, match="BM25 expects a list, array, Series or"):
            BM25().fit(texts)
    with pytest.raises(TypeError, match="BM25 expects texts. Got 3 in row 1"):
        BM25().fit(["a", 3])
    with pytest.raises(
        ValueError, match="'stemmer' parameter of BM25 .* Got 'klingon'"
    ):
        BM25(stemmer="klingon").fit(["a text"])


@pytest.mark.parametrize("missing", ["bm25s", "Stemmer"])
def test_without_the_extra_its_line_is_named(monkeypatch, missing):
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install .*\[evaluation\]"):
        BM25().fit(["a text"])
