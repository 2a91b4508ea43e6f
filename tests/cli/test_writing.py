"""Features in files: what was written is what comes back, bit for bit."""

import csv
import datetime
import decimal
import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tables import same_bits

from sklearn_llm2vec._common.whole_files import whole_file, whole_folder
from sklearn_llm2vec.cli import _text_formats
from sklearn_llm2vec.cli._formats import NPY, Parquet
from sklearn_llm2vec.cli._text_formats import CSV


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((7, 6)).astype(np.float32)
    values[0] = [0.1, np.float32(1) / 3, 1e-38, 3.4e38, -0.0, 16777217]
    values[3, 2] = np.nan
    return values


def write(writer, features, kept):
    for rows in (slice(0, 4), slice(4, 7)):
        writer.write(kept.slice(rows.start, rows.stop - rows.start), features[rows])
    writer.close()


def layout(**facts):
    return SimpleNamespace(**facts)


KEPT = pa.table({"id": [f"0{i}" for i in range(7)], "n": [1, None, 3, 4, 5, 6, 7]})


def test_csv_gives_floats_back_bit_for_bit(features, monkeypatch):
    monkeypatch.setattr(_text_formats, "CELLS_AT_A_TIME", 12)  # two rows
    file = io.BytesIO()
    write(
        CSV.writer(file, layout(features=[f"f_{i}" for i in range(6)])), features, KEPT
    )
    lines = file.getvalue().decode().splitlines()
    assert lines[0] == "id,n,f_0,f_1,f_2,f_3,f_4,f_5"
    assert lines[2].startswith("01,,")
    assert "0.1,0.33333334," in lines[1]
    read = np.array([line.split(",")[2:] for line in lines[1:]], np.float32)
    same_bits(read, features)


def test_csv_with_all_kinds_of_line_breaks_comes_back(features):
    words = ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", " ", ""]
    file = io.BytesIO()
    write(
        CSV.writer(file, layout(features=list("abcdef"))),
        features,
        pa.table({"word": words}),
    )
    text = file.getvalue().decode()
    assert text.startswith("word,a,b,c,d,e,f\n") and text.endswith("\n")
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert [row[0] for row in read[1:]] == words


def test_parquet_has_a_column_of_lists_for_each_block(features):
    file = io.BytesIO()
    write(Parquet.writer(file, layout(blocks=["a", "b"])), features, KEPT)
    table = pq.read_table(io.BytesIO(file.getvalue()))
    assert table.select(["id", "n"]).equals(KEPT)
    assert table.schema.types[2:] == [pa.list_(pa.float32(), 3)] * 2
    blocks = [
        table[name].combine_chunks().flatten().to_numpy().reshape(7, 3) for name in "ab"
    ]
    same_bits(np.hstack(blocks), features)


def test_npy_is_what_numpy_loads(features):
    file = io.BytesIO()
    write(NPY.writer(file, layout(n_rows=7)), features, KEPT.select([]))
    loaded = np.load(io.BytesIO(file.getvalue()))
    assert loaded.dtype == np.float32
    same_bits(loaded, features)


def test_times_are_written_as_iso_8601(features):
    file = io.BytesIO()
    when = pa.table({"when": [pd.Timestamp("2024-02-03 04:05")]})
    writer = CSV.writer(file, layout(features=["f"]))
    writer.write(when, features[:1, :1])
    writer.close()
    assert file.getvalue().decode() == "when,f\n2024-02-03T04:05:00,0.1\n"


def test_numbers_and_nested_values_are_written_as_they_are(features):
    file = io.BytesIO()
    kept = pa.table(
        {
            "narrow": pa.array([0.1, None], pa.float32()),
            "price": [decimal.Decimal("1.50"), decimal.Decimal("2.00")],
            "tags": [["a", "\u00e9"], []],
            "at": [{"day": datetime.date(2024, 5, 1)}, None],
        }
    )
    writer = CSV.writer(file, layout(features=["f"]))
    writer.write(kept, features[:2, :1])
    writer.close()
    rows = list(csv.reader(io.StringIO(file.getvalue().decode())))
    assert rows[1][:4] == ["0.1", "1.50", '["a", "\u00e9"]', '{"day": "2024-05-01"}']
    assert rows[2][:4] == ["", "2.00", "[]", ""]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_is_whole_or_what_it_was(tmp_path, error):
    path = tmp_path / "out.npy"
    path.write_text("before")
    with pytest.raises(error), whole_file(path) as file:
        file.write(b"half")
        raise error
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with whole_file(path) as file:
        file.write(b"after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_whole_or_absent(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), whole_folder(path) as folder:
        (folder / "half").write_text("")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with whole_folder(path) as folder:
        (folder / "a").write_text("")
        assert not path.exists()
    assert [file.name for file in path.iterdir()] == ["a"]
