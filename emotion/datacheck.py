"""Validates and repairs Kaldi data directories, in the words of validate_data_dir.sh and fix_data_dir.sh.

TABLES knows every table of a data directory that speech people use; only the first four must be there.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import datadir, labels
from .datadir import (
    DataError,
    Utterance,
    c_order,
    few,
    order_problems,
    read_table,
    spk2utt,
    table_bytes,
    words,
    write_table,
)

log = logging.getLogger(__name__)

# What a grep -w in the C locale finds, and white space that awk takes for a part of a word.
_ILLEGAL = re.compile(r"(?<![A-Za-z0-9_])(?:<s>|</s>|#0)(?![A-Za-z0-9_])|[^\S \t]")


@dataclass(frozen=True)
class Table:
    """What the lines of a table hold: an id of this kind, then a value of this form."""

    ids: str   # utterance, speaker or recording; without segments a recording is an utterance
    form: str
    accepts: Callable[[str], bool] = bool
    selects: bool = False   # fix drops utterances that it leaves out; other tables cover all or are set aside


def _number(low: float, high: float = math.inf, whole: bool = False) -> Callable[[str], bool]:
    """Accepts numbers between low and high, both excluded."""
    def accepts(value: str) -> bool:
        try:
            return low < float(value) < high and not (whole and float(value) % 1)
        except ValueError:
            return False
    return accepts


def _rating(value: str) -> bool:
    try:
        return value == "-" or 0 <= float(value) <= 1
    except ValueError:
        return False


def _votes(value: str) -> bool:
    try:
        return bool(labels.read_votes(value)) or value == "-"
    except labels.LabelError:
        return False


def _word(value: str) -> bool:
    return len(words(value)) == 1


def _span(value: str) -> bool:
    times = words(value)[1:]
    numbers = len(times) == 2 and all(map(_number(-math.inf), times))
    return numbers and 0 <= float(times[0]) < float(times[1])


TABLES = {
    "utt2spk": Table("utterance", "<utterance-id> <speaker-id>", _word, selects=True),
    "spk2utt": Table("speaker", "<speaker-id> <utterance-id> ..."),
    "utt2emotion": Table("utterance", "<utterance-id> <emotion>", _word, selects=True),
    "wav.scp": Table("recording", "<recording-id> <path>", selects=True),
    "segments": Table("utterance", "<utterance-id> <recording-id> <start> <later end>", _span, selects=True),
    "text": Table("utterance", "<utterance-id> <words>", lambda value: True, selects=True),
    "feats.scp": Table("utterance", "<utterance-id> <features>", selects=True),
    "utt2lang": Table("utterance", "<utterance-id> <language>", selects=True),
    "utt2uniq": Table("utterance", "<utterance-id> <utterance-id>"),
    "utt2votes": Table("utterance", "<utterance-id> <emotion>:<votes> ..., or -", _votes),
    "utt2arousal": Table("utterance", "<utterance-id> <number from 0 to 1, or ->", _rating),
    "utt2valence": Table("utterance", "<utterance-id> <number from 0 to 1, or ->", _rating),
    "utt2dominance": Table("utterance", "<utterance-id> <number from 0 to 1, or ->", _rating),
    "utt2dur": Table("utterance", "<utterance-id> <seconds above 0>", _number(0)),
    "utt2num_frames": Table("utterance", "<utterance-id> <frames above 0>", _number(0, whole=True)),
    "utt2warp": Table("utterance", "<utterance-id> <factor from 0.5 to 1.5>", _number(0.5, 1.5)),
    "vad.scp": Table("utterance", "<utterance-id> <decisions>"),
    "reco2dur": Table("recording", "<recording-id> <seconds above 0>", _number(0)),
    "reco2file_and_channel": Table(
        "recording", "<recording-id> <file> <A or B>", lambda value: bool(re.fullmatch(r"\S+\s+[AB1]", value))
    ),
    "cmvn.scp": Table("speaker", "<speaker-id> <statistics>"),
    "spk2gender": Table("speaker", "<speaker-id> <m or f>", lambda value: value in ("m", "f")),
    "spk2warp": Table("speaker", "<speaker-id> <factor from 0.5 to 1.5>", _number(0.5, 1.5)),
}
REQUIRED = tuple(TABLES)[:4]
ALONG = ("text", "utt2lang", "utt2uniq")   # tables that utterances keep in a part of their directory


def validate(directory: str | os.PathLike) -> list[str]:
    """All problems of a data directory, at most one of each kind per table; none if it is valid.

    Checks what Kaldi's validate_data_dir.sh does (but for its warning of a single speaker), and that emotions are
    known, that ids begin with their speaker and that the audio files exist (seen from the working directory).
    """
    directory = Path(directory)
    if not directory.is_dir():
        return [f"no such directory {directory}"]
    present = [name for name in TABLES if (directory / name).is_file()]
    problems = [f"no such file {directory / name}" for name in REQUIRED if name not in present]
    for name in present:
        problems += _line_problems(directory / name, TABLES[name])
    tables = {name: {key: value for key, value in read_table(directory / name) if key} for name in present}
    if "utt2spk" in tables:
        problems += _list_problems(tables)
    problems += _problems_for_people(tables)
    paths = [wav for wav in tables.get("wav.scp", {}).values() if wav and not wav.endswith("|")]
    if lost := [path for path in paths if not os.path.isfile(path)]:
        problems.append(f"wav.scp names files that do not exist seen from {os.getcwd()}: {few(lost, 3)}")
    return problems


def _line_problems(path: Path, table: Table) -> list[str]:
    """What is wrong with the lines of one table, taken by themselves."""
    content, rows = path.read_bytes(), read_table(path)
    if not content:
        return [f"empty file {path}"]
    keys, problems = [key for key, _ in rows], []
    if not content.endswith(b"\n") or b"\r" in content:
        problems.append(f"file {path} has invalid newline (every line ends with \\n alone)")
    if keys != sorted(set(keys), key=c_order):
        problems.append(f"file {path} is not in sorted order or has duplicates")
    bad = [number for number, (key, value) in enumerate(rows, 1) if not key or not table.accepts(value)]
    for number in bad[:1]:
        line = " ".join(rows[number - 1])
        problems.append(f"badly formatted {path}, {len(bad)} lines, as {number}: {line!r}, not {table.form}")
    return problems


def _list_problems(tables: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Where the tables do not speak of the same utterances, speakers and recordings."""
    expected, problems = _expected(tables), []
    for name, rows in tables.items():
        ids = TABLES[name].ids
        source = "segments" if ids == "recording" and "segments" in tables else "utt2spk"
        missing, extra = expected[ids] - rows.keys(), rows.keys() - expected[ids]
        if missing or extra:
            found = f"missing {few(missing) or 'none'}, extra {few(extra) or 'none'}"
            problems.append(f"{ids} lists extracted from {source} and {name} differ: {name} has {found}")
    spoken = {speaker: words(value) for speaker, value in tables.get("spk2utt", {}).items()}
    if spoken and spoken != {speaker: words(value) for speaker, value in spk2utt(tables["utt2spk"]).items()}:
        problems.append("spk2utt and utt2spk do not seem to match")
    return problems


def _expected(tables: Mapping[str, Mapping[str, str]]) -> dict[str, set[str]]:
    """The ids of each kind that all tables must hold: utt2spk decides, segments decides on recordings."""
    utterances = recordings = set(tables["utt2spk"])
    if "segments" in tables:
        recordings = {recording for span in tables["segments"].values() for recording in words(span)[:1]}
    return {"utterance": utterances, "speaker": set(tables["utt2spk"].values()), "recording": recordings}


def _problems_for_people(tables: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Faults that no program can mend without guessing."""
    problems = order_problems(tables.get("utt2spk", {}))
    if unknown := set(tables.get("utt2emotion", {}).values()) - {*labels.EMOTIONS, ""}:
        problems.append(
            f"utt2emotion has unknown emotions {few(unknown)}; the vocabulary is "
            f"{', '.join(labels.EMOTIONS)}. Map them in conf/labels.yaml, then write the directory again."
        )
    if any(wav.startswith("~") for wav in tables.get("wav.scp", {}).values()):
        problems.append("Please do not use tilde (~) in your wav.scp.")
    for utterance, said in tables.get("text", {}).items():
        if symbol := _illegal(f"{utterance} {said}"):
            problems.append(f"text contains illegal symbol {symbol!r}, first in {utterance}")
            break
    return problems


def _illegal(line: str) -> str | None:
    """What may not be in a line of text. Joiners and marks of direction, which Persian needs, may."""
    if found := _ILLEGAL.search(line):
        return found[0]
    return None if line.isprintable() else next(
        (character for character in line if unicodedata.category(character) in ("Cc", "Cn") and character != "\t"), None
    )


def fix(directory: str | os.PathLike) -> tuple[int, int]:
    """Sorts, drops duplicates and bad lines, keeps utterances all selecting tables hold, rebuilds spk2utt.

    Returns: (utterances kept, utterances before). Afterwards validate finds at most missing audio files, and
    a second call changes nothing. The original of each changed file stays in .backup/; a table that leaves
    out utterances and does not select (an old utt2dur, say) moves there, with a warning.
    Raises: DataError, with nothing changed, for what a person must decide: contradictions, unknown emotions,
    ids without their speaker in front, no utterances left.
    """
    directory = Path(directory)
    present = [name for name in TABLES if (directory / name).is_file()]
    for name in REQUIRED:
        if name not in present and name != "spk2utt":
            raise DataError(f"no such file {directory / name}: the other tables cannot replace it. Write it.")
    tables = {name: _usable(directory / name, TABLES[name]) for name in present if name != "spk2utt"}
    utterances = _complete(tables)
    if not utterances:
        raise DataError(f"{directory}: no utterances remained: not proceeding further. Compare its tables.")
    tables["utt2spk"] = {u: speaker for u, speaker in tables["utt2spk"].items() if u in utterances}
    if "segments" in tables:
        tables["segments"] = {u: span for u, span in tables["segments"].items() if u in utterances}
    expected = _expected(tables)
    for name, rows in tables.items():
        tables[name] = {key: value for key, value in rows.items() if key in expected[TABLES[name].ids]}
    for problem in _problems_for_people(tables):
        raise DataError(f"{directory}: {problem}")
    tables["spk2utt"] = spk2utt(tables["utt2spk"])
    total = len({key for key, _ in read_table(directory / "utt2spk") if key})
    for name, rows in tables.items():
        _replace(directory / name, rows if rows.keys() == expected[TABLES[name].ids] else {})
    return len(utterances), total


def _usable(path: Path, table: Table) -> dict[str, str]:
    """The lines of the right form. Raises: DataError where two of them contradict each other."""
    usable: dict[str, str] = {}
    for key, value in read_table(path):
        if key and table.accepts(value) and "\r" not in value and usable.setdefault(key, value) != value:
            raise DataError(
                f"{path} says both {usable[key]!r} and {value!r} of {key}: only you can know which is right. "
                "Delete the wrong line."
            )
    return usable


def _complete(tables: Mapping[str, Mapping[str, str]]) -> set[str]:
    """The utterances that no selecting table leaves out."""
    chosen: dict[str, Iterable[str]] = dict(tables)
    if "segments" in tables:
        wavs = set(chosen.pop("wav.scp"))
        chosen["segments"] = [u for u, span in tables["segments"].items() if words(span)[0] in wavs]
    return set.intersection(*(set(rows) for name, rows in chosen.items() if TABLES[name].selects))


def write(out: str | os.PathLike, utterances: Sequence[Utterance], sources: Iterable[str | os.PathLike]) -> None:
    """What datadir.write writes, and of the other tables those of ALONG that the sources have for all utterances. What
    tells of other utterances, that were there before, goes."""
    ids, out = {u.id for u in utterances}, Path(out)
    along: dict[str, dict[str, str]] = {name: {} for name in ALONG}
    for source in map(Path, sources):
        for name, rows in along.items():
            if (source / name).is_file():
                rows |= {key: value for key, value in read_table(source / name) if key in ids}
    before = {key for key, _ in read_table(out / "utt2spk")} if (out / "utt2spk").is_file() else ids
    datadir.write(out, utterances)
    for name in TABLES.keys() - datadir.TABLES:
        if name in along and along[name].keys() == ids:
            datadir.write_table(out / name, along[name])
        elif before != ids:
            (out / name).unlink(missing_ok=True)


def set_aside(directory: str | os.PathLike, utterances: Sequence[Utterance]) -> bool:
    """Before other utterances are written there: copies the tables into .backup/; whether there were some to copy."""
    directory = Path(directory)
    tables = [directory / name for name in TABLES if (directory / name).is_file()]
    try:
        if not tables or datadir.read(directory, allow_pipes=True) == list(utterances):
            return False
    except (DataError, labels.LabelError):   # not whole, and somebody's still
        pass
    for path in tables:
        _kept(path)
    return True


def _kept(path: Path) -> Path:
    """A copy of the table in .backup/, under a free name."""
    backup, number = path.parent / ".backup" / path.name, 1
    backup.parent.mkdir(exist_ok=True)
    while backup.exists():
        backup, number = backup.with_name(f"{path.name}.{number}"), number + 1
    shutil.copy2(path, backup)
    return backup


def _replace(path: Path, rows: Mapping[str, str]) -> None:
    """Writes the table or, without rows, sets it aside; the old one stays in .backup/ under a free name."""
    old = path.read_bytes() if path.is_file() else None
    if rows and old == table_bytes(rows):
        return
    if old is not None:
        backup = _kept(path)
    if rows:
        write_table(path, rows)
    else:
        path.unlink()
        log.warning("%s does not cover every %s: moved to %s", path, TABLES[path.name].ids, backup)
