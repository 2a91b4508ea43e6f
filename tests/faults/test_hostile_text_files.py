"""What files of others hold is told with its line, and no terminal obeys it."""

import numpy as np
import pytest

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec.cli import main

LINES = {
    "open lists": "[" * 100_000,
    "lists": "[" * 100_000 + "]" * 100_000,
    "objects": '{"text": ' * 100_000 + "1" + "}" * 100_000,
    "lists in a column": '{"text": ' + "[" * 500 + "]" * 500 + "}",
    "5,000 digits": '{"text": ' + "9" * 5_000 + "}",
    "a huge exponent": '{"text": 1e99999999999999999999}',
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_cant_be_read_is_named(line, bert, tmp_path, capsys):
    table = tmp_path / "table.jsonl"
    table.write_text(f'{{"text": "fine"}}\n{LINES[line]}\n')
    out = tmp_path / "out.parquet"
    argv = ["embed", str(table), "--text", "text", "-o", str(out), "--model", bert]
    assert main([*argv, "--no-cache"]) == 1
    said = capsys.readouterr().err
    assert "Line 2 can't be read" in said
    assert not out.exists()


def test_brackets_in_texts_are_no_depth(bert, tmp_path):
    table = tmp_path / "table.jsonl"
    table.write_text('{"text": "' + "[{" * 500 + '\\" [["}\n')
    out = tmp_path / "out.npy"
    argv = ["embed", str(table), "--text", "text", "-o", str(out), "--model", bert]
    assert main([*argv, "--no-cache", "--quiet"]) == 0
    assert np.load(out).shape == (1, 32)


def test_no_escape_of_a_note_or_a_name_reaches_the_terminal(bert, tmp_path, capsys):
    evil = "\x1b]0;title\x07\x1b[2Jevil"
    place = tmp_path / evil
    encoder = LLMEmbeddingTransformer(
        bert, cache=place, template=f"{evil} {{text}}", verbose=False
    )
    encoder.fit_transform(["a text"])
    with EmbeddingCache(place) as cache:
        space = next(iter(cache.info()["spaces"]))["fingerprint"]
        cache.describe(space, {"model": evil, "dtype": [evil], "adapters": 3})
    assert main(["cache", "info", "--cache", str(place)]) == 0
    assert main(["cache", "verify", "--cache", str(tmp_path / f"no{evil}")]) in (0, 1)
    assert main(["embed", str(tmp_path / evil / "x.csv"), "--text", "a", "-o", "b.npy"])
    said = capsys.readouterr()
    for printed in (said.out, said.err):
        assert "\x1b" not in printed
        assert "\x07" not in printed
