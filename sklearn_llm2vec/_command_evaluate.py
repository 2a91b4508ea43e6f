"""``sklearn-llm2vec evaluate``: what the features of a model are worth, on a table.

Reads the tables and prints what ``evaluation`` measures; it knows no protocol itself.
"""

from sklearn_llm2vec import evaluation
from sklearn_llm2vec._console import format_table
from sklearn_llm2vec._model_arguments import make_transformer
from sklearn_llm2vec._table_files import check_kinds, read_frame
from sklearn_llm2vec._text_columns import (
    as_classes,
    open_named_table,
    split_target,
    survey_texts,
)
from sklearn_llm2vec._whole_files import check_parent, whole_file

__all__ = ["run"]

# What tells rows of a result apart that aren't draws of the same.
GROUPS = ("ranker", "n_per_class", "metric")


def run(args):
    """Run ``evaluate`` for a task."""
    check_parent(args.output)
    measure = {
        "classification": _classification,
        "sts": _sts,
        "retrieval": _retrieval,
        "clustering": _clustering,
    }[args.task]
    values = measure(args)
    print(means_table(values))
    if args.output:
        with whole_file(args.output) as file:
            values.to_csv(file, index=False)


def means_table(values):
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
    parts = []
    for path in (args.train, args.test):
        frame, target = _texts_and_target(args, path)
        parts += [frame, target]
    return evaluation.evaluate_classification(
        make_transformer(args),
        *parts,
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
    sides = []
    for path, name, id_name in (
        (args.queries, "query_id", args.query_id),
        (args.documents, "doc_id", args.doc_id),
    ):
        table = open_named_table(args, path)
        survey = survey_texts(table, args, [id_name], as_written=[id_name])
        sides.append(read_frame(table, survey).rename(columns={id_name: name}))
    table = open_named_table(args, args.relevance)
    ids = [args.query_id, args.doc_id]
    survey = table.survey([*ids, args.relevant], as_written=ids)
    advice = "Name another column with --relevant."
    check_kinds(table, survey, [args.relevant], ["int", "float"], advice)
    judged = read_frame(table, survey)
    judged.columns = ["query_id", "doc_id", "relevance"]
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
        target,
        n_clusters=args.n_clusters,
        n_draws=args.draws,
        random_state=args.seed,
    )


def _texts_and_target(args, path):
    table = open_named_table(args, path)
    survey = survey_texts(table, args, [args.target])
    frame, target = split_target(read_frame(table, survey), table, args)
    return frame[args.text], as_classes(target)
