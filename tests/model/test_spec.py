"""Fingerprints and keys."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_llm2vec._model.spec import EncoderSpec, text_keys

SPEC = EncoderSpec("w", "c", "t", "causal", True, 512, "truncate", "float32")


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(EncoderSpec)])
def test_every_field_changes_the_fingerprint(field):
    value = getattr(SPEC, field)
    other = {
        bool: lambda: not value,
        int: lambda: value + 1,
        str: lambda: value + "x",
        tuple: lambda: ("x",),
        type(None): lambda: "x",
    }
    changed = dataclasses.replace(SPEC, **{field: other[type(value)]()})
    assert changed.fingerprint != SPEC.fingerprint
    assert len(SPEC.fingerprint) == 64


def test_the_fingerprint_is_the_same_in_every_session():
    # Recorded: when this changes, every cache of every user is made anew.
    assert SPEC.fingerprint.startswith("79fc7a3c")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True))
def test_distinct_texts_have_distinct_keys(texts):
    keys = text_keys(texts)
    assert all(len(key) == 16 for key in keys)
    assert len(set(keys)) == len(texts)


def test_keys_tell_apart_what_looks_alike():
    assert len(set(text_keys(["a", "a ", "A", "a\0", "á", "a\u0301", ""]))) == 7
