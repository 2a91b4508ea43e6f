"""Prompts: which of their tokens count, against sentence-transformers, and by name."""

import itertools

import numpy as np
import pandas as pd
import pytest
import sentence_transformers
from packaging.version import Version
from sentence_transformers import SentenceTransformer
from sentence_transformers_folders import TOKENIZERS, declare, save_base

from sklearn_llm2vec import LLMEmbeddingTransformer

PROMPTS = [
    "query: ",
    "Represent this sentence:",  # a tokenizer may join the text's first letters to it
    "Instruct: Given a question, find passages\nQuery: ",
    "{title} ",
]
TEXTS = [
    "how do I top up my card?",
    "The small red cat",
    "42 euros",
    "größe und Käse",
    "(pi)",
    "passage: a refund of 25 euros is pending, isn't it; Paris in 2024 " * 4,  # cut
]
NEW = Version(sentence_transformers.__version__) >= Version("6")

pytestmark = pytest.mark.filterwarnings("ignore:.*are longer than")


def make(folder, **params):
    return LLMEmbeddingTransformer(str(folder), **{"cache": None, **params})


def before_text(prompt):
    return prompt.replace("{", "{{").replace("}", "}}") + "{text}"


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max())


def differ(one, other):
    return np.abs(one - other).max() > 1e-2 * np.abs(other).max()


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A folder for each kind of tokenizer."""
    found = {}
    for kind in TOKENIZERS:
        found[kind] = tmp_path_factory.mktemp("folder")
        save_base(found[kind], kind)
    return found


def measure_as_version_5(reference):
    """Count the tokens of a prompt without white space around it.

    Version 6 keeps the space at its end and leaves out one more token with some
    tokenizers, which is the first one of the text.
    """
    measure = reference[0]._get_prompt_length
    reference[0]._get_prompt_length = lambda prompt, **of: measure(prompt.strip(), **of)


# --- which tokens count --------------------------------------------------------------


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_template_is_a_prompt_of_sentence_transformers(bases, kind, include_prompt):
    poolings = ["mean", "max", "lasttoken"]
    if include_prompt:
        poolings += ["weightedmean", "cls"]
    for pooling in poolings:
        declare(bases[kind], pooling=pooling, include_prompt=include_prompt)
        reference = SentenceTransformer(str(bases[kind]), device="cpu")
        if NEW:
            measure_as_version_5(reference)
        for prompt in PROMPTS:
            ours = make(bases[kind], template=before_text(prompt)).fit_transform(TEXTS)
            close(ours, reference.encode(TEXTS, prompt=prompt))


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_parameter_decides_against_the_folder(bases, kind):
    template = before_text(PROMPTS[1])
    made = {}
    for include_prompt, prompt_counts in itertools.product(
        [True, False], ["auto", True, False]
    ):
        declare(bases[kind], include_prompt=include_prompt)
        estimator = make(bases[kind], template=template, prompt_counts=prompt_counts)
        vectors = estimator.fit_transform(TEXTS)
        made[include_prompt, prompt_counts] = estimator.fingerprint_, vectors
    for include_prompt in (True, False):
        want_print, want = made[include_prompt, "auto"]
        for declared in (True, False):
            fingerprint, got = made[declared, include_prompt]
            assert fingerprint == want_print
            np.testing.assert_array_equal(got, want)
    assert made[True, True][0] != made[True, False][0]
    assert differ(made[True, True][1], made[True, False][1])


def test_windows_of_long_texts_leave_the_prompt_out_each(bases):
    """Against the mean over the tokens of all windows, each in the whole prompt."""
    import torch
    import transformers

    folder, prompt = bases["llama-3 with an end"], "query:"
    declare(folder, include_prompt=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    text = " how do I top up my card?" * 3
    head, [end] = tokenizer(prompt)["input_ids"][:-1], tokenizer("")["input_ids"][1:]
    ids = tokenizer(prompt + text)["input_ids"][len(head) : -1]
    states = []
    for start in range(0, len(ids), 8):
        window = [*head, *ids[start : start + 8], end]
        with torch.inference_mode():
            output = network(torch.tensor([window])).last_hidden_state[0]
        states.append(output[len(head) :].numpy())
    assert len(states) > 2
    ours = make(
        folder,
        template=before_text(prompt),
        max_length=len(head) + 9,
        long_texts="chunk",
    ).fit_transform([text, "card"])
    close(ours[0], np.concatenate(states).mean(0))


def test_a_word_that_joined_the_prompts_space_is_left(bases):
    """One token holds the last space of the prompt and the word: it isn't left out."""
    folder = bases["llama-3"]
    declare(folder, include_prompt=False)
    got = make(folder, template="query: {text}").fit_transform(["I", ""])
    spaceless = make(folder, template="query:{text}").fit_transform([" I"])
    np.testing.assert_allclose(got[:1], spaceless, rtol=1e-5, atol=1e-6)
    assert np.isfinite(got).all()
    assert np.abs(got[1]).max() > 0


def test_models_without_a_declaration_pool_the_texts(bert, llama):
    for folder in (bert, llama):
        params = {"template": "the book {text} table", "pooling": "mean"}
        auto, no, yes = (
            make(folder, **params, prompt_counts=value).fit(["a card"])
            for value in ("auto", False, True)
        )
        assert auto.fingerprint_ == no.fingerprint_ != yes.fingerprint_
        whole = make(folder, pooling="mean").fit_transform(["the book a card table"])
        close(yes.transform(["a card"]), whole)
        assert differ(no.transform(["a card"]), whole)


def test_templates_of_other_shapes_in_a_declared_folder(bases):
    """What sentence-transformers would make of the whole prompt as a text."""
    declare(bases["bert"])
    reference = SentenceTransformer(str(bases["bert"]), device="cpu")
    table = pd.DataFrame({"title": ["a card"], "year": [2024]})
    ours = make(bases["bert"], template="{title} ({year})").fit_transform(table)
    close(ours, reference.encode(["a card (2024)"]))
    ours = make(bases["bert"], template="the {text} is small").fit_transform(["card"])
    close(ours, reference.encode(["the card is small"]))
    # Without words in front nothing is left out.
    declare(bases["bert"], include_prompt=False)
    ours = make(bases["bert"], template="{title} ({year})").fit_transform(table)
    close(ours, reference.encode(["a card (2024)"]))


def test_presets_are_pooled_as_they_were_published(bases):
    declare(bases["llama-3"])
    auto = make(bases["llama-3"], template="echo").fit(TEXTS)
    no = make(bases["llama-3"], template="echo", prompt_counts=False).fit(TEXTS)
    yes = make(bases["llama-3"], template="echo", prompt_counts=True).fit(TEXTS)
    assert auto.fingerprint_ == no.fingerprint_ != yes.fingerprint_


def test_the_bare_text_is_one_space(bases):
    declare(bases["bert"])
    spaces = {
        make(bases["bert"], template="{text}", prompt_counts=value)
        .fit(["a"])
        .fingerprint_
        for value in ("auto", True, False)
    }
    assert len(spaces) == 1


def test_a_weighted_mean_without_the_prompt(bases):
    """There its weights begin behind the prompt: refused, as ours begin at 1."""
    declare(bases["bert"], pooling="weightedmean", include_prompt=False)
    with pytest.raises(ValueError, match="'prompt_counts'.*must be True.*Got 'auto'"):
        make(bases["bert"], template="query: {text}").fit(["a"])
    make(bases["bert"]).fit(["a"])
    make(bases["bert"], template="query: {text}", prompt_counts=True).fit(["a"])
    make(bases["bert"], template="query: {text}", pooling="weighted_mean").fit(["a"])


# --- by name -------------------------------------------------------------------------

NAMED = {"query": "query: ", "braces": "{book} ", "document": ""}


def test_prompts_by_name(bases):
    for default in (None, "query"):
        declare(bases["xlm-r"], prompts=NAMED, default=default)
        reference = SentenceTransformer(str(bases["xlm-r"]), device="cpu")
        for name, prompt in NAMED.items():
            ours = make(bases["xlm-r"], template=name).fit(TEXTS)
            close(ours.transform(TEXTS), reference.encode(TEXTS, prompt_name=name))
            if prompt:
                written = make(bases["xlm-r"], template=before_text(prompt)).fit(TEXTS)
                assert ours.fingerprint_ == written.fingerprint_


def test_a_name_is_for_each_column(bases):
    declare(bases["bert"], prompts=NAMED)
    two = make(bases["bert"], template="query").fit_transform([["card", "bank"]])
    one = make(bases["bert"], template="query").fit_transform(["card", "bank"])
    np.testing.assert_array_equal(two[0], one.ravel())


def test_an_unknown_name_lists_the_declared_ones(bases, llama):
    declare(bases["bert"], prompts=NAMED)
    with pytest.raises(ValueError, match=r"\('query', 'braces', 'document'\)"):
        make(bases["bert"], template="passage").fit(["a"])
    with pytest.raises(ValueError, match=r"has no field, and isn't among .*\(none\)"):
        make(llama, template="passage").fit(["a"])


@pytest.mark.parametrize("name", ["row", "chat", "echo"])
def test_a_name_that_is_a_word_of_the_library(bases, name):
    declare(bases["llama-3"], prompts={name: "query: "})
    with pytest.raises(ValueError, match=f"is ambiguous with {name!r}"):
        make(bases["llama-3"], template=name).fit(pd.DataFrame({"text": ["a"]}))


def test_declared_prompts_that_changed_are_noticed(bases):
    declare(bases["bert"], prompts=NAMED)
    estimator = make(bases["bert"], template="query").fit(["a"])
    declare(bases["bert"], prompts=NAMED | {"query": "question: "})
    with pytest.raises(ValueError, match="declared pooling, dense layers or prompt"):
        estimator.transform(["a"])


# --- what the parameter may be -------------------------------------------------------


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_values_that_it_cant_have(bert, value):
    with pytest.raises(ValueError, match="'prompt_counts' parameter of LLM.*among"):
        make(bert, prompt_counts=value).fit(["a"])
