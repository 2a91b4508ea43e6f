"""Layers: the hidden states of a model, pooled as they are computed.

``HiddenStates`` finds a model's list of layers by what it is (as many equal modules as
the configuration has layers) and not by its name, and *proves* at load, on one small
pass, that what its hooks see is what transformers numbers ``hidden_states[k]``.

A model where that fails is run without hooks, with ``output_hidden_states=True``: all
its layers are loaded and computed. Of the architectures tried these are ALBERT, which
runs one layer again and again; XLM and FlauBERT, whose attentions and feed-forward parts
lie in lists of their own; XLNet and SqueezeBERT, inside of which states are laid out
otherwise; OpenAI GPT, whose layers return lists; Mamba and RWKV, which number states from
behind their first layer.
"""

import functools
import inspect
import threading
from contextlib import contextmanager

import torch

# The k of an edit for the token embeddings, before the network scales or norms them.
EMBEDDINGS = -1


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


def loaded_layers(network):
    """The module list of those layers that a network holds, or None.

    A network that was cut keeps the configuration of the whole; see ``load_network``.
    """
    whole = network.config.get_text_config().num_hidden_layers
    return find_layers(network, getattr(network, "n_layers_loaded", whole))


def _past_name(network):
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
        self._past_name = _past_name(network)
        self._pass = threading.local()
        self._hooks = []
        self._put_hooks()

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
        ids, theirs = _reference(network)
        if theirs is not None and theirs[0].ndim != 3:
            raise ValueError(
                "The 'model' parameter of LLMEmbeddingTransformer must name a model "
                f"with one state per token and layer. {type(network).__name__} has "
                f"states of shape {tuple(theirs[0].shape)} for {ids.shape[1]} tokens: "
                "choose another model."
            )
        if theirs is not None and depth == whole:
            _refuse_other_width(network, theirs)
        if layers is not None and theirs is not None and len(theirs) == depth + 1:
            for last_is_output in (True, False) if depth == whole else (False,):
                states = cls(network, layers, depth, last_is_output=last_is_output)
                # Past a cut there is no reference for the last state: its raw output
                # follows from the states before it, each the output of its layer.
                last = depth if depth == whole else depth - 1
                if states._proved(ids, theirs[: last + 1]):
                    return states
                states._remove_hooks()
        if depth < whole:
            return None
        return cls(network, None, depth, last_is_output=True)

    def __call__(
        self,
        input_ids,
        wanted,
        pool,
        *,
        mask=None,
        positions=None,
        past=None,
        edit=None,
    ):
        """Run one pass.

        Parameters
        ----------
        input_ids : int tensor of shape (batch, tokens)
        wanted : collection of int
            Which hidden states, 0 (the embeddings) to depth.
        pool : callable
            Takes states of shape (batch, tokens, hidden), returns what is kept of them.
        mask : bool tensor of shape (batch, tokens) or None
            False for padding, which stands on the right. None where there is none, or
            where the tokens before it can't see it.
        positions : int tensor of shape (batch, tokens) or None
            None lets the network count them.
        past : transformers Cache or None
            Keys and values of tokens that stand before `input_ids`; it is filled up.
        edit : callable or None
            Takes k and hidden state k, returns what layer k is given in its place. With
            k = -1 it is given the token embeddings, before the network scales or norms
            them or adds positions.

        Returns
        -------
        dict of int to whatever `pool` returns
        """
        more = {} if past is None else {self._past_name: past, "use_cache": True}
        if mask is not None:
            more["attention_mask"] = mask.long()
        if positions is not None:
            more["position_ids"] = positions
        if self.layers is None:
            if edit is not None:
                raise ValueError(
                    "The 'token_prepending' parameter of LLMEmbeddingTransformer must be "
                    f"None for {type(self.network).__name__}, whose layers weren't found."
                )
            output = self.network(
                input_ids=input_ids, output_hidden_states=True, **more
            )
            found = _states_of(output)
            return {k: pool(found[k]) for k in sorted(wanted)}
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

    @functools.cached_property
    def has_odd_widths(self):
        """Whether some layer's width is no multiple of 32.

        Activations such as SiLU are computed 32 numbers at a time, and what is left at
        the end of a tensor by another routine, whose last bit may differ. With such a
        width the end falls into the last text of a batch, unless another row is behind.
        """
        return any(
            width % 32
            for module in self.network.modules()
            if not isinstance(module, torch.nn.Embedding)
            for parameter in module.parameters(recurse=False)
            if parameter.ndim == 2
            for width in parameter.shape
        )

    @torch.inference_mode()
    def of_some_tokens(self):
        """Every hidden state of 16 tokens, to compare before a change and after it.

        Returns
        -------
        list of tensors of shape (1, 16, hidden)
        """
        wanted = range(self.depth + 1)
        found = self(some_ids(self.network), wanted, lambda states: states.clone())
        return [found[k] for k in wanted]

    def cut(self, depth):
        """Let go of the layers after `depth`; passes stop there from now on."""
        if self.layers is not None and depth < self.depth:
            del self.layers[depth:]
            self.depth, self.last_is_output = depth, False
            self.network.n_layers_loaded = depth

    def _edit_embeddings(self, module, args, output):
        edit = getattr(self._pass, "edit", None)
        return None if edit is None else edit(EMBEDDINGS, output)

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
    def _proved(self, ids, theirs):
        """Whether the hooks see the states that transformers returns, `theirs`."""
        try:
            mine = self(ids, range(len(theirs)), lambda states: states.clone())
        except (KeyError, IndexError, AttributeError, TypeError):
            return False
        return all(
            k in mine
            and mine[k].shape == state.shape
            and torch.allclose(mine[k], state, rtol=1e-4, atol=1e-5)
            for k, state in enumerate(theirs)
        )

    @contextmanager
    def unhooked(self):
        """Without hooks the network may be changed, and modules in it replaced."""
        self._remove_hooks()
        try:
            yield
        finally:
            self._put_hooks()

    def _put_hooks(self):
        if self.layers is None:
            return
        embed = self.network.get_input_embeddings()
        self._hooks.append(embed.register_forward_hook(self._edit_embeddings))
        for index, layer in enumerate(self.layers):
            before, after = self._before(index), self._after(index + 1)
            self._hooks += [
                layer.register_forward_pre_hook(before, with_kwargs=True),
                layer.register_forward_hook(after),
            ]

    def _remove_hooks(self):
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()


def _refuse_other_width(network, states):
    """OPT-350m, for one, makes its last state narrower than the others."""
    width, last = states[0].shape[-1], states[-1].shape[-1]
    if width != last:
        raise ValueError(
            "The 'layer' parameter of LLMEmbeddingTransformer must be less than the "
            f"number of layers for {type(network).__name__} with these sizes: its last "
            f"hidden state has {last} features, the others {width}. Choose an earlier "
            "layer, such as -2."
        )


@torch.inference_mode()
def _reference(network):
    """Some tokens and the hidden states that transformers returns for them, or None."""
    ids = some_ids(network)
    try:
        output = network(input_ids=ids, output_hidden_states=True)
        return ids, _states_of(output)
    except (KeyError, IndexError, AttributeError, TypeError):
        return ids, None


def _states_of(output):
    """Hidden states 0 to the last, which is what the network gives out; or None.

    Some (CLIP's) leave the final norm out of ``hidden_states[-1]``.
    """
    states, last = output.hidden_states, output.last_hidden_state
    if states is None or last.shape != states[-1].shape:
        return states
    return (*states[:-1], last)


def some_ids(network, n_rows=1, n_tokens=16):
    """Different tokens of a network's vocabulary, to try something on.

    16 by default: fewer would be computed by another kernel, and compare worse.

    Returns
    -------
    int tensor of shape (n_rows, n_tokens), on the network's device
    """
    vocabulary = network.get_input_embeddings().weight.shape[0]
    device = next(network.parameters()).device
    ids = torch.arange(n_rows * n_tokens, device=device) * 7 + 5
    return ids.remainder(vocabulary).reshape(n_rows, n_tokens)


def agree(one, other, tolerance):
    """Whether states are equal but for so much of the largest number in the first."""
    one, other = one.float(), other.float()
    return bool((one - other).abs().max() <= tolerance * one.abs().max())
