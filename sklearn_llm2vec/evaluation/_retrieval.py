"""Retrieval: queries, documents, and which documents are relevant to which queries.

What a task needs is imported by its functions: the command line reads this file for its
``--help``.
"""

from sklearn_llm2vec._common.public import public_in


@public_in("sklearn_llm2vec.evaluation")
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
        A transformer that is fitted or learns nothing from data is used as it is.
        Otherwise, a clone is fitted on the documents. A ranker has the methods `fit`,
        which takes the documents, and `score_documents`, which takes queries and returns
        an array of shape (n_queries, n_documents), with minus infinity for documents that
        it doesn't find. A clone of the ranker is fitted.
    queries, documents : mapping, Series of pandas, or frame
        A mapping from ids to texts, a Series whose index contains the ids, or a frame
        with the ids in the column ``query_id`` or ``doc_id``. All other columns of a
        frame are passed to the transformer.
    relevance : frame, or mapping of mappings
        Judgments, as a frame with the columns ``query_id``, ``doc_id`` and ``relevance``,
        or as ``{query_id: {doc_id: relevance}}``. A document is relevant if its relevance
        is above 0, and a greater relevance is better. Without a judgment, the relevance
        is 0.
    query_template, document_template : str or None, default=None
        The transformer's `template` for queries and for documents. It is set in copies of
        the transformer or, in a pipeline, of the step that has this parameter. None
        leaves it unchanged.
    k : int, default=10
        Number of documents that nDCG takes into account.
    depth : int, default=1000
        Number of documents ranked for each query. Relevant documents further down are
        treated as not found, as in the runs of TREC.
    average : {"queries"} or None, default="queries"
        Whether to return the mean over the queries or the values of each query.

    Returns
    -------
    pandas.DataFrame
        One row for each metric, with the columns ``task`` ("retrieval"), ``n_queries``,
        ``n_left_out``, ``metric`` ("ndcg_at_10" or the value of `k`, "map",
        "recall_at_10", "recall_at_100") and ``value`` (from 0 to 1). With
        ``average=None``, one row for each query and metric, with the ``query_id`` in
        place of the two counts.

    Raises
    ------
    TypeError, ValueError
        For invalid arguments, ids that occur twice or only in the judgments, judgments
        without a relevant document, a template for a transformer that doesn't have this
        parameter, and features that are not finite.
    ImportError
        Without pandas.

    See Also
    --------
    BM25 : A baseline that ranks by words.

    Notes
    -----
    The measures are those of trec_eval: ``ndcg_cut`` with the relevances as gains,
    ``map`` and ``recall``. Queries without a relevant document are left out, and
    ``n_left_out`` is their number (trec_eval counts them as 0 if they have judgments).
    Documents with equal scores are ranked in their order in `documents`. The cosine with
    a zero vector is 0.

    Documents are searched in blocks, without an index. This takes about 100 MB in
    addition to the vectors.

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
    from sklearn_llm2vec._common.checks import refused
    from sklearn_llm2vec.evaluation._checks import check_count, import_pandas
    from sklearn_llm2vec.evaluation._features import take_rows
    from sklearn_llm2vec.evaluation._ranking import measure
    from sklearn_llm2vec.evaluation._relevance import read_collection, read_relevance
    from sklearn_llm2vec.evaluation._searching import (
        search_by_scores,
        search_by_vectors,
    )

    caller = "evaluate_retrieval"
    pd = import_pandas(caller)
    check_count("k", k, 1, caller)
    check_count("depth", depth, 1, caller)
    if average not in ("queries", None):
        raise refused("average", "'queries' or None", average, of=caller)
    query_ids, X_queries = read_collection(queries, "queries", "query_id")
    doc_ids, X_documents = read_collection(documents, "documents", "doc_id")
    judged = read_relevance(relevance, query_ids, doc_ids)
    asked = take_rows(X_queries, list(judged))
    templates = (query_template, document_template)
    ranks = hasattr(transformer, "score_documents")
    search = search_by_scores if ranks else search_by_vectors
    blocks = search(transformer, asked, X_documents, templates, depth, caller)
    values = measure(blocks, list(judged.values()), len(doc_ids), k)
    if average is None:
        ids = [query_ids[row] for row in judged]
        table = pd.DataFrame({"task": "retrieval", "query_id": ids, **values})
        return table.melt(["task", "query_id"], var_name="metric")
    counts = {"n_queries": len(judged), "n_left_out": len(query_ids) - len(judged)}
    return pd.DataFrame(
        {"task": "retrieval", **counts, "metric": name, "value": float(each.mean())}
        for name, each in values.items()
    )


# --- on the command line -------------------------------------------------------------

SUMMARY = "nDCG, mean average precision and recall of an exact search."
TABLES = {
    "queries": "{table}, with the ids and texts of the queries",
    "documents": "table of the documents, with ids and texts",
    "relevance": "table of judgments, with query, document and relevance",
}
USAGE = "QUERIES DOCUMENTS RELEVANCE\n           --text COL"
EXAMPLES = """\
queries.csv documents.csv relevance.csv \\
    --text text --bm25
"""
GROUPS = ("ranker", "metric")


def add_options(add):
    """Add the options of the task alone."""
    from sklearn_llm2vec._common.words import count_from

    about = "column of the query ids in QUERIES (default: query_id)"
    add("--query-id", default="query_id", metavar="COL", help=about)
    about = "column of the document ids in DOCUMENTS (default: doc_id)"
    add("--doc-id", default="doc_id", metavar="COL", help=about)
    same = "in RELEVANCE, if it has another name there"
    add("--judged-query", metavar="COL", help=f"column of the query ids {same}")
    add("--judged-doc", metavar="COL", help=f"column of the document ids {same}")
    about = "column of the relevance in RELEVANCE (default: relevance)"
    add("--relevant", default="relevance", metavar="COL", help=about)
    add("--query-template", metavar="TEXT", help="prompt for queries only")
    add("--document-template", metavar="TEXT", help="prompt for documents only")
    add(
        "--k",
        type=count_from,
        default=10,
        metavar="N",
        help="number of documents in nDCG (default: 10)",
    )
    add("--bm25", action="store_true", help="also score BM25, which ranks by words")


def evaluate_tables(transformer, tables, args):
    """The values for the tables that were named, perhaps beside those of BM25."""
    if args.bm25 and len(args.text) > 1:
        args.parser.error("with --bm25, give one --text only")
    queries, documents, relevance = _read_collections(tables, args)
    values = evaluate_retrieval(
        transformer,
        queries,
        documents,
        relevance,
        query_template=args.query_template,
        document_template=args.document_template,
        k=args.k,
    )
    if not args.bm25:
        return values
    import pandas as pd

    from sklearn_llm2vec.evaluation._bm25 import BM25

    baseline = evaluate_retrieval(BM25(), queries, documents, relevance, k=args.k)
    values.insert(0, "ranker", "model")
    baseline.insert(0, "ranker", "bm25")
    return pd.concat([values, baseline], ignore_index=True)


def _read_collections(tables, args):
    """Queries, documents and relevance, with the names that the function takes."""
    judged = [args.judged_query or args.query_id, args.judged_doc or args.doc_id]
    if len(set(judged)) < 2:
        args.parser.error(
            "RELEVANCE has the ids of queries and of documents: name its columns with "
            "--judged-query and --judged-doc"
        )
    queries = tables.read(args.queries, ids=[args.query_id])
    documents = tables.read(args.documents, ids=[args.doc_id])
    gains = {"--relevant": args.relevant}
    relevance = tables.read(args.relevance, texts=(), ids=judged, numbers=gains)
    names = ["query_id", "doc_id", "relevance"]
    return (
        queries.rename(columns={args.query_id: "query_id"}),
        documents.rename(columns={args.doc_id: "doc_id"}),
        relevance[[*judged, args.relevant]].set_axis(names, axis=1),
    )
