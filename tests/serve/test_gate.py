import asyncio
import contextlib
import io
import os
import socket
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from serving import RATE, held, noise, post, record, running, until

from emotion.serve import Limits, gate
from emotion.serve.app import build
from emotion.serve.worker import Worker
from emotion.stream import Stream
from emotion.windows import Recording

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


def test_more_channels_than_anybody_has_are_refused_one_by_one(server):
    content = io.BytesIO()
    soundfile.write(content, np.zeros((RATE, 33)), RATE, format="WAV")
    refused = post(server, content.getvalue(), channels="separate")
    assert refused.status_code == 413 and "33 channels are more than 32" in refused.json()["detail"]
    assert post(server, content.getvalue()).status_code == 200


def test_what_is_served_is_not_guessed_at_nor_told_of(server, voice, tmp_path):
    page, file = server.get("/"), post(server, record(tmp_path / "a.wav", voice), format="csv")
    assert (page.headers["referrer-policy"], page.headers["cache-control"]) == ("no-referrer", "no-cache")
    assert page.headers["x-content-type-options"] == file.headers["x-content-type-options"] == "nosniff"
