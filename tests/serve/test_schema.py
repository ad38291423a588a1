import dataclasses
import io
import re
import sys
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from serving import HOSTILE, RATE, check_same, post, record, running

from emotion import formats
from emotion.analyzer import Analyzer
from emotion.serve.schema import DOWNLOADS, Analysis, plain_name, timelines

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
