#!/usr/bin/env python3
"""The mini corpus as a Kaldi data directory: mini01/mini01-anger-03.wav is utterance mini01-anger-03."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from emotion import audio, datadir

NAME = re.compile(r"(?P<speaker>mini\d\d)-(?P<emotion>[a-z]+)-\d\d")


def utterances(corpus: Path) -> list[datadir.Utterance]:
    """Every recording of the corpus.

    Raises: ValueError for no recordings, or one whose name does not tell speaker and emotion.
    """
    found = []
    for path in audio.find(corpus):
        if not (match := NAME.fullmatch(path.stem)):
            raise ValueError(f"{path} is not like mini01-anger-03.wav: nothing says who speaks or how. "
                             "Give the folder that synthesise.py wrote, with nothing else in it.")
        speaker, seconds = match["speaker"], audio.duration(path)
        sex = "fm"[int(speaker[-2:]) % 2]   # odd speakers are men
        found.append(datadir.Utterance(path.stem, speaker, str(path), match["emotion"],
                                       duration_seconds=seconds, sex=sex))
    if not found:
        raise ValueError(f"{corpus} holds no recordings: there is nothing to train on. "
                         f"Make them with local/synthesise.py {corpus}.")
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", metavar="CORPUS", type=Path, help="what synthesise.py wrote")
    parser.add_argument("out", metavar="OUT", type=Path, help="the data directory to write, such as data/all")
    options = parser.parse_args(arguments)
    try:
        found = utterances(options.corpus.resolve())
        datadir.write(options.out, found)
    except (OSError, ValueError) as error:
        sys.exit(f"prepare.py: {error}")
    speakers = {utterance.speaker for utterance in found}
    print(f"{options.out}: {len(found)} utterances of {len(speakers)} speakers")


if __name__ == "__main__":
    main()
