"""Similarity: human scores of pairs, and the cosines of their features.

What a task needs is imported by its functions: the command line reads this file for its
``--help``.
"""

from sklearn_llm2vec._common.public import public_in


@public_in("sklearn_llm2vec.evaluation")
def evaluate_sts(transformer, texts_a, texts_b, scores):
    """Correlation of human similarity scores with the cosines of the features.

    Parameters
    ----------
    transformer : estimator with `transform`
        If it is fitted or learns nothing from data, it is used as it is. Otherwise, a
        clone is fitted on the texts of all pairs.
    texts_a, texts_b : list, array or Series of str, of shape (n_pairs,)
        The two texts of each pair.
    scores : array-like of float, of shape (n_pairs,)
        Human scores of their similarity, on any scale.

    Returns
    -------
    pandas.DataFrame
        Two rows, with the columns ``task`` ("sts"), ``n_pairs``, ``metric`` ("spearman",
        which is usually reported, and "pearson") and ``value`` (from -1 to 1).

    Raises
    ------
    TypeError, ValueError
        For invalid arguments, lengths that differ, scores that are all the same or not
        finite, and features that are not finite.
    ImportError
        Without pandas.

    Notes
    -----
    The cosine with a zero vector, such as that of a missing text, is 0. If all cosines
    are the same, the correlation isn't defined. In this case, SciPy warns, and the value
    is NaN.

    Examples
    --------
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer
    >>> from sklearn_llm2vec.evaluation import evaluate_sts
    >>> evaluate_sts(
    ...     LLMEmbeddingTransformer(),
    ...     ["A man plays a guitar.", "A dog runs.", "A plane takes off."],
    ...     ["Someone plays music.", "A dog is running fast.", "Two cats sleep."],
    ...     [2.5, 4.9, 0.1],
    ... ).round(2)
      task  n_pairs    metric  value
    0  sts        3  spearman   1.00
    1  sts        3   pearson   0.96
    """
    from scipy.stats import pearsonr, spearmanr

    from sklearn_llm2vec.evaluation._checks import check_scores, import_pandas
    from sklearn_llm2vec.evaluation._features import (
        as_list,
        check_transformer,
        features_of,
        finite_vectors,
        paired_products,
        unit_rows,
    )

    caller = "evaluate_sts"
    pd = import_pandas(caller)
    check_transformer(transformer, caller)
    first, second = as_list(texts_a, caller), as_list(texts_b, caller)
    scores = check_scores(scores, caller)
    if not len(first) == len(second) == len(scores):
        raise ValueError(
            f"{caller} expects 'texts_a', 'texts_b' and 'scores' of the same length. "
            f"Got {len(first)}, {len(second)} and {len(scores)}."
        )
    _, features = features_of(transformer, first + second)
    vectors = unit_rows(finite_vectors(features, caller))
    cosines = paired_products(vectors[: len(first)], vectors[len(first) :])
    values = {
        "spearman": spearmanr(cosines, scores).statistic,
        "pearson": pearsonr(cosines, scores).statistic,
    }
    return pd.DataFrame(
        {"task": "sts", "n_pairs": len(first), "metric": name, "value": float(value)}
        for name, value in values.items()
    )


# --- on the command line -------------------------------------------------------------

SUMMARY = "Correlation of cosines with human scores of similarity."
TABLES = {"file": "{table}; each row has two texts"}
USAGE = "FILE --text COL --text COL\n           --score COL"
EXAMPLES = """\
pairs.csv --text first --text second \\
    --score similarity
"""
GROUPS = ("metric",)


def add_options(add):
    """Add the options of the task alone."""
    add("--score", required=True, metavar="COL", help="column of the scores")


def evaluate_tables(transformer, tables, args):
    """The values for the table that was named."""
    if len(args.text) != 2:
        args.parser.error("give --text twice, once for each of the two texts")
    frame = tables.read(args.file, numbers={"--score": args.score})
    first, second = (frame[name] for name in args.text)
    return evaluate_sts(transformer, first, second, frame[args.score])
