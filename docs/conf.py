import os
import re
import sys
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

from docutils import nodes
from sphinx import addnodes

import sklearn_llm2vec

project = "sklearn-llm2vec"
author = "The sklearn-llm2vec developers"
version = release = sklearn_llm2vec.__version__


def repository_links():
    """The repository that pyproject.toml names, for the top of each page."""
    urls = metadata("sklearn-llm2vec").get_all("Project-URL") or []
    urls = dict(url.split(", ", 1) for url in urls)
    if "Repository" not in urls:
        return []
    icon = "fa-brands fa-github"
    return [{"name": "Repository", "url": urls["Repository"], "icon": icon}]


extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
exclude_patterns = ["_build", "_templates"]
# Names in single backticks, as in scikit-learn's docstrings.
default_role = "literal"
# Pages of the reference are named by the class alone.
add_module_names = False
# In "On this page", methods without their class.
toc_object_entries_show_parents = "hide"
# What is copied from an example can be pasted: no prompts and no output.
copybutton_exclude = ".linenos, .gp, .go"
# Links to headings of Markdown pages, as GitHub names them.
myst_heading_anchors = 3
nitpicky = True
# Quotation marks in types and defaults are code.
smartquotes = False
# A property that numpydoc lists among the attributes.
nitpick_ignore = [("py:obj", "best_")]
templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_logo = html_favicon = "_static/logo.svg"
# Pages that are no part of a section have no sidebar.
alone = "index install quickstart coming_from faq contributing changelog".split()
html_sidebars = {"**": ["sidebar-nav-bs"]} | {page: [] for page in alone}
html_theme_options = {
    "logo": {"text": "sklearn-llm2vec"},
    "show_prev_next": False,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 7,
    "navbar_end": ["version", "theme-switcher", "navbar-icon-links"],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version", "theme-version"],
    "icon_links": repository_links(),
}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"sklearn-llm2vec {version}"
html_show_sourcelink = False
suppress_warnings = ["config.cache"]
# For those who have the network: sphinx-build -b linkcheck docs docs/_build/linkcheck
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_workers = 4
# Fragments of GitHub are made by scripts, which linkcheck doesn't run.
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]
sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"quickstart\.py",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 60,
    # Which examples use a class or function, for its page.
    "backreferences_dir": "api/backreferences",
    "doc_module": ("sklearn_llm2vec",),
}


def setup(app):
    app.connect("viewcode-follow-imported", home_of)
    # A doctest in Markdown ends in an empty line, which readers needn't see.
    app.connect("doctree-read", strip_code)
    app.connect("doctree-read", pair_code)
    app.connect("doctree-read", link_parameters)


def home_of(app, module, name):
    """The private module in which a public name is written."""
    name = name.split(".")[0]
    home = getattr(import_module(module), "_HOMES", {}).get(name)
    if home:
        return f"{module}.{home}"
    # A package that imports its names: the one of its files that defines this one.
    for path in Path(import_module(module).__file__).parent.glob("*.py"):
        code = path.read_text(encoding="utf-8")
        if re.search(rf"^(class|def) {name}\b", code, re.M):
            return f"{module}.{path.stem}"


def link_parameters(app, doctree):
    """In the text about a class or function, names of its parameters are links."""
    # Inside out: a method's own parameter wins over one of the class.
    for thing in reversed(list(doctree.findall(addnodes.desc))):
        if not thing[0].get("ids"):
            continue
        targets = {}
        for term in parameter_terms(thing):
            for name in term[0].astext().split(", "):
                targets[name.lstrip("*")] = f"{thing[0]['ids'][0]}-{name.lstrip('*')}"
                term["ids"].append(targets[name.lstrip("*")])
        for literal in list(thing.findall(nodes.literal)):
            name = literal.astext().split("=")[0]
            if name in targets and not isinstance(literal.parent, nodes.reference):
                link = nodes.reference(refid=targets[name], internal=True)
                literal.replace_self(link)
                link += literal


def parameter_terms(thing):
    for fields in thing[-1].children:
        if isinstance(fields, nodes.field_list):
            for field in fields:
                if field[0].astext() == "Parameters":
                    for item in field[1][0]:
                        yield item[0]


def strip_code(app, doctree):
    for block in doctree.findall(nodes.literal_block):
        if block.rawsource == block.astext():
            block.rawsource = block.astext().rstrip()
            block[:] = [nodes.Text(block.rawsource)]


def pair_code(app, doctree):
    # Their code and ours, side by side where the window is wide enough.
    if app.env.docname != "coming_from":
        return
    for theirs in list(doctree.findall(nodes.literal_block)):
        ours = theirs.next_node(descend=False, siblings=True)
        if isinstance(ours, nodes.literal_block):
            pair = nodes.container(classes=["pair"])
            theirs.replace_self(pair)
            ours.parent.remove(ours)
            pair += [theirs, ours]
