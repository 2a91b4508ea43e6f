"""The text columns of a table that a command was given, found and checked.

Knows the names of the options and what a template makes of columns; it doesn't know what
is done with the texts.
"""

from sklearn_llm2vec._table_files import check_kinds, open_table

__all__ = ["open_named_table", "survey_texts"]


def open_named_table(args, path=None):
    """The table that the arguments name, or another one read in the same way."""
    return open_table(
        args.file if path is None else path,
        encoding=args.encoding,
        separator=args.separator,
        no_quotes=args.no_quotes,
    )


def survey_texts(table, args, others=(), *, as_written=()):
    """Survey text columns and others; refuse text columns without texts.

    Parameters
    ----------
    table : CSVTable, JSONLinesTable or ParquetTable
    args : Namespace
        With ``text``, and perhaps ``template``.
    others : sequence of str, default=()
        Further columns.
    as_written : sequence of str, default=()
        Those of them that are texts in a csv file, whatever they look like.

    Returns
    -------
    Survey
    """
    columns = [*args.text, *others]
    survey = table.survey(columns, as_written={*args.text, *as_written})
    if not survey.n_rows:
        raise ValueError(f"The file {str(table.path)!r} has no rows: nothing to do.")
    if not _writes_rows(getattr(args, "template", None)):
        advice = "Choose another --text; --template row writes numbers as text."
        check_kinds(table, survey, args.text, ["text"], advice)
    return survey


def _writes_rows(template):
    """Whether values of rows, numbers and dates too, are written as text."""
    from sklearn_llm2vec._parameters import template_columns

    return template == "row" or template_columns(template) is not None
