"""Memory: how many tokens fit into a pass, and what an error says that none fit."""

import weakref

import torch

# Small passes stay in a CPU's caches; an accelerator wants large ones.
CPU_TOKENS = 1024
ACCELERATOR_TOKENS = (2048, 65536)
# Of an accelerator's free memory, for one of the two passes that are under way.
MEMORY_SHARE = 0.25

# What backends say beside torch's own class of error.
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "ALLOC_FAILED",  # cuBLAS and cuDNN, which have memory of their own
    "Invalid buffer size",  # MPS
    "OUT_OF_DEVICE_MEMORY",  # XPU
    "OUT_OF_RESOURCES",
)

# By the states of a network: tokens of a pass since the memory ran out.
_most = weakref.WeakKeyDictionary()


def is_out_of_memory(error):
    """Whether torch says that a device, or this machine, has no room left."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in said for word in OUT_OF_MEMORY)
    )


def most_tokens(model):
    """Tokens of a pass: few on a CPU, on an accelerator by its free memory.

    No more than what was left when the memory ran out before.

    Parameters
    ----------
    model : LoadedModel
    """
    low, high = ACCELERATOR_TOKENS
    if model.device.type == "cpu":
        most = CPU_TOKENS
    elif (free := free_memory(model.device)) is None:
        most = 8 * low
    else:
        fit = int(MEMORY_SHARE * free / bytes_of_a_token(model.states))
        most = max(low, min(fit, high))
    return min(most, _most.get(model.states, most))


def limit_tokens(model, most):
    """Remember that the memory ran out, and how many tokens a pass may have now."""
    _most[model.states] = most


def free_memory(device):
    """Bytes that an accelerator has left; None where it doesn't say."""
    backend = getattr(torch, device.type, None)
    if device.type == "mps":
        # What the allocator keeps for later can be used.
        most = torch.mps.recommended_max_memory()
        return most - torch.mps.current_allocated_memory()
    if not hasattr(backend, "mem_get_info"):
        return None
    kept = backend.memory_reserved(device) - backend.memory_allocated(device)
    return backend.mem_get_info(device)[0] + kept


def total_memory(device):
    """Bytes that an accelerator has in all; None where it doesn't say."""
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    backend = getattr(torch, device.type, None)
    if not hasattr(backend, "mem_get_info"):
        return None
    return backend.mem_get_info(device)[1]


def bytes_of_a_token(states):
    """An upper estimate of what a token needs while a layer is computed.

    All that the largest layer's matrices give, as if nothing were let go, twice for what
    activations and norms make of it, and the states that are pooled in float32. An
    expert's matrices (3-D) count once.
    """
    network = states.network
    size = next(network.parameters()).element_size()
    hidden = hidden_size(network)
    widths = [
        sum(
            max(parameter.shape[-2:])
            for parameter in layer.parameters()
            if parameter.ndim >= 2
        )
        for layer in states.layers or ()
    ]
    return 2 * size * max(widths, default=40 * hidden) + 4 * 4 * hidden


def bytes_of_keys_and_values(states):
    """What a token leaves in all layers for those behind it, at most."""
    size = next(states.network.parameters()).element_size()
    return 2 * size * hidden_size(states.network) * max(1, states.depth)


def hidden_size(network):
    """Numbers in a state."""
    return network.config.get_text_config().hidden_size
