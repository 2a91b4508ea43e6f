"""How the seed's experiment scores features, item by item, and chooses a cell.

Every function that scores returns one value for each test text, pair or query, so that
methods can be compared on the same items. None of them knows where features come from.
"""

import numpy as np
from scipy.sparse import issparse
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEARCHED = 1500  # training texts that C and the cell are chosen on


def search_rows(labels):
    """Numbers of at most 1,500 training texts, drawn with a seed."""
    rows = np.random.default_rng(0).permutation(len(labels))
    return np.sort(rows[:SEARCHED])


def folds(labels):
    """Three folds; two where a class has only two texts."""
    few = np.unique(labels, return_counts=True)[1].min()
    return StratifiedKFold(int(np.clip(few, 2, 3)), shuffle=True, random_state=0)


def fit_head(features, labels):
    """A logistic regression whose C was chosen by cross-validation on `search_rows`.

    Dense features are standardised. TF-IDF stays as it is, with larger C to choose from:
    its rows have length one, and scaling would blow up the rare words.
    """
    logistic = LogisticRegression(max_iter=200)
    if issparse(features):
        head, strengths = make_pipeline(logistic), [1.0, 10.0, 100.0]
    else:
        head = make_pipeline(StandardScaler(), logistic)
        strengths = [0.001, 0.01, 0.1, 1.0]
    rows = search_rows(labels)
    search = GridSearchCV(
        head,
        {"logisticregression__C": strengths},
        cv=folds(labels[rows]),
        refit=False,
    ).fit(features[rows], labels[rows])
    return head.set_params(**search.best_params_).fit(features, labels)


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


def choose_for_classes(cells, labels):
    """The cell whose ridge classifier is best in cross-validation on `search_rows`.

    A ridge classifier stands in for the logistic regression here, at a fiftieth of the
    cost; its penalty is chosen within each fold.
    """
    rows = search_rows(labels)
    head = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=(10, 100, 1000)))
    cv = folds(labels[rows])
    scores = {
        cell: cross_val_score(head, vectors[rows], labels[rows], cv=cv).mean()
        for cell, vectors in cells.items()
    }
    return max(scores, key=scores.get), scores


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
