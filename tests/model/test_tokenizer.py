"""Tokenizers: the ids of transformers 4, a warning, or an error that says what to do."""

import importlib
import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizer_folders import (
    FOLDERS,
    LLAMA,
    TEXTS,
    added,
    bert,
    byte_level,
    cut,
    llama,
    make_folder,
    written,
)
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from sklearn_llm2vec._model import tokenizer as loader
from sklearn_llm2vec._model.tokenizer import load_tokenizer
from sklearn_llm2vec._model.tokenizer_probe import tokenizer_probe
from sklearn_llm2vec._model.tokenizer_rules import MISTRAL_PATTERN

IDS = json.loads(Path(__file__).with_name("tokenizer_ids.json").read_text())


def load(folder, *, trust_remote_code=False, lowercase=False):
    return load_tokenizer(
        SimpleNamespace(
            name="some/model",
            folder=folder,
            trust_remote_code=trust_remote_code,
            declared=SimpleNamespace(lowercase=lowercase),
            static=None,
        )
    )


def ids(tokenizer, texts=TEXTS):
    return [tokenizer(text)["input_ids"] for text in texts]


@pytest.mark.parametrize("name", FOLDERS)
def test_ids_are_those_of_transformers_4(name, tmp_path):
    if name.endswith(("pieces", "pieces-new")):
        pytest.importorskip("google.protobuf")
    make_folder(name, tmp_path)
    tokenizer = load(tmp_path)
    assert tokenizer.is_fast
    assert ids(tokenizer) == IDS[name]


def test_rows_of_a_batch_and_offsets_are_those_of_single_texts(tmp_path):
    make_folder("llama-eos", tmp_path)
    tokenizer = load(tmp_path)
    batch = tokenizer(TEXTS, return_offsets_mapping=True)
    assert batch["input_ids"] == IDS["llama-eos"]
    places = [(0, 1), (0, 1), (1, 2), (2, 5), (5, 6), (6, 9), (9, 10)]
    assert batch["offset_mapping"][1] == [(0, 0), *places, (0, 0)]


def test_what_transformers_5_wrote_is_taken_as_it_is(tmp_path):
    settings = {**LLAMA, "backend": "tokenizers", "pad_token": "</s>"}
    written(tmp_path, settings, tokenizer__json=llama("$A </s>"))
    assert load(tmp_path)("cat")["input_ids"][-1] == 2
    assert 1 not in load(tmp_path)("cat")["input_ids"]


def test_truncation_and_padding_of_the_file_are_left_out(tmp_path):
    content = bert()
    content["truncation"] = {
        "direction": "Right",
        "max_length": 3,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    content["padding"] = {
        "strategy": {"Fixed": 16},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    written(tmp_path, {"tokenizer_class": "BertTokenizer"}, tokenizer__json=content)
    assert len(load(tmp_path)("cat big cat big")["input_ids"]) == 6


def test_texts_are_put_into_lowercase_where_the_folder_declares_it(tmp_path):
    make_folder("bert-cased", tmp_path)
    as_it_is, lowercase = load(tmp_path), load(tmp_path, lowercase=True)
    assert ids(as_it_is, ["Hello"]) != ids(as_it_is, ["hello"])
    assert ids(lowercase, ["Hello"]) == ids(as_it_is, ["hello"])


# --- special tokens --------------------------------------------------------------------


def test_special_tokens_have_their_names(tmp_path):
    written(tmp_path, None, "bert", tokenizer__json=bert())
    tokenizer = load(tmp_path)  # by the class alone
    assert tokenizer.mask_token_id == 4
    assert (tokenizer.cls_token, tokenizer.sep_token_id) == ("[CLS]", 3)
    assert set(tokenizer.all_special_ids) == {0, 1, 2, 3, 4}


def test_a_token_may_be_renamed_by_any_of_the_files(tmp_path):
    written(
        tmp_path,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "mask_token": {"content": "big"},
        },
        tokenizer__json=llama(),
        special_tokens_map__json={"pad_token": {"content": "</s>"}},
    )
    tokenizer = load(tmp_path)
    assert (tokenizer.pad_token_id, tokenizer.mask_token) == (2, "big")


def test_chat_templates_come_from_settings_and_files(tmp_path):
    pytest.importorskip("jinja2")
    settings = {**LLAMA, "chat_template": "old"}
    written(tmp_path, settings, tokenizer__json=llama())
    assert load(tmp_path).get_chat_template() == "old"
    (tmp_path / "chat_template.jinja").write_text("<{{ messages[0]['content'] }}>")
    made = load(tmp_path).apply_chat_template(
        [{"role": "user", "content": "cat"}], tokenize=False
    )
    assert made == "<cat>"


@pytest.mark.parametrize("name", ["llama-eos", "bert-cased", "xlm-roberta-nfkc"])
def test_a_saved_tokenizer_does_the_same(name, tmp_path):
    make_folder(name, tmp_path / "model")
    before = load(tmp_path / "model")
    before.save_pretrained(tmp_path / "saved")
    written(tmp_path / "saved", None, "bert" if name == "bert-cased" else "llama")
    for after in (
        load(tmp_path / "saved"),
        AutoTokenizer.from_pretrained(tmp_path / "saved"),
    ):
        assert ids(after) == IDS[name]
        assert after.special_tokens_map == before.special_tokens_map


# --- what can't be told from the files -------------------------------------------------

CODE = """
from tokenizers import normalizers, processors
from transformers import PreTrainedTokenizerFast


class OwnTokenizerFast(PreTrainedTokenizerFast):
    def __init__(self, *args, add_eos_token=False, **kwargs):
        super().__init__(*args, **kwargs)
        if add_eos_token:
            self._tokenizer.post_processor = processors.TemplateProcessing(
                single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
            )
        CHANGE
"""


def with_code(folder, change="pass"):
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|endoftext|>",
        "add_eos_token": True,
        "auto_map": {"AutoTokenizer": [None, "own.OwnTokenizerFast"]},
    }
    written(
        folder,
        settings,
        "qwen2",
        tokenizer__json=byte_level(),
        own__py=CODE.replace("CHANGE", change),
    )


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
    """Code of folders is copied into a place of the test's own."""
    from transformers import dynamic_module_utils

    place = str(tmp_path / "modules")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", place)
    monkeypatch.syspath_prepend(place)


@pytest.mark.parametrize("runs", [False, True])
def test_a_class_of_the_folder_gets_its_flags(tmp_path, own_modules, runs):
    """Also where it isn't run: the class that it is derived from doesn't know them."""
    with_code(tmp_path / "model")
    [made] = ids(load(tmp_path / "model", trust_remote_code=runs), ["cat"])
    assert len(made) > 1 and made[-1] == 0
    config = tmp_path / "model" / "tokenizer_config.json"
    said = json.loads(config.read_text())
    del said["auto_map"]
    config.write_text(json.dumps(said))
    assert ids(load(tmp_path / "model"), ["cat"]) == [made[:-1]]


@pytest.mark.parametrize(
    "change, said",
    [
        (
            "self._tokenizer.normalizer = normalizers.Lowercase()",
            "turns 'Hello world' into",
        ),
        (
            "self._tokenizer.post_processor = processors.ByteLevel()",
            "lack the eos_token",
        ),
    ],
)
def test_a_class_that_does_otherwise_than_the_file_is_named(
    change, said, tmp_path, own_modules
):
    with_code(tmp_path / "other", change)
    with pytest.warns(UserWarning, match=f"tokens of model 'some/model' .*{said}"):
        load(tmp_path / "other", trust_remote_code=True)


def test_a_vocabulary_that_has_no_converter_is_named(tmp_path, monkeypatch):
    make_folder("bert-words", tmp_path)
    monkeypatch.setattr(loader, "convert", lambda *_: None)
    with pytest.warns(UserWarning, match="derived from its vocabulary by transformers"):
        load(tmp_path)


def test_python_tokenizers_load_without_a_word(tmp_path):
    written(tmp_path, {"tokenizer_class": "ByT5Tokenizer"}, "t5")
    tokenizer = load(tmp_path)
    assert not tokenizer.is_fast
    assert tokenizer("a")["input_ids"] == [100, 1]


def test_a_sentencepiece_model_names_what_reads_it(tmp_path, monkeypatch):
    convert_slow_tokenizer = importlib.import_module(
        "transformers.convert_slow_tokenizer"
    )

    def missing(*_):
        raise ImportError("no protobuf")

    make_folder("llama-pieces", tmp_path)
    monkeypatch.setattr(convert_slow_tokenizer, "import_protobuf", missing)
    with pytest.raises(
        ImportError, match="pip install sentencepiece protobuf"
    ) as error:
        load(tmp_path)
    assert "tiktoken" not in str(error.value)


def test_so_it_does_where_transformers_asks_for_another_package(tmp_path, monkeypatch):
    def asks(*_, **__):
        raise ValueError("`tiktoken` is required to read a `tiktoken` file.")

    make_folder("llama-pieces", tmp_path)
    monkeypatch.setattr(loader, "convert", lambda *_: None)
    monkeypatch.setattr(loader, "find_spec", lambda _: None)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", asks)
    with pytest.raises(ImportError, match="pip install sentencepiece protobuf"):
        load(tmp_path)


# --- Mistral's pattern -----------------------------------------------------------------


def mistral(folder, pattern, version="4.51.0", **settings):
    content = byte_level(pre_tokenizer=cut(pattern))
    vocabulary = content["model"]["vocab"]
    vocabulary |= {f"word{n}": n for n in range(len(vocabulary), 100_002)}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
    config = {"model_type": "mistral", "transformers_version": version}
    written(folder, settings, tokenizer__json=content, config__json=config)


def test_a_corrected_pattern_is_named_and_can_be_chosen(tmp_path):
    old = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s+"
    mistral(tmp_path, old)
    with pytest.warns(UserWarning, match='"fix_mistral_regex": true'):
        before = load(tmp_path)
    mistral(tmp_path, old, fix_mistral_regex=True)
    after = load(tmp_path)
    mistral(tmp_path, MISTRAL_PATTERN)
    right = load(tmp_path)
    assert ids(before, ["12"]) != ids(right, ["12"])
    assert ids(after) == ids(right)


@pytest.mark.parametrize(
    "changes", [{"fix_mistral_regex": False}, {"version": "5.2.0"}], ids=str
)
def test_the_old_pattern_is_not_named_where_it_is_meant(changes, tmp_path):
    mistral(tmp_path, r"\p{L}+|\p{N}{1,3}|\s+", **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path)


# --- the digest ------------------------------------------------------------------------


def test_the_digest_says_what_a_tokenizer_does(tmp_path):
    for name in FOLDERS:
        if not name.endswith(("pieces", "pieces-new")):
            make_folder(name, tmp_path / name)
    digests = {path.name: tokenizer_probe(load(path)) for path in tmp_path.iterdir()}
    # Written in another way, but the same.
    assert digests["llama"] == digests["llama-file-without"]
    assert digests["bert-unsaid"] == digests["bert-cased-file"] == digests["bert-words"]
    differ = [
        "llama",
        "llama-eos",
        "llama-no-bos",
        "llama-new",
        "llama-bytes",
        "bert-unsaid",
        "bert-cased",
        "bert-accents",
        "bert-chinese",
        "xlm-roberta-nfkc",
        "qwen2-digits",
        "gpt2-prefix",
        "gpt2-words",
        "roberta-words",
    ]
    assert len({digests[name] for name in differ}) == len(differ)


def test_the_digest_sees_special_tokens_written_out(tmp_path):
    digests = set()
    for flags in ({}, {"lstrip": True}, {"rstrip": True}, {"normalized": True}):
        content = byte_level(normalizer={"type": "Lowercase"})
        content["added_tokens"] = [added("<S>", 1, **flags)]
        written(tmp_path, {}, "gpt2", tokenizer__json=content)
        digests.add(tokenizer_probe(load(tmp_path)))
    assert len(digests) == 4


def test_the_digest_is_the_same_in_all_versions(tmp_path):
    # As with transformers 5.2.0 and 5.24.0.
    make_folder("qwen2-digits", tmp_path)
    assert tokenizer_probe(load(tmp_path))[:16] == "dcafd7a3657e4f14"


def test_a_backend_of_the_file_alone_has_the_digest_of_the_tokenizer(tmp_path):
    make_folder("bert-unsaid", tmp_path)
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    alone = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert tokenizer_probe(alone) == tokenizer_probe(load(tmp_path))
