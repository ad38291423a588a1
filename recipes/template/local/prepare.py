#!/usr/bin/env python3
"""Recordings of your own as a Kaldi data directory: all that is needed is file, speaker and label of each.

CORPUS is one of
  a table (.csv with commas or semicolons, .tsv) with the columns file, speaker, label and, if known, sex (m, f, male,
  female), start and end (seconds), arousal, valence and dominance (on the scale that --ratings names; empty where
  nobody rated);
  JSON lines (.jsonl) with these keys;
  a Kaldi directory: wav.scp, utt2spk, utt2emotion and, if there, segments, spk2gender, utt2votes, utt2arousal etc.;
  an audformat database: db.yaml beside its tables db.*.csv;
  a folder with recordings in <label>/<speaker>/, or whatever --pattern says.
Paths of files count from the folder of the table, or are absolute; those of wav.scp count from where this is run.
"""

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import SEXES, Corpus, Spoken, prepare, read_lines, rescaled  # noqa: E402

from emotion import audio, datadir  # noqa: E402
from emotion.labels import DIMENSIONS  # noqa: E402

# file, name or None, speaker, label, sex, span in seconds or none, ratings, votes
Row = tuple[str, str | None, str, str, str, tuple[float | None, float | None], Mapping[str, float], Mapping[str, int]]
HINT = "(?P<label>[^/]+)/(?P<speaker>[^/_]+)_[^/]*"


@dataclass(frozen=True, kw_only=True)
class OwnCorpus(Corpus):
    file_column: str = "file"
    speaker_column: str = "speaker"
    label_column: str = "label"
    sex_column: str = "sex"
    ratings: str = "0,1"   # the ends of the scale of arousal, valence and dominance
    pattern: str = "(?P<label>[^/]+)/(?P<speaker>[^/]+)/[^/]+"

    def recordings(self, directory: Path) -> list[tuple[Path, Spoken]]:
        found = [(directory.parent / file if directory.is_file() else directory / file, spoken)
                 for file, spoken in self.rows(directory)]
        if lost := [str(path) for path, _ in found if not path.is_file()]:
            raise FileNotFoundError(f"{directory} names {len(lost)} files that are not there: {datadir.few(lost, 3)}. "
                                    "Paths count from the folder of the table. Correct them, or leave their lines out.")
        if not found:
            raise FileNotFoundError(f"{directory} names no recordings. Give {self.home}.")
        return found

    def rows(self, source: Path) -> Iterator[tuple[str, Spoken]]:
        """(file, what is spoken there) of each utterance; ids are file names, or paths where these repeat."""
        rows: Iterable[Row]
        ending = source.suffix.lower()
        if ending in (".csv", ".tsv"):
            rows = self.told(source, read_lines(source, (), "\t" if ending == ".tsv" else separator(source)))
        elif ending == ".jsonl":
            rows = self.told(source, map(json.loads, filter(str.strip, source.read_text("utf-8-sig").splitlines())))
        elif not source.is_dir():
            raise FileNotFoundError(f"{source} is no folder and no table that ends in .csv, .tsv or .jsonl. Give one.")
        elif (source / "wav.scp").is_file():
            rows = self.kaldi(source)
        elif (source / "db.yaml").is_file():
            rows = self.told(source, audformat(source, self.label_column))
        else:
            rows = self.named(source)
        rows = list(rows)
        spelt: dict[str, str] = {}
        for _, _, speaker, *_ in rows:
            if spelt.setdefault(plain(speaker), speaker) != speaker:
                raise ValueError(f"{source}: speakers {spelt[plain(speaker)]!r} and {speaker!r} would both be "
                                 f"{plain(speaker)}. Rename one; a table must be in UTF-8.")
        stems = Counter(Path(file).stem for file in {row[0] for row in rows})
        for file, name, speaker, label, sex, span, ratings, votes in rows:
            if name is None:
                path = Path(file)
                name = path.stem if stems[path.stem] == 1 else path.with_suffix("").as_posix().strip("/")
                name += "" if span[0] is None else f"-{span[0]:.2f}" + ("" if span[1] is None else f"-{span[1]:.2f}")
            yield file, Spoken(name, plain(speaker), label, SEXES.get(sex.lower()), votes, ratings, span)

    def told(self, source: Path, entries: Iterable[Mapping[str, object]]) -> Iterator[Row]:
        """Rows of a table."""
        columns = (self.file_column, self.speaker_column, self.label_column)
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, Mapping):
                raise ValueError(f'{source}: entry {number} is no object with keys, as in {{"file": "a.wav", ...}}.')
            line = {key: "" if value is None else str(value).strip() for key, value in entry.items()}
            file, speaker, label = (line.get(column, "") for column in columns)
            if not (file and speaker and label):
                raise ValueError(
                    f"{source}: entry {number} does not tell {self.file_column}, {self.speaker_column} and "
                    f"{self.label_column}; it has {', '.join(line)}. Name your columns with --file-column, "
                    "--speaker-column and --label-column; without speakers nothing can be tested on new ones."
                )
            try:
                start, end = seconds(line.get("start", "")), seconds(line.get("end", ""))
            except ValueError:
                raise ValueError(f"{source}: entry {number}, {file}: start {line.get('start', '')!r} and end "
                                 f"{line.get('end', '')!r} are no seconds. Write them as in 1.5.") from None
            span = (None, None) if end is None and not start else (start or 0.0, end)
            ratings = self.rated(line, f"{source}: entry {number}, {file}")
            yield file, None, speaker, label, line.get(self.sex_column, ""), span, ratings, {}

    def named(self, source: Path) -> Iterator[Row]:
        """Rows of a folder, by the paths below it."""
        pattern = re.compile(self.pattern)
        if missing := {"label", "speaker"} - pattern.groupindex.keys():
            raise ValueError(f"--pattern {self.pattern} has no group {', '.join(missing)}. Write one such as '{HINT}'.")
        for path in audio.find(source):
            file = path.relative_to(source)
            if not (match := pattern.fullmatch(file.with_suffix("").as_posix())):
                raise ValueError(
                    f"{path} does not tell label and speaker by --pattern '{self.pattern}'. Write what the paths below "
                    f"{source} look like, without extension: '{HINT}' for anger/anna_01.wav."
                )
            found = match.groupdict()
            yield str(file), None, found["speaker"], found["label"], found.get("sex") or "", (None, None), {}, {}

    def kaldi(self, source: Path) -> Iterator[Row]:
        """Rows of a Kaldi directory, whatever its labels."""
        tables = {path.name: dict(datadir.read_table(path)) for path in source.iterdir() if path.is_file()}
        if missing := {"utt2spk", "utt2emotion"} - tables.keys():
            raise FileNotFoundError(
                f"{source} has no {', '.join(sorted(missing))}: it tells who speaks and how. Write it.")
        segments = {utterance: words.split() for utterance, words in tables.get("segments", {}).items()}
        for name, there in (("utt2emotion", tables["utt2emotion"].keys()), ("wav.scp", tables["wav.scp"].keys())):
            asked = {segments.get(utterance, [utterance])[0] if name == "wav.scp" else utterance
                     for utterance in tables["utt2spk"]}
            if lost := asked - there:
                raise ValueError(f"{source}/{name} lacks {datadir.few(lost, 3)} of utt2spk. `emotion data fix` leaves "
                                 "out what is not whole.")
        for utterance, speaker in tables["utt2spk"].items():
            recording, *times = tables.get("segments", {}).get(utterance, utterance).split()
            wav = tables["wav.scp"][recording]
            if wav.endswith("|"):
                raise ValueError(f"{source}/wav.scp has a shell command for {recording}. Convert the audio to files.")
            span = (float(times[0]), float(times[1])) if times else (None, None)
            told = {name: tables.get(f"utt2{name}", {}).get(utterance, "") for name in DIMENSIONS}
            yield (str(Path(wav).absolute()), utterance.removeprefix(f"{speaker}-"), speaker,
                   tables["utt2emotion"][utterance], tables.get("spk2gender", {}).get(speaker, ""), span,
                   self.rated(told, f"{source}: {utterance}"),
                   voted(tables.get("utt2votes", {}).get(utterance, "-"), f"{source}/utt2votes: {utterance}"))

    def rated(self, told: Mapping[str, str], where: str) -> dict[str, float]:
        """Arousal and the like from 0 to 1, of those that somebody rated. Raises: ValueError for what is no rating."""
        low, high = self.scale()
        result = {}
        for name in DIMENSIONS:
            if (text := told.get(name, "")) not in ("", "-"):
                rating = number(text)
                if not low <= rating <= high:
                    raise ValueError(
                        f"{where}: {name} {text!r} is no number from {low:g} to {high:g}. Correct it, name the ends of "
                        "your scale with --ratings LOW,HIGH, as in --ratings 1,7, or leave it empty: nobody rated."
                    )
                result[name] = rescaled(rating, low, high)
        return result

    def scale(self) -> tuple[float, float]:
        """The ends that --ratings names."""
        low, high = map(number, self.ratings.split(",")) if self.ratings.count(",") == 1 else (math.nan, math.nan)
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"--ratings {self.ratings} must be the lowest and the highest rating that listeners could "
                             "give, as in --ratings 1,7.")
        return low, high


def audformat(source: Path, label_column: str) -> list[dict[str, str]]:
    """Lines of the table that has the labels, with what other tables tell of the same file."""
    tables = [read_lines(path, ()) for path in sorted(source.glob("db.*.csv"))]
    of_file: dict[str, dict[str, str]] = {}
    labelled: list[dict[str, str]] = []
    for lines in tables:
        for line in lines:
            of_file.setdefault(line.get("file", ""), {}).update(
                {key: value for key, value in line.items() if key not in ("start", "end")}
            )
        if lines and label_column in lines[0]:
            labelled = labelled or lines
    if not labelled:
        raise ValueError(f"{source} has no db.*.csv with a column {label_column}. Name it with --label-column; tables "
                         "in Parquet become CSV by audformat's Database.save(folder, storage_format='csv').")
    return [{**of_file[line["file"]], **line} for line in labelled]


def voted(text: str, where: str) -> dict[str, int]:
    """Votes by label of "anger:3 neutral:2"; none of "-"."""
    votes = {}
    for word in text.split() if text != "-" else ():
        label, _, count = word.rpartition(":")
        if not label or not count.isdecimal():
            raise ValueError(f"{where}: votes {text!r} must be like anger:3 neutral:2.")
        votes[label] = int(count)
    return votes


def separator(table: Path) -> str:
    """Of a CSV table: the semicolon where spreadsheets write commas into numbers."""
    head = table.read_bytes().partition(b"\n")[0]
    return max(",;", key=lambda sign: head.count(sign.encode()))


def plain(speaker: str) -> str:
    """A name as one word."""
    return re.sub(r"[^\w.+-]+", "_", speaker)


def number(text: str) -> float:
    """NaN of what is none."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan


def seconds(text: str) -> float | None:
    """Of "1.5" or, as pandas writes it, "0 days 00:00:01.500000"; None of "" and NaT."""
    if not text or text == "NaT":
        return None
    days, _, clock = text.replace(",", ".").rpartition(" days ")
    *larger, rest = clock.split(":")
    return float(days or 0) * 86400 + sum(int(n) * 60 ** k for k, n in enumerate(reversed(larger), 1)) + float(rest)


CORPUS = OwnCorpus(
    prefix="",
    example="anger/anna/01.wav",
    home="the table or the folder",
    labels=RECIPE / "conf" / "labels.yaml",
)
OPTIONS = ("file_column", "speaker_column", "label_column", "sex_column", "ratings", "pattern", "labels")

if __name__ == "__main__":
    prepare(CORPUS, __doc__, choices=dict.fromkeys(OPTIONS))
