"""Clustering: a k-means of the features, compared with the true classes.

What a task needs is imported by its functions: the command line reads this file for its
``--help``.
"""

from sklearn_llm2vec._common.public import public_in


@public_in("sklearn_llm2vec.evaluation")
def evaluate_clustering(
    transformer, X, y, *, n_clusters=None, n_draws=10, random_state=0
):
    """V-measure of a k-means clustering of the features, compared with the classes.

    Parameters
    ----------
    transformer : estimator with `transform`
        If it is fitted or learns nothing from data, it is used as it is. Otherwise, a
        clone is fitted on `X`, without `y`.
    X : list, array, Series or frame with n_rows rows
        Input for the transformer.
    y : array-like of shape (n_rows,)
        Classes.
    n_clusters : int or None, default=None
        Number of clusters. None is the number of classes.
    n_draws : int, default=10
        Number of runs of k-means on all texts, each with a different start.
    random_state : int, default=0
        Seed of the first run. The seed of each further run is greater by 1.

    Returns
    -------
    pandas.DataFrame
        One row for each run, with the columns ``task`` ("clustering"), ``n_clusters``,
        ``draw`` (from 0), ``metric`` ("v_measure") and ``value`` (from 0 to 1).

    Raises
    ------
    TypeError, ValueError
        For invalid arguments, lengths that differ, fewer than two classes, and features
        that are not finite.
    ImportError
        Without pandas.

    Notes
    -----
    The clustering is that of mteb's ``AbsTaskClusteringLegacy``:
    ``MiniBatchKMeans(batch_size=500, n_init="auto")``, without scaling the features to
    unit length. With ``random_state=42``, the first run is the same as mteb's. Newer
    tasks of mteb cluster random samples of a large data set instead.

    Examples
    --------
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer
    >>> from sklearn_llm2vec.evaluation import evaluate_clustering
    >>> X = ["my card is lost", "where is my card", "what a goal", "they won the match"]
    >>> y = ["bank", "bank", "sport", "sport"]
    >>> evaluate_clustering(LLMEmbeddingTransformer(), X, y, n_draws=1)
             task  n_clusters  draw     metric  value
    0  clustering           2     0  v_measure    1.0
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.metrics import v_measure_score

    from sklearn_llm2vec.evaluation._checks import (
        check_classes,
        check_count,
        check_two_classes,
        import_pandas,
    )
    from sklearn_llm2vec.evaluation._features import (
        check_transformer,
        count_rows,
        features_of,
        finite_vectors,
    )

    caller = "evaluate_clustering"
    pd = import_pandas(caller)
    check_transformer(transformer, caller)
    n_rows = count_rows(X, caller)
    y = check_classes(y, n_rows, "", caller)
    n_classes = check_two_classes(y, "", caller)
    n_clusters = n_classes if n_clusters is None else n_clusters
    check_count("n_clusters", n_clusters, 2, caller)
    check_count("n_draws", n_draws, 1, caller)
    check_count("random_state", random_state, 0, caller)
    vectors = finite_vectors(features_of(transformer, X)[1], caller)
    records = []
    for draw in range(n_draws):
        means = MiniBatchKMeans(
            n_clusters, batch_size=500, n_init="auto", random_state=random_state + draw
        )
        value = v_measure_score(y, means.fit_predict(vectors))
        about = {"task": "clustering", "n_clusters": n_clusters, "draw": draw}
        records.append({**about, "metric": "v_measure", "value": float(value)})
    return pd.DataFrame(records)


# --- on the command line -------------------------------------------------------------

SUMMARY = "V-measure of a k-means."
TABLES = {"file": "{table}"}
USAGE = "FILE --text COL\n           --target COL"
EXAMPLES = "news.csv --text text --target topic\n"
GROUPS = ("metric",)


def add_options(add):
    """Add the options of the task alone."""
    from sklearn_llm2vec._common.words import count_from

    add("--target", required=True, metavar="COL", help="column of the classes")
    add("--n-clusters", type=count_from, metavar="N", help="default: number of classes")
    add(
        "--draws", type=count_from, default=10, metavar="N", help="starts (default: 10)"
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the starts (default: 0)",
    )


def evaluate_tables(transformer, tables, args):
    """The values for the table that was named."""
    [(texts, classes)] = tables.read_labelled(args.file)
    return evaluate_clustering(
        transformer,
        texts,
        classes,
        n_clusters=args.n_clusters,
        n_draws=args.draws,
        random_state=args.seed,
    )
