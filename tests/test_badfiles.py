"""What disks, tools and people leave among recordings: answered rightly, or refused in one line that says why."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import badfiles
import pytest
from badfiles import CASES, GOOD, INSIDE, LOCKED, MEDIA, PLAIN, Case
from tiny import tiny

from emotion import audio, checkpoint, scores, scoring
from emotion.analyzer import Analyzer, FileError
from emotion.cli import main

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only there are pipes, sockets and names of any bytes")
REFUSED = [case for case in CASES if case.reason]
ANSWERED = [case for case in CASES if not case.reason]
PROGRAM = """
import contextlib, io, json, sys
from emotion.cli import main
for threads in ("1", "2"):
    with contextlib.redirect_stderr(io.StringIO()) as told:
        code = main(["score", sys.argv[1], "-o", f"{threads}.csv", "--model", sys.argv[2], "--threads", threads])
    print(json.dumps([code, told.getvalue()]))
"""
MEMORY = """
import resource, sys
from emotion.cli import main
def peak():
    main(["score", sys.argv[1], "-o", "scores.csv", "--model", sys.argv[2], "--threads", "1"])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, sys.argv[1] = peak(), sys.argv[3]
print(peak() - before)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """calls/ with all cases and good recordings, good/ with those alone, and a model."""
    home = tmp_path_factory.mktemp("bad")
    for name, cases in (("calls", [*GOOD, *CASES]), ("good", GOOD)):
        (home / name).mkdir()
        badfiles.make(home / name, cases)
    (home / "calls" / INSIDE).parent.mkdir()
    (home / "calls" / INSIDE).write_bytes(PLAIN)
    checkpoint.write(tiny(), home / "model.safetensors")
    return home


@pytest.fixture(scope="module")
def analyzer(home) -> Analyzer:
    return Analyzer(home / "model.safetensors", "cpu")


def child(program: str, *arguments: str | Path, folder: Path) -> str:
    """What a Python program prints; one that hangs is a failure."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(audio.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], cwd=folder, capture_output=True,
                          text=True, env=environment, timeout=90)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def scored(home) -> dict[str, tuple[int, str, list[dict]]]:
    """Exit code, what was told and the rows of `emotion score calls/`, with one thread and with two."""
    lines = child(PROGRAM, "calls", "model.safetensors", folder=home).splitlines()
    found = {}
    for threads, line in zip("12", lines, strict=True):
        with open(home / f"{threads}.csv", **scores.TEXT) as file:
            found[threads] = (*json.loads(line), list(csv.DictReader(file, strict=True)))
    return found


@pytest.fixture(autouse=True)
def no_hang():
    """What waits for a pipe that nobody writes fails, instead of the whole run of the tests."""
    def fail(*_):
        raise TimeoutError("hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def check_answer(case: Case, row: dict, plain: dict) -> None:
    """The row is that of the plain recording, or one that sums to one and lasts as long as it should."""
    if case.seconds is None:
        assert {**row, "path": ""} == {**plain, "path": ""}
    else:
        assert float(row["duration_seconds"]) == pytest.approx(case.seconds, abs=0.001)
        assert sum(float(row[name]) for name in row if name.startswith("p_")) == pytest.approx(1, abs=1e-5)


# A folder

def test_there_are_many_kinds_and_no_two_share_a_name():
    assert len({case.file for case in CASES}) == len(CASES) > 150 and len(REFUSED) > 60 < len(ANSWERED)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_among_bad_files_each_gets_its_answer_or_one_line_with_its_reason(scored, threads):
    pytest.importorskip("av", reason="PyAV reads MEDIA")
    code, told, rows = scored[threads]
    rows = {row["path"]: row for row in rows}
    assert code == 1 and rows.keys() == {f"calls/{name}" for name in [
        *(case.file for case in [*GOOD, *ANSWERED]), INSIDE]}
    for case in [*GOOD, *ANSWERED]:
        check_answer(case, rows[f"calls/{case.file}"], rows[f"calls/{INSIDE}"])
    total = len(GOOD) + len(CASES) + 1
    *_, complaints = told.partition(f"{len(REFUSED)} of {total} recordings could not be scored:\n")
    lines = complaints.splitlines()
    assert len(lines) == len(REFUSED)
    by_name = {line.strip().partition(": ")[0]: line for line in lines}
    for case in REFUSED:
        line = by_name[audio.decoder.printable(f"calls/{case.file}")]
        assert re.search(f": .*{case.reason}.*\\. [A-Z].*\\.$", line), line
        assert line.isprintable()


def test_two_threads_say_what_one_says(scored):
    assert scored["1"][2] == scored["2"][2]


def test_what_is_good_is_scored_as_without_the_bad(scored, home, analyzer, monkeypatch):
    monkeypatch.setattr(scoring, "analyzer_of", lambda options: analyzer)
    assert main(["score", str(home / "good"), "-o", str(home / "good.csv")]) == 0
    with open(home / "good.csv", **scores.TEXT) as file:
        alone = {Path(row.pop("path")).name: row for row in csv.DictReader(file)}
    among = {Path(row["path"]).name: row for row in scored["1"][2] if Path(row["path"]).name in alone}
    assert len(alone) == len(GOOD)
    for name, row in alone.items():
        assert {key: among[name][key] for key in ("label", "flags", "duration_seconds")} == {
            key: row[key] for key in ("label", "flags", "duration_seconds")}
        for key in row:
            if key.startswith("p_"):   # other recordings in the batch change the order of sums
                assert float(among[name][key]) == pytest.approx(float(row[key]), abs=2e-6)


def test_no_part_of_a_table_is_left(scored, home):
    assert not list(home.glob("*.part"))
    assert all(path.stat().st_size for path in (home / "1.csv", home / "1.csv.meta.json"))


def test_a_header_that_promises_much_takes_no_memory(home):
    (home / "greedy").mkdir()
    greedy = ("24-hours", "64-channels", "65535", "3-gb", "huge", "endless", "nested", "list-", "billion", "768")
    cases = [case for case in CASES if any(word in case.file for word in greedy)]
    badfiles.make(home / "greedy", cases)
    more = float(child(MEMORY, "good", "model.safetensors", "greedy", folder=home).splitlines()[-1])
    assert len(cases) > 15 and more < 40   # MB; the 768 kHz take some


def test_a_folder_of_nothing_but_bad_files_is_an_empty_table(home, analyzer, monkeypatch, capsys):
    (home / "all-bad").mkdir()
    badfiles.make(home / "all-bad", REFUSED)
    monkeypatch.setattr(scoring, "analyzer_of", lambda options: analyzer)
    assert main(["score", str(home / "all-bad"), "-o", str(home / "none.csv")]) == 1
    assert (home / "none.csv").read_text() == ",".join(scores.columns(analyzer.labels)) + "\n"
    assert f"{len(REFUSED)} of {len(REFUSED)} recordings could not be scored" in capsys.readouterr().err


# One file, and a list

@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case.file)[1:40])
def test_alone_each_gets_its_answer_or_one_line_with_its_reason(case, home, analyzer, monkeypatch, capsys):
    if case in MEDIA:
        pytest.importorskip("av")
    monkeypatch.setattr(scoring, "analyzer_of", lambda options: analyzer)
    path, table = home / "calls" / case.file, home / "one.csv"
    table.unlink(missing_ok=True)
    code = main(["score", str(path), "-o", str(table)])
    told = capsys.readouterr()
    if case.reason:
        error = told.err.splitlines()[-1]
        assert code == 1 and error.startswith(f"emotion score: {audio.decoder.printable(str(path))}: ")
        assert re.search(f"{case.reason}.*\\. [A-Z].*\\.$", error) and error.isprintable()
    else:
        with open(table, **scores.TEXT) as file:
            row, = csv.DictReader(file, strict=True)
        assert code == 0 and row["path"] == str(path)
        assert main(["score", str(path)]) == 0
        first = capsys.readouterr().out.split("\n")[0]
        assert first.startswith(audio.decoder.printable(str(path)) + "  (") and first.isprintable()


def test_in_a_list_an_error_stands_where_the_answer_would(home, analyzer):
    pytest.importorskip("av", reason="PyAV reads MEDIA")
    cases = [*GOOD, *CASES]
    answers = analyzer.analyze([home / "calls" / case.file for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        assert answer.name == str(home / "calls" / case.file)
        assert isinstance(answer, FileError) == bool(case.reason)
        if case.reason:
            assert re.search(case.reason, answer.reason)
        elif case.seconds is not None:
            assert answer.duration_seconds == pytest.approx(case.seconds, abs=0.001)


@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_refused(tmp_path, analyzer):
    badfiles.make(tmp_path, [LOCKED])
    answer, = analyzer.analyze([tmp_path / LOCKED.file])
    assert re.search(LOCKED.reason, answer.reason)
