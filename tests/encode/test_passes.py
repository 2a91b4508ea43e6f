"""Passes: padded rows, memory that runs out, several devices."""

import copy
import dataclasses
import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as t
from architectures import ALL
from conftest import llama_config, save_model

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._encode import passes as passes_module
from sklearn_llm2vec._encode.encoder import Encoder
from sklearn_llm2vec._model import loading, registry
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.registry import forget_models, load_model
from sklearn_llm2vec._network import memory, varlen
from sklearn_llm2vec._network.padding import hides_padding
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec._network.prefix import prefix_of
from sklearn_llm2vec._network.varlen import Varlen
from sklearn_llm2vec._text.tokens import Row

SMALL = {
    "vocab_size": 79,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 70,
}


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


@pytest.mark.parametrize("counts", ["text", "prompt"])
def test_padded_rows_behind_a_prefix(llama, texts, counts):
    from sklearn_llm2vec._text.templates import PRESETS

    template = PRESETS["ke"].prompt
    params = {"template": template, "causal": True, "max_length": 128, "counts": counts}
    assert encoder_of(load(llama), **params).passes.prefix_ids
    assert_padding_changes_nothing([load(llama)], texts, **params)


ENCODERS = {
    "roberta": t.RobertaConfig(**SMALL, pad_token_id=1),
    "modernbert": t.ModernBertConfig(
        **SMALL, pad_token_id=0, global_attn_every_n_layers=2, local_attention=4
    ),
    "deberta": t.DebertaV2Config(**SMALL, relative_attention=True),
    "t5": t.T5Config(
        vocab_size=79, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4
    ),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_padded_rows_of_more_encoders(name, tmp_path, texts):
    loaded = load(save_model(tmp_path, ENCODERS[name], "bert"))
    assert hides_padding(loaded.states, causal=False)
    assert_padding_changes_nothing([loaded], texts[:40], max_length=60)


READS_PADDING = {
    "fnet": t.FNetConfig(**{k: v for k, v in SMALL.items() if "heads" not in k}),
    "convbert": t.ConvBertConfig(**SMALL, embedding_size=32),
}


@pytest.mark.parametrize("name", READS_PADDING)
def test_models_that_read_padding_are_found_out(name, tmp_path):
    loaded = load(save_model(tmp_path, READS_PADDING[name], "bert"))
    assert not hides_padding(loaded.states, causal=False)


def test_padding_needs_a_mask_where_attention_looks_ahead(bert, llama, texts):
    assert not hides_padding(load(bert).states, causal=True)
    assert not hides_padding(load(llama, "bidirectional").states, causal=True)
    assert hides_padding(load(llama).states, causal=True)
    with pytest.raises(AssertionError):
        assert_padding_changes_nothing([load(bert)], texts, causal=True)


def on_cuda(loaded):
    """A copy that says it is on a GPU; its passes can't run here."""
    return dataclasses.replace(
        loaded, device=torch.device("cuda:0"), states=copy.copy(loaded.states)
    )


def test_who_pads(bert, llama, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    monkeypatch.setattr(
        passes_module, "in_parallel", lambda f, models, n: map(f, models)
    )

    def pads(loaded, **params):
        params = {"max_length": 64, "batch_tokens": "auto", "causal": True, **params}
        return passes_module.Passes([loaded], **params).pads

    assert not pads(load(llama))
    assert pads(on_cuda(load(llama)))
    assert not pads(on_cuda(load(llama)), token_prepending=(1, 2))
    monkeypatch.setattr(passes_module, "hides_padding", lambda states, causal: False)
    assert not pads(on_cuda(load(llama)))


def test_padding_is_no_token_that_a_model_lacks(llama, texts):
    loaded = load(llama)
    loaded.tokenizer.add_tokens([f"[MORE{i}]" for i in range(60)])
    loaded.tokenizer.add_special_tokens({"pad_token": "[MORE59]"})
    rows = loaded.states.network.get_input_embeddings().weight.shape[0]
    assert loaded.tokenizer.pad_token_id >= rows
    assert_padding_changes_nothing([loaded], texts, causal=True)


def test_few_lengths_are_left(llama, texts):
    texts = [*texts, "card " * 70]
    encoder = encoder_of(load(llama), causal=True, max_length=60, batch_tokens=10_000)
    exact = {len(row.ids) for batch in encoder._batches(texts, 1) for row in batch.rows}
    encoder.passes.pads = True
    batches = list(encoder._batches(texts, 1))
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
        self._counting = threading.Lock()  # passes run in several threads

    def __getattr__(self, name):
        return getattr(self._states, name)

    def __call__(self, ids, *args, **more):
        fits = ids.numel() <= self._room
        with self._counting:
            self.n_failed += not fits
            self.n_rows += len(ids) * fits
            self.n_passes += fits
        if not fits:
            raise type(self._error)(*self._error.args)
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
    assert same(encode(encoder, texts), want)
    # This model's widths want a row more behind each pass.
    assert small.states.n_rows - small.states.n_passes == len(texts)
    # Halved until it fits; with two passes at once each may have tried.
    assert 100 // 4 <= encoder.passes.batch_tokens <= 100
    assert small.states.n_failed <= 2 * 5 * 2
    tokens, since = encoder.ran_out
    assert encoder.passes.batch_tokens <= since < tokens
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
        patched.setattr("sklearn_llm2vec._model.registry.load_model", load_small)
        texts_at_once = texts * 3 + [f"{text} small" for text in texts]
        with pytest.warns(UserWarning, match="too small for a batch of") as warned:
            encoder.set_params(batch_tokens=1024).transform(texts_at_once)
    assert len(warned) == 1
    assert "batch_tokens=" in str(warned[0].message)
    assert Path(warned[0].filename).name == "test_passes.py"
    assert encoder.last_report_.encoded == 2 * len(texts)
    np.testing.assert_array_equal(encoder.transform(texts), want)
    assert encoder.last_report_.encoded == 0


def test_tokens_of_a_pass_follow_from_the_memory(llama, monkeypatch):
    loaded = load(llama)
    on_gpu = on_cuda(loaded)
    assert memory.most_tokens(loaded) == 1024
    a_token = memory.bytes_of_a_token(loaded.states)
    config = loaded.states.network.config
    hidden, middle = config.hidden_size, config.intermediate_size
    # Each matrix by its longer side, in float32, twice; float32 states in the pooling.
    kv = hidden * config.num_key_value_heads // config.num_attention_heads
    assert kv <= hidden
    assert a_token == 2 * 4 * (4 * hidden + 3 * max(hidden, middle)) + 16 * hidden
    for free, want in ((4 * 10_000 * a_token, 10_000), (0, 2048), (2**50, 65536)):
        monkeypatch.setattr(memory, "free_memory", lambda device, free=free: free)
        assert memory.most_tokens(on_gpu) == want
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    assert memory.most_tokens(on_gpu) == 8 * 2048
    memory.limit_tokens(on_gpu, 3000)
    assert memory.most_tokens(on_gpu) == 3000


def test_rows_cost_what_they_keep_in_memory(llama, monkeypatch):
    loaded = load(llama)
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    monkeypatch.setattr(
        passes_module, "in_parallel", lambda f, models, n: map(f, models)
    )
    params = {"max_length": 64, "causal": True, "prefix_ids": (1, 5, 9)}
    on_gpu = on_cuda(loaded)
    passes = passes_module.Passes([on_gpu], batch_tokens="auto", **params)
    a_token = memory.bytes_of_a_token(loaded.states)
    # Keys and values of 4 layers of 32 numbers each; cells twice: one by one, together.
    keys = 13 * 2 * 4 * 32 * 4
    assert passes.cost(10, False, 1) == 10 + 2 * 32 * 4 // a_token
    assert passes.cost(10, True, 400) == 10 + (keys + 400 * 2 * 32 * 4) // a_token
    assert passes.cost(10, True, 400) > 20
    # Tokens are tokens where the user said how many.
    for model, batch_tokens in ((on_gpu, 500), (loaded, "auto")):
        passes = passes_module.Passes([model], batch_tokens=batch_tokens, **params)
        assert passes.cost(10, True, 400) == 10


def passes_of_stand_ins(monkeypatch, *models, **params):
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    monkeypatch.setattr(
        passes_module, "in_parallel", lambda f, models, n: map(f, models)
    )
    params = {"max_length": 64, "causal": True, "batch_tokens": "auto", **params}
    return passes_module.Passes(list(models), **params)


def test_a_pass_fits_the_smallest_of_several_devices(llama, monkeypatch):
    models = [on_cuda(load(llama)) for _ in range(3)]
    for model, most in zip(models, (5000, 3000, 4000), strict=True):
        memory.limit_tokens(model, most)
    assert passes_of_stand_ins(monkeypatch, *models).batch_tokens == 3000


def test_a_prefix_must_hold_on_each_of_several_devices(llama, monkeypatch):
    ids = (1, 5, 9)
    holds, fails = on_cuda(load(llama)), on_cuda(load(llama))
    monkeypatch.setattr(
        passes_module,
        "prefix_of",
        lambda states, ids: None if states is fails.states else object(),
    )
    for models, want in (([holds], ids), ([holds, fails], ()), ([fails, holds], ())):
        passes = passes_of_stand_ins(monkeypatch, *models, prefix_ids=ids)
        assert passes.prefix_ids == want


def test_memory_that_ran_out_on_a_device_is_given_back(llama, monkeypatch):
    loaded, emptied = on_cuda(load(llama)), []
    passes = passes_of_stand_ins(monkeypatch, loaded, batch_tokens=1000)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    rows = [Row(list(range(56)), [(0, 56)], 0)] * 10
    passes._shrink(loaded, rows, rows[:5], behind=False, cost=500)
    assert emptied == [1]
    assert passes.batch_tokens == memory.most_tokens(loaded) == 500
    assert passes.ran_out == (560, 280)


def test_memory_that_runs_out_says_nothing_of_a_prefix(llama):
    small = with_room(load(llama), 20)
    ids = tuple(range(30))
    with pytest.raises(torch.OutOfMemoryError):
        prefix_of(small.states, ids)
    small.states._room = 1000
    assert prefix_of(small.states, ids)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("Invalid buffer size: 12 GB"), True),
        (RuntimeError("level_zero: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_says_that_memory_ran_out(error, is_one):
    assert memory.is_out_of_memory(error) is is_one


def test_what_a_failed_pass_held_is_free_at_the_next_attempt(llama):
    held = []

    class Holding(Small):
        def __call__(self, ids, *args, **more):
            assert all(one() is None for one in held)
            tensor = torch.zeros(8)
            held.append(weakref.ref(tensor))
            return super().__call__(ids, *args, **more)

    loaded = load(llama)
    small = dataclasses.replace(loaded, states=Holding(loaded.states, 100))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.disable()
    try:
        encode(encoder_of(small, batch_tokens=512), ["card cash bank dog"] * 80)
    finally:
        gc.enable()
        torch.set_num_threads(before)
    assert small.states.n_failed > 1


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


def test_devices_share_the_passes(llama, texts, monkeypatch):
    loaded = load(llama)
    want = encode(encoder_of(loaded, batch_tokens=64), texts)
    barrier = threading.Barrier(2)
    models = [
        dataclasses.replace(loaded, states=Meeting(loaded.states, barrier))
        for _ in range(2)
    ]
    monkeypatch.setattr(Varlen, "of", lambda states: None)  # it would be a first pass
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        encoder = encoder_of(*models, batch_tokens=64)
        assert encoder.passes.n_at_once == 2
        assert same(encode(encoder, texts), want)
    finally:
        torch.set_num_threads(before)
    assert all(model.states.n_passes > 1 for model in models)


def test_threads_share_one_copy(llama, texts, monkeypatch):
    loaded, barrier = load(llama), threading.Barrier(2)

    class Together(Meeting):
        def __call__(self, ids, *args, **more):
            self.n_passes += 1
            if self.n_passes <= 2:
                self._barrier.wait(20)
            return self._states(ids, *args, **more)

    model = dataclasses.replace(loaded, states=Together(loaded.states, barrier))
    monkeypatch.setattr(Varlen, "of", lambda states: None)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        encode(encoder_of(model, batch_tokens=64), texts)
    finally:
        torch.set_num_threads(before)
    assert model.states.n_passes > 2


def test_copies_on_several_devices_dont_push_each_other_out(monkeypatch):
    def model_on(device, n_bytes=40):
        return loading.LoadedModel(None, None, 1, n_bytes, torch.device(device))

    monkeypatch.setattr(registry, "memory_bytes", lambda device: 200)
    for i in range(4):
        registry.make_room(40, f"cuda:{i}")
        registry.models[i] = model_on(f"cuda:{i}")
    assert list(registry.models) == [0, 1, 2, 3]
    registry.make_room(60, "cuda:2")
    assert len(registry.models) == 4
    registry.make_room(61, "cuda:2")
    assert list(registry.models) == [0, 1, 3]


@pytest.mark.parametrize("template", [None, "the book of the small cat reads : {text}"])
def test_what_is_known_of_a_model_goes_with_it(llama, texts, monkeypatch, template):
    """Prefixes, the twin of varlen passes and tokenizers don't keep a model in memory."""
    monkeypatch.setattr(varlen, "WORTH_A_PROOF", 0)
    model = load(llama)
    encoder = encoder_of(model, causal=True, template=template, max_length=64)
    encode(encoder, texts)
    assert hides_padding(model.states, causal=True)
    memory.limit_tokens(model, 500)
    known = encoder.passes.prefix_ids if template else encoder.passes.varlen(1)
    assert known
    gone = [weakref.ref(one) for one in (model, model.states, model.states.network)]
    del model, encoder, known
    forget_models()
    gc.collect()
    assert [one() for one in gone] == [None] * 3


def test_devices_of_a_transformer(llama, texts):
    want = LLMEmbeddingTransformer(llama, cache=None).transform(texts)
    several = LLMEmbeddingTransformer(llama, cache=None, device=("cpu", "cpu"))
    np.testing.assert_array_equal(several.fit_transform(texts), want)
    for wrong in ((), ("cpu", "cuda:0"), 3, "", [["cpu"]]):
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
