"""Extras: packages that not everybody needs, and what is said where one is absent."""

# Until a release is on PyPI; from then on: pip install "sklearn-llm2vec[{extra}]"
INSTALL = 'pip install -e ".[{extra}]" in a checkout of sklearn-llm2vec'


def how_to_install(extra):
    """The command that installs an extra, for an error message."""
    return INSTALL.format(extra=extra)


def not_installed(who, package, extra):
    """The error for a package that is absent, with the command that installs it.

    Parameters
    ----------
    who : str
        What needs the package: a function, a class, a parameter.
    package : str
        Its name, or several.
    extra : str
        The extra of this package that brings it.

    Returns
    -------
    ImportError
        For the caller to raise.

    Examples
    --------
    >>> from sklearn_llm2vec._common.extras import not_installed
    >>> print(not_installed("BM25", "bm25s", "evaluation"))
    BM25 needs bm25s: pip install -e ".[evaluation]" in a checkout of sklearn-llm2vec
    """
    return ImportError(f"{who} needs {package}: {how_to_install(extra)}")
