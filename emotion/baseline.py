"""A speaker's own neutral speech: how the voice, the room and the microphone sound, apart from any emotion.

The difference between it and the neutral speech that the model was trained on is taken off what the model hears; by
half for a model that heard no speaker so adapted in training, as more would cost where all recordings are alike
(recipes/bench/local/baseline.py measures it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from .checkpoint import Checkpoint
from .features import Frontend

SHORTEST_SECONDS, QUIETEST = 0.25, 1e-4   # of neutral speech
SHARES = {"global": 0.5, "speaker": 1.0}   # of the difference, by the normalisation that the model was trained with


def neutral_voice(frontend: Frontend, recordings: Iterable[tuple[np.ndarray, str]]) -> Tensor | None:
    """Mean log-mel of neutral speech where it is loud, each speaker counted once; None where there is no recording.

    recordings: waveforms (samples,) at the front end's rate, each with its speaker.   Shape: (channels, 1, bands).
    """
    device = frontend.mean.device
    waveforms = ((torch.from_numpy(waveform)[None].to(device), speaker) for waveform, speaker in recordings)
    voices = frontend.by_speaker(
        ((waveform, torch.tensor([waveform.shape[1]], device=device), [speaker]) for waveform, speaker in waveforms),
        loud_only=True,
    )
    return torch.stack([mean for mean, _ in voices.values()]).mean(0) if voices else None


def statistics(checkpoint: Checkpoint, waveforms: Iterable[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Mean and deviation to normalise by, from one speaker's neutral speech; what Recording.statistics takes.

    Shape: waveforms (samples,) each; twice (channels, 1, bands).
    Raises: ValueError where there are none, too little or silence, or for a model that knows no neutral speech or
    needs none.
    """
    frontend = checkpoint.frontend
    share = SHARES.get(frontend.config.normalisation)
    if share is None or checkpoint.neutral is None:
        raise ValueError(
            "this model normalises each recording by itself: neutral speech would change nothing. Leave it out."
            if share is None else
            "this model does not know how the neutral speech that it was trained on sounds, so nobody's can be set "
            "against it. Train it with a class neutral and this version of emotion."
        )
    samples, peak = 0, 0.0

    def counted() -> Iterator[tuple[np.ndarray, str]]:
        nonlocal samples, peak
        for waveform in waveforms:
            samples, peak = samples + len(waveform), max(peak, float(np.abs(waveform).max(initial=0)))
            yield waveform, ""

    own = neutral_voice(frontend, counted())
    if own is None:
        raise ValueError("no recordings of neutral speech. Give at least one, of some seconds.")
    seconds = samples / frontend.config.sample_rate
    if seconds < SHORTEST_SECONDS or peak < QUIETEST:
        raise ValueError(f"{seconds:.3f} s of neutral speech, {peak:.2g} of full scale at the most, are too little to "
                         "know a voice by. Give some seconds.")
    neutral = checkpoint.neutral.to(own.device)
    return frontend.mean + share * (own - neutral), frontend.deviation
