"""What importing costs, and that imports go one way."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_llm2vec

PACKAGE = Path(sklearn_llm2vec.__file__).parent
PREFIX = "sklearn_llm2vec."

# From the bottom up: a folder imports from itself and from those before it, inside
# functions too.
FOLDERS = [
    "_common",
    "_text",
    "_cache",
    "_network",
    "_model",
    "_encode",
    "_adapt",
    "_estimator",
    "_search",
    "_report",
    "evaluation",
    "distributed",
    "integrations",
    "cli",
]


def folders_imported(path):
    """The folders of the package that a file imports from, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "sklearn_llm2vec":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
            yield from (m.split(".")[1] for m in modules if m.startswith(PREFIX))
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
            yield from (m.split(".")[1] for m in modules if m.startswith(PREFIX))


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_import_one_way(folder):
    allowed = set(FOLDERS[: FOLDERS.index(folder) + 1])
    for path in (PACKAGE / folder).glob("*.py"):
        above = set(folders_imported(path)) & set(FOLDERS) - allowed
        assert not above, f"{path.name} imports from {above}"


def test_every_file_is_in_a_folder_of_the_order():
    inside = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/*.py")}
    assert inside == set(FOLDERS)
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__"}


def test_the_cache_knows_no_models_and_the_encoder_no_cache():
    for folder, others in (
        ("_cache", {"_common"}),
        ("_encode", set(FOLDERS) - {"_cache"}),
    ):
        for path in (PACKAGE / folder).glob("*.py"):
            assert set(folders_imported(path)) & set(FOLDERS) <= {folder, *others}


def test_files_import_no_cycle():
    """Inside a folder as well: each file can be placed after those it imports."""
    left = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }
    imported = {name: set(modules_imported(path)) for name, path in left.items()}
    while left:
        free = [name for name in left if not imported[name] & set(left)]
        assert free, f"a cycle among {sorted(left)}"
        for name in free:
            del left[name]


def modules_imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


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
