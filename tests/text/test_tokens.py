"""Rows of tokens as arrays, and which tokens of a long text are left."""

import json

import numpy as np
import pytest
from sentence_transformers_folders import CORPUS, TOKENIZERS, save_base
from tokenizers import Tokenizer

from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.tokenizer import load_tokenizer
from sklearn_llm2vec._model.tokenizer_probe import tokenizer_probe
from sklearn_llm2vec._text.tokens import Row, TextTokenizer, rows_as_arrays

LONG = " ".join(CORPUS)


def test_rows_are_padded_on_the_right():
    rows = [Row([5, 6, 7], [(0, 1), (2, 3)], 0), Row([8, 9], [(1, 2)], 1)]
    ids, counted, lengths = rows_as_arrays(rows, 4, padding=1)
    np.testing.assert_array_equal(ids, [[5, 6, 7, 1], [8, 9, 1, 1]])
    np.testing.assert_array_equal(counted, [[1, 0, 1, 0], [0, 1, 0, 0]])
    np.testing.assert_array_equal(lengths, [3, 2])
    # Without a token for it each row repeats its own last one.
    ids, *_ = rows_as_arrays(rows, 4)
    np.testing.assert_array_equal(ids, [[5, 6, 7, 7], [8, 9, 9, 9]])


def test_what_stands_in_a_prefix_is_left_out():
    rows = [Row([5, 6, 7, 8], [(2, 4)], 2), Row([5, 6, 9], [(2, 3)], 2)]
    ids, counted, lengths = rows_as_arrays(rows, 2, start=2)
    np.testing.assert_array_equal(ids, [[7, 8], [9, 9]])
    np.testing.assert_array_equal(counted, [[1, 1], [1, 0]])
    np.testing.assert_array_equal(lengths, [2, 1])


# --- the side that is cut off --------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer_of(tmp_path_factory):
    """The tokenizer of a folder that names the side of a text that it cuts off."""

    def load(kind, side):
        folder = tmp_path_factory.mktemp("side")
        save_base(folder, kind)
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text()) | {"truncation_side": side}
        path.write_text(json.dumps(config))
        return load_tokenizer(read_model(folder))

    return load


def ids_of(tokenizer, texts, **settings):
    made = TextTokenizer(tokenizer, special_tokens=True, **settings)(texts)[0]
    return [[row.ids for row in rows] for rows in made]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("prompt", [None, "query: "])
def test_the_tokens_that_are_left_are_those_of_the_tokenizer(
    tokenizer_of, kind, side, prompt
):
    tokenizer = tokenizer_of(kind, side)
    template = None if prompt is None else prompt + "{text}"
    texts = [LONG, "a card", LONG[::-1]]
    for counts in ("text", "prompt", "rest"):
        ours = ids_of(tokenizer, texts, max_length=16, template=template, counts=counts)
        for [ids], text in zip(ours, texts, strict=True):
            whole = (prompt or "") + text
            assert ids == tokenizer(whole, truncation=True, max_length=16)["input_ids"]


def test_words_behind_a_text_stay(tokenizer_of):
    tokenizer = tokenizer_of("llama-3 with an end", "left")
    template = "The {text} in one word:"
    [[ids]] = ids_of(tokenizer, [LONG], max_length=32, template=template)
    whole = tokenizer(template.replace("{text}", LONG))["input_ids"]
    assert len(ids) == 32
    around = next(n for n in range(32) if ids[: n + 1] != whole[: n + 1])
    assert ids[:around] + whole[around - 32 :] == ids
    assert tokenizer.decode(ids[1:around]).strip() == "The"


def test_places_move_with_what_is_cut_off(tokenizer_of):
    tokenizer = tokenizer_of("bert", "left")
    settings = {"special_tokens": False, "max_length": 16, "template": "card {text}"}
    for counts, first in (("text", 1), ("prompt", 1), ("rest", 2)):
        [[row]], n_cut = TextTokenizer(tokenizer, counts=counts, **settings)([LONG])
        assert n_cut == 1
        assert row.counted == [(first, 15)]
        assert row.text_at == 1  # nothing of the prompt is left


def test_windows_are_the_same_on_both_sides(tokenizer_of):
    settings = {"max_length": 16, "chunk_overlap": 2, "template": "card {text}"}
    tokenizer = tokenizer_of("bert", "left")
    left = ids_of(tokenizer, [LONG], **settings)
    tokenizer.truncation_side = "right"
    assert left == ids_of(tokenizer, [LONG], **settings)
    assert len(left[0]) > 2


def test_a_tokenizer_json_may_say_the_side(tmp_path):
    """And then it is in the name of the vectors."""
    digests = set()
    for side in ("left", "right"):
        folder = tmp_path / side
        save_base(folder, "bert")
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        backend.enable_truncation(8, direction=side)
        backend.save(str(folder / "tokenizer.json"))
        tokenizer = load_tokenizer(read_model(folder))
        assert tokenizer.truncation_side == side
        digests.add(tokenizer_probe(tokenizer))
    assert len(digests) == 2
