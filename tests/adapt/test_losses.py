"""Losses against the formulas of their papers, written out with loops."""

import math

import numpy as np
import pytest
import torch
import transformers as t

from sklearn_llm2vec._adapt.batches import MaskedBatches
from sklearn_llm2vec._adapt.losses import (
    class_loss,
    masked_token_loss,
    pair_loss,
    view_loss,
)
from sklearn_llm2vec._network.lm_heads import split_head
from sklearn_llm2vec._text.tokens import Row


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def test_view_loss_is_simcse(vectors):
    a, b = vectors[:3], vectors[3:]
    want = 0.0
    for i in range(3):
        scores = [math.exp(cosine(a[i], b[j]) / 0.05) for j in range(3)]
        want -= math.log(scores[i] / sum(scores)) / 3
    got = view_loss(torch.from_numpy(a), torch.from_numpy(b), 0.05)
    assert float(got) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("n_anchors", [6, 4])
def test_class_loss_is_supervised_contrastive(vectors, n_anchors):
    labels = np.array([0, 1, 0, 2, 1, 0])
    losses = []
    for i in range(n_anchors):
        positives = [p for p in range(6) if p != i and labels[p] == labels[i]]
        if not positives:
            continue  # the only member of its class
        below = sum(
            math.exp(cosine(vectors[i], vectors[a]) / 0.1) for a in range(6) if a != i
        )
        logs = [
            math.log(math.exp(cosine(vectors[i], vectors[p]) / 0.1) / below)
            for p in positives
        ]
        losses.append(-sum(logs) / len(logs))
    tensors = torch.from_numpy(vectors), torch.from_numpy(labels)
    got = class_loss(*tensors, n_anchors, 0.1)
    assert float(got) == pytest.approx(np.mean(losses), rel=1e-5)


def test_pair_loss_leaves_copies_of_the_positive_out(vectors):
    anchors, candidates = vectors[:2], vectors[2:]
    excluded = np.zeros((2, 4), bool)
    excluded[0, 1] = True
    want = 0.0
    for i in range(2):
        scores = {
            j: math.exp(cosine(anchors[i], candidates[j]) / 0.05)
            for j in range(4)
            if not excluded[i, j]
        }
        want -= math.log(scores[i] / sum(scores.values())) / 2
    got = pair_loss(
        torch.from_numpy(anchors),
        torch.from_numpy(candidates),
        torch.arange(2),
        torch.from_numpy(excluded),
        0.05,
    )
    assert float(got) == pytest.approx(want, rel=1e-5)


def test_a_gradient_reaches_every_anchor(vectors):
    tensor = torch.from_numpy(vectors).requires_grad_()
    class_loss(tensor, torch.tensor([0, 0, 1, 1, 2, 3]), 6, 0.1).backward()
    assert torch.isfinite(tensor.grad).all()
    assert (
        tensor.grad.abs().sum(1) > 0
    ).all()  # those without a positive are contrasted


# --- MNTP: labels and loss against transformers' own ----------------------------------


def masked_batch(offset, probability=0.4):
    rows = [Row(list(range(2, 2 + n)), [(1, n)], 1) for n in (9, 5, 12, 7)]
    data = MaskedBatches(
        rows,
        pad_id=0,
        batch_size=4,
        n_batches=3,
        seed=1,
        mask_id=4,
        special_ids={0, 2},
        n_tokens=60,
        probability=probability,
        strategy="bert",
        offset=offset,
    )
    return rows, data


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_mntp_loss_is_transformers_own_under_its_switch(kind, llama_lm, bert_lm):
    """``labels`` of a causal model are shifted by one inside transformers."""
    decoder = kind == "decoder"
    factory = t.AutoModelForCausalLM if decoder else t.AutoModelForMaskedLM
    network = factory.from_pretrained(llama_lm if decoder else bert_lm).eval()
    network.config.is_causal = False
    _, data = masked_batch(offset=int(decoder))
    batch = data[0]
    labels = torch.full_like(batch["input_ids"], -100)
    at = batch["predict_at"] + int(decoder)
    labels[batch["predict_row"], at] = batch["targets"]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    network.requires_grad_(False)
    want = network(**inputs, labels=labels).loss
    layers, head = split_head(network, "a model")
    states = layers(**inputs).last_hidden_state
    got = masked_token_loss(
        head(states[batch["predict_row"], batch["predict_at"]]), batch["targets"]
    )
    assert float(got) == pytest.approx(float(want), rel=1e-5)


HEADS = {
    "llama": t.LlamaConfig,
    "gemma2": t.Gemma2Config,  # caps its logits
    "granite": t.GraniteConfig,  # scales them
    "cohere": t.CohereConfig,
    "gpt2": t.GPT2Config,
    "qwen3": t.Qwen3Config,
    "bert": t.BertConfig,
    "modernbert": t.ModernBertConfig,
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_alone_gives_the_logits_of_the_whole(name):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    if name == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4}
    if name in ("llama", "gemma2", "granite", "cohere", "qwen3"):
        sizes |= {"num_key_value_heads": 2, "head_dim": 8}
    config = HEADS[name](
        vocab_size=100,
        **sizes,
        **({} if name == "gpt2" else {"num_attention_heads": 4}),
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    encoder = name in ("bert", "modernbert")
    factory = t.AutoModelForMaskedLM if encoder else t.AutoModelForCausalLM
    network = factory.from_config(config).eval()
    ids = torch.tensor([[1, 5, 9, 7, 30], [1, 8, 8, 3, 2]])
    with torch.no_grad():
        want = network(input_ids=ids).logits[[0, 1], [2, 4]]
        layers, head = split_head(network, name)
        got = head(layers(input_ids=ids).last_hidden_state[[0, 1], [2, 4]])
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_a_head_that_needs_more_than_the_states_is_refused(llama_lm):
    class Odd(t.LlamaForCausalLM):
        def forward(self, input_ids=None, **kwargs):
            output = super().forward(input_ids=input_ids, **kwargs)
            output.logits = output.logits + input_ids[..., None]
            return output

    with pytest.raises(ValueError, match="its head alone gives other logits"):
        split_head(Odd.from_pretrained(llama_lm).eval(), "odd")
