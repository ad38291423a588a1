"""The parts that networks are built of below their heads, and their options. None knows which model it stands in.

Maps are (batch, channels, frames, bands), sequences (batch, steps, features). `lengths` counts the true frames or steps
of each utterance: every block reads zeros beyond them, so an utterance scores the same alone and in any batch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .masking import clear, mask, reverse

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Reach:
    """What one output sees along time, in input frames: `field` wide, one each `hop`, the first around `centre`."""

    field: int = 1
    hop: int = 1
    centre: float = 0.0

    def through(self, kernel: int, stride: int = 1, padding: int = 0) -> Reach:
        """The reach after one more convolution or pooling of that size."""
        centre = self.centre + ((kernel - 1) / 2 - padding) * self.hop
        return Reach(self.field + (kernel - 1) * self.hop, self.hop * stride, centre)


def strided(lengths: Tensor, stride: int) -> Tensor:
    """True lengths after a stride: a last, incomplete stretch still gives an output."""
    return (lengths + stride - 1) // stride


class Conv(nn.Module):
    """Convolution, batch norm and, if asked, ReLU. The stride shortens frames and bands by (time, frequency).

    Without the ReLU it leaves the padding as it comes: whoever adds something to its maps clears the sum.
    """

    norm: nn.BatchNorm2d | nn.Identity   # Identity once it is folded

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: tuple[int, int] = (1, 1), relu: bool = True):
        super().__init__()
        self.kernel, self.stride, self.relu = kernel, stride, relu
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def reach(self, before: Reach) -> Reach:
        return before.through(self.kernel, self.stride[0], self.kernel // 2)

    def forward(self, maps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: (batch, inputs, frames, bands), (batch,) -> (batch, outputs, frames / s, bands / s), (batch,)."""
        maps = self.norm(self.conv(maps))
        lengths = strided(lengths, self.stride[0])
        return clear(maps.relu(), lengths) if self.relu else maps, lengths

    def fold(self) -> None:
        """Multiply the batch norm into the convolution, which cannot be trained then."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class SqueezeExcite(nn.Module):
    """Scales each channel by what all channels are like on average over the utterance.

    Source: Hu et al. 2018, Squeeze-and-excitation networks; the mean is over true frames only.
    """

    def __init__(self, channels: int, reduction: int = 4):
        super().__init__()
        inner = max(4, channels // reduction)  # fewer could all be dead
        self.squeeze, self.excite = nn.Linear(channels, inner), nn.Linear(inner, channels)

    def forward(self, maps: Tensor, lengths: Tensor) -> Tensor:
        """Shape: maps (batch, channels, frames, bands), zero in the padding, lengths (batch,) -> the same."""
        mean = maps.sum((2, 3)) / (lengths[:, None] * maps.shape[3])
        return maps * self.excite(self.squeeze(mean).relu()).sigmoid()[:, :, None, None]


class ResidualBlock(nn.Module):
    """Convolutions with a shortcut around them, max pooling over (time, frequency), dropout of whole channels.

    Two of the kernel's size; with a bottleneck one, on channels that a 1x1 convolution has reduced by that factor and
    another restores. Where the number of channels changes, the shortcut is a 1x1 convolution.
    Source: He et al. 2016, Deep residual learning for image recognition.
    """

    layers: Iterable[Conv]

    def __init__(
        self, inputs: int, outputs: int, kernel: int, pool: tuple[int, int], dropout: float,
        bottleneck: int = 1, se: bool = False,
    ):
        super().__init__()
        if bottleneck == 1:
            layers = [Conv(inputs, outputs, kernel), Conv(outputs, outputs, kernel, relu=False)]
        else:
            inner = max(1, outputs // bottleneck)
            layers = [Conv(inputs, inner, 1), Conv(inner, inner, kernel), Conv(inner, outputs, 1, relu=False)]
        self.add_module("layers", nn.ModuleList(layers))
        self.se = SqueezeExcite(outputs) if se else None
        self.shortcut = Conv(inputs, outputs, 1, relu=False) if inputs != outputs else None
        self.pool = pool
        self.dropout = nn.Dropout2d(dropout)

    def reach(self, before: Reach) -> Reach:
        for layer in self.layers:
            before = layer.reach(before)
        return before.through(self.pool[0], self.pool[0])

    def forward(self, maps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: (batch, inputs, frames, bands), (batch,) -> (batch, outputs, frames / p, bands / p), (batch,)."""
        around = maps if self.shortcut is None else self.shortcut(maps, lengths)[0]
        for layer in self.layers:
            maps, _ = layer(maps, lengths)
        if self.se is not None:
            maps = self.se(clear(maps, lengths), lengths)
        maps = maps + around
        if self.pool[0] > 1:
            maps = clear(maps, lengths)   # padding beside the last frame must not win the maximum; a zero is as ReLU's
        maps = nn.functional.max_pool2d(maps, self.pool, ceil_mode=True).relu()   # less work than before the pooling
        lengths = strided(lengths, self.pool[0])
        return self.dropout(clear(maps, lengths)), lengths


def folded(model: Model) -> Model:
    """A copy that only answers, without the batch norms of its residual blocks: a tenth faster on a processor."""
    model = copy.deepcopy(model).eval()
    for block in model.modules():
        if isinstance(block, nn.LSTM):
            block.flatten_parameters()   # a copy's weights lie apart, and a GPU would put them together for each answer
        if isinstance(block, ResidualBlock):
            for conv in [*block.layers, *([block.shortcut] if block.shortcut is not None else [])]:
                conv.fold()
    return model


@dataclass(frozen=True, kw_only=True)
class CNNConfig:
    channels: tuple[int, ...] = (16, 32, 64)   # one residual block each
    kernel: int = 3   # of the residual blocks; the stem's is 5
    stem_stride: tuple[int, int] = (4, 2)   # (time, frequency)
    pools: tuple[tuple[int, int], ...] = ((1, 2), (1, 2), (1, 2))   # (time, frequency) after each block
    bottleneck: int = 1   # 1x1 convolutions divide the channels by this inside each block; 1: none
    bands: str = "flatten"   # into a step's features, or their "average" over frequency
    features: int = 128   # of each step: one linear layer over its channels (and bands)
    se: bool = False   # squeeze-and-excitation in each block and on the features
    cnn_dropout: float = 0.1

    def __post_init__(self):
        if len(self.channels) != len(self.pools) or not self.channels:
            raise ValueError(
                f"channels={self.channels} and pools={self.pools} must have one entry for each residual block. "
                "Give both the same length."
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} must be odd: an even one shifts time. Use 3 or 5.")
        if self.bands not in ("flatten", "average"):
            raise ValueError(f"bands={self.bands!r} must be flatten or average.")
        steps = (*self.stem_stride, *(size for pool in self.pools for size in pool))
        if min(self.features, self.kernel, self.bottleneck, *self.channels, *steps) < 1:
            raise ValueError(
                "features, kernel, bottleneck, channels, stem_stride and pools must be at least 1. "
                "Use 1 for a stride or pool that shortens nothing."
            )


class PatchCNN(nn.Module):
    """Scans spectral patches: stem, residual blocks, one linear layer over the bands of each step.

    num_contours: of prosody, joined at the input. Contours are alike in all bands, and so a 2D convolution over them is
    a 1D one over time that is added to all bands: the same at a fraction of the work.
    """

    blocks: Iterable[ResidualBlock]

    def __init__(self, num_channels: int, num_bands: int, config: CNNConfig, num_contours: int = 0):
        super().__init__()
        widths = [config.channels[0], *config.channels]
        self.stem = Conv(num_channels, widths[0], kernel=5, stride=config.stem_stride)
        self.contours = None
        if num_contours:
            self.contours = nn.Conv1d(num_contours, widths[0], 5, config.stem_stride[0], padding=2, bias=False)
        self.add_module("blocks", nn.ModuleList(
            ResidualBlock(inputs, outputs, config.kernel, pool, config.cnn_dropout, config.bottleneck, config.se)
            for inputs, outputs, pool in zip(widths, widths[1:], config.pools)
        ))
        num_bands = -(-num_bands // config.stem_stride[1])
        self.reach = self.stem.reach(Reach())
        for block in self.blocks:
            num_bands = -(-num_bands // block.pool[1])
            self.reach = block.reach(self.reach)
        self.flatten = config.bands == "flatten"
        self.project = nn.Linear(config.channels[-1] * (num_bands if self.flatten else 1), config.features)
        self.se = SqueezeExcite(config.features) if config.se else None

    def forward(self, mel: Tensor, prosody: Tensor | None, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: mel (batch, channels, frames, bands), prosody (batch, frames, contours) or None, lengths (batch,) ->
        (batch, steps, features), zero in the padding, and (batch,) steps.
        """
        maps, steps = self._stem(clear(mel, lengths), prosody, lengths)
        for block in self.blocks:
            maps, steps = block(maps, steps)
        maps = maps.transpose(1, 2)  # (batch, steps, channels, bands)
        features = self.project(maps.flatten(2) if self.flatten else maps.mean(3)).relu()
        features = clear(features, steps)
        if self.se is not None:
            features = self.se(features.transpose(1, 2)[..., None], steps)[..., 0].transpose(1, 2)
        return features, steps

    def _stem(self, mel: Tensor, prosody: Tensor | None, lengths: Tensor) -> tuple[Tensor, Tensor]:
        if self.contours is None:
            return self.stem(mel, lengths)
        if prosody is None:
            raise ValueError("contours are joined at the input, and none are given. Give the front end's prosody.")
        inside = clear(prosody, lengths).transpose(1, 2)
        maps = self.stem.conv(mel) + self.contours(inside)[..., None]  # (batch, channels, steps, 1)
        steps = strided(lengths, self.stem.stride[0])
        return clear(self.stem.norm(maps).relu(), steps), steps


class FrameStack(nn.Module):
    """Frames stacked into steps, one linear layer on each."""

    def __init__(self, inputs: int, outputs: int, stacked_frames: int):
        super().__init__()
        self.stacked_frames = stacked_frames
        self.project = nn.Linear(stacked_frames * inputs, outputs)
        self.reach = Reach().through(stacked_frames, stacked_frames)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: frames (batch, frames, inputs), lengths (batch,) -> (batch, frames / s, outputs), (batch,)."""
        frames = clear(frames, lengths)
        missing = -frames.shape[1] % self.stacked_frames
        frames = nn.functional.pad(frames, (0, 0, 0, missing))
        steps = frames.unflatten(1, (-1, self.stacked_frames)).flatten(2)
        return self.project(steps).relu(), strided(lengths, self.stacked_frames)


class LSTM(nn.Module):
    """LSTM over padded sequences, one-way or bidirectional; `residual` adds its input to its output.

    The backward direction runs over each sequence turned round in its own length, which gives what packing gives and
    keeps the fast kernel for padded batches (1.4 to 2 times faster than packing in training on a CPU, measured).
    """

    def __init__(
        self, inputs: int, width: int, num_layers: int, dropout: float, bidirectional: bool = True,
        residual: bool = False,
    ):
        super().__init__()
        self.outputs = (1 + bidirectional) * width
        sizes = [inputs] + [self.outputs] * (num_layers - 1)
        self.ahead = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in sizes)
        self.back = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in sizes if bidirectional)
        self.around = None
        if residual:
            self.around = nn.Linear(inputs, self.outputs, bias=False) if inputs != self.outputs else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Shape: steps (batch, steps, inputs), lengths (batch,) -> (batch, steps, outputs), after dropout."""
        around = None if self.around is None else self.around(steps)
        for layer, ahead in enumerate(self.ahead):
            answers = [ahead(steps)[0]]
            if self.back:
                answers.append(reverse(self.back[layer](reverse(steps, lengths))[0], lengths))
            steps = self.dropout(torch.cat(answers, dim=2))
        return steps if around is None else steps + around


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    transformer_layers: int = 0   # before the LSTM
    transformer_heads: int = 4
    transformer_dropout: float = 0.1
    lstm_layers: int = 1   # 0: no LSTM
    lstm_width: int = 96   # of each direction
    lstm_dropout: float = 0.5
    bidirectional: bool = True
    lstm_residual: bool = False   # adds the LSTM's input to its output

    def __post_init__(self):
        if min(self.transformer_layers, self.lstm_layers) < 0 or min(self.lstm_width, self.transformer_heads) < 1:
            raise ValueError(
                "transformer_layers and lstm_layers must be at least 0, lstm_width and transformer_heads at least 1. "
                "Use 0 layers for none."
            )
        if self.lstm_residual and not self.lstm_layers:
            raise ValueError("lstm_residual=True leads around the LSTM, and lstm_layers=0 has none. Leave it out.")


class Memory(nn.Module):
    """What follows features over time: Transformer encoder layers, then an LSTM; either may be left out.

    The Transformer has no position code: convolution before it and the LSTM behind it know the order.
    Source: Vaswani et al. 2017, Attention is all you need; normalised first, as Xiong et al. 2020.
    """

    def __init__(self, inputs: int, config: MemoryConfig):
        super().__init__()
        if config.transformer_layers and inputs % config.transformer_heads:
            raise ValueError(
                f"{inputs} features cannot be shared by transformer_heads={config.transformer_heads}: "
                "each head takes an equal part. Choose a divisor."
            )
        self.transformer = nn.ModuleList(
            nn.TransformerEncoderLayer(
                inputs, config.transformer_heads, 2 * inputs, config.transformer_dropout,
                batch_first=True, norm_first=True,
            )
            for _ in range(config.transformer_layers)
        )
        self.lstm = None
        if config.lstm_layers:
            self.lstm = LSTM(
                inputs, config.lstm_width, config.lstm_layers, config.lstm_dropout,
                config.bidirectional, config.lstm_residual,
            )
        self.dropout = nn.Dropout(config.lstm_dropout if self.lstm is None else 0.0)
        self.outputs = inputs if self.lstm is None else self.lstm.outputs

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Shape: steps (batch, steps, inputs), lengths (batch,) -> (batch, steps, outputs), after dropout."""
        padding = ~mask(lengths, steps.shape[1])
        for layer in self.transformer:
            steps = layer(steps.masked_fill(padding[..., None], 0), src_key_padding_mask=padding)
        return self.dropout(steps if self.lstm is None else self.lstm(steps, lengths))
