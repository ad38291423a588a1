"""emotion doctor: it tells what is there, and goes on where something is not."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from emotion import __version__, doctor, export
from emotion.cli import main

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def here():
    return list(doctor.examine(threads=1))


@pytest.fixture
def installed(monkeypatch):
    """Pretends other versions of distributions; None: not installed."""
    def pretend(**versions):
        def version(name):
            key = name.replace("-", "_")
            found = versions[key] if key in versions else real(name)
            if found is None:
                raise metadata.PackageNotFoundError(name)
            return found

        real = metadata.version
        monkeypatch.setattr(doctor, "metadata", SimpleNamespace(
            version=version, PackageNotFoundError=metadata.PackageNotFoundError))
    return pretend


def named(findings, name):
    (found,) = [finding for finding in findings if finding.name == name]
    return found


def words(requirements) -> set[str]:
    return {re.match(r"[\w-]+", line)[0] for line in requirements}


def test_what_it_looks_for_is_what_the_package_asks_for():
    tomllib = pytest.importorskip("tomllib", reason="of Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(doctor.NEEDED) == words(project["dependencies"])
    extras = {name: words(lines) for name, lines in project["optional-dependencies"].items()}
    assert {name: set(packages) for name, (_, packages) in doctor.EXTRAS.items()} == {
        name: packages for name, packages in extras.items() if name not in ("test", "docs")
    }
    line = re.search(r"pip install --no-deps \. && pip install (.*)", (ROOT / "README.md").read_text())[1]
    assert set(doctor.NEEDED_EXPORTED) == set(line.split())


def test_a_machine_on_which_the_tests_run_is_healthy(here):
    assert doctor.healthy(here) and "all that is needed works" in doctor.page(here)
    assert named(here, "emotion").told.startswith(__version__)
    assert named(here, "torch, torchaudio").told == "match"
    assert re.match(r"\d+ of \d+ cores", named(here, "processor").told)
    assert int(named(here, "speed").told.split()[0]) > 1
    assert {named(here, name).told for name in ("wav", "flac", "ogg", "opus", "mp3")} == {"reads"}
    assert named(here, str(Path.cwd())).told.startswith("can be written")


def test_programs_get_the_same_and_the_exit_code_tells(here, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda *_: iter(here))
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"] is True and [doctor.Finding(**finding) for finding in told["findings"]] == here
    broken = doctor.Finding("versions", "torch", "not installed", "Install it.", broken=True)
    monkeypatch.setattr(doctor, "examine", lambda *_: iter([*here, broken]))
    assert main(["doctor"]) == 1
    assert "broken\n  torch: not installed. Install it.\n" in capsys.readouterr().out


def test_where_nothing_is_installed_all_of_it_is_named():
    done = subprocess.run([sys.executable, "-S", "-m", "emotion", "doctor"], cwd=ROOT, capture_output=True, text=True,
                          env={})
    assert done.returncode == 1 and not done.stderr
    for name in (*doctor.NEEDED, *doctor.EXTRAS):
        assert re.search(rf"^  {name} .*not installed", done.stdout, re.MULTILINE), name
    assert "torch: not installed. Install both: pip install 'torch==2.11.*'" in done.stdout
    assert "serve: answers a browser; not installed: fastapi, starlette" in done.stdout
    assert "can be written" in done.stdout


def test_an_exported_model_needs_no_torch(tiny, tmp_path, installed, monkeypatch):
    export.export(tiny, tmp_path / "model.onnx")
    installed(**dict.fromkeys(name.replace("-", "_") for name in doctor.NEEDED if name not in doctor.NEEDED_EXPORTED))
    for name in ("torch", "torchaudio", "librosa", "scipy", "lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    findings = list(doctor.examine(str(tmp_path / "model.onnx"), threads=1))
    assert doctor.healthy(findings)
    assert "anger" in named(findings, str(tmp_path / "model.onnx")).told


@pytest.mark.parametrize(("torchaudio", "match"), [
    ("2.11.1", True), ("2.10.0", False), ("2.11.0+cu128", False),
])
def test_torch_and_torchaudio_must_be_of_one_number_and_one_build(torchaudio, match, installed):
    installed(torch="2.11.0", torchaudio=torchaudio)
    found = named(doctor.examine(), "torch, torchaudio")
    assert found.broken != match and ("pip install 'torch==" in found.remedy) != match


def test_a_missing_extra_is_told_with_what_it_would_give_and_breaks_nothing(installed):
    installed(fastapi=None, av=None)
    findings = list(doctor.examine(threads=1))
    serve = named(findings, "serve")
    assert (serve.told, serve.broken) == ("answers a browser; not installed: fastapi", False)
    assert serve.remedy == "pip install 'emotion[serve]'" and doctor.healthy(findings)
    assert named(findings, "m4a, mp4, webm").told == "need the extra media"
    assert "could be had\n  media: reads m4a" in doctor.page(findings)


def test_a_gpu_is_told_with_its_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H100")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    findings = [finding for finding in doctor.examine() if finding.topic == "devices"]
    assert named(findings, "cuda:0").told == "H100, 80 GiB"
    assert named(findings, "bfloat16, cuda:0").told == "in hardware"


def test_a_driver_that_torch_does_not_use_is_told(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = named(doctor.examine(), "cuda")
    assert "does not use it" in found.told and not found.broken


def test_what_fails_is_named_and_the_rest_still_looked_at(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"no model")
    monkeypatch.setitem(doctor.ENCODINGS, "mp3", ("MP3", "SHELLAC"))
    findings = list(doctor.examine(str(tmp_path / "model.safetensors"), folder=tmp_path / "gone"))
    broken = {finding.name: finding for finding in findings if finding.broken}
    assert set(broken) == {"mp3", "model", str(tmp_path / "gone")} and not doctor.healthy(findings)
    assert str(tmp_path / "model.safetensors") in broken["model"].told
    assert "pip install --upgrade soundfile" in broken["mp3"].remedy
    assert "No such file" in broken[str(tmp_path / "gone")].told
    assert "broken\n  mp3: fails: " in doctor.page(findings)
