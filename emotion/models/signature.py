"""What every network is, what it takes and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from ..blocks import Reach
from ..heads import HeadConfig


class Inputs(NamedTuple):
    """Size of what the front end computes: mel (batch, channels, frames, bands), prosody (batch, frames, contours);
    contours is 0 where it computes no prosody."""

    channels: int
    bands: int
    contours: int = 0


class Output(NamedTuple):
    """Shape: logits (batch, classes) of utterances; step_logits (batch, steps, classes) over time, of which the first
    step_lengths (batch,) count; weights (batch, steps), the share of each step in its utterance; heads: further
    answers by name, always `embedding` (batch, features), the utterance as the last layer sees it, and where the
    model has them `sex` (batch, 2), `dimensions` (batch, dimensions) and `step_dimensions` (batch, steps, dimensions),
    from 0 to 1."""

    logits: Tensor
    step_logits: Tensor
    step_lengths: Tensor
    weights: Tensor
    heads: dict[str, Tensor]


class Network(nn.Module):
    """Options, and what one step sees of the input, in frames; `forward` and the layers are each network's own.

    uses_prosody: whether it needs prosody beside the mel.
    """

    Config: type[HeadConfig]
    uses_prosody: bool
    reach: Reach
    __call__: Callable[..., Output]   # of mel, prosody, lengths

    def __init__(self, inputs: Inputs, num_classes: int, config: HeadConfig):
        super().__init__()
        self.config = config
