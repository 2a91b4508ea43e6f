"""The layer and pooling of each column, where `fit` is to choose them by the target.

Some rows go through all candidate layers once. A linear probe says how well each cell
predicts the target; what the model's authors declare stays unless another cell is clearly
better.
"""

import copy
import dataclasses
import hashlib
import tempfile
from contextlib import contextmanager
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length, check_random_state

from sklearn_llm2vec._cache.store import EmbeddingCache
from sklearn_llm2vec._estimator.features import fit_pca, rows_of_features
from sklearn_llm2vec._estimator.inputs import block_names
from sklearn_llm2vec._estimator.parameters import declared_parameters, parameters_of
from sklearn_llm2vec._estimator.probe import leave_one_out, probe_target
from sklearn_llm2vec._estimator.resolve import useful_poolings
from sklearn_llm2vec._estimator.source import open_cache, open_source
from sklearn_llm2vec._estimator.vectors import find_vectors
from sklearn_llm2vec._model.spec import text_keys

# Most rows of a column that decide, and how few are too few to compare anything.
DECIDING_ROWS = 2000
FEWEST_ROWS = 10
# Deep models are looked at on about so many layers.
N_DEPTHS = 8
# Of `choice_`.
NAMES = ("column", "layer", "pooling", "mean", "std", "chosen")


class Cell(NamedTuple):
    """A layer and a pooling.

    Attributes
    ----------
    asked : tuple
        As the parameters `layer` and `pooling` name it.
    layer : int or tuple of int
        Counted from 0.
    pooling : str
    """

    asked: tuple
    layer: object
    pooling: str


def choose_cells(estimator, params, columns, y):
    """Choose a cell for each block of columns.

    Parameters
    ----------
    estimator : LLMEmbeddingTransformer
    params : SimpleNamespace
        As `check_parameters` gives it, with "cv" for the layer, the pooling, or both.
    columns : TextColumns
    y : array-like of shape (n_rows,) or (n_rows, n_targets)

    Returns
    -------
    cells : list of tuple
        Layer and pooling of each block, as parameters.
    table : dict of str to list
        What `choice_` shows.

    Raises
    ------
    ValueError
        For a target of another length or with missing values.
    """
    check_consistent_length(columns.inverse, y)
    target = probe_target(y)
    cells, table = [], {name: [] for name in NAMES}
    names = block_names(params, columns.names)
    for name, rows in zip(names, columns.inverse.T, strict=True):
        deciding = _deciding_rows(columns.unique, rows, params.random_state)
        texts = [columns.unique[i] for i in rows[deciding]]
        its_target = target.take(deciding)
        scores = _scores_of_cells(estimator, params, texts, its_target)
        chosen = clearly_better(scores)
        cells.append(chosen.asked)
        _describe(table, name, scores, chosen, its_target)
    return cells, table


def clearly_better(scores):
    """The best cell, unless it is within a standard error of the declared one.

    Parameters
    ----------
    scores : dict of Cell to tuple of (ndarray of shape (n_rows,), int or None)
        The squared error of each row and, for classes, how many rows are classified
        right. The declared cell is the first.

    Returns
    -------
    Cell

    Notes
    -----
    The rule of Breiman et al., "Classification and Regression Trees" (1984), section
    3.4.3, with the differences of the same rows. Squared errors tell cells apart with
    fewer rows than counts do; but with many classes they may fall while more rows are
    classified wrong, so a cell with fewer rows right is no candidate.
    """
    declared = next(iter(scores))
    errors, hits = scores[declared]
    good = [cell for cell in scores if hits is None or scores[cell][1] >= hits]
    best = min(good, key=lambda cell: scores[cell][0].sum())
    gain = errors - scores[best][0]
    return best if gain.mean() > _standard_error(gain) else declared


def _standard_error(values):
    return values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.inf


def _deciding_rows(texts, rows, random_state):
    """Numbers of the rows with a text that decide, all of them or a sample.

    Which ones follows from the texts, not from their order: the folds of a
    cross-validation have most of them in common, and a text that decides in several goes
    through all layers once.
    """
    present = np.flatnonzero(rows >= 0)
    if len(present) <= DECIDING_ROWS:
        return present
    salt = str(_seed(random_state)).encode()
    rank = [hashlib.blake2b(key, key=salt).digest() for key in text_keys(texts)]
    by_rank = sorted(present, key=lambda row: rank[rows[row]])
    return np.sort(by_rank[:DECIDING_ROWS])


def _seed(random_state):
    """An int for a `random_state`; the state of an instance stays as it is."""
    if random_state is None:
        return 0
    return check_random_state(copy.deepcopy(random_state)).randint(2**31)


def _scores_of_cells(estimator, params, texts, target):
    """What `leave_one_out` gives with each cell; the declared cell is the first."""
    declared = open_source(estimator, declared_parameters(params))
    candidates = _candidates(params, declared)
    if len(texts) < FEWEST_ROWS:
        return {candidates[0]: (np.full(1, np.nan), None)}
    unique = list(dict.fromkeys(texts))
    place = {text: i for i, text in enumerate(unique)}
    at = np.array([place[text] for text in texts])
    scores = {}
    with _cache_with_all(candidates, declared, unique, params) as cache:
        for cell in candidates:
            source = open_source(estimator, parameters_of(params, cell.asked))
            vectors, _ = find_vectors(unique, source, cache, params.verbose)
            features = _features(params, source.finish(vectors), at)
            scores[cell] = leave_one_out(features, target)
    return scores


def _features(params, vectors, rows):
    """What `transform` would give for some rows, after a PCA that was fitted to them.

    A cell can have the best vectors and not the best first components of them.

    Parameters
    ----------
    params : SimpleNamespace
    vectors : float32 ndarray of shape (n_unique, width)
    rows : ndarray of int, shape (n_rows,)

    Returns
    -------
    float32 ndarray of shape (n_rows, n_features)
    """
    pcas = None
    if params.n_components is not None:
        # `fit` may have more rows for its components than those that decide.
        n_components = min(params.n_components, len(rows), vectors.shape[1])
        pca_params = SimpleNamespace(**{**vars(params), "n_components": n_components})
        pcas = [fit_pca(pca_params, vectors, rows)]
    return rows_of_features(params, [(vectors, rows)], pcas)


def _candidates(params, declared):
    """The cells that are compared; the declared one is the first."""
    asked = (
        -1 if params.layer == "cv" else declared.layer,
        "auto" if params.pooling == "cv" else declared.pooling,
    )
    first = Cell(asked, declared.layer, declared.pooling)
    layers, poolings = [declared.layer], [declared.pooling]
    if params.layer == "cv":
        step = max(1, -(-declared.n_layers // N_DEPTHS))  # a static model has no layers
        layers = range(declared.n_layers, -1, -step)
    if params.pooling == "cv":
        poolings = useful_poolings(declared.spec.attention)
    cells = [Cell((k, pooling), k, pooling) for k in layers for pooling in poolings]
    return [first, *(cell for cell in cells if cell[1:] != first[1:])]


@contextmanager
def _cache_with_all(candidates, declared, texts, params):
    """A cache that has every cell of the texts: the user's, where it can keep them."""
    layers = {cell.layer for cell in candidates}
    layers = {k for one in layers for k in (one if isinstance(one, tuple) else [one])}
    kept = sorted(layers), sorted({cell.pooling for cell in candidates})
    source = dataclasses.replace(declared, always_kept=kept, kept_in_search=None)
    needed = len(texts) * len(kept[0]) * len(kept[1]) * 4 * source.hidden_size
    cache = open_cache(params.cache)
    if cache is not None and needed <= cache.room():
        find_vectors(texts, source, cache, params.verbose)
        # One that can't be written to has nothing.
        if cache.has_any(source.fingerprint, text_keys(texts)).all():
            yield cache
            return
    with tempfile.TemporaryDirectory(prefix="sklearn-llm2vec-") as folder:
        cache = EmbeddingCache(folder)
        find_vectors(texts, source, cache, params.verbose)
        try:
            yield cache
        finally:
            cache.close()


def _describe(table, name, scores, chosen, target):
    """Add a row to `choice_` for each cell of a column."""
    squares = (target.columns**2).sum(axis=1)
    whole = max(float(squares.sum()) / max(len(squares), 1), np.finfo(np.float32).tiny)
    declared, _ = next(iter(scores.values()))
    for cell, (errors, _) in scores.items():
        row = {
            "column": name,
            "layer": cell.layer,
            "pooling": cell.pooling,
            "mean": 1 - float(errors.mean()) / whole,
            "std": float(_standard_error(declared - errors)) / whole,
            "chosen": cell is chosen,
        }
        for key, value in row.items():
            table[key].append(value)
