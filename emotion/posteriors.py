"""The table of what a model said of each test utterance, beside what is true."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import files, metrics
from .datadir import DataError
from .files import TEXT

POSTERIORS = "posteriors.csv"


@dataclass(frozen=True, eq=False)
class Posteriors:
    """What a model said of each utterance, beside what is true.

    Shape: probabilities (utterances, classes); targets (utterances,) indices into labels.
    """

    utterances: tuple[str, ...]
    speakers: tuple[str, ...]
    labels: tuple[str, ...]
    targets: np.ndarray
    probabilities: np.ndarray

    def summary(self) -> dict:
        """UAR, WAR and the rest as plain numbers."""
        return metrics.summary(self.targets, self.probabilities, self.labels, self.speakers)

    def write(self, path: Path) -> None:
        """A CSV table: utterance, speaker, emotion, p_<class>; six significant digits, so that no p becomes 0."""
        with files.whole(path, **TEXT) as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["utterance", "speaker", "emotion", *(f"p_{label}" for label in self.labels)])
            for name, speaker, target, row in zip(self.utterances, self.speakers, self.targets, self.probabilities):
                table.writerow([name, speaker, self.labels[target], *(f"{p:.6g}" for p in row)])

    @classmethod
    def read(cls, path: Path) -> Posteriors:
        """The table that `write` wrote. Raises DataError where it is not one."""
        try:
            with open(path, **TEXT) as file:
                header, *rows = list(csv.reader(file)) or [[]]
            labels = tuple(name.removeprefix("p_") for name in header[3:])
            if header[:3] != ["utterance", "speaker", "emotion"]:
                raise ValueError(f"its columns are {header}")
            names, speakers, emotions = zip(*(row[:3] for row in rows))
            targets = np.array([labels.index(emotion) for emotion in emotions])
            probabilities = np.array([[float(p) for p in row[3:]] for row in rows]).reshape(len(rows), len(labels))
            if not np.isfinite(probabilities).all():
                raise ValueError("some probabilities are no numbers")
            if len(set(names)) < len(names):
                raise ValueError("an utterance stands in it twice")
        except (ValueError, csv.Error) as error:
            raise DataError(
                f"{path} is no whole table of posteriors ({error}). Make it again with `emotion evaluate`."
            ) from None
        return cls(names, speakers, labels, targets, probabilities)

    @classmethod
    def pool(cls, parts: Sequence[Posteriors]) -> Posteriors:
        """Folds put together. Raises DataError where two of them tested the same utterance or differ in classes."""
        if len({part.labels for part in parts}) > 1:
            raise DataError("the folds differ in their classes: they are of different schemes. Pool one scheme.")
        names = [name for part in parts for name in part.utterances]
        if len(set(names)) < len(names):
            raise DataError("two folds tested the same utterance: it would count twice. Pool the folds of one split.")
        return cls(
            tuple(names), tuple(s for part in parts for s in part.speakers), parts[0].labels,
            np.concatenate([part.targets for part in parts]), np.concatenate([part.probabilities for part in parts]),
        )

    @classmethod
    def mean(cls, parts: Sequence[Posteriors]) -> Posteriors:
        """An ensemble: the mean answer of several models to the same utterances, equal in weight.

        Raises DataError where they answered other utterances or in other classes.
        """
        first = parts[0]
        for part in parts[1:]:
            if (part.utterances, part.labels) != (first.utterances, first.labels) or (
                    part.targets != first.targets).any():
                raise DataError(
                    "the members of an ensemble answered other utterances, in other classes or with other emotions as "
                    "the truth: their mean would mix them up. Give models of the same fold of the same split."
                )
        return replace(first, probabilities=np.mean([part.probabilities for part in parts], axis=0))


def read_scores(path: Path) -> dict[str, Any]:
    """What was told of an earlier evaluation; nothing where there was none, or it was cut off."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def caveats(table: Path) -> set[str]:
    """What is to be said beside every result of this table, as far as its name and the scores beside it know.

    transductive: given with statistics of the recordings that were to be answered.   heard: of speakers that trained.
    """
    scores = read_scores(table.with_name(table.name.replace("posteriors", "scores")).with_suffix(".json"))
    is_transductive = table.stem.endswith("_own") or scores.get("transductive")
    found = {"transductive": is_transductive, "heard": scores.get("heard")}
    return {name for name, holds in found.items() if holds}
