"""Heads: what predicts the target of a search, for classes and for numbers."""


def _logistic_regression(seed):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _ridge_classifier(seed):
    from sklearn.linear_model import RidgeClassifierCV

    return RidgeClassifierCV(penalties())


def _ridge(seed):
    from sklearn.linear_model import RidgeCV

    return RidgeCV(penalties())


def penalties():
    """Of standardized features: from hardly any shrinkage to nearly all."""
    import numpy as np

    return np.logspace(0, 5, 11)


def _boosted_classifier(seed):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed)


def _boosted_regressor(seed):
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(random_state=seed)


# What predicts classes, and what predicts numbers.
HEADS = {
    "logistic-regression": (_logistic_regression, None),
    "ridge": (_ridge_classifier, _ridge),
    "hist-gradient-boosting": (_boosted_classifier, _boosted_regressor),
}
