"""Packing: a network's matrices laid out once as the CPU's product wants them.

torch hands a linear layer's weight to the matrix product as it lies and copies the bias
into the result first. oneDNN, which comes with torch, can keep the weight in its own
order of blocks: measured on two CPUs' instruction sets (AVX2, AVX-512) its products are
then up to 35 % faster, and a row's result has the same bits for any number of rows from 2
on and, where sums aren't very long, any number of threads. So threads without a pass of
their own may compute some. In bfloat16, small models become a tenth faster, and the bits
are those of the plain products. Packed weights take the place of the plain ones, and
memory stays the same.
"""

import functools
import platform

import torch

from sklearn_llm2vec._network.threads import on_idle_threads

# Smaller products are over before oneDNN has prepared itself.
MIN_WEIGHTS = 2**16
# What is worth another thread: rows x weights, a twentieth of a millisecond.
MIN_PRODUCTS = 2**22
# Of a long sum for few results (20,480 numbers for 128) oneDNN gives each thread a part,
# and the bits follow from how many there are.
LONGEST_SUM = 2**14


def can_pack(device, dtype):
    """Whether oneDNN's packed products were measured for this device and dtype.

    Parameters
    ----------
    device : torch.device
    dtype : torch.dtype
    """
    measured = {torch.float32: True, torch.bfloat16: _measured_bfloat16()}
    return (
        device.type == "cpu"
        and measured.get(dtype, False)
        and platform.machine() in ("x86_64", "AMD64")
        # With AVX alone a row's bits depend on how many there are.
        and torch.backends.cpu.get_cpu_capability().startswith(("AVX2", "AVX512"))
        and torch.backends.mkldnn.is_available()
    )


def _measured_bfloat16():
    """Whether products of bfloat16 numbers use the instructions they were measured with.

    On CPUs without any, packing wasn't measured; on those with AMX, neither was whether a
    row's bits depend on how many rows there are.
    """
    # Private names of torch: with a release that lacks them, products stay plain.
    has = [
        getattr(torch.cpu, name, bool)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    return has == [True, False]


@torch.no_grad()
def pack(network):
    """Pack the weights of a network's linear layers, one after the other, in place.

    A packed layer's ``weight`` is a tensor of the same shape on the device "meta": it
    still says how large it is. Code that computes with it itself fails or gets nonsense,
    so compare what the network computes before and after.

    Returns
    -------
    list of torch modules
        Those that were packed, for `unpack`.
    """
    packed = []
    for module in network.modules():
        weight = _plain_weight(module)
        if weight is None or weight.numel() < MIN_WEIGHTS:
            continue
        blocks = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        # On the module and not in its class: other networks have the same class. The
        # twins of ``varlen`` share the blocks with a network by looking into ``args``.
        module.forward = functools.partial(_product, blocks, module.bias)
        module.weight = torch.nn.Parameter(
            torch.empty_like(module.weight, device="meta"), requires_grad=False
        )
        packed.append(module)
    return packed


@torch.no_grad()
def unpack(modules):
    """Give packed modules their plain weights again: the same numbers."""
    for module in modules:
        weight = module.forward.args[0].to_dense()  # (out, in)
        if not isinstance(module, torch.nn.Linear):
            weight = weight.t().contiguous()
        module.weight = torch.nn.Parameter(weight, requires_grad=False)
        del module.forward


def _plain_weight(module):
    """A linear layer's weight as (out, in), or None for anything else.

    Subclasses of torch's layer may do more than the product, and keep theirs.
    """
    if "forward" in vars(module):
        return None
    if type(module) is torch.nn.Linear:
        return module.weight
    # GPT-2's linear layer: its weight is (in, out).
    if (
        type(module).__name__ == "Conv1D"
        and type(module).__module__ == "transformers.pytorch_utils"
    ):
        return module.weight.t()
    return None


def _product(blocks, bias, states):
    # states: (..., in) -> (..., out)
    n_out, n_in = blocks.shape
    if states.numel() * n_out < MIN_PRODUCTS or n_in > LONGEST_SUM:
        return _by_onednn(blocks, bias, states)
    return on_idle_threads(_by_onednn, blocks, bias, states)


def _by_onednn(blocks, bias, states):
    return torch.ops.mkldnn._linear_pointwise(states, blocks, bias, "none", [], "")
