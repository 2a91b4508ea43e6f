"""Batches: functions of the seed and their number, and what stands in them."""

import numpy as np
import pytest

from sklearn_llm2vec._adapt.batches import (
    ClassBatches,
    MaskedBatches,
    PairBatches,
    ViewBatches,
    hide_tokens,
    nearest,
)
from sklearn_llm2vec._text.tokens import Row


def rows_of(lengths):
    # The first id tells the rows apart.
    return [
        Row([100 + n, *range(2, 1 + k)], [(0, k)], 0) for n, k in enumerate(lengths)
    ]


def make(kind, rows, batch_size=4, n_batches=10, seed=0, **more):
    return kind(
        rows, pad_id=0, batch_size=batch_size, n_batches=n_batches, seed=seed, **more
    )


def test_a_hand_made_example_of_mntp():
    ids = np.array([[1, 10, 11, 12, 0]])
    may_hide = np.array([[False, True, True, True, False]])

    class Drawn:
        def random(self, shape):
            return np.array([[0.1, 0.2, 0.4, 0.9, 0.1]])

    hidden, rows, at, targets = hide_tokens(
        ids, may_hide, Drawn(), mask_id=4, n_tokens=60, probability=0.5, strategy="all"
    )
    assert rows.tolist() == [0, 0]
    assert at.tolist() == [1, 2]
    assert hidden.tolist() == [[1, 4, 4, 12, 0]]
    assert targets.tolist() == [10, 11]
    # Through a data set: predicted from the state before, where a decoder's head
    # prepares the next token.
    data = make(
        MaskedBatches,
        [Row([1, 10, 11, 12], [(1, 4)], 1)],
        batch_size=1,
        mask_id=4,
        special_ids={1},
        n_tokens=60,
        probability=1.0,
        strategy="all",
        offset=1,
    )
    batch = data[0]
    assert batch["input_ids"].tolist() == [[1, 4, 4, 4]]
    assert batch["predict_at"].tolist() == [0, 1, 2]
    assert batch["targets"].tolist() == [10, 11, 12]


def test_the_first_token_has_none_before_it():
    row = Row([10, 11], [(0, 2)], 0)  # a tokenizer without <s>
    more = {
        "mask_id": 4,
        "special_ids": set(),
        "n_tokens": 60,
        "probability": 1.0,
        "strategy": "all",
    }
    decoder = make(MaskedBatches, [row], batch_size=1, offset=1, **more)[0]
    assert decoder["targets"].tolist() == [11]
    encoder = make(MaskedBatches, [row], batch_size=1, offset=0, **more)[0]
    assert encoder["targets"].tolist() == [10, 11]
    assert encoder["predict_at"].tolist() == [0, 1]


def test_shares_of_the_bert_strategy():
    ids = np.full((400, 100), 7)
    rng = np.random.default_rng(0)
    hidden, rows, at, targets = hide_tokens(
        ids, ids > 0, rng, mask_id=4, n_tokens=1000, probability=0.2, strategy="bert"
    )
    assert len(targets) / ids.size == pytest.approx(0.2, abs=0.01)
    now = hidden[rows, at]
    assert (now == 4).mean() == pytest.approx(0.8, abs=0.02)
    assert (now == 7).mean() == pytest.approx(0.1, abs=0.02)
    elsewhere = np.ones(ids.shape, bool)
    elsewhere[rows, at] = False
    assert (hidden[elsewhere] == 7).all()
    assert (targets == 7).all()


def test_something_is_hidden_in_each_batch():
    ids = np.array([[9, 9]])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        *_, targets = hide_tokens(
            ids, ids > 0, rng, mask_id=4, n_tokens=9, probability=1e-9, strategy="all"
        )
        assert len(targets) == 1


def first_ids(batch):
    return batch["input_ids"][:, 0].tolist()


def test_every_row_once_an_epoch_and_again_the_same():
    rows = rows_of([3, 9, 4, 4, 7, 5, 6, 8, 2, 3, 3, 5])
    data = make(ViewBatches, rows, n_batches=6)
    batches = [first_ids(data[i]) for i in range(6)]
    assert all(one[:4] == one[4:] for one in batches)  # two views
    for epoch in (batches[:3], batches[3:]):
        assert sorted(n for one in epoch for n in one[:4]) == [
            100 + n for n in range(12)
        ]
    assert batches[:3] != batches[3:]
    again = make(ViewBatches, rows, n_batches=6)
    assert [first_ids(again[i]) for i in (5, 0, 3)] == [batches[i] for i in (5, 0, 3)]
    other = make(ViewBatches, rows, n_batches=6, seed=1)
    assert [first_ids(other[i]) for i in range(6)] != batches


def test_texts_of_a_batch_are_of_like_length():
    lengths = np.random.default_rng(0).integers(3, 60, 256)
    data = make(ViewBatches, rows_of(lengths), batch_size=8, n_batches=32)
    padding = sum(
        int((1 - data[i]["attention_mask"]).sum()) / data[i]["input_ids"].numel()
        for i in range(32)
    )
    assert padding / 32 < 0.15  # at random it is 0.45


def test_classes_have_two_members_and_bring_their_negatives():
    labels = np.repeat(np.arange(5), [2, 3, 8, 8, 1])
    rows = rows_of(np.full(len(labels), 4))
    negatives = (np.arange(len(labels))[:, None] + 11) % len(labels)
    data = make(
        ClassBatches,
        rows,
        batch_size=8,
        labels=labels,
        negatives=negatives,
        n_batches=30,
    )
    for i in range(30):
        batch = data[i]
        n = int(batch["n_anchors"])
        places = np.array(first_ids(batch)) - 100
        assert (labels[places] == batch["classes"].numpy()).all()
        anchors = labels[places[:n]]
        assert len(set(anchors)) == 4
        assert all((anchors == c).sum() >= 2 for c in anchors)  # never the class of one
        hard = set(negatives[places[:n], 0]) - set(places[:n])
        assert sorted(places[n:]) == sorted(hard)


def test_one_class_with_two_members_and_many_of_one():
    data = make(
        ClassBatches,
        rows_of([3] * 6),
        labels=np.array([0, 0, 1, 2, 3, 4]),
        negatives=np.array([[2], [3], [0], [0], [0], [0]]),
    )
    assert sorted(np.array(first_ids(data[0]))[:2] - 100) == [0, 1]


def pair_batch(texts, negatives_of, n_negatives=3):
    rows, positives = rows_of([3] * 4), rows_of([5] * 4)
    negatives = [Row([50 + n], [(0, 1)], 0) for n in range(n_negatives)]
    texts = {name: np.array(one) for name, one in texts.items()}
    data = make(
        PairBatches,
        rows,
        positives=positives,
        negatives=negatives,
        negatives_of=negatives_of,
        texts=texts,
    )
    batch = data[0]
    order = np.array(first_ids(batch))[:4] - 100
    assert first_ids(batch)[4:8] == first_ids(batch)[:4]
    hard = np.array(first_ids(batch))[8:] - 50
    candidates = [("positive", n) for n in order] + [("hard", n) for n in hard]
    excluded = batch["excluded"].numpy()
    assert excluded.shape == (4, len(candidates))
    return {(int(order[i]), *map(str, candidates[j])) for i, j in np.argwhere(excluded)}


def test_pairs_without_copies_exclude_nothing():
    texts = {"rows": [0, 1, 2, 3], "positives": [4, 5, 6, 7], "negatives": [8, 9, 10]}
    assert pair_batch(texts, [[0], [], [1, 2], []]) == set()


def test_copies_of_an_own_positive_are_no_negatives():
    # Rows 0 and 2 have one positive; the hard negative of row 1 is row 3's positive.
    texts = {"rows": [0, 1, 2, 3], "positives": [4, 5, 4, 7], "negatives": [7, 9, 10]}
    assert pair_batch(texts, [[], [0], [], []]) == {
        (0, "positive", "2"),
        (2, "positive", "0"),
        (3, "hard", "0"),
    }


def test_several_positives_of_one_text_are_no_negatives():
    # Rows 0 and 1 are one text; the positive of row 3 is the text of row 2.
    texts = {"rows": [0, 0, 2, 3], "positives": [4, 5, 6, 2], "negatives": [8, 9, 10]}
    assert pair_batch(texts, [[]] * 4) == {
        (0, "positive", "1"),
        (1, "positive", "0"),
        (2, "positive", "3"),
    }


def test_a_negative_that_is_an_anchor_too_isnt_there_twice():
    labels = np.array([0, 0, 1, 1])
    data = make(
        ClassBatches,
        rows_of([3] * 4),
        labels=labels,
        negatives=np.array([[2], [2], [0], [0]]),
    )
    assert sorted(first_ids(data[0])) == [100, 101, 102, 103]


def test_nearest_of_other_groups():
    vectors = np.array([[1, 0], [1, 0.1], [0.9, 0.2], [0, 1]], np.float32)
    groups = np.array([0, 0, 1, 2])
    assert nearest(vectors, groups, 1).tolist() == [[2], [2], [1], [2]]
    assert nearest(vectors, groups, 5).shape == (4, 2)  # no more of other groups
