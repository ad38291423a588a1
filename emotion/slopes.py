"""How fast something changes from frame to frame."""

from __future__ import annotations

import torch
from torch import Tensor


def deltas(frames: Tensor, lengths: Tensor, width: int = 2) -> Tensor:
    """Slope of each feature over time, by regression over 2 * width + 1 frames.

    Shape:  frames (batch, frames, features), lengths (batch,) -> the same as frames.   Unit: per frame.
    Raises: ValueError if width < 1.
    Source: Young et al., The HTK Book 3.4, section 5.9 (edges repeat the first and last frame of each utterance).
    """
    if width < 1:
        raise ValueError(f"width={width} must be at least 1: a slope needs a neighbour. Use 2.")
    count = frames.shape[1]
    places = torch.arange(-width, count + width, device=frames.device)
    inside = torch.minimum(places.clamp(min=0)[None], (lengths - 1)[:, None])  # (batch, frames + 2 * width)
    longer = frames.gather(1, inside[..., None].expand(-1, -1, frames.shape[2]))

    def shifted(offset: int) -> Tensor:
        return longer[:, width + offset : width + offset + count]

    slope = shifted(1) - shifted(-1)
    for offset in range(2, width + 1):
        slope = slope + offset * (shifted(offset) - shifted(-offset))
    return slope / (2 * sum(offset**2 for offset in range(1, width + 1)))
