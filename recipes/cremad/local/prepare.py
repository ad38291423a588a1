#!/usr/bin/env python3
"""CREMA-D as a Kaldi data directory.

File name: actor, sentence, emotion that was acted, level, such as AudioWAV/1001_DFA_ANG_XX.wav. Any format that
libsndfile reads, at any rate. Where finishedResponses.csv is there, the votes of those who only heard the voice go
into utt2votes.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(RECIPE.parent))

from corpus import NamedCorpus, Telling, find, prepare, read_lines  # noqa: E402

MEN = {   # actors 1001 and so on, by VideoDemographics.csv of the corpus; the other 43 are women
    1, 5, 11, 14, 15, 16, 17, 19, 22, 23, 26, 27, 31, 32, 33, 34, 35, 36, 38, 39, 40, 41, 42, 44, 45, 48, 50, 51,
    57, 59, 62, 64, 65, 66, 67, 68, 69, 70, 71, 77, 80, 81, 83, 85, 86, 87, 88, 90,
}
VOICE_ONLY = "1"   # queryType of finishedResponses.csv; 2 saw the face alone, 3 both


@dataclass(frozen=True, kw_only=True)
class CremaD(NamedCorpus):
    def telling(self, directory: Path) -> tuple[Telling, set[str]]:
        tell, promised = super().telling(directory)
        votes = self.votes(directory)

        def tell_with_votes(path: Path):
            spoken = tell(path) if path.parent.name != "AudioMP3" else None   # the same recordings for the web page
            return spoken and replace(spoken, votes=votes.get(spoken.name, {}))

        return tell_with_votes, promised

    def votes(self, directory: Path) -> Mapping[str, Counter[str]]:
        """{recording: {letter of the emotion: listeners}}; the table may lie above AudioWAV. None without it."""
        table = find(directory, "finishedResponses.csv") or find(directory.parent, "finishedResponses.csv")
        heard: defaultdict[str, Counter[str]] = defaultdict(Counter)
        if table:
            for line in read_lines(table, ("queryType", "clipName", "respEmo")):
                if line["queryType"] == VOICE_ONLY:
                    heard[line["clipName"]][line["respEmo"]] += 1
        return heard


CORPUS = CremaD(
    prefix="cremad",
    pattern=re.compile(r"(?P<speaker>1\d{3})_[A-Z]{3}_(?P<code>ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX?)"),
    example="1001_DFA_ANG_XX.wav",
    home="the folder AudioWAV",
    labels=RECIPE / "conf" / "labels.yaml",
    published={   # less the broken ones
        "ANG": 1271, "DIS": 1271 - 1, "FEA": 1271, "HAP": 1271, "NEU": 1087 - 1, "SAD": 1271 - 2,
    },
    speakers=91,
    rate=16000,
    broken=frozenset({"1064_IEO_DIS_MD", "1064_TIE_SAD_XX", "1076_MTI_NEU_XX", "1076_MTI_SAD_XX"}),
    sexes={f"10{n:02}": "m" if n in MEN else "f" for n in range(1, 92)},
)

if __name__ == "__main__":
    prepare(CORPUS, __doc__)
