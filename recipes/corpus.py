"""A published corpus as a data directory: shared by local/prepare.py.

Either file names tell who speaks and how (NamedCorpus), or a table beside the recordings does (TabledCorpus).
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import soundfile
import yaml

from emotion import audio, datadir
from emotion.labels import DIMENSIONS, LabelError

Telling = Callable[[Path], "Spoken | None"]
ENOUGH = 20   # recordings to doubt a corpus by their lengths and speakers
SEXES = {"male": "m", "female": "f", "m": "m", "f": "f"}


@dataclass(frozen=True)
class Spoken:
    """Who speaks in a recording and with which raw emotion, in the words of the corpus."""

    name: str   # of the recording; the corpus has each once
    speaker: str
    code: str
    sex: str | None = None   # m or f
    votes: Mapping[str, int] = field(default_factory=dict)   # raw emotion: listeners who heard it
    ratings: Mapping[str, float] = field(default_factory=dict)   # arousal, valence, dominance, from 0 to 1
    span: tuple[float | None, float | None] = (None, None)   # seconds; none: the whole recording


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """How to know the recordings of a corpus, and how many there should be.

    `labels` is the file that turns raw emotions into canonical names. A kind of corpus is a `telling`.
    """

    prefix: str   # speaker 03 of prefix emodb is emodb03
    example: str   # a file name, for messages
    home: str   # the folder to give, for messages
    labels: Path
    published: Mapping[str, int] = field(default_factory=dict)   # files of each raw emotion; none: not published
    speakers: int = 0   # 0: not published
    rate: int = 0   # Hz, of every recording as published; 0: not one
    cut: bool = False   # are the recordings cut to a few lengths, as published?
    broken: frozenset[str] = frozenset()   # names of recordings that are published damaged: passed over

    def telling(self, directory: Path) -> tuple[Telling, set[str]]:
        """What turns a path without extension into what is spoken there, None for another file; and the names that
        a table promises."""
        raise NotImplementedError

    def recordings(self, directory: Path) -> list[tuple[Path, Spoken]]:
        """Every recording of the corpus below directory, each name once.

        Raises: FileNotFoundError if there is none.
        """
        tell, promised = self.telling(directory)
        first: dict[str, tuple[Path, Spoken]] = {}
        again = []
        for path in audio.find(directory):
            spoken = tell(path.with_suffix(""))
            if spoken and spoken.name not in self.broken and first.setdefault(spoken.name, (path, spoken))[0] != path:
                again.append(path)
        if not first:
            raise FileNotFoundError(
                f"{directory} holds no file like {self.example}, nor does a folder below it. "
                f"Give {self.home}, or any parent of it."
            )
        if again:
            warn(f"{len(again)} files have a name that is there already, such as {again[0]}: the first of "
                 "each name is used, as one recording in two places would count double.")
        if missing := promised - first.keys() - self.broken:
            warn(f"{len(missing)} of {len(promised)} recordings that the table names are not there: "
                 f"{datadir.few(missing, 3)}. The others are taken. Fetch the rest.")
        return list(first.values())

    def utterances(self, directory: Path) -> list[datadir.Utterance]:
        """Every recording as an utterance: emodb03-03a01Fa of speaker emodb03, from 03a01Fa.wav.

        Raises: LabelError for a raw emotion that `labels` does not hold, AudioError for what is no audio.
        """
        names, result = self.names(), []
        for path, spoken in self.recordings(directory):
            for code in (spoken.code, *spoken.votes):
                if code not in names:
                    known = ", ".join(names)
                    raise LabelError(f"{path}: emotion {code!r} is not among {known}. Add it to {self.labels}.")
            votes: Counter[str] = Counter()
            for code, count in spoken.votes.items():
                votes[names[code]] += count
            start, stop = spoken.span
            seconds = audio.duration(path)
            if start is not None:
                stop = seconds if stop is None else stop   # to its end
                if not 0 <= start < min(stop, seconds) or stop > seconds + audio.OVERSHOOT_SECONDS:
                    raise ValueError(f"{path}: from {start} to {stop} s is no part of its {seconds:.3f} s. Correct the "
                                     "table.")
                stop = min(stop, seconds)
                seconds = stop - start
            speaker, name = self.prefix + spoken.speaker, re.sub(r"[^\w.+-]+", "-", spoken.name)
            result.append(datadir.Utterance(
                f"{speaker}-{name}", speaker, str(path), names[spoken.code], start, stop, seconds,
                sex=spoken.sex, votes=tuple(votes.items()), **spoken.ratings,
            ))
        return result

    def find_table(self, directory: Path, name: str) -> Path:
        """What `find` finds. Raises: FileNotFoundError where there is none."""
        if path := find(directory, name):
            return path
        raise FileNotFoundError(f"{directory} holds no {name}, which tells who speaks and how, "
                                f"nor does a folder below it. Give {self.home}, or any parent of it.")

    def names(self) -> dict[str, str]:
        """{raw emotion: canonical name}"""
        names = yaml.load(Path(self.labels).read_text(encoding="utf-8"), yaml.BaseLoader)   # 1 and no are words too
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ValueError(f"{self.labels} must have a line for each label of the corpus, as in `wut: anger`.")
        return names

    def compare(self, utterances: list[datadir.Utterance]) -> None:
        """Prints the files of each class beside the published number, and warns where they differ."""
        published: Counter[str] = Counter()
        for code, name in self.names().items():
            published[name] += self.published.get(code, 0)
        files = Counter(utterance.emotion for utterance in utterances)
        speakers = len({utterance.speaker for utterance in utterances})
        of = " of {}" if self.published else ""
        for emotion in sorted(published.keys() if self.published else files):
            print(f"{emotion:<10} {files[emotion]:>5}{of.format(published[emotion])}")
        for name in DIMENSIONS:
            if rated := sum(getattr(utterance, name) is not None for utterance in utterances):
                print(f"{name:<10} {rated:>5} rated")
        of_speakers = f" of {self.speakers}" if self.speakers else ""
        print(f"{'all':<10} {len(utterances):>5}{of.format(published.total())}, {speakers}{of_speakers} speakers")
        if self.published and files != published or self.speakers not in (0, speakers):
            warn("these are not the published numbers. It may be a part of the corpus, another version, an "
                 "unpacking that stopped midway, or other recordings beside it. Scores will not compare with "
                 "published ones, and a split that names a missing speaker will be refused. Fetch it again, "
                 "unless it is meant.")

    def doubt(self, utterances: list[datadir.Utterance]) -> None:
        """Warns of rates and lengths that the published recordings do not have, of speakers of one emotion, and where
        the sex of some is known."""
        known = map(sample_rate, utterances) if self.rate else ()
        rates = Counter(rate for rate in known if rate is not None)
        if odd := sorted(rates.keys() - {self.rate}):
            count = sum(rates[rate] for rate in odd)
            warn(f"{count} of {len(utterances)} recordings are at {', '.join(map(str, odd))} Hz, published at "
                 f"{self.rate}: this copy was resampled, and whoever did it may have cut or mixed it too. Scores may "
                 "not compare with those on the published recordings: say so beside them.")
        sexless = {utterance.speaker for utterance in utterances if utterance.sex is None}
        if 0 < len(sexless) < len({utterance.speaker for utterance in utterances}):
            warn(f"nothing here tells m or f of {datadir.few(sexless, 3)}, so it is kept of nobody: spk2gender has all "
                 "speakers or none. Add it, if they are either.")
        if len(utterances) < ENOUGH:
            return
        lengths = [seconds for u in utterances if (seconds := u.duration_seconds) is not None]
        longest = max(lengths)
        equal = sum(seconds > longest - 0.005 for seconds in lengths)
        if equal > 0.05 * len(utterances) and not self.cut:
            warn(f"{equal} of {len(utterances)} recordings last {longest:.2f} s and none longer: this copy was cut or "
                 "filled up to one length, and the end of what was said is gone. Fetch the published one.")
        heard: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for utterance in utterances:
            heard[utterance.speaker][utterance.emotion] += 1
        single = sum(len(emotions) == 1 for emotions in heard.values())
        if single > len(heard) / 2 and len({utterance.emotion for utterance in utterances}) > 1:
            right = sum(max(emotions.values()) for emotions in heard.values()) / len(utterances)
            warn(f"{single} of {len(heard)} speakers have a single emotion: who only knows the voices, and hears "
                 f"no emotion, is right on {100 * right:.0f} % of these recordings. A score on voices that the model "
                 "was trained on is no achievement; on others it depends on which few people stand for a class.")

    def write(self, directory: Path, utterances: list[datadir.Utterance]) -> None:
        """The data directory. A corpus may leave utterances out here, after they were counted."""
        datadir.write(directory, utterances)


@dataclass(frozen=True, kw_only=True)
class NamedCorpus(Corpus):
    """`pattern` is matched against the end of a path without extension; groups `speaker` and `code` tell who and how.

    What it matches is the name of the recording, unless it has a group `name`. A group `sex` tells m or f, in
    either case, if `sexes` does not.
    """

    pattern: re.Pattern
    sexes: Mapping[str, str] = field(default_factory=dict)   # m or f of each speaker

    def telling(self, directory: Path) -> tuple[Telling, set[str]]:
        whole = re.compile(f"(?:.*/)?(?P<match_>{self.pattern.pattern})", self.pattern.flags)

        def tell(path: Path) -> Spoken | None:
            if not (match := whole.fullmatch(path.as_posix())):
                return None
            found = match.groupdict()
            sex = self.sexes.get(found["speaker"], SEXES.get(found.get("sex", "").lower()))
            return Spoken(found.get("name", found["match_"]), found["speaker"], found["code"], sex)

        return tell, set()


@dataclass(frozen=True, kw_only=True)
class TabledCorpus(Corpus):
    """A table has a line for each recording, and may call it by another extension.

    `columns` are the heads of file name, speaker, raw emotion and sex; spaces around values are no part of them.
    """

    table: str
    columns: tuple[str, ...]
    delimiter: str = "\t"

    def telling(self, directory: Path) -> tuple[Telling, set[str]]:
        spoken = {}
        for line in read_lines(self.find_table(directory, self.table), self.columns, self.delimiter):
            if told := self.spoken(line):
                spoken[told.name] = told
        return lambda path: spoken.get(path.name), set(spoken)

    def spoken(self, line: Mapping[str, str]) -> Spoken | None:
        """What a line of the table tells; None for a recording that is passed over."""
        name, speaker, code, sex = (line[column] for column in self.columns)
        return Spoken(Path(name).stem, speaker, code, SEXES.get(sex.lower()))


def find(directory: Path, name: str) -> Path | None:
    """The file of that name in directory or, if it is not there, in the first folder below that has one."""
    found = sorted(directory.rglob(name), key=lambda path: (len(path.parts), path))
    return found[0] if found else None


def read_lines(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    """The lines of a table by its heads, without spaces around values; in a table with tabs, quotes are letters.

    Raises: ValueError if one of the columns is missing.
    """
    is_wide = path.read_bytes()[:2] in (BOM_UTF16_LE, BOM_UTF16_BE)
    with open(path, encoding="utf-16" if is_wide else "utf-8-sig", errors="replace", newline="") as file:
        lines = csv.DictReader(
            file, delimiter=delimiter, quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        )
        if missing := set(columns) - set(lines.fieldnames or ()):
            raise ValueError(f"{path} has the columns {lines.fieldnames}, not {', '.join(sorted(missing))}: "
                             "nothing tells who speaks and how. Fetch the published table again.")
        return [{key: (value or "").strip() for key, value in line.items() if key is not None} for line in lines]


def sample_rate(utterance: datadir.Utterance) -> int | None:
    """Of a recording, in Hz; None where libsndfile does not read it."""
    try:
        return soundfile.info(utterance.wav).samplerate
    except soundfile.LibsndfileError:
        return None


def rescaled(rating: float, low: float, high: float) -> float:
    """A rating on a scale from low to high, from 0 to 1; those beyond an end are held to it."""
    return round(min(max((rating - low) / (high - low), 0.0), 1.0), 6)


def warn(message: str) -> None:
    """Says what is odd on the error output, and lets the recipe go on."""
    print(f"prepare.py: warning: {message}", file=sys.stderr)


def prepare(
    corpus: Corpus, description: str, arguments: list[str] | None = None,
    choices: Mapping[str, tuple[str, ...] | None] | None = None,
) -> None:
    """The command line of a local/prepare.py: CORPUS OUT. Ends with one message where it cannot go on.

    choices: fields of the corpus that are options too, with the values allowed; None: any.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=form)
    parser.add_argument("corpus", metavar="CORPUS", type=Path, help=f"{corpus.home}, or any parent of it")
    parser.add_argument("out", metavar="OUT", type=Path, help="the data directory to write, such as data/all")
    for name, allowed in (choices or {}).items():
        parser.add_argument(f"--{name.replace('_', '-')}", choices=allowed, default=getattr(corpus, name))
    options = parser.parse_args(arguments)
    corpus = replace(corpus, **{name: getattr(options, name) for name in choices or {}})
    try:
        utterances = corpus.utterances(options.corpus.resolve())
        corpus.compare(utterances)
        corpus.doubt(utterances)
        corpus.write(options.out, utterances)
    except (OSError, ValueError, yaml.YAMLError, re.error) as error:
        sys.exit(f"prepare.py: {' '.join(str(error).split())}")
