"""Passes: padded rows, memory that runs out, several devices."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
from conftest import llama_config, save_model
from test_attention import ALL

from sklearn_llm2vec import LLMEmbeddingTransformer, _passes
from sklearn_llm2vec._encoder import Encoder
from sklearn_llm2vec._folders import read_model
from sklearn_llm2vec._models import forget_models, load_model

POOLINGS = ("mean", "weighted_mean", "last", "first", "max")


@pytest.fixture(autouse=True)
def no_models():
    forget_models()
    yield
    forget_models()


def load(folder, attention="auto"):
    model = read_model(folder)
    return load_model(
        model,
        depth=model.n_layers,
        dtype="float32",
        device="cpu",
        attention=attention,
    )


def encoder_of(*models, **params):
    return Encoder(*models, **{"special_tokens": False, "max_length": 64, **params})


def encode(encoder, texts, layers=(0, 2), poolings=POOLINGS):
    blocks = list(encoder.encode(texts, layers, poolings))
    order = np.argsort(np.concatenate([block.rows for block in blocks]))
    return {
        cell: np.concatenate([block.cells[cell] for block in blocks])[order]
        for cell in blocks[0].cells
    }


def same(one, two):
    return all(np.array_equal(one[cell], two[cell]) for cell in two)


# --- padding, which only accelerators get ---------------------------------------------


def assert_padding_changes_nothing(models, texts, tolerance=1e-5, **params):
    exact, padded = encoder_of(*models, **params), encoder_of(*models, **params)
    assert not exact.passes.pads
    padded.passes.pads = True
    layers = range(models[0].depth + 1)
    want, got = (encode(one, texts, layers) for one in (exact, padded))
    for cell in want:
        scale = np.abs(want[cell]).max()
        assert np.abs(want[cell] - got[cell]).max() <= tolerance * scale, cell


@pytest.mark.parametrize("name", sorted(ALL))
def test_padded_rows_have_the_states_of_exact_ones(name, tmp_path, texts):
    folder = save_model(tmp_path, ALL[name](), "llama")
    loaded = load(folder)
    causal = read_model(folder).causal
    assert_padding_changes_nothing([loaded], texts[:40], causal=causal, max_length=60)


def test_padded_rows_of_a_decoder_made_bidirectional(llama, texts):
    assert_padding_changes_nothing([load(llama, "bidirectional")], texts)


@pytest.mark.parametrize("special_tokens", [True, False])
def test_padded_rows_of_an_encoder(bert, texts, special_tokens):
    assert_padding_changes_nothing([load(bert)], texts, special_tokens=special_tokens)


def test_padded_rows_behind_a_prefix(llama, texts):
    from sklearn_llm2vec._templates import PRESETS

    params = {"template": PRESETS["ke"], "causal": True, "max_length": 128}
    assert encoder_of(load(llama), **params).passes.prefix_ids
    assert_padding_changes_nothing([load(llama)], texts, **params)


def test_padding_would_be_seen_without_a_mask(bert, texts):
    with pytest.raises(AssertionError):
        assert_padding_changes_nothing([load(bert)], texts, causal=True)


def test_few_lengths_are_left(llama, texts):
    texts = [*texts, "card " * 70]
    encoder = encoder_of(load(llama), causal=True, max_length=60, batch_tokens=10_000)
    exact = {len(batch.rows[0].ids) for batch in encoder._batches(texts)}
    encoder.passes.pads = True
    batches = list(encoder._batches(texts))
    lengths = {encoder.passes.length(batch.rows[0], False) for batch in batches}
    assert len(lengths) == len(batches) < len(exact)
    # Whole eights, but no longer than the longest row may be.
    assert max(lengths) == 60
    assert {length % 8 for length in lengths} == {0, 60 % 8}


# --- memory ---------------------------------------------------------------------------


class Small:
    """Hidden states on a device that has room for so many tokens."""

    def __init__(self, states, room, error=None):
        self._states, self._room = states, room
        self._error = error or torch.OutOfMemoryError("out of memory")
        self.n_rows, self.n_passes, self.n_failed = 0, 0, 0

    def __getattr__(self, name):
        return getattr(self._states, name)

    def __call__(self, ids, *args, **more):
        if ids.numel() > self._room:
            self.n_failed += 1
            raise self._error
        self.n_rows += len(ids)
        self.n_passes += 1
        return self._states(ids, *args, **more)


def with_room(loaded, room, *error):
    return dataclasses.replace(loaded, states=Small(loaded.states, room, *error))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_passes_are_halved_and_no_finished_row_runs_twice(llama, error):
    loaded = load(llama)
    texts = [f"{a} cash bank dog" for a in ["card", "cat", "blue", "red"] * 64]
    want = encode(encoder_of(loaded), texts)
    small = with_room(loaded, 100, error)
    encoder = encoder_of(small, batch_tokens=1024)
    with pytest.warns(
        UserWarning, match="too small for a pass of .* batch_tokens="
    ) as w:
        got = encode(encoder, texts)
    assert same(got, want)
    # This model's widths want a row more behind each pass.
    assert small.states.n_rows - small.states.n_passes == len(texts)
    # Halved until it fits; with two passes at once each may have tried.
    assert 100 // 4 <= encoder.passes.batch_tokens <= 100
    assert small.states.n_failed <= 2 * 5 * 2
    assert f"at most {encoder.passes.batch_tokens}." in str(w[0].message)
    # The model remembers: the next encoder begins where this one ended.
    n_failed = small.states.n_failed
    assert same(encode(encoder_of(small), texts), want)
    assert small.states.n_failed == n_failed


def test_one_text_that_doesnt_fit_is_an_error_that_says_so(llama):
    small = with_room(load(llama), 20)
    with pytest.raises(MemoryError, match="room for one text of 3. tokens.*max_length"):
        encode(encoder_of(small), ["card " * 30])


def test_other_errors_come_out_as_they_are(llama):
    small = with_room(load(llama), 20, RuntimeError("illegal instruction"))
    with pytest.raises(RuntimeError, match="illegal instruction"):
        encode(encoder_of(small), ["card " * 30])


def test_a_transformer_whose_memory_runs_out(llama, tmp_path, monkeypatch):
    def load_small(*args, **kwargs):
        return with_room(load_model(*args, **kwargs), 30)

    texts = [
        f"{a} {b}" for a in ["card", "cat", "blue"] for b in ["red", "bank", "dog"]
    ]
    want = LLMEmbeddingTransformer(llama, cache=None).transform(texts)
    encoder = LLMEmbeddingTransformer(llama, cache=tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr("sklearn_llm2vec._models.load_model", load_small)
        texts_at_once = texts * 3 + [f"{text} small" for text in texts]
        with pytest.warns(UserWarning, match="too small") as warned:
            encoder.set_params(batch_tokens=1024).transform(texts_at_once)
    assert len(warned) == 1
    assert encoder.last_report_.encoded == 2 * len(texts)
    np.testing.assert_array_equal(encoder.transform(texts), want)
    assert encoder.last_report_.encoded == 0


def test_tokens_of_a_pass_follow_from_the_memory(llama, monkeypatch):
    loaded = load(llama)
    on_gpu = dataclasses.replace(loaded, device=torch.device("cuda:0"))
    assert _passes.most_tokens(loaded) == 1024
    a_token = _passes.bytes_of_a_token(loaded.states)
    config = loaded.states.network.config
    hidden, middle = config.hidden_size, config.intermediate_size
    # Each matrix by its longer side, in float32, twice; float32 states in the pooling.
    kv = hidden * config.num_key_value_heads // config.num_attention_heads
    assert kv <= hidden
    assert a_token == 2 * 4 * (4 * hidden + 3 * max(hidden, middle)) + 16 * hidden
    for free, want in ((4 * 10_000 * a_token, 10_000), (0, 2048), (2**50, 65536)):
        monkeypatch.setattr(_passes, "free_memory", lambda device, free=free: free)
        assert _passes.most_tokens(on_gpu) == want
    monkeypatch.setattr(_passes, "free_memory", lambda device: None)
    assert _passes.most_tokens(on_gpu) == 8 * 2048
    on_gpu.most_tokens = 3000
    assert _passes.most_tokens(on_gpu) == 3000


# --- several devices ------------------------------------------------------------------


class Meeting:
    """Hidden states whose first passes wait until every device has one."""

    def __init__(self, states, barrier):
        self._states, self._barrier, self.n_passes = states, barrier, 0

    def __getattr__(self, name):
        return getattr(self._states, name)

    def __call__(self, ids, *args, **more):
        self.n_passes += 1
        if self.n_passes == 1:
            self._barrier.wait(20)
        return self._states(ids, *args, **more)


def test_devices_share_the_passes(llama, texts):
    loaded = load(llama)
    want = encode(encoder_of(loaded, batch_tokens=64), texts)
    barrier = threading.Barrier(2)
    models = [
        dataclasses.replace(loaded, states=Meeting(loaded.states, barrier))
        for _ in range(2)
    ]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        encoder = encoder_of(*models, batch_tokens=64)
        assert encoder.passes.n_at_once == 2
        assert same(encode(encoder, texts), want)
    finally:
        torch.set_num_threads(before)
    assert all(model.states.n_passes > 1 for model in models)


def test_devices_of_a_transformer(llama, texts):
    want = LLMEmbeddingTransformer(llama, cache=None).transform(texts)
    several = LLMEmbeddingTransformer(llama, cache=None, device=("cpu", "cpu"))
    np.testing.assert_array_equal(several.fit_transform(texts), want)
    for wrong in ((), ("cpu", "cuda:0"), 3, ""):
        several.set_params(device=wrong)
        with pytest.raises(ValueError, match="'device'.*one kind.*Got"):
            several.fit(texts)


def test_on_an_accelerator(tmp_path, texts):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    folder = save_model(tmp_path, llama_config(), "llama")
    on_cpu = LLMEmbeddingTransformer(folder, cache=None, device="cpu").transform(texts)
    devices = tuple(f"cuda:{i}" for i in range(torch.cuda.device_count()))
    for device in ("cuda:0", devices):
        encoder = LLMEmbeddingTransformer(
            folder, cache=None, device=device, dtype="float32"
        )
        found = encoder.transform(texts)
        assert np.abs(found - on_cpu).max() <= 1e-3 * np.abs(on_cpu).max()
