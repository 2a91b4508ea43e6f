"""The columns of a table that a command was given: texts and a target, checked."""

from sklearn_llm2vec.cli._console import note
from sklearn_llm2vec.cli._reading import check_kinds, open_table


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
    from sklearn_llm2vec._estimator.inputs import makes_one_block

    if not makes_one_block(getattr(args, "template", None)):
        advice = "Choose another --text; --template row writes numbers as text."
        check_kinds(table, survey, args.text, ["text"], advice)
    return survey


def split_target(frame, table, args):
    """Take the target out of a frame; rows without one are left out.

    Returns
    -------
    frame : pandas frame
        The other columns.
    target : ndarray of shape (n_rows,)
        Of numbers, bools or str.
    """
    known = frame[args.target].notna()
    if not known.any():
        raise ValueError(
            f"The column {args.target!r} of {str(table.path)!r} has no value. Name "
            "another one with --target."
        )
    if not known.all():
        n = int((~known).sum())
        note(f"{n:,} rows without {args.target!r} are left out", args)
        frame = frame[known].reset_index(drop=True)
    values = frame[args.target].to_numpy()
    # Whole numbers and bools, which missing ones had made objects or floats.
    values = values if values.dtype.kind in "iufb" else _plain(values)
    return frame.drop(columns=args.target), values


def _plain(values):
    import numpy as np

    kinds = {type(value) for value in values}
    if kinds <= {bool} or kinds <= {int, float}:
        return np.array(values.tolist())
    return values.astype(str)


def as_classes(values):
    """Values as classifiers take them: whole numbers as int, fractions as str."""
    if values.dtype.kind != "f":
        return values
    whole = (values == values.round()).all()
    return values.astype(int) if whole else values.astype(str)
