"""Tokenizers of GGUF files give the ids of those that they were made from."""

import numpy as np
import pytest
from gguf_files import (
    BYTE,
    CONTROL,
    NORMAL,
    TOKENS,
    UNKNOWN,
    USER_DEFINED,
    byte_tokenizer,
    write_gguf,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from sklearn_llm2vec._model.gguf_file import read_header
from sklearn_llm2vec._model.gguf_splits import SPLITS
from sklearn_llm2vec._model.gguf_tokenizer import build_tokenizer

TEXTS = [
    "the man and the other one",
    "Don't we'll THEY'RE  two  spaces\n\nlines\r\n\ttabs   ",
    "1 22 333 4444 55555 in 1998, 3.14",
    "naïve re\u0301sume\u0301 Äpfel ½ ☃ 日本語 ひらがな 한국어 🙂‍↕️",
    "x_y = a[i]->b; // ** ??? !!!  $5 <b>",
    "camelCaseWords HTTPServer iPhone",
    "",
    " ",
]


def built(tmp_path, metadata, architecture="llama"):
    path = tmp_path / "vocabulary.gguf"
    header = {"general.architecture": architecture, **metadata}
    return build_tokenizer(read_header(write_gguf(path, header, {})))


def published(*steps, composed=False):
    """A byte-level tokenizer with the steps that a published tokenizer.json has."""
    merges = [
        tuple(merge.split(" ")) for merge in byte_tokenizer()["tokenizer.ggml.merges"]
    ]
    ids = {token: i for i, token in enumerate(TOKENS)}
    backend = Tokenizer(models.BPE(vocab=ids, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.Sequence(list(steps))
    if composed:
        backend.normalizer = normalizers.NFC()
    return backend


def words(pattern):
    from tokenizers import Regex

    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PUBLISHED = {
    "gpt-2": lambda: published(GPT2),
    "smollm": lambda: published(pre_tokenizers.Digits(individual_digits=True), GPT2),
    "llama-bpe": lambda: published(*words(LLAMA3)),
    "qwen2": lambda: published(*words(LLAMA3.replace("{1,3}", "")), composed=True),
    "mpt": lambda: published(GPT2, composed=True),
}


@pytest.mark.parametrize("pre", PUBLISHED)
def test_ids_are_those_of_the_published_tokenizer(pre, tmp_path):
    tokenizer = built(tmp_path, byte_tokenizer(pre, begins=False))
    reference = PUBLISHED[pre]()
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == reference.encode(text).ids, text


@pytest.mark.parametrize("pre", SPLITS)
def test_no_rule_loses_anything(pre, tmp_path):
    tokenizer = built(tmp_path, byte_tokenizer(pre, begins=False))
    for text in TEXTS:
        text = text if not SPLITS[pre].composed else text.replace("e\u0301", "é")
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_beginnings_ends_and_words_that_are_found_whole(tmp_path):
    metadata = byte_tokenizer()
    first, last = TOKENS.index("<|begin|>"), TOKENS.index("<|end|>")
    tokenizer = built(tmp_path, metadata | {"tokenizer.ggml.add_eos_token": True})
    ids = tokenizer("a<|end|>b<extra>")["input_ids"]
    assert ids[0] == first and ids[-1] == last
    assert ids.count(last) == 2 and TOKENS.index("<extra>") in ids
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|begin|>", "<|end|>")
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False
    )
    assert rendered == "<|begin|>hi<|end|>"


def test_llama_3_begins_texts_where_the_file_doesnt_say(tmp_path):
    metadata = byte_tokenizer("llama-bpe")
    del metadata["tokenizer.ggml.add_bos_token"]
    assert built(tmp_path, metadata)("a")["input_ids"][0] == TOKENS.index("<|begin|>")


def test_an_unknown_rule_says_how_to_name_it(tmp_path):
    with pytest.raises(ValueError, match=r"Got 'new-one'.*tokenizer\.json of the orig"):
        built(tmp_path, byte_tokenizer("new-one"))
    metadata = byte_tokenizer() | {"tokenizer.ggml.model": "rwkv"}
    with pytest.raises(ValueError, match=r"tokenizer\.ggml\.model must be among"):
        built(tmp_path, metadata)


def test_no_name_of_a_rule_is_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="doesn't say how its tokenizer splits"):
        tokenizer = built(tmp_path, byte_tokenizer("default"))
    # Digits in threes from the left, signs by themselves.
    assert tokenizer.decode(tokenizer("1998!?")["input_ids"][1:]) == "1998!?"


PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
PIECES += ["▁", "a", "b", "c", "▁a", "ab", "▁ab", "bc", "abc", "▁▁"]


def pieces(**changes):
    n = len(PIECES) - 259
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": PIECES,
        "tokenizer.ggml.scores": [0.0] * 259
        + [-float(i) for i in range(n - 1)]
        + [-1e9],
        "tokenizer.ggml.token_type": [UNKNOWN, CONTROL, CONTROL]
        + [BYTE] * 256
        + [NORMAL] * n,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    } | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", ["<s>", "▁ab", "c"]),
        (" abc", ["<s>", "▁", "▁ab", "c"]),
        ("bc ab", ["<s>", "▁", "bc", "▁ab"]),
        ("é", ["<s>", "▁", "<0xC3>", "<0xA9>"]),
        ("", ["<s>"]),
    ],
)
def test_pieces_are_merged_by_their_scores(text, expected, tmp_path):
    tokenizer = built(tmp_path, pieces())
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == expected
    assert tokenizer.decode(ids[1:]) == text


def test_no_space_is_put_before_where_the_file_says_so(tmp_path):
    tokenizer = built(tmp_path, pieces(add_space_prefix=False))
    assert tokenizer.tokenize("ab") == ["ab"]


def test_runs_of_spaces_that_a_converter_spelled_out(tmp_path):
    changed = pieces(tokens=[*PIECES[:-1], "  "], add_space_prefix=False)
    changed["tokenizer.ggml.token_type"][-1] = USER_DEFINED
    assert built(tmp_path, changed).tokenize("a  b") == ["a", "▁▁", "b"]


def test_the_most_probable_pieces(tmp_path):
    tokens = ["<pad>", "</s>", "<unk>", "▁a", "▁", "a", "b", "ab", "▁ab"]
    metadata = {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0, 0.0, 0.0, -2.0, -3.0, -4.0, -4.0, -5.0, -9.0],
        "tokenizer.ggml.token_type": [CONTROL, CONTROL, UNKNOWN] + [NORMAL] * 6,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 2,
    }
    tokenizer = built(tmp_path, metadata, "t5")
    expected = ["▁a", "b", "▁a", "</s>"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("ab  a ")["input_ids"]) == expected


def test_lists_of_other_lengths_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must have a value of tokenizer.ggml.scores"):
        built(tmp_path, pieces(scores=[0.0]))
    with pytest.raises(ValueError, match=r"tokenizer\.ggml\.token_type for each"):
        built(tmp_path, pieces(token_type=np.ones(3, int).tolist()))
