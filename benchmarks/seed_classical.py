"""The features that the seed's experiment compares with: counts and static word vectors.

TF-IDF of words and pairs of words, BM25, word2vec trained on the given texts, and GloVe
vectors trained by others. Words are runs of letters, digits and apostrophes, lower case.
"""

import re
import zlib

import harness
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

GLOVE = harness.DATA.parent / "models" / "glove-twitter-25d-12k" / "vectors.txt.gz"


def fit_tfidf(texts):
    """TF-IDF of words and pairs of words, fitted on texts; rows have length one."""
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts)


def fit_word2vec(texts):
    """Skip-gram vectors of 100 features trained on texts: a gensim ``KeyedVectors``.

    5 to 30 passes, about two million words in all; one worker, so that a seed is enough.
    """
    from gensim.models import Word2Vec

    sentences = [words_of(text) for text in texts]
    n_words = sum(map(len, sentences))
    model = Word2Vec(
        sentences,
        vector_size=100,
        sg=1,
        min_count=2 if n_words > 20_000 else 1,
        epochs=int(np.clip(2_000_000 / n_words, 5, 30)),
        workers=1,
        seed=0,
        hashfxn=lambda word: zlib.crc32(word.encode()),  # str's own hash is salted
    )
    return model.wv


def read_glove():
    """Pretrained vectors of 25 features of the 12,000 commonest words."""
    from gensim.models import KeyedVectors

    return KeyedVectors.load_word2vec_format(GLOVE)


def mean_of_words(word_vectors, texts):
    """Mean of the known words' vectors, (n_texts, n_features); zero without any."""
    out = np.zeros((len(texts), word_vectors.vector_size), np.float32)
    for row, text in zip(out, texts, strict=True):
        known = [word for word in words_of(text) if word in word_vectors]
        if known:
            row[:] = word_vectors[known].mean(axis=0)
    return out


def bm25_scores(documents, queries):
    """BM25 with stemming and English stop words, (n_queries, n_documents)."""
    import bm25s
    import Stemmer

    def tokens(texts, **options):
        return bm25s.tokenize(
            texts,
            stopwords="en",
            stemmer=Stemmer.Stemmer("english"),
            show_progress=False,
            **options,
        )

    index = bm25s.BM25()
    index.index(tokens(documents), show_progress=False)
    return np.stack(
        [index.get_scores(query) for query in tokens(queries, return_ids=False)]
    )


def words_of(text):
    """Words of a text, in lower case."""
    return re.findall(r"[a-z0-9']+", text.lower())
