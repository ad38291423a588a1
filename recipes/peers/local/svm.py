#!/usr/bin/env python3
"""One fold of a linear SVM on openSMILE features: trained, tuned and calibrated, then asked once.

EXP/posteriors.csv is what `emotion evaluate` writes for a network, so `emotion results` makes the table. The SVM
learns from the training speakers; the validation speakers choose its complexity C, by UAR, and the temperature
that turns its decisions into probabilities; the test speakers are scored once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from extract import Table
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from emotion import datadir, metrics, splits
from emotion.calibration import fit_temperature
from emotion.datadir import Utterance
from emotion.files import content
from emotion.posteriors import POSTERIORS, Posteriors

COMPLEXITIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Fold:
    """What a linear SVM sees of a fold: inner products of standardised features, and classes as numbers.

    Products with the training utterances stand for the features: thousands of numbers an utterance then cost no more
    than dozens. Shape: products {part: (utterances, training utterances)}, targets {part: (utterances,)}.
    """

    labels: tuple[str, ...]
    products: dict[str, np.ndarray]
    targets: dict[str, np.ndarray]


def standardise(parts: dict[str, list[Utterance]], table: Table, speaker_normalised: bool) -> dict[str, np.ndarray]:
    """Mean 0 and deviation 1 of each feature: over all training speakers, or over the recordings of each speaker.

    By speaker is transductive, as it takes all recordings of a test speaker, without their labels.
    """
    raw = {part: table.matrix(utterances) for part, utterances in parts.items()}
    if not speaker_normalised:
        scaler = StandardScaler().fit(raw["train"])
        return {part: scaler.transform(matrix) for part, matrix in raw.items()}
    for part, utterances in parts.items():
        speakers = np.array([u.speaker for u in utterances])
        for speaker in set(speakers):
            rows = speakers == speaker
            raw[part][rows] = StandardScaler().fit_transform(raw[part][rows])
    return raw


def prepare(parts: dict[str, list[Utterance]], table: Table, speaker_normalised: bool) -> Fold:
    """A fold ready to learn from. Raises: ValueError for a class that nobody trains."""
    labels = tuple(sorted({u.emotion for u in parts["train"]}))
    if untrained := {u.emotion for part in parts.values() for u in part} - set(labels):
        raise ValueError(f"no training utterance is of {', '.join(sorted(untrained))}: the SVM cannot answer so. "
                         "Leave these emotions out (--emotions of the corpus's recipe), or take another split.")
    targets = {part: np.array([labels.index(u.emotion) for u in utterances]) for part, utterances in parts.items()}
    features = standardise(parts, table, speaker_normalised)
    return Fold(labels, {part: matrix @ features["train"].T for part, matrix in features.items()}, targets)


def decisions(svm: SVC, products: np.ndarray) -> np.ndarray:
    """Votes for each class in its duels with the others, and how clear they were; the largest is the answer.

    Shape: (utterances, training utterances) -> (utterances, classes).
    """
    values = svm.decision_function(products)
    return values if values.ndim == 2 else np.stack([-values, values], axis=1)   # two classes have one duel


def choose(fold: Fold, complexities: Sequence[float] = COMPLEXITIES) -> tuple[SVC, dict[float, float]]:
    """The SVM of the best UAR on the validation speakers, of equals the simplest; and the UAR of each complexity."""
    svms, scores = {}, {}
    for complexity in sorted(complexities):
        svm = SVC(C=complexity, kernel="precomputed", class_weight="balanced", break_ties=True)
        svms[complexity] = svm.fit(fold.products["train"], fold.targets["train"])
        answers = decisions(svm, fold.products["valid"]).argmax(axis=1)
        scores[complexity] = metrics.uar(fold.targets["valid"], answers, len(fold.labels))
    return svms[max(scores, key=scores.__getitem__)], scores   # max takes the first of equals


def probabilities(svm: SVC, fold: Fold) -> tuple[np.ndarray, float]:
    """Softmax of the decisions on the test speakers, as sure as the validation speakers bear out; its temperature."""
    valid, test = (torch.tensor(decisions(svm, fold.products[part])) for part in ("valid", "test"))
    temperature = fit_temperature(valid, torch.tensor(fold.targets["valid"]))
    return (test / temperature).softmax(dim=1).numpy(), temperature


def run(exp: Path, data: Path, table_path: Path, speaker_normalised: bool) -> None:
    """Scores the fold in data/{train,valid,test}: EXP/posteriors.csv, and EXP/svm.json on how it came about.

    Raises: ValueError, DataError, FileNotFoundError.
    """
    table = Table.read(table_path)
    parts = {part: datadir.read(data / part) for part in PARTS}
    settings = {"features": table.feature_set, "opensmile": table.version, "speaker_normalised": speaker_normalised,
                "data": str(data), "content": datadir.digest(u for part in parts.values() for u in part),
                "values": content(table_path),
                "complexities": list(COMPLEXITIES)}
    stands = exp / "svm.json"
    if stands.exists() and (exp / POSTERIORS).exists() and settings.items() <= json.loads(stands.read_text()).items():
        print(f"{stands} stands: skipped")
        return
    splits.check_disjoint(**parts)
    fold = prepare(parts, table, speaker_normalised)
    svm, scores = choose(fold)
    answers, temperature = probabilities(svm, fold)
    posteriors = Posteriors(tuple(u.id for u in parts["test"]), tuple(u.speaker for u in parts["test"]), fold.labels,
                            fold.targets["test"], answers)
    exp.mkdir(parents=True, exist_ok=True)
    posteriors.write(exp / POSTERIORS)
    (exp / "scores.json").write_text(json.dumps({"transductive": speaker_normalised}))   # told beside the results
    stands.write_text(json.dumps({**settings, "complexity": svm.C, "temperature": temperature,
                                  "validation_uar": {f"{c:g}": score for c, score in scores.items()}}, indent=1))
    uar = metrics.uar(fold.targets["test"], answers.argmax(axis=1), len(fold.labels))
    print(f"{exp}: C {svm.C:g}, validation UAR {max(scores.values()):.3f}, test UAR {uar:.3f}")


def main(arguments: list[str] | None = None) -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("table", metavar="TABLE", type=Path, help="the npz that extract.py wrote")
    parser.add_argument("data", metavar="DATA", type=Path, help="a fold: the folder with train, valid and test")
    parser.add_argument("exp", metavar="EXP", type=Path, help="the folder to write to")
    parser.add_argument("--speaker-normalised", action="store_true", help="each speaker alone (transductive)")
    options = parser.parse_args(arguments)
    try:
        run(options.exp, options.data, options.table, options.speaker_normalised)
    except (OSError, ValueError) as error:
        sys.exit(f"svm.py: {error}")


if __name__ == "__main__":
    main()
