import asyncio
import base64
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from serving import RATE, check_same, held, noise, post, record, running, until

from emotion.analyzer import Analyzer
from emotion.export import export
from emotion.serve.hearing import Hearing, Upload
from emotion.serve.picture import Columns, Picture
from emotion.serve.worker import BATCH_SECONDS, Worker

# the answer

def test_an_answer_is_what_the_analyzer_says(server, analyzer, call):
    (told,) = post(server, call).json()["answers"]
    answer = analyzer.analyze(call)
    check_same(told, answer)
    assert told["labels"] == list(answer.labels)
    assert told["speech_seconds"] == pytest.approx(sum(p.end_seconds - p.start_seconds for p in answer.segments))


def test_each_channel_is_answered_by_itself(server, analyzer, call):
    told = post(server, call, channels="separate").json()["answers"]
    for one, answer in zip(told, analyzer.analyze(call, channels="separate"), strict=True):
        check_same(one, answer)


def test_a_recording_that_comes_in_blocks_gets_the_same_answer(server, analyzer):
    content = io.BytesIO()
    soundfile.write(content, noise(70), RATE, format="FLAC")
    (told,) = post(server, content.getvalue()).json()["answers"]
    check_same(told, analyzer.analyze(content))
    assert told["duration_seconds"] == 70


def test_what_a_browser_records_is_read(server, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        for start in range(0, 48_000, 960):
            frame = av.AudioFrame.from_ndarray(np.full((1, 960), 0.1, np.float32), "flt", "mono")
            frame.sample_rate, frame.pts = 48_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    answer = post(server, tmp_path / "a.webm", "a.webm")
    assert answer.status_code == 200, answer.text
    (told,) = answer.json()["answers"]
    assert told["duration_seconds"] == pytest.approx(1, abs=0.1)


def test_requests_at_once_share_a_pass_and_get_the_answers_they_get_alone(server, analyzer, monkeypatch):
    files = [io.BytesIO() for _ in range(12)]
    for i, file in enumerate(files):
        soundfile.write(file, noise(0.5 + 0.25 * i, seed=i), RATE, format="WAV")
    alone = [post(server, file.getvalue()).json()["answers"][0] for file in files]
    passes, answer_all = [], analyzer.run
    monkeypatch.setattr(analyzer, "run", lambda recordings: passes.append(kept := [*recordings]) or answer_all(kept))
    with ThreadPoolExecutor(12) as pool:
        with held(server.worker):
            asked = [pool.submit(post, server, file.getvalue()) for file in files]
            until(lambda: len(server.worker._waiting) == 12)
        together = [one.result().json()["answers"][0] for one in asked]
    assert [len(kept) for kept in passes] == [12]
    for one, other in zip(alone, together):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)
        assert [p["end_seconds"] for p in one["segments"]] == [p["end_seconds"] for p in other["segments"]]


def test_a_short_recording_does_not_wait_for_the_end_of_a_long_one(analyzer, tmp_path):
    worker, done = Worker(analyzer), []

    async def ask(name: str, seconds: float) -> None:
        path = record(tmp_path / name, noise(seconds))
        with open(path, "rb") as file:
            await Hearing(Upload(file, name), worker, 600.0, pictured=False).answers(separate=False)
        done.append(name)

    async def ask_both() -> None:
        long = asyncio.ensure_future(ask("long.wav", 300))
        while not worker._waiting:
            await asyncio.sleep(0)
        await ask("short.wav", 1)
        await long

    with held(worker):
        asking = threading.Thread(target=lambda: asyncio.run(ask_both()))
        asking.start()
        until(lambda: len(worker._waiting) == 2)   # a block of the long one, and the short one
    asking.join()
    worker.close()
    assert done == ["short.wav", "long.wav"]


def test_a_turn_is_no_longer_than_its_bound(analyzer):
    worker, turns = Worker(analyzer), []
    with held(worker):
        next_turn = worker._next_turn
        worker._next_turn = lambda: turns.append(next_turn()) or turns[-1]
        futures = [worker.call(lambda: None, 50.0) for _ in range(5)]
        futures.append(worker.call(lambda: None, 2 * BATCH_SECONDS))   # alone, as it cannot be parted
    for future in futures:
        future.result(10)
    worker.close()
    assert [len(turn) for turn in turns] == [2, 2, 1, 1, 0]


# pictures

def test_columns_are_joined_in_pairs_before_they_are_too_many(rng):
    values, columns = rng.normal(size=1000), Columns(np.maximum, -np.inf, most=64)
    for part in np.split(values, [1, 7, 300, 301]):
        columns.add(part)
    assert columns.width == 16 and len(columns.values) == 63
    assert np.allclose(columns.values, [values[i : i + 16].max() for i in range(0, 1000, 16)])
    assert columns.counts.tolist() == [16] * 62 + [8]


def test_a_click_and_a_tone_are_drawn_where_they_are(analyzer):
    waveform = np.zeros(3 * RATE, np.float32)
    waveform[RATE] = -0.5
    waveform[2 * RATE :] = 0.25 * np.sin(2 * np.pi * 1000 / RATE * np.arange(RATE))
    picture = Picture(RATE, analyzer.checkpoint.frontend.config)
    for part in np.split(waveform, 3):   # as blocks come
        picture.hear(part)
        picture.see(analyzer.spectrogram(part))
    low, high, seconds = picture.waveform
    assert low[round(1 / seconds)] == -0.5 and high.max() == pytest.approx(0.25)
    mel, seconds = picture.spectrogram
    assert len(mel) * seconds == pytest.approx(3, abs=0.02)
    assert mel.argmax() // mel.shape[1] * seconds >= 1.99 and mel[100].max() > mel[50].max() == mel[150].max()


def test_pictures_come_with_the_answer_where_they_are_asked_for(server, voice, tmp_path):
    path = record(tmp_path / "a.wav", voice)
    (told,) = post(server, path, pictures=True).json()["answers"]
    wave, mel = told["waveform"], told["spectrogram"]
    high = np.frombuffer(base64.b64decode(wave["high"]), np.int8)
    assert len(high) * wave["column_seconds"] == pytest.approx(told["duration_seconds"], abs=0.01)
    assert wave["peak"] == pytest.approx(np.abs(voice).max(), abs=1e-4) and 126 <= np.abs(high).max() <= 127
    values = np.frombuffer(base64.b64decode(mel["values"]), np.uint8)
    assert len(values) % mel["num_bands"] == 0 and values.max() == 255 and values.min() == 0
    (told,) = post(server, path).json()["answers"]
    assert told["waveform"] is None and told["spectrogram"] is None


def test_an_exported_model_answers_without_a_spectrogram(analyzer, voice, tmp_path):
    pytest.importorskip("onnxruntime")
    export(analyzer.checkpoint, tmp_path / "model.onnx")
    with running(Analyzer(tmp_path / "model.onnx")) as client:
        (told,) = post(client, record(tmp_path / "a.wav", voice), pictures=True).json()["answers"]
    assert told["waveform"] and told["spectrogram"] is None


def test_each_channel_of_a_long_recording_tells_its_number(server):
    content = io.BytesIO()
    soundfile.write(content, np.stack([noise(40, 1), noise(40, 2)], axis=1), RATE, format="FLAC")
    told = post(server, content.getvalue(), channels="separate").json()["answers"]
    assert [one["channel"] for one in told] == [1, 2]
