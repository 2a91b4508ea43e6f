"""The head of all prompts goes through the model once, and nothing shows it."""

import numpy as np
import pytest
import transformers as t
from architectures import ALL, GROUPED
from conftest import save_model
from test_attention import ONE_WAY

from sklearn_llm2vec._encode.encoder import Encoder
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.registry import forget_models, load_model
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec._network.prefix import Prefix

pytestmark = pytest.mark.usefixtures("one_thread")
TEMPLATE = "the book of the small cat and the red dog reads : {text} in this table"
# Their layers don't go on from a cache of keys and values alone, or not exactly.
NO_PREFIX = {"mamba", *ONE_WAY}


@pytest.fixture(autouse=True)
def empty_registry():
    forget_models()
    yield
    forget_models()


def encoders(folder, template=TEMPLATE, dtype="float32", **params):
    model = read_model(folder)
    loaded = load_model(model, depth=model.n_layers, dtype=dtype, device="cpu")
    return [
        Encoder(
            loaded,
            **{"special_tokens": False, "max_length": 64, **params},
            template=template,
            causal=shares,
        )
        for shares in (True, False)
    ]


def encode(encoder, texts, depth):
    blocks = list(encoder.encode(texts, range(depth + 1), POOLINGS))
    order = np.argsort(np.concatenate([block.rows for block in blocks]))
    return {
        cell: np.concatenate([block.cells[cell] for block in blocks])[order]
        for cell in blocks[0].cells
    }, sum(block.n_tokens for block in blocks)


def close(one, two, tolerance=2e-6):
    for cell in two:
        scale = np.abs(two[cell]).max()
        assert np.abs(one[cell] - two[cell]).max() <= tolerance * scale, cell


@pytest.mark.parametrize("name", sorted(ALL))
def test_with_and_without_a_prefix_on_every_architecture(name, tmp_path, texts):
    folder = save_model(tmp_path, ALL[name](), "llama")
    # The weights of one test model blow rounding up, more or less by the machine.
    dtype = "float64" if name == "gemma4_text-shared" else "float32"
    shared, whole = encoders(folder, max_length=60, dtype=dtype)
    assert (shared.passes.prefix_ids == ()) == (name in NO_PREFIX)
    short = [text for text in texts if len(text.split()) < 20]
    depth = read_model(folder).n_layers
    (one, n_one), (two, n_two) = (encode(e, short, depth) for e in (shared, whole))
    close(one, two, 2e-6)
    if name not in NO_PREFIX:
        assert n_two - n_one == len(shared.passes.prefix_ids) * len(short)


def test_a_window_shorter_than_the_prefix(tmp_path, texts):
    config = t.MistralConfig(**GROUPED, sliding_window=4)
    shared, whole = encoders(save_model(tmp_path, config, "llama"))
    assert shared.passes.prefix_ids and not whole.passes.prefix_ids
    one, two = (encode(e, texts[:20], 4)[0] for e in (shared, whole))
    close(one, two)


@pytest.mark.parametrize("batch_tokens", [16, 40, 5000])
def test_the_bits_dont_depend_on_the_batch(llama, texts, batch_tokens):
    shared, _ = encoders(llama)
    want, _ = encode(shared, texts, 4)
    other, _ = encoders(llama, batch_tokens=batch_tokens)
    order = np.random.default_rng(0).permutation(len(texts))
    got, _ = encode(other, [texts[i] for i in order], 4)
    for cell in want:
        np.testing.assert_array_equal(got[cell], want[cell][order])
    for i in (0, 7, 23):
        alone, _ = encode(other, [texts[i]], 4)
        for cell in want:
            np.testing.assert_array_equal(alone[cell][0], want[cell][i])


def test_the_prefix_is_computed_once_for_a_model(llama, texts, monkeypatch):
    made = []
    of = Prefix.of
    monkeypatch.setattr(Prefix, "of", lambda *a: made.append(a) or of(*a))
    for _ in range(3):
        shared, _ = encoders(llama)
        encode(shared, texts[:4], 4)
    assert len(made) == 1


# Parameters, and which of the prefix's 12 tokens count; "rest" leaves out the whole head.
COUNTED = [
    ({"special_tokens": True}, ((0, 1),)),
    ({"counts": "prompt"}, ((1, 12),)),
    ({"counts": "prompt", "special_tokens": True}, ((0, 1), (1, 12))),
    ({"counts": "rest"}, ()),
    ({"counts": "prompt", "token_prepending": (1, 3)}, ((1, 12),)),
    ({"counts": "prompt", "chunk_overlap": 2, "max_length": 24}, ((1, 12),)),
]


@pytest.mark.parametrize(("params", "counted"), COUNTED)
def test_what_counts_inside_the_prefix(llama, texts, params, counted):
    shared, whole = encoders(llama, **params)
    n = len(shared.passes.prefix_ids)
    assert shared._tokenizer.counted_in_prefix(n) == counted
    (one, n_one), (two, n_two) = (encode(e, texts, 4) for e in (shared, whole))
    assert n_two - n_one >= n * len(texts)
    close(one, two)


@pytest.mark.parametrize(("params", "counted"), COUNTED)
def test_the_bits_are_those_alone_where_the_prefix_counts(
    llama, texts, params, counted
):
    many, _ = encode(encoders(llama, **params)[0], texts, 4)
    encoder, _ = encoders(llama, batch_tokens=16, **params)
    for i in (0, 7, 23, 40):
        alone, _ = encode(encoder, [texts[i]], 4)
        for cell in many:
            np.testing.assert_array_equal(alone[cell][0], many[cell][i])
    # Whatever else is asked for.
    for cell in many:
        [block] = encoder.encode([texts[7]], [cell[0]], [cell[1]])
        np.testing.assert_array_equal(block.cells[cell][0], many[cell][7])


def test_a_text_without_tokens_is_run_whole(llama, texts):
    """It is all that stands around it, the prompt too, where otherwise none of it is."""
    shared, whole = encoders(llama)
    (one, _), (two, _) = (encode(e, ["", *texts[:3]], 4) for e in (shared, whole))
    close(one, two)


def test_a_short_head_isnt_worth_it(llama):
    shared, _ = encoders(llama, template="the {text}")
    assert shared.passes.prefix_ids == ()
    # <s> and all of the head's tokens but the last.
    assert len(encoders(llama)[0].passes.prefix_ids) == 12


def test_a_text_that_changes_the_heads_last_token(shared_models):
    """Byte-level BPE may join the end of the head with the text's beginning."""
    folder = shared_models / "news-llama-4m"
    template = "The following sentence is about the new{text}"
    texts = ["s", "spaper", " York", "est", "", "\n", "comer from Britain"]
    shared, whole = encoders(folder, template=template)
    assert shared.passes.prefix_ids and not whole.passes.prefix_ids
    one, two = (encode(e, texts, 6)[0] for e in (shared, whole))
    close(one, two)


def test_a_model_that_goes_wrong_is_run_whole(llama, texts, monkeypatch):
    monkeypatch.setattr(Prefix, "cache", lambda self, n_rows: None)
    shared, whole = encoders(llama)
    assert shared.passes.prefix_ids == ()
    one, two = (encode(e, texts, 4)[0] for e in (shared, whole))
    for cell in two:
        np.testing.assert_array_equal(one[cell], two[cell])
