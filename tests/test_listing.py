import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fsspec.implementations.memory import MemoryFileSystem

from emotion import audio
from emotion.listing import Entry, entries

RATE = 16_000


@pytest.fixture
def calls(tmp_path) -> Path:
    """Three recordings, of different sound."""
    for i, name in enumerate(("a.wav", "b.flac", "deep/c.wav")):
        path = tmp_path / "calls" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(i).normal(scale=0.1, size=RATE), RATE)
    (tmp_path / "calls" / "notes.txt").write_text("no audio")
    return tmp_path / "calls"


def sound(path: Path) -> np.ndarray:
    return audio.read(path, RATE)


def assert_heard(found: list[Entry], calls: Path) -> None:
    assert len(found) == 3
    for entry, name in zip(found, ("a.wav", "b.flac", "deep/c.wav")):
        assert entry.name.endswith(name)
        assert np.array_equal(entry.read(RATE), sound(calls / name))


def test_a_folder(calls):
    assert_heard(entries(calls), calls)


def test_a_list(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("calls.txt").write_text(f"calls/a.wav\n\n{calls}/b.flac\nfile://{calls}/deep/c.wav\n")
    assert_heard(entries("calls.txt"), calls)


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_tar_shards(calls, tmp_path, prefix):
    for number, names in enumerate((["a.wav", "notes.txt", "b.flac"], ["deep/c.wav"])):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as shard:
            for name in names:
                shard.add(calls / name, name)
    assert_heard(entries(f"{prefix}{tmp_path}/*.tar"), calls)


def test_an_address(calls):
    assert_heard(entries(f"file://{calls}"), calls)


def test_a_kaldi_directory_by_its_segments_or_whole(calls, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"rec-a {calls}/a.wav\nrec-b {calls}/b.flac\n")
    assert [entry.name for entry in entries(data)] == ["rec-a", "rec-b"]
    (data / "segments").write_text("one rec-a 0.25 0.5\ntwo rec-b 0 0.75\n")
    one, two = entries(data)
    assert (one.name, two.name) == ("one", "two")
    assert np.array_equal(one.read(RATE), sound(calls / "a.wav")[4000:8000]) and len(two.read(RATE)) == 12000
    (data / "segments").write_text("one rec-x 0 1\n")
    with pytest.raises(ValueError, match="one rec-x 0 1 needs"):
        entries(data)
    (data / "wav.scp").write_text("rec-a cat x.wav |\n")
    with pytest.raises(ValueError, match="shell commands for rec-a"):
        entries(data)


def test_nothing_or_twice_the_same_is_refused(calls, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no recordings in"):
        entries(tmp_path / "empty")
    (tmp_path / "list.txt").write_text("calls/a.wav\ncalls/a.wav\n")
    with pytest.raises(ValueError, match="names 1 recordings twice"):
        entries(tmp_path / "list.txt")


def test_what_cannot_be_fetched_says_so(tmp_path):
    with pytest.raises(audio.AudioError, match=r"gone.wav: no such file"):
        Entry("gone.wav", str(tmp_path / "gone.wav")).read(RATE)


@pytest.mark.skipif(os.name != "posix", reason="only there are pipes with names")
def test_a_pipe_that_nobody_writes_and_a_device_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to("/dev/zero")
    for entry in entries(tmp_path):
        with pytest.raises(audio.AudioError, match="a device, not a file"):
            entry.read(RATE)


@pytest.mark.parametrize("address", ["nobody://calls/a.wav", "memory://none/a.wav"])
def test_an_address_that_leads_nowhere_fails_alone(address):
    with pytest.raises(audio.AudioError, match=f"{address}: cannot be fetched"):
        Entry(address, address).read(RATE)


class Outage(Exception):
    """As the library of a service raises it, of no kind that Python knows."""


def no_route(*arguments, **options):
    raise Outage("no route to the service")


@pytest.fixture
def unreachable(monkeypatch):
    """No address answers."""
    for name in ("find", "glob", "open"):
        monkeypatch.setattr(MemoryFileSystem, name, no_route)


@pytest.mark.parametrize("source", ["memory://calls", "memory://calls/*.wav"])
def test_a_service_that_does_not_answer_is_named(unreachable, source):
    told = f"{re.escape(source)} cannot be listed .no route to the service.. Check the address"
    with pytest.raises(ValueError, match=told):
        entries(source)


def test_a_service_that_does_not_give_its_tar_file_is_named(monkeypatch):
    MemoryFileSystem().pipe("/shards/0.tar", b"")
    monkeypatch.setattr(MemoryFileSystem, "open", no_route)
    with pytest.raises(ValueError, match="memory://.*shards/0.tar cannot be read .no route to the service.. Check"):
        entries("memory://shards")


def test_a_recording_that_its_service_does_not_give_fails_alone(unreachable):
    with pytest.raises(audio.AudioError, match="cannot be fetched .no route to the service"):
        Entry("memory://calls/a.wav", "memory://calls/a.wav").read(RATE)


@pytest.mark.parametrize("damage", [lambda content: content[:700], lambda content: b"no tar" + content[6:]])
def test_a_damaged_shard_is_refused_by_name(calls, tmp_path, damage):
    with tarfile.open(tmp_path / "calls.tar", "w") as shard:
        shard.add(calls)
    (tmp_path / "calls.tar").write_bytes(damage((tmp_path / "calls.tar").read_bytes()))
    with pytest.raises(ValueError, match="calls.tar is cut or no tar file.*Copy it again"):
        entries(tmp_path / "calls.tar")


def test_a_list_may_begin_with_a_mark_and_names_may_hold_what_else_ends_lines(calls, tmp_path):
    strange = calls / "a\u2028b\x0cc.wav"
    (calls / "a.wav").rename(strange)
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + f"{strange}\r\n{calls / 'b.flac'}\r\n".encode())
    assert [entry.name for entry in entries(tmp_path / "list.txt")] == [str(strange), str(calls / "b.flac")]
