"""``sklearn-llm2vec evaluate``: what the features of a model are worth, on a table.

Reads the tables and prints what ``evaluation`` measures.
"""

import numpy as np

from sklearn_llm2vec import evaluation
from sklearn_llm2vec._common.whole_files import check_output, whole_file
from sklearn_llm2vec.cli._columns import (
    as_classes,
    open_named_table,
    split_target,
    survey_texts,
)
from sklearn_llm2vec.cli._console import format_table
from sklearn_llm2vec.cli._model_options import make_transformer
from sklearn_llm2vec.cli._reading import check_kinds, read_frame

# What tells rows of a result apart that aren't draws of the same.
GROUPS = ("ranker", "n_per_class", "metric")
# Arguments that are tables.
TABLES = ("file", "train", "test", "queries", "documents", "relevance")


def run(args):
    """Run ``evaluate`` for a task."""
    tables = [getattr(args, name) for name in TABLES if hasattr(args, name)]
    check_output(args.output, tables)
    measure = {
        "classification": _classification,
        "sts": _sts,
        "retrieval": _retrieval,
        "clustering": _clustering,
    }[args.task]
    values = measure(args)
    print(_means_table(values))
    if args.output:
        with whole_file(args.output) as file:
            values.to_csv(file, index=False)


def _means_table(values):
    """Mean of the draws, and their standard deviation where there are several."""
    groups = [name for name in GROUPS if name in values]
    found = values.groupby(groups, sort=False, dropna=False)["value"]
    table = found.agg(["mean", "std", "size"]).reset_index()
    rows = []
    for record in table.to_dict("records"):
        names = [_name(record[group]) for group in groups]
        several = record["size"] > 1
        deviation = f"{record['std']:.4f}" if several else ""
        rows.append([*names, f"{record['mean']:.4f}", deviation, f"{record['size']}"])
    header = [*groups, "mean", "std", "draws"]
    if table["size"].max() == 1:
        header = [*groups, "value"]
        rows = [row[:-2] for row in rows]
    return format_table(header, rows, left=len(groups))


def _name(value):
    import pandas as pd

    return "all" if pd.isna(value) else str(value)


# --- tasks ---------------------------------------------------------------------------


def _classification(args):
    X_train, y_train = _texts_and_target(args, args.train)
    X_test, y_test = _texts_and_target(args, args.test)
    y_train, y_test = _as_same_classes(y_train, y_test)
    return evaluation.evaluate_classification(
        make_transformer(args),
        X_train,
        y_train,
        X_test,
        y_test,
        n_per_class=args.n_per_class,
        n_draws=args.draws,
        random_state=args.seed,
    )


def _sts(args):
    if len(args.text) != 2:
        args.parser.error("give --text twice: the columns of the two texts")
    table = open_named_table(args)
    survey = survey_texts(table, args, [args.score])
    advice = "Name another column with --score."
    check_kinds(table, survey, [args.score], ["int", "float"], advice)
    frame = read_frame(table, survey)
    first, second = (frame[name] for name in args.text)
    transformer = make_transformer(args)
    return evaluation.evaluate_sts(transformer, first, second, frame[args.score])


def _retrieval(args):
    import pandas as pd

    if args.bm25 and len(args.text) > 1:
        args.parser.error("with --bm25 there is one --text")
    ids = {"query_id": args.query_id, "doc_id": args.doc_id}
    judged_ids = {
        "query_id": args.judged_query or args.query_id,
        "doc_id": args.judged_doc or args.doc_id,
    }
    if len(set(judged_ids.values())) < 2:
        args.parser.error(
            "RELEVANCE has the ids of queries and of documents: name its columns with "
            "--judged-query and --judged-doc"
        )
    sides = []
    for path, (name, id_name) in zip(
        (args.queries, args.documents), ids.items(), strict=True
    ):
        table = open_named_table(args, path)
        survey = survey_texts(table, args, [id_name], as_written=[id_name])
        frame = read_frame(table, survey)
        frame[id_name] = _as_ids(frame[id_name], table)
        sides.append(frame.rename(columns={id_name: name}))
    table = open_named_table(args, args.relevance)
    columns = list(judged_ids.values())
    survey = table.survey([*columns, args.relevant], as_written=columns)
    advice = "Name another column with --relevant."
    check_kinds(table, survey, [args.relevant], ["int", "float"], advice)
    frame = read_frame(table, survey)
    judged = pd.DataFrame(
        {name: _as_ids(frame[column], table) for name, column in judged_ids.items()}
    ).assign(relevance=frame[args.relevant])
    values = evaluation.evaluate_retrieval(
        make_transformer(args),
        *sides,
        judged,
        query_template=args.query_template,
        document_template=args.document_template,
        k=args.k,
    )
    if not args.bm25:
        return values
    queries, documents = (
        frame.set_index(name)[args.text[0]]
        for frame, name in zip(sides, ("query_id", "doc_id"), strict=True)
    )
    words = evaluation.evaluate_retrieval(
        evaluation.BM25(), queries, documents, judged, k=args.k
    )
    values.insert(0, "ranker", "model")
    words.insert(0, "ranker", "bm25")
    return pd.concat([values, words], ignore_index=True)


def _clustering(args):
    texts, target = _texts_and_target(args, args.file)
    return evaluation.evaluate_clustering(
        make_transformer(args),
        texts,
        as_classes(target),
        n_clusters=args.n_clusters,
        n_draws=args.draws,
        random_state=args.seed,
    )


def _texts_and_target(args, path):
    table = open_named_table(args, path)
    survey = survey_texts(table, args, [args.target])
    frame, target = split_target(read_frame(table, survey), table, args)
    return frame[args.text], target


def _as_same_classes(one, other):
    """Classes of two tables: a number is the same class as the word that names it."""
    if one.dtype.kind in "iuf" and other.dtype.kind in "iuf":
        both = as_classes(np.concatenate([one, other]))
        return both[: len(one)], both[len(one) :]
    one, other = as_classes(one), as_classes(other)
    if one.dtype.kind == other.dtype.kind:
        return one, other
    return one.astype(str), other.astype(str)


def _as_ids(column, table):
    """Ids as words: those of a .csv file are, and others may be numbers."""
    missing = column.isna()
    if missing.any():
        raise ValueError(
            f"The column {column.name!r} of {str(table.path)!r} must have an id in every "
            f"row. {missing.sum()} are missing, the first in row {missing.argmax() + 1}."
        )
    return column.astype(object).map(str)
