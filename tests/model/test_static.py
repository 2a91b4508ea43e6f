"""Static models: vectors are those of the package that made the folder.

What these packages compute is written down here in numpy, so that neither is needed:
model2vec 0.10 and sentence-transformers 6.2 gave the same for these folders and texts.
"""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import only_cached
from safetensors.numpy import load_file, save_file
from sentence_transformers_folders import CORPUS, bert_tokenizer, xlmr_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from sklearn_llm2vec import (
    LayerPoolingReport,
    LLMEmbeddingTransformer,
    ModelNotFoundError,
    layer_pooling_grid,
)
from sklearn_llm2vec._model.folders import read_model

TEXTS = [
    "The small red cat sleeps on the table.",
    "",
    " \n\t",
    "☃☃ ☃",
    "☃ cat",
    "[CLS] cat [SEP] [UNK] </s> <unk>",
    "\U0001f600 smile \U0001f469\u200d\U0001f4bb",
    "x" * 900,
    "the cat ☃ " * 90,
    "größe CAFÉ naïve 3.14",
]
WIDTH = 8


def words_tokenizer():
    """Whole words, and a token for all others."""
    backend = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]"]
    trainer = trainers.WordLevelTrainer(special_tokens=special)
    backend.train_from_iterator(CORPUS, trainer)
    return backend


def bytes_tokenizer():
    """Bytes, so that nothing is unknown."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet)
    backend.train_from_iterator(CORPUS, trainer)
    return backend


def padding_tokenizer():
    """WordPiece that would add special tokens, and pad."""
    backend, _ = bert_tokenizer()
    backend.enable_padding(pad_token="[PAD]", length=12)
    return backend


TOKENIZERS = {
    "words": (words_tokenizer, "[UNK]"),
    "pieces": (padding_tokenizer, "[UNK]"),
    "unigram": (lambda: xlmr_tokenizer()[0], "<unk>"),
    "bytes": (bytes_tokenizer, None),
}


def vectors_of(n_tokens, width=WIDTH, seed=0):
    return np.random.default_rng(seed).standard_normal((n_tokens, width), np.float32)


def save(folder, backend, tensors, config=None, modules=("StaticEmbedding",), inner=""):
    """A folder as model2vec saves it with a config, sentence-transformers without."""
    place = folder / inner
    place.mkdir(parents=True)
    backend.save(str(place / "tokenizer.json"))
    save_file(tensors, place / "model.safetensors")
    if config is not None:
        (place / "config.json").write_text(json.dumps(config))
    listed = [
        {"idx": n, "name": str(n), "path": "" if n else inner, "type": f"x.{kind}"}
        for n, kind in enumerate(modules)
    ]
    if listed:
        (folder / "modules.json").write_text(json.dumps(listed))
    return folder


def small(folder, **changes):
    """A folder of model2vec with whole words."""
    backend = words_tokenizer()
    told = {"tensors": {"embeddings": vectors_of(backend.get_vocab_size())}}
    told |= {"config": {"model_type": "model2vec"}, **changes}
    return save(folder, backend, **told)


def make(folder, **params):
    return LLMEmbeddingTransformer(str(folder), **{"cache": None, **params})


def means(rows, ids):
    rows, nothing = rows.astype(float), np.zeros(rows.shape[1])
    return np.array([rows[some].mean(0) if some else nothing for some in ids])


def of_model2vec(folder, unknown, rows, texts, max_length):
    """What model2vec computes."""
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.no_padding()
    backend.no_truncation()
    if max_length is not None:
        median = int(np.median([len(token) for token in backend.get_vocab()]))
        texts = [text[: max_length * median] for text in texts]
        backend.enable_truncation(max_length)
    found = backend.encode_batch(texts, add_special_tokens=False)
    left_out = None if unknown is None else backend.token_to_id(unknown)
    ids = [[one for one in text.ids if one != left_out] for text in found]
    return means(rows, ids)


def close(ours, theirs, atol=1e-6):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


def all_close(ours, theirs):
    """Vectors of `TEXTS`: the sums of long ones in float32 are less exact."""
    for text, mine, other in zip(TEXTS, ours, theirs, strict=True):
        close(mine, other, max(1e-6, 3e-8 * len(text)))


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize(
    ("max_length", "config"),
    [(512, {}), (30, {"max_length": 30}), (None, {"max_length": None})],
    ids=["as usual", "short", "whole"],
)
@pytest.mark.filterwarnings("ignore:.*texts are longer")
def test_vectors_are_those_of_model2vec(tmp_path, kind, max_length, config):
    tokenizer, unknown = TOKENIZERS[kind]
    backend = tokenizer()
    rows = vectors_of(backend.get_vocab_size())
    config = {"model_type": "model2vec", **config}
    folder = save(tmp_path / "model", backend, {"embeddings": rows}, config)
    theirs = of_model2vec(folder, unknown, rows, TEXTS, max_length)
    all_close(make(folder).fit_transform(TEXTS), theirs)
    assert not theirs[1].any()


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("cut", [None, "left", "right"])
@pytest.mark.filterwarnings("ignore:.*texts are longer")
def test_vectors_are_those_of_sentence_transformers(tmp_path, kind, cut):
    backend = TOKENIZERS[kind][0]()
    if cut is not None:
        backend.enable_truncation(30, direction=cut)
    rows = vectors_of(backend.get_vocab_size())
    tensors = {"embedding.weight": rows}
    folder = save(tmp_path / "model", backend, tensors, inner="0_StaticEmbedding")
    ours = make(folder).fit_transform(TEXTS)
    backend.no_padding()
    found = backend.encode_batch(TEXTS, add_special_tokens=False)
    all_close(ours, means(rows, [text.ids for text in found]))


@pytest.mark.parametrize("stored", [np.float32, np.float16, np.float64, np.int8])
def test_tokens_share_vectors_and_have_weights(tmp_path, stored):
    n = words_tokenizer().get_vocab_size()
    table = (100 * vectors_of(5)).astype(stored)
    mapping = np.random.default_rng(1).integers(0, 5, n)
    weights = np.random.default_rng(2).random(n)
    tensors = {"embeddings": table, "mapping": mapping, "weights": weights}
    folder = small(tmp_path / "model", tensors=tensors)
    rows = table[mapping].astype(float) * weights[:, None]
    theirs = of_model2vec(folder, "[UNK]", rows, TEXTS, 512)
    np.testing.assert_allclose(make(folder).fit_transform(TEXTS), theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "modules", "is_unit"),
    [
        ({"normalize": True}, (), True),
        ({"normalize": True}, ("StaticEmbedding",), True),
        ({"normalize": False}, ("StaticEmbedding", "Normalize"), False),
        (None, ("StaticEmbedding", "Normalize"), True),
        (None, ("StaticEmbedding", "Dropout"), False),
    ],
)
def test_unit_length_is_declared_before_features_are_cut(
    tmp_path, config, modules, is_unit
):
    name = "embedding.weight" if config is None else "embeddings"
    tensors = {name: vectors_of(words_tokenizer().get_vocab_size())}
    config = config and {"model_type": "model2vec", **config}
    folder = small(tmp_path / "model", tensors=tensors, config=config, modules=modules)
    whole = make(folder).fit_transform(TEXTS[:1])
    length = np.linalg.norm(whole) if is_unit else 1
    close(make(folder, truncate_dim=3).fit_transform(TEXTS[:1]), whole[:, :3] / length)
    unit = make(folder, normalize=True).fit_transform(TEXTS[:2])
    close(np.linalg.norm(unit, axis=1), [1, 0])


def test_a_declared_prompt_stands_before_each_text_and_counts(tmp_path):
    backend = words_tokenizer()
    tensors = {"embedding.weight": vectors_of(backend.get_vocab_size())}
    folder = save(tmp_path / "model", backend, tensors)
    plain = make(folder).fit_transform(["passage: a cat", "passage: "])
    settings = {"prompts": {"passage": "passage: "}, "default_prompt_name": "passage"}
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(settings))
    close(make(folder).fit_transform(["a cat", ""]), plain)


def test_a_text_of_unknown_words_is_what_stands_around_it(tmp_path):
    folder = small(tmp_path / "model")
    encoder = make(folder, template="query: {text}", prompt_counts=False)
    empty, unknown, known = encoder.fit_transform(["", "☃ ☃", "☃ cat"])
    close(unknown, empty)
    close(known, make(folder).fit_transform(["cat"])[0])
    assert empty.any()


# --- lengths -------------------------------------------------------------------------


def test_a_text_that_is_cut_by_its_characters_is_counted(tmp_path):
    folder = small(tmp_path / "model", config={"max_length": 4})
    # Fewer tokens than four, and more characters than four tokens usually have.
    texts = ["sleeps" + " " * 40 + "cat", "cat"]
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than 4 tokens"):
        cut = make(folder).fit_transform(texts)
    close(cut[0], make(folder).fit_transform(["sleeps"])[0])
    with pytest.raises(ValueError, match="at most 4 tokens. Got 1 longer"):
        make(folder, long_texts="error").fit(texts).transform(texts)
    whole = make(folder, long_texts="chunk").fit_transform(texts)
    close(whole[0], make(folder).fit_transform(["sleeps cat"])[0])


def test_windows_of_a_long_text_are_the_text(tmp_path):
    folder = small(tmp_path / "model", config={"max_length": None})
    text = ["cat ☃ table " * 50 + "☃ " * 20]
    for pooling in ("mean", "weighted_mean", "max", "first", "last"):
        whole = make(folder, pooling=pooling).fit_transform(text)
        windows = {"max_length": 7, "long_texts": "chunk"}
        close(make(folder, pooling=pooling, **windows).fit_transform(text), whole)


# --- bits, names, places --------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 7, 33, 255, 256])
def test_a_vector_has_the_same_bits_in_any_batch(tmp_path, width):
    backend = bytes_tokenizer()
    tensors = {"embedding.weight": vectors_of(backend.get_vocab_size(), width)}
    folder = save(tmp_path / "model", backend, tensors)
    texts = [CORPUS[0][:n] for n in range(60)] + [CORPUS[1][:n] for n in range(60)]
    for pooling in ("mean", "weighted_mean"):
        encoder = make(folder, pooling=pooling)
        together = encoder.fit_transform(texts)
        alone = np.concatenate([encoder.transform([text]) for text in texts[::7]])
        small_batches = make(folder, pooling=pooling, batch_tokens=64)
        np.testing.assert_array_equal(alone, together[::7])
        np.testing.assert_array_equal(small_batches.fit_transform(texts), together)


def test_the_fingerprint_follows_what_decides_a_vector(tmp_path):
    n = words_tokenizer().get_vocab_size()
    table, mapping = vectors_of(n), np.arange(n)
    mapped = {"embeddings": table, "mapping": mapping}
    swapped = {"embeddings": table, "mapping": mapping[::-1].copy()}
    heavy = {"embeddings": table, "weights": np.ones(n) * 2}
    folders = [
        small(tmp_path / "one"),
        small(tmp_path / "cut", config={"model_type": "model2vec", "max_length": 9}),
        # Without a config.json it is read as sentence-transformers does.
        small(tmp_path / "theirs", config=None),
        *(
            small(tmp_path / str(i), tensors=tensors)
            for i, tensors in enumerate((mapped, swapped, heavy))
        ),
    ]
    other = shutil.copytree(folders[0], tmp_path / "tokenizer")
    path = other / "tokenizer.json"
    path.write_text(path.read_text().replace('"Whitespace"', '"WhitespaceSplit"'))
    names = [make(folder).fit(["a"]).fingerprint_ for folder in [*folders, other]]
    assert len(set(names)) == len(names)
    shutil.copytree(folders[0], tmp_path / "copy")
    assert make(tmp_path / "copy").fit(["a"]).fingerprint_ == names[0]


@pytest.mark.parametrize("inner", ["", "0_StaticEmbedding"])
def test_a_snapshot_without_a_config_is_found_offline(tmp_path, monkeypatch, inner):
    repository = tmp_path / "models--some--static"
    backend = words_tokenizer()
    tensors = {"embedding.weight": vectors_of(backend.get_vocab_size())}
    save(repository / "snapshots" / ("a" * 40), backend, tensors, inner=inner)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    only_cached(monkeypatch, tmp_path)
    assert read_model("some/static").folder.name == (inner or "a" * 40)


def test_dtypes_are_followed_and_auto_is_float32(tmp_path):
    folder = small(tmp_path / "model")
    exact = make(folder).fit(TEXTS)
    assert exact.transform(TEXTS[:1]).dtype == np.float32
    rounded = make(folder, dtype="bfloat16").fit_transform(TEXTS[:1])
    difference = np.abs(rounded - exact.transform(TEXTS[:1])).max()
    assert 0 < difference < 0.02


# --- layers ---------------------------------------------------------------------------


def test_the_embeddings_are_the_only_layer(tmp_path):
    folder = small(tmp_path / "model")
    encoder = make(folder).fit(["cat"])
    assert (encoder.n_layers_, encoder.layer_, encoder.pooling_) == (0, 0, "mean")
    expected = encoder.transform(TEXTS)
    for layer in (0, 0.5, (0, -1)):
        np.testing.assert_array_equal(
            make(folder, layer=layer).fit_transform(TEXTS), expected
        )
    for layer in (1, -2):
        with pytest.raises(ValueError, match="an int from -1 to 0 .*has 0 layers"):
            make(folder, layer=layer).fit(["cat"])


@pytest.mark.parametrize("name", ["adapt", "adapters"])
def test_there_is_nothing_to_adapt(tmp_path, name):
    folder = small(tmp_path / "model")
    change = {"adapt": "simcse"}
    if name == "adapters":
        (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        save_file({"x": np.ones(1)}, tmp_path / "adapter_model.safetensors")
        change = {name: str(tmp_path)}
    with pytest.raises(ValueError, match=f"'{name}' .* must be None for .* no layers"):
        make(folder, **change).fit(["cat", "table"])


def test_a_search_and_its_report(tmp_path):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    folder = small(tmp_path / "model")
    X, y = ["a small red cat", "which bank has a fee"] * 6, [0, 1] * 6
    pipe = make_pipeline(make(folder, cache=tmp_path / "cache"), LogisticRegression())
    grid = layer_pooling_grid(pipe)
    assert grid["llmembeddingtransformer__layer"] == [0]
    search = GridSearchCV(pipe, grid, cv=2).fit(X, y)
    LayerPoolingReport.from_search(search).save(tmp_path / "report.html")
    assert "0 of 0 blocks" in (tmp_path / "report.html").read_text()
    chosen = make(folder, layer="cv", pooling="cv").fit(X, y)
    assert set(chosen.choice_["layer"]) == {0}
    assert len(chosen.choice_["pooling"]) == 5


# --- what can't be right --------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"embedding": vectors_of(9)}, "a matrix 'embeddings'.*Got embedding"),
        ({"embeddings": vectors_of(9)[0]}, r"Got embeddings \[8\]"),
        ({"embeddings": vectors_of(0)}, r"Got embeddings \[0, 8\]"),
        ({"embeddings": vectors_of(9), "head.weight": np.ones(3)}, "Got .*head.weight"),
        ({"embeddings": vectors_of(9), "weights": np.ones(8)}, r"weights \[8\]"),
        ({"embeddings": vectors_of(9), "mapping": np.array(1)}, r"mapping \[\]"),
        (
            {"embeddings": vectors_of(2), "mapping": np.arange(40)},
            "one of the 2 vectors.*from 0 to 39",
        ),
        ({"embeddings": vectors_of(40), "mapping": np.full(40, -1)}, "from -1 to -1"),
        ({"embeddings": vectors_of(40), "mapping": np.ones(40)}, "torch.float64"),
        ({"embeddings": vectors_of(40) + np.float32(np.inf)}, "must be finite"),
        ({"embeddings": vectors_of(3)}, "contain every token.*has 3 rows"),
    ],
)
def test_tensors_of_no_static_model_are_refused(tmp_path, tensors, message):
    folder = small(tmp_path / "model", tensors=tensors)
    with pytest.raises(ValueError, match=message):
        make(folder).fit(["a"]).transform(["the small red cat"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", None, "must contain model.safetensors and tokenizer.json"),
        (
            "model.safetensors",
            None,
            "must contain model.safetensors and tokenizer.json",
        ),
        ("model.safetensors", b"no tensors", "must be a whole safetensors file"),
        ("tokenizer.json", b"{}", "must contain a tokenizer"),
        ("config.json", b'{"max_length": 0}', "'max_length' .* must be at least 1"),
        ("config.json", b'{"max_length": "9"}', "'max_length' .* must be of type int"),
        ("config.json", b'{"normalize": 1}', "'normalize' .* must be of type bool"),
    ],
)
def test_damaged_folders_are_refused(tmp_path, file, content, message):
    folder = small(tmp_path / "model")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    error = ModelNotFoundError if content is None else ValueError
    with pytest.raises(error, match=message):
        make(folder).fit(["a"])


@pytest.mark.parametrize("behind", ["Pooling", "StaticEmbedding", "LayerNorm"])
def test_modules_that_cant_follow_a_static_model(tmp_path, behind):
    folder = small(tmp_path / "model", modules=("StaticEmbedding", behind))
    with pytest.raises(ValueError, match=f"module of type '{behind}' isn't supported"):
        make(folder).fit(["a"])


def test_a_file_is_read_once_more_when_it_has_changed(tmp_path):
    folder = small(tmp_path / "model")
    before = make(folder).fit_transform(["cat"])
    tensors = load_file(folder / "model.safetensors")
    tensors = {name: 2 * tensor for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    close(make(folder).fit_transform(["cat"]), 2 * before)


def test_no_network_is_imported(tmp_path):
    # Those of transformers take as long to import as torch does.
    folder = small(tmp_path / "model")
    code = f"""
import sys
from sklearn_llm2vec import LLMEmbeddingTransformer
encoder = LLMEmbeddingTransformer({str(folder)!r}, cache=None, verbose=False)
print(encoder.fit_transform(["cat"]).shape, "transformers.modeling_utils" in sys.modules)
"""
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["(1,", f"{WIDTH})", "False"]
