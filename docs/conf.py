import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

from docutils import nodes

import sklearn_llm2vec

project = "sklearn-llm2vec"
author = "The sklearn-llm2vec developers"
version = release = sklearn_llm2vec.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
exclude_patterns = ["_build", "_templates"]
# Pages of the reference are named by the class alone.
add_module_names = False
# Links to headings of Markdown pages, as GitHub names them.
myst_heading_anchors = 3
nitpicky = True
# Quotation marks in types and defaults are code.
smartquotes = False
# A property that numpydoc lists among the attributes.
nitpick_ignore = [("py:obj", "best_")]
templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    # All parts are in the sidebar, which phones have behind the menu button.
    "navbar_center": [],
}
html_sidebars = {"**": ["contents"]}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = "sklearn-llm2vec"
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
}


def setup(app):
    # A doctest in Markdown ends in an empty line, which readers needn't see.
    app.connect("doctree-read", strip_code)
    app.connect("doctree-read", pair_code)


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
