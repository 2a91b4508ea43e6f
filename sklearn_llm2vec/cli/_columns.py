"""The columns of a table that a command was given: texts and a target, checked."""

from sklearn_llm2vec.cli._console import note
from sklearn_llm2vec.cli._formats import open_table
from sklearn_llm2vec.cli._tables import as_floats, check_kinds, read_frame
from sklearn_llm2vec.cli._text_formats import Spelling


def open_named_table(args, path=None):
    """The table that the arguments name, or another one read in the same way."""
    spelling = Spelling(args.encoding, args.separator, args.no_quotes)
    return open_table(args.file if path is None else path, spelling)


def survey_texts(table, args, others=(), *, texts=None, as_written=()):
    """Survey text columns and others; refuse text columns without texts.

    Parameters
    ----------
    table : one of ``READ``
    args : Namespace
        With ``text``, and perhaps ``template``.
    others : sequence of str, default=()
        Further columns.
    texts : sequence of str or None, default=None
        None is the columns of ``--text``.
    as_written : sequence of str, default=()
        Those of the others that are texts in a csv file, whatever they look like.

    Returns
    -------
    Survey
    """
    from sklearn_llm2vec._estimator.inputs import makes_one_block

    texts = args.text if texts is None else texts
    survey = table.survey([*texts, *others], as_written={*texts, *as_written})
    if not survey.n_rows:
        raise ValueError(
            f"The file {str(table.path)!r} has no rows, so there is nothing to do."
        )
    if not makes_one_block(getattr(args, "template", None)):
        advice = "Choose another --text; --template row writes numbers as text."
        check_kinds(table, survey, texts, ["text"], advice)
    return survey


class Tables:
    """The tables that a task of ``evaluate`` names, read as its options say.

    Parameters
    ----------
    args : Namespace
        With ``text``, and perhaps ``target``.
    """

    def __init__(self, args):
        self._args = args

    def read(self, path, *, texts=None, ids=(), numbers=None):
        """A frame of some columns.

        Parameters
        ----------
        path : path-like
        texts : sequence of str or None, default=None
            None is the columns of ``--text``.
        ids : sequence of str, default=()
            These become str, as they are written; none may be missing.
        numbers : dict of str to str or None, default=None
            Columns of numbers, by the options that name them.
        """
        table = open_named_table(self._args, path)
        texts = self._args.text if texts is None else texts
        numbers = numbers or {}
        survey = survey_texts(
            table, self._args, [*ids, *numbers.values()], texts=texts, as_written=ids
        )
        for option, name in numbers.items():
            advice = f"Name another column with {option}."
            check_kinds(table, survey, [name], ["int", "float"], advice)
        frame = read_frame(table, survey, texts=texts, numbers=numbers.values())
        for name in ids:
            frame[name] = _as_ids(frame[name], table)
        return frame

    def read_labelled(self, *paths):
        """Texts and classes of each table.

        A class that is a number in one table is the same as the word that names it in
        another one.
        """
        args, texts, targets = self._args, [], []
        for path in paths:
            table = open_named_table(args, path)
            survey = survey_texts(table, args, [args.target])
            frame = read_frame(table, survey, texts=args.text)
            frame, target = split_target(frame, table, survey, args)
            texts.append(frame[args.text])
            targets.append(target)
        return list(zip(texts, _as_same_classes(targets), strict=True))


def split_target(frame, table, survey, args):
    """Take the target out of a frame; rows without one are left out.

    In a column of numbers NaN is none, however it is written.

    Returns
    -------
    frame : pandas frame
        The other columns.
    target : ndarray of shape (n_rows,)
        Of numbers, bools or str.
    """
    import numpy as np

    target = frame[args.target]
    known = target.notna()
    if args.target in survey.numeric:
        known &= ~np.isnan(as_floats(target))
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


def _as_same_classes(targets):
    """Classes of several tables, so that equal ones compare as equal."""
    import numpy as np

    if all(target.dtype.kind in "iuf" for target in targets):
        classes = as_classes(np.concatenate(targets))
        return np.split(classes, np.cumsum([len(target) for target in targets])[:-1])
    classes = [as_classes(target) for target in targets]
    if len({each.dtype.kind for each in classes}) > 1:
        classes = [each.astype(str) for each in classes]
    return classes


def _as_ids(column, table):
    """Ids as words: those of a .csv file are, and others may be numbers."""
    missing = column.isna()
    if missing.any():
        raise ValueError(
            f"The column {column.name!r} of {str(table.path)!r} must have an id in every "
            f"row. {missing.sum()} are missing, the first in row {missing.argmax() + 1}."
        )
    return column.astype(object).map(str)
