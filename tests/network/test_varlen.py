"""Rows of several lengths in one pass: the bits that each has alone, or no such pass."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import transformers as t
from architectures import GROUPED, SMALL, configs
from conftest import bert_config, llama_config, make_tokenizer, save_model

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._encode import passes
from sklearn_llm2vec._encode.encoder import Encoder
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.registry import forget_models, load_model
from sklearn_llm2vec._network import varlen
from sklearn_llm2vec._network.layers import HiddenStates, some_ids
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec._network.varlen import MOST_TOKENS, NAME, Varlen

pytestmark = pytest.mark.usefixtures("one_thread")
LONG = {**SMALL, "max_position_embeddings": 300}
# Architecture -> the padding token from behind which it counts positions.
MIXED = {
    "bert": (lambda: t.BertConfig(**LONG), None),
    "roberta": (lambda: t.RobertaConfig(**LONG | {"vocab_size": 4000}), 1),
    "electra": (lambda: t.ElectraConfig(**LONG, embedding_size=16), None),
    "distilbert": (configs()["distilbert"], None),
    "gpt2": (
        lambda: t.GPT2Config(
            vocab_size=128, n_embd=32, n_layer=2, n_head=4, n_positions=300
        ),
        None,
    ),
    "gpt_neox": (configs()["gpt_neox"], None),
    "llama": (lambda: t.LlamaConfig(**GROUPED), None),
    "qwen3": (lambda: t.Qwen3Config(**GROUPED), None),
    "mistral": (lambda: t.MistralConfig(**GROUPED, sliding_window=256), None),
    "gemma": (lambda: t.GemmaConfig(**GROUPED), None),
    "olmo2": (configs()["olmo2"], None),
    "smollm3": (configs()["smollm3"], None),
}
ALONE = {
    "a window of 4 tokens": lambda: t.MistralConfig(**GROUPED, sliding_window=4),
    "positions that can't be given": configs()["bart"],
    "biases of positions": lambda: t.T5Config(
        vocab_size=128, d_model=32, d_ff=48, num_layers=2, num_heads=4, d_kv=8
    ),
    "an attention that is not sdpa": configs()["bloom"],
    "a convolution": configs()["lfm2"],
    "a recurrence": configs()["qwen3_next"],
    "the place in the sequence": lambda: t.Llama4TextConfig(
        **GROUPED,
        intermediate_size_mlp=48,
        num_local_experts=2,
        floor_scale=512,
        moe_layers=[],
        no_rope_layers=[0, 0, 0, 0],
    ),
    "a scale that mask tokens share": lambda: t.EsmConfig(
        **LONG | {"vocab_size": 4105},
        token_dropout=True,
        mask_token_id=2,
        pad_token_id=1,
        position_embedding_type="absolute",
    ),
}


@pytest.fixture(autouse=True)
def empty_registry():
    forget_models()
    yield
    forget_models()


def states_of(config):
    torch.manual_seed(0)
    factory = t.AutoModelForTextEncoding if config.is_encoder_decoder else t.AutoModel
    if isinstance(config, t.BartConfig):
        network = t.AutoModel.from_config(config).get_encoder()
    else:
        network = factory.from_config(config)
    network = network.eval().requires_grad_(False)
    n_layers = config.get_text_config(encoder=True).num_hidden_layers
    return HiddenStates.of(network, n_layers, n_layers)


def clones(parts):
    return [part.clone() for part in parts]


@pytest.mark.parametrize("name", MIXED)
def test_every_state_has_the_bits_of_a_pass_alone(name):
    make, padding = MIXED[name]
    states = states_of(make())
    varlen = Varlen.of(states)
    assert varlen.longest == 256
    assert varlen.padding == padding
    # Other rows than those of the proof; the last one takes what another routine rounds.
    rows = [some_ids(states.network, 1, n) + k for k, n in enumerate((97, 50, 49, 31))]
    rows = [row.remainder(120) + 2 for row in [*rows, *rows[-1:]]]
    assert all(varlen.takes(row[0].tolist()) for row in rows)
    layers = range(states.depth + 1)
    with torch.inference_mode():
        found = varlen(rows, layers, clones)
        for n, row in enumerate(rows[:-1]):
            alone = states(row.repeat(2, 1), layers, torch.clone)
            for k in layers:
                assert torch.equal(found[k][n][0], alone[k][0]), (n, k)


@pytest.mark.parametrize("token", [-1, 5000, [3, 4]])
def test_special_tokens_that_are_none_of_the_vocabulary_are_left_out(token):
    config = t.LlamaConfig(**GROUPED)
    config.pad_token_id = config.eos_token_id = None
    states = states_of(config)
    config = states.network.config
    config.eos_token_id = token
    if isinstance(token, int):
        config.pad_token_id = token
    assert Varlen.of(states).longest == 256


@pytest.mark.parametrize("why", ALONE)
def test_what_cant_be_run_like_this_isnt(why):
    assert Varlen.of(states_of(ALONE[why]())) is None


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_the_network_itself_stays_as_it_is_and_lends_its_weights(name):
    states = states_of(MIXED[name][0]())
    before, hooks = states.of_some_tokens(), len(states.layers[0]._forward_hooks)
    varlen = Varlen.of(states)
    assert all(map(torch.equal, before, states.of_some_tokens()))
    assert states.network.config._attn_implementation == "sdpa"
    assert len(states.layers[0]._forward_hooks) == hooks
    twin = varlen._states.network
    assert twin is not states.network
    assert twin.config._attn_implementation == NAME
    theirs = {id(one) for one in states.network.parameters()}
    assert {id(one) for one in twin.parameters()} == theirs


def test_a_network_that_asks_for_the_name_of_its_attention_is_found_out(monkeypatch):
    """As sparse attention does, which is dense where it can't be made."""
    layer = t.models.llama.modeling_llama.LlamaMLP

    def asks(self, *args, forward=layer.forward):
        other = self.config._attn_implementation != "sdpa"
        return forward(self, *args) * (1.001 if other else 1.0)

    monkeypatch.setattr(layer, "forward", asks)
    assert Varlen.of(states_of(t.LlamaConfig(**GROUPED))) is None


@pytest.mark.parametrize("error", [AssertionError, ImportError, ZeroDivisionError])
def test_a_network_that_raises_what_it_likes_has_no_such_passes(monkeypatch, error):
    layer = t.models.llama.modeling_llama.LlamaMLP

    def short(self, states, forward=layer.forward):
        if states.shape[1] > 50:
            raise error("too long")
        return forward(self, states)

    monkeypatch.setattr(layer, "forward", short)
    assert Varlen.of(states_of(t.LlamaConfig(**GROUPED))) is None


def test_a_window_lets_shorter_rows_be_together():
    config = t.MistralConfig(**GROUPED, sliding_window=100)
    assert Varlen.of(states_of(config)).longest == 64


def test_the_proof_has_as_many_tokens_as_a_pass_may_have():
    for shapes in (varlen.LONG, varlen.SHORT):
        n_tokens = sum(n_rows * tokens for n_rows, tokens in shapes)
        assert n_tokens >= MOST_TOKENS


def test_a_network_that_lets_rows_see_each_other_is_found_out(monkeypatch):
    layer = t.models.llama.modeling_llama.LlamaMLP

    def leaks(self, *args, forward=layer.forward):
        return forward(self, *args) + 1e-6 * args[0].mean(1, keepdim=True)

    monkeypatch.setattr(layer, "forward", leaks)
    assert Varlen.of(states_of(t.LlamaConfig(**GROUPED))) is None


def encoder_of(folder, attention="auto", max_length=300, **params):
    model = read_model(folder)
    loaded = load_model(
        model,
        depth=model.n_layers,
        dtype="float32",
        device="cpu",
        attention=attention,
    )
    return Encoder(loaded, special_tokens=True, max_length=max_length, **params)


def encode(encoder, texts, poolings=POOLINGS):
    blocks = list(encoder.encode(texts, (0, 1, 2), poolings))
    order = np.argsort(np.concatenate([block.rows for block in blocks]))
    cells = {
        cell: np.concatenate([block.cells[cell] for block in blocks])[order]
        for cell in blocks[0].cells
    }
    return cells, sum(block.n_tokens for block in blocks)


@pytest.fixture
def shapes(monkeypatch):
    """The (rows, tokens) of each length of each varlen pass, as they are run."""
    seen, run = [], Varlen.__call__

    def noting(self, ids, wanted, pool):
        seen.append([tuple(part.shape) for part in ids])
        return run(self, ids, wanted, pool)

    monkeypatch.setattr(Varlen, "__call__", noting)
    return seen


@pytest.fixture
def at_once(monkeypatch):
    """No thousands of tokens go first."""
    monkeypatch.setattr(varlen, "WORTH_A_PROOF", 0)


@pytest.fixture(params=["bert", "llama", "odd llama", "bidirectional llama"])
def folder(request, tmp_path):
    if request.param == "bert":
        config, kind = bert_config(max_position_embeddings=320), "bert"
    else:
        odd = {"intermediate_size": 50} if "odd" in request.param else {}
        config, kind = llama_config(max_position_embeddings=320, **odd), "llama"
    attention = "bidirectional" if "bi" in request.param else "auto"
    return save_model(tmp_path / "model", config, kind), attention


def some_texts(rng, n):
    return [" ".join(["word"] * k) for k in rng.integers(0, 90, n)] + ["a", "", "b c"]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("batch_tokens", ["auto", 40, 150, 1 << 20])
def test_texts_get_the_bits_they_have_alone(folder, shapes, batch_tokens):
    folder, attention = folder
    texts = some_texts(np.random.default_rng(0), 40)
    alone = [encode(encoder_of(folder, attention), [text]) for text in texts]
    assert shapes == []
    encoder = encoder_of(folder, attention, batch_tokens=batch_tokens)
    assert encoder.passes.varlen(1)  # the proof runs such passes, too
    shapes.clear()
    together, n_tokens = encode(encoder, texts)
    assert n_tokens == sum(n for _, n in alone)
    for cell, vectors in together.items():
        for i, (one, _) in enumerate(alone):
            assert np.array_equal(vectors[i], one[cell][0]), (cell, i)
    assert max(len(one) for one in shapes) > 1
    budget = min(MOST_TOKENS, 1024 if batch_tokens == "auto" else batch_tokens)
    for one in shapes:
        # But for repeats of the last row: to 16 tokens, and one where widths are odd.
        assert sum(n * tokens for n, tokens in one) <= budget + 16 + one[-1][1]


@pytest.mark.usefixtures("at_once")
def test_long_rows_have_passes_of_their_own(tmp_path, shapes):
    config = bert_config(max_position_embeddings=320)
    folder = save_model(tmp_path / "bert", config)
    encoder = encoder_of(folder)
    assert encoder.passes.varlen(1)
    shapes.clear()
    texts = [" ".join(["word"] * n) for n in (290, 280, 30, 20, 10)]
    encode(encoder, texts)
    assert shapes
    assert max(tokens for one in shapes for _, tokens in one) < 280


@pytest.mark.usefixtures("at_once")
def test_texts_of_one_length_need_no_proof(bert, monkeypatch):
    def refuse(states):
        raise AssertionError("asked for")

    monkeypatch.setattr(Varlen, "of", refuse)
    encode(encoder_of(bert, max_length=32), ["one word", "two words", "one more"])
    with pytest.raises(AssertionError, match="asked for"):
        encode(encoder_of(bert, max_length=32), ["one word", "now two words"])


def test_it_is_proved_once_for_a_model_and_after_thousands_of_tokens(bert, monkeypatch):
    calls, of = [], Varlen.of

    def noting(states):
        calls.append(states)
        return of(states)

    monkeypatch.setattr(Varlen, "of", noting)
    texts = ["word " * n for n in (10, 20, 30, 40)]  # 108 tokens with those around
    for n in range(1, 40):
        encode(encoder_of(bert, max_length=64), texts)
        assert len(calls) == (108 * n >= varlen.WORTH_A_PROOF), n


@pytest.mark.usefixtures("at_once")
def test_memory_that_runs_out_halves_a_pass_and_loses_nothing(
    bert, monkeypatch, shapes
):
    texts = some_texts(np.random.default_rng(1), 30)
    want, n_tokens = encode(encoder_of(bert, max_length=64), texts)
    shapes.clear()
    run = passes.Passes._run_varlen

    def too_small(self, replica, arrays, *args):
        if sum(array[0].size for array in arrays) > 100:
            raise torch.OutOfMemoryError("out of memory")
        return run(self, replica, arrays, *args)

    monkeypatch.setattr(passes.Passes, "_run_varlen", too_small)
    encoder = encoder_of(bert, max_length=64, batch_tokens=400)
    got, again = encode(encoder, texts)
    assert again == n_tokens
    assert all(np.array_equal(want[cell], got[cell]) for cell in want)
    tokens, most = encoder.ran_out
    assert tokens > 100 >= most / 2
    assert encoder.passes.batch_tokens < 400


@pytest.mark.usefixtures("at_once")
def test_a_padding_token_in_a_text_keeps_it_alone(tmp_path, shapes):
    padding = make_tokenizer()("card")["input_ids"][1]
    config = t.RobertaConfig(**LONG | {"vocab_size": 4000, "pad_token_id": padding})
    encoder = encoder_of(save_model(tmp_path / "roberta", config))
    assert encoder.passes.varlen(1).padding == padding
    texts = ["my card", "is", "lost or was it", "the other one"]
    alone = [encode(encoder, [text])[0] for text in texts]
    shapes.clear()
    together, _ = encode(encoder, texts)
    lengths = [len(make_tokenizer()(text)["input_ids"]) for text in texts]
    assert len(set(lengths)) == 4
    assert {tokens for one in shapes for _, tokens in one} == set(lengths[1:])
    for cell, vectors in together.items():
        assert np.array_equal(vectors, np.concatenate([one[cell] for one in alone]))


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "params",
    [{"template": "ke"}, {"token_prepending": (0, 2), "template": "Read: {text} So:"}],
    ids=["prefix", "token prepending"],
)
def test_prompts_that_know_one_length_stay_with_it(params, llama, monkeypatch):
    encoder = LLMEmbeddingTransformer(
        llama, cache=None, device="cpu", max_length=64, layer=2, **params
    )
    texts = ["a word", "and some more words", "three more words"]
    want = np.concatenate([encoder.transform([text]) for text in texts])
    forget_models()
    monkeypatch.setattr(Varlen, "of", lambda states: pytest.fail("asked for"))
    assert np.array_equal(encoder.transform(texts), want)


@pytest.mark.usefixtures("at_once")
def test_several_threads_may_be_in_passes_of_both_kinds(bert, shapes):
    texts = [text[:250] for text in some_texts(np.random.default_rng(2), 60)]
    encoder = LLMEmbeddingTransformer(bert, cache=None, device="cpu", max_length=64)
    want = np.concatenate([encoder.transform([text]) for text in texts])
    assert shapes == []
    for _ in range(5):
        forget_models()  # so that some encode while another proves
        with ThreadPoolExecutor(6) as pool:
            parts = [texts, texts[:1], texts[:9], texts[:2]] * 4
            found = list(pool.map(encoder.transform, parts))
        for part in found:
            assert np.array_equal(part, want[: len(part)])
    assert max(map(len, shapes)) > 5
