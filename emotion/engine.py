"""A checkpoint that answers: front end, network and speech detector on one device. The Analyzer's PyTorch."""

from __future__ import annotations

import numpy as np
import torch

from .checkpoint import Checkpoint
from .detector import SpeechDetector
from .exported import Answers
from .hardware import channels_last, choose_device


class Engine:
    """What Exported is, in PyTorch. detects: whether it listens for speech; if not, Answers.speech is None."""

    def __init__(self, checkpoint: Checkpoint, device: str = "auto", detects: bool = True):
        self.checkpoint, self.device = checkpoint, choose_device(device)
        self._detector = SpeechDetector().to(self.device).eval() if detects else None
        self._model = channels_last(checkpoint.model.to(self.device)).eval()
        self._frontend = checkpoint.frontend.to(self.device).eval()
        settings, reach = checkpoint.frontend.config, self._model.reach
        self.labels, self.sample_rate = checkpoint.labels, settings.sample_rate
        self.unknown_below = checkpoint.calibration.unknown_below
        self.step_samples = reach.hop * settings.hop_samples
        self.first_step_seconds = reach.centre * settings.hop_samples / settings.sample_rate

    @property
    def fingerprint(self) -> str:
        return self.checkpoint.fingerprint

    @torch.inference_mode()
    def answer(self, waveforms: np.ndarray, num_samples: np.ndarray, statistics=None) -> Answers:
        """As Exported.answer, for waveforms with zeros in the padding.

        statistics: mean and deviation (channels, 1, bands) of the speaker of each utterance, for the Frontend.
        """
        batch, counts = (torch.from_numpy(part).to(self.device) for part in (waveforms, num_samples))
        if statistics is not None:
            statistics = tuple(torch.stack(part).to(self.device) for part in zip(*statistics))
        mel, prosody, lengths = self._frontend(batch, counts, statistics)
        output = self._model(mel.contiguous(memory_format=torch.channels_last), prosody, lengths)
        calibration = self.checkpoint.calibration
        return Answers(
            calibration.apply_utterance(output.logits).cpu().numpy(),
            calibration.apply_steps(output.step_logits).cpu().numpy(),
            output.step_lengths.cpu().numpy(),
            None if self._detector is None else self._detector(batch, self.sample_rate).cpu().numpy(),
            output.heads["embedding"].float().cpu().numpy(),
        )

    @torch.inference_mode()
    def spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """Log-mel as the front end computes it. Shape: (samples,) -> (frames, bands)."""
        batch = torch.from_numpy(waveform)[None].to(self.device)
        mel, _ = self._frontend.log_mel(batch, torch.tensor([len(waveform)], device=self.device))
        return mel[0, 0].cpu().numpy()
