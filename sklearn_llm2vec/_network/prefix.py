"""Prefixes: the head that all prompts share goes through a causal decoder once.

Its keys and values stand before each text as if they had been computed with it. That a
model does this right is proved before it is relied on.
"""

import copy
import weakref

import torch
import transformers

from sklearn_llm2vec._common.imports import loading
from sklearn_llm2vec._network.layers import agree, some_ids
from sklearn_llm2vec._network.memory import is_out_of_memory
from sklearn_llm2vec._network.pooling import POOLINGS, pool_all

# By the states of a network, for the ids of a prompt's head; None where they can't be
# used.
_made = weakref.WeakKeyDictionary()


def prefix_of(states, ids):
    """Keys and values of these first ids; None if the model can't go on from them.

    Computed once for each network and prompt.

    Parameters
    ----------
    states : HiddenStates
    ids : tuple of int

    Returns
    -------
    Prefix or None
    """
    with loading:
        made = _made.setdefault(states, {})
        if ids not in made:
            made[ids] = Prefix.of(states, ids)
        return made[ids]


class Prefix:
    """Keys and values of the tokens that all rows begin with.

    Parameters
    ----------
    states : HiddenStates
    ids : sequence of int

    Attributes
    ----------
    states : list of tensor of shape (1, prefix, hidden)
        The states of these tokens after 0, 1, ... layers: the same in all rows.
    """

    def __init__(self, states, ids):
        # The states aren't kept: what is known of a network mustn't keep it alive.
        self.ids = tuple(ids)
        device = next(states.network.parameters()).device
        row = torch.tensor([self.ids], device=device)  # (1, prefix)
        self._cache = transformers.DynamicCache(config=states.network.config)
        with torch.inference_mode():
            kept = states(
                row,
                range(states.depth + 1),
                lambda hidden: hidden.clone(),
                past=self._cache,
            )
        self.states = [kept[k] for k in range(states.depth + 1)]
        self._pooled = {}  # by the tokens that count

    @classmethod
    def of(cls, states, ids):
        """The prefix, or None for a model that can't go on from one."""
        try:
            prefix = cls(states, ids)
            return prefix if prefix._proved(states) else None
        except (
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            if is_out_of_memory(error):
                raise  # it says nothing of the model
            return None

    def cache(self, n_rows):
        """A copy of the keys and values for a batch; a pass may fill it up."""
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(n_rows)
        return cache

    def pooled(self, counted):
        """The vectors of the prefix alone, to be joined with those of what follows.

        Parameters
        ----------
        counted : tuple of (int, int)
            Start and stop of its tokens that count. Without any only the poolings are
            there that take the first token all the same.

        Returns
        -------
        list of dict of str to float32 ndarray of shape (hidden,)
            By pooling, for each hidden state.
        """
        if counted not in self._pooled:
            mask = torch.zeros(1, len(self.ids), dtype=torch.bool)
            for start, stop in counted:
                mask[:, start:stop] = True
            names = [n for n, one in POOLINGS.items() if counted or one.takes_first]
            self._pooled[counted] = [
                {
                    name: vector[0].cpu().numpy()
                    for name, vector in pool_all(s, mask.to(s.device), names).items()
                }
                for s in self.states
            ]
        return self._pooled[counted]

    @torch.inference_mode()
    def _proved(self, states):
        """Whether the states behind the prefix are those of a pass over everything."""
        rest = some_ids(states.network, 2, 16)
        before = torch.tensor([self.ids], device=rest.device).repeat(2, 1)

        def behind(hidden):
            return hidden[:, -16:].float()

        layers = range(states.depth + 1)
        whole = states(torch.cat([before, rest], 1), layers, behind)
        mine = states(rest, layers, behind, past=self.cache(2))
        exact = states.network.dtype == torch.float32
        tolerance = 1e-5 if exact else 5e-2  # of the largest number in a state
        return all(agree(whole[k], mine[k], tolerance) for k in layers)
