#!/usr/bin/env python3
"""Put the trained model into the package, calibrated on what its fold models said of speakers they never heard.

Its card states what those fold models reached, what models that never heard the corpus reached, and when it holds back.
"""

import argparse
import json
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from emotion import checkpoint, datadir, metrics
from emotion.calibration import Calibration, fit_temperature, fit_threshold
from emotion.posteriors import POSTERIORS, Posteriors

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from shared_classes import on_shared_classes, only  # noqa: E402

CORPORA = {
    "ravdess": "RAVDESS speech (Livingstone & Russo 2018, CC BY-NC-SA 4.0): English, 24 actors, two sentences",
    "emodb": "EMO-DB (Burkhardt et al. 2005): German, 10 actors, ten sentences; anger, happiness, neutral, sadness",
    "nemo": "nEMO (Christop 2024, CC BY-NC-SA 4.0): Polish, 9 actors, ninety sentences; no disgust",
}
HELD_BACK = 0.1   # share of recordings like those it was tested on that it calls unknown
PURPOSE = (
    "Made for trying out the toolkit and as a start for your own training. Acted, read speech of 43 adults in three "
    "languages: it has heard no children, no real telephone line, no spontaneous talk. It tells how a voice sounds, "
    "not what a person feels. Not for decisions about people: hiring, policing, credit, health, education or insurance."
)


@dataclass(frozen=True)
class Fold:
    """What one fold model said of its test speakers: `answers` without its temperatures, and these."""

    answers: Posteriors
    calibration: Calibration


def read_fold(exp: Path) -> Fold:
    """Log-probabilities times the temperature are the logits, but for a constant that softmax ignores.

    Raises: SystemExit where the answers are not those of the model beside them.
    """
    model = checkpoint.read(exp)
    if json.loads((exp / "scores.json").read_text())["model"] != model.fingerprint:
        raise SystemExit(f"pack.py: {exp}/{POSTERIORS} is of another model than stands there. Evaluate it again.")
    calibration = model.calibration
    answers = Posteriors.read(exp / POSTERIORS)
    return Fold(with_temperature(answers, 1 / calibration.utterance), calibration)


def logits(answers: Posteriors) -> torch.Tensor:
    return torch.tensor(answers.probabilities).clamp(min=1e-12).log()


def with_temperature(answers: Posteriors, temperature: float) -> Posteriors:
    return replace(answers, probabilities=Calibration(utterance=temperature).apply_utterance(logits(answers)).numpy())


def fitted(parts: list[Posteriors]) -> float:
    pooled = Posteriors.pool(parts)
    return fit_temperature(logits(pooled), torch.tensor(pooled.targets))


def of_corpus(answers: Posteriors, corpus: str) -> Posteriors:
    return only(answers, np.array([speaker.startswith(corpus) for speaker in answers.speakers]))


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
    if untested := sexes.keys() - {speaker for part in parts for speaker in part.speakers}:
        raise SystemExit(f"pack.py: no fold tested {datadir.few(untested)}, as the card would say. Finish the folds.")
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
            kind: {name: {key: round(part[key], 4) for key in ("uar", "war", "ece")} for name, part in table.items()}
            for kind, table in summaries.items()
        },
        "purpose": PURPOSE,
    }
    options.out.mkdir(exist_ok=True)
    model = replace(model, card=card)
    checkpoint.write(model, options.out / checkpoint.FILE_NAME)
    (options.out / "CARD.md").write_text(page(model, summaries, raw, calibrated, sexes), encoding="utf-8")


def page(
    model: checkpoint.Checkpoint, summaries: dict, raw: Posteriors, calibrated: Posteriors, sexes: dict
) -> str:
    """The card as Markdown."""
    card, num_weights = model.card, sum(weight.numel() for weight in model.model.parameters())
    chosen = "the last of its training" if card["selected_by"] == "epoch" else f"chosen by {card['selected_by']}"
    start = f", from {card['init']}" if card.get("init") else ""
    return "\n".join([
        "# The bundled model", "",
        *wrapped(f"""`{model.name}`, {num_weights:,} weights, trained by `recipes/bundled` as its README says (seed
            {card['seed']}, epoch {card['epoch']}, {chosen}{start}, commit {card['commit']})."""), "",
        *wrapped(f"""Answers: {', '.join(model.labels)}. Calm counts as neutral and boredom is left out: only one
            corpus has each, and a model of several would learn that corpus's room and microphone for the emotion."""),
        "", "## Data", "", *(f"- {text}." for text in CORPORA.values()), "",
        *wrapped(f"""{len(model.train_speakers)} speakers trained it; {', '.join(model.valid_speakers)} validated it.
            Licence of the weights: {card['licence']}. See LICENSE beside this file."""), "",
        "## Measured on speakers never heard", "",
        *wrapped("""Six folds over the speakers of all corpora (`conf/splits/six.yaml`): each speaker is tested by a
            model that has not heard them, trained as the shipped one. The numbers are those fold models'; the shipped
            model, which has heard more speakers, was not tested."""), "",
        *accuracy(summaries["folds"]), "",
        *wrapped("""Leave one corpus out (`conf/splits/corpora.yaml`): models that never heard the corpus, its language
            or its microphones, on the classes that training and test share."""), "",
        *accuracy(summaries["corpora"]), "",
        *_recalls(summaries["folds"]["all"], calibrated, sexes), "",
        "## How sure it is", "",
        *wrapped(f"""The temperature {model.calibration.utterance:.2f} was fitted on the pooled answers of the fold
            models. Fitted on five folds and measured on the sixth, in turn, it takes the expected calibration error
            from {error(raw)} to {error(calibrated)}."""), "",
        *held_back(model.calibration, calibrated), "",
        "## What it is for, and what not", "", *wrapped(PURPOSE), "",
    ])


def wrapped(words: str) -> list[str]:
    return textwrap.wrap(" ".join(words.split()), 118, break_on_hyphens=False)


def _recalls(everyone: dict, calibrated: Posteriors, sexes: dict) -> list[str]:
    women, men = (
        only(calibrated, np.array([sexes[s] == sex for s in calibrated.speakers])).summary() for sex in "fm"
    )
    rows = [(label, *(part["per_class"][label] for part in (everyone, women, men))) for label in everyone["per_class"]]
    rows.append(("mean", everyone["uar"], women["uar"], men["uar"]))
    lines = ["| recall % | all | women | men |", "|---|---|---|---|"]
    for label, *values in rows:
        lines.append(f"| {label} | " + " | ".join(f"{100 * value:.1f}" for value in values) + " |")
    return lines


def held_back(calibration: Calibration, calibrated: Posteriors) -> list[str]:
    confidence, right = calibrated.probabilities.max(1), calibrated.probabilities.argmax(1) == calibrated.targets
    answered = confidence >= calibration.unknown_below
    held, wrong = 100 * np.mean(~answered), 100 * np.mean(~right[~answered])
    always, selected = 100 * np.mean(right), 100 * np.mean(right[answered])
    return wrapped(f"""Below a confidence of {calibration.unknown_below:.2f} the answer is `unknown`. That holds
        back {held:.0f} % of recordings like these, of which {wrong:.0f} % would have been wrong, and takes the
        share of right answers from {always:.1f} % to {selected:.1f} %. Flags say where a recording is short,
        silent, without speech, clipped, band-limited or noisy: there a confidence means little.""")


def error(said: Posteriors) -> str:
    return f"{100 * metrics.ece(said.targets, said.probabilities):.1f} %"


def accuracy(summaries: dict[str, dict], rows: str = "test speakers of") -> list[str]:
    lines = [
        f"| {rows} | utterances | speakers | classes | UAR % | 95 % interval | WAR % | ECE % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in summaries.items():
        classes = int(np.count_nonzero(np.sum(result["confusion"], axis=1)))
        uar, low, high, war, ece = (100 * result[key] for key in ("uar", "uar_low", "uar_high", "war", "ece"))
        lines.append(
            f"| {name} | {result['num_utterances']} | {result['num_speakers']} | {classes} | "
            f"{uar:.1f} | {low:.1f} to {high:.1f} | {war:.1f} | {ece:.1f} |"
        )
    return lines


if __name__ == "__main__":
    main()
