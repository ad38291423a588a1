#!/usr/bin/env python3
"""MELD as a Kaldi data directory.

train_sent_emo.csv, dev_sent_emo.csv and test_sent_emo.csv tell who says what and how; dia0_utt0.mp4 below
train_splits, dev_splits_complete and output_repeated_splits_test is the clip, or a sound file of that name.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import Corpus, Spoken, Telling, prepare, read_lines  # noqa: E402

from emotion import datadir  # noqa: E402

PARTS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
MEN, WOMEN = {"Chandler", "Joey", "Ross"}, {"Monica", "Phoebe", "Rachel"}
ROLES = {   # of one actor: the twin sister, and parts that a character plays
    "Ursula": "Phoebe", "Dr. Drake Remoray": "Joey", "Drake": "Joey", "Dr. Stryker Ramoray": "Joey",
}
SEVERAL = re.compile(r"\band\b|[,/&]|\b(?:all|both|everyone|everybody|guys|girls|crowd)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Meld(Corpus):
    def telling(self, directory: Path) -> tuple[Telling, set[str]]:
        spoken = {}
        for part in PARTS:
            table = self.find_table(directory, f"{part}_sent_emo.csv")
            for line in read_lines(table, ("Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")):
                name = f"{part}/dia{line['Dialogue_ID']}_utt{line['Utterance_ID']}"
                speaker = ROLES.get(line["Speaker"], line["Speaker"])
                sex = "m" if speaker in MEN else "f" if speaker in WOMEN else None
                spoken[name] = Spoken(name, speaker_id(speaker), line["Emotion"].lower(), sex)
        folders = {folder: part for part, folder in PARTS.items()}

        def tell(path: Path) -> Spoken | None:
            part = next((folders[folder.name] for folder in path.parents if folder.name in folders), None)
            return spoken.get(f"{part}/{path.name}")

        return tell, set(spoken)

    def write(self, directory: Path, utterances: list[datadir.Utterance]) -> None:
        def alone(speaker: str) -> bool:
            return not SEVERAL.search(speaker.removeprefix(self.prefix).replace("_", " "))

        single = [u for u in utterances if alone(u.speaker)]
        print(f"{len(utterances) - len(single)} utterances of several people at once are left out")
        super().write(directory, single)


def speaker_id(name: str) -> str:
    """Mr. Heckles is Mr_Heckles; a comma and the like, which join several people, become and."""
    return re.sub(r"[^A-Za-z0-9]+", "_", re.sub(r"[,/&]", " and ", name)).strip("_")


CORPUS = Meld(
    prefix="meld",
    example="train_splits/dia0_utt0.mp4",
    home="the folder MELD.Raw",
    labels=RECIPE / "conf" / "labels.yaml",
    published={   # less the broken ones, both neutral
        "anger": 1607, "disgust": 361, "fear": 358, "joy": 2308, "neutral": 6436 - 2, "sadness": 1002, "surprise": 1636,
    },
    broken=frozenset({"train/dia125_utt3", "dev/dia110_utt7"}),
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
