"""What features are worth: classification, similarity, retrieval and clustering.

Any transformer of scikit-learn goes in, a tidy pandas frame comes out, one row a value.
The protocols are mteb's where it has one. A text is encoded once because the
transformer's cache sees to it.
"""

import copy
import numbers
from collections import defaultdict

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, v_measure_score

from sklearn_llm2vec.evaluation._bm25 import BM25
from sklearn_llm2vec.evaluation._features import (
    as_list,
    check_transformer,
    count_rows,
    features_of,
    finite_vectors,
    fit_features,
    learns,
    take_rows,
    template_parameter,
    unit_rows,
    with_template,
)
from sklearn_llm2vec.evaluation._mteb import as_mteb_encoder
from sklearn_llm2vec.evaluation._ranking import (
    average_precision,
    ndcg,
    recall,
    search_scores,
    search_vectors,
)
from sklearn_llm2vec.evaluation._relevance import read_collection, read_relevance

__all__ = [
    "BM25",
    "as_mteb_encoder",
    "evaluate_classification",
    "evaluate_clustering",
    "evaluate_retrieval",
    "evaluate_sts",
]

RECALL_AT = (10, 100)


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

    With all training data, and with a few texts of each class, drawn again and again as
    mteb does it.

    Parameters
    ----------
    transformer : estimator with `transform`
        A clone is fitted on the training texts of each draw, and never sees others. One
        that learns nothing gives the features of all draws in one call; a fitted one goes
        in as a `FrozenEstimator`.
    X_train, X_test : list, array, Series or frame with n_rows rows
        What the transformer takes.
    y_train, y_test : array-like of shape (n_rows,)
        Classes.
    classifier : classifier or None, default=None
        A clone is fitted in each draw. None is ``LogisticRegression(max_iter=100)``, as
        in mteb.
    n_per_class : int, None, or sequence of these, default=None
        Training texts of each class; all of a class that has fewer. None is the whole
        training data.
    n_draws : int, default=10
        Draws for each number of texts; the whole data is one draw.
    random_state : int, default=0
        Seed of the draws.

    Returns
    -------
    pandas.DataFrame
        One row for each draw and metric, with the columns ``task`` ("classification"),
        ``n_per_class`` (Int64, NA for the whole data), ``draw`` (from 0), ``n_train``
        (texts trained on), ``metric`` ("accuracy", "f1_macro") and ``value`` (from 0 to
        1).

    Raises
    ------
    TypeError, ValueError
        For arguments of the wrong kind, and lengths that differ.
    ImportError
        Without pandas.

    Notes
    -----
    A draw is mteb's undersampling (``AbsTaskClassification``): shuffle the rows, keep the
    first `n_per_class` of each class; the next draw shuffles that order again, from the
    same seed. With ``random_state=42`` they are the very texts that mteb draws.

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
    caller = "evaluate_classification"
    pd = _import_pandas(caller)
    check_transformer(transformer, caller)
    y_train = _check_y(y_train, count_rows(X_train, caller), "train", caller)
    y_test = _check_y(y_test, count_rows(X_test, caller), "test", caller)
    shots = _check_shots(n_per_class, caller)
    _check_int("n_draws", n_draws, 1, caller)
    _check_int("random_state", random_state, 0, caller)
    if len(np.unique(y_train)) < 2:
        raise ValueError(
            f"{caller} expects at least two classes in 'y_train'. Got {y_train[0]!r} "
            "only."
        )
    if classifier is None:
        classifier = LogisticRegression(max_iter=100)
    draws = [
        (n, draw, rows)
        for n in shots
        for draw, rows in enumerate(_draws(y_train, n, n_draws, random_state))
    ]
    both = _features_of_draws(
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


def evaluate_sts(transformer, texts_a, texts_b, scores):
    """Correlation of people's similarity scores with the cosines of the features.

    Parameters
    ----------
    transformer : estimator with `transform`
        Used as it is where it is fitted or learns nothing; of another one a clone is
        fitted on the texts of all pairs.
    texts_a, texts_b : list, array or Series of str, of shape (n_pairs,)
        The two texts of each pair.
    scores : array-like of float, of shape (n_pairs,)
        How similar people find them, on any scale.

    Returns
    -------
    pandas.DataFrame
        Two rows, with the columns ``task`` ("sts"), ``n_pairs``, ``metric`` ("spearman",
        the one that is usually reported, and "pearson") and ``value`` (from -1 to 1).

    Raises
    ------
    TypeError, ValueError
        For arguments of the wrong kind, lengths that differ, scores that are all the
        same or no finite numbers, and features that are not finite.
    ImportError
        Without pandas.

    Notes
    -----
    The cosine with a zero vector, such as that of a missing text, is 0. If all cosines
    are the same no correlation is defined: SciPy warns, and the value is NaN.

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
    caller = "evaluate_sts"
    pd = _import_pandas(caller)
    check_transformer(transformer, caller)
    first, second = as_list(texts_a, caller), as_list(texts_b, caller)
    scores = _check_scores(scores, caller)
    if not len(first) == len(second) == len(scores):
        raise ValueError(
            f"{caller} expects 'texts_a', 'texts_b' and 'scores' of one length. Got "
            f"{len(first)}, {len(second)} and {len(scores)}."
        )
    _, features = features_of(transformer, first + second)
    vectors = unit_rows(finite_vectors(features, caller))
    cosines = _paired_products(vectors[: len(first)], vectors[len(first) :])
    values = {
        "spearman": spearmanr(cosines, scores).statistic,
        "pearson": pearsonr(cosines, scores).statistic,
    }
    return pd.DataFrame(
        {"task": "sts", "n_pairs": len(first), "metric": name, "value": float(value)}
        for name, value in values.items()
    )


def evaluate_retrieval(
    transformer,
    queries,
    documents,
    relevance,
    *,
    query_template=None,
    document_template=None,
    k=10,
    depth=1000,
    average="queries",
):
    """nDCG, mean average precision and recall of an exact search by cosine.

    Parameters
    ----------
    transformer : estimator with `transform`, or a ranker such as `BM25`
        Used as it is where it is fitted or learns nothing; of another one a clone is
        fitted on the documents. A ranker has `fit`, which takes the documents, and
        `score_documents`, which gives an array (n_queries, n_documents) for queries;
        minus infinity is a document that it doesn't find. A clone of it is fitted.
    queries, documents : mapping, Series of pandas, or frame
        From id to text; the ids of a Series are its index, those of a frame its column
        ``query_id`` or ``doc_id``, and all other columns go to the transformer.
    relevance : frame, or mapping of mappings
        Judgements, with the columns ``query_id``, ``doc_id`` and ``relevance``; or
        ``{query_id: {doc_id: relevance}}``. A document is relevant if its relevance is
        above 0; greater is better; without a judgement it is 0.
    query_template, document_template : str or None, default=None
        The transformer's `template` for queries and for documents, set in copies of it;
        in a pipeline, that of the one step which has it. None leaves it as it is.
    k : int, default=10
        Documents that nDCG looks at.
    depth : int, default=1000
        Documents ranked for each query; relevant ones further down count as not found,
        as in the runs of TREC.
    average : {"queries"} or None, default="queries"
        The mean over the queries, or each query's values.

    Returns
    -------
    pandas.DataFrame
        One row for each metric, with the columns ``task`` ("retrieval"), ``n_queries``,
        ``n_left_out``, ``metric`` ("ndcg_at_10" or what `k` is, "map", "recall_at_10",
        "recall_at_100") and ``value`` (from 0 to 1). With ``average=None``, one row for
        each query and metric, with its ``query_id`` in place of the two counts.

    Raises
    ------
    TypeError, ValueError
        For arguments of the wrong kind, ids that come twice or that only the judgements
        have, judgements without a relevant document, a template for what takes none, and
        features that are not finite.
    ImportError
        Without pandas.

    See Also
    --------
    BM25 : The baseline by words.

    Notes
    -----
    Measures are those of trec_eval: ``ndcg_cut`` with the relevances as gains, ``map``,
    ``recall``. Queries without a relevant document are left out, and counted in
    ``n_left_out`` (trec_eval counts those that were judged as 0). Of equal scores the
    document that comes first in `documents` is ranked first. The cosine with a zero
    vector is 0.

    Documents are searched in blocks, without an index: besides the vectors themselves
    some 100 MB are held.

    Examples
    --------
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer
    >>> from sklearn_llm2vec.evaluation import evaluate_retrieval
    >>> documents = {
    ...     "d1": "The card arrives within five days.",
    ...     "d2": "A transfer abroad costs two euros.",
    ...     "d3": "You can freeze a lost card in the app.",
    ... }
    >>> queries = {"q1": "I can't find my card", "q2": "fee for sending money"}
    >>> relevance = {"q1": {"d3": 2, "d1": 1}, "q2": {"d2": 1}}
    >>> evaluate_retrieval(LLMEmbeddingTransformer(), queries, documents, relevance)
            task  n_queries  n_left_out         metric  value
    0  retrieval          2           0     ndcg_at_10    1.0
    1  retrieval          2           0            map    1.0
    2  retrieval          2           0   recall_at_10    1.0
    3  retrieval          2           0  recall_at_100    1.0
    """
    caller = "evaluate_retrieval"
    pd = _import_pandas(caller)
    _check_int("k", k, 1, caller)
    _check_int("depth", depth, 1, caller)
    if average not in ("queries", None):
        raise ValueError(
            f"The 'average' parameter of {caller} must be 'queries' or None. "
            f"Got {average!r} instead."
        )
    query_ids, X_queries = read_collection(queries, "queries", "query_id")
    doc_ids, X_documents = read_collection(documents, "documents", "doc_id")
    judged = read_relevance(relevance, query_ids, doc_ids)
    asked = take_rows(X_queries, list(judged))
    templates = (query_template, document_template)
    search = _ranker if hasattr(transformer, "score_documents") else _vector_search
    blocks = search(transformer, asked, X_documents, templates, depth, caller)
    values = _measure(blocks, list(judged.values()), len(doc_ids), k)
    if average is None:
        ids = [query_ids[row] for row in judged]
        table = pd.DataFrame({"task": "retrieval", "query_id": ids, **values})
        return table.melt(["task", "query_id"], var_name="metric")
    counts = {"n_queries": len(judged), "n_left_out": len(query_ids) - len(judged)}
    return pd.DataFrame(
        {"task": "retrieval", **counts, "metric": name, "value": float(np.mean(each))}
        for name, each in values.items()
    )


def evaluate_clustering(
    transformer, X, y, *, n_clusters=None, n_draws=10, random_state=0
):
    """V-measure of a k-means of the features against the true classes.

    Parameters
    ----------
    transformer : estimator with `transform`
        Used as it is where it is fitted or learns nothing; of another one a clone is
        fitted on `X`, without `y`.
    X : list, array, Series or frame with n_rows rows
        What the transformer takes.
    y : array-like of shape (n_rows,)
        Classes.
    n_clusters : int or None, default=None
        None is the number of classes.
    n_draws : int, default=10
        Runs of the k-means on all texts, each from another start.
    random_state : int, default=0
        Seed of the first run; that of the next one is greater by 1.

    Returns
    -------
    pandas.DataFrame
        One row for each run, with the columns ``task`` ("clustering"), ``n_clusters``,
        ``draw`` (from 0), ``metric`` ("v_measure") and ``value`` (from 0 to 1).

    Raises
    ------
    TypeError, ValueError
        For arguments of the wrong kind, lengths that differ, fewer than two classes, and
        features that are not finite.
    ImportError
        Without pandas.

    Notes
    -----
    The k-means is that of mteb's ``AbsTaskClusteringLegacy``:
    ``MiniBatchKMeans(batch_size=500, n_init="auto")`` on the features as they are, not
    scaled to unit length. With ``random_state=42`` the first run is mteb's. Its newer
    tasks cluster random samples of a large set instead.

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
    caller = "evaluate_clustering"
    pd = _import_pandas(caller)
    check_transformer(transformer, caller)
    n_rows = count_rows(X, caller)
    y = _check_y(y, n_rows, None, caller)
    n_classes = len(np.unique(y))
    if n_classes < 2:
        raise ValueError(
            f"{caller} expects at least two classes in 'y'. Got {y[0]!r} only."
        )
    n_clusters = n_classes if n_clusters is None else n_clusters
    _check_int("n_clusters", n_clusters, 2, caller)
    _check_int("n_draws", n_draws, 1, caller)
    _check_int("random_state", random_state, 0, caller)
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


# ---------------------------------------------------------------------------------
# Classification


def _draws(y, n, n_draws, seed):
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


def _features_of_draws(transformer, X_train, y_train, X_test, draws):
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


# ---------------------------------------------------------------------------------
# Similarity


def _paired_products(first, second):
    """Dot product of each row of one with that of the other."""
    if hasattr(first, "multiply"):  # sparse
        return np.asarray(first.multiply(second).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", first, second, dtype=np.float64)


# ---------------------------------------------------------------------------------
# Retrieval


def _ranker(ranker, queries, documents, templates, depth, caller):
    """Blocks of ranked documents by a ranker's scores."""
    if templates != (None, None):
        raise ValueError(
            f"{caller} sets templates in transformers only. Got one for "
            f"{type(ranker).__name__}: leave 'query_template' and 'document_template' "
            "out."
        )
    fitted = clone(ranker).fit(documents)

    def score(rows):
        asked = take_rows(queries, range(*rows.indices(len(queries))))
        scores = fitted.score_documents(asked)
        return _check_document_scores(scores, (len(asked), len(documents)), caller)

    return search_scores(score, len(queries), len(documents), depth)


def _vector_search(transformer, queries, documents, templates, depth, caller):
    """Blocks of ranked documents by the cosine of their vectors with the queries'."""
    check_transformer(transformer, caller)
    query_template, document_template = templates
    documents_side = with_template(transformer, document_template, caller)
    fitted, features = features_of(documents_side, documents)
    found = unit_rows(finite_vectors(features, caller))
    if query_template is None and document_template is not None:
        name = template_parameter(transformer, caller)
        fitted = copy.deepcopy(fitted).set_params(
            **{name: transformer.get_params()[name]}
        )
    asked = with_template(fitted, query_template, caller).transform(queries)
    return search_vectors(unit_rows(finite_vectors(asked, caller)), found, depth)


def _measure(blocks, judged, n_documents, k):
    """Each measure's values, query by query in their order."""
    values = defaultdict(list)
    relevance = np.zeros(n_documents)
    for start, ranked in blocks:
        for n, row in enumerate(ranked):
            documents, gains = judged[start + n]
            relevance[documents] = gains
            of_ranked = np.where(row >= 0, relevance[row], 0.0)
            relevance[documents] = 0
            wanted = gains[gains > 0]
            values[f"ndcg_at_{k}"].append(ndcg(of_ranked, wanted, k))
            values["map"].append(average_precision(of_ranked, wanted))
            for cut in RECALL_AT:
                values[f"recall_at_{cut}"].append(recall(of_ranked, wanted, cut))
    return values


# ---------------------------------------------------------------------------------
# Checks


def _import_pandas(caller):
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{caller} returns a frame of pandas: "
            "pip install 'sklearn-llm2vec[evaluation]'"
        ) from error
    return pandas


def _check_y(y, n_rows, part, caller):
    """Classes as an array with one entry for each row."""
    name, X_name = (f"y_{part}", f"X_{part}") if part else ("y", "X")
    if y is None or isinstance(y, (str, bytes)):
        raise TypeError(
            f"The {name!r} parameter of {caller} must be an array-like of classes. "
            f"Got {y!r} instead."
        )
    # As objects: among strings numpy would make NaN the word "nan".
    missing = _import_pandas(caller).isna(np.asarray(y, dtype=object)).ravel()
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.ravel()
    if y.ndim != 1:
        raise ValueError(
            f"The {name!r} parameter of {caller} must have one class a row. Got an array "
            f"of shape {y.shape} instead."
        )
    if len(y) != n_rows:
        raise ValueError(
            f"{caller} expects {X_name!r} and {name!r} of one length. Got {n_rows} and "
            f"{len(y)}."
        )
    if missing.any():
        raise ValueError(
            f"The {name!r} parameter of {caller} must have a class for every row. "
            f"{missing.sum()} are missing, the first in row {missing.argmax()}."
        )
    return y


def _check_shots(n_per_class, caller):
    """`n_per_class` as a list."""
    shots = n_per_class
    if shots is None or isinstance(shots, numbers.Number):
        shots = [shots]
    usable = np.iterable(shots) and not isinstance(shots, str)
    shots = list(shots) if usable else []
    if not shots or not all(n is None or _is_int(n, 1) for n in shots):
        raise ValueError(
            f"The 'n_per_class' parameter of {caller} must be an int of at least 1, "
            f"None, or a sequence of these. Got {n_per_class!r} instead."
        )
    return shots


def _check_scores(scores, caller):
    """Similarities as an array of floats that aren't all the same."""
    try:
        scores = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"The 'scores' parameter of {caller} must be an array-like of numbers. "
            f"Got {type(scores).__name__} instead."
        ) from error
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError(
            f"The 'scores' parameter of {caller} must hold one finite number a pair. Got "
            f"an array of shape {scores.shape} with {(~np.isfinite(scores)).sum()} that "
            "aren't finite."
        )
    if len(np.unique(scores)) < 2:
        raise ValueError(
            f"The 'scores' parameter of {caller} must hold at least two different "
            f"numbers, or no correlation is defined. Got {len(scores)} scores."
        )
    return scores


def _is_int(value, least):
    return (
        isinstance(value, numbers.Integral)
        and not isinstance(value, bool)
        and value >= least
    )


def _check_document_scores(scores, shape, caller):
    """A ranker's scores as floats, which can be sorted."""
    scores = np.asarray(scores)
    if scores.shape != shape or scores.dtype.kind not in "fiub":
        raise ValueError(
            f"{caller} expects an array of numbers of shape {shape}, queries by "
            f"documents, from 'score_documents'. Got one of shape {scores.shape} and "
            f"dtype {scores.dtype}."
        )
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    if np.isnan(scores).any():
        raise ValueError(
            f"{caller} expects no NaN from 'score_documents'. Make documents that "
            "aren't found minus infinity."
        )
    return scores


def _check_int(name, value, least, caller):
    if not _is_int(value, least):
        raise ValueError(
            f"The {name!r} parameter of {caller} must be an int of at least {least}. "
            f"Got {value!r} instead."
        )
