"""fit adapts the model, and something goes wrong: kills, full disks, memory, data."""

import errno
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from small_trainings import N_TEXTS, few_labels, few_texts, make, recipe

from sklearn_llm2vec import LLM2VecRecipe
from sklearn_llm2vec._adapt import gradients, loop, memory, training
from sklearn_llm2vec._model.registry import forget_models


@pytest.fixture(autouse=True)
def empty_registry():
    forget_models()
    yield
    forget_models()


@pytest.fixture
def texts():
    return few_texts()


@pytest.fixture
def y():
    return few_labels()


KILLED = """
import os, signal, sys
import numpy as np
import torch
from sklearn_llm2vec import LLM2VecRecipe, LLMEmbeddingTransformer
from sklearn_llm2vec._adapt import loop
sys.path.insert(0, {tests!r})
from conftest import WORDS, bert_config, llama_config, save_model

torch.set_num_threads(1)
loop.CHECKPOINT_SECONDS = 0
on_step_end = loop.Progress.on_step_end

def killing(self, args, state, control, **kwargs):
    on_step_end(self, args, state, control, **kwargs)
    if state.global_step == {kill_at}:
        os.kill(os.getpid(), signal.SIGKILL)

if {kill_at}:
    loop.Progress.on_step_end = killing
rng = np.random.default_rng(0)
texts = [" ".join(rng.choice(WORDS, rng.integers(3, 9))) for _ in range({n})]
recipe = LLM2VecRecipe("simcse", simcse_steps=6, simcse_batch_size=6, max_length=12)
fitted = LLMEmbeddingTransformer({model!r}, adapt=recipe, cache={cache!r}).fit(texts)
print(fitted.adapter_[0].digest, fitted.adaptation_history_["step"])
"""


@pytest.fixture
def one_thread():
    """The matrix products of torch may take fewer threads on a busy machine, and the
    number of threads decides the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_killed_training_goes_on_where_it_was(llama_lm, texts, tmp_path, one_thread):
    def run(cache, kill_at=0):
        code = KILLED.format(
            tests=str(Path(__file__).parents[1]),
            kill_at=kill_at,
            n=N_TEXTS,
            model=llama_lm,
            cache=str(tmp_path / cache),
        )
        command = [sys.executable, "-c", textwrap.dedent(code)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("one", kill_at=4).returncode == -signal.SIGKILL
    (unfinished,) = (tmp_path / "one" / "adapters").glob("*.unfinished")
    assert (unfinished / "checkpoint-3" / "whole").is_file()
    steps = []
    on_step_end = loop.Progress.on_step_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            loop.Progress,
            "on_step_end",
            lambda self, args, state, *rest, **more: (
                steps.append(state.global_step),
                on_step_end(self, args, state, *rest, **more),
            )[1],
        )
        simcse = LLM2VecRecipe(
            "simcse", simcse_steps=6, simcse_batch_size=6, max_length=12
        )
        resumed = make(llama_lm, simcse, cache=tmp_path / "one").fit(texts)
    assert steps == [4, 5, 6]
    assert resumed.adaptation_history_["step"] == [1, 2, 3, 4, 5, 6]
    assert not unfinished.exists()
    whole = run("two")
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.split()[0] == resumed.adapter_[0].digest


def test_half_written_checkpoints_are_passed_over(
    llama_lm, texts, tmp_path, monkeypatch
):
    """A kill in the middle of a checkpoint leaves a folder that can't be read."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    on_save = loop.Progress.on_save
    make_estimator = lambda cache: make(  # noqa: E731
        llama_lm, recipe("simcse", simcse_steps=6), cache=tmp_path / cache
    )
    whole = make_estimator("whole").fit(texts).adapter_[0].digest

    def stopping(self, args, state, control, **kwargs):
        if state.global_step == 4:
            raise KeyboardInterrupt  # the folder is written, its mark isn't
        on_save(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Progress, "on_save", stopping)
        make_estimator("cut").fit(texts)
    (cut,) = (tmp_path / "cut").glob("adapters/*/checkpoint-4")
    (cut / "adapter_model.safetensors").write_bytes(b"half")
    assert make_estimator("cut").fit(texts).adapter_[0].digest == whole


def test_threads_take_turns(llama_lm, texts):
    alone = [make(llama_lm, recipe(seed=n)).fit(texts) for n in range(2)]
    together = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(make(llama_lm, recipe(seed=n)).fit)(texts) for n in range(2)
    )
    for one, two in zip(alone, together, strict=True):
        assert [a.digest for a in one.adapter_] == [a.digest for a in two.adapter_]
    make(llama_lm, recipe("mntp", seed=7)).fit(texts)  # still loads


def changed_gradient(monkeypatch, change):
    """Let `change` stand between the training and the gradient of each step."""
    make_gradient = gradients.make_gradient

    def changed(*args):
        gradient_of = make_gradient(*args)
        return lambda *args: change(gradient_of, *args)

    monkeypatch.setattr(training, "make_gradient", changed)


def test_a_loss_that_is_no_number_stops(llama_lm, texts, monkeypatch, tmp_path):
    n_calls = []

    def change(gradient_of, *args):
        n_calls.append(1)
        return gradient_of(*args) * (float("nan") if len(n_calls) == 3 else 1)

    changed_gradient(monkeypatch, change)
    with pytest.raises(
        FloatingPointError,
        match=r"'simcse' must be finite.*nan at step 3 of 3 with the learning rate "
        r"\d.*'simcse_learning_rate'",
    ):
        make(llama_lm, recipe("simcse"), cache=tmp_path).fit(texts)
    assert not list((tmp_path / "adapters").glob("*/adapter_model.safetensors"))


@pytest.mark.parametrize("stages", ["mntp", "simcse", "supervised"])
def test_too_little_memory_makes_smaller_passes(
    stages, llama_lm, texts, y, monkeypatch
):
    sizes = []

    def change(gradient_of, network, batch, tokens_a_pass):
        sizes.append((batch["input_ids"].numel(), tokens_a_pass))
        if tokens_a_pass > batch["input_ids"].numel() // 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return gradient_of(network, batch, tokens_a_pass)

    changed_gradient(monkeypatch, change)
    eight = recipe(stages, **{f"{stages}_batch_size": 8})
    history = make(llama_lm, eight).fit(texts, y).adaptation_history_
    assert history["step"] == [1, 2, 3]
    assert np.isfinite(history["loss"]).all()
    whole, first = sizes[0]
    assert first == whole  # all of it, until the memory runs out
    assert sizes[1] == (whole, whole // 2)
    # What was learned about the memory stays.
    assert max(most for _, most in sizes[1:]) == whole // 2


def test_a_batch_for_which_there_is_room_goes_in_one_pass(llama_lm, texts, monkeypatch):
    monkeypatch.setattr(
        memory, "CPU_BYTES", 1
    )  # a text at a time, if in several passes
    sizes = []

    def change(gradient_of, network, batch, tokens_a_pass):
        sizes.append((batch["input_ids"].numel(), tokens_a_pass))
        return gradient_of(network, batch, tokens_a_pass)

    changed_gradient(monkeypatch, change)
    make(llama_lm, recipe("simcse")).fit(texts)
    assert [most for _, most in sizes] == [whole for whole, _ in sizes]
    sizes.clear()
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10)
    monkeypatch.setattr(training, "check_fits", lambda *args: None)
    make(llama_lm, recipe("simcse")).fit(texts)
    assert all(most < whole for whole, most in sizes)


def test_a_model_that_cant_fit_is_refused_before_it_is_loaded(
    llama_lm, texts, monkeypatch
):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 20_000)
    monkeypatch.setattr(training, "load_network", None)
    with pytest.raises(
        MemoryError, match=r"at least \d+.* of memory: .*20.0 kB are free"
    ):
        make(llama_lm, recipe("simcse")).fit(texts)


def test_other_errors_are_the_users(llama_lm, texts, monkeypatch):
    def change(*args):
        raise RuntimeError("something else")

    changed_gradient(monkeypatch, change)
    with pytest.raises(RuntimeError, match="something else"):
        make(llama_lm, recipe("simcse")).fit(texts)


@pytest.mark.parametrize("file", ["sklearn_llm2vec.json", "history.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b"\xff", b"[" * 9000])
def test_a_damaged_adapter_counts_as_none(content, file, tmp_path):
    from sklearn_llm2vec._adapt.store import HISTORY, AdapterStore
    from sklearn_llm2vec._model.adapters import NOTE, TrainedAdapter

    assert file in (NOTE, HISTORY)
    store = AdapterStore(tmp_path)
    adapter = TrainedAdapter("mntp", b"{}", b"weights", True)
    store.put("key", adapter, [])
    assert store.get("key") == (adapter, [])
    (tmp_path / "key" / file).write_bytes(content)
    assert store.get("key") is None


def test_a_read_only_cache_costs_the_keeping_only(
    llama_lm, texts, tmp_path, monkeypatch
):
    from sklearn_llm2vec._adapt.store import AdapterStore

    monkeypatch.setattr(AdapterStore, "_can_write", lambda self: False)
    one = make(llama_lm, recipe("mntp"), cache=tmp_path).fit(texts)
    monkeypatch.undo()
    two = make(llama_lm, recipe("mntp"), cache=tmp_path / "other").fit(texts)
    assert one.adapter_[0].digest == two.adapter_[0].digest


def test_a_full_disk_costs_the_keeping_and_is_said_once_a_call(
    llama_lm, texts, tmp_path, monkeypatch
):
    def full(adapter, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sklearn_llm2vec._adapt.store.save_adapter", full)
    with pytest.warns(UserWarning, match=r"can't be stored.*No space left") as caught:
        make(llama_lm, recipe("mntp"), cache=tmp_path).fit(texts)
    assert [one.filename for one in caught] == [__file__]
    assert not list(tmp_path.rglob("adapter_config.json"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"texts": ["a card"] * 9},
            r"'mntp'.*needs at least two batches, 12 dist.*Got 1",
        ),
        (
            {"texts": ["", "  ", None]},
            r"Adapting a model requires texts that aren't empty. Got 2.*all.*empty",
        ),
        ({"stages": "supervised", "y": None}, r"needs y, the classes.*Got y=None"),
        ({"stages": "supervised", "y": ["a"] * 24}, r"at least 2 classes.*Got 1 class"),
        (
            {"stages": "supervised", "y": range(24)},
            r"one of them with at least 2 texts",
        ),
        (
            {"stages": "supervised", "y": np.linspace(0, 1, 24)},
            r"needs classes in y.*'continuous'.*For regression, choose adapt='simcse'",
        ),
        ({"stages": "supervised", "y": [None, *"ab" * 11, "a"]}, "no missing labels"),
        ({"stages": "supervised", "y": ["a", "b"]}, r"each of the 24 rows.*Got 2"),
        ({"stages": "supervised", "y": "a"}, r"each of the 24 rows.*Got 'a'"),
        ({"attention": "causal"}, r"'attention' parameter.*with MNTP.*Got 'causal'"),
        (
            {
                "stages": "simcse",
                "attention": "causal",
                "template": "prompt_eol",
                "token_prepending": 2,
            },
            r"'token_prepending' parameter.*None with 'adapt'",
        ),
        (
            {"recipe": {"layer": 7}},
            r"'layer' parameter of LLM2VecRecipe.*1 to 2.*Got 7",
        ),
        ({"recipe": {"layer": 0}}, r"'layer' parameter of LLM2VecRecipe.*Got 0"),
    ],
)
def test_errors_before_anything_is_loaded(
    given, message, llama_lm, texts, y, monkeypatch
):
    monkeypatch.setattr(training, "load_network", None)
    X, labels = given.pop("texts", texts), given.pop("y", y)
    adapt = recipe(given.pop("stages", "mntp+simcse"), **given.pop("recipe", {}))
    with pytest.raises(ValueError, match=message):
        make(llama_lm, adapt, **given).fit(X, labels)


def test_models_without_a_head(llama, bert, texts):
    for folder in (bert,):
        with pytest.raises(
            ValueError, match="'mntp' only for a checkpoint with a lang"
        ):
            make(folder, recipe("mntp")).fit(texts)
        make(folder, recipe("simcse")).fit(texts)


def test_a_mask_token_that_is_several(llama_lm, texts):
    with pytest.raises(ValueError, match=r"'mask_token' parameter.*is 2 tokens"):
        make(llama_lm, recipe("mntp", mask_token="red cat")).fit(texts)


def test_targets_that_aren_t_there(llama_lm, texts):
    with pytest.raises(ValueError, match="'lora_targets' parameter of LLM2VecRecipe"):
        make(llama_lm, recipe("mntp", lora_targets=["nothing"])).fit(texts)


def test_without_the_extra(llama_lm, texts, monkeypatch):
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "accelerate" else find_spec(name, *rest),
    )
    with pytest.raises(ImportError, match=r"needs accelerate: pip install .*\[adapt\]"):
        make(llama_lm, recipe("mntp")).fit(texts)
