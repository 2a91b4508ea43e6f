"""Packed weights: the same states, the same memory, the same bits in any batch."""

import pytest
import torch
from conftest import bert_config, llama_config, save_model

from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.loading import load_network
from sklearn_llm2vec._model.registry import forget_models, load_model
from sklearn_llm2vec._network import packing
from sklearn_llm2vec._network.layers import HiddenStates
from sklearn_llm2vec._network.packing import can_pack, pack, unpack
from sklearn_llm2vec._network.threads import in_parallel

pytestmark = pytest.mark.skipif(
    not can_pack(torch.device("cpu"), torch.float32),
    reason="this CPU's torch has no packed products that were measured",
)

# The first is what models compute in unless they are told otherwise.
DTYPES = [torch.float32]
if can_pack(torch.device("cpu"), torch.bfloat16):
    DTYPES.append(torch.bfloat16)
WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}


def gpt_config():
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=128, n_embd=256, n_layer=2, n_head=4, n_positions=64, use_cache=False
    )


CONFIGS = {
    "llama": (lambda: llama_config(**WIDE), "llama", 10),
    "bert": (lambda: bert_config(**WIDE), "bert", 13),
    "gpt2": (gpt_config, "gpt", 8),
}


@pytest.fixture(params=CONFIGS)
def wide(request, tmp_path):
    """A folder with a model wide enough to be packed, and how many layers of it are."""
    make, kind, n_packed = CONFIGS[request.param]
    return save_model(tmp_path / "wide", make(), kind), n_packed


def weights(network):
    return {name: one.clone() for name, one in network.named_parameters()}


def packed_modules(network):
    return [m for m in network.modules() if "forward" in vars(m)]


def load(folder, attention="auto", dtype="float32"):
    model = read_model(folder)
    return load_model(model, depth=2, dtype=dtype, device="cpu", attention=attention)


@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_states_are_the_plain_ones(wide, dtype):
    folder, n_packed = wide
    network = load_network(read_model(folder), 2, dtype)
    plain = HiddenStates.of(network, 2, 2)
    before = plain.of_some_tokens()
    states = load(folder, dtype=str(dtype).removeprefix("torch.")).states
    assert len(packed_modules(states.network)) == n_packed
    for k, (a, b) in enumerate(zip(before, states.of_some_tokens(), strict=True)):
        if dtype == torch.bfloat16:
            assert torch.equal(a, b)
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5 * float(a.abs().max()))
        assert k == 0 or a.std() > 0


def test_packed_weights_replace_the_plain_ones(wide):
    folder, n_packed = wide
    network = load_network(read_model(folder), 2, torch.float32)
    before = weights(network)
    packed = pack(network)
    assert len(packed) == n_packed
    assert all(one.weight.device.type == "meta" for one in packed)
    assert pack(network) == []  # once is enough
    unpack(packed)
    assert packed_modules(network) == []
    after = weights(network)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_small_layers_and_other_kinds_stay_as_they_are():
    class Scaled(torch.nn.Linear):
        def forward(self, states):
            return 2 * super().forward(states)

    network = torch.nn.Sequential(torch.nn.Linear(255, 256), Scaled(512, 512))
    assert pack(network) == []
    assert not can_pack(torch.device("cpu"), torch.float16)
    assert not can_pack(torch.device("meta"), torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(256, 512), (512, 256), (384, 1536), (1536, 384)])
def test_a_row_has_the_same_bits_among_any_number_of_rows(shape, dtype):
    torch.manual_seed(0)
    layer = torch.nn.Linear(*shape, dtype=dtype)
    pack(layer)
    rows = torch.randn(2100, shape[0]).to(dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as every pass has it
    try:
        with torch.inference_mode():
            whole = layer(rows)
            for n in (16, 17, 24, 31, 33, 64, 100, 255, 500, 1024):
                assert torch.equal(layer(rows[:n]), whole[:n]), n
                twice = layer(rows[: 2 * n].view(2, n, -1))
                assert torch.equal(twice.view(2 * n, -1), whole[: 2 * n]), n
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape",
    [(384, 1536), (1536, 384), (384, 384), (8192, 64), (4096, 255), (576, 1537)],
)
def test_a_row_has_the_same_bits_on_any_number_of_threads(shape, dtype):
    torch.manual_seed(0)
    layer = torch.nn.Linear(*shape, dtype=dtype)
    pack(layer)
    rows = torch.randn(300, shape[0]).to(dtype)

    def product(n):
        with torch.inference_mode():
            return layer(rows[:n].view(1, n, -1))[0]

    (whole,) = in_parallel(product, [300], 1)  # nobody is idle
    for n_threads in (2, 3, 8, 17):
        for n in (2, 17, 64, 127, 300):
            (found,) = in_parallel(product, [n], n_threads)
            assert torch.equal(found, whole[:n]), (n_threads, n)


def test_large_products_use_idle_threads_and_small_ones_dont(monkeypatch):
    counts = []
    by_onednn = packing._by_onednn

    def noting(*args):
        counts.append(torch.get_num_threads())
        return by_onednn(*args)

    monkeypatch.setattr(packing, "_by_onednn", noting)
    layer = torch.nn.Linear(512, 512)
    pack(layer)
    for n_rows in (4, 64):
        list(in_parallel(lambda n: layer(torch.randn(n, 512)), [n_rows], 3))
    assert counts == [1, 3]


def test_a_network_that_computes_with_weights_itself_stays_plain(tmp_path, monkeypatch):
    from torch.nn import functional
    from transformers.models.llama.modeling_llama import LlamaMLP

    def forward(self, x):
        gate = functional.silu(functional.linear(x, self.gate_proj.weight))
        return functional.linear(gate * self.up_proj(x), self.down_proj.weight)

    folder = save_model(tmp_path / "wide", llama_config(**WIDE), "llama")
    plain = HiddenStates.of(load_network(read_model(folder), 2, torch.float32), 2, 2)
    monkeypatch.setattr(LlamaMLP, "forward", forward)
    forget_models()
    states = load(folder).states
    assert packed_modules(states.network) == []
    for a, b in zip(plain.of_some_tokens(), states.of_some_tokens(), strict=True):
        torch.testing.assert_close(a, b)


def test_attention_is_switched_before_packing(tmp_path):
    folder = save_model(tmp_path / "wide", llama_config(**WIDE), "llama")
    states = load(folder, "bidirectional").states
    assert packed_modules(states.network)
    ids = torch.arange(5, 25)[None]
    moved = ids.clone()
    moved[0, -1] = 90
    with torch.inference_mode():
        first, other = (
            states(one, [2], lambda states: states[0, 0].clone())[2]
            for one in (ids, moved)
        )
    assert (first - other).abs().max() > 1e-4
