"""CNN, then LSTM: convolution finds spectral patches, the LSTM follows them in time.

    mel (3, frames, 64) -> stem -> residual blocks -> linear over each step's bands -> [Transformer] -> LSTM -> steps

    step logits = classifier(step), one every 4 frames; utterance logits = their mean, weighted by attention

Without the LSTM (lstm_layers 0) it is the CNN alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..blocks import CNNConfig, Memory, MemoryConfig, PatchCNN
from ..heads import Head, HeadConfig
from .signature import Inputs, Network, Output


@dataclass(frozen=True, kw_only=True)
class SerialConfig(HeadConfig, MemoryConfig, CNNConfig):
    def __post_init__(self):
        for part in (CNNConfig, MemoryConfig, HeadConfig):
            part.__post_init__(self)
        if self.pooling == "last" and not self.lstm_layers:
            raise ValueError("pooling='last' takes the end of an LSTM, and lstm_layers=0 has none. Use mean.")


class Serial(Network):
    """The series model."""

    Config = SerialConfig
    uses_prosody = False

    def __init__(self, inputs: Inputs, num_classes: int, config: SerialConfig = SerialConfig()):
        super().__init__(inputs, num_classes, config)
        self.cnn = PatchCNN(inputs.channels, inputs.bands, config, inputs.contours)
        self.reach = self.cnn.reach
        self.memory = Memory(config.features, config)
        self.head = Head(self.memory.outputs, num_classes, config, config.bidirectional)

    def forward(self, mel: Tensor, prosody: Tensor | None, lengths: Tensor) -> Output:
        """Shape: mel (batch, channels, frames, bands), lengths (batch,) frames; prosody is not used."""
        steps, lengths = self.cnn(mel, prosody, lengths)
        logits, step_logits, weights, heads = self.head(self.memory(steps, lengths), lengths)
        return Output(logits, step_logits, lengths, weights, heads)
