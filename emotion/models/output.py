"""What every network answers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """logits (batch, classes) of each utterance; step_logits (batch, steps, classes) over time, true for the first
    step_lengths (batch,) steps; weights (batch, steps) each step's share in the utterance; heads: further answers by name."""

    logits: Tensor
    step_logits: Tensor
    step_lengths: Tensor
    weights: Tensor
    heads: dict[str, Tensor]
