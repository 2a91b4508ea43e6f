"""The gradient of a step is the same in one pass and in many, and needs less memory."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import llama_config
from transformers import LlamaModel

from sklearn_llm2vec._adapt.batches import (
    ClassBatches,
    MaskedBatches,
    ViewBatches,
    padded,
)
from sklearn_llm2vec._adapt.gradients import kept_bytes, make_gradient, passes
from sklearn_llm2vec._adapt.losses import contrast_views, pool_batch
from sklearn_llm2vec._text.tokens import Row

N_TOKENS = 128
COMMON = {"pad_id": 0, "batch_size": 8, "n_batches": 1, "seed": 0}


def stage(name):
    return SimpleNamespace(name=name, layer=2, pooling="mean", temperature=0.05)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 12, 16)
    ids = [rng.integers(5, N_TOKENS, length).tolist() for length in lengths]
    return [Row(one, [(0, len(one))], 0) for one in ids]


def make_network(dropout):
    torch.manual_seed(0)
    config = llama_config(num_hidden_layers=2, attention_dropout=dropout)
    config._attn_implementation = "eager"
    return LlamaModel(config).train()


class Counted:
    """A network that notes the tokens of each pass with a gradient."""

    def __init__(self, network):
        self.network, self.sizes = network, []

    def __call__(self, input_ids, **more):
        if torch.is_grad_enabled():
            self.sizes.append(input_ids.numel())
        return self.network(input_ids=input_ids, **more)


def step(network, gradient_of, batch, tokens_a_pass):
    """The loss, the gradients as one vector, and the tokens of each pass."""
    network.zero_grad()
    torch.manual_seed(1)
    counted = Counted(network)
    loss = gradient_of(counted, batch, tokens_a_pass)
    parts = [p.grad.ravel() for p in network.parameters() if p.grad is not None]
    return float(loss), torch.cat(parts), counted.sizes


@pytest.mark.parametrize("name", ["mntp", "supervised"])
def test_many_passes_give_the_gradient_of_one(name, rows):
    network = make_network(dropout=0.0)
    if name == "mntp":
        torch.manual_seed(2)
        head = torch.nn.Linear(32, N_TOKENS)
        batches = MaskedBatches(
            rows,
            mask_id=4,
            special_ids={0},
            n_tokens=N_TOKENS,
            probability=0.4,
            strategy="all",
            offset=1,
            **COMMON,
        )
    else:
        head, labels = None, np.arange(16) % 3
        none = np.empty((16, 0), int)
        batches = ClassBatches(rows, labels=labels, negatives=none, **COMMON)
    gradient_of, batch = make_gradient(stage(name), 2, head), batches[0]
    one = step(network, gradient_of, batch, 10_000)
    many = step(network, gradient_of, batch, 25)
    assert len(one[2]) == 1
    assert len(many[2]) >= 3
    assert max(many[2]) <= 25
    assert many[0] == pytest.approx(one[0], rel=1e-5)
    scale = float(one[1].abs().max())
    torch.testing.assert_close(many[1], one[1], rtol=0, atol=1e-5 * scale)


def test_the_second_look_at_a_pass_has_the_dropout_of_the_first(rows):
    """Against autograd through all passes at once, with the same random numbers."""
    network, simcse = make_network(dropout=0.3), stage("simcse")
    batch = ViewBatches(rows, **COMMON)[0]
    gradient_of = make_gradient(simcse, 2)
    loss, got, sizes = step(network, gradient_of, batch, 40)
    assert len(sizes) > 3

    def plain(network, batch, tokens_a_pass):
        parts = []
        for part in passes(batch, tokens_a_pass):
            longest = int(batch["lengths"][part].max())
            some = {n: v[part] for n, v in batch.items()}
            some = {n: v[:, :longest] if v.ndim == 2 else v for n, v in some.items()}
            parts.append(pool_batch(network, some, simcse, 2))
        loss = contrast_views(torch.cat(parts), batch, simcse)
        loss.backward()
        return loss.detach()

    want_loss, want, _ = step(network, plain, batch, 40)
    assert loss == pytest.approx(want_loss, rel=1e-6)
    scale = float(want.abs().max())
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5 * scale)


def test_what_is_kept_for_the_backward_pass_is_counted_without_drawing(rows):
    network = make_network(dropout=0.3)
    row = padded(rows[:1], 0)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    short = kept_bytes(network, row)
    torch.testing.assert_close(torch.rand(4), expected, rtol=0, atol=0)
    # Two layers keep their inputs, three projections of the MLP, norms, attention ...
    n_tokens = row["input_ids"].numel()
    assert short > 2 * n_tokens * (4 * 32 + 3 * 48) * 4
    long = {name: torch.cat([part, part], -1) for name, part in row.items()}
    assert 1.8 * short < kept_bytes(network, long) < 3 * short
