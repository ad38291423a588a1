"""From steps to answers: pooled into the utterance, then one linear layer for each question.

Sequences are (batch, steps, features); `lengths` counts the true steps of each utterance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .labels import DIMENSIONS
from .masking import mask


class AttentionPool(nn.Module):
    """Weights over the true steps of each utterance, summing to one.

    Source: Mirsamadi et al. 2017, Automatic speech emotion recognition using recurrent neural networks with local
    attention.
    """

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Shape: steps (batch, steps, inputs), lengths (batch,) -> weights (batch, steps), zero in the padding."""
        scores = self.score(steps).squeeze(2).float()
        return scores.masked_fill(~mask(lengths, steps.shape[1]), float("-inf")).softmax(1)


POOLINGS = ("attention", "mean", "statistics", "last")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    pooling: str = "attention"   # of steps into the utterance: attention, mean, statistics, last
    sex_head: bool = False   # a second answer: the speaker's sex
    dimensions: tuple[str, ...] = ()   # further answers, 0 to 1: arousal, valence, dominance

    def __post_init__(self):
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling={self.pooling!r} must be one of {', '.join(POOLINGS)}.")
        if not set(self.dimensions) <= set(DIMENSIONS) or len(set(self.dimensions)) < len(self.dimensions):
            raise ValueError(f"dimensions={list(self.dimensions)} must be among {', '.join(DIMENSIONS)}, each once.")


class Pool(nn.Module):
    """Steps to one vector for the utterance, and the share of each step in it.

    attention   weighted mean, weights learned           statistics   mean, then deviation behind it
    mean        all steps alike                          last         each direction of the LSTM at its own end
    """

    def __init__(self, inputs: int, pooling: str, bidirectional: bool):
        super().__init__()
        self.pooling, self.bidirectional = pooling, bidirectional
        self.attention = AttentionPool(inputs, max(8, inputs // 2)) if pooling == "attention" else None
        self.outputs = 2 * inputs if pooling == "statistics" else inputs

    def forward(self, steps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: steps (batch, steps, inputs), lengths (batch,) -> (batch, outputs), (batch, steps); both float32."""
        inside = mask(lengths, steps.shape[1])
        steps = steps.float().masked_fill(~inside[..., None], 0)
        if self.pooling == "last":
            return self._ends(steps, lengths)
        weights = inside / lengths[:, None] if self.attention is None else self.attention(steps, lengths)
        mean = (weights[..., None] * steps).sum(1)  # not einsum: autocast would round it to bfloat16
        if self.pooling != "statistics":
            return mean, weights
        variance = (weights[..., None] * (steps - mean[:, None]).square()).sum(1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1), weights

    def of_steps(self, steps: Tensor, vector: Tensor) -> Tensor:
        """Each step as a vector like the utterance's: with statistics the utterance's deviation stands behind it.

        Shape: steps (batch, steps, inputs), vector (batch, outputs) -> (batch, steps, outputs).
        """
        if self.pooling != "statistics":
            return steps
        deviation = vector[:, None, steps.shape[2]:].expand(-1, steps.shape[1], -1)
        return torch.cat([steps, deviation.to(steps.dtype)], dim=2)

    def _ends(self, steps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        last = nn.functional.one_hot(lengths - 1, steps.shape[1]).float()
        end = (last[..., None] * steps).sum(1)
        if not self.bidirectional:
            return end, last
        half = steps.shape[2] // 2
        first = nn.functional.one_hot(torch.zeros_like(lengths), steps.shape[1]).float()
        return torch.cat([end[:, :half], steps[:, 0, half:]], dim=1), (first + last) / 2


def further(
    vector: Tensor, steps: Tensor, sex: nn.Linear | None, dimensions: nn.Linear | None,
) -> dict[str, Tensor]:
    """The heads of an Output, from the utterance's vector and vectors of its steps that are like it.

    dimensions: its answers go through a sigmoid, so that they lie between 0 and 1.

    Shape: vector (batch, inputs), steps (batch, steps, inputs).
    """
    heads = {"embedding": vector}
    if sex is not None:
        heads["sex"] = sex(vector).float()
    if dimensions is not None:
        heads["dimensions"] = dimensions(vector).float().sigmoid()
        heads["step_dimensions"] = dimensions(steps).float().sigmoid()
    return heads


class Head(nn.Module):
    """From steps to answers: logits of the utterance and, by the same linear layer, of each step.

    The utterance's logits are the mean of its steps' logits, weighted by their share; with statistics the deviation
    of the utterance counts in every step alike. Only with "last" they are those of the two ends. So it is with the
    dimensions, before their sigmoid.
    """

    def __init__(self, inputs: int, num_classes: int, config: HeadConfig, bidirectional: bool):
        super().__init__()
        self.pool = Pool(inputs, config.pooling, bidirectional)
        self.classifier = nn.Linear(self.pool.outputs, num_classes)
        self.sex = nn.Linear(self.pool.outputs, 2) if config.sex_head else None
        self.dimensions = nn.Linear(self.pool.outputs, len(config.dimensions)) if config.dimensions else None

    def forward(self, steps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Shape: steps (batch, steps, inputs), lengths (batch,) -> logits, step_logits, weights, heads of an Output."""
        vector, weights = self.pool(steps, lengths)
        steps = self.pool.of_steps(steps, vector)
        step_logits = self.classifier(steps).float()
        if self.pool.pooling == "last":
            logits = self.classifier(vector).float()
        else:
            logits = (weights[..., None] * step_logits).sum(1)
        return logits, step_logits, weights, further(vector, steps, self.sex, self.dimensions)
