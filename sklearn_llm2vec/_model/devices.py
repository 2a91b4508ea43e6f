"""Devices and the dtype of the weights: what is meant, and whether it can be had."""

import functools
import os
import platform
import sys

from sklearn_llm2vec._common.checks import among, refused, warn
from sklearn_llm2vec._common.imports import loading
from sklearn_llm2vec._common.names import DTYPES


def resolve_devices(device):
    """The names of the devices to encode on; torch is asked only where it must be.

    Parameters
    ----------
    device : str, sequence of str or None
        None is the first accelerator that torch has, else the CPU.

    Returns
    -------
    tuple of str
    """
    if device is not None:
        several = isinstance(device, tuple | list)
        return tuple(map(str, device)) if several else (str(device),)
    return (_accelerator() or "cpu",)


@functools.cache  # torch.accelerator's answers stay the same, and nobody waits for them
def _accelerator():
    """The name of this machine's accelerator, or None."""
    if not _may_have_accelerator():
        return None
    with loading:
        import torch

        if torch.accelerator.is_available():
            return str(torch.accelerator.current_accelerator())
    return None


def _may_have_accelerator():
    # Importing torch takes seconds; the absence of every driver's device file answers
    # the question at once on the usual Linux machine without a GPU.
    if sys.platform == "linux":
        nodes = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/dri", "/dev/accel")
        return any(os.path.exists(node) for node in nodes)
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    return True


def check_device(device):
    """Refuse what is no device of torch, and one that this machine hasn't got."""
    with loading:
        import torch

    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        expected = "the name of a torch device, such as 'cpu', 'cuda' or 'mps'"
        raise refused("device", expected, device) from error
    here = {"cpu"}
    if torch.accelerator.is_available():
        here.add(torch.accelerator.current_accelerator().type)
    if kind not in here:
        raise refused(
            "device",
            f"among the devices of this machine that torch {torch.__version__} can use, "
            f"{here}",
            device,
            "Install another build of torch, or leave 'device' out.",
        )


def resolve_dtype(dtype, device):
    """The floating dtype of the weights: "auto" is bfloat16 where CUDA or XPU has it.

    Parameters
    ----------
    dtype : {"auto", "float32", "bfloat16", "float16"}
    device : str
        As `resolve_devices` gives it.

    Raises
    ------
    ValueError
        For any other `dtype`.
    """
    if dtype in DTYPES:
        return dtype
    if dtype != "auto":
        raise refused("dtype", f"a str {among(('auto', *DTYPES))}", dtype)
    kind = device.split(":")[0]
    if kind not in ("cuda", "xpu"):
        return "float32"
    return "bfloat16" if _has_bfloat16(kind) else "float32"


def warn_of_slow_bfloat16(dtype, device):
    """Warn if a CPU has to emulate bfloat16, which saves memory but no time.

    Parameters
    ----------
    dtype : str
        As `resolve_dtype` gives it.
    device : str
    """
    if dtype == "bfloat16" and device == "cpu" and not _cpu_has_bfloat16():
        warn(
            "This CPU has no instructions for bfloat16 (AVX512_BF16 or AMX), so "
            "dtype='bfloat16' takes half the memory of 'float32' but more time. Choose "
            "dtype='float32' if the model fits into memory."
        )


@functools.cache
def _cpu_has_bfloat16():
    """Whether the CPU has the instructions; True if this can't be determined."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    import torch

    asked = [
        getattr(torch.cpu, name, None)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    return None in asked or any(ask() for ask in asked)


@functools.cache
def _has_bfloat16(kind):
    with loading:
        import torch

        return getattr(torch, kind).is_bf16_supported()
