#!/usr/bin/env python3
"""MSP-Podcast as a Kaldi data directory, and data/spk2part beside it: who trains, validates and tests.

Labels/labels_consensus.csv tells of each recording its label, its ratings, who speaks and to which part it belongs;
labels_detailed.csv, if it is there, what each listener chose. The sound is Audios/MSP-PODCAST_0001_0008.wav.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import SEXES, Corpus, Spoken, Telling, find, prepare, read_lines, rescaled, warn  # noqa: E402

from emotion import datadir  # noqa: E402

TABLE = "labels_consensus.csv"
RATINGS = {"arousal": "EmoAct", "valence": "EmoVal", "dominance": "EmoDom"}
COLUMNS = ("FileName", "EmoClass", *RATINGS.values(), "SpkrID", "Gender", "Split_Set")
TESTS = ("Test1", "Test2")
PARTS = {"Train": "train", "Development": "valid", "Validation": "valid"}
SCALE = (1, 7)   # of the three ratings
OTHER = "Other"   # listeners may write a word of their own, as Other-Curious


@dataclass(frozen=True, kw_only=True)
class MspPodcast(Corpus):
    test: str = "Test1"
    unknown: str = "leave"   # or train: what to do with recordings of train whose speaker is not known
    parts: dict[str, str] = field(default_factory=dict)   # of each speaker; known once the table is read

    def telling(self, directory: Path) -> tuple[Telling, set[str]]:
        lines = self.lines(directory)
        part_of: dict[str, str] = {}
        for part in ("test", "valid", "train"):   # a speaker of two parts is of the first
            for line in lines:
                if line["part"] == part and not nobody(line["SpkrID"]):
                    part_of.setdefault(line["SpkrID"], part)
        votes, spoken = self.votes(directory), {}
        left: Counter[str] = Counter()
        for line in lines:
            speaker, part, name = line["SpkrID"], line["part"], Path(line["FileName"]).stem
            if nobody(speaker) and (part != "train" or self.unknown == "leave"):
                left["of unknown speakers"] += 1
            elif part_of.get(speaker, part) != part:
                left["of speakers who are in another part too"] += 1
            else:
                sex = SEXES.get(line["Gender"].lower())
                if nobody(speaker):
                    speaker, sex = f"unknown{name.split('_')[1]}", None   # by podcast; they may be several
                self.parts[self.prefix + speaker] = part
                ratings = {key: rescaled(float(line[column]), *SCALE) for key, column in RATINGS.items()}
                spoken[name] = Spoken(name, speaker, line["EmoClass"], sex, votes.get(line["FileName"], {}), ratings)
        for reason, count in left.items():
            print(f"{count} recordings {reason} are left out")
        return lambda path: spoken.get(path.name), set(spoken)

    def lines(self, directory: Path) -> list[dict[str, str]]:
        """Those of the parts that are used, each with its part: train, valid or test."""
        lines, parts = read_lines(self.find_table(directory, TABLE), COLUMNS), {**PARTS, self.test: "test"}
        return [{**line, "part": parts[line["Split_Set"]]} for line in lines if line["Split_Set"] in parts]

    def votes(self, directory: Path) -> Mapping[str, Counter[str]]:
        """{file: {word: listeners}} of a column EmoClass_Major, or of one with `worker; word; ...; A:4; V:3; D:5`."""
        heard: defaultdict[str, Counter[str]] = defaultdict(Counter)
        path = find(directory, "labels_detailed.csv")
        for line in read_lines(path, ("FileName",)) if path else ():
            word = line.get("EmoClass_Major")
            if word is None:
                word = [value for key, value in line.items() if key != "FileName"][0].split(";")[1].strip()
            heard[line["FileName"]][OTHER if word.startswith(OTHER) else word] += 1
        return heard

    def write(self, directory: Path, utterances: list[datadir.Utterance]) -> None:
        super().write(directory, utterances)
        datadir.write_table(directory.parent / "spk2part", {u.speaker: self.parts[u.speaker] for u in utterances})
        if missing := {"train", "valid", "test"} - {self.parts[u.speaker] for u in utterances}:
            warn(f"no recording is for {', '.join(sorted(missing))}: the copy is a part of the corpus, or its speakers "
                 "are not known.")


def nobody(speaker: str) -> bool:
    return speaker.lower() in ("", "unknown", "-1")


CORPUS = MspPodcast(
    prefix="msp",
    example="MSP-PODCAST_0001_0008.wav",
    home="the folder with Audios and Labels",
    labels=RECIPE / "conf" / "labels.yaml",
    rate=16000,
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__, choices={"test": TESTS, "unknown": ("leave", "train")})
