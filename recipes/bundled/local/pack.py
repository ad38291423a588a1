#!/usr/bin/env python3
"""Put the trained model into the package, calibrated on what its fold models said of speakers they never heard.

Its card states what those fold models reached, what models reached that never heard the corpus, and where it holds back.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from emotion import checkpoint, datadir, metrics
from emotion.calibration import Calibration, fit_temperature, fit_threshold
from emotion.evaluate import POSTERIORS, Posteriors

CORPORA = {
    "ravdess": "RAVDESS speech (Livingstone & Russo 2018, CC BY-NC-SA 4.0): English, 24 actors, two sentences",
    "emodb": "EMO-DB (Burkhardt et al. 2005): German, 10 actors, ten sentences; anger, happiness, neutral, sadness",
    "nemo": "nEMO (Christop 2024, CC BY-NC-SA 4.0): Polish, 9 actors, ninety sentences; no disgust",
}
HELD_BACK = 0.1   # share of recordings like those it was tested on that it calls unknown
PURPOSE = (
    "Made for trying out the toolkit and as a start for your own training. Acted, read speech of 43 adults in three "
    "languages: it has heard no children, no telephone, no spontaneous talk. It tells how a voice sounds, not what a "
    "person feels. Not for decisions about people: hiring, policing, credit, health, education or insurance."
)


@dataclass(frozen=True)
class Fold:
    """What one fold model said of its test speakers: `answers` without its temperatures, and these."""

    answers: Posteriors
    calibration: Calibration


def read_fold(exp: Path) -> Fold:
    """Log-probabilities times the temperature are the logits, but for a constant that softmax ignores."""
    calibration = checkpoint.read(exp).calibration
    answers = Posteriors.read(exp / POSTERIORS)
    return Fold(with_temperature(answers, 1 / calibration.utterance), calibration)


def logits(answers: Posteriors) -> torch.Tensor:
    return torch.tensor(answers.probabilities).clamp(min=1e-12).log()


def with_temperature(answers: Posteriors, temperature: float) -> Posteriors:
    return replace(answers, probabilities=Calibration(utterance=temperature).apply_utterance(logits(answers)).numpy())


def fitted(parts: list[Posteriors]) -> float:
    pooled = Posteriors.pool(parts)
    return fit_temperature(logits(pooled), torch.tensor(pooled.targets))


def only(answers: Posteriors, rows: np.ndarray) -> Posteriors:
    return Posteriors(
        tuple(np.array(answers.utterances)[rows]), tuple(np.array(answers.speakers)[rows]), answers.labels,
        answers.targets[rows], answers.probabilities[rows],
    )


def of_corpus(answers: Posteriors, corpus: str) -> Posteriors:
    return only(answers, np.array([speaker.startswith(corpus) for speaker in answers.speakers]))


def on_shared_classes(answers: Posteriors, heard: set[str]) -> Posteriors:
    """Utterances of the classes that training had, answers among the classes that training and test both have."""
    shared = [k for k, label in enumerate(answers.labels) if label in heard and k in answers.targets]
    kept = only(answers, np.isin(answers.targets, shared))
    probabilities = np.zeros_like(kept.probabilities)
    probabilities[:, shared] = kept.probabilities[:, shared]
    return replace(kept, probabilities=probabilities / probabilities.sum(1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="folder with six/, corpora/ and shipped/")
    parser.add_argument("data", type=Path, help="data directory of all utterances")
    parser.add_argument("out", type=Path, help="emotion/pretrained")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seed = f"seed{options.seed}"
    utterances = datadir.read(options.data)
    sexes = {u.speaker: u.sex for u in utterances}
    folds = [read_fold(path.parent) for path in sorted(options.root.glob(f"six/fold*/{seed}/{POSTERIORS}"))]
    parts = [fold.answers for fold in folds]
    # each fold by a temperature that the other folds chose: what it does for speakers it was not fitted on
    crossed = [with_temperature(part, fitted(parts[:k] + parts[k + 1 :])) for k, part in enumerate(parts)]
    raw, calibrated = Posteriors.pool(parts), Posteriors.pool(crossed)
    threshold = fit_threshold(torch.tensor(calibrated.probabilities), HELD_BACK)
    model = checkpoint.read(options.root / "shipped" / seed)
    steps = np.exp(np.mean([np.log(fold.calibration.step) for fold in folds]))
    model = model.with_calibration(Calibration(fitted(parts), float(steps), round(threshold, 4)))

    classes = {
        name: {model.scheme.mapping[u.emotion] for u in utterances if u.speaker.startswith(name)} for name in CORPORA
    }
    tables = {
        "folds": {"all": calibrated, **{name: of_corpus(calibrated, name) for name in CORPORA}},
        "corpora": {},
    }
    for k, name in enumerate(CORPORA, 1):
        answers = Posteriors.read(options.root / f"corpora/fold{k}/{seed}" / POSTERIORS)
        heard = set.union(*(classes[other] for other in CORPORA if other != name))
        tables["corpora"][name] = on_shared_classes(answers, heard)
    summaries = {kind: {name: part.summary() for name, part in table.items()} for kind, table in tables.items()}
    card = {
        **model.card,
        "data": CORPORA,
        "licence": "CC BY-NC-SA 4.0, as the recordings it was trained on: not for commercial use",
        "protocol": "six folds over the speakers of all corpora; the numbers are those of the fold models",
        "test": {
            kind: {name: {key: round(result[key], 4) for key in ("uar", "war", "ece")} for name, result in table.items()}
            for kind, table in summaries.items()
        },
        "purpose": PURPOSE,
    }
    options.out.mkdir(exist_ok=True)
    checkpoint.write(replace(model, card=card), options.out / checkpoint.FILE_NAME)
    text = page(model, summaries, raw, calibrated, sexes, threshold)
    (options.out / "CARD.md").write_text(text, encoding="utf-8")


def page(
    model: checkpoint.Checkpoint, summaries: dict, raw: Posteriors, calibrated: Posteriors, sexes: dict, threshold: float
) -> str:
    """The card as Markdown."""
    num_weights = sum(weight.numel() for weight in model.model.parameters())
    card = model.card
    before, after = (metrics.ece(part.targets, part.probabilities) for part in (raw, calibrated))
    confidence, right = calibrated.probabilities.max(1), calibrated.probabilities.argmax(1) == calibrated.targets
    answered = confidence >= threshold
    lines = [
        "# The bundled model", "",
        f"`{model.name}`, {num_weights:,} weights, trained by `recipes/bundled/run.sh --stop-stage 8` (seed {card['seed']},",
        f"epoch {card['epoch']} chosen by {card['selected_by']} on {', '.join(model.valid_speakers)}, commit "
        f"{card['commit']}).", "",
        f"Answers: {', '.join(model.labels)}. Calm counts as neutral: corpora that have both differ in little else, and",
        "most have only one. Boredom is left out: a single corpus has it.", "",
        "## Data", "", *(f"- {text}." for text in CORPORA.values()), "",
        f"{len(model.train_speakers)} speakers trained it, {len(model.valid_speakers)} validated it.", "",
        "Licence of the weights: CC BY-NC-SA 4.0, as the recordings: not for commercial use. See LICENSE beside this file.",
        "", "## Measured on speakers never heard", "",
        "Six folds over the speakers of all corpora (`conf/splits/six.yaml`): each speaker is tested by a model that has not",
        "heard them, trained as the shipped one on the others. The numbers are those fold models'; the shipped model, which",
        "has heard more speakers, was not tested.", "",
        *_table(summaries["folds"]), "",
        "Leave one corpus out (`conf/splits/corpora.yaml`): models that never heard the corpus, its language or its",
        "microphones, on the classes that training and test share.", "",
        *_table(summaries["corpora"]), "",
        "| recall % | all | women | men |", "|---|---|---|---|",
    ]
    by_sex = [only(calibrated, np.array([sexes[s] == sex for s in calibrated.speakers])).summary() for sex in "fm"]
    for label, recall in summaries["folds"]["all"]["per_class"].items():
        women, men = (100 * result["per_class"][label] for result in by_sex)
        lines.append(f"| {label} | {100 * recall:.1f} | {women:.1f} | {men:.1f} |")
    women, men = (100 * result["uar"] for result in by_sex)
    lines.append(f"| mean | {100 * summaries['folds']['all']['uar']:.1f} | {women:.1f} | {men:.1f} |")
    return "\n".join([
        *lines, "",
        "## How sure it is", "",
        f"The temperature {model.calibration.utterance:.2f} was fitted on the pooled answers of the fold models. Fitted on",
        f"five folds and measured on the sixth, in turn, it takes the expected calibration error from {100 * before:.1f} % to "
        f"{100 * after:.1f} %.", "",
        f"Below a confidence of {threshold:.2f} the answer is `unknown`: that holds back {100 * np.mean(~answered):.0f} % of "
        "recordings like these,",
        f"of which {100 * np.mean(~right[~answered]):.0f} % would have been wrong, and the share of right answers rises from "
        f"{100 * np.mean(right):.1f} % to {100 * np.mean(right[answered]):.1f} %.",
        "Flags say where a recording is short, silent, without speech, clipped or band-limited: confidence means little there.",
        "", "## What it is for, and what not", "", PURPOSE, "",
    ])


def _table(summaries: dict[str, dict]) -> list[str]:
    lines = [
        "| test speakers of | utterances | speakers | classes | UAR % | 95 % interval | WAR % | ECE % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in summaries.items():
        classes = int(np.count_nonzero(np.sum(result["confusion"], axis=1)))
        lines.append(
            f"| {name} | {result['num_utterances']} | {result['num_speakers']} | {classes} | {100 * result['uar']:.1f} | "
            f"{100 * result['uar_low']:.1f} to {100 * result['uar_high']:.1f} | {100 * result['war']:.1f} | "
            f"{100 * result['ece']:.1f} |"
        )
    return lines


if __name__ == "__main__":
    main()
