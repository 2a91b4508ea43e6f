"""LLM2Vec's prompt, by its words and by which of its tokens count.

Vectors of whole checkpoints are compared in ``tests/test_parity.py``.
"""

import functools
import json
import shutil
import warnings

import numpy as np
import pytest
import torch
import transformers as t
from sentence_transformers_folders import save_base

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._text.llm2vec import CHATS, llm2vec_template
from sklearn_llm2vec._text.tokens import TextTokenizer

MISTRAL = "mistralai/Mistral-7B-Instruct-v0.2"
LLAMA_3 = "meta-llama/Meta-Llama-3-8B-Instruct"
INSTRUCTION = "Given a question, find passages:"
WORDS = "how do I top up my card? The small red cat sleeps on the table".split()
LONG = " ".join(WORDS * 12)

pytestmark = pytest.mark.filterwarnings("ignore:.*are longer than")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A decoder whose tokens may join two words, and that ends a text with a token."""
    folder = tmp_path_factory.mktemp("base")
    save_base(folder, "llama-3 with an end")
    return folder


@pytest.fixture
def known_as(base, tmp_path):
    """A copy that says which model on the hub it is."""

    def make(name):
        folder = shutil.copytree(base, tmp_path / "copy", dirs_exist_ok=True)
        config = json.loads((folder / "config.json").read_text())
        config["_name_or_path"] = name
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


def make(folder, **params):
    return LLMEmbeddingTransformer(str(folder), **{"cache": None, **params})


@functools.cache
def loaded(base):
    tokenizer = t.AutoTokenizer.from_pretrained(base)
    return tokenizer, t.AutoModel.from_pretrained(base).eval()


def reference(base, text, *, before="", behind="", instruction="", most=400, room=512):
    """The mean that llm2vec 0.2.3 takes, and how many tokens are in it."""
    tokenizer, network = loaded(base)

    def count(text):
        return min(room, len(tokenizer(text, add_special_tokens=False)["input_ids"]))

    while (n := count(text)) > most:
        words = text.split()
        text = " ".join(words[: int(len(words) * (most / n))])
    text = text.rstrip() if behind else text
    joined = f"{instruction} " if instruction else ""
    ids = tokenizer(before + joined + text + behind, truncation=True, max_length=room)[
        "input_ids"
    ]
    n = count(text + behind)
    with torch.inference_mode():
        states = network(torch.tensor([ids])).last_hidden_state[0]
    return states[-n:].mean(0).numpy(), n, len(ids)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max())


def test_the_words_of_a_chat_follow_from_the_name():
    assert llm2vec_template("", []) == "{text}"
    assert llm2vec_template(" Find {it}: ", ["x/y"]) == "Find {{it}}: {text}"
    assert llm2vec_template(INSTRUCTION, ["x/y", LLAMA_3]) == (
        "<|start_header_id|>user<|end_header_id|>\n\nGiven a question, find passages: "
        "{text}<|eot_id|>"
    )


@pytest.mark.parametrize("instruction", ["", INSTRUCTION])
@pytest.mark.parametrize("name", ["nobody/knows-it", MISTRAL, LLAMA_3])
def test_as_many_tokens_count_as_the_text_has_alone(base, known_as, name, instruction):
    folder = known_as(name)
    before, behind = CHATS.get(name, ("", ""))
    texts = ["42 euros", "größe und Käse", "the end \n ", "(pi)", LONG]
    template = f"llm2vec: {instruction}" if instruction else "llm2vec"
    encoder = make(folder, template=template, pooling="auto", max_length=512)
    ours = encoder.fit_transform(texts)
    assert encoder.pooling_ == "mean"
    for text, vector in zip(texts, ours, strict=True):
        theirs, n, _ = reference(
            base, text, before=before, behind=behind, instruction=instruction
        )
        assert n > 1
        close(vector, theirs)


def test_long_texts_lose_words_and_a_long_prompt_its_end(base, known_as):
    folder = known_as(MISTRAL)
    before, behind = CHATS[MISTRAL]
    settings = {"before": before, "behind": behind, "most": 100, "room": 128}
    for instruction in ("", " ".join(WORDS)):
        theirs, _, n_ids = reference(base, LONG, instruction=instruction, **settings)
        assert (n_ids == 128) is bool(instruction)
        ours = make(folder, template=f"llm2vec:{instruction}", max_length=128)
        close(ours.fit_transform([LONG])[0], theirs)


def test_a_text_that_would_lose_words_is_long(known_as):
    """Though with its prompt it has fewer tokens than a row."""
    folder = known_as(MISTRAL)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    encoder = make(
        folder, template="llm2vec", max_length=64, long_texts="error", pooling="mean"
    )
    n_fitting = 0
    words = LONG.split()[:60]
    for n in range(1, len(words)):
        text = " ".join(words[:n])
        if len(tokenizer(text, add_special_tokens=False)["input_ids"]) > 50:
            with pytest.raises(ValueError, match="long_texts='error'"):
                encoder.fit_transform([text])
        elif len(tokenizer(f"[INST] {text} [/INST]")["input_ids"]) <= 64:
            encoder.fit_transform([text])
            n_fitting += 1
    assert 0 < n_fitting < len(words) - 1


def test_cut_texts_are_counted_once(base):
    tokenizer, _ = loaded(base)
    made = TextTokenizer(
        tokenizer,
        special_tokens=False,
        max_length=64,
        template="{text}",
        counts="alone",
    )
    rows, n_cut = made([LONG, "a card", LONG + " twice"])
    assert n_cut == 2
    assert all(len(row.ids) <= 64 for [row] in rows)


def test_windows_count_their_part_and_what_is_behind(base):
    tokenizer, _ = loaded(base)
    made = TextTokenizer(
        tokenizer,
        special_tokens=False,
        max_length=32,
        template="find: {text} end",
        counts="alone",
        chunk_overlap=0,
    )
    [rows], _ = made([LONG])
    assert len(rows) > 2
    for row in rows:
        assert row.counted == [(row.text_at, len(row.ids))]


def test_the_prompt_may_count(base):
    """As with skip_instruction=False of the package."""
    ours = make(
        base,
        template=f"llm2vec: {INSTRUCTION}",
        prompt_counts=True,
        special_tokens=True,
    ).fit_transform(["a card"])
    tokenizer, network = loaded(base)
    ids = tokenizer(f"{INSTRUCTION} a card")["input_ids"]
    with torch.inference_mode():
        states = network(torch.tensor([ids])).last_hidden_state[0]
    close(ours[0], states.mean(0).numpy())


def test_an_adapter_names_the_base(base, tmp_path):
    import peft

    adapter = tmp_path / "adapter"
    wrapped = peft.get_peft_model(
        t.AutoModel.from_pretrained(base), peft.LoraConfig(target_modules=["q_proj"])
    )
    wrapped.save_pretrained(adapter)
    path = adapter / "adapter_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": MISTRAL})
    )
    # Untrained, it changes nothing.
    named = make(base, adapters=adapter, template="llm2vec").fit_transform(["a card"])
    before, behind = CHATS[MISTRAL]
    close(named[0], reference(base, "a card", before=before, behind=behind)[0])


def test_a_chat_model_without_a_name_is_told(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "chat")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with pytest.warns(UserWarning, match="doesn't wrap the texts in a chat prompt"):
        make(folder, template="llm2vec").fit(["a"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(base, template="llm2vec").fit(["a"])


def test_other_presets_take_no_instruction(base):
    with pytest.raises(ValueError, match="'template' parameter"):
        make(base, template="echo: find passages").fit(["a"])
