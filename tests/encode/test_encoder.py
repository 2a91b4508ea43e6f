"""Texts to blocks: values against transformers, the same bits in any batch."""

import random
import re
import shutil
from itertools import product

import numpy as np
import pytest
import torch
from conftest import WORDS, llama_config, save_model
from transformers import AutoConfig, AutoTokenizer

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._encode.encoder import Encoder
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.registry import forget_models, load_model
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec._text.tokens import Row


def load(name, depth=None):
    model = read_model(name)
    depth = model.n_layers if depth is None else depth
    return load_model(model, depth=depth, dtype="float32", device="cpu")


def encode(loaded, texts, layers, poolings=POOLINGS, special_tokens=True, **settings):
    encoder = Encoder(
        loaded, special_tokens=special_tokens, **{"max_length": 512, **settings}
    )
    out = {}
    for block in encoder.encode(texts, layers, poolings):
        for cell, vectors in block.cells.items():
            out.setdefault(cell, np.full((len(texts), vectors.shape[1]), np.nan, "f4"))
            out[cell][block.rows] = vectors
    return out


def same(a, b):
    assert set(a) <= set(b)
    return all(np.array_equal(a[cell], b[cell]) for cell in a)


@pytest.mark.parametrize("kind", ["llama", "bert"])
@pytest.mark.parametrize("special_tokens", [True, False])
def test_values_against_transformers(kind, special_tokens, texts, request):
    folder = request.getfixturevalue(kind)
    loaded = load(folder)
    got = encode(loaded, texts, range(loaded.depth + 1), special_tokens=special_tokens)
    tail = 1 if kind == "bert" else 0
    for row, text in enumerate(texts[::7]):
        ids = torch.tensor(loaded.tokenizer([text])["input_ids"])
        with torch.inference_mode():
            output = loaded.states.network(input_ids=ids, output_hidden_states=True)
        for layer, states in enumerate(output.hidden_states):
            states = states[0].double()
            kept = states if special_tokens else states[1 : len(states) - tail]
            weights = torch.arange(1, len(kept) + 1).double()[:, None]
            want = {
                "mean": kept.mean(0),
                "weighted_mean": (kept * weights).sum(0) / weights.sum(),
                "last": states[-1],
                "first": states[0],
                "max": kept.amax(0),
            }
            for pooling in POOLINGS:
                np.testing.assert_allclose(
                    got[layer, pooling][row * 7], want[pooling], rtol=2e-4, atol=2e-4
                )


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_same_bits_in_any_batch_order_and_company(kind, texts, request):
    loaded = load(request.getfixturevalue(kind))
    layers = range(loaded.depth + 1)
    reference = encode(loaded, texts, layers)
    for budget in (16, 50, 5000):
        assert same(encode(loaded, texts, layers, batch_tokens=budget), reference)
    shuffled = random.Random(0).sample(range(len(texts)), len(texts))
    moved = encode(loaded, [texts[i] for i in shuffled], layers)
    assert same({c: v[np.argsort(shuffled)] for c, v in moved.items()}, reference)
    for i in range(0, len(texts), 5):
        alone = encode(loaded, [texts[i]], layers)
        assert same(alone, {c: v[i : i + 1] for c, v in reference.items()})
    for layer in layers:  # fewer cells, earlier exit
        assert same(encode(loaded, texts, [layer], ["weighted_mean"]), reference)


@pytest.mark.parametrize("width", [50, 172, 176])
def test_same_bits_with_widths_that_leave_a_rest(width, tmp_path):
    """SiLU computes the last few numbers of a tensor by another routine."""
    config = llama_config(intermediate_size=width, hidden_size=64)
    loaded = load(save_model(tmp_path, config, "llama"))
    rng = random.Random(0)
    texts = [
        " ".join(rng.choices(WORDS, k=n)) for n in [*range(1, 200, 2), 7, 7, 7, 30]
    ]
    texts = list(dict.fromkeys(texts))
    reference = encode(loaded, texts, range(5))
    assert same(encode(loaded, texts, [4], batch_tokens=16), reference)
    shuffled = random.Random(0).sample(range(len(texts)), len(texts))
    moved = encode(loaded, [texts[i] for i in shuffled], [4], batch_tokens=100)
    assert same({c: v[np.argsort(shuffled)] for c, v in moved.items()}, reference)


def test_same_bits_from_a_cut_model(llama, texts):
    reference = encode(load(llama), texts, range(5))
    for depth in (1, 2, 3):
        forget_models()
        assert same(encode(load(llama, depth), texts, [depth]), reference)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_same_bits_with_any_number_of_threads(n_threads, llama, texts):
    reference = encode(load(llama), texts, range(5))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        got = encode(load(llama), texts, range(5))
        assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert same(got, reference)


@pytest.mark.slow
def test_same_bits_on_real_weights_and_texts(minilm, shared_data):
    pandas = pytest.importorskip("pandas")
    loaded = load(minilm)
    rng = np.random.default_rng(0)
    long = pandas.read_csv(shared_data / "medical_abstracts" / "train.csv.gz")
    short = pandas.read_csv(shared_data / "banking77" / "train.csv.gz")
    texts = [
        *rng.choice(short["text"], 150, False),
        *rng.choice(long["text"], 60, False),
    ]
    words = " ".join(long["text"]).split()
    texts += [" ".join(words[n : n + k]) for n, k in enumerate(range(1, 91))]
    texts = list(dict.fromkeys(texts))
    reference = encode(loaded, texts, range(7))
    assert same(encode(loaded, texts, [6], ["mean"], batch_tokens=64), reference)
    assert same(
        encode(loaded, texts[::-1], [3]), {c: v[::-1] for c, v in reference.items()}
    )
    for i in range(0, len(texts), 20):
        alone = encode(loaded, [texts[i]], [6])
        assert same(alone, {c: v[i : i + 1] for c, v in reference.items()})


@pytest.mark.parametrize(
    "limits, most",
    [({}, 2048), ({"BLOCK_ROWS": 500}, 500), ({"BLOCK_BYTES": 300 * 10 * 32 * 4}, 300)],
)
def test_every_text_is_in_one_block_and_blocks_are_small(
    llama, monkeypatch, limits, most
):
    from sklearn_llm2vec._encode import encoder

    for name, limit in {"BLOCK_SECONDS": 1000.0, **limits}.items():
        monkeypatch.setattr(encoder, name, limit)
    texts = [" ".join(pair) for pair in product(WORDS, WORDS)]
    encoder = Encoder(load(llama), special_tokens=True, max_length=9, batch_tokens=64)
    blocks = list(encoder.encode(texts, [1, 4], POOLINGS))  # 10 cells of 32 numbers
    assert len(blocks) > 1
    rows = np.concatenate([block.rows for block in blocks])
    assert sorted(rows) == list(range(len(texts)))
    sizes = [len(block.rows) for block in blocks]
    assert all(most <= size < most + 64 for size in sizes[:-1])
    assert sizes[-1] < most + 64


def test_a_block_waits_no_longer_than_its_seconds(llama, monkeypatch):
    from sklearn_llm2vec._encode import encoder

    monkeypatch.setattr(encoder, "BLOCK_SECONDS", 0.0)
    encoder = Encoder(load(llama), special_tokens=True, max_length=9, batch_tokens=16)
    texts = WORDS[:40]
    blocks = list(encoder.encode(texts, [4], ["mean"]))
    assert len(blocks) == sum(1 for _ in encoder._batches(texts, 1))


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_long_texts_keep_their_front_and_their_special_tokens(kind, request):
    loaded = load(request.getfixturevalue(kind))
    encoder = Encoder(loaded, special_tokens=True, max_length=6)
    text = "card cash bank dog cat blue red small large"
    ((tokens,),), n_cut = encoder._tokenizer([text])
    whole = loaded.tokenizer([text])["input_ids"][0]
    tail = whole[-1:] if kind == "bert" else []
    assert tokens.ids == whole[: 6 - len(tail)] + tail
    assert n_cut == 1
    got = encode(loaded, [text], [2], max_length=6)
    want = encode(loaded, [" ".join(text.split()[: 5 - len(tail)])], [2])
    assert same(got, want)


def test_a_limit_below_the_special_tokens_is_refused(bert):
    with pytest.raises(ValueError, match="greater than the 2 special tokens.*Got 2"):
        Encoder(load(bert), special_tokens=True, max_length=2)


@pytest.mark.parametrize("kind", ["bert", "llama", "gpt"])
@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_empty_texts_have_one_finite_vector_in_any_batch(kind, text, tmp_path, texts):
    loaded = load(save_model(tmp_path, llama_config(), kind))
    alone = encode(loaded, [text], range(5), special_tokens=False)
    assert all(np.isfinite(v).all() for v in alone.values())
    within = encode(loaded, [*texts[:9], text], range(5), special_tokens=False)
    assert same(alone, {cell: v[-1:] for cell, v in within.items()})


def test_special_tokens_written_in_a_text_are_text(llama):
    loaded = load(llama)
    encoder = Encoder(loaded, special_tokens=False, max_length=64)
    ((tokens,),), _ = encoder._tokenizer(["<s> card </s>"])
    assert tokens.counted == [(1, len(tokens.ids))]


def test_memory_of_a_pass_doesnt_grow_with_the_layers(llama):
    loaded = load(llama)
    encoder = Encoder(loaded, special_tokens=False, max_length=512)
    rows = [Row([7] * 100, [(0, 100)], 0)] * 4
    cells, n_tokens = encoder.passes(rows, False, range(5), POOLINGS)
    assert n_tokens == 400
    held = {id(v.base): v.base.nbytes for v in cells.values() if v.base is not None}
    # One row more than was asked for may be held; no state of a token.
    assert sum(held.values()) <= 2 * sum(v.nbytes for v in cells.values())


# --- tokens without an embedding -----------------------------------------------------


@pytest.fixture
def with_tokens(llama, tmp_path):
    """A copy of a folder whose tokenizer has tokens that its matrix lacks."""
    folder = shutil.copytree(llama, tmp_path / "more tokens")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    n_known = AutoConfig.from_pretrained(folder).vocab_size
    fill = n_known - max(tokenizer.get_vocab().values()) - 1
    tokenizer.add_tokens([f"fill{n}" for n in range(fill)] + ["zebra"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|late|>"]})
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("token", ["zebra", "<|late|>"])
def test_a_token_without_an_embedding_is_named(with_tokens, token):
    encoder = LLMEmbeddingTransformer(str(with_tokens), cache=None)
    encoder.fit_transform(["a small card", "the bank"])
    its = re.escape(token)
    said = (
        f"the token '{its}' with the id 12[89], token 3 of the text that begins with "
        f"'a small {its} card', but the embedding matrix has 128 rows"
    )
    with pytest.raises(ValueError, match=said):
        encoder.transform(["the bank", f"a small {token} card"])
    # What is cut off doesn't matter.
    with pytest.warns(UserWarning, match="longer than 3 tokens"):
        encoder.set_params(max_length=3).transform([f"a small {token} card"])


def test_a_token_of_the_prompt_without_an_embedding_is_named(with_tokens):
    encoder = LLMEmbeddingTransformer(
        str(with_tokens), template="the red cat <|late|> reads a {text}", cache=None
    )
    with pytest.raises(ValueError, match=r"the token '<\|late\|>' with the id 12[89]"):
        encoder.fit_transform(["card"])
