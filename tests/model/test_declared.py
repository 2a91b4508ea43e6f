"""Folders of sentence-transformers: what they declare is what comes out."""

import json
import re
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from architectures import SMALL
from conftest import bert_config, llama_config, save_model
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._model.dense import ACTIVATIONS
from sklearn_llm2vec._model.folders import read_model

try:
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
except ImportError:
    from sentence_transformers.models import Pooling, Transformer
try:
    from sentence_transformers.base.modules import Dense, Normalize
except ImportError:
    from sentence_transformers.models import Dense, Normalize


def make(folder, **params):
    return LLMEmbeddingTransformer(str(folder), **{"cache": None, **params})


def save(
    tmp_path,
    pooling="mean",
    *,
    kind="bert",
    dense=(),
    normalize=False,
    modules=None,
    **options,
):
    """A sentence-transformers folder around a tiny model, and the model itself."""
    config = bert_config() if kind == "bert" else llama_config()
    base = save_model(tmp_path / "base", config, kind)
    first = [Transformer(str(base)), Pooling(32, pooling_mode=pooling)]
    torch.manual_seed(5)
    behind = [Dense(a, b, **more) for a, b, more in dense] if modules is None else []
    behind += [Normalize()] * normalize
    for module in modules or ():
        behind.append(Normalize() if module == "unit" else Dense(*module))
    model = SentenceTransformer(modules=first + behind, device="cpu", **options)
    model.save(str(tmp_path / "st"))
    return tmp_path / "st", SentenceTransformer(str(tmp_path / "st"), device="cpu")


def close(ours, theirs, atol=1e-6):
    scale = max(1.0, np.abs(theirs).max())
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol * scale)


def test_minilm(minilm, texts):
    folder = make(minilm).fit(["a"])
    reference = SentenceTransformer(str(read_model(folder.model).folder), device="cpu")
    ours = make(minilm, normalize=True).fit_transform(texts)
    close(ours, reference.encode(texts))


@pytest.mark.parametrize("kind", ["bert", "llama"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "weightedmean", "lasttoken"])
def test_every_pooling(tmp_path, texts, pooling, kind):
    folder, reference = save(tmp_path, pooling, kind=kind)
    ours = make(folder).fit_transform(texts)
    close(ours, reference.encode(texts), 2e-6)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_dense_layers(tmp_path, texts, name):
    function = getattr(torch.nn, name)()
    folder, reference = save(
        tmp_path,
        dense=[
            (32, 48, {"activation_function": function}),
            (48, 8, {"activation_function": torch.nn.Identity(), "bias": False}),
        ],
        normalize=True,
    )
    estimator = make(folder, normalize=True)
    close(estimator.fit_transform(texts), reference.encode(texts))
    assert estimator.embedding_dim_ == 8
    assert len(estimator.get_feature_names_out()) == 8


@pytest.mark.parametrize(
    "modules",
    [
        ["unit", (32, 8)],
        [(32, 16), "unit", (16, 8)],
        ["unit", (32, 16), "unit", (16, 8), "unit"],
    ],
    ids=str,
)
def test_unit_length_before_a_dense_layer(tmp_path, texts, modules):
    folder, reference = save(tmp_path, modules=modules)
    ends_in_unit_length = modules[-1] == "unit"
    ours = make(folder, normalize=ends_in_unit_length).fit_transform(texts)
    close(ours, reference.encode(texts))
    if ends_in_unit_length:
        lengths = np.linalg.norm(make(folder).fit_transform(texts), axis=1)
        assert np.abs(lengths - 1).max() > 0.1  # the last one is the user's


@pytest.mark.parametrize("modules", [[], ["unit"], [(32, 16), "unit"], [(32, 4)]])
def test_a_declared_truncation(tmp_path, texts, modules):
    folder, reference = save(tmp_path, modules=modules, truncate_dim=6)
    said = json.loads((folder / "config_sentence_transformers.json").read_text())
    if said.get("truncate_dim") is None:
        pytest.skip("this sentence-transformers doesn't save it")
    estimator = make(folder)
    ours = estimator.fit_transform(texts)
    close(ours, reference.encode(texts))
    width = 4 if modules == [(32, 4)] else 6
    assert estimator.embedding_dim_ == ours.shape[1] == width
    assert len(estimator.get_feature_names_out()) == width
    assert make(folder, layer=2).fit_transform(texts).shape[1] == 32
    assert make(folder, pooling="mean").fit_transform(texts).shape[1] == 32


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    "modules", [[], ["unit"], [(32, 16), "unit"], ["unit", (32, 16)]]
)
def test_an_asked_truncation_comes_after_all_modules(
    tmp_path, texts, modules, normalize
):
    """Unit length at the end, too, which then isn't that of what is left."""
    folder, reference = save(tmp_path, modules=modules)
    reference.truncate_dim = 6
    ours = make(folder, truncate_dim=6, normalize=normalize).fit_transform(texts)
    close(ours, reference.encode(texts, normalize_embeddings=normalize))
    for vectors in (make(folder, truncate_dim=16), make(folder)):
        assert vectors.fit_transform(texts).shape[1] >= 16


def test_a_module_that_changed_is_noticed(tmp_path, texts):
    folder, _ = save(tmp_path, dense=[(32, 8, {})])
    estimator = make(folder)
    before = estimator.fit_transform(texts)
    path = folder / "2_Dense" / "model.safetensors"
    kept = path.read_bytes()
    weights = load_file(path)
    save_file({name: 2 * weight for name, weight in weights.items()}, path)
    with pytest.raises(
        ValueError, match="the same as in 'fit'.*dense layers or prompt"
    ):
        estimator.transform(texts)
    assert np.abs(make(folder).fit_transform(texts) - before).max() > 1e-3
    path.write_bytes(kept)
    np.testing.assert_array_equal(estimator.transform(texts), before)
    path = folder / "1_Pooling" / "config.json"
    path.write_text(json.dumps({"pooling_mode": "max"}))
    with pytest.raises(ValueError, match="must be the same as in 'fit'"):
        estimator.transform(texts)


def test_a_dense_layer_before_the_pooling(tmp_path):
    folder, _ = save(tmp_path, dense=[(32, 32, {})])
    path = folder / "modules.json"
    first, pooling, dense = json.loads(path.read_text())
    path.write_text(json.dumps([first, dense, pooling]))
    with pytest.raises(ValueError, match="'Dense' before the pooling isn't supported"):
        make(folder).fit(["a"])


def test_dense_layers_belong_to_auto_and_the_last_layer(tmp_path, texts):
    folder, _ = save(tmp_path, dense=[(32, 8, {})])
    assert make(folder).fit_transform(texts).shape[1] == 8
    for params in ({"pooling": "mean"}, {"layer": 2}, {"layer": (2, -1)}):
        assert make(folder, **params).fit_transform(texts).shape[1] == 32
    two = make(folder).fit_transform(np.array([["a", "card"]], object))
    assert two.shape == (1, 16)


def test_dense_layers_dont_depend_on_the_batch(tmp_path, texts):
    folder, _ = save(tmp_path, dense=[(32, 200, {})])
    many = [f"{a} {b}" for a in texts for b in texts[:9]]
    want = make(folder).fit_transform(many)
    order = np.random.default_rng(0).permutation(len(many))
    got = make(folder).fit_transform([many[i] for i in order])
    np.testing.assert_array_equal(got, want[order])
    np.testing.assert_array_equal(make(folder).fit_transform(many[7:8])[0], want[7])


def test_a_residual(tmp_path, texts):
    try:
        folder, reference = save(
            tmp_path,
            dense=[(32, 32, {"use_residual": True}), (32, 8, {"use_residual": True})],
        )
    except TypeError:
        pytest.skip("this sentence-transformers has no residual in Dense")
    close(make(folder).fit_transform(texts), reference.encode(texts))


def test_the_default_prompt(tmp_path, texts):
    folder, reference = save(
        tmp_path,
        prompts={"query": "the {book} of ", "document": ""},
        default_prompt_name="query",
    )
    close(make(folder).fit_transform(texts), reference.encode(texts))
    close(
        make(folder, template="{text}").fit_transform(texts),
        reference.encode(texts, prompt=""),
    )


def test_a_prompt_that_isnt_pooled(tmp_path, texts):
    folder, _ = save(
        tmp_path, prompts={"query": "the book of "}, default_prompt_name="query"
    )
    path = folder / "1_Pooling" / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"include_prompt": False})
    )
    reference = SentenceTransformer(str(folder), device="cpu").encode(texts)
    ours = make(folder).fit_transform(texts)
    close(ours, reference)
    same = make(folder, template="the book of {text}").fit_transform(texts)
    np.testing.assert_array_equal(same, ours)


def test_a_transformer_in_a_folder_of_its_own(tmp_path, texts):
    folder, reference = save(tmp_path)
    want = reference.encode(texts)
    inside = folder / "0_Transformer"
    inside.mkdir()
    for path in list(folder.iterdir()):
        if path.is_file() and path.name not in ("modules.json",):
            path.rename(inside / path.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    close(make(folder).fit_transform(texts), want)


def test_lower_case(tmp_path):
    folder, _ = save(tmp_path)
    path = folder / "sentence_bert_config.json"
    settings = json.loads(path.read_text()) if path.is_file() else {}
    upper = make(folder).fit(["a"])
    path.write_text(json.dumps(settings | {"do_lower_case": True}))
    lower = make(folder).fit(["a"])
    assert lower.fingerprint_ != upper.fingerprint_
    got = lower.transform(["THE Card", "the card"])
    np.testing.assert_array_equal(got[0], got[1])


def test_what_isnt_known_is_said(tmp_path):
    folder, _ = save(tmp_path)
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    other = {
        "idx": 2,
        "name": "2",
        "path": "2_CNN",
        "type": "sentence_transformers.models.CNN",
    }
    path.write_text(json.dumps([*modules, other]))
    with pytest.raises(ValueError, match="a module of type 'CNN' isn't supported"):
        make(folder).fit(["a"])
    assert make(folder, pooling="mean").fit_transform(["a"]).shape == (1, 32)
    assert make(folder, layer=1).fit_transform(["a"]).shape == (1, 32)
    path.write_text(json.dumps(modules))
    pooling = folder / "1_Pooling" / "config.json"
    flags = {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}
    pooling.write_text(json.dumps(flags))
    with pytest.raises(ValueError, match=r"the pooling 'mean \+ max' isn't supported"):
        make(folder).fit(["a"])


def test_dense_weights_as_a_pickle(tmp_path):
    folder, _ = save(tmp_path, dense=[(32, 8, {})])
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "x.bin")
    with pytest.raises(ValueError, match="must have its weights in model.safetensors"):
        make(folder).fit(["a"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dense_layers_stored_in_other_floats(tmp_path, texts, dtype):
    folder, _ = save(tmp_path, dense=[(32, 8, {})])
    path = folder / "2_Dense" / "model.safetensors"
    weights = {k: v.to(dtype) for k, v in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(weights, path)
    got = make(folder).fit_transform(texts)
    vectors = make(folder, pooling="mean").fit_transform(texts)
    linear = {k.rpartition(".")[2]: v.double().numpy() for k, v in weights.items()}
    close(got, np.tanh(vectors @ linear["weight"].T + linear["bias"]))


def test_dense_layers_stored_as_integers_are_refused(tmp_path):
    folder, _ = save(tmp_path, dense=[(32, 8, {})])
    path = folder / "2_Dense" / "model.safetensors"
    weights = {
        k: v.to(torch.int8) for k, v in safetensors.torch.load_file(path).items()
    }
    safetensors.torch.save_file(weights, path)
    with pytest.raises(ValueError, match="must be floats of 16, 32 or 64 bits. Got I8"):
        make(folder).fit(["a text"])


# --- what isn't an embedding model ---------------------------------------------------


def write(path, **entries):
    path.write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("config", "settings", "what"),
    [
        ({"architectures": ["HF_ColBERT"]}, {}, "late-interaction"),
        ({}, {"similarity_fn_name": "MaxSim"}, "late-interaction"),
        ({}, {"model_type": "SparseEncoder"}, "sparse encoder"),
        ({}, {"model_type": "CrossEncoder"}, "cross-encoder"),
        (
            {
                "architectures": ["XLMRobertaForSequenceClassification"],
                "id2label": {"0": "LABEL_0"},
            },
            {},
            "cross-encoder",
        ),
        (
            {
                "architectures": ["BertForSequenceClassification"],
                "id2label": {"0": "no", "1": "perhaps", "2": "yes"},
                "sentence_transformers": {"version": "5.1.0"},
            },
            {},
            "cross-encoder",
        ),
    ],
)
def test_other_kinds_of_models_are_refused(bert, tmp_path, config, settings, what):
    folder = shutil.copytree(bert, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | config
    write(folder / "config.json", **config)
    write(folder / "config_sentence_transformers.json", **settings)
    for params in ({}, {"pooling": "mean", "layer": 1}):
        with pytest.raises(ValueError, match=f"must be a text encoder.*Got a {what}"):
            make(folder, **params).fit(["a"])


def test_word_vectors_need_no_config_to_be_refused_with_the_reason(tmp_path):
    modules = [{"idx": 0, "path": "0_WordEmbeddings", "type": "x.WordEmbeddings"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match="Got a model of word.*FunctionTransformer"):
        make(tmp_path).fit(["a"])


def test_a_classifier_of_texts_is_an_encoder(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    write(folder / "config.json", **config, id2label={"0": "bad", "1": "good"})
    assert make(folder).fit_transform(["a"]).shape == (1, 32)


@pytest.mark.parametrize(
    ("types", "what"),
    [
        (["x.MLMTransformer", "x.SpladePooling"], "a sparse encoder"),
        (["x.Transformer", "pylate.models.Dense.Dense"], "a late-interaction model"),
        (
            ["x.models.WordEmbeddings", "x.Pooling"],
            "a model of word vectors or word counts (WordEmbeddings)",
        ),
        (["x.Asym", "x.Pooling"], "'x.Asym' in the place of the transformer"),
        (["x.Transformer", "x.Normalize"], "modules.json without a module that pools"),
    ],
)
def test_modules_that_arent_a_transformer_and_a_pooling(bert, tmp_path, types, what):
    folder = shutil.copytree(bert, tmp_path / "model")
    modules = [{"idx": i, "path": "", "type": kind} for i, kind in enumerate(types)]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=re.escape(what)):
        make(folder, pooling="mean").fit(["a"])


# --- lengths -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", "bert roberta distilbert camembert albert xlm-roberta xlnet".split()
)
def test_settings_under_each_of_their_old_names(bert, tmp_path, name):
    folder = shutil.copytree(bert, tmp_path / "model")
    settings = {"max_seq_length": 17, "do_lower_case": True}
    write(folder / f"sentence_{name}_config.json", **settings)
    model = read_model(folder)
    assert model.max_tokens == 17
    assert model.declared.lowercase


def test_the_saved_length_wins_over_the_tokenizers(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    write(folder / "tokenizer_config.json", **tokenizer | {"model_max_length": 20})
    assert read_model(folder).max_tokens == 20
    write(folder / "sentence_bert_config.json", max_seq_length=40)
    assert read_model(folder).max_tokens == 40


@pytest.mark.parametrize("kind", ["Roberta", "XLMRoberta", "Camembert", "MPNet"])
def test_positions_that_begin_behind_the_padding(tmp_path, kind):
    config = getattr(transformers, f"{kind}Config")(**SMALL, pad_token_id=1)
    folder = save_model(tmp_path, config, "bert")
    assert read_model(folder).max_tokens == SMALL["max_position_embeddings"] - 2
    texts = ["a small card " * 40]
    with pytest.warns(UserWarning, match="1 of 1 texts are longer than 62 tokens"):
        assert np.isfinite(make(folder).fit_transform(texts)).all()
    with pytest.raises(ValueError, match="must be at most 62 for"):
        make(folder, max_length=63).fit(texts)


def test_a_limit_of_minus_one_is_none(tmp_path):
    config = transformers.XLNetConfig(
        vocab_size=128, d_model=32, n_layer=3, n_head=4, d_inner=48
    )
    folder = save_model(tmp_path, config, "bert")
    assert read_model(folder).max_positions is None
    assert make(folder, max_length=30).fit_transform(["a small card"]).shape == (1, 32)
