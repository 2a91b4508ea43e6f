"""Kinds of columns: which values they hold, and so of which type they are."""

import math
import re

# As written, so that "007", which is a name, stays one.
INT = re.compile(r"-?(0|[1-9]\d{0,18})")
FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)", re.I)
LEADING_ZERO = re.compile(r"[-+]?0\d")
# A float would round it, and who writes so many digits means an id.
LONG_INT = re.compile(r"[-+]?\d{19,}")


def kind_of_field(field):
    if INT.fullmatch(field) and abs(int(field)) < 2**63:
        return "int"
    if LONG_INT.fullmatch(field) or LEADING_ZERO.match(field.split(".")[0]):
        return "text"
    return "float" if FLOAT.fullmatch(field) else "text"


def kind_of_value(value):
    value = none_for_nan(value)
    if value is None:
        return "none"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return "json"
    names = {bool: "bool", int: "int", float: "float", str: "text"}
    return names.get(type(value), "json")


def none_for_nan(value):
    return None if isinstance(value, float) and math.isnan(value) else value


def kind_of_type(kind):
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


def wider(one, other, widest):
    """The kind that holds the values of both."""
    if one == other or other == "none":
        return one
    if one == "none":
        return other
    return "float" if {one, other} == {"int", "float"} else widest


def arrow_type(kind):
    import pyarrow as pa

    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return types.get(kind, pa.string())
