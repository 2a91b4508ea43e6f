"""Hidden states equal those of transformers, for every architecture and depth."""

import numpy as np
import pytest
import torch
import transformers
from architectures import (
    DECODERS,
    GROUPED,
    IDS,
    SMALL,
    configs,
    configs_that_count_their_layers,
)
from conftest import bert_config, llama_config, save_model

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.loading import load_network
from sklearn_llm2vec._model.registry import forget_models, load_model
from sklearn_llm2vec._network.layers import HiddenStates, find_layers

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def empty_registry():
    forget_models()
    yield
    forget_models()


@pytest.mark.parametrize("name", configs())
def test_every_hidden_state_equals_transformers(name, tmp_path):
    config = configs()[name]()
    model = read_model(save_model(tmp_path, config))
    assert model.n_layers == 4
    assert model.hidden_size == 32
    assert model.causal == (name in DECODERS)

    whole = load_network(model, 4, torch.float32)
    ids = torch.arange(24).reshape(2, 12) + 5
    with torch.inference_mode():
        reference = whole(input_ids=ids, output_hidden_states=True).hidden_states
    assert len(reference) == 5
    for depth in (4, 0, 1, 2, 3):
        forget_models()
        states = load_model(model, depth=depth, dtype="float32", device="cpu").states
        with torch.inference_mode():
            got = states(ids, range(depth + 1), lambda h: h.clone())
        assert sorted(got) == list(range(depth + 1))
        for k, state in got.items():
            torch.testing.assert_close(state, reference[k], rtol=1e-5, atol=1e-5)


# Their hidden states are no outputs of layers, or the network isn't a stack of them.
FALL_BACK = {"albert", "deberta-v2-conv", "mamba"}


@pytest.mark.parametrize("name", configs())
def test_only_the_layers_needed_are_loaded(name, tmp_path):
    model = read_model(save_model(tmp_path, configs()[name]()))
    whole = load_model(model, depth=4, dtype="float32", device="cpu")
    assert (whole.states.layers is None) == (name in FALL_BACK)
    forget_models()
    part = load_model(model, depth=2, dtype="float32", device="cpu")
    if name in FALL_BACK:
        assert part.depth == 4
    else:
        assert part.depth == 2
        assert part.n_bytes < whole.n_bytes
        # And no others were read from the file.
        network = load_network(model, 2, torch.float32)
        assert network.n_layers_loaded == 2
        assert len(find_layers(network, 2)) == 2
        assert type(network) is type(whole.states.network)


@pytest.mark.parametrize("name", configs_that_count_their_layers())
def test_a_vector_doesnt_depend_on_the_copy_that_serves_it(name, tmp_path):
    folder = str(save_model(tmp_path, configs()[name](), "llama"))
    made = LLMEmbeddingTransformer(folder, layer=2, cache=None)
    alone = made.fit_transform(["a small card"])
    forget_models()
    LLMEmbeddingTransformer(folder, cache=None).fit_transform(["a small card"])
    np.testing.assert_array_equal(made.transform(["a small card"]), alone)


def test_a_model_that_cant_be_made_blank_is_loaded_whole(llama, monkeypatch, tmp_path):
    # What is remembered of the patched network mustn't be left to other tests.
    monkeypatch.setenv("SKLEARN_LLM2VEC_CACHE", str(tmp_path / "facts"))
    monkeypatch.setattr("sklearn_llm2vec._common.facts._known", {})

    def refuse(*args, **kwargs):
        raise NotImplementedError("needs real numbers")

    model = read_model(llama)
    monkeypatch.setattr(transformers.AutoModel, "from_config", refuse)
    assert load_network(model, 2, torch.float32).n_layers_loaded == 4
    loaded = load_model(model, depth=2, dtype="float32", device="cpu")
    assert loaded.depth == 2
    assert len(loaded.states.network.layers) == 2


def test_states_that_are_stacks_are_refused(tmp_path):
    config = transformers.Gemma3nTextConfig(
        **GROUPED,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=128,
        sliding_window=4,
        num_kv_shared_layers=0,
        laurel_rank=4,
    )
    model = read_model(save_model(tmp_path, config))
    for depth in (4, 2):
        with pytest.raises(ValueError, match=r"'model' parameter.*one state per token"):
            load_model(model, depth=depth, dtype="float32", device="cpu")


def test_layers_are_found_by_what_they_are(tmp_path):
    network = transformers.AutoModel.from_config(llama_config())
    assert find_layers(network, 4) is network.layers
    assert find_layers(network, 5) is None


def test_a_network_without_a_list_of_layers_falls_back():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = transformers.AutoModel.from_config(bert_config())
            self.inner.encoder.layer = torch.nn.Sequential(*self.inner.encoder.layer)

        def get_input_embeddings(self):
            return self.inner.get_input_embeddings()

        def forward(self, **kwargs):
            return self.inner(**kwargs)

    network = Odd().eval()
    states = HiddenStates.of(network, 3, 3)
    assert states.layers is None
    ids = torch.arange(16)[None]
    with torch.inference_mode():
        reference = network(input_ids=ids, output_hidden_states=True).hidden_states
        got = states(ids, [1, 3], lambda h: h.clone())
    assert torch.equal(got[1], reference[1])
    assert torch.equal(got[3], reference[3])


def test_early_exit_doesnt_run_deeper_layers(llama):
    loaded = load_model(read_model(llama), depth=4, dtype="float32", device="cpu")
    ran = []
    for index, layer in enumerate(loaded.states.layers):
        layer.register_forward_pre_hook(lambda *_, index=index: ran.append(index))
    ids = torch.arange(16)[None]
    with torch.inference_mode():
        loaded.states(ids, [2], lambda h: None)
        assert ran == [0, 1]
        ran.clear()
        loaded.states(ids, [0, 4], lambda h: None)
        assert ran == [0, 1, 2, 3]


def test_hooks_are_off_while_the_network_is_changed(llama):
    states = load_model(
        read_model(llama), depth=4, dtype="float32", device="cpu"
    ).states
    ids = torch.arange(16)[None]
    with torch.inference_mode():
        before = states(ids, [2, 4], lambda h: h.clone())
        with states.unhooked():
            embed = states.network.embed_tokens
            assert not embed._forward_hooks
            twin = torch.nn.Embedding.from_pretrained(embed.weight * 2)
            states.network.set_input_embeddings(twin)
        after = states(ids, [2, 4], lambda h: h.clone(), edit=lambda k, h: h)
    assert len(twin._forward_hooks) == 1
    assert all((after[k] - before[k]).abs().max() > 1e-3 for k in (2, 4))


def test_hooks_keep_nothing_when_a_pass_fails(llama):
    loaded = load_model(read_model(llama), depth=4, dtype="float32", device="cpu")
    ids = torch.arange(16)[None]

    def broken(states):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        loaded.states(ids, [1], broken)
    with torch.inference_mode():  # the network works on as if nothing had been
        output = loaded.states.network(input_ids=ids)
        assert output.last_hidden_state.shape == (1, 16, 32)


def test_the_registry_serves_from_a_deeper_copy(llama):
    model = read_model(llama)
    shallow = load_model(model, depth=2, dtype="float32", device="cpu")
    deep = load_model(model, depth=4, dtype="float32", device="cpu")
    assert deep is not shallow
    assert load_model(model, depth=1, dtype="float32", device="cpu") is deep


# --- models that say it otherwise ----------------------------------------------------


def means(folder, layer, state):
    """Our mean over all tokens, and that of what `state` takes from the output."""
    text = "the small cat reads a book"
    ours = LLMEmbeddingTransformer(
        folder, layer=layer, pooling="mean", special_tokens=True, cache=None
    ).fit_transform([text])[0]
    network = transformers.AutoModel.from_pretrained(folder).eval()
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        output = network(
            input_ids=torch.tensor([tokenizer(text)["input_ids"]]),
            output_hidden_states=True,
        )
    return ours, state(output)[0].mean(0).numpy()


def test_the_last_state_is_the_networks_own_where_the_list_lacks_the_norm(tmp_path):
    config = transformers.CLIPTextConfig(**SMALL, **IDS)
    folder = save_model(tmp_path, config, "bert")
    for layer, state in (
        (-1, lambda output: output.last_hidden_state),
        (2, lambda output: output.hidden_states[2]),
    ):
        np.testing.assert_allclose(*means(folder, layer, state), rtol=1e-4, atol=1e-5)
    assert not np.allclose(*means(folder, -1, lambda output: output.hidden_states[-1]))


def test_a_last_state_of_another_width_is_refused(tmp_path):
    config = configs()["opt"]()
    config.word_embed_proj_dim = 16
    folder = save_model(tmp_path, config, "gpt")
    with pytest.raises(
        ValueError, match="has 16 features, the others 32. Choose an ea"
    ):
        LLMEmbeddingTransformer(folder, cache=None).fit_transform(["a small card"])
    ours, theirs = means(folder, 2, lambda output: output.hidden_states[2])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_xlnet_reads_as_an_encoder(tmp_path):
    config = transformers.XLNetConfig(
        vocab_size=128, d_model=32, n_layer=3, n_head=4, d_inner=48
    )
    folder = save_model(tmp_path, config, "bert", factory="AutoModelForCausalLM")
    model = read_model(folder)
    assert not model.causal and not model.decoder
    ours, theirs = means(folder, -1, lambda output: output.last_hidden_state)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["mt5", "t5gemma"])
def test_encoders_of_models_that_write(tmp_path, kind):
    if kind == "mt5":
        config = transformers.MT5Config(
            vocab_size=128, d_model=32, d_ff=48, num_layers=4, num_heads=4, d_kv=8
        )
    else:
        side = {**GROUPED, **IDS, "sliding_window": 8, "query_pre_attn_scalar": 8}
        config = transformers.T5GemmaConfig(
            encoder=side, decoder=side, vocab_size=128, **IDS
        )
    folder = save_model(tmp_path, config, "bert", factory="AutoModelForSeq2SeqLM")
    assert read_model(folder).n_layers == 4
    for layer in (-1, 2):
        got = means(folder, layer, lambda output, k=layer: output.hidden_states[k])
        np.testing.assert_allclose(*got, rtol=1e-4, atol=1e-5)
