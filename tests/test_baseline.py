"""A speaker's neutral speech is set against that of training; voices here differ by a gain, 2 ln(gain) in log power."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from emotion import Analyzer, baseline, checkpoint, cli, labels
from emotion.features import FrontendConfig
from emotion.timeline import Span

RATE = 16_000


@pytest.fixture
def knowing(tiny, voice) -> checkpoint.Checkpoint:
    """The tiny model, trained, so to speak, on this one voice."""
    return replace(tiny, neutral=baseline.neutral_voice(tiny.frontend, [(voice, "her")]))


@pytest.fixture
def path(tmp_path, voice):
    """Quieter speech of the same voice."""
    soundfile.write(tmp_path / "calm.wav", 0.5 * voice, RATE, subtype="FLOAT")
    return tmp_path / "calm.wav"


def normalised_by(normalisation: str, tiny, voice) -> checkpoint.Checkpoint:
    features = FrontendConfig(num_bands=20, normalisation=normalisation)
    model = checkpoint.build("serial", checkpoint.options(tiny), features, labels.scheme("mini5"))
    return replace(model, neutral=baseline.neutral_voice(model.frontend, [(voice, "her")]))


@pytest.mark.parametrize("normalisation, share", baseline.SHARES.items())
def test_the_difference_to_the_voices_of_training_is_taken_off_by_its_share(tiny, voice, normalisation, share):
    model = normalised_by(normalisation, tiny, voice)
    mean, deviation = baseline.statistics(model, [0.5 * voice])
    moved = (mean - model.frontend.mean)[:, 0]
    assert moved[0].numpy() == pytest.approx(share * 2 * np.log(0.5), abs=1e-3)
    assert moved[1:].abs().max() < 1e-4 and torch.equal(deviation, model.frontend.deviation)


def test_pauses_are_no_part_of_a_voice(tiny, voice):
    pause = np.random.default_rng(1).normal(0, 1e-6, 3 * RATE).astype(np.float32)
    alone, paused = (
        baseline.neutral_voice(tiny.frontend, [(waveform, "her")]) for waveform in (voice, np.append(voice, pause))
    )
    assert (alone - paused)[0].abs().max() < 0.05


def test_every_speaker_of_training_counts_alike(tiny, voice):
    loud, quiet = (baseline.neutral_voice(tiny.frontend, [(gain * voice, "")]) for gain in (1, 0.1))
    both = baseline.neutral_voice(tiny.frontend, [(voice, "a"), (0.1 * voice, "b"), (0.1 * voice, "b")])
    assert torch.allclose(both, (loud + quiet) / 2, atol=1e-4)


def test_the_neutral_speech_of_training_changes_nothing(knowing, voice):
    small = Analyzer(knowing, "cpu")
    plain, adapted = (small.analyze(voice, RATE, baseline=own) for own in (None, voice))
    assert adapted.probabilities == pytest.approx(plain.probabilities, abs=1e-5)


def test_a_fainter_speaker_is_heard_as_if_half_as_faint(knowing, voice):
    small = Analyzer(knowing, "cpu")
    adapted = small.analyze(voice / 25, RATE, baseline=voice / 25).probabilities
    half, plain = (small.analyze(voice / gain, RATE).probabilities for gain in (5, 25))
    assert np.abs(adapted - half).max() < 0.2 * np.abs(plain - half).max() > 1e-4


def test_enrolled_speakers_are_those_of_a_baseline(knowing, voice, path):
    small = Analyzer(knowing, "cpu")
    small.enroll("anna", path)
    for own in (path, path.parent, [path, path], 0.5 * voice):
        by_name, by_baseline = small.analyze(voice, RATE, speaker="anna"), small.analyze(voice, RATE, baseline=own)
        assert by_baseline.probabilities == pytest.approx(by_name.probabilities, abs=1e-5)
    among, = small.analyze([path], speaker="anna")
    assert among.probabilities == pytest.approx(small.analyze(path, baseline=path).probabilities, abs=1e-5)


def test_turns_of_enrolled_speakers_are_heard_as_theirs(knowing, voice, path):
    small = Analyzer(knowing, "cpu")
    small.enroll("anna", path)
    twice = np.concatenate([voice, voice])
    middle, end = len(voice) / RATE, len(twice) / RATE
    turns = small.analyze(twice, RATE, spans=[Span(0, middle, "anna"), Span(middle, end, "ben")]).segments
    own, plain = small.analyze(voice, RATE, speaker="anna"), small.analyze(voice, RATE)
    assert turns[0].probabilities == pytest.approx(own.probabilities, abs=1e-5)
    assert turns[1].probabilities == pytest.approx(plain.probabilities, abs=1e-5)


def test_what_a_model_knows_of_neutral_speech_is_kept_with_it(knowing, tiny, tmp_path):
    checkpoint.write(knowing, tmp_path / "model.safetensors")
    again = checkpoint.read(tmp_path)
    assert torch.equal(again.neutral, knowing.neutral)
    assert again.fingerprint == knowing.fingerprint != tiny.fingerprint


@pytest.mark.parametrize("ask, reason", [
    (lambda a, voice, path: a.analyze(voice, RATE, speaker="ben"), "'ben' is not enrolled, nobody is"),
    (lambda a, voice, path: a.analyze(voice, RATE, speaker="ben", baseline=voice), "Give one of them"),
    (lambda a, voice, path: a.enroll("ben", []), "no recordings of neutral speech"),
    (lambda a, voice, path: a.enroll("ben", voice[:3], RATE), "too little to know a voice by"),
    (lambda a, voice, path: a.enroll("ben", 0 * voice, RATE), "too little to know a voice by"),
    (lambda a, voice, path: a.enroll("ben", voice), "needs its sample_rate"),
    (lambda a, voice, path: a.enroll("ben", path.parent / "none.wav"), "none.wav"),
])
def test_what_cannot_be_a_baseline_is_refused(knowing, voice, path, ask, reason):
    with pytest.raises(ValueError, match=reason):
        ask(Analyzer(knowing, "cpu"), voice, path)


def test_models_that_have_no_use_for_a_baseline_say_so(tiny, voice):
    with pytest.raises(ValueError, match="does not know how the neutral speech"):
        Analyzer(tiny, "cpu").enroll("anna", voice, RATE)
    with pytest.raises(ValueError, match="normalises each recording by itself"):
        Analyzer(normalised_by("utterance", tiny, voice), "cpu").enroll("anna", voice, RATE)


def test_the_command_line_knows_baselines(knowing, path, tmp_path, capsys):
    checkpoint.write(knowing, tmp_path / "model.safetensors")
    ask = ["score", str(path), "--model", str(tmp_path), "--device", "cpu"]
    (tmp_path / "turns.csv").write_text("path,start_seconds,end_seconds,speaker\ncalm.wav,0,1,anna\n")
    turns = ["--turns", str(tmp_path / "turns.csv")]
    said = []
    for further in ([], ["--baseline", str(path)], turns, [*turns, "--enroll", f"anna={path}"]):
        assert cli.main([*ask, *further]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] != said[1] and said[2] != said[3]
    for wrong, reason in ((["--enroll", f"anna={path}"], "--turns"), ([*turns, "--enroll", "anna"], "NAME=PATH")):
        assert cli.main([*ask, *wrong]) == 1
        assert reason in capsys.readouterr().err
