"""The sets of the seed's experiment, cut to a size that two CPU cores can read.

Each loader gives one plain object a set. What is left out is drawn with a seed and the
sizes that remain are in the results. Nothing here knows a method or a score.
"""

from dataclasses import dataclass

import harness
import numpy as np
from sklearn.model_selection import train_test_split

# Short texts first, so that an early look at a run has most of the sets.
CLASSIFICATION = (
    "trec",
    "mpqa",
    "cr",
    "toxicity",
    "banking77",
    "sms_spam",
    "tweet_emotion",
    "sst2",
    "subj",
    "scicite",
    "medical_abstracts",
    "newsgroups_mini",
    "movie_reviews",
)
RETRIEVAL = ("cranfield", "cisi")
LONG = ("scicite", "medical_abstracts", "newsgroups_mini", "movie_reviews")
YEARS = ("sts12", "sts13", "sts14", "sts15", "sts16")
MAX_LENGTH = 128  # tokens that the models read of a text


@dataclass(frozen=True)
class Limits:
    """How much of a set is used; where a set has less, all of it."""

    train: int  # texts
    test: int  # texts
    pairs: int  # of stsb's training part, to choose a layer on
    test_pairs: int  # of each similarity file
    documents: int  # of a retrieval set


@dataclass(frozen=True)
class Classification:
    """Texts and labels of two parts."""

    name: str
    train: list
    train_labels: np.ndarray
    test: list
    test_labels: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """Sentence pairs with human scores."""

    name: str
    first: list
    second: list
    gold: np.ndarray


@dataclass(frozen=True)
class Retrieval:
    """Documents, queries that have judgments, and which documents each one wants."""

    name: str
    documents: list
    queries: list
    relevant: list  # a set of document numbers for each query


def load_classification(name, limits):
    """One set; its official split, or for toxicity a stratified one with seed 0."""
    if name == "toxicity":
        frame = harness.read_frame("toxicity/data").rename(
            columns={"is_toxic": "label"}
        )
        train, test = train_test_split(
            frame, test_size=0.3, stratify=frame["label"], random_state=0
        )
    else:
        train, test = (
            harness.read_frame(f"{name}/{part}") for part in ("train", "test")
        )
    train, test = _cut(train, limits.train), _cut(test, limits.test)
    return Classification(
        name,
        train["text"].tolist(),
        train["label"].astype(str).to_numpy(),
        test["text"].tolist(),
        test["label"].astype(str).to_numpy(),
    )


def load_sts(limits):
    """Training pairs of stsb, its test part, and the five years without those pairs.

    The years hold most of stsb's pairs. Those of its training part are left out of them,
    as a layer is chosen there and word vectors are trained there.
    """
    train = harness.read_frame("stsb/train")
    seen = {_pair(row) for row in train.itertuples()}
    tests = {"stsb": harness.read_frame("stsb/test")}
    for year in YEARS:
        frame = harness.read_frame(f"sts12_16/{year}")
        tests[year] = frame[[_pair(row) not in seen for row in frame.itertuples()]]
    all_texts = [*train["text_a"], *train["text_b"]]
    return (
        _pairs("stsb train", train, limits.pairs),
        all_texts,
        [_pairs(name, frame, limits.test_pairs) for name, frame in tests.items()],
    )


def load_retrieval(name, limits):
    """One set; queries without a relevant document that is kept are left out."""
    corpus = harness.read_frame(f"{name}/corpus").head(limits.documents)
    queries = harness.read_frame(f"{name}/queries")
    place = {str(doc): i for i, doc in enumerate(corpus["doc_id"])}
    wanted = {}
    for row in harness.read_frame(f"{name}/qrels").itertuples():
        if float(row.relevance) > 0 and str(row.doc_id) in place:
            wanted.setdefault(str(row.query_id), set()).add(place[str(row.doc_id)])
    queries = queries[[str(query) in wanted for query in queries["query_id"]]]
    return Retrieval(
        name,
        corpus["text"].tolist(),
        queries["text"].tolist(),
        [wanted[str(query)] for query in queries["query_id"]],
    )


def _cut(frame, size):
    """At most `size` rows, drawn with a seed, the classes in proportion."""
    if len(frame) <= size:
        return frame
    kept, _ = train_test_split(
        frame, train_size=size, stratify=frame["label"], random_state=0
    )
    return kept


def _pair(row):
    return frozenset(
        " ".join(text.lower().split()) for text in (row.text_a, row.text_b)
    )


def _pairs(name, frame, size):
    if len(frame) > size:
        frame = frame.sample(size, random_state=0)
    gold = frame["score"].astype(float).to_numpy()
    return Pairs(name, frame["text_a"].tolist(), frame["text_b"].tolist(), gold)
