"""Token Prepending against a direct computation, layer by layer."""

import numpy as np
import pytest
import torch
import transformers as t
from architectures import configs
from conftest import save_model

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.registry import load_model
from sklearn_llm2vec._network.prepending import PLACEHOLDER, TokenPrepending

TEXT = "a small card"


def make(folder, **params):
    settings = {"cache": None, "template": "prompt_eol", "token_prepending": 3}
    return LLMEmbeddingTransformer(folder, **{**settings, **params})


def direct(folder, start, exit, layer):
    """The prompt's last state, with the layers of a Llama called one by one."""
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    network = t.AutoModel.from_pretrained(folder).eval()
    prompt = f'This sentence : "{TEXT}" means in one word:"'
    encoded = tokenizer(prompt, return_offsets_mapping=True)
    at = next(i for i, (a, b) in enumerate(encoded["offset_mapping"]) if b > 17)
    ids = encoded["input_ids"]
    embed = network.embed_tokens.weight
    with torch.inference_mode():
        states = torch.cat(
            [embed[ids[:at]], embed.mean(0, keepdim=True), embed[ids[at:]]]
        )[None]
        positions = torch.arange(states.shape[1])[None]
        rotary = network.rotary_emb(states, positions)
        n = states.shape[1]
        mask = torch.full((n, n), float("-inf")).triu(1)[None, None]
        for k, block in enumerate(network.layers[:layer]):
            if start <= k < exit:
                states[:, at] = states[:, -1]
            out = block(
                states,
                attention_mask=mask,
                position_ids=positions,
                position_embeddings=rotary,
            )
            states = out[0] if isinstance(out, tuple) else out
        if layer == len(network.layers):
            states = network.norm(states)
    return states[0, -1].numpy()


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("given", "start", "exit"), [(3, 1, 3), ((1, 4), 1, 4), ((0, 2), 0, 2)]
)
def test_against_a_direct_computation(llama, given, start, exit, layer):
    got = make(llama, token_prepending=given, layer=layer).fit_transform([TEXT])
    want = direct(llama, start, exit, layer)
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-5)


def test_it_changes_vectors_and_is_a_space(llama, texts):
    one = make(llama).fit(texts)
    other = make(llama, token_prepending=None).fit(texts)
    assert one.fingerprint_ != other.fingerprint_
    assert one.fingerprint_ != make(llama, token_prepending=4).fit(texts).fingerprint_
    assert (
        one.fingerprint_ == make(llama, token_prepending=(1, 3)).fit([""]).fingerprint_
    )
    assert np.abs(one.transform(texts) - other.transform(texts)).max() > 1e-3


def test_the_placeholder_isnt_pooled(llama):
    """Layer 1 hasn't met the last token's state yet: only positions have moved."""
    params = {"pooling": "max", "layer": 0}
    got = make(llama, **params).fit_transform([TEXT])
    want = make(llama, token_prepending=None, **params).fit_transform([TEXT])
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("template", ["ke", "prompt_eol"])
def test_the_bits_dont_depend_on_the_batch(llama, texts, template):
    want = make(llama, template=template).fit_transform(texts)
    other = make(llama, template=template, batch_tokens=64)
    np.testing.assert_array_equal(other.fit_transform(texts[::-1])[::-1], want)
    np.testing.assert_array_equal(other.transform([texts[5]])[0], want[5])


def test_long_texts_leave_room_for_the_placeholder(llama):
    long = " ".join(["card"] * 50)
    with pytest.warns(UserWarning, match="longer than 20 tokens"):
        got = make(llama, max_length=20).fit_transform([long])
    assert np.isfinite(got).all()


def test_long_texts_are_refused_if_the_placeholder_has_no_room(llama):
    tokenizer = t.AutoTokenizer.from_pretrained(llama)
    n = len(tokenizer(f'This sentence : "{TEXT}" means in one word:"')["input_ids"])
    estimator = make(llama, max_length=n, long_texts="error")
    with pytest.raises(ValueError, match=f"at most {n - 1} tokens. Got 1 longer"):
        estimator.fit_transform([TEXT])
    got = estimator.set_params(max_length=n + 1).fit_transform([TEXT])
    np.testing.assert_array_equal(got, make(llama).fit_transform([TEXT]))


def test_absolute_positions_stay(tmp_path, texts):
    config = t.GPT2Config(
        vocab_size=128, n_embd=32, n_layer=3, n_head=4, n_positions=128
    )
    got = make(save_model(tmp_path, config, "gpt")).fit_transform(texts)
    assert np.isfinite(got).all()


@pytest.mark.parametrize("name", ["bloom", "gpt2", "gemma2", "opt", "llama"])
def test_the_network_treats_the_placeholder_as_any_token(name, tmp_path):
    """As if the vocabulary had one more token, whose embedding is the mean."""
    model = read_model(save_model(tmp_path, configs()[name](), "llama"))
    loaded = load_model(model, depth=2, dtype="float32", device="cpu")
    network = t.AutoModel.from_pretrained(tmp_path).eval()
    weight = network.get_input_embeddings().weight
    ids = torch.arange(20)[None] + 5
    ids[0, 3] = PLACEHOLDER
    edit = TokenPrepending(loaded.states.network, 1, 2).at(torch.tensor([3]))
    with torch.inference_mode():
        weight[PLACEHOLDER] = weight.mean(0)
        want = network(ids, output_hidden_states=True).hidden_states
        got = loaded.states(ids, [0, 1], lambda states: states.clone(), edit=edit)
    for k in (0, 1):
        torch.testing.assert_close(got[k], want[k], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"template": None}, "None without a 'template'"),
        ({"template": "{text} card"}, "None without a 'template'"),
        ({"template": "echo"}, "None without a 'template'"),
        (
            {"attention": "bidirectional", "template": "the {text}"},
            "None with bidirectional attention",
        ),
        ({"token_prepending": 5}, "a layer from 2 to 4"),
        ({"token_prepending": 1}, "a layer from 2 to 4"),
        ({"token_prepending": (3, 2)}, "a layer from 2 to 4"),
        ({"token_prepending": 0.5}, "a layer as an int"),
        ({"token_prepending": True}, "a layer as an int"),
    ],
)
def test_what_is_refused(llama, params, says):
    with pytest.raises(ValueError, match="'token_prepending' parameter") as error:
        make(llama, **params).fit(["a"])
    assert says in str(error.value)


def test_encoders_are_refused(bert):
    with pytest.raises(ValueError, match="'token_prepending' parameter.*an encoder"):
        make(bert, template="the {text}").fit(["a"])
