"""Training texts: what a recipe is trained on, read from what ``fit`` is given.

Texts that aren't missing, their classes, or their positives and negatives; what can't be
learned from is refused before a model is touched. This file knows columns and labels; it
doesn't know models or stages.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from sklearn_llm2vec._spec import text_keys

__all__ = ["TrainingTexts", "read_training_texts"]


@dataclass(frozen=True)
class TrainingTexts:
    """What a recipe is trained on.

    Attributes
    ----------
    texts : list of str, or of tuple of str
        In order, each once (with `labels` once a label); those that aren't missing.
    labels : int ndarray of shape (n_texts,) or None
        Classes, from 0.
    positives, negatives : list of str or None
        One for each text; a negative may be None.
    """

    texts: list
    labels: np.ndarray | None = None
    positives: list | None = None
    negatives: list | None = None

    def digest(self, *, with_labels):
        """SHA-256 of the texts in order, and of what belongs to them."""
        digest = hashlib.sha256(b"".join(text_keys(self.texts)))
        if with_labels:
            if self.labels is not None:
                digest.update(self.labels.astype("<i8").tobytes())
            for others in (self.positives, self.negatives):
                digest.update(b"".join(text_keys([one or "" for one in others or ()])))
        return digest.hexdigest()


def read_training_texts(columns, y, pairs, names):
    """Read what a recipe is trained on, and refuse what it can't be.

    Parameters
    ----------
    columns : TextColumns
    y : array-like of shape (n_rows,) or None
    pairs : tuple of (list, list or None) or None
        Positives and negatives of the rows.
    names : tuple of str
        The recipe's stages.

    Returns
    -------
    TrainingTexts

    Raises
    ------
    ValueError
        For labels that are no classes, for none where some are needed, or for a single
        class.
    """
    present = columns.inverse >= 0  # (rows, columns)
    if "supervised" not in names:
        used = np.unique(columns.inverse[present])
        return TrainingTexts([columns.unique[i] for i in used])
    if pairs is not None:
        return _read_pairs(columns, present, *pairs)
    if y is None:
        raise ValueError(
            "With a 'supervised' stage, LLMEmbeddingTransformer.fit needs y, the classes "
            "of the texts, or a frame with the columns 'text', 'positive' and, if there "
            "are any, 'negative'. Got y=None and no such frame instead: choose "
            "adapt='simcse' to adapt without labels."
        )
    labels = _read_classes(y, len(columns.inverse))
    rows, _ = np.nonzero(present)
    both = np.stack([columns.inverse[present], labels[rows]], 1)
    both = both[np.sort(np.unique(both, axis=0, return_index=True)[1])]
    labels = both[:, 1]
    sizes = np.bincount(labels)
    if (sizes > 0).sum() < 2 or not (sizes > 1).any():
        raise ValueError(
            "A 'supervised' stage needs y with at least 2 classes, one of them with at "
            f"least 2 texts. Got {(sizes > 0).sum()} class(es), the largest with "
            f"{sizes.max(initial=0)} text(s)."
        )
    return TrainingTexts([columns.unique[i] for i in both[:, 0]], labels)


def _read_classes(y, n_rows):
    from sklearn.utils.multiclass import type_of_target

    y = np.asarray(y)
    if len(y) != n_rows:
        raise ValueError(
            f"y must have one label for each of the {n_rows} rows of X. Got {len(y)}."
        )
    if any(label is None or label != label for label in y.ravel().tolist()):
        raise ValueError("y must have no missing labels for a 'supervised' stage.")
    kind = type_of_target(y)
    if kind not in ("binary", "multiclass"):
        raise ValueError(
            "A 'supervised' stage needs y to be classes: texts of one class are drawn "
            "together. Got a target of the type "
            f"{kind!r} instead, in which no two texts belong together by themselves. "
            "For regression choose adapt='simcse', or put the target into classes."
        )
    return np.unique(y.ravel(), return_inverse=True)[1].ravel()


def _read_pairs(columns, present, positives, negatives):
    rows = [
        row
        for row in np.flatnonzero(present[:, 0])
        if positives[row] is not None and positives[row] != ""
    ]
    texts = [columns.unique[columns.inverse[row, 0]] for row in rows]
    return TrainingTexts(
        texts,
        positives=[positives[row] for row in rows],
        negatives=None if negatives is None else [negatives[row] for row in rows],
    )
