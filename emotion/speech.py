"""Where somebody speaks: the network of Silero VAD over all chunks of a batch at once, and the stretches it finds.

    waveform -> chunks of 32 ms, each with the 4 ms before -> magnitudes -> convolutions -> LSTM over chunks -> 0 to 1

Chosen by measurement: see recipes/bench/RESULTS.md.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

RATE = 16_000
CHUNK, CONTEXT = 512, 64  # samples
CHUNK_SECONDS = CHUNK / RATE
STRIDES = (1, 2, 2, 1)  # of the convolutions over the four spectra of a chunk


@dataclass(frozen=True, kw_only=True)
class SpeechConfig:
    threshold: float = 0.5   # probability of speech; lower finds more of it, and more noise
    bridge_seconds: float = 0.5   # a shorter pause is part of what is said
    shortest_seconds: float = 0.2   # a shorter stretch is a click, a cough

    def __post_init__(self):
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold={self.threshold} must be in (0, 1): else all is speech, or nothing. Use 0.5.")
        if self.bridge_seconds < 0 or self.shortest_seconds < 0:
            raise ValueError(
                f"bridge_seconds={self.bridge_seconds} and shortest_seconds={self.shortest_seconds} must not be "
                "negative. Use 0 to switch either off."
            )


class SpeechDetector(nn.Module):
    """How likely somebody speaks in each chunk of 32 ms.

    Source: Silero VAD 6 (MIT), its 16 kHz weights from the wheel of silero-vad. The package itself takes one chunk at a
    time; here only the LSTM does, which is 10 times as fast.
    """

    def __init__(self):
        super().__init__()
        weights = load_file(_weights())
        for name, weight in weights.items():
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
        chunks = padded.unfold(1, CONTEXT + CHUNK, CHUNK).flatten(0, 1)[:, None]  # (batch * count, 1, samples)
        spectra = conv1d(pad(chunks, (0, CONTEXT), "reflect"), self.stft_conv_weight, stride=128)
        maps = (spectra[:, :129].square() + spectra[:, 129:].square()).sqrt()  # (batch * count, frequencies, 4)
        for i, stride in enumerate(STRIDES, 1):
            weight, bias = getattr(self, f"conv{i}_weight"), getattr(self, f"conv{i}_bias")
            maps = conv1d(maps, weight, bias, stride, padding=1).relu()
        states, _ = self.lstm(maps.squeeze(2).unflatten(0, (-1, count)))  # (batch, count, features)
        return (states.relu() @ self.final_conv_weight[0] + self.final_conv_bias).sigmoid().squeeze(2)


def at(times: np.ndarray, chunk_probabilities: np.ndarray) -> np.ndarray:
    """Probability of speech at any time, linear between the middles of chunks.

    Shape: times (steps,) in seconds, chunk_probabilities (chunks,) -> (steps,).
    """
    middles = CHUNK_SECONDS * (np.arange(len(chunk_probabilities)) + 0.5)
    return np.interp(times, middles, chunk_probabilities)


def stretches(probabilities: np.ndarray, step_seconds: float, config: SpeechConfig) -> list[tuple[int, int]]:
    """Where somebody speaks, as (first step, step behind the last): pauses bridged, then what is too short left out.

    Shape: probabilities (steps,) of speech.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], probabilities >= config.threshold, [False]])))
    starts, ends = edges[::2], edges[1::2]
    apart = (starts[1:] - ends[:-1]) * step_seconds >= config.bridge_seconds
    first, last = np.concatenate([[True], apart])[: len(starts)], np.concatenate([apart, [True]])[: len(ends)]
    return [
        (start, end) for start, end in zip(starts[first].tolist(), ends[last].tolist())
        if (end - start) * step_seconds >= config.shortest_seconds
    ]


def _weights() -> Path:
    package = importlib.util.find_spec("silero_vad")  # found, not imported: that would load torchaudio
    if package is None:
        raise ModuleNotFoundError("silero-vad is not installed: it holds the speech detector. pip install silero-vad")
    return Path(package.submodule_search_locations[0], "data", "silero_vad_16k.safetensors")
