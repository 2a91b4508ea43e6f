"""What the installed transformers computes for a configuration, as a digest.

Versions of transformers differ in what they compute for one ``config.json``: an entry
that is read or ignored, a rotary scaling, a mask, an activation. Vectors of two versions
may share a cache only if both compute the same. So the architecture is made small, with
weights that follow from a formula, and a few tokens go through it; the digest of what
comes out, rounded, is a part of a vector's identity.
"""

import copy
import hashlib
import math

from sklearn_llm2vec._common.imports import quiet
from sklearn_llm2vec._model.config import auto_config, text_config
from sklearn_llm2vec._model.damage import is_of_files

# What decides the size of a network, not what it computes: made small. Heads keep their
# size, on which lists of rotary factors depend.
N_HEADS = 2
SMALL = {
    "vocab_size": 96,
    "intermediate_size": 64,
    "ffn_dim": 64,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "decoder_layers": 1,
    "d_ff": 64,
    "n_inner": 64,
    "ffn_hidden_size": 64,
    "hidden_dim": 64,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "num_local_experts": 4,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "type_vocab_size": 2,
    "vocab_size_per_layer_input": 96,
}
# Windows smaller than the tokens that go through, so that they cut.
WINDOWS = ("sliding_window", "local_attention", "attention_chunk_size", "window_size")
N_TOKENS = 24
# Larger networks than this aren't run.
MOST_PARAMETERS = 20_000_000
MOST_IN_TABLES = 200_000_000
# Sums of float32 numbers differ between CPUs by about 1e-7 of them.
DIGITS = 3


def arithmetic_digest(folder, trust_remote_code):
    """Digest of what a small network of a folder's architecture computes.

    Parameters
    ----------
    folder : Path
        Holds ``config.json``.
    trust_remote_code : bool

    Returns
    -------
    str or None
        None where no small network can be made.

    Raises
    ------
    MemoryError, OSError, RuntimeError
        When the machine fails: what it could compute another time isn't known then.
    """
    config = text_config(auto_config(folder, trust_remote_code))
    code = {"trust_remote_code": True} if trust_remote_code else {}
    # Twice, since what failed once may have been disturbed by another thread, or by a
    # warning that is given once and made an error. The answer is kept for good.
    warned = None
    for make_small in (_made_small, _with_few_layers) * 2:
        try:
            with quiet():
                states = _run(make_small(config), code)
        except Exception as error:
            # Sizes may depend on each other. What an architecture raises then, its own
            # code or the check of its configuration, has no class in common.
            warned = error if isinstance(error, Warning) else None
            if warned is None and not is_of_files(error, MemoryError):
                raise
            continue
        if states is not None:
            return hashlib.sha256(_rounded(states).encode()).hexdigest()
    if warned is not None:
        raise warned
    return None


def _made_small(config):
    small = _with_few_layers(config)
    n_heads = getattr(small, "num_attention_heads", None)
    if not isinstance(n_heads, int) or n_heads <= N_HEADS:
        return small
    head = small.hidden_size // n_heads
    n_kv = getattr(small, "num_key_value_heads", None)
    if isinstance(n_kv, int):
        small.num_key_value_heads = N_HEADS if n_kv == n_heads else 1
    small.hidden_size = N_HEADS * head
    small.num_attention_heads = N_HEADS
    for name, size in SMALL.items():
        if isinstance(getattr(small, name, None), int):
            setattr(small, name, min(size, getattr(small, name)))
    return small


def _with_few_layers(config):
    """A copy with a layer of each kind, two at least."""
    small = copy.deepcopy(config)
    kinds = list(getattr(small, "layer_types", None) or ())
    chosen = [kinds.index(kind) for kind in dict.fromkeys(kinds)]
    n_layers = max(2, len(chosen))
    small.num_hidden_layers = n_layers
    if len(kinds) > n_layers and "layer_types" in vars(small):
        small.layer_types = [kinds[i] for i in chosen] + kinds[: n_layers - len(chosen)]
    for name in WINDOWS:
        if isinstance(getattr(small, name, None), int):
            setattr(small, name, min(8, getattr(small, name)))
    for name in ("pad", "bos", "eos", "cls", "sep"):
        token = getattr(small, f"{name}_token_id", None)
        if isinstance(token, int) and token >= SMALL["vocab_size"]:
            setattr(small, f"{name}_token_id", 0)
    small.use_cache = False
    return small


def _run(small, code):
    """Last hidden states of some tokens, (tokens, hidden); None for a large network."""
    import torch

    with torch.device("meta"):
        blank = _network(small, code)
        n_parameters = sum(part.numel() for part in blank.parameters())
        n_in_tables = sum(part.numel() for part in blank.buffers())
    if n_parameters > MOST_PARAMETERS or n_in_tables > MOST_IN_TABLES:
        return None
    # Initial weights are drawn at random: not from the numbers that the user draws from.
    with torch.random.fork_rng(devices=[]):
        network = _network(small, code).float().eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(_weights(name, parameter.shape))
        n_ids = min(96, small.vocab_size)
        ids = torch.arange(7, 7 + 3 * N_TOKENS, 3) % (n_ids - 1) + 1
        states = network(input_ids=ids[None]).last_hidden_state[0]
    if not torch.isfinite(states).all():
        return None
    return states


def _network(small, code):
    from transformers import AutoModel

    network = AutoModel.from_config(copy.deepcopy(small), **code)
    if getattr(small, "is_encoder_decoder", False):
        return network.get_encoder()
    return network


def _weights(name, shape):
    """Weights by a formula: the same in every version and on every machine."""
    import torch

    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    steps = torch.arange(math.prod(shape), dtype=torch.float64)
    # The fractional parts of multiples of an irrational number are spread evenly.
    spread = (start + steps * 0.6180339887498949) % 1 * 2 - 1
    if len(shape) < 2:
        return (1 + 0.2 * spread if name.endswith("weight") else 0.1 * spread).reshape(
            shape
        )
    return (spread * (3 / shape[-1]) ** 0.5).reshape(shape)


def _rounded(states):
    """A few sums over the states as text, to so many digits as all machines share."""
    states = states[:, : states.shape[1] // 2 * 2].double()
    scale = float(states.square().mean().sqrt())
    chosen = states[:: max(1, len(states) // 8)]  # (some tokens, hidden)
    signs = (-1.0) ** (states.new_tensor(range(states.shape[1])))
    sums = (chosen * signs).mean(1) / scale * states.shape[1] ** 0.5
    return " ".join(f"{value:.{DIGITS}f}" for value in sums.tolist())
