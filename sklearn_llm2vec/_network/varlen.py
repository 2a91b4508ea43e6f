"""Varlen: rows of several lengths go through a network as one sequence, without padding.

They stand one behind the other, each with positions from its own start. Products then
have the rows of all texts, however different their lengths, and only attention goes
length by length: no token sees another text. Few networks say whether they can be run
like this, so it is proved, bit for bit, on tokens of several lengths, and what fails
(positions that aren't asked for, windows shorter than a row, recurrent layers) isn't. A
twin of the network, which shares its weights, runs such passes: the network itself stays
as it is.
"""

import copy
import threading
import weakref
from contextlib import contextmanager

import torch
import transformers

from sklearn_llm2vec._common.imports import quiet
from sklearn_llm2vec._network.layers import HiddenStates, find_layers, some_ids
from sklearn_llm2vec._network.threads import in_parallel

NAME = "sklearn_llm2vec_varlen"
# Of a pass: as many as the proof has, since networks may look at a token's place.
MOST_TOKENS = 1024
# Tokens after which such passes are tried: the proof takes about as long.
WORTH_A_PROOF = 2048
# Shapes (rows, tokens) of the proof; numbers of tokens are no multiples of anything, as
# texts have them. The first find most of what can't be run like this, and cost little.
# Longer rows than those of the second fill the products by themselves; the third is for
# networks with short windows.
FIRST = (1, 19), (2, 17)
LONG = (1, 256), (2, 137), (3, 101), (5, 31), (2, 18)
SHORT = (3, 64), (5, 61), (7, 37), (10, 23), (2, 19)

# The shapes (rows, tokens) of the thread's sequence, while it is in a network.
_here = threading.local()
# By the states of a network: its `Varlen`, or None where it can't be run like this; and
# tokens that went through alone until then and might have had company.
_proved = weakref.WeakKeyDictionary()
_alone = weakref.WeakKeyDictionary()


def varlen_of(states, n_tokens):
    """Passes of rows of several lengths, or None where that isn't proved, or not yet.

    Parameters
    ----------
    states : HiddenStates
    n_tokens : int
        Of the rows that wait. The first thousands go through length by length: for a few
        texts the proof would take longer than they do.

    Returns
    -------
    Varlen or None
    """
    if states not in _proved:
        _alone[states] = _alone.get(states, 0) + n_tokens
        if _alone[states] < WORTH_A_PROOF:
            return None
        # In a thread as passes have it.
        return next(in_parallel(_prove, [states], 1))
    return _proved[states]


def _prove(states):
    # Taken here and not by the caller: the thread that it would wait for may hold it.
    with quiet():
        if states not in _proved:
            _proved[states] = Varlen.of(states)
        return _proved[states]


class Varlen:
    """Runs rows of several lengths through a network in one pass.

    Parameters
    ----------
    states : HiddenStates
        Of the network's twin.
    padding : int or None
        The padding token of a network that counts positions from behind it, as RoBERTa
        does, and gives such tokens in a text none; else positions are 0, 1, 2, ...

    Attributes
    ----------
    longest : int
        Tokens of the longest row that it was proved for.
    """

    def __init__(self, states, padding):
        self._states = states
        self.padding = padding
        self.longest = 0

    @classmethod
    def of(cls, states):
        """The passes of a network, or None when it can't be run in this way."""
        config = states.network.config
        if config._attn_implementation != "sdpa":
            return None
        padding = getattr(config.get_text_config(), "pad_token_id", None)
        try:
            twin = _twin(states)
        except Exception:  # what a network of foreign code is made of may not be copied
            return None
        for counts_from in dict.fromkeys((None, padding)):
            varlen = cls(twin, counts_from)
            if varlen._proved(states, FIRST):
                for shapes in (LONG, SHORT):
                    if varlen._proved(states, shapes):
                        varlen.longest = max(n_tokens for _, n_tokens in shapes)
                        return varlen
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
    def _proved(self, states, shapes):
        """Whether all states have the bits that they have without company."""
        layers = range(states.depth + 1)
        ids = self._probe(states.network, shapes)
        # One row more at the end of each pass, as `HiddenStates.has_odd_widths` asks for.
        longer = [torch.cat([part, part[-1:]]) for part in ids]
        try:
            together = self(
                [*ids[:-1], longer[-1]],
                layers,
                lambda parts: [part.clone() for part in parts],
            )
            for n, part in enumerate(ids):
                alone = states(longer[n], layers, torch.clone)
                for k in layers:
                    if not torch.equal(
                        alone[k][: len(part)], together[k][n][: len(part)]
                    ):
                        return False
        except Exception:  # foreign code may raise what it likes
            return False
        return True

    def _probe(self, network, shapes):
        """Rows of different tokens, and in each one of those that networks look for."""
        config = network.config.get_text_config()
        known = [
            getattr(config, f"{name}_token_id", None)
            for name in ("pad", "mask", "bos", "eos", "cls", "sep", "unk")
        ]
        vocabulary = network.get_input_embeddings().weight.shape[0]
        # Some say -1 for none, others a list, and some an id that they have no room for.
        known = [i for i in known if isinstance(i, int) and i != self.padding]
        special = [i for i in known if 0 <= i < vocabulary]
        probe = [some_ids(network, n_rows, n_tokens) for n_rows, n_tokens in shapes]
        for part in probe:
            if self.padding is not None:
                part[part == self.padding] += 1
            for n, row in enumerate(part):
                if special:
                    row[5 + n] = special[n % len(special)]
        return probe


def _twin(states):
    """The same network again, with the same weights, and an attention of its own."""
    network = states.network
    shared = [states, *network.parameters(), *network.buffers()]
    for module in network.modules():
        # Of a packed layer the parameter is an empty stand-in, and the numbers are what
        # `pack` gave to its forward: without this line the copy would have its own.
        shared += getattr(vars(module).get("forward"), "args", ())
    twin = copy.deepcopy(network, {id(one): one for one in shared})
    layers = None
    if states.layers is not None:
        layers = find_layers(twin, states.depth)
        for module in (twin.get_input_embeddings(), *layers):  # the hooks of `states`
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()
    # Without a function for masks of that name, transformers makes none.
    transformers.AttentionInterface.register(NAME, _attention)
    twin.set_attn_implementation(NAME)
    return HiddenStates(
        twin, layers, states.depth, last_is_output=states.last_is_output
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
    """The sdpa of transformers, once for each length; no row needs a mask."""
    # query, key, value: (1, heads, all tokens, width of a head)
    shapes = _here.shapes
    by_length = [
        [part.transpose(1, 2) for part in _by_length(one[0].transpose(0, 1), shapes)]
        for one in (query, key, value)
    ]  # (rows, heads, tokens, width of a head)
    sdpa = transformers.AttentionInterface()["sdpa"]
    made = [
        sdpa(module, *parts, None, **options)[0].flatten(0, 1)
        for parts in zip(*by_length, strict=True)
    ]  # (rows x tokens, heads, width of a head)
    return torch.cat(made)[None], None
