import asyncio
import base64
import contextlib
import dataclasses
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import jsonschema
import numpy as np
import pytest
import soundfile
import torch
import uvicorn
from siege import siege
from tiny import tiny as untrained

from emotion import checkpoint, formats, labels
from emotion.analyzer import Analyzer
from emotion.cli import main
from emotion.export import export
from emotion.features import FrontendConfig
from emotion.serve import Limits, gate, listening
from emotion.serve import serve as run_server
from emotion.serve.app import build
from emotion.serve.hearing import Hearing, Upload
from emotion.serve.picture import Columns, Picture
from emotion.serve.schema import DOWNLOADS, Analysis, plain_name, timelines
from emotion.serve.worker import BATCH_SECONDS, Worker
from emotion.stream import Stream
from emotion.timeline import Timeline
from emotion.windows import Recording

RATE = 16_000
HOSTILE = [
    "../../etc/passwd.wav", "C:\\calls\\..\\a.wav", "<img src=x onerror=window.ran=1>.wav", "a\r\nb: c.wav",
    "~root.wav", "rm -rf . |", "left \u202evaw.thgir.wav", "..", "", "a" * 300 + ".wav", "%2e%2e%2f$(id).wav",
]


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    torch.manual_seed(1)
    tiny = {"channels": [4, 8], "pools": [[2, 2], [2, 2]], "stem_stride": [2, 2], "features": 8, "lstm_width": 8}
    return Analyzer(checkpoint.build("serial", tiny, FrontendConfig(num_bands=20), labels.scheme("mini5")), "cpu")


@contextlib.contextmanager
def running(analyzer: Analyzer, limits: Limits = Limits(), host: str | None = "127.0.0.1"):
    """A client of a server in this process, with its gate, worker and address."""
    worker = Worker(analyzer)
    app = build(worker, "tiny", limits, host)
    with listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
                client.gate, client.worker, client.address = app, worker, listener.getsockname()
                until(lambda: server.started)
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def server(analyzer):
    with running(analyzer) as client:
        yield client


@pytest.fixture
def call(voice, tmp_path) -> Path:
    """Two persons, one in each channel: the second speaks later."""
    return record(tmp_path / "call.wav", np.stack([np.pad(voice, (0, 8000)), np.pad(voice[::-1], (8000, 0))], axis=1))


def record(path: Path, waveform: np.ndarray) -> Path:
    soundfile.write(path, waveform, RATE)
    return path


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(RATE * seconds)).astype(np.float32)


def post(client, content, name: str = "call.wav", **query):
    content = content.read_bytes() if isinstance(content, Path) else content
    return client.post("/analyze", params=query, files={"file": (name, content)})


def check_same(told: dict, answer: Timeline) -> None:
    """Served and analyzed answers are equal, but for rounding in the last digits, as in any two batches."""
    expected = answer.to_dict()
    for name in ("label", "channel", "flags", "duration_seconds"):
        assert told[name] == expected.get(name)
    for name in ("confidence", "entropy", "probabilities", "dimensions"):
        assert told[name] == pytest.approx(expected.get(name), abs=1e-5)
    for part, other in zip(told["segments"], expected["segments"], strict=True):
        for name in ("probabilities", "dimensions"):
            assert part.pop(name) == pytest.approx(other.pop(name, None), abs=1e-5)
        assert part == pytest.approx(other, abs=1e-5)
    steps = told["steps"]
    assert np.allclose(steps["times_seconds"], answer.step_times, atol=1e-4)
    assert np.allclose(steps["probabilities"], answer.step_probabilities, atol=1e-4)
    assert np.allclose(steps["speech"], answer.step_speech, atol=1e-4)


def until(holds) -> None:
    """Waits until it holds, half a minute at most."""
    stop = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < stop
        time.sleep(0.01)


@contextlib.contextmanager
def held(worker: Worker):
    """The model is busy."""
    release = threading.Event()
    begun = threading.Event()
    worker.call(lambda: (begun.set(), release.wait(30)), 0)
    begun.wait(30)
    try:
        yield
    finally:
        release.set()


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


# the schema

def check(served, name: str, api: dict) -> None:
    jsonschema.validate(served, {"$ref": f"#/components/schemas/{name}", "components": api["components"]})


def test_a_model_with_dimensions_serves_them_by_the_same_schema(rating, voice, tmp_path):
    ask = Analyzer(rating, "cpu")
    path = record(tmp_path / "a.wav", voice)
    with running(ask) as client:
        served, health = post(client, path).json(), client.get("/health").json()
        api = client.get("/openapi.json").json()
        check(served, "Analysis", api)
        check(health, "Health", api)
        table = post(client, path, format="csv").text
    assert health["dimensions"] == ["valence", "arousal"]
    (told,), answer = served["answers"], ask.analyze(path)
    (back,) = timelines(Analysis(**served).model_dump_json().encode())
    assert back.dimensions == pytest.approx(told["dimensions"])
    assert back.segments[0].dimensions == pytest.approx(answer.segments[0].dimensions, abs=1e-5)
    check_same(told, answer)
    assert list(told["dimensions"]) == ["valence", "arousal"] and '"valence","arousal","p_anger"' in table
    assert np.allclose(told["steps"]["dimensions"], answer.step_dimensions, atol=1e-4)


def test_every_answer_follows_the_schema_that_is_served(server, call):
    api = server.get("/openapi.json").json()
    check(server.get("/health").json(), "Health", api)
    check(post(server, call, channels="separate", pictures=True).json(), "Analysis", api)
    for refused in (post(server, b""), post(server, call, format="doc"), server.post("/analyze"), server.get("/no")):
        assert refused.status_code >= 400
        check(refused.json(), "Error", api)
    (told,) = post(server, call).json()["answers"]
    with pytest.raises(jsonschema.ValidationError):
        check({"answers": [{**told, "confidence": "high"}]}, "Analysis", api)
    operation = api["paths"]["/analyze"]["post"]
    assert {"200", "413", "415", "422", "503"} <= operation["responses"].keys()
    assert "multipart/form-data" in operation["requestBody"]["content"]


def test_health_tells_which_model_answers(server, analyzer):
    told = server.get("/health").json()
    assert told["status"] == "ok" and told["model"] == "tiny" and told["fingerprint"] == analyzer.fingerprint
    assert told["labels"] == list(analyzer.labels) and told["dimensions"] == [] and told["queue_length"] == 0


def test_no_page_loads_anything_from_elsewhere(server):
    assert server.get("/docs").status_code == 404
    page = server.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe" not in policy
    assert "http" not in policy and "://" not in page.text


# formats

def test_every_format_of_the_toolkit_is_served():
    assert {"" if name == "kaldi" else ending.lower() for name, (ending, *_) in DOWNLOADS.items()} == {*formats.FORMATS}


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_file_is_what_the_toolkit_writes_asked_for_at_once_or_later(server, analyzer, voice, tmp_path, name):
    path = record(tmp_path / "call.wav", np.concatenate([voice, np.zeros(RATE), voice]).astype(np.float32))
    ending, kind, _ = DOWNLOADS[name]
    at_once = post(server, path, format=name)
    later = server.post("/convert", params={"format": name}, json=post(server, path).json())
    assert at_once.headers["content-type"].startswith(kind)
    assert at_once.headers["content-disposition"].endswith(f"''call{ending}")
    out = tmp_path / ("out" if name == "kaldi" else f"out{ending}")
    answer = dataclasses.replace(analyzer.analyze(path), name="/call.wav" if name == "eaf" else "call.wav")
    formats.write(answer, out)
    for content in (at_once.content, later.content):
        if name == "kaldi":
            assert unzipped(content) == {file.name: file.read_bytes() for file in out.iterdir()}
        else:
            assert undated(content) == undated(out.read_bytes())


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def undated(content: bytes) -> bytes:
    """Without the time of writing, which ELAN's files hold."""
    return re.sub(rb'DATE="[^"]*"', b"", content)


def test_a_file_tells_nothing_of_the_server(server, voice, tmp_path):
    path = record(tmp_path / "call.wav", voice)
    for name in DOWNLOADS:
        assert str(Path.cwd()).encode() not in post(server, path, format=name).content
    refused = post(server, record(tmp_path / "two.wav", np.stack([voice, voice], axis=1)), format="txt",
                   channels="separate")
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("2 answers for answer.txt, which holds one answer.")


def test_without_its_package_a_format_is_refused_with_the_remedy(server, voice, tmp_path, monkeypatch):
    path = record(tmp_path / "call.wav", voice)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = post(server, path, format="parquet")
    assert refused.status_code == 501 and "pip install 'emotion[parquet]'" in refused.json()["detail"]


@pytest.mark.parametrize("name", HOSTILE)
def test_the_name_that_a_client_gives_is_a_label_and_never_a_path(server, voice, tmp_path, name):
    path = record(tmp_path / "call.wav", voice)
    body = (b'--b\r\nContent-Disposition: form-data; name="file"; filename="'
            + name.encode().replace(b"\\", b"\\\\").replace(b"\r\n", b"%0D%0A") + b'"\r\n\r\n' + path.read_bytes()
            + b"\r\n--b--\r\n")
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    (told,) = server.post("/analyze", content=body, headers=head).json()["answers"]
    assert told["path"] == plain_name(name.replace("\r\n", "%0D%0A"))
    for kind in ("kaldi", "eaf"):   # which ask most of a name
        answer = server.post("/analyze", params={"format": kind}, content=body, headers=head)
        assert answer.status_code == 200, answer.text
        assert ".." not in answer.headers["content-disposition"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_plain_name_is_one_line_without_folders(name):
    plain = plain_name(name)
    assert plain and len(plain) <= 120 and not set(plain) & set("/\\\r\n\0\u202e") and plain == plain.strip(" ~|.")


# refusals

@pytest.mark.parametrize("content, name, reason", [
    (b"", "a.wav", "a.wav: is empty (0 bytes). Copy it again"),
    (b"a letter, not audio", "a.mp3", "a.mp3: not audio that libsndfile reads"),
    (bytes(5000), "a.webm", "a.webm: FFmpeg cannot open it"),
])
def test_what_is_not_audio_is_refused_with_the_reason_and_the_remedy(server, content, name, reason):
    refused = post(server, content, name)
    assert refused.status_code == 415 and refused.json()["detail"].startswith(reason)


def test_a_header_that_declares_hours_in_a_kilobyte_is_refused(server):
    content = io.BytesIO()
    soundfile.write(content, np.zeros(500), RATE, subtype="PCM_16", format="WAV")
    whole = bytearray(content.getvalue())
    whole[4:8] = whole[40:44] = (2 * RATE * 7200).to_bytes(4, "little")
    refused = post(server, bytes(whole))
    assert refused.status_code == 415 and "cut: the header promises" in refused.json()["detail"]


@pytest.mark.parametrize("told", [True, False])   # by the header, before anything is heard; or counted as it comes
def test_what_is_too_long_is_refused(analyzer, monkeypatch, told):
    content, heard, feed = io.BytesIO(), [], Stream.feed
    monkeypatch.setattr(Stream, "feed", lambda self, block: heard.append(len(block)) or feed(self, block))
    soundfile.write(content, np.zeros((240 * RATE, 2), np.int16), RATE, format="FLAC")   # hardly anything, compressed
    flac = bytearray(content.getvalue())
    if not told:
        flac[21:26] = bytes([flac[21] & 0xF0, 0, 0, 0, 0])   # the number of samples
    assert len(flac) < 100_000
    with running(analyzer, Limits(max_seconds=250)) as client:
        assert post(client, bytes(flac)).status_code == 200
        heard.clear()
        refused = post(client, bytes(flac), channels="separate")   # 480 s in all
    assert refused.status_code == 413 and "start with a larger --max-minutes" in refused.json()["detail"]
    assert bool(heard) != told


@pytest.mark.parametrize("query", [{"format": "doc"}, {"channels": "both"}, {"chanels": "mix"}, {"pictures": 7}])
def test_an_option_that_is_none_is_refused_by_name(server, voice, tmp_path, query):
    refused = post(server, record(tmp_path / "a.wav", voice), **query)
    assert refused.status_code == 422 and next(iter(query)) in refused.json()["detail"]


def test_several_files_are_refused(server):
    response = server.post("/analyze", files=[("file", (name, b"RIFF")) for name in ("a.wav", "b.wav")])
    assert response.status_code == 422 and "Send each by itself" in response.json()["detail"]


def test_a_form_without_the_file_is_refused(server):
    for told in ({"files": {"recording": b"x"}}, {"data": {"file": "a.wav"}}, {"json": {}}):
        refused = server.post("/analyze", **told)
        assert refused.status_code == 422 and "file" in refused.json()["detail"]
    refused = server.post("/analyze", content=b"no form", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert refused.status_code == 400 and refused.json()["detail"]


@pytest.mark.parametrize("change", [
    {"answers": 1}, {"answers": [{}]}, {"probabilities": {}}, {"segments": [{"start_seconds": 2}]}, {"channel": 0},
])
def test_what_is_no_analysis_is_not_converted(server, voice, tmp_path, change):
    told = post(server, record(tmp_path / "a.wav", voice)).json()
    told = change if "answers" in change else {"answers": [told["answers"][0] | change]}
    refused = server.post("/convert", params={"format": "csv"}, json=told)
    assert refused.status_code == 422 and isinstance(refused.json()["detail"], str)


def test_who_goes_while_sending_an_analysis_is_no_failure(analyzer):
    said, come = [], iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(come)

    async def send(message):
        said.append(message)

    worker = Worker(analyzer)
    scope = {"type": "http", "method": "POST", "path": "/convert", "query_string": b"format=csv", "http_version": "1.1",
             "scheme": "http", "headers": [(b"content-type", b"application/json")]}
    try:
        asyncio.run(build(worker, "tiny")(scope, receive, send))   # nothing is raised
    finally:
        worker.close()
    assert said[0]["status"] == 499


def ask_raw(client, content: bytes) -> bytes:
    """What a server says to bytes that are no whole request, before it hangs up."""
    said = b""
    with socket.create_connection(client.address, timeout=10) as line, contextlib.suppress(ConnectionResetError):
        line.sendall(content)
        while piece := line.recv(65536):
            said += piece
    return said


HEAD = b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


def test_too_large_a_request_is_refused_before_it_is_sent_and_while_it_is(analyzer, monkeypatch):
    monkeypatch.setattr(gate, "LINGER_SECONDS", 0.2)
    with running(analyzer, Limits(max_bytes=100_000)) as client:
        said = ask_raw(client, HEAD + b"Content-Length: 100001\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 413") and b"start with a larger --max-mb" in said
        chunk = b"%x\r\n" % 1000 + bytes(1000) + b"\r\n"
        opening = b"%x\r\n" % len(PART) + PART + b"\r\n"
        said = ask_raw(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + opening + chunk * 101)   # without end
        assert said.startswith(b"HTTP/1.1 413") and b"start with a larger --max-mb" in said
        assert post(client, bytes(50_000)).status_code == 415
        assert client.post("/convert?format=csv", content=bytes(5_000_000)).status_code == 413
        assert post(client, bytes(5_000_000)).status_code == 413


def test_a_request_that_does_not_arrive_gives_its_place_up(analyzer):
    with running(analyzer, Limits(upload_seconds=0.2)) as client:
        said = ask_raw(client, HEAD + b"Content-Length: 1000\r\n\r\n" + PART)
        assert said.startswith(b"HTTP/1.1 408") and b"not arrived within 0.2 s" in said
        until(lambda: client.gate.inside == 0)


def test_who_finds_no_room_is_told_to_come_again(analyzer, voice, tmp_path):
    path = record(tmp_path / "a.wav", voice)
    with running(analyzer, Limits(max_requests=2)) as client, ThreadPoolExecutor(2) as pool:
        with held(client.worker):
            inside = [pool.submit(post, client, path) for _ in range(2)]
            until(lambda: client.get("/health").json()["queue_length"] == 2)
            refused = post(client, path)
            assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
            assert "no more fit" in refused.json()["detail"]
        assert [one.result().status_code for one in inside] == [200, 200]
        assert post(client, path).status_code == 200


@pytest.mark.parametrize("headers, status", [
    ({}, 200), ({"Host": "localhost:1"}, 200), ({"Host": "[::1]:8000"}, 200), ({"Host": "127.0.0.1"}, 200),
    ({"Host": "["}, 403), ({"Origin": "http://["}, 403),
    ({"Host": "evil.example"}, 403), ({"Host": "127.0.0.1.evil.example"}, 403), ({"Host": ""}, 403),
    ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 200),
    ({"Host": "localhost:8000", "Origin": "http://localhost:3000"}, 403),
    ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
])
def test_pages_from_elsewhere_are_turned_away(server, headers, status):
    answer = server.get("/health", headers=headers)
    assert answer.status_code == status
    assert status == 200 or "Host" in answer.json()["detail"] or "Origin" in answer.json()["detail"]


def test_where_others_may_come_any_host_is_answered_but_no_foreign_page(analyzer):
    with running(analyzer, host=None) as client:
        assert client.get("/health", headers={"Host": "", "Origin": "null"}).status_code == 403
        assert client.get("/health", headers={"Host": "voices.example"}).status_code == 200
        assert client.get("/health", headers={"Origin": "http://evil.example"}).status_code == 403


@pytest.mark.parametrize("limit", ["max_bytes", "max_seconds", "max_requests", "upload_seconds"])
def test_a_limit_that_lets_nothing_in_is_refused(limit):
    with pytest.raises(ValueError, match=f"{limit}=0 must be above 0.*Raise it"):
        Limits(**{limit: 0})


# who goes, and what remains

def leave(client, path: Path) -> None:
    """Sends a recording, and goes once it is inside."""
    end = b"\r\n--b--\r\n"
    body = PART + path.read_bytes() + end
    with socket.create_connection(client.address) as line:
        line.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: len(client.worker._waiting) == 1)


def test_a_recording_whose_sender_has_gone_is_not_begun(server, analyzer, voice, tmp_path, monkeypatch):
    begun, answer_all = [], analyzer.run
    monkeypatch.setattr(analyzer, "run", lambda recordings: begun.extend(kept := [*recordings]) or answer_all(kept))
    with held(server.worker):
        leave(server, record(tmp_path / "a.wav", voice))
        until(lambda: server.gate.inside == 0)
    assert post(server, record(tmp_path / "b.wav", voice)).status_code == 200
    assert [recording.name for recording in begun] == ["call.wav"]   # of post


def test_a_long_recording_is_left_where_it_is_when_its_sender_goes(server, tmp_path):
    with held(server.worker):
        leave(server, record(tmp_path / "a.wav", noise(300)))
        until(lambda: server.gate.inside == 0)
    server.worker.call(lambda: None, 0).result(10)
    assert not server.worker._waiting   # nothing of it came after


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder for temporary files, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def open_files(folder: Path) -> list[str]:
    """Of this process below a folder, those too that have no name any more."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [link for link in links if link.startswith(str(folder))]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to see open files")
def test_no_temporary_file_outlives_its_request(server, temporary, tmp_path):
    long = record(tmp_path / "long.wav", noise(75))   # 2.4 MB, more than is kept in memory
    assert post(server, long, format="textgrid").status_code == 200
    assert post(server, bytes(3_000_000)).status_code == 415
    assert post(server, long, format="doc").status_code == 422
    with ThreadPoolExecutor(1) as pool, held(server.worker):
        pool.submit(post, server, long)
        until(lambda: server.worker._waiting)
        assert open_files(temporary)   # so that the search is known to find them
    with held(server.worker):
        leave(server, long)
    body = PART + bytes(2_000_000)
    with socket.create_connection(server.address) as line:   # goes while sending
        line.sendall(HEAD + b"Content-Length: 3000000\r\n\r\n" + body)
        until(lambda: server.gate.inside == 1)
    until(lambda: server.gate.inside == 0)
    assert list(temporary.iterdir()) == [] and open_files(temporary) == []


def test_a_failure_of_the_model_is_told_and_the_next_is_answered(server, analyzer, voice, tmp_path, monkeypatch):
    path = record(tmp_path / "a.wav", voice)

    def fail(recordings):
        raise RuntimeError("no memory")

    with monkeypatch.context() as failing:
        failing.setattr(analyzer, "run", fail)
        failed = post(server, path)
    assert failed.status_code == 500 and "the server failed (RuntimeError)" in failed.json()["detail"]
    assert post(server, path).status_code == 200


def test_a_closed_worker_cancels_what_waits_and_what_comes(analyzer):
    worker = Worker(analyzer)
    with held(worker):
        waiting = worker.answer(Recording("a", lambda: [noise(1)]), 1.0)
        closing = threading.Thread(target=worker.close)
        closing.start()
        until(waiting.cancelled)
    closing.join(10)
    assert worker.call(lambda: None, 0).cancelled()


# the command

def test_a_port_that_is_taken_is_told_at_once(capsys):
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--model", "not even looked for"]) == 1
    said = capsys.readouterr().err
    assert f"cannot listen on port {port} of 127.0.0.1" in said and "Choose another --port" in said


def test_where_nobody_can_listen_is_told():
    with pytest.raises(OSError, match="cannot listen on port 80 of no.such.host.invalid"):
        listening("no.such.host.invalid", 80)
    with pytest.raises(ValueError, match="port 70000 must be from 0 to 65535"):
        listening("127.0.0.1", 70_000)


@pytest.mark.parametrize("host, warned", [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_who_lets_others_in_is_warned_once(analyzer, monkeypatch, capsys, host, warned):
    seen = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: seen.append(server.config.app))
    run_server(lambda: analyzer, "tiny", host, 0)
    said = capsys.readouterr().err
    assert said.count("WARNING") == warned and ("no authentication and no TLS" in said) == warned
    assert (seen[0]._hosts is None) == warned


def test_without_the_extra_it_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve"]) == 1
    assert "pip install 'emotion[serve]'" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_the_command_answers_with_its_limits_and_ends_at_ctrl_c(analyzer, voice, tmp_path):
    checkpoint.write(analyzer.checkpoint, tmp_path / checkpoint.FILE_NAME)
    command = ["serve", "--port", "0", "--model", str(tmp_path / checkpoint.FILE_NAME), "--device", "cpu",
               "--threads", "1", "--max-mb", "0.05", "--max-minutes", "0.01"]
    code = ("import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "   # a shell may ignore it
            f"from emotion.cli import main; sys.exit(main({command}))")
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())[0]
        with httpx.Client(base_url=url) as client:
            assert client.get("/health").json()["model"] == checkpoint.FILE_NAME
            assert "larger than 0.05 MB" in post(client, record(tmp_path / "a.wav", noise(2))).json()["detail"]
            assert "longer than 0.01 minutes" in post(client, record(tmp_path / "a.wav", noise(1))).json()["detail"]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0 and process.stderr.read() == ""


# in a browser

def opened(browser, server, width: int = 1280, scheme: str = "light") -> None:
    browser.visit(str(server.base_url), width, scheme)


def choose(browser, path: Path) -> None:
    """Choose a recording, and wait for what comes of it."""
    node = browser.call("Runtime.evaluate", expression="document.querySelector('#file')")["result"]["objectId"]
    browser.call("DOM.setFileInputFiles", files=[str(path)], objectId=node)
    browser.wait("!request && (!refused.hidden || answer?.path)")


@pytest.fixture
def spoken(voice, tmp_path) -> Path:
    """Somebody speaks twice, with a pause."""
    return record(tmp_path / "spoken.wav", np.concatenate([voice, np.zeros(RATE), voice]).astype(np.float32))


def test_a_recording_is_chosen_seen_and_played(browser, server, analyzer, spoken):
    opened(browser, server)
    choose(browser, spoken)
    expected = analyzer.analyze(spoken)
    assert browser.run("find('#label').textContent").split()[0] == expected.label
    assert len(browser.run("[...find('#segments tbody').rows].map(row => row.textContent)")) == len(expected.segments)
    assert browser.run("find('#words').textContent").endswith(f"of {expected.duration_seconds:.1f}\u00a0s.")
    browser.click("#figure", share=0.5)
    begin = browser.run("position")
    assert begin == pytest.approx(0.48 * expected.duration_seconds, rel=0.05)
    place = browser.run("find('#head').getBoundingClientRect().x")
    browser.click(".play")
    browser.wait(f"!player.paused && position > {begin} + 0.2")
    assert browser.run("find('#head').getBoundingClientRect().x") > place
    browser.click(".play")
    browser.wait("player.paused")
    assert browser.complaints == []


def listed(browser, selector: str) -> list[list[str]]:
    """What the cells of a table say, row by row."""
    return browser.run(f"[...find('{selector}').rows].map(row => [...row.cells].map(cell => cell.textContent))")


DRAWN = """(() => {  // how high the line of a dimension is drawn at a time, from 0 to 1
  const canvas = figure.querySelector("canvas"), x = scale({left: GUTTER, width: plotWidth(), ...view})(%f);
  const {data} = canvas.getContext("2d").getImageData(Math.round(x), 0, 1, canvas.height);
  const colour = paint("%s").match(/[0-9a-f]{2}/gi).map(part => parseInt(part, 16));
  const rows = [...Array(canvas.height).keys()].filter(y => colour.every((part, k) => part === data[4 * y + k]));
  const middle = (rows[0] + rows.at(-1) + 1) / 2;
  return (canvas.height - AXIS - middle) / ROWS.dimensions.height;
})()"""


def told_at(answer: Timeline, seconds: float) -> str:
    """The dimensions there, as the page tells them."""
    values = [np.interp(seconds, answer.step_times, steps) for steps in answer.step_dimensions.T]
    return ", ".join(f"{name} {value:.2f}" for name, value in zip(answer.dimensions, values))


def test_dimensions_are_seen_beside_the_emotions(browser, rating, spoken):
    ask = Analyzer(rating, "cpu")
    expected = ask.analyze(spoken)
    with running(ask) as client:
        opened(browser, client)
        choose(browser, spoken)
        assert listed(browser, "#dimensions") == [[name, "", f"{p:.2f}"] for name, p in expected.dimensions.items()]
        widths = browser.run("[...document.querySelectorAll('#dimensions .amount')].map(bar => bar.style.width)")
        assert [float(width.rstrip("%")) / 100 for width in widths] == pytest.approx(
            list(expected.dimensions.values()), abs=1e-4)
        head, *rows = listed(browser, "#segments")
        assert head == ["time", "emotion", "confidence", "valence", "arousal"]
        assert [row[3:] for row in rows] == [[f"{p:.2f}" for p in part.dimensions] for part in expected.segments]
        place = float(expected.segments[0].start_seconds + 0.3)
        browser.run(f"seek({place})")
        assert browser.run("find('#here').textContent").endswith(f" \u00b7 {told_at(expected, place)}")
        assert browser.run("find('#legend').innerText").split() == [*ask.labels, "valence", "arousal"]
        assert browser.complaints == []
        drawn = [browser.run(DRAWN % (place, name)) for name in expected.dimensions]
        steps = [np.interp(place, expected.step_times, values) for values in expected.step_dimensions.T]
        assert drawn == pytest.approx(steps, abs=0.05)


@pytest.mark.parametrize("width", [360, 1280])
def test_a_model_of_dimensions_alone_names_no_emotion_on_its_page(browser, spoken, width):
    ask = Analyzer(untrained("none", dimensions=["arousal"]), "cpu")
    with running(ask) as client:
        opened(browser, client, width)
        choose(browser, spoken)
        said = browser.run("document.body.innerText")
        assert not re.search("unknown|confidence|entropy|one word|which emotion", said, re.IGNORECASE)
        assert "arousal from calm (0) to active (1)" in said and said.count("Somebody speaks in") == 1
        assert listed(browser, "#segments")[0] == ["time", "arousal"]
        assert browser.run("find('#legend').innerText") == "arousal"
        place = float(ask.analyze(spoken).segments[0].start_seconds + 0.3)
        browser.run(f"seek({place})")
        assert browser.run("find('#here').textContent").split(" \u00b7 ")[1:] == [told_at(ask.analyze(spoken), place)]
        browser.click("#all")
        assert browser.run("document.documentElement.scrollWidth") <= width and browser.complaints == []


def test_without_dimensions_the_page_shows_none(browser, server, analyzer, spoken):
    opened(browser, server)
    choose(browser, spoken)
    assert not re.search("dimensions|arousal|valence|dominance|rating", browser.run("document.body.innerText"))
    assert browser.run("find('#dimensions').hidden") and listed(browser, "#segments")[0] == [
        "time", "emotion", "confidence"]
    assert browser.run("find('#legend').innerText").split() == list(analyzer.labels)


def test_the_keyboard_moves_plays_and_zooms(browser, server, spoken):
    opened(browser, server)
    choose(browser, spoken)
    browser.run("figure.focus()")
    for key, place in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("Home", 0)):
        browser.press(key)
        assert browser.run("position") == place == float(browser.run("figure.ariaValueNow"))
    browser.press("End")
    assert browser.run("position === answer.duration_seconds")
    length = browser.run("view.length")
    browser.press("+")
    assert browser.run("view.length") == length / 2 and browser.run("whole.hidden") is False
    browser.press("-")
    assert browser.run("view.length") == length and browser.run("whole.hidden") is True
    browser.press("Home")
    browser.press(" ")
    browser.wait("!player.paused")
    browser.press(" ")
    browser.wait("player.paused")


def test_an_answer_is_downloaded_and_read_back(browser, server, analyzer, spoken, tmp_path):
    folder = tmp_path / "downloads"
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    opened(browser, server)
    choose(browser, spoken)
    browser.click("#downloads [value=textgrid]")
    until((folder / "spoken.TextGrid").exists)
    (told,) = formats.read(folder / "spoken.TextGrid")
    assert [(p.start_seconds, p.end_seconds, p.label) for p in told.segments] == [
        (p.start_seconds, p.end_seconds, p.label) for p in analyzer.analyze(spoken).segments]
    browser.click("#downloads [data-ending='.json']")
    until((folder / "spoken.json").exists)
    assert json.loads((folder / "spoken.json").read_text()) == {
        "answers": [{name: value for name, value in answer.items() if name not in ("waveform", "spectrogram")}
                    for answer in post(server, spoken, "spoken.wav").json()["answers"]]}


def test_the_microphone_is_recorded_and_analyzed(browser, server):
    opened(browser, server)
    browser.click("#record")
    browser.wait("recorder && /0:0[1-9]/.test(told.textContent) && find('#level').value > 0.01")
    browser.click("#stop")
    browser.wait("!request && answer?.path === 'recording.wav'")
    assert 0.9 <= browser.run("answer.duration_seconds") <= 9
    assert browser.run("answer.speech_seconds") > 0.3   # what the microphone is given is heard
    assert browser.run("answered.file.type") == "audio/wav" and browser.complaints == []


def test_a_refusal_is_told_in_the_words_of_the_server(browser, server, tmp_path):
    (tmp_path / "<img src=x onerror=window.ran=1>.mp3").write_text("a letter")
    opened(browser, server)
    choose(browser, tmp_path / "<img src=x onerror=window.ran=1>.mp3")
    assert "onerror=window.ran=1>.mp3: not audio that libsndfile reads" in browser.run("refused.textContent")
    assert browser.run("window.ran") is None and browser.run("find('#idle').hidden") is False
    browser.run("ask(new File([new Uint8Array(maxBytes + 1)], 'a.wav'))")
    assert "Send a part of it" in browser.run("refused.textContent")


def test_a_hostile_name_is_shown_as_what_it_is(browser, server, voice, tmp_path):
    opened(browser, server)
    choose(browser, record(tmp_path / "<img src=x onerror=window.ran=1>.wav", voice))
    assert browser.run("find('#name').textContent") == "<img src=x onerror=window.ran=1>.wav"
    assert browser.run("document.images.length") == 0 and browser.run("window.ran") is None


@pytest.mark.parametrize("width, scheme", [(360, "dark"), (1280, "light")])
def test_a_long_recording_is_seen_in_parts_on_any_screen(browser, server, tmp_path, voice, width, scheme):
    long = np.tile(np.concatenate([voice, np.zeros(RATE)]), 20).astype(np.float32)
    opened(browser, server, width, scheme)
    choose(browser, record(tmp_path / "long.wav", long))
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("view.length < answer.duration_seconds && !whole.hidden")
    browser.click("#whole", share=0.9)
    assert browser.run("view.start + view.length") > 0.89 * len(long) / RATE
    browser.run("seek(1)")
    assert browser.run("view.start <= 1")
    browser.click("#all")
    assert browser.run("view.length === answer.duration_seconds && whole.hidden")
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == {"dark": "rgb(21, 23, 26)", "light": "rgb(255, 255, 255)"}[scheme]


def test_each_channel_can_be_looked_at(browser, server, call):
    opened(browser, server)
    browser.click("#separate")
    choose(browser, call)
    names = browser.run("[...find('#channels').children].map(button => button.textContent)")
    assert names == ["channel 1", "channel 2"]
    browser.click("#channels button:last-child")
    assert browser.run("answer.channel") == 2


# under siege

def test_good_requests_are_answered_among_bad_ones_and_nothing_is_left(analyzer, tmp_path):
    checkpoint.write(analyzer.checkpoint, tmp_path / checkpoint.FILE_NAME)
    told = siege(str(tmp_path / checkpoint.FILE_NAME), seconds=4, clients=4)
    assert told["wrong"] == [] and told["files_left"] == []
    assert told["requests"].keys() >= {"well", "huge", "slow", "hostile", "malformed", "away"}
