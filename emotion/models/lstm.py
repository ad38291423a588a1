"""LSTM alone: what the serial model does without its CNN. Frames are stacked by four, so that the steps are as long."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..blocks import FrameStack, Memory, MemoryConfig
from ..heads import Head, HeadConfig
from .signature import Inputs, Network, Output


@dataclass(frozen=True, kw_only=True)
class LSTMConfig(HeadConfig, MemoryConfig):
    stacked_frames: int = 4   # in one step
    features: int = 128   # of each step: one linear layer over its frames and bands

    def __post_init__(self):
        for part in (MemoryConfig, HeadConfig):
            part.__post_init__(self)
        if min(self.stacked_frames, self.features, self.lstm_layers) < 1:
            raise ValueError("stacked_frames, features and lstm_layers must be at least 1. Use 1 to stack nothing.")


class LSTMAlone(Network):
    """One linear layer on each step's frames, then the LSTM."""

    Config = LSTMConfig
    uses_prosody = False

    def __init__(self, inputs: Inputs, num_classes: int, config: LSTMConfig = LSTMConfig()):
        super().__init__(inputs, num_classes, config)
        self.stack = FrameStack(inputs.channels * inputs.bands, config.features, config.stacked_frames)
        self.reach = self.stack.reach
        self.memory = Memory(config.features, config)
        self.head = Head(self.memory.outputs, num_classes, config, config.bidirectional)

    def forward(self, mel: Tensor, prosody: Tensor | None, lengths: Tensor) -> Output:
        """Shape: mel (batch, channels, frames, bands), lengths (batch,) frames; prosody is not used."""
        steps, lengths = self.stack(mel.transpose(1, 2).flatten(2), lengths)
        logits, step_logits, weights, heads = self.head(self.memory(steps, lengths), lengths)
        return Output(logits, step_logits, lengths, weights, heads)
