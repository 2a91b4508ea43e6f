"""Draws of training rows, a few of each class, and the features of each draw."""

from collections import defaultdict

import numpy as np

from sklearn_llm2vec.evaluation._features import fit_features, learns, take_rows


def draws_of(y, n, n_draws, seed):
    """Row numbers of each draw: the first n of each class in a shuffled order."""
    order = np.arange(len(y))
    if n is None:
        yield order
        return
    for _ in range(n_draws):
        # mteb shuffles what the draw before left, with a generator made anew.
        np.random.RandomState(seed).shuffle(order)
        seen, rows = defaultdict(int), []
        for row in order:
            seen[y[row]] += 1
            if seen[y[row]] <= n:
                rows.append(row)
        yield np.array(rows)


def features_of_draws(transformer, X_train, y_train, X_test, draws):
    """Features of each draw's training texts, and of the test texts."""
    if learns(transformer):
        for rows in draws:
            X = take_rows(X_train, rows)
            fitted, known = fit_features(transformer, X, y_train[rows])
            yield known, fitted.transform(X_test)
        return
    used = np.unique(np.concatenate(draws))
    fitted, known = fit_features(transformer, take_rows(X_train, used))
    asked = fitted.transform(X_test)
    for rows in draws:
        yield take_rows(known, np.searchsorted(used, rows)), asked
