"""Kinds of columns: of which type their values are, so that no value changes by it."""

import math
import re

# Python itself writes no number in more characters that is read as the same again.
LONGEST_NUMBER = 25
# What people mean as a number: 1.50, +3, .5, 1e3. Not 007, which is a name, nor 19
# digits, which are an id.
NUMBER = re.compile(
    r"[-+]?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
)
NAN = re.compile(r"[-+]?nan", re.I)


class Column:
    """What is known of a column whose values come one by one.

    Parameters
    ----------
    mixed : str
        The kind of a column with values of several kinds.

    Attributes
    ----------
    kind : str
        "none" for a column without values.
    decided : tuple of (int, value)
        Line and value that made it what it is.
    """

    def __init__(self, mixed):
        self.kind, self.decided = "none", None
        self._mixed, self._kinds = mixed, set()
        self._only_numbers, self._finite = True, False

    @property
    def numeric(self):
        """Whether all values are numbers or NaN, and not all NaN, as people see it."""
        return self._only_numbers and self._finite

    @property
    def settled(self):
        """Whether further values change nothing."""
        return self.kind == self._mixed and not self._only_numbers

    def add(self, kind, line, value, number=True):
        """Add a value.

        Parameters
        ----------
        kind : str
            Of `kind_of_field` or `kind_of_value`.
        line : int
        value : object
        number : bool or None, default=True
            Whether people see a number in it; None is NaN.
        """
        before = self.kind, self._only_numbers
        self._kinds.add(kind)
        self.kind = self._kind()
        self._only_numbers = self._only_numbers and number is not False
        self._finite = self._finite or bool(number)
        if before != (self.kind, self._only_numbers):
            self.decided = line, value

    def _kind(self):
        kinds = self._kinds
        if kinds <= {"int", "long"}:
            return "int"
        # 4 beside 4.5 is 4.0; beside 4.0 it may be another name.
        if kinds <= {"whole", "fraction"} or kinds <= {"int", "fraction"}:
            return "float"
        return next(iter(kinds)) if len(kinds) == 1 else self._mixed


def kind_of_field(field):
    """The kind of a field of a .csv file: a number where Python would write it so.

    Examples
    --------
    >>> from sklearn_llm2vec.cli._kinds import kind_of_field
    >>> [kind_of_field(field) for field in ("7", "0.5", "2.0", "1.50", "+49", "nan")]
    ['int', 'fraction', 'whole', 'text', 'text', 'text']
    """
    if len(field) <= LONGEST_NUMBER:
        for read in (int, float):
            try:
                number = read(field)
            except ValueError:
                continue
            if str(number) == field and math.isfinite(number):
                kind = kind_of_number(number)
                return "text" if kind == "longer" else kind
    return "text"


def kind_of_number(number):
    """The kind of an int or finite float.

    Returns
    -------
    {"int", "long", "longer", "whole", "fraction"}
        "long" is an int that a float may round, "longer" one beyond 64 bits.
    """
    if isinstance(number, int):
        if abs(number) <= 2**53:
            return "int"
        return "long" if -(2**63) <= number < 2**63 else "longer"
    return "whole" if number.is_integer() else "fraction"


def looks_like_number(field):
    """Whether people see a number in a field of a .csv file; None for NaN."""
    if NAN.fullmatch(field):
        return None
    return bool(NUMBER.fullmatch(field))


def kind_of_type(kind):
    """The kind of a column by its type of pyarrow; the type's name for others."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    for name, checks in {
        "text": (pa.types.is_string, pa.types.is_large_string),
        "int": (pa.types.is_integer,),
        "float": (pa.types.is_floating, pa.types.is_decimal),
        "bool": (pa.types.is_boolean,),
        "none": (pa.types.is_null,),
    }.items():
        if any(check(kind) for check in checks):
            return name
    return "text" if str(kind) == "string_view" else str(kind)


def arrow_type(kind):
    """The type of pyarrow for values of a kind; texts for all but numbers and bools."""
    import pyarrow as pa

    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return types.get(kind, pa.string())
