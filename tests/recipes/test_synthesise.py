"""The mini corpus says what its table says: measured on the sound, not on the parameters."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emotion import datacheck, datadir

LOCAL = Path(__file__).parents[2] / "recipes" / "mini" / "local"


def script(name):
    spec = importlib.util.spec_from_file_location(f"mini_{name}", LOCAL / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mini, prepare = script("synthesise"), script("prepare")
RATE = mini.SAMPLE_RATE
MAN, WOMAN = mini.SPEAKERS[:2]


def planned(speaker, emotion, seed=0, **changes):
    """Two seconds with exactly the cues of the table: no spread, no effort, no room."""
    cues = dataclasses.replace(mini.EMOTIONS[emotion], **changes)
    return cues, mini.plan(speaker, cues, 500, np.random.default_rng(seed))


def spoken(speaker, emotion, seed=0, **changes):
    """The waveform of that."""
    return mini.voice(speaker, *planned(speaker, emotion, seed, **changes), np.random.default_rng(seed))


def steady(cues, pitch_hertz=125.0, points=500):
    """Tracks of one unchanging vowel."""
    constant = np.ones(points)
    formants = np.outer(constant, (500, 1500, 2500, *mini.UPPER_FORMANTS))
    return mini.Tracks(pitch_hertz * constant, formants, constant, 0 * constant, 3000 * constant)


def power_db(waveform, low, high):
    """Power between two frequencies."""
    spectrum = np.abs(np.fft.rfft(waveform)) ** 2
    frequencies = np.fft.rfftfreq(len(waveform), 1 / RATE)
    return 10 * np.log10(spectrum[(frequencies >= low) & (frequencies < high)].sum())


def order(values):
    return sorted(values, key=values.get)


# known answer

def test_a_resonance_is_one_at_0_hz_and_3_db_down_half_a_bandwidth_from_its_formant():
    gain = np.abs(mini.resonances(np.array([[1000.0]]), np.array([125.0])))[0]
    step = RATE / mini.FFT
    frequencies = np.arange(len(gain)) * step
    assert gain[0] == pytest.approx(1)
    assert frequencies[gain.argmax()] == pytest.approx(1000, abs=step)
    beside = np.interp([1000 - 62.5, 1000 + 62.5], frequencies, gain)
    assert 20 * np.log10(beside / gain.max()) == pytest.approx(-3, abs=0.5)


def test_glottal_pulses_come_once_a_period_and_stay_open_for_the_open_quotient():
    cues = dataclasses.replace(mini.NEUTRAL, jitter=0, open_quotient=0.6)
    flow = mini.glottal_flow(np.full(mini.SOURCE_RATE, 125.0), cues, np.random.default_rng(0))
    period = mini.SOURCE_RATE // 125
    assert np.allclose(flow[:-period], flow[period:], atol=1e-6)
    assert np.mean(flow > 0) == pytest.approx(0.6, abs=0.01)
    assert np.diff(flow).min() < -1.5 * np.diff(flow).max()  # shuts faster than it opens


def test_breath_noise_is_as_far_below_the_harmonics_as_the_cue_says():
    cues = dataclasses.replace(mini.NEUTRAL, jitter=0, harmonics_db=12)
    waveform = mini.voice(MAN, cues, steady(cues), np.random.default_rng(0))[RATE // 4 : -RATE // 4]
    lag = 10 * RATE // 125  # so long that the formants' own ringing has died
    repeated = np.corrcoef(waveform[:-lag], waveform[lag:])[0, 1]  # = harmonics / (harmonics + noise)
    assert 10 * np.log10(repeated / (1 - repeated)) == pytest.approx(12, abs=1)


def test_tilt_moves_high_frequencies_by_its_octaves():
    high = []
    for tilt in (0.0, 3.0):
        cues = dataclasses.replace(mini.NEUTRAL, jitter=0, harmonics_db=60, tilt_db_per_octave=tilt)
        waveform = mini.voice(MAN, cues, steady(cues), np.random.default_rng(0))
        high.append(power_db(waveform, 3500, 4500) - power_db(waveform, 1750, 2250))
    assert high[1] - high[0] == pytest.approx(3, abs=0.5)  # one octave from 2 to 4 kHz


@pytest.mark.parametrize("emotion", mini.EMOTIONS)
@pytest.mark.parametrize("speaker", [MAN, WOMAN], ids=lambda speaker: speaker.sex)
def test_the_mean_pitch_that_pyin_hears_is_the_speakers_plus_the_tables(speaker, emotion):
    librosa = pytest.importorskip("librosa")
    hop = 5 * mini.CONTROL
    pitch, voiced, _ = librosa.pyin(spoken(speaker, emotion), fmin=65, fmax=550, sr=RATE, frame_length=1024,
                                    hop_length=hop, resolution=0.2)
    tracks = planned(speaker, emotion)[1]
    true, loud = tracks.pitch_hertz[::5], tracks.voicing[::5] > 0.3
    both = voiced[: len(true)] & loud
    assert both.sum() > 0.8 * loud.sum()
    heard = 12 * np.log2(pitch[: len(true)][both] / speaker.pitch_hertz)
    assert np.median(np.abs(heard - 12 * np.log2(true[both] / speaker.pitch_hertz))) < 0.3
    assert heard.mean() == pytest.approx(mini.EMOTIONS[emotion].pitch_semitones, abs=0.6)


# the table's order is in the sound

def test_the_order_of_levels_is_the_tables():
    levels = {emotion: np.mean([20 * np.log10(mini.rms(spoken(speaker, emotion)))
                                for speaker in (MAN, WOMAN)]) for emotion in mini.EMOTIONS}
    assert order(levels) == ["sadness", "neutral", "fear", "happiness", "anger"]


def test_the_order_of_high_frequencies_is_the_tables():
    tilts = {}
    for emotion in set(mini.EMOTIONS) - {"fear"}:  # whose breath fills what its tilt takes away
        waveforms = [spoken(MAN, emotion, seed) for seed in range(4)]
        tilts[emotion] = np.mean([power_db(w, 1000, 5000) - power_db(w, 50, 1000) for w in waveforms])
    assert order(tilts) == ["sadness", "neutral", "happiness", "anger"]


def test_the_order_of_speech_rates_is_the_tables():
    """Counts peaks of energy from 300 to 3000 Hz with a dip of 2 dB between, as de Jong & Wempe (2009) do."""
    signal = pytest.importorskip("scipy.signal")
    band = signal.butter(4, (300, 3000), "bandpass", fs=RATE, output="sos")
    peaks = {}
    for emotion in ("fear", "neutral", "sadness"):  # anger and happiness lie close together between
        waveform = np.concatenate([spoken(MAN, emotion, seed, pauses=0) for seed in range(8)])
        energy = np.square(signal.sosfilt(band, waveform)).reshape(-1, mini.CONTROL).mean(axis=1)
        energy_db = 10 * np.log10(mini.smooth(energy, 0.06) + 1e-9)
        peaks[emotion] = len(signal.find_peaks(energy_db, prominence=2)[0])
    assert order(peaks) == ["sadness", "neutral", "fear"]


def test_the_order_of_pitch_ranges_is_the_tables():
    ranges = {}
    for emotion in mini.EMOTIONS:
        tracks = [planned(MAN, emotion, seed, contour_semitones=0)[1] for seed in range(16)]
        ranges[emotion] = np.mean([np.log2(t.pitch_hertz[t.voicing > 0.2]).std() for t in tracks])
    assert set(order(ranges)[:2]) == {"sadness", "fear"} and set(order(ranges)[3:]) == {"anger", "happiness"}


def test_a_threshold_on_mean_pitch_does_not_solve_the_task():
    tree = pytest.importorskip("sklearn.tree").DecisionTreeClassifier(max_leaf_nodes=10, random_state=0)
    rng = np.random.default_rng(0)
    pitch, speakers, emotions = [], [], []
    for speaker in mini.SPEAKERS:
        for emotion, target in mini.EMOTIONS.items():
            for _ in range(50):
                semitones = mini.draw(target, speaker.expression, rng).pitch_semitones
                pitch.append([12 * np.log2(speaker.pitch_hertz) + semitones])
                speakers.append(speaker.id)
                emotions.append(emotion)
    pitch, emotions = np.array(pitch), np.array(emotions)
    known = np.isin(speakers, [speaker.id for speaker in mini.SPEAKERS[:8]])
    assert tree.fit(pitch[known], emotions[known]).score(pitch[~known], emotions[~known]) < 0.45


# invariance

def test_frames_that_pass_no_filter_add_up_to_the_signal():
    signal = np.random.default_rng(0).standard_normal(50 * mini.HOP)
    restored = mini.overlap_add(mini.spectra(signal, 1))
    assert np.allclose(restored[: -mini.HOP], signal[: -mini.HOP], atol=1e-5)


def test_a_gliding_formant_leaves_no_clicks_on_a_tone():
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    glide = np.linspace(500, 1500, RATE // mini.HOP)[:, None]
    filtered = mini.overlap_add(mini.spectra(tone, 1) * mini.resonances(glide, np.array([80.0])))
    filtered = filtered[mini.HOP : -mini.HOP] * np.hanning(RATE - 2 * mini.HOP)
    assert power_db(filtered, 2000, 8000) < power_db(filtered, 500, 1500) - 70


@pytest.mark.parametrize("emotion", mini.EMOTIONS)
def test_an_utterance_neither_clips_nor_clicks_nor_drifts(emotion):
    for number, speaker in enumerate(mini.SPEAKERS[:4]):
        waveform = mini.utterance(speaker, emotion, np.random.default_rng(number))
        assert waveform.dtype == np.float32 and 1.5 <= len(waveform) / RATE <= 2.5
        assert 0.01 < np.abs(waveform).max() <= 0.9001
        assert abs(waveform.mean()) < 1e-6 and power_db(waveform, 0, 30) < power_db(waveform, 80, 8000) - 30
        edges = np.concatenate([waveform[: RATE // 50], waveform[-RATE // 50 :]])
        assert np.abs(edges).max() < 0.003


def test_an_utterance_depends_on_its_seed_only():
    first, again, other = (mini.utterance(MAN, "fear", np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:20000], other[:20000])


# round trip

def make(directory, *options):
    subprocess.run([sys.executable, LOCAL / "synthesise.py", directory, *options], check=True)
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*.wav")}


def test_the_script_writes_a_corpus_that_becomes_a_valid_data_directory(tmp_path):
    files = make(tmp_path / "corpus", "--speakers", "2", "--utterances-per-class", "2", "--seed", "3")
    assert len(files) == 2 * 5 * 2 and "mini01/mini01-anger-02.wav" in files
    fewer = make(tmp_path / "fewer", "--speakers", "1", "--utterances-per-class", "1", "--seed", "3")
    assert fewer.items() < files.items()  # a part of the same corpus, byte for byte
    info = soundfile.info(tmp_path / "corpus" / "mini01" / "mini01-anger-02.wav")
    assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")

    prepare.main([str(tmp_path / "corpus"), str(tmp_path / "data")])
    assert datacheck.validate(tmp_path / "data") == []
    utterances = datadir.read(tmp_path / "data")
    assert {(u.id, u.speaker, u.emotion) for u in utterances} == {
        (Path(name).stem, name[:6], name.split("-")[1]) for name in files}
    assert all(os.path.isabs(u.wav) and 1.5 <= u.duration_seconds <= 2.5 for u in utterances)


# refusal

def test_an_emotion_without_cues_is_refused():
    with pytest.raises(ValueError, match="add a column to CUES"):
        mini.utterance(MAN, "boredom", np.random.default_rng(0))


@pytest.mark.parametrize("option, value", [("--speakers", "13"), ("--utterances-per-class", "0")])
def test_more_voices_or_numbers_than_there_are_is_refused(tmp_path, monkeypatch, capsys, option, value):
    monkeypatch.setattr(sys, "argv", ["synthesise.py", str(tmp_path), option, value])
    with pytest.raises(SystemExit, match="2"):
        mini.main()
    assert f"Choose {option} in that range" in capsys.readouterr().err


def test_a_folder_without_recordings_or_with_foreign_ones_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="Make them with local/synthesise.py"):
        prepare.main([str(tmp_path), str(tmp_path / "data")])
    soundfile.write(tmp_path / "song.wav", np.zeros(160), RATE)
    with pytest.raises(SystemExit, match="Give the folder that synthesise.py wrote"):
        prepare.main([str(tmp_path), str(tmp_path / "data")])
