"""Tokenizers that would fill the memory, or never end, are refused."""

import json
import shutil

import pytest

from sklearn_llm2vec import LLMEmbeddingTransformer

TEXT_TWICE = {
    "type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 9,
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {},
}


def replace(content):
    return {"type": "Replace", "pattern": {"String": "a"}, "content": content}


def with_parts(llama, tmp_path, **parts):
    folder = shutil.copytree(llama, tmp_path / "model")
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))
    return LLMEmbeddingTransformer(folder, cache=None, verbose=False)


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": replace("a" * 1001)},
        {"normalizer": {"type": "Sequence", "normalizers": [replace("aaaa")] * 5}},
        {"normalizer": {"type": "Prepend", "prepend": "a" * 1000}},
        {"post_processor": TEXT_TWICE},
        {"post_processor": {"type": "Sequence", "processors": [TEXT_TWICE]}},
    ],
    ids=["long", "again and again", "in front", "repeated", "repeated inside"],
)
def test_what_makes_texts_much_longer_is_refused(llama, tmp_path, parts):
    encoder = with_parts(llama, tmp_path, **parts)
    with pytest.raises(
        ValueError, match="must make a text at most 1,000 times as long"
    ):
        encoder.fit_transform(["a cat"])


def test_what_makes_texts_longer_is_followed(llama, tmp_path):
    twice = with_parts(llama, tmp_path, normalizer=replace("a a"))
    plain = LLMEmbeddingTransformer(llama, cache=None, verbose=False)
    made = twice.fit_transform(["a cat"])
    assert (made == plain.fit_transform(["a a ca at"])).all()


def test_a_pattern_that_gives_up_is_an_error(llama, tmp_path, capfd):
    pattern = {"Regex": "(x+x+)+y"}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated"}
    encoder = with_parts(llama, tmp_path, pre_tokenizer={**split, "invert": False})
    encoder.fit(["a cat"])
    with pytest.raises(ValueError, match="must be able to split any text"):
        encoder.transform(["x" * 60])
    capfd.readouterr()  # what Rust prints of its panic
