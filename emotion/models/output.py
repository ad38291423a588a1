"""What every network answers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """Shape: logits (batch, classes) of utterances; step_logits (batch, steps, classes) over time, of which the first
    step_lengths (batch,) count; weights (batch, steps), the share of each step in its utterance; heads: further
    answers by name."""

    logits: Tensor
    step_logits: Tensor
    step_lengths: Tensor
    weights: Tensor
    heads: dict[str, Tensor]
