"""Answers do not depend on how many threads find them."""

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from emotion import Analyzer, flow
from emotion.analyzer import FileError, Recording, WindowConfig
from emotion.quality import Quality
from emotion.windows import Grid, Job

RATE = 16_000
LENGTHS = (0.7, 5.3, 2.0, 0.4, 9.1, 1.1, 3.0, 0.9, 0.2, 2.6)


@pytest.fixture(autouse=True)
def restored():
    """PyTorch's number of threads as it was."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(flow, "GROUP_SECONDS", 4.0)
    monkeypatch.setattr(flow, "BATCH_SECONDS", 3.0)
    monkeypatch.setattr(flow, "PIECE_SECONDS", 3.0)


def ask(tiny, threads: int | None) -> Analyzer:
    return Analyzer(tiny, "cpu", threads=threads, windows=WindowConfig(length_seconds=2.0, hop_seconds=1.5))


def noises() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [0.1 * rng.normal(size=round(RATE * seconds)).astype(np.float32) for seconds in LENGTHS]


def folder(path: Path) -> Path:
    for i, waveform in enumerate(noises()):
        soundfile.write(path / f"{i}.wav", waveform, RATE)
    (path / "4a.wav").write_bytes(b"no audio")
    return path


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_answers_alike_and_in_order(tiny, tmp_path, small_groups, threads):
    expected = list(ask(tiny, None).analyze(folder(tmp_path)))
    answers = list(ask(tiny, threads).analyze(tmp_path))
    assert [answer.name for answer in answers] == [answer.name for answer in expected]
    assert [isinstance(answer, FileError) for answer in answers] == [i == 5 for i in range(len(LENGTHS) + 1)]
    for answer, other in zip(answers, expected):
        if not isinstance(answer, FileError):
            assert answer.probabilities == pytest.approx(other.probabilities, abs=1e-6)
            assert answer.step_probabilities == pytest.approx(other.step_probabilities, abs=1e-6)


def test_a_failure_of_one_recording_is_raised_from_any_thread(tiny, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no audio")
    with pytest.raises(ValueError, match="a.wav"):
        ask(tiny, 2).analyze(tmp_path / "a.wav")


def test_an_error_of_the_model_is_raised_from_any_thread(tiny, monkeypatch):
    analyzer = ask(tiny, 2)

    def fail(*_):
        raise MemoryError("no memory left")

    monkeypatch.setattr(analyzer._engine, "answer", fail)
    with pytest.raises(MemoryError, match="no memory left"):
        analyzer.analyze(noises(), RATE)


def test_no_more_is_read_ahead_or_answered_at_once_than_there_are_threads(tiny, small_groups, monkeypatch):
    analyzer, lock, answering, most, read = ask(tiny, 2), threading.Lock(), 0, 0, []
    answer = analyzer._engine.answer

    def counted(*batch):
        nonlocal answering, most
        with lock:
            answering += 1
            most = max(most, answering)
        try:
            return answer(*batch)
        finally:
            with lock:
                answering -= 1

    def recording(i: int) -> Recording:
        return Recording(str(i), lambda: read.append(i) or [np.full(RATE, 0.01, np.float32)])

    monkeypatch.setattr(analyzer._engine, "answer", counted)
    answers = analyzer.run(recording(i) for i in range(100))
    next(answers)
    assert len(read) < 30
    assert len(list(answers)) == 99 and most <= 2


def test_an_answer_that_nobody_waits_for_is_given_up(tiny, small_groups):
    alive = threading.active_count()
    answers = ask(tiny, 3).run(Recording(str(i), lambda: [np.full(RATE, 0.01, np.float32)]) for i in range(50))
    next(answers)
    answers.close()
    assert threading.active_count() == alive


def test_the_quota_of_a_container_counts(monkeypatch):
    assert 1 <= flow.available_cores()
    monkeypatch.setattr(flow.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for quota, cores in (("250000 100000", 2), ("50000 100000", 1), ("max 100000", 64)):
        monkeypatch.setattr(flow.Path, "read_text", lambda _, quota=quota: quota)
        assert flow.available_cores() == cores


def test_threads_must_be_at_least_one(tiny):
    with pytest.raises(ValueError, match="threads=0 must be at least 1"):
        Analyzer(tiny, "cpu", threads=0)


def test_what_has_been_answered_is_not_kept_for_the_collector_of_cycles(tiny):
    waveforms = noises()
    alive = [weakref.ref(waveform) for waveform in waveforms]
    recordings = [Recording(str(i), lambda w=waveform: [w]) for i, waveform in enumerate(waveforms)]
    gc.disable()
    try:
        answers = list(ask(tiny, 1).run(recordings))
        del waveforms, recordings
        assert len(answers) == len(LENGTHS) and not any(waveform() is not None for waveform in alive[:-1])
    finally:
        gc.enable()


@pytest.mark.parametrize("on_gpu, seconds", [(False, 30), (True, 600)])
def test_a_gpu_is_asked_for_more_at_once(on_gpu, seconds):
    asked = []

    def answer(batch):
        asked.append(sum(len(window.waveform) for window in batch) / RATE)
        for window in batch:
            window.finish(None)

    grid = Grid.of(WindowConfig(), RATE, 1024)
    jobs = [Job(Recording("a", lambda: [np.zeros(5 * RATE, np.float32)]), Quality(RATE), grid) for _ in range(130)]
    list(flow.answered(jobs, answer, RATE, on_gpu=on_gpu))
    assert max(asked) == seconds and sum(asked) == 650
