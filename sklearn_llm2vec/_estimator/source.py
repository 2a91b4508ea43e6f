"""Where vectors come from: what every kind of source has, and which one is meant.

A source is one model with the settings of one space, wherever it runs. A new kind, such
as another sort of server, is a class with what `Source` lists, in a file of its own, and
a line in `_kind_of`.
"""

import os
from typing import Protocol

from sklearn_llm2vec._cache.store import EmbeddingCache
from sklearn_llm2vec._common.places import default_directory
from sklearn_llm2vec._estimator.local import LocalSource
from sklearn_llm2vec._estimator.parameters import (
    check_parameters,
    declared_parameters,
    is_chosen,
    parameters_of,
    plain,
)
from sklearn_llm2vec._estimator.served import ServedSource


class Source(Protocol):
    """One model with its settings.

    Attributes
    ----------
    name : str
        Of the model, for people.
    n_layers : int or None
        None where nobody tells.
    hidden_size : int
        Features of a cell's vectors.
    width : int
        Features that `finish` makes of them.
    max_length : int or None
        Tokens of a row; None where nobody tells.
    fingerprint : str
        The name of the space: all that changes a vector of a cell.
    layer : int or tuple of int
    pooling : str
        The cell that is asked for; of several layers the mean.
    always_kept : tuple of (list of int, list of str)
        Layers and poolings that each pass stores besides.
    kept_in_search : tuple of (list of int, list of str) or None
        Those that a pass stores for texts which already have another cell.
    device : str
        Of all processes that encode for one space, those with the same device take turns.
    is_lendable : bool
        Whether loading the model costs so much that a worker which has it encodes for
        the others.
    identity : tuple
        What `fit` remembers of the model, of plain values: a later source with another
        one isn't the model whose features a classifier has learned from.
    finish_digest : str or None
        Of what `finish` does besides leaving features out; None for nothing.
    """

    name: str
    n_layers: int | None
    hidden_size: int
    width: int
    max_length: int | None
    fingerprint: str
    layer: int | tuple
    pooling: str
    always_kept: tuple
    kept_in_search: tuple | None
    device: str
    is_lendable: bool
    identity: tuple
    finish_digest: str | None

    @classmethod
    def open(cls, params, adapters, memo_directory):
        """The source that checked parameters mean.

        Nothing is loaded: its files are read, or the server is asked, once for each
        content. What this kind can't do is refused here, such as a prompt that leaves no
        room for a text.

        Parameters
        ----------
        params : SimpleNamespace
            As `check_parameters` gives it.
        adapters : tuple of TrainedAdapter
            What `fit` trained.
        memo_directory : Path or None
            Where facts are remembered.
        """

    @staticmethod
    def search_space(params):
        """`n_layers`, the poolings worth a search and `hidden_size`, without a server."""

    def is_ready(self, depth):
        """Whether `encoder` would have to load nothing."""

    def encoder(self, depth):
        """What encodes texts.

        Its ``encode(texts, layers, poolings)`` yields a `Block` as soon as one is done,
        each text in exactly one. ``n_cut`` counts the texts that were cut so far;
        ``ran_out`` is None, or the tokens of a pass for which memory was too small and
        the most of later ones.

        Parameters
        ----------
        depth : int
            The deepest layer that will be asked for.
        """

    def check_texts(self, texts):
        """Refuse texts, before any of them is looked up or encoded."""

    def finish(self, vectors):
        """Features from the vectors of the cell, float32 of shape (n_texts, width)."""

    def describe(self):
        """All that the space is made of, as a dict, for people who compare two."""

    def refusal(self, identity):
        """The error for a source that should have this other `identity`."""


def open_source(estimator, params=None):
    """The source that an estimator's parameters mean.

    Parameters
    ----------
    estimator : LLMEmbeddingTransformer
    params : SimpleNamespace or None, default=None
        Its parameters, where `check_parameters` has seen them already. In place of "cv"
        they mean what the model declares.

    Returns
    -------
    Source

    Raises
    ------
    ValueError
        For parameters that aren't possible, or a model that isn't there.
    ConnectionError
        When a server doesn't answer.
    """
    params = params or check_parameters(estimator)
    params = declared_parameters(params)
    cache = open_cache(params.cache)
    trained = getattr(estimator, "adapter_", ()) if params.adapt is not None else ()
    place = None if cache is None else cache.path
    return _kind_of(params).open(params, trained, place)


def open_sources(estimator, params, n_blocks):
    """The source of each block of features; the same one, unless `fit` chose cells.

    Parameters
    ----------
    estimator : LLMEmbeddingTransformer
        With "cv" in its parameters, a fitted one.
    params : SimpleNamespace
        As `check_parameters` gives it.
    n_blocks : int

    Returns
    -------
    list of Source
    """
    if not is_chosen(params):
        return [open_source(estimator, params)] * n_blocks
    cells = estimator._cells
    if len(cells) != n_blocks:
        raise ValueError(
            f"'fit' chose a layer and a pooling for each of {len(cells)} blocks of "
            f"features. With template={params.template!r} there are {n_blocks}: call "
            "'fit' again."
        )
    opened = {
        cell: open_source(estimator, parameters_of(params, cell)) for cell in set(cells)
    }
    return [opened[cell] for cell in cells]


def search_space(estimator):
    """What a search over an estimator's model compares, read from its configuration.

    Returns
    -------
    n_layers : int or None
        None for a server.
    poolings : list of str
    hidden_size : int or None
    """
    params = check_parameters(estimator)
    return _kind_of(params).search_space(params)


def count_layers(estimator):
    """Layers of an estimator's model; None for a server."""
    return search_space(estimator)[0]


def _kind_of(params):
    return LocalSource if params.endpoint is None else ServedSource


_caches: dict[EmbeddingCache, EmbeddingCache] = {}
_caches_by_place: dict[str, EmbeddingCache] = {}


def open_cache(cache):
    """The cache that the `cache` parameter means: one object a place and process."""
    cache = plain(cache)
    if cache is None or cache is False:
        return None
    if not isinstance(cache, EmbeddingCache):
        place = default_directory() if cache is True else cache
        key = os.path.abspath(os.path.expanduser(place))
        # Not made anew for each call: it asks the system for the table of mounts.
        if key not in _caches_by_place:
            _caches_by_place[key] = EmbeddingCache(place)
        cache = _caches_by_place[key]
    return _caches.setdefault(cache, cache)
