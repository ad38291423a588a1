#!/usr/bin/env python3
"""IEMOCAP as a Kaldi data directory.

Session1/dialog/EmoEvaluation/Ses01F_impro01.txt tells of each utterance its label, how it was rated and what each
listener chose; the sound is Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M003.wav. Both names begin with the
session and with the sex of the one who wears the markers: the talker is the letter before the last number.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import Corpus, Spoken, Telling, prepare, rescaled  # noqa: E402

from emotion import datadir  # noqa: E402

TURN = re.compile(
    r"\[[\d.]+ - [\d.]+\]\t(?P<name>(?P<session>Ses\d\d)[FM]_(?P<kind>impro|script)\w+_(?P<talker>[FM])\w*\d)\t"
    r"(?P<code>\w+)\t\[(?P<valence>[\d.]+), (?P<arousal>[\d.]+), (?P<dominance>[\d.]+)\]"
)
VOTE = re.compile(r"C-E\d+:\t(?P<choices>[^(]*)")   # C-F1 and C-M1 are what the actors say of themselves
KINDS = {"all": ("impro", "script"), "improvised": ("impro",), "scripted": ("script",)}
SCALE = (1, 5)   # of the three ratings


@dataclass(frozen=True, kw_only=True)
class Iemocap(Corpus):
    kind: str = "all"

    def telling(self, directory: Path) -> tuple[Telling, set[str]]:
        spoken = {}
        for path in sorted(directory.rglob("EmoEvaluation/Ses*.txt")):
            for turn, votes in turns(path.read_text(encoding="utf-8", errors="replace")):
                if turn["kind"] in KINDS[self.kind]:
                    name, talker = turn["name"], turn["talker"]
                    ratings = {key: rescaled(float(turn[key]), *SCALE) for key in ("arousal", "valence", "dominance")}
                    spoken[name] = Spoken(name, turn["session"] + talker, turn["code"], talker.lower(), votes, ratings)
        if not spoken:
            raise FileNotFoundError(f"{directory} holds no EmoEvaluation/Ses01F_impro01.txt or the like, with turns of "
                                    f"kind {self.kind}. Give {self.home}, or any parent of it.")
        return lambda path: spoken.get(path.name), set(spoken)

    def compare(self, utterances: list[datadir.Utterance]) -> None:
        corpus = self if self.kind == "all" else replace(self, published={})
        super(Iemocap, corpus).compare(utterances)


def turns(text: str) -> Iterator[tuple[re.Match[str], Counter[str]]]:
    """Each turn of an evaluation file, with the votes of its listeners: those who chose two emotions vote for both."""
    for block in re.split(r"\n(?=\[)", text):
        if match := TURN.match(block):
            votes: Counter[str] = Counter()
            for vote in VOTE.finditer(block):
                votes.update(choice.strip().lower() for choice in vote["choices"].split(";") if choice.strip())
            yield match, votes


CORPUS = Iemocap(
    prefix="iemocap",
    example="Ses01F_impro01_M003.wav",
    home="the folder with Session1 ... Session5",
    labels=RECIPE / "conf" / "labels.yaml",
    published={
        "ang": 1103, "dis": 2, "exc": 1041, "fea": 40, "fru": 1849, "hap": 595, "neu": 1708, "oth": 3, "sad": 1084,
        "sur": 107, "xxx": 2507,
    },
    speakers=10,
    rate=16000,
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__, choices={"kind": tuple(KINDS)})
