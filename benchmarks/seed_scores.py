"""How the seed's experiment scores features, item by item, and chooses a cell.

Every function that scores returns one value for each test text, pair or query, so that
methods can be compared on the same items. None of them knows where features come from.
"""

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_llm2vec._estimator.choice import clearly_better
from sklearn_llm2vec._estimator.probe import leave_one_out, probe_target

MANY_CLASSES = 30  # from which on the head that is scored isn't the one that chooses
SEARCHED = 1500  # training texts that C and the cell are chosen on


def search_rows(labels):
    """Numbers of at most 1,500 training texts, drawn with a seed."""
    rows = np.random.default_rng(0).permutation(len(labels))
    return np.sort(rows[:SEARCHED])


def folds(labels):
    """Three folds; two where a class has only two texts."""
    few = np.unique(labels, return_counts=True)[1].min()
    return StratifiedKFold(int(np.clip(few, 2, 3)), shuffle=True, random_state=0)


def head_of(features):
    """The head for features of this kind, and the values of C to choose from.

    Dense features are standardized. TF-IDF stays as it is, with larger C to choose from:
    its rows have length one, and scaling would blow up the rare words.
    """
    logistic = LogisticRegression(max_iter=200)
    if issparse(features):
        return make_pipeline(logistic), [1.0, 10.0, 100.0]
    return make_pipeline(StandardScaler(), logistic), [0.001, 0.01, 0.1, 1.0]


def right_in_folds(features, labels):
    """Whether the head is right on each text that it wasn't fitted on, for each C.

    Returns
    -------
    strengths : list of float
    right : bool ndarray of shape (n_texts, n_strengths)
    """
    head, strengths = head_of(features)
    head.set_params(logisticregression__warm_start=True)
    right = np.zeros((len(labels), len(strengths)), bool)
    for train, test in folds(labels).split(features, labels):
        steps = head[:-1]
        fitted = steps.fit_transform(features[train]) if len(steps) else features[train]
        held_out = steps.transform(features[test]) if len(steps) else features[test]
        logistic = clone(head[-1])
        for column, strength in enumerate(strengths):
            logistic.set_params(C=strength).fit(fitted, labels[train])
            right[test, column] = logistic.predict(held_out) == labels[test]
    return strengths, right


def fit_head(features, labels):
    """A logistic regression whose C was chosen by cross-validation on `search_rows`."""
    rows = search_rows(labels)
    strengths, right = right_in_folds(features[rows], labels[rows])
    return fit_with(features, labels, strengths[right.mean(axis=0).argmax()])


def fit_with(features, labels, strength):
    """The head with a given C."""
    head, _ = head_of(features)
    return head.set_params(logisticregression__C=strength).fit(features, labels)


def classify(train, train_labels, test, test_labels):
    """Which test texts are right, macro F1 x 100 and the chosen C."""
    head = fit_head(train, train_labels)
    predicted = head.predict(test)
    return {
        "right": (predicted == test_labels).astype(int).tolist(),
        "f1": 100 * f1_score(test_labels, predicted, average="macro"),
        "C": head[-1].C,
        "features": train.shape[1],
    }


def choose_for_classes(cells, labels, usual):
    """The cell to take, by the head that is scored later; each cell's accuracy and C.

    Each cell is scored at its best C in the folds of `search_rows`. The usual cell stays
    unless the best one is ahead by more than a standard error of the difference, text by
    text.

    Parameters
    ----------
    cells : dict of (int, str) to ndarray of shape (n_texts, n_features)
    labels : ndarray of shape (n_texts,)
    usual : (int, str)
        The cell that is taken where nothing is searched.
    """
    rows = search_rows(labels)
    right, found = {}, {}
    for cell, vectors in cells.items():
        strengths, at_each = right_in_folds(vectors[rows], labels[rows])
        best = at_each.mean(axis=0).argmax()
        right[cell] = at_each[:, best]
        found[cell] = float(right[cell].mean()), strengths[best]
    return choose_clearly_better(right, usual), found


def choose_by_probe(cells, labels, usual):
    """The cell that ``layer="cv"`` chooses: the one with the best ridge regression.

    For many classes, where a logistic regression for each cell would take hours.
    """
    rows = search_rows(labels)
    target = probe_target(labels[rows])
    order = [usual, *(cell for cell in cells if cell != usual)]
    return clearly_better({c: leave_one_out(cells[c][rows], target) for c in order})


def choose_clearly_better(values, usual):
    """The cell with the highest mean, unless it is within an error of the usual one.

    Parameters
    ----------
    values : dict of (int, str) to ndarray of shape (n_items,)
        The score of each text or query.
    usual : (int, str)
    """
    best = max(values, key=lambda cell: values[cell].mean())
    difference = values[best].astype(float) - values[usual]
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return best if difference.mean() > error else usual


def choose_for_cosines(cosines, gold, usual):
    """The cell to take by Spearman correlation, and each cell's correlation.

    The standard error of a difference of correlations is that of 200 bootstrap draws.

    Parameters
    ----------
    cosines : dict of (int, str) to ndarray of shape (n_pairs,)
    gold : ndarray of shape (n_pairs,)
    usual : (int, str)
    """
    found = {cell: float(spearman(values, gold)) for cell, values in cosines.items()}
    best = max(found, key=found.get)
    rows = np.random.default_rng(0).integers(len(gold), size=(200, len(gold)))
    drawn = [spearman(cosines[cell][rows], gold[rows]) for cell in (best, usual)]
    error = np.std(drawn[0] - drawn[1])
    return best if found[best] - found[usual] > error else usual, found


def draw_few(labels, n_per_class, seed):
    """Numbers of at most `n_per_class` texts of each class."""
    rows = np.random.default_rng(seed).permutation(len(labels))
    return np.concatenate(
        [rows[labels[rows] == label][:n_per_class] for label in np.unique(labels)]
    )


def cosines(first, second):
    """Cosine of each row with its partner; 0 where a row is zero."""
    first, second = unit(first), unit(second)
    if issparse(first):
        return np.asarray(first.multiply(second).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", first, second)


def spearman(cosine, gold):
    """Spearman correlation x 100 along the last axis; 0 where all cosines are one."""
    from scipy.stats import rankdata

    a, b = (rankdata(np.round(values, 6), axis=-1) for values in (cosine, gold))
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    norm = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return 100 * (a * b).sum(-1) / np.where(norm > 0, norm, np.inf)


def ndcg_at_10(similarity, relevant):
    """nDCG@10 x 100 of each query, relevance 0 or 1."""
    discount = 1 / np.log2(np.arange(2, 12))
    gains = []
    for row, wanted in zip(similarity, relevant, strict=True):
        best = np.argsort(-row, kind="stable")[:10]
        found = np.array([number in wanted for number in best])
        gains.append(100 * discount[found].sum() / discount[: len(wanted)].sum())
    return np.array(gains)


def unit(vectors):
    """Rows of length one; a zero row stays."""
    if issparse(vectors):
        return vectors  # TF-IDF's rows have it already
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
