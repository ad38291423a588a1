"""The network of Silero VAD over all chunks of a batch at once.

    waveform -> chunks of 32 ms, each with the 4 ms before -> magnitudes -> convolutions -> LSTM over chunks -> 0 to 1

Chosen by measurement: recipes/bench/RESULTS.md.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from .spectra import pieces, power
from .speech import CHUNK, RATE

CONTEXT = 64  # samples
SPECTRUM, SPECTRUM_HOP = 256, 128   # samples of one spectrum, and from one to the next; four in a chunk
STRIDES = (1, 2, 2, 1)  # of the convolutions over the four spectra of a chunk


class SpeechDetector(nn.Module):
    """How likely somebody speaks in each chunk of 32 ms.

    Source: Silero VAD 6 (MIT), its 16 kHz weights from the wheel of silero-vad. The package itself takes one chunk at a
    time; here only the LSTM does, which is 10 times as fast.
    """

    final_conv_weight: Tensor
    final_conv_bias: Tensor

    def __init__(self):
        super().__init__()
        weights = load_file(_weights())
        self.magnitudes = Magnitudes(weights.pop("stft_conv.weight")[0, 0])   # the wave of frequency 0 is the window
        for name, weight in weights.items():
            if name.startswith("conv") and weight.ndim == 3:
                weight = weight[:, :, None].contiguous(memory_format=torch.channels_last)   # (out, in, 1 chunk, 3)
            if not name.startswith("lstm_cell"):
                self.register_buffer(name.replace(".", "_"), weight)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.lstm.load_state_dict(
            {f"{name[len('lstm_cell.'):]}_l0": weight for name, weight in weights.items() if "lstm" in name}
        )
        self.requires_grad_(False)

    def forward(self, waveforms: Tensor, sample_rate: int) -> Tensor:
        """Shape: (batch, samples), zeros behind the end of each -> (batch, chunks), the last one filled up with zeros.

        A chunk's answer depends on what came before it alone, so neither the padding nor the batch changes it.
        """
        if sample_rate != RATE:
            from torchaudio.functional import resample

            waveforms = resample(waveforms, sample_rate, RATE)
        count = -(-waveforms.shape[1] // CHUNK)
        padded = pad(waveforms, (CONTEXT, count * CHUNK - waveforms.shape[1]))
        chunks = padded.unfold(1, CONTEXT + CHUNK, CHUNK).flatten(0, 1)  # (batch * count, samples)
        maps = self.magnitudes(chunks).permute(2, 0, 1)[None]   # (1, frequencies, batch * count, 4), channels last
        for i, stride in enumerate(STRIDES, 1):
            weight, bias = getattr(self, f"conv{i}_weight"), getattr(self, f"conv{i}_bias")
            maps = conv2d(maps, weight, bias, (1, stride), padding=(0, 1)).relu()
        states, _ = self.lstm(maps[0, :, :, 0].T.unflatten(0, (-1, count)))  # (batch, count, features)
        return (states.relu() @ self.final_conv_weight[0] + self.final_conv_bias).sigmoid().squeeze(2)


class Magnitudes(nn.Module):
    """Short-time Fourier transform without phase of chunks that turn back for the last CONTEXT samples.

    Silero stores it as a convolution with windowed waves; the fast transform gives the same in a tenth of the time.
    """

    window: Tensor

    def __init__(self, window: Tensor):
        super().__init__()
        self.register_buffer("window", window)

    def forward(self, chunks: Tensor) -> Tensor:
        """Shape: (chunks, samples) -> (chunks, frames, frequencies)."""
        return torch.cat([
            power(turned_back(part).unfold(1, SPECTRUM, SPECTRUM_HOP), self.window).sqrt() for part in pieces(chunks, 0)
        ])


def turned_back(chunks: Tensor) -> Tensor:
    """Chunks with their last samples once more in reverse. Shape: (chunks, samples) -> (chunks, samples + CONTEXT)."""
    return pad(chunks, (0, CONTEXT), "reflect")


def _weights() -> Path:
    package = importlib.util.find_spec("silero_vad")  # found, not imported: that would load torchaudio
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("silero-vad is not installed: it holds the speech detector. pip install silero-vad")
    return Path(package.submodule_search_locations[0], "data", "silero_vad_16k.safetensors")
