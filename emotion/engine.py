"""A checkpoint that answers: front end, network and speech detector on one device. The Analyzer's PyTorch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .blocks import folded
from .checkpoint import Checkpoint
from .detector import SpeechDetector
from .exported import FURTHER, Answers
from .hardware import channels_last, choose_device, keep_freed_memory
from .prosody import pitch

KEPT_BYTES = 2**26   # more than a batch takes for a while
PIECE_SECONDS = 60.0
MARGIN_SECONDS = 1.0   # more than a frame, and long enough for the best path of the pitch to be the same


class Engine:
    """What Exported is, in PyTorch.

    checkpoint: stays as it is: what answers is a copy, on the device.
    detects: whether it listens for speech; if not, Answers.speech is None.
    alone: an answer takes one thread, so that several can be asked for at once. It holds for the whole process.
    precision: of the network's products, one of PRECISIONS.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: str | torch.device = "auto", detects: bool = True, alone: bool = False,
        precision: str = "float32",
    ):
        if alone:
            torch.set_num_threads(1)
        self.device = choose_device(device)
        if self.device.type == "cpu":
            keep_freed_memory(KEPT_BYTES)
        self._reduced = precision == "bfloat16"
        self._detector = SpeechDetector().to(self.device).eval() if detects else None
        model = copy.deepcopy(checkpoint.model).to(self.device).eval()
        self._frontend = copy.deepcopy(checkpoint.frontend).to(self.device).eval()
        self.checkpoint = replace(checkpoint, model=model, frontend=self._frontend)
        self._model = channels_last(folded(model))
        settings, reach = checkpoint.frontend.config, self._model.reach
        self.labels, self.sample_rate = checkpoint.labels, settings.sample_rate
        self.dimensions = checkpoint.dimensions
        self.unknown_below = checkpoint.calibration.unknown_below
        self.step_samples = reach.hop * settings.hop_samples
        self.first_step_seconds = reach.centre * settings.frame_seconds

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def fingerprint(self) -> str:
        return self.checkpoint.fingerprint

    @torch.inference_mode()
    def answer(
        self, waveforms: np.ndarray, num_samples: np.ndarray,
        statistics: Sequence[tuple[Tensor, Tensor]] | None = None,
    ) -> Answers:
        """As Exported.answer, for waveforms with zeros in the padding.

        statistics: mean and deviation (channels, 1, bands) of the speaker of each utterance, for the Frontend.
        """
        batch, counts = (torch.from_numpy(part).to(self.device) for part in (waveforms, num_samples))
        own = None if statistics is None else tuple(torch.stack(part).to(self.device) for part in zip(*statistics))
        mel, prosody, lengths = self._frontend(batch, counts, own)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._reduced):
            output = self._model(mel.contiguous(memory_format=torch.channels_last), prosody, lengths)
        calibration = self.checkpoint.calibration
        return Answers(
            calibration.apply_utterance(output.logits.float()).cpu().numpy(),
            calibration.apply_steps(output.step_logits.float()).cpu().numpy(),
            output.step_lengths.cpu().numpy(),
            None if self._detector is None else self._detector(batch, self.sample_rate).cpu().numpy(),
            output.heads["embedding"].float().cpu().numpy(),
            *(output.heads[name].float().cpu().numpy() for name in FURTHER if self.dimensions),
        )

    def spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """Log-mel as the front end computes it. Shape: float32 (samples,) -> (frames, bands)."""
        return self._in_pieces(waveform, lambda *batch: self._frontend.log_mel(*batch)[0][:, 0])

    def pitch(self, waveform: np.ndarray) -> np.ndarray:
        """F0 of each frame of the spectrogram in Hz, 0 where unvoiced. Shape: (samples,) -> (frames,).

        A frame is silent beside the loudest of its minute, not of hours.
        """
        settings = self._frontend.config
        return self._in_pieces(
            waveform, lambda waveforms, num_samples: pitch(
                waveforms, num_samples, self.sample_rate, settings.hop_samples, settings.pitch
            )[0],
        )

    @torch.inference_mode()
    def _in_pieces(self, waveform: np.ndarray, compute: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
        """What a function of (waveforms, num_samples) gives for each frame, of pieces that overlap by what it sees
        of their surroundings: so the spectra of an hour are never in memory together."""
        hop = self._frontend.config.hop_samples
        margin, size = (math.ceil(seconds * self.sample_rate / hop) for seconds in (MARGIN_SECONDS, PIECE_SECONDS))
        parts, count = [], len(waveform) // hop + 1
        for start in range(0, count, size):
            first, stop = max(0, start - margin), min(count, start + size)
            piece = waveform[first * hop : (stop + margin) * hop]
            batch = torch.from_numpy(piece)[None].to(self.device), torch.tensor([len(piece)], device=self.device)
            parts.append(compute(*batch)[0, start - first : stop - first].cpu().numpy())
        return np.concatenate(parts)
