"""``BM25``: the baseline that counts words, through bm25s.

``evaluate_retrieval`` takes it in place of a transformer. bm25s and PyStemmer are
imported when it is fitted.
"""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._common.extras import not_installed
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._text.values import is_missing
from sklearn_llm2vec.evaluation._features import as_list


@public_in("sklearn_llm2vec.evaluation")
class BM25(BaseEstimator):
    """Rank documents by the words that they share with a query (Okapi BM25).

    A word is a sequence of two or more letters or digits. Words are converted to
    lowercase and stemmed, and stop words are left out.

    Parameters
    ----------
    k1 : float, default=1.5
        Weight of repetitions of a word.
    b : float, default=0.75
        How much to scale down the counts of long documents, from 0 to 1.
    method : {"lucene", "robertson", "atire", "bm25l", "bm25+"}, default="lucene"
        Variant of the formula, as named by bm25s.
    stopwords : str, list of str or None, default="english"
        A language for which bm25s has a list, a list of words, or None for no stop words.
    stemmer : str or None, default="english"
        Language of PyStemmer's algorithm, or None for no stemming.

    Attributes
    ----------
    n_documents_ : int
        Number of documents seen in `fit`.

    See Also
    --------
    sklearn_llm2vec.evaluation.evaluate_retrieval : Evaluates rankers and transformers.

    Notes
    -----
    bm25s (arXiv 2407.03618) computes the scores of all words in all documents in `fit`.
    The variants are those of Kamphuis et al., ECIR 2020.

    Examples
    --------
    >>> from sklearn_llm2vec.evaluation import BM25
    >>> ranker = BM25().fit(["Cats sleep.", "A dog sleeps in the sun.", "It rains."])
    >>> ranker.score_documents(["sleeping dogs"]).round(2)
    array([[0.19, 0.47, -inf]], dtype=float32)
    """

    def __init__(
        self,
        *,
        k1=1.5,
        b=0.75,
        method="lucene",
        stopwords="english",
        stemmer="english",
    ):
        self.k1 = k1
        self.b = b
        self.method = method
        self.stopwords = stopwords
        self.stemmer = stemmer

    def fit(self, X, y=None):
        """Index the documents.

        Parameters
        ----------
        X : list, array or Series of str, of shape (n_documents,)
            The documents. A missing document has no words.
        y : ignored

        Returns
        -------
        self : BM25

        Raises
        ------
        TypeError, ValueError
            For input without texts, and for parameters that bm25s or PyStemmer refuse.
        ImportError
            Without bm25s, or with a stemmer and without PyStemmer.
        """
        bm25s = _import_bm25s()
        documents = self._words(X)
        self.n_documents_ = len(documents)
        self._index = None
        if any(documents):
            self._index = bm25s.BM25(k1=self.k1, b=self.b, method=self.method)
            self._index.index(documents, show_progress=False)
        return self

    def score_documents(self, X):
        """Scores of all documents for each query.

        Parameters
        ----------
        X : list, array or Series of str, of shape (n_queries,)
            The queries. A missing or empty query has no words.

        Returns
        -------
        scores : float32 ndarray of shape (n_queries, n_documents)
            Greater scores are better. Documents that share no word with the query have a
            score of minus infinity.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            For input without texts.
        """
        check_is_fitted(self, "n_documents_")
        queries = self._words(X)
        scores = np.full((len(queries), self.n_documents_), -np.inf, np.float32)
        if self._index is None:
            return scores
        for row, words in zip(scores, queries, strict=True):
            # Words that no document has are left out; bm25s refuses an empty list.
            known = self._index.get_tokens_ids(words)
            if known:
                found = self._index.get_scores_from_ids(known)
                shared = self._shared(known)
                row[shared] = found[shared]
        return scores

    def _shared(self, word_ids):
        """Which documents hold one of the words: where the index has a score at all."""
        starts, rows = self._index.scores["indptr"], self._index.scores["indices"]
        return np.concatenate([rows[starts[i] : starts[i + 1]] for i in word_ids])

    def _words(self, X):
        """Each text as a list of words."""
        texts = ["" if is_missing(text) else text for text in as_list(X, "BM25")]
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(
                    f"BM25 expects texts. Got {text!r} in row {row}: make it a str."
                )
        return _import_bm25s().tokenize(
            texts,
            stopwords=self.stopwords,
            stemmer=self._make_stemmer(),
            return_ids=False,
            show_progress=False,
        )

    def _make_stemmer(self):
        if self.stemmer is None:
            return None
        try:
            import Stemmer
        except ImportError as error:
            who = "The 'stemmer' parameter of BM25"
            raise not_installed(who, "PyStemmer", "evaluation") from error
        if self.stemmer not in Stemmer.algorithms():
            expected = f"None or one of {Stemmer.algorithms()}"
            raise refused("stemmer", expected, self.stemmer, of="BM25")
        return Stemmer.Stemmer(self.stemmer)


def _import_bm25s():
    try:
        import bm25s
    except ImportError as error:
        raise not_installed("BM25", "bm25s", "evaluation") from error
    return bm25s
