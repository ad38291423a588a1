"""What listeners said beyond one word for each utterance, against what a model says: dimensions rated, votes cast."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from . import files, metrics
from .datadir import DataError, Utterance
from .files import TEXT
from .labels import Scheme

TABLE = "dimensions"   # stands in the name of the table where posteriors stands in that of the table beside it


@dataclass(frozen=True, eq=False)
class Ratings:
    """What a model said of the dimensions of each utterance, beside how listeners rated them.

    Shape: true and said (utterances, dimensions), from 0 to 1; true is nan where nobody rated.
    """

    utterances: tuple[str, ...]
    speakers: tuple[str, ...]
    dimensions: tuple[str, ...]
    true: np.ndarray
    said: np.ndarray

    @classmethod
    def of(cls, utterances: Sequence[Utterance], dimensions: Sequence[str], said: np.ndarray) -> Ratings:
        """The answers beside the ratings of a data directory."""
        rated = [[getattr(utterance, name) for name in dimensions] for utterance in utterances]
        return cls(
            tuple(u.id for u in utterances), tuple(u.speaker for u in utterances), tuple(dimensions),
            np.array(rated, dtype=np.float64), said,
        )

    def summary(self) -> dict:
        """For each dimension CCC, its 95 % interval over speakers and the number of rated utterances; nan for fewer
        than two of them."""
        return {name: self._summary(true, said) for name, true, said in zip(self.dimensions, self.true.T, self.said.T)}

    def _summary(self, true: np.ndarray, said: np.ndarray) -> dict:
        known = np.isfinite(true)
        ccc = low = high = float("nan")
        if known.sum() > 1:
            ccc = metrics.ccc(true[known], said[known])
            low, high = metrics.bootstrap(metrics.ccc, true[known], said[known], np.array(self.speakers)[known])
        return {"ccc": ccc, "ccc_low": low, "ccc_high": high, "num_utterances": int(known.sum())}

    def write(self, path: Path) -> None:
        """A CSV table: utterance, speaker, true_<dimension> and said_<dimension>; nothing where nobody rated."""
        with files.whole(path, **TEXT) as file:
            table = csv.writer(file, lineterminator="\n")
            pairs = [f"{kind}_{name}" for name in self.dimensions for kind in ("true", "said")]
            table.writerow(["utterance", "speaker", *pairs])
            for name, speaker, true, said in zip(self.utterances, self.speakers, self.true, self.said):
                cells = [cell for pair in zip(true, said) for cell in pair]
                table.writerow([name, speaker, *("" if np.isnan(cell) else f"{cell:.6g}" for cell in cells)])

    @classmethod
    def read(cls, path: Path) -> Ratings:
        """The table that `write` wrote. Raises DataError where it is not one."""
        try:
            with open(path, **TEXT) as file:
                header, *rows = list(csv.reader(file)) or [[]]
            dimensions = tuple(name.removeprefix("true_") for name in header[2::2])
            if header != ["utterance", "speaker", *(f"{kind}_{d}" for d in dimensions for kind in ("true", "said"))]:
                raise ValueError(f"its columns are {header}")
            names, speakers = zip(*(row[:2] for row in rows))
            cells = np.array([[float(cell or "nan") for cell in row[2:]] for row in rows])
            true, said = cells.reshape(len(rows), len(dimensions), 2).transpose(2, 0, 1)
        except (ValueError, csv.Error) as error:
            raise DataError(
                f"{path} is no whole table of dimensions ({error}). Make it again with `emotion evaluate`."
            ) from None
        return cls(names, speakers, dimensions, true, said)

    @classmethod
    def beside(cls, posteriors: Path) -> Ratings | None:
        """The table beside a table of posteriors; None where the model has no dimensions."""
        path = posteriors.with_name(posteriors.name.replace("posteriors", TABLE))
        return cls.read(path) if path != posteriors and path.exists() else None

    @classmethod
    def pool(cls, parts: Sequence[Ratings]) -> Ratings:
        """Folds put together. Raises DataError where they are of other dimensions."""
        if len({part.dimensions for part in parts}) > 1:
            raise DataError("the folds differ in their dimensions: they are of different models. Pool one of them.")
        return cls(
            tuple(name for part in parts for name in part.utterances),
            tuple(speaker for part in parts for speaker in part.speakers), parts[0].dimensions,
            np.concatenate([part.true for part in parts]), np.concatenate([part.said for part in parts]),
        )

    @classmethod
    def mean(cls, parts: Sequence[Ratings]) -> Ratings:
        """An ensemble: the mean answer of several models. Raises DataError where they are of other dimensions."""
        if len({(part.utterances, part.dimensions) for part in parts}) > 1:
            raise DataError("the members of an ensemble answered other utterances or dimensions. Give models of the "
                            "same fold and settings.")
        return replace(parts[0], said=np.mean([part.said for part in parts], axis=0))


def against_votes(utterances: Sequence[Utterance], scheme: Scheme, probabilities: np.ndarray) -> dict:
    """How well the answers fit what listeners voted, over the utterances with a vote for a class; {} where none has.

    cross_entropy is never below entropy, that of the votes; agreement is the share of the listeners who chose what the
    model chose, never above agreement_best, of those who chose what most did.

    Shape: probabilities (utterances, classes).
    """
    shares = [scheme.shares(utterance.votes) for utterance in utterances]
    voted = [i for i, share in enumerate(shares) if share]
    if not voted or len(scheme.classes) < 2:
        return {}
    votes, answers = np.array([shares[i] for i in voted]), probabilities[voted]
    return {
        "num_utterances": len(voted), "cross_entropy": metrics.cross_entropy(votes, answers),
        "entropy": metrics.cross_entropy(votes, votes), "agreement": metrics.agreement(votes, answers.argmax(axis=1)),
        "agreement_best": metrics.agreement(votes, votes.argmax(axis=1)),
    }


def told(scores: dict) -> list[str]:
    """What scores.json says of dimensions and votes, in words."""
    lines = [f"CCC of {name} {found['ccc']:.3f} on {found['num_utterances']} utterances"
             for name, found in scores.get("dimensions", {}).items() if found["ccc"] is not None]
    if votes := scores.get("votes"):
        lines.append(
            f"cross-entropy with the votes {votes['cross_entropy']:.3f} (their own {votes['entropy']:.3f}), "
            f"{100 * votes['agreement']:.1f} % of the listeners agree ({100 * votes['agreement_best']:.1f} at best), "
            f"on {votes['num_utterances']} utterances"
        )
    return lines
