"""Batching: token counts become batches of texts, of one length or of several.

Neither is padded. Texts of one length make a batch for any network; those of several go
through it as one sequence (see ``_network.varlen``), which is faster where few texts have
each length. Without padding there is no attention mask: attention takes its fast kernel,
pooling is a plain reduction, no arithmetic is wasted, and a text's vector doesn't depend
on the texts beside it.
"""

import numpy as np

# A matrix product of fewer than 12 rows takes another kernel on CPU, and its sums come
# out in another order. With at least 16 tokens in a pass every pass takes the same one.
MIN_TOKENS = 16
# Fewer tokens aren't worth a pass of their own: it reads all weights.
LEAST_SHARE = 32


def exact_length_batches(lengths, token_budget):
    """Split texts into batches of one exact length each, longest first.

    Parameters
    ----------
    lengths : array-like of int, shape (n_texts,)
        Tokens of each text, at least 1.
    token_budget : int
        Most tokens of a batch. A text longer than the budget is a batch of its own.

    Yields
    ------
    ndarray of int, shape (n_rows,)
        Positions in `lengths`; all have the same length.

    Examples
    --------
    >>> from sklearn_llm2vec._encode.batching import exact_length_batches
    >>> [batch.tolist() for batch in exact_length_batches([3, 5, 3, 3], 6)]
    [[1], [0, 2], [3]]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    # Longest first: the short batches at the end even out what the threads are given.
    for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if not len(group):
            continue
        rows = max(1, int(token_budget // lengths[group[0]]))
        for start in range(0, len(group), rows):
            yield group[start : start + rows]


def varlen_batches(lengths, token_budget, n_at_once):
    """Split texts into batches of any lengths and about as many tokens, longest first.

    Parameters
    ----------
    lengths : array-like of int, shape (n_texts,)
        Tokens of each text, at least 1.
    token_budget : int
        Most tokens of a batch. A text longer than the budget is a batch of its own.
    n_at_once : int
        Batches that are worked on side by side: few tokens are shared out among them.

    Yields
    ------
    ndarray of int, shape (n_rows,)
        Positions in `lengths`, longest first.

    Examples
    --------
    >>> from sklearn_llm2vec._encode.batching import varlen_batches
    >>> [batch.tolist() for batch in varlen_batches([30, 50, 20, 60], 120, 2)]
    [[3, 1], [0, 2]]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    n_tokens = lengths.sum()
    n_batches = max(1, -(-n_tokens // token_budget))
    n_batches = -(-n_batches // n_at_once) * n_at_once
    enough = max(LEAST_SHARE, -(-n_tokens // n_batches))
    start = n_here = 0
    for stop, length in enumerate(lengths[order]):
        if stop > start and (n_here >= enough or n_here + length > token_budget):
            yield order[start:stop]
            start, n_here = stop, 0
        n_here += length
    if start < len(order):
        yield order[start:]


def fill_rows(n_tokens, n_tokens_of_a_row):
    """Rows to add (repeats of one) so that a pass has ``MIN_TOKENS`` tokens.

    Examples
    --------
    >>> from sklearn_llm2vec._encode.batching import fill_rows
    >>> fill_rows(5, n_tokens_of_a_row=5), fill_rows(20, n_tokens_of_a_row=5)
    (3, 0)
    """
    return max(0, -(-(MIN_TOKENS - n_tokens) // n_tokens_of_a_row))


def canonical_length(n_tokens):
    """The length that a row of so many tokens is given on an accelerator.

    There small batches cost as much as large ones, so lengths are rounded up to a few:
    multiples of 8 up to 128, of 16 up to 256, of 32 up to 512 and so on. It follows from
    the text alone, so that the texts beside it change nothing.

    Examples
    --------
    >>> from sklearn_llm2vec._encode.batching import canonical_length
    >>> [canonical_length(n) for n in (1, 8, 30, 65, 200, 512)]
    [8, 8, 32, 72, 208, 512]
    """
    step = max(8, 2 ** ((n_tokens - 1).bit_length() - 4))
    return -(-n_tokens // step) * step
