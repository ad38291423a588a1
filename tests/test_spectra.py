import numpy as np
import pytest
import torch

from emotion import spectra
from emotion.detector import SpeechDetector
from emotion.features import Frontend
from emotion.spectra import pieces, power


def test_power_is_that_of_numpy(rng):
    frames, window = rng.normal(size=(3, 5, 64)), np.hanning(64)
    expected = np.abs(np.fft.rfft(frames * window)) ** 2
    assert power(torch.from_numpy(frames), torch.from_numpy(window)).numpy() == pytest.approx(expected)


@pytest.mark.parametrize("dimension", [0, 1])
@pytest.mark.parametrize("shape", [(7, 11, 30), (1, 1, 1), (200, 3, 4000)])
def test_pieces_are_all_of_it_and_small(dimension, shape):
    frames = torch.arange(np.prod(shape)).reshape(shape)
    parts = pieces(frames, dimension)
    assert torch.equal(torch.cat(list(parts), dimension), frames)
    assert all(part.numel() <= spectra.PIECE_SAMPLES or part.shape[dimension] == 1 for part in parts)


def test_how_large_a_piece_is_changes_no_answer(rng, monkeypatch):
    waveforms = torch.from_numpy(rng.normal(0, 0.1, (3, 20_000)).astype("float32"))
    frontend, detector = Frontend(), SpeechDetector()

    def answers():
        return frontend.mel(waveforms), detector(waveforms, 16_000)

    whole = answers()
    monkeypatch.setattr(spectra, "PIECE_SAMPLES", 2000)
    for answer, expected in zip(answers(), whole):
        torch.testing.assert_close(answer, expected)
