"""CNN, then bidirectional LSTM: convolution finds spectral patches, the LSTM follows them in time.

    mel (3, frames, 64) -> stem -> residual blocks -> one linear layer over each step's bands -> BiLSTM -> steps

    step logits = classifier(step), one every 40 ms; utterance logits = their mean, weighted by attention
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..blocks import AttentionPool, BiLSTM, Conv, Reach, ResidualBlock
from ..masking import clear
from .output import Output


@dataclass(frozen=True, kw_only=True)
class SerialConfig:
    channels: tuple[int, ...] = (16, 32, 64)   # one residual block each
    kernel: int = 3   # of the residual blocks; the stem's is 5
    stem_stride: tuple[int, int] = (2, 2)   # (time, frequency)
    pools: tuple[tuple[int, int], ...] = ((1, 2), (2, 2), (1, 2))   # (time, frequency) after each block
    features: int = 128   # of each step: one linear layer over its channels and bands
    lstm_width: int = 96   # of each direction
    lstm_layers: int = 1
    cnn_dropout: float = 0.2
    lstm_dropout: float = 0.5

    def __post_init__(self):
        if len(self.channels) != len(self.pools) or not self.channels:
            raise ValueError(
                f"channels={self.channels} and pools={self.pools} must have one entry for each residual block. "
                "Give both the same length."
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} must be odd: an even one shifts time. Use 3 or 5.")
        steps = (*self.stem_stride, *(size for pool in self.pools for size in pool))
        if min(self.lstm_layers, self.lstm_width, self.features, self.kernel, *self.channels, *steps) < 1:
            raise ValueError(
                "lstm_layers, lstm_width, features, kernel, channels, stem_stride and pools must be at least 1. "
                "Use 1 for a stride or pool that shortens nothing."
            )


class Serial(nn.Module):
    """The series model. `reach` is what one step sees of the input: field and hop in frames."""

    Config = SerialConfig

    def __init__(self, num_channels: int, num_bands: int, num_classes: int, config: SerialConfig = SerialConfig()):
        super().__init__()
        self.config = config
        widths = [config.channels[0], *config.channels]
        self.stem = Conv(num_channels, widths[0], kernel=5, stride=config.stem_stride)
        self.blocks = nn.ModuleList(
            ResidualBlock(inputs, outputs, config.kernel, pool, config.cnn_dropout)
            for inputs, outputs, pool in zip(widths, widths[1:], config.pools)
        )
        bands = -(-num_bands // config.stem_stride[1])
        self.reach = self.stem.reach(Reach())
        for block in self.blocks:
            bands = -(-bands // block.pool[1])
            self.reach = block.reach(self.reach)
        self.project = nn.Sequential(nn.Linear(config.channels[-1] * bands, config.features), nn.ReLU())
        self.lstm = BiLSTM(config.features, config.lstm_width, config.lstm_layers, config.lstm_dropout)
        self.attention = AttentionPool(2 * config.lstm_width, config.lstm_width)
        self.classifier = nn.Linear(2 * config.lstm_width, num_classes)

    def forward(self, mel: Tensor, prosody: Tensor | None, lengths: Tensor) -> Output:
        """Shape: mel (batch, channels, frames, bands), lengths (batch,) frames; prosody is not used."""
        maps, lengths = self.stem(clear(mel, lengths), lengths)
        for block in self.blocks:
            maps, lengths = block(maps, lengths)
        steps = maps.transpose(1, 2).flatten(2)  # (batch, steps, channels * bands)
        steps = self.lstm(self.project(steps), lengths)
        weights = self.attention(steps, lengths)
        step_logits = self.classifier(steps).float()
        logits = (weights[..., None] * step_logits).sum(1)  # not einsum: autocast would round it to bfloat16
        return Output(logits, step_logits, lengths, weights, {})
