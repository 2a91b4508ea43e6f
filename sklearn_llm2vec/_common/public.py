"""Public names: where a class or function says that it is from."""


def public_in(module):
    """Give a class or function the public module from which users import it.

    Pickles, skops files, tracebacks and ``repr`` name a class by its ``__module__``. With
    the public one they still load after the private file has moved.

    Parameters
    ----------
    module : str
        A module that has the thing under its name.

    Returns
    -------
    callable
        A decorator.

    Examples
    --------
    >>> from sklearn_llm2vec._common.public import public_in
    >>> @public_in("sklearn_llm2vec")
    ... class Something: ...
    >>> Something
    <class 'sklearn_llm2vec.Something'>
    """

    def mark(thing):
        thing.__module__ = module
        return thing

    return mark
