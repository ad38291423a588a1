"""3D convolution over (patch sequence, frequency, time inside a patch), then LSTM.

    mel (3, frames, 64) -> patches of 8 frames -> (3, patches, 64, 8) -> 3D convolutions -> linear -> LSTM -> steps

Static, delta and delta-delta stand in the channels. Time inside a patch is pooled away; the patches become the steps.
Sources: Tran et al. 2015, Learning spatiotemporal features with 3D convolutional networks; Chen et al. 2018, 3-D
convolutional recurrent neural networks with attention model for speech emotion recognition.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..blocks import Memory, MemoryConfig, Reach, SqueezeExcite, strided
from ..heads import Head, HeadConfig
from ..masking import clear, mask
from .signature import Inputs, Network, Output


@dataclass(frozen=True, kw_only=True)
class Conv3dConfig(HeadConfig, MemoryConfig):
    patch_frames: int = 8
    channels: tuple[int, ...] = (16, 32, 64)   # one convolution each, each halves frequency and time inside the patch
    kernel: int = 3   # of each convolution, in all three directions
    features: int = 128   # of each patch: one linear layer over its channels, bands and what is left of its time
    se: bool = False   # squeeze-and-excitation after each convolution
    cnn_dropout: float = 0.1

    def __post_init__(self):
        for part in (MemoryConfig, HeadConfig):
            part.__post_init__(self)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} must be odd: an even one shifts time. Use 3.")
        if min(self.patch_frames, self.kernel, self.features, len(self.channels), *self.channels) < 1:
            raise ValueError("patch_frames, kernel, features and channels must be at least 1, and channels not empty.")
        if self.pooling == "last" and not self.lstm_layers:
            raise ValueError("pooling='last' takes the end of an LSTM, and lstm_layers=0 has none. Use mean.")


class Conv3d(Network):
    """The 3D model."""

    Config = Conv3dConfig
    uses_prosody = False
    config: Conv3dConfig

    def __init__(self, inputs: Inputs, num_classes: int, config: Conv3dConfig = Conv3dConfig()):
        super().__init__(inputs, num_classes, config)
        widths = [inputs.channels, *config.channels]
        self.volumes = nn.ModuleList(
            _Volume(before, after, config.kernel, config.se, config.cnn_dropout)
            for before, after in zip(widths, widths[1:])
        )
        num_bands, num_frames = inputs.bands, config.patch_frames
        self.reach = Reach().through(num_frames, num_frames)
        for _ in self.volumes:
            num_bands, num_frames = -(-num_bands // 2), -(-num_frames // 2)
            self.reach = self.reach.through(config.kernel, 1, config.kernel // 2)
        in_patch = config.channels[-1] * num_bands * num_frames
        self.project = nn.Sequential(nn.Linear(in_patch, config.features), nn.ReLU())
        self.memory = Memory(config.features, config)
        self.head = Head(self.memory.outputs, num_classes, config, config.bidirectional)

    def forward(self, mel: Tensor, prosody: Tensor | None, lengths: Tensor) -> Output:
        """Shape: mel (batch, channels, frames, bands), lengths (batch,) frames; prosody is not used."""
        size = self.config.patch_frames
        mel = nn.functional.pad(clear(mel, lengths), (0, 0, 0, -mel.shape[2] % size))
        patches = mel.unflatten(2, (-1, size)).transpose(3, 4)  # (batch, channels, patches, bands, time)
        lengths = strided(lengths, size)
        for volume in self.volumes:
            patches = volume(patches, lengths)
        steps = self.project(patches.transpose(1, 2).flatten(2))  # (batch, patches, features)
        logits, step_logits, weights, heads = self.head(self.memory(steps, lengths), lengths)
        return Output(logits, step_logits, lengths, weights, heads)


class _Volume(nn.Module):
    """3D convolution, batch norm, ReLU, squeeze-and-excitation, pooling by 2 inside the patch, dropout of channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int, se: bool, dropout: float):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm3d(outputs)
        self.se = SqueezeExcite(outputs) if se else None
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, patches: Tensor, lengths: Tensor) -> Tensor:
        """Shape: (batch, inputs, patches, bands, time), (batch,) -> (batch, outputs, patches, bands / 2, time / 2)."""
        maps = self.norm(self.conv(patches))
        inside = mask(lengths, maps.shape[2])[:, None, :, None, None].to(maps.dtype)
        if self.se is not None:
            maps = self.se((maps.relu() * inside).flatten(3), lengths).view_as(maps)
        maps = nn.functional.max_pool3d(maps, (1, 2, 2), ceil_mode=True).relu()   # a quarter of what it was before
        return self.dropout(maps * inside)
