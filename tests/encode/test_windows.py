"""Long texts in windows: one vector, equal to pooling all windows together."""

import numpy as np
import pytest
import torch
import transformers as t
from conftest import WORDS
from hypothesis import given
from hypothesis import strategies as st

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._network.pooling import POOLINGS, pool_all
from sklearn_llm2vec._text.tokens import TextTokenizer
from sklearn_llm2vec._text.windows import fitting_length


def words(n, seed=0):
    rng = np.random.default_rng(seed)
    return " ".join(rng.choice(WORDS, n))


def make(folder, **params):
    settings = {"cache": None, "long_texts": "chunk", "max_length": 20}
    return LLMEmbeddingTransformer(folder, **{**settings, **params})


def direct(folder, text, layer, pooling, size, overlap):
    """Windows of a Llama's text (<s> in front of each), run one by one."""
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    network = t.AutoModel.from_pretrained(folder).eval()
    ids = tokenizer(text)["input_ids"]
    bos, ids = ids[:1], ids[1:]
    room, states, start = size - 1, [], 0
    while True:
        window = torch.tensor([bos + ids[start : start + room]])
        with torch.inference_mode():
            output = network(window, output_hidden_states=True)
        states.append(output.hidden_states[layer][0])
        if start + room >= len(ids):
            break
        start += room - overlap
    if pooling == "first":
        return states[0][0]
    if pooling == "last":
        return states[-1][-1]
    counted = torch.cat([one[1:] for one in states])  # without the <s>
    everything = torch.ones(1, len(counted), dtype=bool)
    return pool_all(counted[None], everything, [pooling])[pooling][0]


@pytest.mark.parametrize("overlap", [0, 7])
@pytest.mark.parametrize("pooling", sorted(POOLINGS))
@pytest.mark.parametrize("n_words", [19, 20, 38, 100])
def test_against_a_direct_computation(llama, pooling, overlap, n_words):
    text = words(n_words)
    got = make(llama, pooling=pooling, chunk_overlap=overlap, layer=3).fit_transform(
        ["card", text, "cash"]
    )
    want = direct(llama, text, 3, pooling, 20, overlap)
    np.testing.assert_allclose(got[1], want, rtol=2e-5, atol=2e-6)


def test_ten_thousand_tokens(llama):
    text = words(10_000)
    got = make(llama, max_length=512, pooling="mean", chunk_overlap=64).fit_transform(
        [text]
    )
    want = direct(llama, text, 4, "mean", 512, 64)
    np.testing.assert_allclose(got[0], want, rtol=2e-5, atol=2e-6)


def test_short_texts_are_as_ever_and_nothing_warns(llama, texts):
    got = make(llama, max_length=64).fit_transform([*texts, words(200)])
    want = make(llama, max_length=64, long_texts="truncate").fit_transform(texts)
    np.testing.assert_array_equal(got[:-1], want)


def test_the_bits_dont_depend_on_the_batch(llama, texts):
    long = [words(n, seed=n) for n in (30, 55, 90)]
    want = make(llama).fit_transform(long)
    mixed = make(llama, batch_tokens=40).fit_transform([*texts, *long[::-1]])
    np.testing.assert_array_equal(mixed[-3:][::-1], want)


def test_each_window_stands_in_the_whole_prompt(llama):
    tokenizer = t.AutoTokenizer.from_pretrained(llama)
    read = TextTokenizer(
        tokenizer,
        special_tokens=False,
        max_length=10,
        template="the book {text} table",
        chunk_overlap=2,
    )
    [rows], n_cut = read([" ".join(WORDS[:12])])
    assert n_cut == 0
    shown = [tokenizer.convert_ids_to_tokens(row.ids) for row in rows]
    parts = [WORDS[0:6], WORDS[4:10], WORDS[8:12]]
    assert shown == [["<s>", "the", "book", *part, "table"] for part in parts]
    assert [row.counted for row in rows] == [[(3, 9)], [(3, 9)], [(3, 7)]]


def test_short_columns_stand_in_each_window(llama):
    tokenizer = t.AutoTokenizer.from_pretrained(llama)
    read = TextTokenizer(
        tokenizer,
        special_tokens=False,
        max_length=8,
        template="{title} of {review}",
        chunk_overlap=0,
    )
    [rows], _ = read([("red card", " ".join(WORDS[:9]))])
    shown = [tokenizer.convert_ids_to_tokens(row.ids)[1:] for row in rows]
    assert [one[:3] for one in shown] == [["red", "card", "of"]] * 3
    assert [one[3:] for one in shown] == [WORDS[0:4], WORDS[4:8], WORDS[8:9]]


def test_chunks_overlaps_and_limits_are_spaces_of_their_own(llama, tmp_path):
    text = [words(60)]
    seen = {
        make(llama, cache=tmp_path, **params).fit(text).fingerprint_
        for params in (
            {},
            {"chunk_overlap": 4},
            {"max_length": 21},
            {"long_texts": "truncate"},
        )
    }
    assert len(seen) == 4
    one = make(llama, long_texts="truncate").fit(text)
    two = make(llama, long_texts="truncate", chunk_overlap=4).fit(text)
    assert one.fingerprint_ == two.fingerprint_


def test_an_overlap_that_leaves_nothing_new(llama):
    with pytest.raises(ValueError, match="less than the 19 tokens of text.*Got 19"):
        make(llama, chunk_overlap=19).fit_transform(["card"])
    with pytest.raises(ValueError, match="an int that isn't negative. Got -1"):
        make(llama, chunk_overlap=-1).fit(["card"])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(0, 100))
def test_the_fitting_length_is_the_greatest(lengths, room):
    limit = fitting_length(lengths, room)
    fits = sum(min(n, limit) for n in lengths) <= room
    assert fits
    if sum(lengths) > room:
        assert sum(min(n, limit + 1) for n in lengths) > room
