"""Kaldi data directories: tables that say which audio holds which utterance, by whom, with which emotion.

    wav.scp      <utterance-id> <path>
    utt2spk      <utterance-id> <speaker-id>
    spk2utt      <speaker-id> <utterance-id> ...      utt2spk turned round
    utt2emotion  <utterance-id> <emotion>
    utt2dur      <utterance-id> <seconds>             optional
    spk2gender   <speaker-id> <m or f>                optional
    segments     <utterance-id> <recording-id> <start s> <end s>    optional; then wav.scp lists recordings
    utt2arousal, utt2valence, utt2dominance    <utterance-id> <0 to 1>                 optional; - if not known
    utt2votes    <utterance-id> <emotion>:<listeners who heard it> ...                 optional; - if not known

Tables are sorted by bytes (LC_ALL=C), and utterance ids begin with their speaker so that both orders agree.
Relative paths count from the working directory, as in Kaldi. `datacheck` validates and repairs directories.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files, labels

_UTF8 = "utf-8", "surrogateescape"   # names need not be UTF-8
_FIX = "See all faults with `emotion data validate DIR`, repair with `emotion data fix DIR`."


class DataError(ValueError):
    """A data directory, a list of utterances or a split that cannot be used as it is."""


@dataclass(frozen=True)
class Utterance:
    """One utterance: a whole recording, or the span of it from start_seconds to stop_seconds.

    Raises: DataError for a field that the tables cannot hold, LabelError for one not in labels.EMOTIONS.
    """

    id: str
    speaker: str
    wav: str   # a path or, with "|" at its end, a shell command
    emotion: str
    start_seconds: float | None = None
    stop_seconds: float | None = None
    duration_seconds: float | None = None
    sex: str | None = None   # of the speaker, m or f
    arousal: float | None = None   # of the listeners' scale: 0 its low end, 1 its high one; so are the next two
    valence: float | None = None
    dominance: float | None = None
    votes: tuple[tuple[str, int], ...] = ()   # (emotion, listeners who heard it), in alphabetical order

    def __post_init__(self):
        for name, word in (("id", self.id), ("speaker", self.speaker)):
            if word.split() != [word]:
                raise DataError(f"{name} {word!r} must be one word: tables are cut at spaces. Rename it.")
        wav, start, stop = self.wav, self.start_seconds, self.stop_seconds
        if not wav or wav != wav.strip() or wav.startswith("~") or set(wav) & {"\n", "\r", "\0"}:
            raise DataError(
                f"wav {wav!r} of {self.id} must be a path without ~ in front, spaces at its ends or line "
                "breaks: wav.scp would name another file. Write the path out, or rename the file."
            )
        labels.check(self.emotion)
        if (start, stop) != (None, None) and (start is None or stop is None or not 0 <= start < stop < math.inf):
            raise DataError(
                f"span {start} to {stop} of {self.id} must satisfy 0 <= start < stop: there is nothing else "
                "to cut out. Give both in seconds, or neither for the whole recording."
            )
        if self.duration_seconds is not None and not 0 < self.duration_seconds < math.inf:
            raise DataError(f"duration {self.duration_seconds} of {self.id} must be above 0 s. Correct it.")
        if self.sex not in (None, "m", "f"):
            raise DataError(f"sex {self.sex!r} of {self.speaker} must be m or f, as in spk2gender. Correct it, "
                            "or leave it out.")
        for name in labels.DIMENSIONS:
            if (rating := getattr(self, name)) is not None:
                if not 0 <= rating <= 1:
                    raise DataError(f"{name} {rating} of {self.id} must be from 0 to 1. Rescale it.")
                object.__setattr__(self, name, float(rating))
        object.__setattr__(self, "votes", labels.read_votes(labels.write_votes(self.votes)))


def c_order(text: str) -> bytes:
    """Sort key of the C locale: the bytes of the text."""
    return text.encode(*_UTF8)


def few(names: Iterable[str], most: int = 8) -> str:
    """Names for a message, sorted and cut short: 'a, b and 3 more'."""
    names = sorted(names, key=c_order)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def read_table(path: Path) -> list[tuple[str, str]]:
    """(first word, rest) of each line, both empty for a blank one. Checks nothing."""
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    parts = [(*line.split(maxsplit=1), b"", b"") for line in lines]   # of bytes: a no-break space is a part of a word
    return [(first.decode(*_UTF8), rest.rstrip().decode(*_UTF8)) for first, rest, *_ in parts]


def words(text: str) -> list[str]:
    """The words of a line as awk and Kaldi's tools see them, cut at ASCII's white space alone."""
    return [word.decode(*_UTF8) for word in text.encode(*_UTF8).split()]


def table_bytes(rows: Mapping[str, str]) -> bytes:
    """The file that holds these rows: sorted, one space after the id, a newline after every line."""
    return b"".join(c_order(f"{key} {rows[key]}").rstrip() + b"\n" for key in sorted(rows, key=c_order))


def write_table(path: Path, rows: Mapping[str, str]) -> None:
    """A reader sees the old table or the new one, never half of it."""
    with files.whole(path, "wb") as file:
        file.write(table_bytes(rows))


def spk2utt(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """utt2spk turned round: each speaker with the utterances, in C order."""
    spoken = defaultdict(list)
    for utterance in sorted(utt2spk, key=c_order):
        spoken[utt2spk[utterance]].append(utterance)
    return {speaker: " ".join(utterances) for speaker, utterances in spoken.items()}


def order_problems(utt2spk: Mapping[str, str]) -> list[str]:
    """Why sorting by utterance does not sort by speaker too: the first reason, if there is one."""
    remedy = "(fix this by making speaker-ids prefixes of utt-ids, with '-' after them)"
    for utterance, speaker in utt2spk.items():
        if not utterance.startswith(speaker):
            return [f"utterance-id {utterance} does not begin with speaker-id {speaker} {remedy}"]
    for a, b in itertools.pairwise(sorted(utt2spk, key=c_order)):
        if c_order(utt2spk[a]) > c_order(utt2spk[b]):
            return [f"utt2spk is not in sorted order when sorted first on speaker-id: {a}, {b} {remedy}"]
    return []


def read(directory: str | os.PathLike, allow_pipes: bool = False) -> list[Utterance]:
    """The utterances of a data directory in C order, whatever the order of its tables.

    A wav.scp entry that ends in `|` is a shell command, run when its utterance is opened: refused unless
    allow_pipes. Raises: DataError or LabelError at the first fault (datacheck.validate lists them all).
    """
    directory = Path(directory)
    speakers = _column(directory / "utt2spk")
    emotions = _column(directory / "utt2emotion", speakers)
    if (directory / "segments").exists():
        wavs = _column(directory / "wav.scp")
        spans: dict[str, Any] = {u: _span(u, line) for u, line in _column(directory / "segments", speakers).items()}
    else:
        wavs = _column(directory / "wav.scp", speakers)
        spans = {u: (u, None, None) for u in speakers}
    durations = _column(directory / "utt2dur", speakers, optional=True)
    sexes = _column(directory / "spk2gender", dict.fromkeys(speakers.values(), ""), "speaker", optional=True)
    ratings = {name: _column(directory / f"utt2{name}", speakers, optional=True) for name in labels.DIMENSIONS}
    votes = _column(directory / "utt2votes", speakers, optional=True)
    pipes = [recording for recording, wav in wavs.items() if wav.endswith("|")]
    if pipes and not allow_pipes:
        raise DataError(
            f"{directory / 'wav.scp'} has shell commands, not paths, for {few(pipes)}: reading runs programs "
            "of their author. Convert the audio to files, or read it in Python with allow_pipes=True if you trust them."
        )
    if lost := {recording for recording, *_ in spans.values()} - wavs.keys():
        raise DataError(f"{directory}: segments cuts {few(lost)}, which wav.scp lacks. {_FIX}")
    utterances = []
    for u in sorted(speakers, key=c_order):
        recording, start, stop = spans[u]
        try:
            duration = float(durations[u]) if durations else None
            rated: Any = {name: float(column[u]) for name, column in ratings.items() if column.get(u, "-") != "-"}
            utterances.append(Utterance(u, speakers[u], wavs[recording], emotions[u], start, stop, duration,
                                        sexes.get(speakers[u]), votes=labels.read_votes(votes.get(u, "-")), **rated))
        except ValueError as error:
            kind = labels.LabelError if isinstance(error, labels.LabelError) else DataError
            raise kind(f"{directory}: {u}: {error}") from None
    return utterances


def _column(
    path: Path, like: Mapping[str, str] | None = None, kind: str = "utterance", optional: bool = False,
) -> dict[str, str]:
    """{id: value} of a table that lists each id once and, given `like` (from utt2spk), the same ids."""
    if optional and not path.exists():
        return {}
    if not path.is_file():
        raise DataError(f"no such file {path}: no data directory without it. Name another, or write it.")
    rows = read_table(path)
    column = dict(rows)
    if len(column) < len(rows) or not all(column.values()):
        raise DataError(f"{path} has an id twice, or lines without a value. {_FIX}")
    if like is not None and column.keys() != like.keys():
        odd = few(column.keys() ^ like.keys())
        raise DataError(f"{path} and utt2spk do not have identical {kind}-id lists: {odd}. {_FIX}")
    return column


def _span(utterance: str, value: str) -> tuple[str, float, float]:
    """Recording, start and stop of a line of segments."""
    try:
        recording, start, stop = words(value)
        return recording, float(start), float(stop)
    except ValueError:
        raise DataError(f"segments: {utterance} {value} needs <recording> <start> <end>. {_FIX}") from None


def digest(utterances: Iterable[Utterance]) -> str:
    """Sixteen hex digits that change with whatever the tables tell: labels, speakers, spans, paths, ratings."""
    return hashlib.sha256(repr(list(utterances)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


TABLES = frozenset({   # that `write` writes, or removes where they do not apply
    "utt2spk", "spk2utt", "utt2emotion", "utt2dur", "spk2gender", "segments", "wav.scp", "utt2votes",
    *(f"utt2{name}" for name in labels.DIMENSIONS),
})


def write(directory: str | os.PathLike, utterances: Iterable[Utterance]) -> None:
    """Writes wav.scp, utt2spk, spk2utt, utt2emotion; segments if there are spans; utt2dur and spk2gender if
    duration and sex of all are known; utt2votes and the ratings if those of some are known.

    Each table is replaced whole; optional ones go where they no longer apply. Among spans, a recording takes
    the id of its first utterance, and a whole recording becomes the span of its duration.
    Raises: DataError, before it writes, for no utterances, an id twice, ids without their speaker in front, a
    speaker of two sexes.
    """
    directory, utterances = Path(directory), _sorted(utterances)
    utt2spk = {u.id: u.speaker for u in utterances}
    for problem in order_problems(utt2spk):
        raise DataError(f"{problem}: Kaldi's tools would refuse {directory}.")
    segments, recordings = dict[str, str](), dict[str, str]()
    if any(u.start_seconds is not None for u in utterances):
        for u in utterances:
            start, stop = u.start_seconds or 0.0, u.stop_seconds or u.duration_seconds
            if stop is None:
                raise DataError(f"segments must say where {u.id} ends. Give its duration_seconds.")
            segments[u.id] = f"{recordings.setdefault(u.wav, u.id)} {float(start)} {float(stop)}"
    seconds = {u.id: str(float(u.duration_seconds)) for u in utterances if u.duration_seconds}
    tables = {
        "utt2spk": utt2spk,
        "spk2utt": spk2utt(utt2spk),
        "utt2emotion": {u.id: u.emotion for u in utterances},
        "utt2dur": seconds if len(seconds) == len(utterances) else {},
        "spk2gender": _spk2gender(utterances),
        "segments": segments,
        "wav.scp": {u: wav for wav, u in recordings.items()} or {u.id: u.wav for u in utterances},
        "utt2votes": _if_any({u.id: labels.write_votes(u.votes) if u.votes else None for u in utterances}),
        **{f"utt2{name}": _if_any({u.id: getattr(u, name) for u in utterances}) for name in labels.DIMENSIONS},
    }
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        if rows:
            write_table(directory / name, rows)
        else:
            (directory / name).unlink(missing_ok=True)


def _if_any(rows: Mapping[str, object]) -> dict[str, str]:
    """The rows, - for what is None; none where nothing is known."""
    known = any(value is not None for value in rows.values())
    return {u: "-" if value is None else str(value) for u, value in rows.items()} if known else {}


def _spk2gender(utterances: Iterable[Utterance]) -> dict[str, str]:
    """The sex of each speaker, or nothing where an utterance does not know it."""
    pairs = {(u.speaker, u.sex) for u in utterances}
    known = sorted((speaker, sex) for speaker, sex in pairs if sex)
    if both := {speaker for (speaker, _), (other, _) in itertools.pairwise(known) if speaker == other}:
        raise DataError(f"speakers {few(both)} are m and f: spk2gender holds one sex each. Correct it, or rename one.")
    return dict(known) if len(known) == len(pairs) else {}


def _sorted(utterances: Iterable[Utterance]) -> list[Utterance]:
    """The utterances in C order: at least one, no id twice."""
    utterances = sorted(utterances, key=lambda u: c_order(u.id))
    if not utterances:
        raise DataError("no utterances: nothing can be trained or scored. Check what selects them.")
    if twice := {a.id for a, b in itertools.pairwise(utterances) if a.id == b.id}:
        raise DataError(f"utterance ids {few(twice)} occur twice: one would hide the other. Drop one.")
    return utterances


def open_wav(utterance: Utterance) -> str | io.BytesIO:
    """What audio.read takes: the path or, for a pipe, what its command prints. Runs the command: see read."""
    if not utterance.wav.endswith("|"):
        return utterance.wav
    command = utterance.wav[:-1].strip()
    done = subprocess.run(command, shell=True, capture_output=True)
    if done.returncode or not done.stdout:
        said = done.stderr.decode("utf-8", "replace").strip()[-500:] or "nothing"
        raise DataError(
            f"the pipe of {utterance.id} ended with code {done.returncode} after {len(done.stdout)} bytes of "
            f"audio and said {said!r}. Run it by hand: {command}"
        )
    return io.BytesIO(done.stdout)


def combine(parts: Iterable[Iterable[Utterance]]) -> list[Utterance]:
    """All utterances of several lists, in C order. Raises: DataError where they share an id."""
    return _sorted(itertools.chain.from_iterable(parts))


def subset(
    utterances: Iterable[Utterance], speakers: Iterable[str] | None = None, per_class: int | None = None,
    first: int | None = None, emotions: Iterable[str] | None = None, without_speakers: Iterable[str] = (),
    without_utterances: Iterable[str] = (),
) -> list[Utterance]:
    """These speakers and emotions, without some; of those, at most per_class of each emotion; of those, the first ones.

    per_class picks at even distances, as Kaldi's subset_scp.pl does, so that every speaker keeps a share.
    Raises: DataError for an unknown speaker or utterance and for an empty result, LabelError for an unknown emotion.
    """
    chosen = _sorted(utterances)
    for name, most in (("per_class", per_class), ("first", first)):
        if most is not None and most < 1:
            raise DataError(f"{name}={most} must be at least 1: nothing would be left. Raise it.")
    taken = {u.speaker for u in chosen} if speakers is None else known_speakers("subset", speakers, chosen)
    taken -= known_speakers("subset", without_speakers, chosen)
    left_out = set(without_utterances)
    if unknown := left_out - {u.id for u in chosen}:
        raise DataError(f"subset: unknown utterances {few(unknown)}. Give ids as utt2spk has them.")
    chosen = [u for u in chosen if u.speaker in taken and u.id not in left_out]
    if emotions is not None:
        emotions = {labels.check(emotion) for emotion in emotions}
        chosen = [u for u in chosen if u.emotion in emotions]
    if per_class is not None:
        groups = defaultdict(list)
        for u in chosen:
            groups[u.emotion].append(u)
        sizes = {emotion: min(per_class, len(group)) for emotion, group in groups.items()}
        chosen = [group[i * len(group) // sizes[e]] for e, group in groups.items() for i in range(sizes[e])]
    return _sorted(chosen)[:first]


def known_speakers(use: str, names: Iterable[str], utterances: list[Utterance]) -> set[str]:
    """The names as a set. Raises: DataError if one of them is no speaker of these utterances."""
    names, known = set(names), {u.speaker for u in utterances}
    if unknown := names - known:
        raise DataError(f"{use}: unknown speakers {few(unknown)}; there are {few(known, 100)}. Correct them.")
    return names
