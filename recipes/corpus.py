"""A published corpus as a data directory: shared by local/prepare.py.

Either file names tell who speaks and how (NamedCorpus), or a table beside the recordings does (TabledCorpus).
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from emotion import audio, datadir
from emotion.labels import LabelError


@dataclass(frozen=True)
class Spoken:
    """Who speaks in a recording and with which raw emotion, in the words of the corpus."""

    speaker: str
    code: str
    sex: str | None   # m or f


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """How to know the recordings of a corpus, and how many there should be.

    `labels` is the file that turns raw emotions into canonical names. A kind of corpus is a `telling`.
    """

    prefix: str   # speaker 03 of prefix emodb is emodb03
    example: str   # a file name, for messages
    home: str   # the folder to give, for messages
    labels: Path
    published: Mapping[str, int]   # files of each raw emotion
    speakers: int

    def telling(self, directory: Path) -> Callable[[str], Spoken | None]:
        """What turns a file name without extension into what is spoken there; None for another file."""
        raise NotImplementedError

    def recordings(self, directory: Path) -> dict[Path, Spoken]:
        """Every recording of the corpus below directory, each name once.

        Raises: FileNotFoundError if there is none.
        """
        tell, first, again = self.telling(directory), {}, []
        for path in audio.find(directory):
            spoken = tell(path.stem)
            if spoken and first.setdefault(path.stem, (path, spoken))[0] != path:
                again.append(path)
        if not first:
            raise FileNotFoundError(
                f"{directory} holds no file like {self.example}, nor does a folder below it. "
                f"Give {self.home}, or any parent of it."
            )
        if again:
            warn(f"{len(again)} files have a name that is there already, such as {again[0]}: the first of "
                 "each name is used, as one recording in two places would count double.")
        return dict(first.values())

    def utterances(self, directory: Path) -> list[datadir.Utterance]:
        """Every recording as an utterance: emodb03-03a01Fa of speaker emodb03, from 03a01Fa.wav.

        Raises: LabelError for a raw emotion that `labels` does not hold, AudioError for what is no audio.
        """
        names, result = self.names(), []
        for path, spoken in self.recordings(directory).items():
            if (code := spoken.code) not in names:
                known = ", ".join(names)
                raise LabelError(f"{path}: emotion {code!r} is not among {known}. Add it to {self.labels}.")
            speaker, seconds = self.prefix + spoken.speaker, audio.duration(path)
            result.append(datadir.Utterance(f"{speaker}-{path.stem}", speaker, str(path), names[code],
                                            duration_seconds=seconds, sex=spoken.sex))
        return result

    def names(self) -> dict[str, str]:
        """{raw emotion: canonical name}"""
        return yaml.safe_load(self.labels.read_text(encoding="utf-8"))

    def compare(self, utterances: list[datadir.Utterance]) -> None:
        """Prints the files of each class beside the published number, and warns where they differ."""
        published = Counter()
        for code, name in self.names().items():
            published[name] += self.published.get(code, 0)
        files = Counter(utterance.emotion for utterance in utterances)
        for emotion in sorted(published):
            print(f"{emotion:<10} {files[emotion]:>5} of {published[emotion]}")
        speakers = len({utterance.speaker for utterance in utterances})
        total = published.total()
        print(f"{'all':<10} {len(utterances):>5} of {total}, {speakers} of {self.speakers} speakers")
        if files != published or speakers != self.speakers:
            warn("these are not the published numbers. It may be a part of the corpus, another version, an "
                 "unpacking that stopped midway, or other recordings beside it. Scores will not compare with "
                 "published ones, and a split that names a missing speaker will be refused. Fetch it again, "
                 "unless it is meant.")


@dataclass(frozen=True, kw_only=True)
class NamedCorpus(Corpus):
    """`pattern` is matched against whole names; its groups `speaker` and `code` are number and raw emotion."""

    pattern: re.Pattern
    sexes: Mapping[str, str]   # m or f of each speaker's number

    def telling(self, directory: Path) -> Callable[[str], Spoken | None]:
        def tell(stem: str) -> Spoken | None:
            match = self.pattern.fullmatch(stem)
            return match and Spoken(match["speaker"], match["code"], self.sexes.get(match["speaker"]))

        return tell


@dataclass(frozen=True, kw_only=True)
class TabledCorpus(Corpus):
    """A table with tabs between its columns has a line for each recording, and may call it by another extension.

    `columns` are the heads of file name, speaker, raw emotion and sex; spaces around values are no part of them.
    """

    table: str
    columns: tuple[str, str, str, str]

    def telling(self, directory: Path) -> Callable[[str], Spoken | None]:
        path = self.find_table(directory)
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if missing := set(self.columns) - set(lines.fieldnames or ()):
                raise ValueError(f"{path} has the columns {lines.fieldnames}, not {', '.join(sorted(missing))}: "
                                 "nothing tells who speaks and how. Fetch the published table again.")
            spoken = {}
            for line in lines:
                name, speaker, code, sex = ((line[column] or "").strip() for column in self.columns)
                spoken[Path(name).stem] = Spoken(speaker, code, {"male": "m", "female": "f"}.get(sex))
        return spoken.get

    def find_table(self, directory: Path) -> Path:
        """The table in directory or, if it is not there, in the first folder below that has one."""
        tables = sorted(directory.rglob(self.table), key=lambda path: (len(path.parts), path))
        if not tables:
            raise FileNotFoundError(f"{directory} holds no {self.table}, the table that tells who speaks and how, "
                                    f"nor does a folder below it. Give {self.home}, or any parent of it.")
        return tables[0]


def warn(message: str) -> None:
    """Says what is odd on the error output, and lets the recipe go on."""
    print(f"prepare.py: warning: {message}", file=sys.stderr)


def prepare(corpus: Corpus, description: str, arguments: list[str] | None = None) -> None:
    """The command line of a local/prepare.py: CORPUS OUT. Ends with one message where it cannot go on."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=form)
    parser.add_argument("corpus", metavar="CORPUS", type=Path, help=f"{corpus.home}, or any parent of it")
    parser.add_argument("out", metavar="OUT", type=Path, help="the data directory to write, such as data/all")
    options = parser.parse_args(arguments)
    try:
        utterances = corpus.utterances(options.corpus.resolve())
        corpus.compare(utterances)
        datadir.write(options.out, utterances)
    except (OSError, ValueError) as error:
        sys.exit(f"prepare.py: {error}")
