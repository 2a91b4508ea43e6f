"""Training texts: what a recipe is trained on, read from what ``fit`` is given.

Texts that aren't missing, their classes, or their positives and negatives; what can't be
learned from is refused before a model is touched.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from sklearn_llm2vec._model.spec import text_keys


@dataclass(frozen=True)
class TrainingTexts:
    """What a recipe is trained on.

    Attributes
    ----------
    texts : list of str, or of tuple of str
        All distinct texts, in one order whatever is known of them: what the stages
        without labels take.
    anchors : list of str, or of tuple of str
        The texts of a supervised stage: each once with each label, or with each positive.
    labels : int ndarray of shape (n_anchors,) or None
        Classes, from 0.
    positives, negatives : list of str or None
        One for each anchor; a negative may be None.
    """

    texts: list
    anchors: list = ()
    labels: np.ndarray | None = None
    positives: list | None = None
    negatives: list | None = None

    def of(self, stage_name):
        """The texts that a stage is trained on."""
        return self.anchors if stage_name == "supervised" else self.texts

    def digest(self, stage_name):
        """SHA-256 of a stage's texts in order, and of what belongs to them."""
        digest = hashlib.sha256(b"".join(text_keys(self.of(stage_name))))
        if stage_name == "supervised":
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
    texts = [columns.unique[i] for i in np.unique(columns.inverse[present])]
    if "supervised" not in names:
        return TrainingTexts(texts)
    if pairs is not None:
        return _read_pairs(columns, present, texts, *pairs)
    if y is None:
        raise ValueError(
            "With a 'supervised' stage, LLMEmbeddingTransformer.fit needs y, the "
            "classes of the texts, or a frame with the columns 'text', 'positive' "
            "and optionally 'negative'. Got y=None and no such frame instead: choose "
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
    return TrainingTexts(texts, [columns.unique[i] for i in both[:, 0]], labels)


def _read_classes(y, n_rows):
    from sklearn.utils.multiclass import type_of_target

    y = np.asarray(y)
    if y.ndim == 0 or len(y) != n_rows:
        raise ValueError(
            f"y must have one label for each of the {n_rows} rows of X. Got "
            f"{repr(y.item()) if y.ndim == 0 else len(y)} instead."
        )
    if any(label is None or label != label for label in y.ravel().tolist()):
        raise ValueError("y must have no missing labels for a 'supervised' stage.")
    if y.dtype == object:
        y = np.array(y.tolist())  # numbers in an object array are numbers
    kind = type_of_target(y)
    if kind not in ("binary", "multiclass"):
        raise ValueError(
            "A 'supervised' stage needs classes in y, because it draws texts of the "
            f"same class together. Got a target of type {kind!r} instead. For "
            "regression, choose adapt='simcse', or bin the target into classes."
        )
    return np.unique(y.ravel(), return_inverse=True)[1].ravel()


def _read_pairs(columns, present, texts, positives, negatives):
    if any(isinstance(text, tuple) for text in texts):
        raise ValueError(
            "With a frame of pairs, 'template' must be None or contain '{text}', "
            "because positives are single texts. Got a template with column names "
            "instead."
        )
    rows = [row for row in np.flatnonzero(present[:, 0]) if positives[row]]
    if not rows:
        raise ValueError(
            f"A frame of pairs needs rows with a text and a positive. Got "
            f"{len(positives)} rows, none with both."
        )
    positives = [positives[row] for row in rows]
    if negatives is not None:
        negatives = [negatives[row] for row in rows]
    others = [text for text in (*positives, *(negatives or ())) if text]
    return TrainingTexts(
        list(dict.fromkeys([*texts, *others])),
        [columns.unique[columns.inverse[row, 0]] for row in rows],
        positives=positives,
        negatives=negatives,
    )
