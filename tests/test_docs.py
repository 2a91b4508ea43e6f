"""What the documentation says of names, parameters, extras and links is so."""

import ast
import doctest
import importlib
import inspect
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from test_imports import FOLDERS

import sklearn_llm2vec

ROOT = Path(__file__).parents[1]
PACKAGE = Path(sklearn_llm2vec.__file__).parent
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/*.rst", "docs/howto/*")
    for path in ROOT.glob(pattern)
    if path.stem != "sg_execution_times"  # the gallery's own
)


def names_in_the_reference():
    """(module, name) for each line of docs/api.rst's tables."""
    module = None
    for line in (ROOT / "docs/api.rst").read_text().splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif re.fullmatch(r" {3}\w+", line):
            yield module, line.strip()


REFERENCE = list(names_in_the_reference())


def documented():
    """Each public class and function, and the public methods of these classes."""
    for module, name in REFERENCE:
        thing = getattr(importlib.import_module(module), name)
        yield f"{module}.{name}", thing
        for method in vars(thing) if inspect.isclass(thing) else ():
            if not method.startswith("_") and callable(getattr(thing, method)):
                yield f"{module}.{name}.{method}", getattr(thing, method)


DOCUMENTED = dict(documented())


def read_docstring(thing):
    docscrape = pytest.importorskip("numpydoc.docscrape")
    return docscrape.NumpyDocString(inspect.getdoc(thing))


def signature_of(thing):
    """Parameters by name; none of an exception, or of what a tuple of results takes."""
    if inspect.isclass(thing) and issubclass(thing, (Exception, tuple)):
        return {}
    parameters = inspect.signature(thing).parameters
    return {name: p for name, p in parameters.items() if name not in ("self", "cls")}


def test_the_reference_has_every_public_name():
    everywhere = {("sklearn_llm2vec", name) for name in sklearn_llm2vec.__all__}
    for module in {module for module, _ in REFERENCE}:
        names = importlib.import_module(module).__all__
        everywhere |= {(module, name) for name in names}
    assert set(REFERENCE) == everywhere - {("sklearn_llm2vec", "__version__")}


def test_the_reference_has_every_public_module():
    public = {path.parent.name for path in PACKAGE.glob("[!_]*/__init__.py")}
    public |= {path.stem for path in PACKAGE.glob("[!_]*.py")}
    modules = {f"sklearn_llm2vec.{name}" for name in public}
    # The command line has a page of its own.
    modules.remove("sklearn_llm2vec.cli")
    assert modules == {module for module, _ in REFERENCE} - {"sklearn_llm2vec"}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_parameter_has_its_meaning_and_its_default(name):
    parameters = signature_of(DOCUMENTED[name])
    described = {}
    for entry in read_docstring(DOCUMENTED[name])["Parameters"]:
        for one in entry.name.split(","):
            described[one.strip().lstrip("*")] = entry
    assert set(described) == set(parameters)
    for one, parameter in parameters.items():
        assert described[one].type, f"{one} has no type"
        # That y is ignored is all there is to say of it.
        assert described[one].desc or described[one].type == "ignored", one
        if parameter.default is inspect.Parameter.empty:
            assert "default=" not in described[one].type, one
            continue
        if described[one].type == "ignored":
            continue
        _, _, said = described[one].type.partition("default=")
        assert said, f"{one} has no default"
        assert said.startswith("all ") or ast.literal_eval(said) == parameter.default, (
            one
        )


def test_each_parameter_of_the_transformer_is_in_one_group():
    transformer = sklearn_llm2vec.LLMEmbeddingTransformer
    summary = "\n".join(read_docstring(transformer)["Extended Summary"])
    groups = summary.partition("by what they decide:")[2]
    assert sorted(re.findall(r"`(\w+)`", groups)) == sorted(signature_of(transformer))


def returns_something(function):
    """Whether a function's own body has a ``return`` with a value."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found = []

    class Walk(ast.NodeVisitor):
        def visit_Return(self, node):
            found.append(node.value is not None)

        def visit_Lambda(self, node):
            pass

    Walk().visit(tree)
    return any(found)


@pytest.mark.parametrize(
    "name", [name for name, thing in DOCUMENTED.items() if not inspect.isclass(thing)]
)
def test_what_is_returned_is_documented(name):
    documented = bool(read_docstring(DOCUMENTED[name])["Returns"])
    assert documented == returns_something(DOCUMENTED[name])


@pytest.mark.parametrize(
    "name", [name for name, thing in DOCUMENTED.items() if inspect.isclass(thing)]
)
def test_every_result_of_a_class_is_documented(name):
    thing = DOCUMENTED[name]
    attributes = read_docstring(thing)["Attributes"]
    assert all(entry.desc or entry.type for entry in attributes)
    named = {one.strip() for entry in attributes for one in entry.name.split(",")}
    assert set(getattr(thing, "_fields", ())) <= named


# Their `__module__` isn't that of their file, where pytest would look for them.
@pytest.mark.parametrize(
    "name", [name for name, thing in DOCUMENTED.items() if ">>> " in thing.__doc__]
)
def test_examples_of_public_names_run(name, minilm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder(recurse=False)
    (examples,) = finder.find(DOCUMENTED[name], name, module=False)
    said = []
    result = doctest.DocTestRunner().run(examples, out=said.append)
    assert not result.failed, "".join(said)


# --- pages ---------------------------------------------------------------------------


def code_blocks(path):
    """Python of a page: fences and ``code-block``, doctests as what is typed."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    else:
        found = re.findall(
            r"^\.\. code-block:: python\n\n((?: {3}.*\n|\n)+)", text, re.M
        )
        blocks = [re.sub(r"^ {3}", "", block, flags=re.M) for block in found]
    for block in blocks:
        if ">>> " in block:
            typed = re.findall(r"^(?:>>>|\.\.\.) ?(.*)$", block, re.M)
            block = "\n".join(typed)
        yield block


def calls_of_ours(tree):
    """(name, call) for each call of a public class or function."""
    ours = {name.split(".")[-1]: thing for name, thing in DOCUMENTED.items()}
    own = {name for _, name in REFERENCE}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in own:
                yield ours[node.func.id], node


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_on_the_pages_is_python_and_names_what_there_is(path):
    for block in code_blocks(path):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            module = getattr(node, "module", None) or ""
            if isinstance(node, ast.ImportFrom) and module.startswith(
                "sklearn_llm2vec"
            ):
                home = importlib.import_module(module)
                for alias in node.names:
                    assert hasattr(home, alias.name), f"{module}.{alias.name}"
        for thing, call in calls_of_ours(tree):
            known = inspect.signature(thing).parameters
            if any(p.kind is p.VAR_KEYWORD for p in known.values()):
                continue
            given = {word.arg for word in call.keywords} - {None}
            assert given <= set(known), f"{thing.__name__}: {given - set(known)}"


def test_the_pages_have_code():
    assert sum(len(list(code_blocks(path))) for path in PAGES) > 50


def test_every_page_is_in_the_contents():
    rst = [path for path in PAGES if path.suffix == ".rst"]
    trees = "".join(path.read_text().partition(".. toctree::")[2] for path in rst)
    for path in set(PAGES) - {*ROOT.glob("*.md"), ROOT / "docs/index.rst"}:
        name = path.relative_to(ROOT / "docs").with_suffix("")
        assert re.search(rf"^ +(.* <)?/?{name}>?$", trees, re.M), name


def test_only_the_readme_says_how_to_install():
    """Other pages include its words, or name an extra, so a release changes one place."""
    ours = re.compile(
        r"pip (?:install|download) (?!-e|--no-index)[^\n]*(?:\.\[|sklearn-llm2vec)"
    )
    for path in PAGES:
        text = path.read_text()
        if path == ROOT / "README.md":
            text = re.sub(
                r"(?s)<!-- begin install -->.*?<!-- end install -->", "", text
            )
        assert ours.search(text) is None, path.name


# --- the design ----------------------------------------------------------------------

DESIGN = (ROOT / "docs/contributing.md").read_text()
FOLDER_LIST, PATH_OF_A_TEXT = re.findall(r"^```text\n(.*?)^```", DESIGN, re.M | re.S)


def test_the_folders_of_the_design_are_in_the_order_of_imports():
    listed = re.findall(r"^(\w+) {2,}\S", FOLDER_LIST, re.M)
    assert listed == FOLDERS
    assert len(FOLDER_LIST.splitlines()) == len(FOLDERS)


def test_the_files_and_folders_that_the_design_names_are_there():
    files = set(re.findall(r"(?<![\w/])\w+(?:/\w+)+\.py", DESIGN))
    assert len(files) > 15
    for file in files:
        assert (PACKAGE / file).is_file() or (ROOT / file).is_file(), file
    private = set(re.findall(r"`(_\w+)`", DESIGN))
    assert private and private <= set(FOLDERS)


# In a process of its own, in which no model is loaded and no thread waits for work.
TRACED = """
import json, sys, threading
from pathlib import Path
import sklearn_llm2vec

package = Path(sklearn_llm2vec.__file__).parent
transformer = sklearn_llm2vec.LLMEmbeddingTransformer({model!r}, cache={cache!r})
transformer.fit(["a text"])
called = {{}}

def note(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(str(package)):
        file = Path(code.co_filename).relative_to(package).as_posix()
        called.setdefault((file, code.co_name), len(called))

threading.setprofile(note)
sys.setprofile(note)
transformer.transform(["the red card"])
sys.setprofile(None)
print(json.dumps(list(called)))
"""


def test_a_text_goes_the_way_that_the_design_shows(llama, tmp_path):
    """Each function of the list is called, and for the first time in this order."""
    code = TRACED.format(model=llama, cache=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    called = list(map(tuple, json.loads(done.stdout.splitlines()[-1])))
    way = re.findall(r"^(\w+/\w+\.py) +(\w+)", PATH_OF_A_TEXT, re.M)
    assert len(way) > 12
    assert [step for step in way if step not in called] == []
    assert sorted(way, key=called.index) == way


# --- files beside the pages ----------------------------------------------------------


def project():
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_install_page_names_every_extra():
    page = (ROOT / "docs/install.md").read_text()
    table = page.split("## Extras")[1].split("##")[0]
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.M)))
    assert set(named) == set(project()["optional-dependencies"])
    for requirement in ("scikit-learn", "torch", "transformers", "numpy"):
        (lowest,) = [d for d in project()["dependencies"] if d.startswith(requirement)]
        assert re.search(rf"\| {requirement} \| {lowest.split('>=')[1]} ", page)


def test_the_citation_parses_and_has_no_other_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["license"] == project()["license"]
    assert citation["title"] == project()["name"]
    assert citation["message"] and citation["authors"]
    if "version" in citation:
        assert citation["version"] == sklearn_llm2vec.__version__
    for paper in citation["references"]:
        assert paper["type"] and paper["title"] and paper["authors"]
        for author in paper["authors"]:
            assert {"given-names", "family-names"} <= set(author) or "name" in author
    assert "2404.05961" in str(citation["references"])


# --- the check of the links ----------------------------------------------------------


def check_links(*paths):
    script = ROOT / "scripts/links.py"
    done = subprocess.run(
        [sys.executable, script, *paths], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_links_between_files_are_right():
    code, said = check_links(*ROOT.glob("*.md"))
    assert code == 0, said


def test_broken_links_are_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/index.html").write_text("<h1 id='top'>There</h1>")
    (tmp_path / "page.md").write_text("[good](sub/index.html) [gone](gone.md) `[a](b)`")
    links = {
        "#here": True,
        "#nowhere": False,
        "sub/index.html#top": True,
        "sub/#top": True,
        "sub/index.html#bottom": False,
        "sub/none.html": False,
        "https://scikit-learn.org/stable/": True,
        "http://scikit-learn.org/": False,
        "https://example.org/": False,
        "https://localhost/": False,
        "mailto:a@b.org": True,
    }
    body = "".join(f"<a href='{link}'>x</a>" for link in links)
    (tmp_path / "a.html").write_text(f"<p id='here'>{body}<img src='no.png'></p>")
    code, said = check_links(tmp_path, tmp_path / "page.md")
    named = [line.split()[1] for line in said.splitlines()[:-1]]
    broken = [link for link, is_good in links.items() if not is_good]
    assert code == 1
    assert sorted(named) == sorted([*broken, "no.png", "gone.md"])


def test_a_folder_without_pages_is_no_success(tmp_path):
    assert check_links(tmp_path)[0] == 1
