"""Which device to compute on, and in which precision and layout it is fast."""

from __future__ import annotations

import ctypes
import os
from typing import TypeVar

import torch
from torch import Tensor, nn

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4   # of glibc's mallopt, from malloc.h
_LARGEST_MMAP_THRESHOLD, _INT_MAX = 2**25, 2**31 - 1
Model = TypeVar("Model", bound=nn.Module)
DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """The device of that name, or itself; `auto` takes CUDA, then Apple's MPS, then the processor.

    Raises: ValueError where the name is unknown or this machine lacks the device.
    """
    if isinstance(name, torch.device):
        name = str(name) if name.type == "cuda" else name.type   # of the others there is one
    kind, _, number = name.partition(":")
    if kind not in DEVICES or kind != name and not (kind == "cuda" and number.isdecimal()):
        raise ValueError(f"no device {name!r}; there are {', '.join(DEVICES)} (and cuda:1, ...). Choose auto.")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if present[kind]))
    if not present[kind] or number and int(number) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} is not available on this machine. Choose auto or cpu.")
    return torch.device(name)


def channels_last(model: Model) -> Model:
    """The model with the weights of its convolutions laid out as fast kernels want them."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        if weight.ndim in layouts:
            weight.data = weight.data.contiguous(memory_format=layouts[weight.ndim])
    return model


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware, so that it beats float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The tensor on that device. The processor does not wait until a CUDA device has it; for MPS it must, which could
    read what has been freed since (pytorch/pytorch#189690)."""
    return values.to(device, non_blocking=device.type == "cuda")


def beside(small: Tensor, large: Tensor) -> Tensor:
    """The small tensor, `sent` to the device of the large one."""
    return sent(small, large.device)


def keep_freed_memory(most_bytes: int | None = None) -> None:
    """Have the process keep memory that it frees, so much at most, so that the next batch need not ask for it again.

    Else fetching zeroed pages takes a third of an epoch on a processor and a fourteenth of scoring
    (recipes/bench/RESULTS.md). With glibc alone; and not where the environment has its own MALLOC_TRIM_THRESHOLD_.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):   # another C library
        return
    if "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return
    if most_bytes is None:
        mallopt(_MMAP_MAX, 0)
    else:
        mallopt(_MMAP_THRESHOLD, min(most_bytes, _LARGEST_MMAP_THRESHOLD))
    mallopt(_TRIM_THRESHOLD, _INT_MAX if most_bytes is None else most_bytes)
