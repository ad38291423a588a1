"""A corpus whose file names tell speaker and emotion, as a data directory: shared by local/prepare.py."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

from emotion import audio, datadir
from emotion.labels import LabelError


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """How to know the recordings of a corpus, and how many there should be.

    `pattern` is matched against whole file names without extension; its groups `speaker` and `code` are the
    speaker's number and the raw emotion. `labels` is the file that turns raw emotions into canonical names.
    """

    prefix: str   # speaker 03 of prefix emodb is emodb03
    pattern: re.Pattern
    example: str   # a file name, for messages
    home: str   # the folder to give, for messages
    labels: Path
    published: dict[str, int]   # files of each raw emotion
    speakers: int

    def recordings(self, directory: Path) -> dict[Path, re.Match]:
        """Every recording below directory with its name taken apart, each name once.

        Raises: FileNotFoundError if there is none.
        """
        first, again = {}, []
        for path in audio.find(directory):
            match = self.pattern.fullmatch(path.stem)
            if match and first.setdefault(path.stem, (path, match))[0] != path:
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
        for path, match in self.recordings(directory).items():
            if (code := match["code"]) not in names:
                known = ", ".join(names)
                raise LabelError(f"{path}: emotion {code!r} is not among {known}. Add it to {self.labels}.")
            speaker, seconds = self.prefix + match["speaker"], audio.duration(path)
            name = f"{speaker}-{path.stem}"
            result.append(datadir.Utterance(name, speaker, str(path), names[code], duration_seconds=seconds))
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
