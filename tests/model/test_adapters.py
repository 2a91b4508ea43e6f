"""PEFT adapters: merged as peft merges them, in order, or refused."""

import copy
import json
import shutil
import warnings

import numpy as np
import peft
import pytest
import torch
import transformers as t
from conftest import llama_config, save_model
from safetensors.torch import load_file, save_file

from sklearn_llm2vec import LLMEmbeddingTransformer, ModelNotFoundError
from sklearn_llm2vec._common import limited
from sklearn_llm2vec._model import adapter_patterns
from sklearn_llm2vec._model.adapter_patterns import endless_search
from sklearn_llm2vec._model.registry import forget_models

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(autouse=True)
def empty_registry():
    forget_models()
    yield
    forget_models()


def make(folder, **params):
    return LLMEmbeddingTransformer(
        folder, **{"cache": None, "pooling": "mean", **params}
    )


def save_adapter(base, folder, *, seed=1, causal_lm=False, llm2vec=False, **options):
    """Train nothing, but fill a LoRA adapter with numbers that matter."""
    kind = t.AutoModelForCausalLM if causal_lm else t.AutoModel
    network = kind.from_pretrained(base)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS, **options}
    wrapped = peft.get_peft_model(network, peft.LoraConfig(**settings))
    torch.manual_seed(seed)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.3)
    wrapped.save_pretrained(folder)
    if llm2vec:
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text())
        library = "llm2vec.models.bidirectional_llama"
        names = {"base_model_class": "LlamaBiModel", "parent_library": library}
        path.write_text(json.dumps(config | {"auto_mapping": names}))
    return folder


def merged(base, *adapters):
    network = t.AutoModel.from_pretrained(base)
    for adapter in adapters:
        wrapped = peft.PeftModel.from_pretrained(network, adapter)
        network = wrapped.merge_and_unload()
        network.__dict__.pop("peft_config", None)
    return network.eval()


def mean_of(network, base, text, layer, **options):
    ids = torch.tensor(t.AutoTokenizer.from_pretrained(base)([text])["input_ids"])
    with torch.inference_mode():
        states = network(ids, output_hidden_states=True, **options).hidden_states
    return states[layer][0, 1:].mean(0).numpy()  # without <s>


@pytest.mark.parametrize("layer", [2, 4])
def test_one_and_a_chain_against_peft(llama, tmp_path, layer):
    one = save_adapter(llama, tmp_path / "one")
    two = save_adapter(llama, tmp_path / "two", seed=2)
    seen = []
    for adapters in ([one], [one, two], (two, one)):
        got = make(llama, adapters=adapters, layer=layer).fit_transform(
            ["a small card"]
        )
        want = mean_of(merged(llama, *adapters), llama, "a small card", layer)
        np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-5)
        seen.append(got)
    plain = make(llama, layer=layer).fit_transform(["a small card"])
    assert np.abs(seen[0] - plain).max() > 1e-2
    assert np.abs(seen[0] - seen[1]).max() > 1e-2


def test_a_path_and_a_list_of_it_are_one_space(llama, tmp_path):
    adapter = save_adapter(llama, tmp_path / "one")
    made = [
        make(llama, adapters=given).fit(["a"]).fingerprint_
        for given in (str(adapter), adapter, [adapter], (str(adapter),), None)
    ]
    assert len(set(made[:4])) == 1 and made[4] != made[0]


@pytest.mark.filterwarnings("ignore:Setting .save_embedding_layers")
def test_names_as_a_model_with_its_head_has_them(llama, tmp_path):
    adapter = save_adapter(
        llama,
        tmp_path / "lm",
        causal_lm=True,
        task_type="CAUSAL_LM",
        target_modules=[*TARGETS, "lm_head"],
    )
    names = load_file(adapter / "adapter_model.safetensors")
    assert any(name.startswith("base_model.model.model.layers.0.") for name in names)
    got = make(llama, adapters=adapter, layer=3).fit_transform(["a small card"])
    network = t.AutoModelForCausalLM.from_pretrained(llama)
    wrapped = peft.PeftModel.from_pretrained(network, adapter).merge_and_unload().eval()
    want = mean_of(wrapped.model, llama, "a small card", 3)
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-5)


def causal_lm_states(base, adapter, text, layer):
    network = t.AutoModelForCausalLM.from_pretrained(base)
    wrapped = peft.PeftModel.from_pretrained(network, adapter).merge_and_unload().eval()
    return mean_of(wrapped.model, base, text, layer)


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1, 3]},
        {"target_modules": ["q_proj"], "layers_to_transform": 0, "bias": "none"},
        {"target_modules": [f"model.layers.{k}.self_attn.q_proj" for k in (0, 3)]},
        {"target_modules": r"model\.layers\.[013]\.self_attn\.[qv]_proj"},
        {
            "rank_pattern": {"model.layers.0.self_attn.q_proj": 2},
            "alpha_pattern": {"model.layers.1.self_attn.q_proj": 32},
        },
    ],
    ids=lambda options: "-".join(options),
)
@pytest.mark.parametrize("layer", [2, 4])
def test_options_that_speak_of_the_whole_models_names(llama, tmp_path, options, layer):
    adapter = save_adapter(
        llama, tmp_path / "lm", causal_lm=True, task_type="CAUSAL_LM", **options
    )
    got = make(llama, adapters=adapter, layer=layer).fit_transform(["a small card"])
    want = causal_lm_states(llama, adapter, "a small card", layer)
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-5)
    plain = make(llama, layer=layer).fit_transform(["a small card"])
    assert np.abs(got - plain).max() > 1e-3


KINDS = {
    "AdaLoRA": peft.AdaLoraConfig(
        target_modules=["q_proj"], init_r=6, target_r=3, total_step=9, tinit=1, tfinal=1
    ),
    "OFT": peft.OFTConfig(target_modules=["q_proj"], oft_block_size=8),
    "IA3": peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[]),
    "DoRA": peft.LoraConfig(target_modules=["q_proj"], use_dora=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_of_adapters(llama, tmp_path, kind):
    config = copy.deepcopy(KINDS[kind])
    wrapped = peft.get_peft_model(t.AutoModel.from_pretrained(llama), config)
    torch.manual_seed(0)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data += 0.5 * torch.randn_like(parameter)
    if kind == "AdaLoRA":  # as training leaves it: which directions it has kept
        config.rank_pattern = {
            f"layers.{k}.self_attn.q_proj.lora_E": [True, False, True] * 2
            for k in range(4)
        }
    wrapped.save_pretrained(tmp_path)
    got = make(llama, adapters=tmp_path).fit_transform(["a small card"])
    with warnings.catch_warnings():  # peft warns of AdaLoRA's pattern, which it follows
        warnings.simplefilter("ignore", RuntimeWarning)
        want = mean_of(merged(llama, tmp_path), llama, "a small card", 4)
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-5)
    assert np.abs(got - make(llama).fit_transform(["a small card"])).max() > 1e-2


@pytest.mark.parametrize("entry", [{"r": 10**9}, {"init_r": 10**9}])
def test_ranks_that_the_weights_dont_have(llama, tmp_path, entry):
    folder = save_adapter(llama, tmp_path / "one")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entry))
    with pytest.raises(ValueError, match="its rank 'r' is 1000000000"):
        make(llama, adapters=folder).fit_transform(["a small card"])


NAMES = [f"layers.{k}.self_attn.q_proj_of_a_long_name" for k in range(99)]


@pytest.mark.parametrize("entry", ["target_modules", "layers_pattern"])
def test_patterns_that_take_forever(entry, monkeypatch):
    monkeypatch.setattr(limited, "MOST_SECONDS", 1)
    # No repetition in a repetition, but two ways to read each letter.
    said = {entry: ["q_proj", "([a-z_.0-9]|[a-z_.0-9])*!"]}
    assert endless_search(said, NAMES).startswith("it takes more than 1 seconds or ")


def test_patterns_that_end(monkeypatch):
    patterns = {r"(\w+\.)*[qv]_proj": 2, r".*\.(layers\.\d+\.)+self_attn\.q_proj": 4}
    said = {"rank_pattern": patterns, "modules_to_save": ["(((", "norm"]}
    assert endless_search(said, NAMES) is None
    # Names of modules need no other process.
    monkeypatch.setattr(adapter_patterns, "answered", None)
    words = {"revision": "(a+)+", "base_model_name_or_path": "/models (2)/a"}
    assert endless_search({"target_modules": TARGETS, "r": 8, **words}, NAMES) is None


def test_a_merge_that_runs_out_of_memory_isnt_the_adapters_fault(
    llama, tmp_path, monkeypatch
):
    folder = save_adapter(llama, tmp_path / "one")

    def merge(self):
        raise error

    monkeypatch.setattr(peft.LoraModel, "merge_and_unload", merge)
    error = RuntimeError("not enough memory: you tried to allocate 8 bytes")
    with pytest.raises(RuntimeError, match="not enough memory"):
        make(llama, adapters=folder).fit_transform(["a card"])
    error = KeyError("odd")
    with pytest.raises(ValueError, match="it can't be merged into LlamaModel: 'odd'"):
        make(llama, adapters=folder).fit_transform(["a card"])


def test_a_chain_of_both_kinds_of_names(llama, tmp_path):
    with_head = save_adapter(
        llama, tmp_path / "lm", causal_lm=True, layers_to_transform=[1, 3]
    )
    without = save_adapter(llama, tmp_path / "one", seed=2)
    network = t.AutoModelForCausalLM.from_pretrained(llama)
    network = peft.PeftModel.from_pretrained(network, with_head).merge_and_unload()
    network.__dict__.pop("peft_config", None)
    network = peft.PeftModel.from_pretrained(network.model, without).merge_and_unload()
    want = mean_of(network.eval(), llama, "a small card", 4)
    got = make(llama, adapters=[with_head, without]).fit_transform(["a small card"])
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"causal_lm": True, "target_modules": ["q_proj"], "layers_to_transform": [3]},
        {"target_modules": ["layers.3.self_attn.q_proj"]},
    ],
    ids=["with head", "without"],
)
def test_an_adapter_behind_the_wanted_layer(llama, tmp_path, options):
    adapter = save_adapter(llama, tmp_path / "x", **options)
    plain = make(llama, layer=2).fit_transform(["a small card"])
    got = make(llama, adapters=adapter, layer=2).fit_transform(["a small card"])
    np.testing.assert_array_equal(got, plain)
    deep = make(llama, adapters=adapter).fit_transform(["a small card"])
    assert np.abs(deep - make(llama).fit_transform(["a small card"])).max() > 1e-3


@pytest.mark.parametrize("name", ["LlamaBiForMNTP", "LlamaEncoderModel"])
def test_other_names_of_llm2vecs_classes(llama, tmp_path, name):
    adapter = save_adapter(llama, tmp_path / "bi")
    path = adapter / "adapter_config.json"
    mapping = {"base_model_class": name, "parent_library": "x"}
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"auto_mapping": mapping})
    )
    auto = LLMEmbeddingTransformer(llama, adapters=adapter, cache=None)
    assert auto.fit(["a"]).pooling_ == "mean"


def test_llm2vec_means_bidirectional(llama, tmp_path):
    adapter = save_adapter(llama, tmp_path / "bi", llm2vec=True)
    estimator = make(llama, adapters=adapter)
    got = estimator.fit_transform(["a small card"])
    network = merged(llama, adapter)
    want = mean_of(network, llama, "a small card", 4, is_causal=False)
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-5)
    causal = estimator.set_params(attention="causal").fit_transform(["a small card"])
    want = mean_of(network, llama, "a small card", 4)
    np.testing.assert_allclose(causal[0], want, rtol=1e-4, atol=1e-5)
    auto = LLMEmbeddingTransformer(llama, adapters=adapter, cache=None)
    assert auto.fit(["a"]).pooling_ == "mean"


def test_vectors_of_adapters_dont_mix(llama, tmp_path, texts):
    one = save_adapter(llama, tmp_path / "one")
    cache = tmp_path / "cache"
    plain = make(llama, cache=cache).fit_transform(texts)
    estimator = make(llama, cache=cache, adapters=one)
    adapted = estimator.fit_transform(texts)
    assert estimator.last_report_.encoded == len(texts)
    np.testing.assert_array_equal(make(llama, cache=cache).fit_transform(texts), plain)
    np.testing.assert_array_equal(
        make(llama, adapters=one).fit_transform(texts), adapted
    )
    with pytest.raises(ValueError, match="must be the same as in 'fit'"):
        save_adapter(llama, tmp_path / "one", seed=3)
        estimator.transform(texts)


def other_base(tmp_path, **changes):
    return str(save_model(tmp_path / "other", llama_config(**changes), "llama"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_size": 64}, "has the shape"),
        ({"num_hidden_layers": 6}, "no such layer"),
        ({"num_hidden_layers": 3}, "it lacks 14 weights"),
    ],
)
def test_an_adapter_of_another_base(llama, tmp_path, changes, says):
    adapter = save_adapter(other_base(tmp_path, **changes), tmp_path / "one")
    with pytest.raises(ValueError, match="must name adapters of the model") as error:
        make(llama, adapters=adapter).fit_transform(["a card"])
    assert says in str(error.value)


def test_an_adapter_for_an_encoder_is_refused_by_a_decoder(llama, bert, tmp_path):
    adapter = save_adapter(bert, tmp_path / "one", target_modules=["query", "value"])
    with pytest.raises(ValueError, match="can't be merged into LlamaModel"):
        make(llama, adapters=adapter).fit_transform(["a card"])
    got = make(bert, adapters=adapter).fit_transform(["a card"])
    assert np.abs(got - make(bert).fit_transform(["a card"])).max() > 1e-3


def test_an_adapter_in_the_hubs_cache(llama, tmp_path, monkeypatch):
    snapshot = tmp_path / "models--some--adapter" / "snapshots" / ("a" * 40)
    save_adapter(llama, snapshot)
    refs = tmp_path / "models--some--adapter" / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    one = make(llama, adapters="some/adapter").fit(["a"])
    assert one.fingerprint_ == make(llama, adapters=snapshot).fit(["a"]).fingerprint_


def test_folders_that_lack_something(llama, tmp_path):
    with pytest.raises(ModelNotFoundError, match="names the folder.*doesn't exist"):
        make(llama, adapters=str(tmp_path / "nothing")).fit(["a"])
    with pytest.raises(
        ModelNotFoundError, match="must contain adapter_config.json and"
    ):
        make(llama, adapters=tmp_path).fit(["a"])
    with pytest.raises(ModelNotFoundError, match="The adapter.*found in none of these"):
        make(llama, adapters="nobody/nothing").fit(["a"])
    with pytest.raises(ValueError, match="'adapters' parameter.*a str or path"):
        make(llama, adapters=[3]).fit(["a"])


def test_a_kind_that_cant_be_merged(llama, tmp_path):
    network = t.AutoModelForCausalLM.from_pretrained(llama)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    peft.get_peft_model(network, config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must name adapters of the model"):
        make(llama, adapters=tmp_path).fit_transform(["a card"])


def test_an_adapter_given_as_the_model(llama, tmp_path):
    adapter = save_adapter(llama, tmp_path / "one")
    with pytest.raises(ModelNotFoundError, match="Got an adapter instead: pass"):
        make(adapter).fit(["a"])


def test_peft_isnt_installed(llama, tmp_path, monkeypatch):
    import sys

    adapter = save_adapter(llama, tmp_path / "one")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install .*\[adapt\]"):
        make(llama, adapters=adapter).fit_transform(["a card"])


def test_an_adapter_that_lost_a_weight(llama, tmp_path):
    adapter = save_adapter(llama, tmp_path / "one")
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    weights.pop(sorted(weights)[0])
    save_file(weights, path)
    with pytest.raises(ValueError, match="it lacks 1 weights"):
        make(llama, adapters=adapter).fit_transform(["a card"])


def test_an_adapter_that_names_another_base(llama, tmp_path, monkeypatch):
    """The shapes agree, so nothing else would say it."""
    repository = tmp_path / "models--some--llama"
    snapshot = repository / "snapshots" / ("a" * 40)
    shutil.copytree(llama, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    one = save_adapter(llama, tmp_path / "one")
    path = one / "adapter_config.json"

    def fit(model, base):
        config = json.loads(path.read_text()) | {"base_model_name_or_path": base}
        path.write_text(json.dumps(config))
        make(model, adapters=one).fit(["a"])

    with pytest.warns(UserWarning, match="trained on 'some/other'.*'some/llama'"):
        fit("some/llama", "some/other")
    for base in (
        "some/llama",
        "Some/Llama",
        "llama",
        None,
        str(llama),
        "./x",
        str(one),
    ):
        fit("some/llama", base)
    fit(llama, "some/other")


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"layer_replication": [[0, 2], [1, 4]]}, "it repeats layers of the model"),
        ({"lora_alpha": float("nan")}, "its 'lora_alpha' is nan"),
        ({"alpha_pattern": {"q_proj": float("inf")}}, "its 'lora_alpha' is inf"),
        (
            {"scale_of_tomorrow": 3},
            r"\['scale_of_tomorrow'\], which peft .* doesn't know",
        ),
        ({"megatron_core": "os"}, "would import other code"),
    ],
)
def test_configurations_that_would_give_other_vectors(llama, tmp_path, entries, why):
    folder = save_adapter(llama, tmp_path / "one")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    with pytest.raises(ValueError, match=why):
        make(llama, adapters=folder).fit_transform(["a small card"])


def test_an_adapter_imports_no_code(llama, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "planted.py").write_text("raise SystemExit('ran')")
    folder = save_adapter(llama, tmp_path / "one")
    path = folder / "adapter_config.json"
    entries = {"megatron_config": {"a": 1}, "megatron_core": "planted"}
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    with pytest.raises(ValueError, match="would import other code"):
        make(llama, adapters=folder).fit_transform(["a small card"])


def test_adapters_that_arent_finite(llama, tmp_path):
    folder = save_adapter(llama, tmp_path / "one")
    path = folder / "adapter_model.safetensors"
    weights = load_file(path)
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, path)
    with pytest.raises(ValueError, match="must be finite numbers"):
        make(llama, adapters=folder).fit_transform(["a small card"])
