"""Which frames and steps are an utterance's own and which are padding: the one place that knows."""

from __future__ import annotations

import torch
from torch import Tensor


def mask(lengths: Tensor, size: int) -> Tensor:
    """True inside each length, false in the padding. Shape: (batch,) -> (batch, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def clear(maps: Tensor, lengths: Tensor) -> Tensor:
    """Zeros in the padding.

    Shape: maps (batch, channels, frames, bands) or (batch, frames, features), lengths (batch,) -> as maps.
    """
    inside = mask(lengths, maps.shape[-2])[..., None]   # (batch, frames, 1)
    return maps * (inside if maps.ndim == 3 else inside[:, None]).to(maps.dtype)


def reverse(steps: Tensor, lengths: Tensor) -> Tensor:
    """Each sequence backwards in its own length, padding left where it is.

    Shape: steps (batch, steps, features), lengths (batch,) -> the same.
    """
    forward = torch.arange(steps.shape[1], device=steps.device)
    backward = lengths[:, None] - 1 - forward
    index = torch.where(backward >= 0, backward, forward)
    return steps.gather(1, index[..., None].expand_as(steps))
