"""Tables in files: what is read, with which types, and what is refused."""

import decimal
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sklearn_llm2vec.cli._formats import open_table
from sklearn_llm2vec.cli._tables import check_kinds, read_frame
from sklearn_llm2vec.cli._text_formats import Spelling

ROWS = [
    {"id": 7, "title": 'He said "no", twice', "price": 1.5, "sold": True},
    {"id": 8, "title": "Two\nlines", "price": 2.0, "sold": False},
    {"id": 9, "title": None, "price": None, "sold": None},
    {"id": -1, "title": "NA", "price": 0.25, "sold": True},
]
NAMES = list(ROWS[0])
AS_TABLE = pa.Table.from_pylist(ROWS)


def write_rows(folder, ending):
    path = folder / f"rows{ending}"
    if ending == ".parquet":
        pq.write_table(AS_TABLE, path, row_group_size=2)
        return path
    if ending.startswith(".jsonl"):
        text = "\n".join(json.dumps(row) for row in ROWS) + "\n\n"
    else:
        by = "\t" if ending.startswith(".tsv") else ","
        quoted = [
            [
                "" if v is None else '"' + str(v).replace('"', '""') + '"'
                for v in r.values()
            ]
            for r in ROWS
        ]
        text = "\r\n".join(by.join(row) for row in [NAMES, *quoted])
    packed = gzip.compress(text.encode()) if ending.endswith(".gz") else text.encode()
    path.write_bytes(packed)
    return path


def read(path, columns=NAMES, n_rows=2, as_written=("title",), **spelling):
    table = open_table(path, Spelling(**spelling))
    survey = table.survey(columns, as_written=as_written)
    chunks = list(table.chunks(survey, n_rows))
    assert sum(map(len, chunks)) == survey.n_rows
    assert max(map(len, chunks)) <= n_rows
    return pa.concat_tables(chunks)


@pytest.mark.parametrize(
    "ending", [".csv", ".tsv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet"]
)
def test_all_formats_give_the_same_table(tmp_path, ending):
    got = read(write_rows(tmp_path, ending))
    want = AS_TABLE
    if "sv" in ending:  # a csv file has no booleans
        words = ["True", "False", None, "True"]
        want = want.set_column(3, "sold", pa.array(words))
    assert got.equals(want)


@pytest.mark.parametrize("n_rows", [1, 3, 100])
def test_types_come_from_all_rows_and_not_from_a_chunk(tmp_path, n_rows):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c,d\n1,1,007,\n2,2.5,1e3,\n-3,,x,\n")
    got = read(path, ["a", "b", "c", "d"], n_rows, as_written=())
    assert got.schema.types == [pa.int64(), pa.float64(), pa.string(), pa.string()]
    assert got.to_pydict() == {
        "a": [1, 2, -3],
        "b": [1.0, 2.5, None],
        "c": ["007", "1e3", "x"],
        "d": [None] * 3,
    }


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        # Ids of posts and of packages: as floats they would all be the same.
        (["1790000000000000001", "-9"], [1790000000000000001, -9]),
        (["9223372036854775807"], [2**63 - 1]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["1" * 5000], ["1" * 5000]),
        (["0.12345678901234567890"], ["0.12345678901234567890"]),
        (["12345678901234567", "0.5"], ["12345678901234567", "0.5"]),
        (["1234567890123456789", "1234567890123456788.0"], None),
        # Names, phone numbers, versions, prices.
        (["Nan", "Inf"], None),
        (["nan", "inf", "-inf"], None),
        (["+4917612345678", "1"], None),
        (["1.10", "1.5"], None),
        (["4", "4.0"], None),
        (["1e3", "5"], None),
        (["-0", "3"], None),
        (["\uff11\uff12\uff13", "\u0663"], None),  # digits of other scripts
        ([" 1", "2"], None),
        (["1_000", "2"], None),
        (["4", "4.5", "-1"], [4.0, 4.5, -1.0]),
        (["4.0", "4.5", "1e-07"], [4.0, 4.5, 1e-07]),
        (["9007199254740993", "0.5"], None),
    ],
)
def test_a_column_is_numbers_only_where_no_value_changes(tmp_path, fields, want):
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["id", *fields]), encoding="utf-8")
    got = read(path, ["id"], as_written=())["id"].to_pylist()
    assert got == (fields if want is None else want)


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ("12345678901234567 0.5", ["12345678901234567", "0.5"]),
        ("0.12345678901234567890 2", ["0.12345678901234567890", "2"]),
        ("1e400 2", ["1E+400", "2"]),
        (
            '[0.12345678901234567890,{"a":1.50}]',
            ['[0.12345678901234567890, {"a": 1.5}]'],
        ),
        ("3 2.50", [3.0, 2.5]),
        ("12345678901234567 3", [12345678901234567, 3]),
    ],
)
def test_numbers_of_json_are_never_rounded(tmp_path, values, want):
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(f'{{"v": {value}}}' for value in values.split(" ")))
    assert read(path, ["v"], as_written=())["v"].to_pylist() == want


def test_half_of_a_pair_of_surrogates_is_repaired(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": "cut \\ud83d"}\n{"a": "\\ud83d\\ude00"}\n')
    assert read(path, ["a"])["a"].to_pylist() == ["cut \ufffd", "\U0001f600"]


def test_a_text_is_never_taken_for_a_missing_value_or_a_number(tmp_path):
    path = tmp_path / "t.csv"
    words = ["NA", "null", "None", "nan", "007", "1.50", " ", "-"]
    path.write_text("\n".join(["text", *words]))
    assert read(path, ["text"], as_written=["text"])["text"].to_pylist() == words


def test_values_of_several_kinds_and_nested_ones_are_json(tmp_path):
    path = tmp_path / "t.jsonl"
    values = [1, "1", {"a": [1, None]}, None, 2**70]
    path.write_text("\n".join(json.dumps({"v": v}) for v in values))
    got = read(path, ["v"], as_written=())["v"].to_pylist()
    assert [None if v is None else json.loads(v) for v in got] == values


def test_a_column_may_begin_late_in_jsonl(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1}\n{"a": 2, "b": "x"}\n')
    assert read(path, ["b"])["b"].to_pylist() == [None, "x"]


def test_byte_order_mark_separator_and_quotes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfa;b\n"x;y\n')
    got = read(path, ["a", "b"], separator=";", no_quotes=True)
    assert got.to_pydict() == {"a": ['"x'], "b": ["y"]}


def test_a_field_may_be_longer_than_pythons_limit(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "x" * 200_000 + "\n")
    assert len(read(path, ["a"])["a"][0].as_py()) == 200_000


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_missing_column_is_named_beside_those_there_are(tmp_path, ending):
    path = write_rows(tmp_path, ending)
    with pytest.raises(
        ValueError, match=r"rows\S* has no column 'text'.*'id', 'title'"
    ):
        read(path, ["text"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.csv",
            b"a,b\n1,2\n3\n",
            "1 fields in the row that ends in line 3.*2 columns",
        ),
        ("t.csv", b'a,b\n1,"2\n3,4\n', "line 3: unexpected end of data.*--no-quotes"),
        ("t.csv", b"a,b\n1,\xe9\n", "isn't text in the encoding utf-8.*--encoding"),
        ("t.csv", b"", "is empty: it has no header"),
        ("t.csv", b"a,a\n1,2\n", "has several columns 'a'"),
        ("t.csv.gz", b"a,b\n1,2\n", "can't be read: Not a gzipped file"),
        # mtime=0: the bytes are part of the test's name, which each worker makes anew.
        (
            "t.csv.gz",
            gzip.compress(b"a\n", mtime=0)[:10] + b"\xff" * 9,
            "can't be read: Error",
        ),
        ("t.csv.bz2", b"BZh9" + bytes(20), "can't be read: Invalid data"),
        ("t.csv.xz", b"a\n1\n", "can't be read: Input format"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "Line 2 can't be read"),
        ("t.jsonl", b'{"a": 1}\n[1]\n', "Line 2 holds a list"),
        ("t.jsonl", b"\n", "is empty: it has no rows"),
        ("t.parquet", b"PAR1 no", "must be a Parquet file"),
        ("t.xlsx", b"PK", "must end in .csv, .tsv, .jsonl"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read(path, ["a"])
    assert name in str(caught.value)


def test_an_encoding_and_a_file_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="doesn't exist"):
        open_table(tmp_path / "t.csv")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        open_table(tmp_path)
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match="one that Python knows.*latin-99"):
        open_table(tmp_path / "t.csv", Spelling("latin-99"))


def test_utf_16_without_its_mark(tmp_path):
    (tmp_path / "t.csv").write_bytes("a\n1\n".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"t.csv' isn't text in the .* utf-16: .* BOM"):
        open_table(tmp_path / "t.csv", Spelling("utf-16"))


def test_the_value_that_makes_a_column_another_kind_is_shown(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n2.5\nmany\n3\n")
    table = open_table(path)
    with pytest.raises(
        ValueError, match="must hold numbers.*texts.*line 4: 'many'.*Do X"
    ):
        check_kinds(table, table.survey(["a"]), ["a"], ["float"], "Do X.")


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        (["1.50", "+3", ".5", "1e3", "nan"], None),
        (["12345678901234567", "0.5"], None),
        (["1.50", "inf"], "line 3: 'inf'"),
        (["nan", "NaN"], "line 2: 'nan'"),
        (["1.50", "many", "2"], "line 3: 'many'"),
        (["\uff11", "2"], "line 2: '\uff11'"),
    ],
)
def test_numbers_that_are_asked_for_are_read_as_people_write_them(
    tmp_path, fields, shown
):
    (tmp_path / "t.csv").write_text("\n".join(["n", *fields]), encoding="utf-8")
    table = open_table(tmp_path / "t.csv")
    survey = table.survey(["n"])
    if shown:
        with pytest.raises(ValueError, match=shown):
            check_kinds(table, survey, ["n"], ["int", "float"], "Do X.")
        return
    check_kinds(table, survey, ["n"], ["int", "float"], "Do X.")
    got = read_frame(table, survey, numbers=["n"])["n"]
    assert got.dtype == float
    assert got.tolist() == pytest.approx([float(f) for f in fields], nan_ok=True)


def test_whole_numbers_beside_a_missing_one_are_not_rounded(tmp_path):
    ids = [2**53 + 1, None, 3]
    pq.write_table(pa.table({"id": pa.array(ids, pa.int64())}), tmp_path / "t.parquet")
    table = open_table(tmp_path / "t.parquet")
    frame = read_frame(table, table.survey(["id"]))
    assert frame["id"].tolist() == ids
    frame = read_frame(table, table.survey(["id"]), numbers=["id"])
    assert frame["id"].dtype == float


def test_a_frame_of_all_rows(tmp_path):
    table = open_table(write_rows(tmp_path, ".csv"))
    frame = read_frame(table, table.survey(["price", "id"]))
    assert list(frame.columns) == ["price", "id"]
    assert frame["id"].tolist() == [7, 8, 9, -1]
    prices = pa.array([decimal.Decimal("1.50"), None], pa.decimal128(9, 2))
    pq.write_table(pa.table({"price": prices}), tmp_path / "d.parquet")
    table = open_table(tmp_path / "d.parquet")
    frame = read_frame(table, table.survey(["price"]))
    assert frame["price"].dtype == float and frame["price"][0] == 1.5
    (tmp_path / "none.csv").write_text("a\n")
    table = open_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"none.csv' has no rows"):
        read_frame(table, table.survey(["a"]))
