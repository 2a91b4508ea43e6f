"""Varlen: rows of several lengths go through a network as one sequence, without padding.

They stand one behind the other, each with positions from its own start. Products then
have the rows of all texts, however different their lengths, and only attention goes
length by length: no token sees another text. Few networks say whether they can be run
like this, so it is proved, bit for bit, on tokens of several lengths, and what fails
(positions that aren't asked for, windows shorter than a row, recurrent layers) is left
alone. This file knows ids and states; it doesn't know texts or why their lengths differ.
"""

import threading
from contextlib import contextmanager

import torch
from transformers import AttentionInterface, AttentionMaskInterface

from sklearn_llm2vec._layers import some_ids

__all__ = ["Varlen"]

NAME = "sklearn_llm2vec_varlen"
# Longest rows that are tried: longer ones fill the products by themselves. The second is
# for networks with short windows.
LONGEST = (256, 64)

FAILURES = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)

# The shapes (rows, tokens) of the thread's sequence, while it is in a network.
_here = threading.local()


class Varlen:
    """Runs rows of several lengths through a network in one pass.

    Parameters
    ----------
    states : HiddenStates
    longest : int
        Tokens of the longest row.
    padding : int or None
        The padding token of a network that counts positions from behind it, as RoBERTa
        does, and gives such tokens in a text none; else positions are 0, 1, 2, ...
    """

    def __init__(self, states, longest, padding):
        self._states = states
        self.longest = longest
        self.padding = padding

    @classmethod
    def of(cls, states):
        """The passes of a network, or None when it can't be run in this way."""
        network = states.network
        if network.config._attn_implementation not in ("sdpa", NAME):
            return None
        padding = getattr(network.config.get_text_config(), "pad_token_id", None)
        try:
            network.set_attn_implementation(NAME)
            for longest in LONGEST:
                for counts_from in dict.fromkeys((None, padding)):
                    varlen = cls(states, longest, counts_from)
                    if varlen._proved():
                        return varlen
        except FAILURES:
            pass
        network.set_attn_implementation("sdpa")
        return None

    def takes(self, ids):
        """Whether a row of these ids, a list of int, may be in a pass with others."""
        return len(ids) <= self.longest and self.padding not in ids

    def __call__(self, ids, wanted, pool):
        """Run one pass.

        Parameters
        ----------
        ids : list of int tensors of shape (rows, tokens)
            One for each length.
        wanted : collection of int
            Which hidden states, as `HiddenStates` takes them.
        pool : callable
            Takes a list of states of shape (rows, tokens, hidden), one for each length;
            returns what is kept of them.

        Returns
        -------
        dict of int to whatever `pool` returns
        """
        shapes = [tuple(part.shape) for part in ids]
        first = 0 if self.padding is None else self.padding + 1
        positions = [
            torch.arange(n_tokens, device=ids[0].device).repeat(n_rows)
            for n_rows, n_tokens in shapes
        ]
        with _sequence_of(shapes):
            return self._states(
                torch.cat([part.flatten() for part in ids])[None],  # (1, all tokens)
                wanted,
                lambda hidden: pool(_by_length(hidden[0], shapes)),
                positions=torch.cat(positions)[None] + first,
            )

    @torch.inference_mode()
    def _proved(self):
        """Whether all states have the bits that they have without company."""
        states, layers = self._states, range(self._states.depth + 1)
        # Numbers of tokens that are no multiples of anything, as texts have them.
        ids = [
            some_ids(states.network, n_rows, n_tokens)
            for n_rows, n_tokens in ((1, self.longest), (2, 37), (1, 23), (3, 16))
        ]
        # One row more at the end of each pass, as `LoadedModel.has_odd_widths` asks for.
        longer = [torch.cat([part, part[-1:]]) for part in ids]
        try:
            alone = [states(part, layers, torch.clone) for part in longer]
            together = self(
                [*ids[:-1], longer[-1]],
                layers,
                lambda parts: [part.clone() for part in parts],
            )
        except FAILURES:
            return False
        return all(
            torch.equal(one[k][: len(part)], found[: len(part)])
            for k in layers
            for part, one, found in zip(ids, alone, together[k], strict=True)
        )


@contextmanager
def _sequence_of(shapes):
    _here.shapes = shapes
    try:
        yield
    finally:
        _here.shapes = None


def _by_length(tokens, shapes):
    """Views of a sequence: (all tokens, ...) to one (rows, tokens, ...) a length."""
    parts = tokens.split([n_rows * n_tokens for n_rows, n_tokens in shapes])
    return [part.unflatten(0, shape) for part, shape in zip(parts, shapes, strict=True)]


def _attention(module, query, key, value, attention_mask, **options):
    """The sdpa of transformers; in a sequence of several lengths, once for each."""
    sdpa = AttentionInterface()["sdpa"]
    shapes = getattr(_here, "shapes", None)
    if shapes is None:
        return sdpa(module, query, key, value, attention_mask, **options)
    if options.get("position_bias") is not None:
        raise ValueError("a bias of positions isn't known by length")
    # query, key, value: (1, heads, all tokens, width of a head)
    by_length = [
        [part.transpose(1, 2) for part in _by_length(one[0].transpose(0, 1), shapes)]
        for one in (query, key, value)
    ]  # (rows, heads, tokens, width of a head)
    made = [
        sdpa(module, *parts, None, **options)[0].flatten(0, 1)
        for parts in zip(*by_length, strict=True)
    ]  # (rows x tokens, heads, width of a head)
    return torch.cat(made)[None], None


def _mask(*args, **options):
    """The mask of transformers for sdpa; none in a sequence, where no row needs one."""
    if getattr(_here, "shapes", None) is not None:
        return None
    return AttentionMaskInterface()["sdpa"](*args, **options)


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _mask)
