"""Checks the links of built HTML pages and of Markdown files, without the network.

Inside: every relative ``href`` and ``src`` must be a file, and every ``#fragment`` an id
of its page. Outside: an address must be https and no placeholder. Whether it answers is
for ``sphinx -b linkcheck`` to say, which needs the network.

    python scripts/links.py docs/_build/html README.md CONTRIBUTING.md
"""

import functools
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

PLACEHOLDER = re.compile(r"^$|example\.|localhost|^127\.|TODO|xxx|<|>|\{|\}", re.I)
MARKDOWN_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MARKDOWN_CODE = re.compile(r"```.*?```|`[^`]*`", re.S)


class Page(HTMLParser):
    """The links and the ids of one page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Collect what the tag points to and how it is named."""
        attrs = dict(attrs)
        self.links += [attrs[name] for name in ("href", "src") if attrs.get(name)]
        # Before HTML 5 the name of a link was an anchor, too.
        named = ("id", "name") if tag == "a" else ("id",)
        self.ids.update(attrs[name] for name in named if attrs.get(name))


@functools.cache
def read_page(path):
    """A page, read once for all the links that lead to it."""
    return Page(path.read_text(encoding="utf-8"))


def fault_outside(link):
    """What is wrong with an address outside; None where nothing is."""
    parts = urlsplit(link)
    if parts.scheme in ("mailto", "data", "javascript"):
        return None
    if parts.scheme != "https":
        return "isn't https"
    if PLACEHOLDER.search(parts.netloc) or "." not in parts.netloc:
        return "is a placeholder"
    return None


def fault_inside(page, link):
    """What is wrong with a link from `page` to a file or an id; None where nothing is."""
    parts = urlsplit(link)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir() and page.suffix == ".html":
        target /= "index.html"
    if not target.exists():
        return "leads to no file"
    if not parts.fragment or target.suffix != ".html":
        return None
    if unquote(parts.fragment) not in read_page(target).ids:
        return "leads to no such place in the page"
    return None


def links_of(path):
    """All links of an HTML or a Markdown file."""
    if path.suffix == ".html":
        return read_page(path).links
    return MARKDOWN_LINK.findall(MARKDOWN_CODE.sub("", path.read_text("utf-8")))


def faults(path):
    """(link, what is wrong with it) for each broken link of a file."""
    for link in dict.fromkeys(links_of(path)):
        outside = urlsplit(link).scheme or link.startswith("//")
        fault = fault_outside(link) if outside else fault_inside(path, link)
        if fault:
            yield link, fault


def main(arguments):
    """Print each broken link; return how many there are."""
    files = []
    for argument in map(Path, arguments):
        found = [argument]
        if argument.is_dir():  # the theme's templates aren't pages
            pages = sorted(argument.rglob("*.html"))
            found = [path for path in pages if "_static" not in path.parts]
        if not found:
            print(f"{argument}: holds no page")
            return 1
        files += [path.resolve() for path in found]
    n_broken = 0
    for path in files:
        for link, fault in faults(path):
            print(f"{path}: {link} {fault}")
            n_broken += 1
    n_links = sum(len(links_of(path)) for path in files)
    print(f"{n_links} links in {len(files)} files, {n_broken} broken")
    return n_broken


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1) if sys.argv[1:] else __doc__)
