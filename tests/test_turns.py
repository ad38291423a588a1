import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recorded import RATE, assert_alike, noise, saved

from emotion import Analyzer, Timeline, audio
from emotion.analyzer import FileError
from emotion.calibration import Calibration
from emotion.timeline import Span

# channels and spans

def test_each_channel_gets_the_answer_it_gets_alone(small, tmp_path):
    left, right = noise(1.0, 1), noise(1.0, 2)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    for source in (tmp_path / "two.wav", np.stack([left, right])):
        answers = small.analyze(source, RATE, channels="separate")
        assert [answer.channel for answer in answers] == [1, 2]
        for answer, waveform in zip(answers, (left, right)):
            assert_alike(answer, small.analyze(waveform, RATE))
    answers = small.analyze([tmp_path / "two.wav", left], RATE, channels="separate")
    assert [(Path(answer.name).name, answer.channel) for answer in answers] == [
        ("two.wav", 1), ("two.wav", 2), ("array 1", 1)]
    half = small.analyze([np.stack([left, np.full_like(left, np.nan)])], RATE, channels="separate")
    assert [(type(answer), answer.channel) for answer in half] == [(Timeline, 1), (FileError, 2)]
    broken = small.analyze([tmp_path / "none.wav"], channels="separate")
    assert [type(answer) for answer in broken] == [FileError]
    assert len(list(small.analyze(tmp_path, channels="separate"))) == 2
    assert small.analyze(left, RATE).channel is None


def test_spans_are_answered_as_utterances_by_themselves(small, tmp_path):
    waveform = noise(3.0)
    saved(tmp_path / "a.wav", waveform)
    turns = [Span(1.5, 3.0, "B"), Span(0.25, 2.0, "A")]
    for source in (tmp_path / "a.wav", waveform):
        answer = small.analyze(source, RATE, spans=turns)
        assert [(part.start_seconds, part.end_seconds, part.speaker) for part in answer.segments] == [
            (0.25, 2.0, "A"), (1.5, 3.0, "B")]
        alone = [small.analyze(waveform[round(a * RATE) : round(b * RATE)], RATE) for a, b in ((0.25, 2), (1.5, 3))]
        for part, expected in zip(answer.segments, alone):
            assert part.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
            assert (part.label, part.confidence) == (expected.label, max(part.probabilities))
        expected = np.average([one.probabilities for one in alone], axis=0, weights=[1.75, 1.5])
        assert answer.probabilities == pytest.approx(expected, abs=1e-5)
        assert answer.duration_seconds == 3.0 and len(answer.step_times) == len(answer.step_probabilities)
        assert answer.step_times[0] == pytest.approx(0.25 + 0.03)


class Pipe(io.RawIOBase):
    """What cannot be read twice."""

    def __init__(self, content: bytes):
        self.read = io.BytesIO(content).read


@pytest.mark.parametrize("opened", [io.BytesIO, Pipe])
def test_an_open_file_is_read_apart_by_all_who_ask_for_a_part_of_it(tiny, tmp_path, opened):
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([noise(20.0, 1), noise(20.0, 2)], axis=1), RATE)
    analyzer, content = Analyzer(tiny, "cpu", threads=4), path.read_bytes()
    expected, found = (analyzer.analyze(source, channels="separate") for source in (path, opened(content)))
    spans = [Span(i, i + 2.5) for i in range(17)]
    expected += [analyzer.analyze(path, spans=spans)]
    found += [analyzer.analyze(opened(content), spans=spans)]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one.step_probabilities, other.step_probabilities, atol=1e-5)


@pytest.mark.parametrize("ending, exact", [("wav", True), ("flac", True), ("mp3", False)])
def test_turns_of_what_cannot_be_sought_are_cut_from_one_decoding(tiny, tmp_path, monkeypatch, ending, exact):
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(9.0), RATE)
    spans, read, starts = [Span(i, i + 1.5) for i in range(6)], audio.read, []
    one_by_one = [Analyzer(tiny, "cpu").analyze(read(path, RATE, s.start_seconds, s.end_seconds), RATE) for s in spans]
    monkeypatch.setattr(audio, "read", lambda source, rate, *span: starts.append(span) or read(source, rate, *span))
    answer = Analyzer(tiny, "cpu").analyze(path, spans=spans)
    assert len(starts) == (len(spans) if exact else 1)
    for part, alone in zip(answer.segments, one_by_one, strict=True):
        assert part.probabilities == pytest.approx(alone.probabilities, abs=1e-4)
    with pytest.raises(audio.AudioError, match=f"a.{ending}.*Give one inside it"):
        Analyzer(tiny, "cpu").analyze(path, spans=[Span(8.0, 20.0)])


def test_turns_without_speech_neither_flag_a_recording_nor_count_in_it(tiny, voice):
    tiny.model.head.classifier.weight.data *= 100   # turns differ
    analyzer, seconds = Analyzer(tiny, "cpu"), len(voice) / RATE
    waveform = np.concatenate([voice, np.zeros(5 * RATE, np.float32)])
    spoken, short, silent = Span(0.0, seconds), Span(0.5, 0.58), Span(seconds + 1, seconds + 4)
    alone = analyzer.analyze(waveform, RATE, spans=[spoken])
    assert alone.flags == ()
    together = analyzer.analyze(waveform, RATE, spans=[spoken, silent])
    assert together.flags == () and together.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
    assert analyzer.analyze(waveform, RATE, spans=[spoken, short]).flags == ()
    assert analyzer.analyze(waveform, RATE, spans=[silent]).flags == ("no_speech", "silent")


def test_times_are_plain_numbers_whatever_spans_are_made_of(small):
    answer = small.analyze(noise(2.0), RATE, spans=[Span(np.float32(0), np.int64(1))])
    assert json.loads(json.dumps(answer.to_dict()))["segments"][0]["end_seconds"] == 1.0


@pytest.mark.parametrize("samples", range(16_000, 18_048, 128))
def test_the_last_segment_ends_with_the_recording(tiny, samples):
    answer = Analyzer(tiny, "cpu", speech=None).analyze(noise(samples / RATE), RATE)
    assert answer.segments[-1].end_seconds == pytest.approx(samples / RATE, abs=0.0006)


@pytest.mark.parametrize("ask, match", [
    (lambda small: small.analyze(noise(1), RATE, channels="left"), "mix, separate"),
    (lambda small: small.analyze([noise(1)], RATE, spans=[Span(0, 1)]), "Analyze one"),
    (lambda small: small.analyze(noise(1), RATE, spans=[Span(0, 1)], channels="separate"), "channels='mix'"),
    (lambda small: small.analyze(noise(1), RATE, spans=[]), "Leave spans out"),
    (lambda small: small.analyze(noise(1), RATE, spans=[Span(2, 3)]), "Give one inside it"),
    (lambda small: small.analyze(noise(1), RATE, spans=[Span(0, 2)]), "Give one inside it"),
    (lambda small: small.analyze(noise(1), RATE, spans=[Span(-1, 1)]), "begins before 0"),
    (lambda small: small.analyze(noise(1), RATE, spans=[Span(math.nan, 1)]), "begins before 0"),
])
def test_what_cannot_be_asked_together_is_refused(small, ask, match):
    with pytest.raises(ValueError, match=match):
        ask(small)


def test_spans_of_another_kind_are_refused(small):
    with pytest.raises(TypeError, match="emotion.timeline.Span"):
        small.analyze(noise(1), RATE, spans=[(0, 1)])


def test_a_model_holds_back_turns_too(tiny):
    waveform, turns = noise(4.0), [Span(0, 1), Span(1.5, 4)]
    plain = Analyzer(tiny, "cpu").analyze(waveform, RATE, spans=turns)
    shy = Analyzer(tiny.with_calibration(Calibration(unknown_below=0.999)), "cpu").analyze(waveform, RATE, spans=turns)
    assert shy.label == "unknown" and [part.label for part in shy.segments] == ["unknown"] * 2
    assert [part.confidence for part in shy.segments] == [part.confidence for part in plain.segments]


def test_steps_and_embedding_of_turns_are_those_of_each(small):
    waveform, turns = noise(4.0), [Span(0.5, 1.5), Span(2, 4)]
    first, second = (small.analyze(waveform[round(turn.start_seconds * RATE) : round(turn.end_seconds * RATE)], RATE)
                     for turn in turns)
    answer = small.analyze(waveform, RATE, spans=turns)
    assert answer.step_times == pytest.approx(np.concatenate([0.5 + first.step_times, 2 + second.step_times]))
    assert answer.embedding == pytest.approx((first.embedding + 2 * second.embedding) / 3, abs=1e-5)
