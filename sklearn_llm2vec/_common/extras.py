"""Extras: packages that not everybody needs, and what is said where one is absent."""


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
    >>> print(not_installed("LayerPoolingDisplay.plot", "matplotlib", "plot"))
    LayerPoolingDisplay.plot needs matplotlib: pip install 'sklearn-llm2vec[plot]'
    """
    return ImportError(f"{who} needs {package}: pip install 'sklearn-llm2vec[{extra}]'")
