"""What the best score of a search is compared with, on the same folds.

The choice of layer and pooling repeated inside each fold says what to expect of the best
candidate on new rows. TF-IDF and a constant say what texts and a model are worth.
"""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import TruncatedSVD
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline

from sklearn_llm2vec._text.texts import read_texts
from sklearn_llm2vec.cli._console import make_bar, note
from sklearn_llm2vec.cli._search_scores import TRANSFORMER

# To choose in, inside each fold.
INNER_FOLDS = 3
CHOSEN_INSIDE = "layer and pooling chosen inside each fold"
# Features of TF-IDF for trees, which take no sparse ones.
DENSE_FEATURES = 100


class JoinedTexts(TransformerMixin, BaseEstimator):
    """The text columns of each row as one string; a missing text is an empty one."""

    def fit(self, X, y=None):
        """Learn nothing."""
        return self

    def transform(self, X):
        """Join the columns."""
        columns = read_texts(X, missing="zero")
        texts = [*columns.unique, ""]  # -1 is the last
        return [" ".join(texts[i] for i in row) for row in columns.inverse]

    def __sklearn_is_fitted__(self):
        return True


def compare(search, frame, target, classes, args):
    """Score what the best candidate is compared with.

    Parameters
    ----------
    search : GridSearchCV
        Fitted.
    frame : pandas frame
    target : ndarray of shape (n_rows,)
    classes : bool
        Whether the target is predicted as classes.
    args : Namespace
        Of the command line.

    Returns
    -------
    dict of str to ndarray of shape (n_folds,)
        The first is that of the search itself, where there are rows enough.
    """
    found = {}
    n_inner = _inner_folds(target, classes, args.cv)
    if n_inner < 2:
        note("too few rows to repeat the choice inside each fold", args)
    else:
        found[CHOSEN_INSIDE] = _nested(search, classes, n_inner, args.seed)
    if args.baselines:
        found["TF-IDF with the same head"] = _with_tfidf(search.estimator)
        name = "the most frequent class" if classes else "the mean"
        found[name] = DummyClassifier() if classes else DummyRegressor()
    scores = {}
    with make_bar(len(found), "estimate", "Comparing", args) as bar:
        for name, estimator in found.items():
            scores[name] = cross_val_score(
                estimator,
                frame,
                target,
                cv=search.cv,
                scoring=search.scoring,
                n_jobs=args.jobs,
                error_score="raise",
            )
            bar.update()
    return scores


def _inner_folds(target, classes, n_folds):
    """Folds that the training part of each fold can be divided into."""
    fewest = np.unique(target, return_counts=True)[1].min() if classes else len(target)
    return min(INNER_FOLDS, fewest * (n_folds - 1) // n_folds)


def _nested(search, classes, n_inner, seed):
    """The search on folds of its own, to be fitted on the training part of each fold."""
    folds = StratifiedKFold if classes else KFold
    return GridSearchCV(
        clone(search.estimator),
        search.param_grid,
        cv=folds(n_inner, shuffle=True, random_state=seed),
        scoring=search.scoring,
        error_score="raise",
    )


def _with_tfidf(pipeline):
    """The pipeline with TF-IDF in the place of the model.

    Counts aren't scaled, which would blow up the rare words.
    """
    trees = "scale" not in pipeline.named_steps
    steps = [JoinedTexts(), TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))]
    if trees:
        steps.append(TruncatedSVD(DENSE_FEATURES, random_state=0))
    features = clone(pipeline.named_steps["features"])
    name = TRANSFORMER.rpartition("__")[2]
    features.set_params(**{name: make_pipeline(*steps)})
    return Pipeline([("features", features), ("head", clone(pipeline[-1]))])
