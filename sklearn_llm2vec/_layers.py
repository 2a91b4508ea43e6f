"""Layers: the hidden states of a model, pooled as they are computed.

``HiddenStates`` finds a model's list of layers by what it is (as many equal modules as
the configuration has layers) and not by its name, and *proves* at load, on one small
pass, that what its hooks see is what transformers numbers ``hidden_states[k]``. A model
where that fails is run with ``output_hidden_states=True`` instead. This file doesn't
know texts, tokenizers or where a model came from.
"""

import inspect
import threading

import torch

__all__ = ["HiddenStates", "find_layers"]


class _Stop(Exception):
    """Raised by a hook after the deepest wanted layer: the pass ends there."""


def find_layers(network, n_layers):
    """The module list that holds a network's layers, or None.

    Among all lists with one module a layer the one with most parameters is taken.
    """
    lists = [
        module
        for module in network.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers
    ]
    return max(lists, key=_n_parameters, default=None)


def past_name(network):
    """What the network calls the keys and values of earlier tokens.

    transformers 5.24 renamed the argument; models with their own code keep the old name.
    """
    names = inspect.signature(network.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def _n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


class HiddenStates:
    """Runs a network and hands each wanted hidden state to a function.

    Several threads may run passes side by side: what a pass wants is kept by thread,
    never on the modules.

    Parameters
    ----------
    network : torch module
    layers : ModuleList or None
        None runs the network with ``output_hidden_states=True``.
    depth : int
        Layers that `network` has.
    last_is_output : bool
        Whether hidden state `depth` is the network's ``last_hidden_state`` (usually it
        is, after the final norm) and not the raw output of the last layer.
    """

    def __init__(self, network, layers, depth, *, last_is_output):
        self.network = network
        self.layers = layers
        self.depth = depth
        self.last_is_output = last_is_output
        self._past_name = past_name(network)
        self._pass = threading.local()
        self._hooks = []
        if layers is not None:
            for index, layer in enumerate(layers):
                before, after = self._before(index), self._after(index + 1)
                self._hooks += [
                    layer.register_forward_pre_hook(before, with_kwargs=True),
                    layer.register_forward_hook(after),
                ]

    @classmethod
    def of(cls, network, depth, whole):
        """The hidden states of a network of which `depth` of `whole` layers are loaded.

        Returns
        -------
        HiddenStates or None
            None when the network was cut and the cut can't be proved right: then it
            must be loaded whole.
        """
        layers = find_layers(network, depth)
        if layers is not None:
            for last_is_output in (True, False) if depth == whole else (False,):
                states = cls(network, layers, depth, last_is_output=last_is_output)
                # Past a cut there is no reference for the last state: its raw output
                # follows from the states before it, each the output of its layer.
                if states._proved(depth if depth == whole else depth - 1):
                    return states
                states._remove_hooks()
        if depth < whole:
            return None
        return cls(network, None, depth, last_is_output=True)

    def __call__(self, input_ids, wanted, pool, *, past=None, edit=None):
        """Run one pass.

        Parameters
        ----------
        input_ids : int tensor of shape (batch, tokens)
            All rows have the same number of tokens: no padding, no mask.
        wanted : collection of int
            Which hidden states, 0 (the embeddings) to depth.
        pool : callable
            Takes states of shape (batch, tokens, hidden), returns what is kept of them.
        past : transformers Cache or None
            Keys and values of tokens that stand before `input_ids`; it is filled up.
        edit : callable or None
            Takes k and hidden state k, returns what layer k is given in its place.

        Returns
        -------
        dict of int to whatever `pool` returns
        """
        more = {} if past is None else {self._past_name: past, "use_cache": True}
        if self.layers is None:
            if edit is not None:
                raise ValueError(
                    "The 'token_prepending' parameter of LLMEmbeddingTransformer must be "
                    f"None for {type(self.network).__name__}, whose layers weren't found."
                )
            output = self.network(
                input_ids=input_ids, output_hidden_states=True, **more
            )
            return {k: pool(output.hidden_states[k]) for k in sorted(wanted)}
        one = self._pass
        one.wanted, one.pool, one.kept = frozenset(wanted), pool, {}
        one.edit = edit
        one.deepest = max(wanted)
        needs_output = self.last_is_output and one.deepest == self.depth
        one.stop = not needs_output
        try:
            output = self.network(input_ids=input_ids, **more)
            if needs_output:
                one.kept[self.depth] = pool(output.last_hidden_state)
        except _Stop:
            pass
        finally:
            kept = one.kept
            one.__dict__.clear()
        return kept

    def cut(self, depth):
        """Let go of the layers after `depth`; passes stop there from now on."""
        if self.layers is not None and depth < self.depth:
            del self.layers[depth:]
            self.depth, self.last_is_output = depth, False

    def _before(self, k):
        def hook(module, args, kwargs):
            states = args[0] if args else kwargs["hidden_states"]
            if k == 0 and 0 in getattr(self._pass, "wanted", ()):
                self._take(0, states)
            edit = getattr(self._pass, "edit", None)
            if edit is None:
                return None
            if args:
                return (edit(k, states), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": edit(k, states)}

        return hook

    def _after(self, k):
        def hook(module, args, output):
            self._take(k, output[0] if isinstance(output, tuple) else output)

        return hook

    def _take(self, k, states):
        one = self._pass
        wanted = getattr(one, "wanted", ())
        if k in wanted and not (k == self.depth and self.last_is_output):
            one.kept[k] = one.pool(states)  # states: (batch, tokens, hidden)
        if wanted and k == one.deepest and one.stop:
            raise _Stop

    @torch.inference_mode()
    def _proved(self, last):
        """Whether the states 0 to `last` are those that transformers returns."""
        vocabulary = self.network.get_input_embeddings().weight.shape[0]
        device = next(self.network.parameters()).device
        # 16 tokens: fewer would be computed by another kernel, and compare worse.
        ids = (torch.arange(16, device=device) * 7 + 5).remainder(vocabulary)[None]
        try:
            reference = self.network(input_ids=ids, output_hidden_states=True)
            mine = self(ids, range(last + 1), lambda states: states.clone())
        except (KeyError, IndexError, AttributeError, TypeError):
            return False
        theirs = reference.hidden_states
        if theirs is None or len(theirs) != self.depth + 1:
            return False
        return all(
            k in mine
            and mine[k].shape == theirs[k].shape
            and torch.allclose(mine[k], theirs[k], rtol=1e-4, atol=1e-5)
            for k in range(last + 1)
        )

    def _remove_hooks(self):
        for hook in self._hooks:
            hook.remove()
