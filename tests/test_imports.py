"""What importing costs, and that imports go one way."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_llm2vec

PACKAGE = Path(sklearn_llm2vec.__file__).parent

# From the bottom up: a file imports only from those before it, inside functions too.
ORDER = [
    "_memory",
    "_pooling",
    "_blocks",
    "_losses",
    "_recipe",
    "_rowwise",
    "_modules",
    "_templates",
    "_windows",
    "_batching",
    "_tokens",
    "_examples",
    "_threads",
    "_packing",
    "_memo",
    "_handover",
    "_inputs",
    "_rows",
    "_whole_files",
    "_npy",
    "_cache_place",
    "_database",
    "_cache_blocks",
    "_cache",
    "_spec",
    "_layers",
    "_heads",
    "_prefix",
    "_varlen",
    "_prepending",
    "_attention",
    "_folders",
    "_training",
    "_adapters",
    "_adapter_store",
    "_models",
    "_stages",
    "_training_texts",
    "adapt",
    "_passes",
    "_encoder",
    "endpoint",
    "_vectors",
    "_parameters",
    "_transformer",
    "_search",
    "_score_tables",
    "_display",
    "_estimator_code",
    "_report_facts",
    "_report_colors",
    "_report_charts",
    "_report_page",
    "_report",
    "_adaptation_display",
    "_unembedding",
    "_tables",
    "_parquet",
    "distributed",
    "_features",
    "_ranking",
    "_relevance",
    "_bm25",
    "_mteb",
    "evaluation",
    "_console",
    "_argument_types",
    "_model_arguments",
    "_table_files",
    "_text_columns",
    "_feature_files",
    "_pictures",
    "_saved_pipelines",
    "_command_embed",
    "_command_search",
    "_command_adapt",
    "_command_evaluate",
    "_command_cache",
    "_arguments",
    "cli",
    "__main__",
]


def siblings(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "sklearn_llm2vec":
                yield from (alias.name for alias in node.names)
            elif node.module.startswith("sklearn_llm2vec."):
                yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("sklearn_llm2vec."):
                    yield alias.name.split(".")[1]


@pytest.mark.parametrize("name", ORDER)
def test_imports_go_one_way(name):
    before = ORDER[: ORDER.index(name)]
    assert set(siblings(PACKAGE / f"{name}.py")) <= set(before)


def test_every_file_is_in_the_order():
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert files == set(ORDER)


@pytest.mark.parametrize(
    "leaf",
    ["_pooling", "_batching", "_inputs", "_cache_place", "_database", "_cache_blocks"],
)
def test_leaves_import_no_sibling(leaf):
    assert not set(siblings(PACKAGE / f"{leaf}.py"))


def test_the_cache_knows_its_own_parts_only():
    parts = {"_cache_place", "_database", "_cache_blocks"}
    assert set(siblings(PACKAGE / "_cache.py")) == parts


def test_the_cache_and_the_encoder_dont_know_each_other():
    assert "_encoder" not in siblings(PACKAGE / "_cache.py")
    assert "_cache" not in siblings(PACKAGE / "_encoder.py")


def test_all_names_are_there():
    for name in sklearn_llm2vec.__all__:
        assert getattr(sklearn_llm2vec, name) is not None
    assert set(sklearn_llm2vec.__all__) <= set(dir(sklearn_llm2vec))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sklearn_llm2vec.nothing


def test_public_modules_need_no_import_of_their_own():
    code = (
        "import sys, sklearn_llm2vec as s; print('evaluation' in dir(s),"
        " 'sklearn_llm2vec.evaluation' in sys.modules,"
        " s.evaluation.evaluate_sts.__name__, s.distributed.embed_parquet.__name__)"
    )
    assert run(code).split() == ["True", "False", "evaluate_sts", "embed_parquet"]


HEAVY = (
    "torch",
    "transformers",
    "matplotlib",
    "polars",
    "tqdm",
    "tokenizers",
)


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_heavy():
    code = (
        f"import sys, sklearn_llm2vec; print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert run(code).strip() == "[]"


def test_importing_the_estimator_imports_nothing_heavy():
    code = (
        "import sys; from sklearn_llm2vec import LLMEmbeddingTransformer, EmbeddingCache,"
        " layer_pooling_grid, LayerPoolingDisplay, LayerPoolingReport;"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert run(code).strip() == "[]"


@pytest.mark.parametrize("template", [None, "the {text}", "chat"])
def test_a_transform_from_the_cache_imports_no_torch(bert, tmp_path, template):
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    (folder / "chat_template.jinja").write_text("the {{ messages[0]['content'] }}")
    code = f"""
import sys
from sklearn_llm2vec import LLMEmbeddingTransformer
encoder = LLMEmbeddingTransformer(
    {str(folder)!r}, cache={str(tmp_path)!r}, template={template!r}
)
features = encoder.fit(["card", "bank"]).transform(["card", "bank", None])
print(encoder.last_report_.encoded, 'torch' in sys.modules, 'transformers' in sys.modules)
"""
    assert run(code).split() == ["2", "True", "True"]
    assert run(code).split() == ["0", "False", "False"]
