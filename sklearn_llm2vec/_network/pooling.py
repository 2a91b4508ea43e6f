"""Pooling: the hidden states of a text's tokens become one vector.

A pooling is one entry of ``POOLINGS``: how states are pooled, and how the vectors of a
long text's windows are joined. The names are needed where torch isn't, for example by
the command line, so torch is imported inside the functions.
"""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

# Numbers in float32 that a register of a CPU holds.
REGISTER = 8


class TokenStates:
    """The states of a batch of rows, and what several poolings take from them.

    Parameters
    ----------
    states : float32 tensor of shape (batch, tokens, hidden)
    counted : bool tensor of shape (batch, tokens)
        The tokens that count in mean, weighted_mean and max, at least one a row.
        Padding, which stands on the right, doesn't count.
    ends : int tensor of shape (batch,) or None
        Place of each row's last token; None where no row is padded.
    """

    def __init__(self, states, counted, ends=None):
        self.states, self.counted, self.ends = states, counted, ends

    @cached_property
    def averages(self):
        """Mean and weighted mean of each row, by one batched product: (batch, 2, hidden).

        Both are always computed together, even when one is asked for: a product with one
        row of weights takes another kernel than one with two, and a vector must not
        depend, not even in its last bit, on what else was asked of the same pass.
        """
        import torch

        counted = self.counted
        position = (
            counted.cumsum(1) * counted
        )  # (batch, tokens): 1, 2, ... ; 0 elsewhere
        weights = torch.stack([counted.to(position.dtype), position], 1)
        weights = weights.to(self.states.dtype)  # (batch, 2, tokens)
        weights = weights / weights.sum(2, keepdim=True)
        states, width = self.states, self.states.shape[2]
        # If a token's features don't fill the registers of a CPU, the next one's begin
        # inside of one, and sums depend on where. Static models may have any width.
        if missing := -width % REGISTER:
            states = torch.nn.functional.pad(states, (0, missing))
        return torch.bmm(weights, states)[:, :, :width]


class Pooling(NamedTuple):
    """How tokens become a vector, in one pass or in several windows.

    Attributes
    ----------
    pool : callable
        Takes `TokenStates`, returns a float32 tensor of shape (batch, hidden). A row's
        vector must not depend on the other rows, not even in its last bit.
    join : callable
        Takes the vectors of a text's windows, a float32 array of shape (windows, hidden),
        and how many tokens count in each window, a float64 array of shape (windows, 1).
        Returns what `pool` would make of the states of all windows together, an array of
        shape (hidden,). Or of several texts, with their number behind that of windows.
    also : tuple of str
        Other poolings of the windows that `join` takes behind these two.
    takes_first : bool
        Whether `pool` takes the first token of the whole row, whatever counts. That one
        isn't among the states of a pass that begins behind a shared prefix.
    """

    pool: Callable
    join: Callable
    also: tuple = ()
    takes_first: bool = False


def mean(tokens):
    """Mean of the tokens that count."""
    return tokens.averages[:, 0]


def join_means(windows, n_counted):
    """The mean of all windows: that of their means, weighted by their tokens."""
    # In float64: few numbers, and the order of the sum then doesn't show.
    return (n_counted * windows).sum(0) / n_counted.sum(0)


def weighted_mean(tokens):
    """Mean with weights i / sum(i): later tokens saw more under causal attention.

    i is the position among the tokens that count, from 1 (SGPT, arXiv 2202.08904, eq. 1).
    """
    return tokens.averages[:, 1]


def join_weighted_means(windows, n_counted, means):
    """The weighted mean of all windows, as if the positions ran on through them."""
    # Token j of a window has the weight before + j: its sum is that of the window's own
    # weights 1, 2, ..., n plus `before` times the sum of its states.
    before = n_counted.cumsum(0) - n_counted
    own = n_counted * (n_counted + 1) / 2 * windows
    moved = before * n_counted * means
    total = n_counted.sum(0)
    return (own + moved).sum(0) / (total * (total + 1) / 2)


def last(tokens):
    """The last token of the whole row, special tokens included."""
    states = tokens.states
    if tokens.ends is None:
        # Cloned: a view would hold the states of all tokens in memory.
        return states[:, -1].clone()
    import torch

    return states[torch.arange(len(states), device=states.device), tokens.ends]


def first(tokens):
    """The first token of the whole row: BERT's [CLS]."""
    return tokens.states[:, 0].clone()


def maximum(tokens):
    """Largest value of each feature over the tokens that count."""
    states = tokens.states
    if not bool(tokens.counted.all()):
        states = states.masked_fill(~tokens.counted[:, :, None], float("-inf"))
    return states.amax(1)


POOLINGS = {
    "mean": Pooling(mean, join_means),
    "weighted_mean": Pooling(weighted_mean, join_weighted_means, also=("mean",)),
    "last": Pooling(last, lambda windows, n_counted: windows[-1]),
    "first": Pooling(first, lambda windows, n_counted: windows[0], takes_first=True),
    "max": Pooling(maximum, lambda windows, n_counted: windows.max(0)),
}


def pool_all(states, counted, poolings, ends=None):
    """Several poolings of the same states.

    Parameters
    ----------
    states : tensor of shape (batch, tokens, hidden)
        In any floating dtype; sums are made in float32.
    counted, ends
        As `TokenStates` takes them.
    poolings : iterable of str
        Names from ``POOLINGS``.

    Returns
    -------
    dict of str to float32 tensor of shape (batch, hidden)
    """
    tokens = TokenStates(states.float(), counted, ends)
    return {name: POOLINGS[name].pool(tokens) for name in poolings}


def poolings_of_windows(poolings):
    """What windows must be pooled by, so that whole texts have these poolings.

    Examples
    --------
    >>> from sklearn_llm2vec._network.pooling import poolings_of_windows
    >>> poolings_of_windows(["last", "weighted_mean"])
    ['last', 'mean', 'weighted_mean']
    """
    return sorted({one for name in poolings for one in (name, *POOLINGS[name].also)})


def join_windows(pooled, n_counted, pooling):
    """The vector of a text from those of its windows, or those of several texts.

    Parameters
    ----------
    pooled : dict of str to float32 ndarray of shape (windows, [texts,] hidden)
        Vectors of the windows in order, for each of `poolings_of_windows`.
    n_counted : array-like of int, shape (windows, [texts])
        Tokens that count in each window.
    pooling : str

    Returns
    -------
    float32 ndarray of shape ([texts,] hidden)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec._network.pooling import join_windows
    >>> windows = {"mean": np.array([[1.0], [4.0]], np.float32)}
    >>> join_windows(windows, [2, 1], "mean")
    array([2.], dtype=float32)
    """
    import numpy as np

    chosen = POOLINGS[pooling]
    others = [pooled[name] for name in chosen.also]
    counts = np.array(n_counted, np.float64)[..., None]  # (windows, [texts,] 1)
    return chosen.join(pooled[pooling], counts, *others).astype(np.float32)
