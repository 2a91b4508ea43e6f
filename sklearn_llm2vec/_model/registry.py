"""The models that a process holds: the clones of an estimator share one copy."""

import os
from collections import OrderedDict

import torch

from sklearn_llm2vec._common.imports import loading
from sklearn_llm2vec._model.devices import check_device
from sklearn_llm2vec._model.loading import LoadedModel, is_switched, load
from sklearn_llm2vec._network.memory import total_memory

# Used longest ago first.
models: "OrderedDict[tuple, LoadedModel]" = OrderedDict()


def loaded_model(model, *, depth, dtype, device, attention="auto", adapters=()):
    """The registry's copy that can serve hidden state `depth`, or None."""
    with loading:
        found = models.get(_key(model, dtype, device, attention, adapters))
        return found if found is not None and found.depth >= depth else None


def load_model(model, *, depth, dtype, device, attention="auto", adapters=()):
    """Load a model, or take it from the registry of this process.

    Parameters
    ----------
    model : ModelFolder
    depth : int
        Deepest hidden state that is wanted; deeper layers aren't loaded. A deeper copy
        in the registry serves too, a shallower one is replaced.
    dtype, device : str
    attention : {"auto", "causal", "bidirectional"}, default="auto"
        "auto" is what the model was made for.
    adapters : sequence of AdapterFolder or TrainedAdapter
        Merged into the model, in order.

    Returns
    -------
    LoadedModel

    Raises
    ------
    ValueError
        When the weights in the folder don't fill the layers that are needed, a causal
        model can't be made bidirectional, or there is no such device.
    """
    check_device(device)
    with loading:
        key = _key(model, dtype, device, attention, adapters)
        found = models.pop(key, None)
        if found is None or found.depth < depth:
            found = None  # lets go of the shallower copy before the next is made
            make_room(model.n_bytes, device)
            found = load(model, depth, dtype, device, attention, adapters)
        models[key] = found
        return found


def forget_models():
    """Empty the registry: the memory of all loaded models is given back."""
    with loading:
        models.clear()


def make_room(n_bytes, device="cpu"):
    """Let go of a device's models used longest ago until half its memory has room.

    Parameters
    ----------
    n_bytes : int
        That are wanted.
    device : str
        Copies of a model on several devices don't push each other out.
    """
    device = torch.device(device)
    limit = memory_bytes(device) // 2
    here = [key for key, model in models.items() if model.device == device]
    used = n_bytes + sum(models[key].n_bytes for key in here)
    for key in here:
        if used <= limit:
            break
        used -= models.pop(key).n_bytes


def memory_bytes(device):
    """Bytes of memory that a device has in all; 16 GiB where nobody says."""
    if device.type != "cpu" and (total := total_memory(device)) is not None:
        return total
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 16 * 2**30


def _key(model, dtype, device, attention, adapters):
    return (
        tuple(adapter.digest for adapter in adapters),
        is_switched(model, attention),
        model.weights_digest,
        model.config_digest,
        model.tokenizer_digest,
        dtype,
        str(device),
    )
