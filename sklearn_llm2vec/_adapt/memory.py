"""Memory of a training: how large a pass may be, and which models can't be trained."""

import psutil
import torch

from sklearn_llm2vec._adapt.batches import padded
from sklearn_llm2vec._adapt.gradients import kept_bytes
from sklearn_llm2vec._common.people import format_bytes
from sklearn_llm2vec._network.memory import free_memory

# Larger passes make nothing faster on a CPU, but for a batch that needs only one: its
# vectors needn't be computed twice.
CPU_BYTES = 2 * 2**30
# Of the free memory; the rest is for gradients, and for whoever else is on the machine.
SHARE = 0.5


def tokens_that_fit(network, batches):
    """How many tokens a pass may have, padding included.

    The longest row goes through the network once, and what is kept of it for the backward
    pass is counted.

    Parameters
    ----------
    network : peft model
    batches : Batches

    Returns
    -------
    tokens_a_pass : int
        Of a batch that needs several passes.
    tokens_at_once : int
        Of a whole batch that goes through the network in one pass.
    """
    row = padded([batches.longest], batches.pad_id)
    device = network.device
    n_tokens = row["input_ids"].shape[1]
    kept = kept_bytes(network, {name: part.to(device) for name, part in row.items()})
    whole = int(SHARE * free_bytes(device))
    part = min(whole, CPU_BYTES) if device.type == "cpu" else whole
    return tuple(max(n_tokens, n_tokens * budget // kept) for budget in (part, whole))


def check_fits(stage, source):
    """Refuse a model that can't be trained here, before anything is loaded.

    Parameters
    ----------
    stage : Stage
    source : Source

    Raises
    ------
    MemoryError
        When the weights and a single text need more than is free.

    Notes
    -----
    A text's activations take ``34 s h + 5 a s^2`` bytes a layer at 16 bits, for s tokens,
    hidden size h and a heads (Korthikanti et al., 2022, arXiv 2205.05198, eq. 2).
    """
    model = source.model
    n_tokens = min(stage.max_length, source.spec.max_length)
    heads = max(1, model.hidden_size // 64)
    a_layer = 34 * n_tokens * model.hidden_size + 5 * heads * n_tokens**2
    text = 2 * a_layer * model.n_layers
    free = free_bytes(torch.device(source.device))
    if model.n_bytes + text <= free:
        return
    raise MemoryError(
        f"Adapting {model.name!r} needs at least {format_bytes(model.n_bytes + text)} "
        f"of memory: {format_bytes(model.n_bytes)} for its weights and "
        f"{format_bytes(text)} for one text of {n_tokens} tokens. "
        f"{format_bytes(free)} are free on {source.device}: choose a smaller model, "
        "or set a smaller 'max_length' in the LLM2VecRecipe."
    )


def free_bytes(device):
    """Bytes of a device's memory that nobody uses now."""
    free = None if device.type == "cpu" else free_memory(device)
    return psutil.virtual_memory().available if free is None else free
