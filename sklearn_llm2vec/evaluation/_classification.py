"""Classification: accuracy and macro F1 of a classifier on the features.

What a task needs is imported by its functions: the command line reads this file for its
``--help``.
"""

import numbers
from collections.abc import Iterable

from sklearn_llm2vec._common.public import public_in


@public_in("sklearn_llm2vec.evaluation")
def evaluate_classification(
    transformer,
    X_train,
    y_train,
    X_test,
    y_test,
    *,
    classifier=None,
    n_per_class=None,
    n_draws=10,
    random_state=0,
):
    """Accuracy and macro F1 of a classifier on the features.

    The classifier is fitted on all training data, or on a few texts of each class, which
    are drawn repeatedly as in mteb.

    Parameters
    ----------
    transformer : estimator with `transform`
        A clone is fitted on the training texts of each draw only. If the transformer
        learns nothing from data, the features of all draws are computed in one call. To
        use a fitted transformer as it is, wrap it in `FrozenEstimator`.
    X_train, X_test : list, array, Series or frame with n_rows rows
        Input for the transformer.
    y_train, y_test : array-like of shape (n_rows,)
        Classes.
    classifier : classifier or None, default=None
        A clone is fitted for each draw. None is ``LogisticRegression(max_iter=100)``, as
        in mteb.
    n_per_class : int, None, or sequence of these, default=None
        Number of training texts of each class. If a class has fewer texts, all of them
        are used. None stands for the whole training data.
    n_draws : int, default=10
        Number of draws for each number of texts. The whole data is a single draw.
    random_state : int, default=0
        Seed of the draws.

    Returns
    -------
    pandas.DataFrame
        One row for each draw and metric, with the columns ``task`` ("classification"),
        ``n_per_class`` (Int64, NA for the whole data), ``draw`` (from 0), ``n_train``
        (number of training texts), ``metric`` ("accuracy", "f1_macro") and ``value``
        (from 0 to 1).

    Raises
    ------
    TypeError, ValueError
        For invalid arguments, and if lengths differ.
    ImportError
        Without pandas.

    Notes
    -----
    The draws follow mteb's undersampling (``AbsTaskClassification``): the rows are
    shuffled, and the first `n_per_class` of each class are kept. The next draw shuffles
    that order again, with a new random generator of the same seed. With
    ``random_state=42``, they are the texts that mteb draws.

    Examples
    --------
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer
    >>> from sklearn_llm2vec.evaluation import evaluate_classification
    >>> X = ["my card is lost", "where is my card", "what a goal", "they won the match"]
    >>> y = ["bank", "bank", "sport", "sport"]
    >>> scores = evaluate_classification(
    ...     LLMEmbeddingTransformer(), X, y, ["block the card", "a lucky win"],
    ...     ["bank", "sport"], n_per_class=[1, None], n_draws=2,
    ... )
    >>> scores[scores["metric"] == "accuracy"][["n_per_class", "draw", "value"]]
       n_per_class  draw  value
    0            1     0    1.0
    2            1     1    1.0
    4         <NA>     0    1.0
    """
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score

    from sklearn_llm2vec.evaluation._checks import (
        check_classes,
        check_count,
        check_two_classes,
        import_pandas,
    )
    from sklearn_llm2vec.evaluation._draws import draws_of, features_of_draws
    from sklearn_llm2vec.evaluation._features import check_transformer, count_rows

    caller = "evaluate_classification"
    pd = import_pandas(caller)
    check_transformer(transformer, caller)
    y_train = check_classes(y_train, count_rows(X_train, caller), "_train", caller)
    y_test = check_classes(y_test, count_rows(X_test, caller), "_test", caller)
    shots = _check_shots(n_per_class, caller)
    check_count("n_draws", n_draws, 1, caller)
    check_count("random_state", random_state, 0, caller)
    check_two_classes(y_train, "_train", caller)
    if classifier is None:
        classifier = LogisticRegression(max_iter=100)
    draws = [
        (n, draw, rows)
        for n in shots
        for draw, rows in enumerate(draws_of(y_train, n, n_draws, random_state))
    ]
    both = features_of_draws(
        transformer, X_train, y_train, X_test, [d[2] for d in draws]
    )
    records = []
    for (n, draw, rows), (known, asked) in zip(draws, both, strict=True):
        predicted = clone(classifier).fit(known, y_train[rows]).predict(asked)
        values = {
            "accuracy": accuracy_score(y_test, predicted),
            "f1_macro": f1_score(y_test, predicted, average="macro"),
        }
        about = {"n_per_class": n, "draw": draw, "n_train": len(rows)}
        records += [
            {"task": "classification", **about, "metric": name, "value": float(value)}
            for name, value in values.items()
        ]
    return pd.DataFrame(records).astype({"n_per_class": "Int64"})


def _check_shots(n_per_class, caller):
    """`n_per_class` as a list."""
    from sklearn_llm2vec._common.checks import is_integer, refused

    shots = n_per_class
    if shots is None or isinstance(shots, numbers.Number):
        shots = [shots]
    usable = isinstance(shots, Iterable) and not isinstance(shots, str)
    shots = list(shots) if usable else []
    if not shots or not all(n is None or is_integer(n, least=1) for n in shots):
        expected = "an int of at least 1, None, or a sequence of these"
        raise refused("n_per_class", expected, n_per_class, of=caller)
    return shots


# --- on the command line -------------------------------------------------------------

SUMMARY = "Accuracy and macro F1 of a logistic regression."
TABLES = {
    "train": "{table}, with the training rows",
    "test": "a table of test rows with the same columns",
}
USAGE = "TRAIN TEST --text COL\n           --target COL"
EXAMPLES = """\
train.csv test.csv --text review \\
    --target stars
train.csv test.csv --text review \\
    --target stars --n-per-class 8,16 --model Qwen/Qwen3-0.6B --layer 17
"""
GROUPS = ("n_per_class", "metric")


def add_options(add):
    """Add the options of the task alone."""
    from sklearn_llm2vec._common.words import count_from, counts_from

    add("--target", required=True, metavar="COL", help="column to predict")
    add(
        "--n-per-class",
        type=counts_from,
        metavar="LIST",
        help="number of training texts of each class, such as 8,16 (default: all)",
    )
    add(
        "--draws",
        type=count_from,
        default=10,
        metavar="N",
        help="number of draws of these texts (default: 10)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the draws (default: 0)",
    )


def evaluate_tables(transformer, tables, args):
    """The values for the tables that were named."""
    train, test = tables.read_labelled(args.train, args.test)
    return evaluate_classification(
        transformer,
        *train,
        *test,
        n_per_class=args.n_per_class,
        n_draws=args.draws,
        random_state=args.seed,
    )
