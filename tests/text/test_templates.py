"""Prompts: how they are parsed and rendered, and which of their tokens are pooled."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as t
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._common.limited import LimitReached
from sklearn_llm2vec._model import loading
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec._text import rendering
from sklearn_llm2vec._text.rendering import RenderingFailed, rendered
from sklearn_llm2vec._text.templates import PRESETS, Preset, parse_template
from sklearn_llm2vec._text.tokens import TextTokenizer

WORDS = ["a small card", "the red cat reads", "bank", "money and a refund pending"]


def make(folder, **params):
    return LLMEmbeddingTransformer(folder, **{"cache": None, **params})


def states_of(folder, prompt, layer, **options):
    """All states of one prompt, by transformers itself; (tokens, hidden)."""
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    network = t.AutoModel.from_pretrained(folder).eval()
    encoded = tokenizer([prompt], return_offsets_mapping=True, **options)
    with torch.inference_mode():
        ids = torch.tensor(encoded["input_ids"])
        states = network(ids, output_hidden_states=True).hidden_states[layer][0]
    return states.numpy(), encoded["offset_mapping"][0]


def mean_over(states, offsets, start, stop):
    inside = [a < stop and b > start and a < b for a, b in offsets]
    return states[inside].mean(0)


# --- strings -------------------------------------------------------------------------


def test_presets_are_the_published_strings():
    want = 'This sentence : "x" means in one word:"'
    assert parse_template(PRESETS["prompt_eol"].prompt).render("x")[0] == want
    assert PRESETS["cot"].prompt == (
        'After thinking step by step , this sentence : "{text}" means in one word:"'
    )
    assert PRESETS["ke"].prompt == (
        "The essence of a sentence is often captured by its main subjects and actions, "
        "while descriptive terms provide additional but less central details. With this "
        'in mind , this sentence : "{text}" means in one word:"'
    )
    assert PRESETS["echo"].prompt == "Document:{text}\nDocument again:{text}"
    assert parse_template(PRESETS["echo"].prompt).counted == (False, True)


@given(st.text(), st.text(), st.text())
def test_any_text_survives_in_any_literal(before, text, after):
    escaped = [s.replace("{", "{{").replace("}", "}}") for s in (before, after)]
    prompt, [(start, stop)] = parse_template("{text}".join(escaped)).render(text)
    assert prompt == before + text + after
    assert prompt[start:stop] == text


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("Represent this", "no field"),
        ("", "no field"),
        ("{{text}}", "no field"),
        ("a {text", "a lone '{' at position 2"),
        ("a } {text}", "a lone '}' at position 2"),
        ("{} {text}", "braces without a name"),
    ],
)
def test_what_is_no_template(llama, template, says):
    with pytest.raises(ValueError, match="'template' parameter of LLM.*must be") as e:
        make(llama, template=template).fit(["a"])
    assert says in str(e.value)


# --- which tokens are pooled ---------------------------------------------------------


@pytest.mark.parametrize("text", WORDS)
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_the_mean_covers_the_text_only(kind, text, request):
    folder = request.getfixturevalue(kind)
    template = "the table is {text} in this book"
    got = make(
        folder, template=template, pooling="mean", layer=2, special_tokens=False
    ).fit_transform([text])
    states, offsets = states_of(folder, template.replace("{text}", text), 2)
    want = mean_over(states, offsets, 13, 13 + len(text))
    np.testing.assert_allclose(got[0], want, rtol=1e-5, atol=1e-6)


def test_last_is_the_end_of_the_whole_prompt(llama):
    got = make(llama, template="prompt_eol").fit_transform(["a small card"])
    prompt = 'This sentence : "a small card" means in one word:"'
    states, _ = states_of(llama, prompt, 4)
    np.testing.assert_allclose(got[0], states[-1], rtol=1e-5, atol=1e-5)


def test_auto_pooling_is_what_the_preset_was_made_for(llama):
    found = {
        name: make(llama, template=name).fit(["a"]).pooling_
        for name in (*PRESETS, None)
    }
    assert found == {
        "prompt_eol": "last",
        "cot": "last",
        "ke": "last",
        "echo": "mean",
        "llm2vec": "mean",
        None: "weighted_mean",
    }


def test_echo_pools_the_second_copy(llama):
    text = "a small card"
    got = make(llama, template="echo", layer=3).fit_transform([text])
    prompt = f"Document:{text}\nDocument again:{text}"
    states, offsets = states_of(llama, prompt, 3)
    want = mean_over(states, offsets, len(prompt) - len(text), len(prompt))
    np.testing.assert_allclose(got[0], want, rtol=1e-5, atol=1e-6)


def test_special_tokens_count_on_request(bert):
    text, template = "a small card", "the book {text}"
    got = make(bert, template=template, pooling="mean").fit_transform([text])
    states, offsets = states_of(bert, f"the book {text}", 3)
    inside = [
        i == 0 or i == len(offsets) - 1 or a >= 9 for i, (a, _) in enumerate(offsets)
    ]
    np.testing.assert_allclose(got[0], states[inside].mean(0), rtol=1e-5, atol=1e-6)


def test_braces_of_a_text_are_text(llama):
    texts = ["{text}", "{0} {card}", "a }{ b", "{{a}}"]
    one = make(llama, template="the book {text}").fit_transform(texts)
    assert np.isfinite(one).all()
    prompt = "the book {0} {card}"
    states, offsets = states_of(llama, prompt, 4)
    got = make(llama, template="the book {text}", pooling="mean").fit_transform(texts)
    np.testing.assert_allclose(
        got[1], mean_over(states, offsets, 9, 19), rtol=1e-5, atol=1e-6
    )


def test_tokens_are_found_where_they_merge_with_the_prompt(shared_models):
    """In byte-level BPE a text alone has other tokens than in its prompt."""
    folder = shared_models / "news-llama-4m"
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    rows, _ = TextTokenizer(
        tokenizer, special_tokens=False, max_length=64, template='say:"{text}"now'
    )(["the cat", '"', "é"])
    for [row], text in zip(rows, ["the cat", '"', "é"], strict=True):
        whole = tokenizer(f'say:"{text}"now', return_offsets_mapping=True)
        assert row.ids == whole["input_ids"]
        want = [
            i
            for i, (a, b) in enumerate(whole["offset_mapping"])
            if a < 5 + len(text) and b > 5
        ]
        [(start, stop)] = row.counted
        assert list(range(start, stop)) == want


def test_plain_braces_are_the_bare_text(llama, texts):
    bare = make(llama).fit_transform(texts)
    np.testing.assert_array_equal(
        make(llama, template="{text}").fit_transform(texts), bare
    )


def test_empty_and_missing_texts(llama):
    got = make(llama, template="the {text} card", pooling="mean").fit_transform(
        ["", None, "cat"]
    )
    assert np.isfinite(got).all()
    assert not got[1].any()
    states, _ = states_of(llama, "the  card", 4)
    np.testing.assert_allclose(got[0], states.mean(0), rtol=1e-5, atol=1e-6)


# --- lengths -------------------------------------------------------------------------


def test_a_long_text_is_cut_and_not_the_prompt(llama):
    words = "card cash bank dog cat blue red small large".split()
    long, cut = " ".join(words), " ".join(words[:4])
    params = {"template": "the book {text} table", "pooling": "last", "max_length": 8}
    with pytest.warns(UserWarning, match="1 of 1 texts are longer than 8 tokens"):
        got = make(llama, **params).fit_transform([long])
    np.testing.assert_array_equal(got, make(llama, **params).fit_transform([cut]))


def test_both_copies_of_echo_are_cut_alike(llama):
    words = "card cash bank dog cat blue red small large".split()
    params = {"template": "{text} again {text}", "max_length": 10, "layer": 2}
    with pytest.warns(UserWarning, match="longer than 10"):
        got = make(llama, **params).fit_transform([" ".join(words)])
    want = make(llama, **params).fit_transform([" ".join(words[:4])])
    np.testing.assert_array_equal(got, want)


def test_the_longest_column_is_cut_first(llama):
    table = pd.DataFrame({"a": ["card cash"], "b": ["dog cat blue red small large"]})
    cut = pd.DataFrame({"a": ["card cash"], "b": ["dog cat blue"]})
    params = {"template": "the {a} of {b}", "max_length": 8}
    with pytest.warns(UserWarning, match="longer than 8"):
        got = make(llama, **params).fit_transform(table)
    np.testing.assert_array_equal(got, make(llama, **params).fit_transform(cut))


def test_a_prompt_longer_than_max_length_names_the_numbers(llama):
    params = {"template": "ke", "max_length": 12}
    with pytest.raises(
        ValueError, match=r"greater than the \d\d tokens of the template"
    ):
        make(llama, **params).fit_transform(["a card"])


def test_a_prompt_longer_than_max_length_is_found_without_the_weights(
    llama, monkeypatch
):
    def refuse(*args, **kwargs):
        raise AssertionError("weights were asked for")

    monkeypatch.setattr(loading, "load_network", refuse)
    for params in (
        {"template": "ke", "max_length": 12},
        {"max_length": 1},
        {"max_length": 9, "long_texts": "chunk", "chunk_overlap": 8},
        {"template": "{a} of {b}", "max_length": 3},
    ):
        table = pd.DataFrame({"a": ["card"], "b": ["bank"]})
        for method in ("fit", "transform"):
            with pytest.raises(ValueError, match="parameter of LLM.* than"):
                getattr(make(llama, **params), method)(table)


def test_a_text_has_room_beside_a_prompt_that_merges_without_it(shared_models):
    """Of a byte-level BPE two quotes are one token, and two with a text between."""
    folder = shared_models / "news-llama-4m"
    read = {"template": PRESETS["prompt_eol"].prompt, "special_tokens": False}
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    text = "the cat sat on the mat"
    refused = 0
    for max_length in range(8, 20):
        try:
            made = TextTokenizer(tokenizer, max_length=max_length, **read)
        except ValueError as error:
            refused += 1
            assert "greater than the" in str(error)
            continue
        [[row]], _ = made([text])
        assert len(row.ids) <= max_length
        assert 0 < row.n_counted < len(row.ids) - 5
    assert 0 < refused < 12


# --- what a model allows -------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_refused_for_encoders(bert, preset):
    with pytest.raises(ValueError, match="made for (causal )?decoders"):
        make(bert, template=preset).fit(["a"])


def test_presets_under_bidirectional_attention_are_told(llama):
    both = make(llama, template="cot", attention="bidirectional")
    with pytest.warns(UserWarning, match="made for causal attention"):
        both.fit(["a"])


@pytest.mark.parametrize("method", ["fit", "transform", "fit_transform"])
def test_the_warning_says_what_is_lost_and_where(llama, method):
    estimator = make(llama, template="echo", attention="bidirectional")
    with pytest.warns(UserWarning, match="first copy of the text sees the") as caught:
        getattr(estimator, method)(["a"])
    assert {one.filename for one in caught} == {__file__}


def test_a_preset_is_one_row(bert, llama, monkeypatch):
    row = Preset(prompt="the book {text} table", pooling="max", source="nobody")
    monkeypatch.setitem(PRESETS, "shelf", row)
    for folder in (bert, llama):
        got = make(folder, template="shelf").fit(["a card", "bank"])
        assert got.pooling_ == "max"
        want = make(folder, template=row.prompt, pooling="max")
        np.testing.assert_array_equal(
            got.transform(["a card"]), want.fit_transform(["a card"])
        )
    with pytest.raises(ValueError, match="one of .*'shelf', 'row'"):
        make(bert, template="shelves").fit(["a"])


def test_the_rows_fit_the_rest_of_the_library():
    for name, preset in PRESETS.items():
        assert preset.pooling in POOLINGS
        assert f'"{name}"' in LLMEmbeddingTransformer.__doc__
        [number] = re.findall(r"arXiv [0-9]{4}\.[0-9]{5}", preset.source)
        assert number in LLMEmbeddingTransformer.__doc__


def test_chat(llama, tmp_path):
    with pytest.raises(ValueError, match="'chat' only for a model that has"):
        make(llama, template="chat").fit(["a"])
    folder = shutil.copytree(llama, tmp_path / "chat")
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}<s> this {{ m['role'] }} {{ m['content'] }} </s>"
        "{% endfor %}{% if add_generation_prompt %} that{% endif %}"
    )
    estimator = make(folder, template="chat", pooling="last", layer=2)
    states, _ = states_of(
        llama, "<s> this user a {small} card </s> that", 2, add_special_tokens=False
    )
    got = estimator.fit_transform(["a {small} card"])
    np.testing.assert_allclose(got[0], states[-1], rtol=1e-5, atol=1e-6)
    mean = estimator.set_params(pooling="mean").fit_transform(["a card"])
    states, _ = states_of(
        llama, "<s> this user a card </s> that", 2, add_special_tokens=False
    )
    np.testing.assert_allclose(mean[0], states[3:5].mean(0), rtol=1e-5, atol=1e-6)


def with_chat(folder, tmp_path, template):
    target = tmp_path / f"chat{len(list(tmp_path.iterdir()))}"
    shutil.copytree(folder, target)
    (target / "chat_template.jinja").write_text(template)
    return target


def prompt_of(folder, **params):
    """What a chat template makes of a text, as the estimator's tokenizer has it."""
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    made = TextTokenizer(
        tokenizer, special_tokens=False, max_length=64, template="chat", **params
    )
    return made.template.render("TEXT")[0]


DATED = (
    "{% macro head() %}today is {{ strftime_now('%d %b %Y') }} {% endmacro %}"
    "{% for m in messages %}{{ head() }}{{ strftime_now('%H:%M:%S') }} "
    "{{ m['content'] | trim }}{% endfor %}"
)


def test_the_date_of_a_chat_template_stands_still(llama, tmp_path):
    folder = with_chat(llama, tmp_path, DATED)
    assert prompt_of(folder) == "today is 26 Jul 2024 00:00:00 TEXT"
    # Not even the white space of a template's beginning is touched.
    spaces = with_chat(llama, tmp_path, "\n  {{ messages[0]['content'] }}")
    assert prompt_of(spaces) == "\n  TEXT"


def test_a_chat_template_that_writes_the_text_twice(llama, tmp_path):
    folder = with_chat(
        llama,
        tmp_path,
        "{% for m in messages %}<s> {{ m.content }} or {{ m.content }}{% endfor %}",
    )
    assert prompt_of(folder) == "<s> TEXT or TEXT"
    got = make(folder, template="chat", pooling="mean", layer=2).fit_transform(
        ["a {card}"]
    )
    states, _ = states_of(
        llama, "<s> a {card} or a {card}", 2, add_special_tokens=False
    )
    np.testing.assert_allclose(got[0], states[-4:].mean(0), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="'token_prepending' parameter.*a single"):
        make(folder, template="chat", token_prepending=2).fit(["a"])


def test_a_chat_template_that_wants_parts(llama, tmp_path):
    parts = (
        "{% for m in messages %}<s> {% for c in m['content'] %}"
        "{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    assert prompt_of(with_chat(llama, tmp_path, parts)) == "<s> TEXT"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (
            "{{ raise_exception('no system') }}",
            "it stops with TemplateError: no system",
        ),
        ("{% for m in messages %", "it stops with TemplateSyntaxError"),
        ("<s> hello", "it leaves the text out"),
    ],
)
def test_chat_templates_that_dont_serve(llama, tmp_path, template, says):
    folder = with_chat(llama, tmp_path, template)
    with pytest.raises(ValueError, match="'template' parameter of LLM.*can be") as e:
        make(folder, template="chat").fit(["a"])
    assert says in str(e.value)


def test_a_failure_is_paid_for_once(llama, tmp_path, monkeypatch):
    asked = []

    def stop(code, *question):
        asked.append(question)
        raise LimitReached("it takes more than 5 seconds")

    monkeypatch.setattr(rendering, "answered", stop)
    tokenizer = t.AutoTokenizer.from_pretrained(llama)
    for _ in range(3):
        with pytest.raises(RenderingFailed, match="it takes more than 5 seconds"):
            rendered(tokenizer, "{{ slow }} {{ messages }}", "a")
    assert len(asked) == 1
    # Nor is the message tried in another form.
    folder = with_chat(llama, tmp_path, "{{ slow }} {{ messages }} again")
    with pytest.raises(ValueError, match="With this one, it takes more than 5 seconds"):
        make(folder, template="chat").fit(["a"])
    assert len(asked) == 2


def test_templates_are_spaces_of_their_own(llama, tmp_path, texts):
    made = {
        template: make(llama, cache=tmp_path, template=template).fit_transform(texts)
        for template in (None, "the {text}", "the book {text}", "prompt_eol")
    }
    names = list(made)
    for n, one in enumerate(names):
        again = make(llama, cache=tmp_path, template=one)
        np.testing.assert_array_equal(again.fit_transform(texts), made[one])
        assert again.last_report_.encoded == 0
        for other in names[n + 1 :]:
            assert not np.array_equal(made[one], made[other])


# --- columns -------------------------------------------------------------------------

TABLE = pd.DataFrame(
    {
        "title": ["red card", None, "bank", None],
        "review": ["a small cat", "the dog", None, None],
        "stars": [3.0, 4.5, np.nan, np.nan],
    }
)


def test_one_vector_a_row_from_several_columns(llama):
    template = "the {title} of {review}"
    got = make(llama, template=template, pooling="mean", layer=2).fit_transform(TABLE)
    assert got.shape == (4, 32)
    prompt = "the red card of a small cat"
    states, offsets = states_of(llama, prompt, 2)
    inside = [4 <= a < 12 or a >= 16 for a, b in offsets]
    np.testing.assert_allclose(got[0], states[inside].mean(0), rtol=1e-5, atol=1e-6)
    assert got[1].any() and got[2].any() and not got[3].any()


def test_values_are_told_apart_by_column(llama, tmp_path):
    """The same prompt, but other tokens of it are the values."""
    table = pd.DataFrame({"a": ["card", "card of cash"], "b": ["cash of dog", "dog"]})
    estimator = make(llama, template="{a} of {b}", pooling="mean", cache=tmp_path)
    one, two = estimator.fit_transform(table)
    assert estimator.last_report_.encoded == 2
    assert not np.array_equal(one, two)


def test_columns_in_a_column_transformer(llama):
    union = make_column_transformer(
        (make(llama, template="{title} , {stars}"), ["title", "stars"]),
        (make(llama, template="row"), ["review", "stars"]),
        ("passthrough", ["stars"]),
        verbose_feature_names_out=False,
    )
    with pytest.raises(ValueError, match="not unique"):
        union.fit_transform(TABLE)
        union.get_feature_names_out()
    union.set_params(verbose_feature_names_out=True)
    out = union.set_output(transform="pandas").fit_transform(TABLE)
    assert out.shape == (4, 65)
    assert out.columns[0] == "llmembeddingtransformer-1__llm_0"
    want = make(llama).fit_transform(["review: a small cat; stars: 3"])
    np.testing.assert_array_equal(out.iloc[[0], 32:64].to_numpy(), want)


def test_a_row_is_a_text_like_any_other(llama, tmp_path):
    estimator = make(llama, template="row", cache=tmp_path)
    got = estimator.fit_transform(TABLE)
    plain = make(llama, cache=tmp_path)
    lines = [
        "title: red card; review: a small cat; stars: 3",
        "review: the dog; stars: 4.5",
        "title: bank",
        None,
    ]
    np.testing.assert_array_equal(plain.fit_transform(lines), got)
    assert plain.last_report_.encoded == 0
    assert list(estimator.get_feature_names_out()[:2]) == ["llm_0", "llm_1"]
    assert estimator.n_features_in_ == 3
    names = estimator.get_feature_names_out(["title", "review", "stars"])
    assert len(names) == 32


def test_unknown_columns_and_input_without_names(llama):
    with pytest.raises(ValueError, match="'titel'") as error:
        make(llama, template="{titel}").fit(TABLE)
    assert "'title', 'review', 'stars'" in str(error.value)
    for template in ("row", "{title}"):
        with pytest.raises(TypeError, match="expects a frame whose columns have names"):
            make(llama, template=template).fit(np.array([["a", "b"]], object))
        with pytest.raises(TypeError, match="expects a frame whose columns have names"):
            make(llama, template=template).fit(["a", "b"])
    with pytest.raises(ValueError, match="string object received"):
        make(llama, template="row").fit("a")


def test_a_text_template_is_for_each_column(llama):
    table = TABLE[["title", "review"]]
    estimator = make(llama, template="the book {text}")
    got = estimator.fit_transform(table)
    assert got.shape == (4, 64)
    assert estimator.get_feature_names_out()[32] == "review_0"
    want = make(llama, template="the book {text}").fit_transform(table["review"])
    np.testing.assert_array_equal(got[:, 32:], want)


@pytest.mark.parametrize("before", ["the {text}", "row", "{title} {review}", None])
@pytest.mark.parametrize("after", ["row", "{title} {review}", "a {text}", None])
def test_names_follow_a_template_that_is_set_after_fit(llama, before, after):
    table = TABLE[["title", "review"]]
    estimator = make(llama, template=before).set_output(transform="pandas")
    estimator.fit(table).set_params(template=after)
    want = make(llama, template=after).set_output(transform="pandas")
    pd.testing.assert_frame_equal(estimator.transform(table), want.fit_transform(table))


@pytest.mark.parametrize(("before", "after"), [("row", None), (None, "row")])
def test_a_pca_needs_a_fit_when_the_template_makes_other_vectors(llama, before, after):
    table = TABLE[["title", "review"]]
    estimator = make(llama, template=before, n_components=1).fit(table)
    with pytest.raises(ValueError, match="Call 'fit' again"):
        estimator.set_params(template=after).transform(table)
