"""What every network takes and what it answers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


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
