"""Batches: rows of tokens become the batches that a stage trains on.

Batch number i is a function of the seed and of i alone, so a training that was
interrupted goes on with the very batches that it would have had.
"""

import numpy as np
import torch

from sklearn_llm2vec._text.tokens import rows_as_arrays

# Batches whose texts are sorted by length among each other: less padding, and each
# batch's texts are still drawn at random from eight times as many.
BATCHES_SORTED = 8
# Most classes of a batch; more texts than these times two give classes more members.
CLASSES_IN_BATCH = 32


class Batches(torch.utils.data.Dataset):
    """A data set whose items are whole batches.

    Parameters
    ----------
    rows : list of Row
    pad_id : int
    batch_size : int
    n_batches : int
    seed : int
    """

    def __init__(self, rows, *, pad_id, batch_size, n_batches, seed):
        self.rows, self.pad_id = rows, pad_id
        self.batch_size, self.n_batches, self.seed = batch_size, n_batches, seed
        self._epoch = None, None

    def __len__(self):
        return self.n_batches

    @property
    def longest(self):
        """The row with the most tokens that a batch may hold."""
        return max(self.rows, key=lambda row: len(row.ids))

    def rng(self, *of):
        """Random numbers for one purpose: of a batch, of an epoch."""
        return np.random.default_rng([self.seed, *of])

    def chosen(self, i):
        """Places of the rows of batch `i`: every row once an epoch, but for a rest."""
        a_pass = max(1, len(self.rows) // self.batch_size)
        epoch, at = divmod(i, a_pass)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._shuffled(epoch)
        return self._epoch[1][at]

    def _shuffled(self, epoch):
        rng = self.rng(0, epoch)
        order = rng.permutation(len(self.rows))
        step, batches = self.batch_size * BATCHES_SORTED, []
        for start in range(0, len(order), step):
            part = order[start : start + step]
            lengths = [len(self.rows[row].ids) for row in part]
            part = part[np.argsort(lengths, kind="stable")]
            starts = range(0, max(1, len(part) - self.batch_size + 1), self.batch_size)
            batches += [part[at : at + self.batch_size] for at in starts]
        return [batches[n] for n in rng.permutation(len(batches))]


def padded(rows, pad_id):
    """Rows as tensors, padded on the right.

    Returns
    -------
    dict
        ``input_ids``, ``attention_mask`` and the bool ``counted``, of shape
        (n_rows, n_tokens), and ``lengths`` of shape (n_rows,).
    """
    longest = max(len(row.ids) for row in rows)
    ids, counted, lengths = rows_as_arrays(rows, longest, padding=pad_id)
    mask = np.arange(longest) < lengths[:, None]
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        "counted": torch.from_numpy(counted),
        "lengths": torch.from_numpy(lengths),
    }


class MaskedBatches(Batches):
    """MNTP and MLM: tokens are hidden and are to be predicted.

    Parameters
    ----------
    mask_id : int
    special_ids : collection of int
        Tokens that are never hidden.
    n_tokens : int
        Of the vocabulary.
    probability : float
    strategy : {"bert", "all"}
    offset : {0, 1}
        How many positions before a hidden token it is predicted: 1 for a causal
        decoder's head, 0 for an encoder's.
    """

    def __init__(
        self,
        rows,
        *,
        mask_id,
        special_ids,
        n_tokens,
        probability,
        strategy,
        offset,
        **of,
    ):
        super().__init__(rows, **of)
        self.mask_id, self.n_tokens = mask_id, n_tokens
        self.special_ids = np.array(sorted(special_ids), np.int64)
        self.probability, self.strategy, self.offset = probability, strategy, offset

    def __getitem__(self, i):
        batch = padded([self.rows[row] for row in self.chosen(i)], self.pad_id)
        ids = batch["input_ids"].numpy()
        may_hide = batch["counted"].numpy() & ~np.isin(ids, self.special_ids)
        may_hide[:, : self.offset] = False
        ids, rows, at, targets = hide_tokens(
            ids,
            may_hide,
            self.rng(1, i),
            mask_id=self.mask_id,
            n_tokens=self.n_tokens,
            probability=self.probability,
            strategy=self.strategy,
        )
        batch["input_ids"] = torch.from_numpy(ids)
        batch["predict_row"] = torch.from_numpy(rows)
        batch["predict_at"] = torch.from_numpy(at - self.offset)
        batch["targets"] = torch.from_numpy(targets)
        return batch


def hide_tokens(ids, may_hide, rng, *, mask_id, n_tokens, probability, strategy):
    """Hide tokens at random.

    Parameters
    ----------
    ids : int ndarray of shape (n_rows, n_tokens)
    may_hide : bool ndarray of the same shape
    rng : numpy Generator
    mask_id, n_tokens, probability, strategy
        As in `MaskedBatches`.

    Returns
    -------
    hidden : int ndarray of shape (n_rows, n_tokens)
    rows, at : int ndarray of shape (n_hidden,)
        Where tokens were hidden; one at least, if any may be.
    targets : int ndarray of shape (n_hidden,)
        Which.
    """
    draw = rng.random(ids.shape)
    chosen = may_hide & (draw < probability)
    if not chosen.any() and may_hide.any():
        chosen.flat[np.where(may_hide, draw, 2).argmin()] = True
    rows, at = np.nonzero(chosen)
    targets, hidden = ids[rows, at], ids.copy()
    hidden[rows, at] = mask_id
    if strategy == "bert":
        # Devlin et al., 1810.04805, section 3.1: 80 % the mask, 10 % a random token,
        # 10 % as it was.
        share = rng.random(len(targets))
        random_ids = rng.integers(0, n_tokens, len(targets))
        hidden[rows, at] = np.where(
            share < 0.8, mask_id, np.where(share < 0.9, random_ids, targets)
        )
    return hidden, rows, at, targets


class ViewBatches(Batches):
    """SimCSE: each row twice, first all, then all again."""

    def __getitem__(self, i):
        rows = [self.rows[row] for row in self.chosen(i)]
        return padded(rows + rows, self.pad_id)


class ClassBatches(Batches):
    """Rows with classes: each class of a batch has two members at least.

    Parameters
    ----------
    labels : int ndarray of shape (n_rows,)
    negatives : int ndarray of shape (n_rows, n_negatives)
        For each row the rows of other classes that are contrasted with it.
    """

    def __init__(self, rows, *, labels, negatives, **of):
        super().__init__(rows, **of)
        self.labels, self.negatives = labels, negatives
        members = [np.flatnonzero(labels == c) for c in range(labels.max() + 1)]
        self.members = [one for one in members if len(one) > 1]
        # A class is drawn as often as it is large, up to its share of a batch.
        sizes = np.array([len(one) for one in self.members], float)
        self.chances = sizes / sizes.sum()

    def __getitem__(self, i):
        rng = self.rng(2, i)
        n_classes = min(CLASSES_IN_BATCH, len(self.members), self.batch_size // 2)
        n_classes = max(2, n_classes) if len(self.members) > 1 else 1
        drawn = rng.choice(len(self.members), n_classes, replace=False, p=self.chances)
        share = max(2, self.batch_size // n_classes)
        anchors = np.concatenate(
            [
                rng.choice(self.members[c], min(share, len(self.members[c])), False)
                for c in drawn
            ]
        )
        negatives = np.setdiff1d(self.negatives[anchors], anchors)
        rows = np.concatenate([anchors, negatives]).astype(int)
        batch = padded([self.rows[row] for row in rows], self.pad_id)
        batch["classes"] = torch.from_numpy(self.labels[rows])
        batch["n_anchors"] = torch.tensor(len(anchors))
        return batch


class PairBatches(Batches):
    """Rows with positives, and negatives where there are any.

    Parameters
    ----------
    positives : list of Row
        One for each row.
    negatives : list of Row
        Any number.
    negatives_of : list of sequence of int
        For each row which of them are its own.
    texts : dict of str to int ndarray
        Which distinct text each of the ``rows``, ``positives`` and ``negatives`` is.
    """

    def __init__(self, rows, *, positives, negatives, negatives_of, texts, **of):
        super().__init__(rows, **of)
        self.positives, self.negatives = positives, negatives
        self.negatives_of, self.texts = negatives_of, texts

    @property
    def longest(self):
        """The row with the most tokens that a batch may hold."""
        rows = [*self.rows, *self.positives, *self.negatives]
        return max(rows, key=lambda row: len(row.ids))

    def __getitem__(self, i):
        chosen = self.chosen(i)
        hard = sorted({n for row in chosen for n in self.negatives_of[row]})
        rows = [self.rows[row] for row in chosen]
        rows += [self.positives[row] for row in chosen]
        batch = padded(rows + [self.negatives[n] for n in hard], self.pad_id)
        batch["n_anchors"] = torch.tensor(len(chosen))
        batch["excluded"] = torch.from_numpy(self._excluded(chosen, hard))
        return batch

    def _excluded(self, chosen, hard):
        """Candidates that are no negatives of an anchor: (anchors, positives + hard).

        Copies of its own positive, of itself, and of the positives of its copies.
        """
        anchors, positives = self.texts["rows"][chosen], self.texts["positives"][chosen]
        candidates = np.concatenate([positives, self.texts["negatives"][hard]])
        excluded = candidates[None, :] == positives[:, None]
        excluded |= candidates[None, :] == anchors[:, None]
        n = len(chosen)
        for other in range(n):
            copies = anchors == anchors[other]
            excluded[copies] |= candidates[None, :] == positives[other]
        excluded[np.arange(n), np.arange(n)] = False  # its own positive
        return excluded


def nearest(vectors, groups, n_nearest, candidates=None, candidate_groups=None):
    """For each vector the nearest candidates of other groups, by cosine.

    Parameters
    ----------
    vectors : float32 ndarray of shape (n, hidden)
    groups : int ndarray of shape (n,)
    n_nearest : int
    candidates, candidate_groups : ndarrays or None
        None takes the vectors themselves.

    Returns
    -------
    int ndarray of shape (n, n_nearest)
        Fewer columns where there are too few candidates of another group.
    """
    if candidates is None:
        candidates, candidate_groups = vectors, groups
    most = max(np.bincount(candidate_groups))
    n_nearest = max(0, min(n_nearest, len(candidates) - int(most)))
    found = np.empty((len(vectors), n_nearest), np.intp)
    unit = _unit(candidates).T
    for start in range(0, len(vectors), 1024):
        part = slice(start, start + 1024)
        similarity = _unit(vectors[part]) @ unit  # (1024, n_candidates)
        similarity[groups[part, None] == candidate_groups[None, :]] = -2
        order = np.argsort(-similarity, axis=1, kind="stable")
        found[part] = order[:, :n_nearest]
    return found


# Not `unit_length`: another last bit may choose another neighbor of two that are equally
# near, and with it another adapter than the one that is kept under the same name.
def _unit(vectors):
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
