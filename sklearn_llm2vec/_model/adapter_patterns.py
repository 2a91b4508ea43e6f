"""Patterns in an adapter's configuration, by which peft finds the modules to change.

peft matches them inside this process, where nothing could end a search that takes years.
"""

import re

from sklearn_llm2vec._common.limited import Stopped, answered

# What a name never has; without it, nothing is repeated and there is one way to match.
_OF_PATTERNS = re.compile(r"[*+?{|(]")
# Entries whose words peft never searches for.
WORDS = ("auto_mapping", "base_model_name_or_path", "revision")

# As peft has them, from the patterns that a configuration gives to the longest ones that
# peft puts around them.
CODE = r"""
def prepare():
    import re

    forms = ("{}", r"(.*\.)?({})$", r".*\.{}$", r"(^|.*\.){}($|\..*)")
    forms += (r"(?:^|.*?\.){}\.(?P<idx>\d+)\.",)

    def search(patterns, names):
        for pattern in patterns:
            for form in forms:
                try:
                    whole = re.compile(form.replace("{}", pattern))
                except (re.error, RecursionError, OverflowError):
                    continue  # peft meets that as well, and says so
                for name in names:
                    whole.fullmatch(name), whole.search(name)

    return search
"""


def endless_search(said, names):
    """Why the patterns of a configuration can't be searched for; None if they can.

    Parameters
    ----------
    said : dict
        What ``adapter_config.json`` holds.
    names : list of str
        Of the modules among which peft searches.

    Returns
    -------
    str or None
        What the search does ("it takes more than 5 seconds ...").
    """
    entries = [value for name, value in said.items() if name not in WORDS]
    patterns = [word for word in _words(entries) if _OF_PATTERNS.search(word)]
    if not patterns:
        return None  # nearly always: names of modules
    try:
        answered(CODE, patterns, names)
    except Stopped as error:
        return str(error)
    return None


def _words(content):
    """Strings anywhere in a configuration, names of entries among them."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for part in content.items():
            yield from _words(list(part))
    elif isinstance(content, list):
        for part in content:
            yield from _words(part)
