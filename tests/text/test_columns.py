"""Every kind of column comes out as the same texts; everything else is refused."""

import enum
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from sklearn_llm2vec._text.texts import read_texts

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

TEXTS = ["red", "blue", "red", "größe 😀"]
WITH_GAP = ["red", None, "blue"]


def texts_of(columns):
    """Rows of texts, None where they are missing."""
    return [
        [None if k < 0 else columns.unique[k] for k in row] for row in columns.inverse
    ]


def one_column(values):
    return [[value] for value in values]


SINGLE = {
    "list": list,
    "tuple": tuple,
    "array of object": lambda v: np.array(v, dtype=object),
    "pandas object": lambda v: pd.Series(v, dtype=object),
    "pandas str": lambda v: pd.Series(v, dtype="str"),
    "pandas string[python]": lambda v: pd.Series(v, dtype="string[python]"),
    "pandas string[pyarrow]": lambda v: pd.Series(v, dtype="string[pyarrow]"),
    "pandas arrow dtype": lambda v: pd.Series(v, dtype=pd.ArrowDtype(pa.string())),
    "pandas category": lambda v: pd.Series(v, dtype="category"),
    "pandas index": lambda v: pd.Index(v, dtype=object),
    "pandas array": lambda v: pd.array(v, dtype="string"),
    "polars": pl.Series,
    "polars categorical": lambda v: pl.Series(v, dtype=pl.Categorical),
    "polars enum": lambda v: pl.Series(
        v, dtype=pl.Enum(list(dict.fromkeys(filter(None, v))))
    ),
    "polars object": lambda v: pl.Series(v, dtype=pl.Object),
    "pyarrow chunked": lambda v: pa.chunked_array([v]),
    "pyarrow array": pa.array,
    "pyarrow dictionary": lambda v: pa.chunked_array([pa.array(v).dictionary_encode()]),
    "pyarrow large": lambda v: pa.chunked_array([v], pa.large_string()),
}


@pytest.mark.parametrize("make", SINGLE.values(), ids=SINGLE)
@pytest.mark.parametrize("values", [TEXTS, WITH_GAP], ids=["full", "with gap"])
def test_one_column_of_any_kind(make, values):
    columns = read_texts(make(values))
    assert texts_of(columns) == one_column(values)
    assert columns.names == (None,)
    assert not columns.named
    assert columns.inverse.dtype == np.intp
    assert all(type(text) is str for text in columns.unique)


def test_fixed_width_array():
    columns = read_texts(np.array(TEXTS))
    assert texts_of(columns) == one_column(TEXTS)


@pytest.mark.skipif(
    not hasattr(np.dtypes, "StringDType"), reason="StringDType came with numpy 2"
)
@pytest.mark.parametrize("marker", [None, float("nan")])
def test_string_dtype_array(marker):
    array = np.array(["a", marker], dtype=np.dtypes.StringDType(na_object=marker))
    assert texts_of(read_texts(array)) == [["a"], [None]]


DATA = {"title": ["a", "b", None], "body": ["b", "c", "a"]}
FRAMES = {
    "pandas": pd.DataFrame,
    "pandas category": lambda d: pd.DataFrame(d).astype("category"),
    "polars": pl.DataFrame,
    "polars categorical": lambda d: pl.DataFrame(d).cast(pl.Categorical),
    "pyarrow": pa.table,
    "pyarrow batch": pa.record_batch,
}


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_frames(make):
    columns = read_texts(make(DATA))
    assert columns.names == ("title", "body")
    assert columns.named
    assert columns.unique == ["a", "b", "c"]
    assert columns.inverse.tolist() == [[0, 1], [1, 2], [-1, 0]]


ROWS = [["a", "b"], ["b", None]]
NAMELESS = {
    "list of lists": ROWS,
    "list of tuples": [tuple(row) for row in ROWS],
    "list with masked": [ROWS[0], ["b", np.ma.masked]],
    "list of arrays": [np.array(row, dtype=object) for row in ROWS],
    "array": np.array(ROWS, dtype=object),
    "masked": np.ma.array([["a", "b"], ["b", "x"]], mask=[[0, 0], [0, 1]]),
    "pandas": pd.DataFrame(ROWS),
}


@pytest.mark.parametrize("X", NAMELESS.values(), ids=NAMELESS)
def test_nameless_columns(X):
    columns = read_texts(X)
    assert texts_of(columns) == ROWS
    assert columns.names == (None, None)
    assert not columns.named


def test_frame_with_names_that_are_not_all_strings():
    columns = read_texts(pd.DataFrame([["a", "b"]], columns=["title", 3]))
    assert columns.names == ("title", None)
    assert not columns.named


def test_name_of_a_series():
    assert read_texts(pd.Series(["a"], name="title")).names == ("title",)
    assert read_texts(pl.Series("title", ["a"])).names == ("title",)
    assert read_texts(pd.Series(["a"], name=7)).names == (None,)


def test_order_not_index_decides():
    series = pd.Series(["a", "b", "c"], index=[2, 0, 2])
    assert texts_of(read_texts(series)) == [["a"], ["b"], ["c"]]


# --- missing ---------------------------------------------------------------------

MARKERS = {
    "None": None,
    "nan": float("nan"),
    "float32 nan": np.float32("nan"),
    "NA": pd.NA,
    "NaT": pd.NaT,
    "datetime64 NaT": np.datetime64("NaT", "ns"),
    "masked": np.ma.masked,
}


@pytest.mark.parametrize("marker", MARKERS.values(), ids=MARKERS)
@pytest.mark.parametrize("missing", ["zero", "nan"])
def test_markers(marker, missing):
    columns = read_texts(["a", marker, "a"], missing=missing)
    assert columns.unique == ["a"]
    assert columns.inverse.tolist() == [[0], [-1], [0]]


@pytest.mark.parametrize("marker", MARKERS.values(), ids=MARKERS)
def test_missing_as_empty_text(marker):
    columns = read_texts(["a", marker, ""], missing="empty")
    assert columns.unique == ["a", ""]
    assert columns.inverse.tolist() == [[0], [1], [1]]


def test_missing_refused():
    frame = pd.DataFrame({"a": ["x", "y", None], "b": ["x", None, None]})
    with pytest.raises(ValueError, match=r"3 missing .* row 1 of column 'b'"):
        read_texts(frame, missing="error")
    assert read_texts(frame[:1], missing="error").unique == ["x"]


EMPTY_COLUMNS = {
    "list": [None, None],
    "float array": np.array([np.nan, np.nan]),
    "pandas float": pd.Series([np.nan, np.nan]),
    "pandas datetime": pd.Series([pd.NaT, pd.NaT]),
    "pandas Int64": pd.Series([pd.NA, pd.NA], dtype="Int64"),
    "polars null": pl.Series([None, None]),
    "pyarrow null": pa.chunked_array([pa.nulls(2)]),
}


@pytest.mark.parametrize("X", EMPTY_COLUMNS.values(), ids=EMPTY_COLUMNS)
def test_column_without_any_text(X):
    columns = read_texts(X)
    assert columns.unique == []
    assert columns.inverse.tolist() == [[-1], [-1]]


# --- characters ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\udc00", "\ufffd"),
        ("\ud83d\ude00", "😀"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ufeffé\ud800", "\ufeffé\ufffd"),
    ],
)
def test_surrogates_arerepaired(text, repaired):
    assert read_texts([text]).unique == [repaired]


def test_surrogates_arerepaired_before_duplicates_are_dropped():
    columns = read_texts(["\ud800", "\udbff", "\ufffd"])
    assert columns.unique == ["\ufffd"]
    assert columns.inverse.tolist() == [[0], [0], [0]]


@pytest.mark.parametrize(
    "text", ["", " ", "a\0b", "\n\t", "👩‍👩‍👧", "e\u0301", "a\u2028b"]
)
def test_other_characters_stay(text):
    assert read_texts([text, "x"]).unique == [text, "x"]


def test_subclasses_of_str_become_plain():
    class Color(str, enum.Enum):
        RED = "red"

    columns = read_texts([np.str_("red"), Color.RED, "red"])
    assert columns.unique == ["red"]
    assert type(columns.unique[0]) is str


# --- refused ---------------------------------------------------------------------

WRONG_TYPE = {
    "bytes": (b"a", r"got bytes\. Decode"),
    "generator": ((t for t in "ab"), r"got generator\. .*list\(X\)"),
    "map": (map(str, [1]), r"got map\. .*list\(X\)"),
    "dict": ({"a": ["x"]}, r"got dict"),
    "set": ({"a"}, r"got set"),
    "None": (None, r"got NoneType"),
    "int": (3, r"got int"),
    "sparse": (csr_matrix((2, 2)), r"Sparse data was passed"),
    "bytes inside": (["a", b"b"], r"row 1 of the input .* type bytes\. Decode"),
    "int inside": (["a", None, 3], r"row 2 of the input .* type int\. Convert"),
    "float inside": (["a", 1.5], r"row 1 .* type float\."),
    "bool inside": (["a", True], r"row 1 .* type bool\."),
    "object inside": (["a", object()], r"row 1 .* type object\."),
    "dict inside": (["a", {}], r"row 1 .* type dict\."),
    "text and row": (["a", ["b"]], r"got a mixture of list and str"),
    "int in rows": ([["a", "b"], ["c", 3]], r"row 1 of column 1 .* type int"),
    "int array": (np.arange(3), r"the input has dtype int"),
    "int matrix": (np.ones((2, 2)), r"column 0 has dtype float64"),
    "bytes array": (np.array([b"a"]), r"the input holds bytes .*Decode"),
    "int series": (pd.Series([1], name="n"), r"column 'n' has dtype Int64"),
    "int column": (pd.DataFrame({"t": ["a"], "n": [1]}), r"column 'n' has dtype Int64"),
    "bool column": (pl.DataFrame({"n": [True]}), r"column 'n' has dtype Boolean"),
    "float column": (pa.table({"n": [1.0, None]}), r"column 'n' has dtype Float64"),
    # The oldest polars has them as objects.
    "bytes column": (
        pl.DataFrame({"n": [b"a"]}),
        r"column 'n' holds (bytes|an object of type bytes).*Decode",
    ),
    "list column": (pl.DataFrame({"n": [["a"]]}), r"column 'n' has dtype List"),
    "int category": (pd.Series([1], dtype="category"), r"row 0 .* type int"),
    "mixed object column": (
        pd.DataFrame({"t": ["a", 3]}),
        r"row 1 of column 't' .* type int",
    ),
}

WRONG_VALUE = {
    "str": ("a", r"^Iterable over raw text documents expected, string object received"),
    "np.str_": (np.str_("a"), r"string object received"),
    "empty list": ([], r"0 sample\(s\) \(shape=\(0,\)\) while a minimum of 1"),
    "empty array": (np.array([], dtype=object), r"0 sample\(s\)"),
    "empty Series": (pd.Series([], dtype="str"), r"0 sample\(s\)"),
    "no rows": (pd.DataFrame({"a": []}), r"0 sample\(s\) \(shape=\(0, 1\)\)"),
    "no columns": (pd.DataFrame(index=[0, 1]), r"0 feature\(s\) \(shape=\(2, 0\)\)"),
    "no columns in array": (np.empty((2, 0), dtype=object), r"0 feature\(s\)"),
    "no columns in lists": ([[], []], r"0 feature\(s\)"),
    "0-d": (np.array("a"), r"got scalar array instead"),
    "3-d": (np.full((1, 1, 1), "a"), r"Found array with dim 3"),
    "3-d lists": ([[["a"]]], r"Found array with dim 3"),
    "ragged": ([["a", "b"], ["c"]], r"row 0 has 2 text\(s\), row 1 has 1"),
    "same names": (pd.DataFrame([["a", "b"]], columns=["t", "t"]), r"unique .*names"),
}


@pytest.mark.parametrize(("X", "message"), WRONG_TYPE.values(), ids=WRONG_TYPE)
def test_wrong_types(X, message):
    with pytest.raises(TypeError, match=message):
        read_texts(X)


@pytest.mark.parametrize(("X", "message"), WRONG_VALUE.values(), ids=WRONG_VALUE)
def test_wrong_values(X, message):
    with pytest.raises(ValueError, match=message):
        read_texts(X)


def test_errors_name_the_estimator():
    with pytest.raises(TypeError, match=r"^Other expects texts"):
        read_texts([3], estimator_name="Other")


def test_unknown_missing():
    with pytest.raises(ValueError, match=r"'missing' parameter .* Got 'drop' instead"):
        read_texts(["a"], missing="drop")


# --- properties ------------------------------------------------------------------

whole_texts = st.text(st.characters(exclude_categories=("Cs",)))
gaps = st.sampled_from([None, float("nan"), pd.NA, pd.NaT, np.datetime64("NaT", "ns")])


@given(st.lists(whole_texts, min_size=1))
def test_round_trip(texts):
    columns = read_texts(texts)
    assert [columns.unique[k] for k in columns.inverse[:, 0]] == texts
    assert columns.unique == list(dict.fromkeys(texts))


@given(st.lists(st.tuples(whole_texts, whole_texts), min_size=1))
def test_round_trip_of_rows(rows):
    columns = read_texts(rows)
    assert texts_of(columns) == [list(row) for row in rows]
    by_column = [text for column in zip(*rows, strict=True) for text in column]
    assert columns.unique == list(dict.fromkeys(by_column))


@given(st.lists(st.one_of(whole_texts, gaps), min_size=1))
def test_any_mixture_of_missing_markers(values):
    expected = [value if isinstance(value, str) else None for value in values]
    arrays = [values, np.array([*values, None], dtype=object)[:-1]]
    for X in [*arrays, pd.Series(values, dtype=object)]:
        assert texts_of(read_texts(X)) == one_column(expected)


@given(st.lists(st.text(st.characters()), min_size=1))
def test_every_text_can_be_encoded(texts):
    for text in read_texts(texts).unique:
        assert text.encode().decode() == text


@given(st.floats())
def test_numbers_are_never_texts(number):
    if math.isnan(number):
        assert read_texts([number]).unique == []
    else:
        with pytest.raises(TypeError, match="type float"):
            read_texts([number])
