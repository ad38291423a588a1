import os
import re
import signal
import subprocess
import sys

import httpx
import pytest
import uvicorn
from serving import noise, post, record
from siege import siege

from emotion import checkpoint
from emotion.cli import main
from emotion.serve import listening
from emotion.serve import serve as run_server

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


# under siege

def test_good_requests_are_answered_among_bad_ones_and_nothing_is_left(analyzer, tmp_path):
    checkpoint.write(analyzer.checkpoint, tmp_path / checkpoint.FILE_NAME)
    told = siege(str(tmp_path / checkpoint.FILE_NAME), seconds=4, clients=4)
    assert told["wrong"] == [] and told["files_left"] == []
    assert told["requests"].keys() >= {"well", "huge", "slow", "hostile", "malformed", "away"}
