#!/usr/bin/env python3
"""Put a trained, calibrated and evaluated model into the package, with a card that states what was measured."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from emotion import checkpoint
from emotion.evaluate import POSTERIORS, Posteriors

CORPORA = {
    "ravdess": "RAVDESS speech (Livingstone & Russo 2018, CC BY-NC-SA 4.0): English, 24 actors, two sentences",
    "emodb": "EMO-DB (Burkhardt et al. 2005): German, 10 actors, ten sentences; anger, happiness, neutral, sadness",
}
PURPOSE = (
    "Made for trying out the toolkit and as a start for your own training. Acted, read speech of 34 adults in two "
    "languages: it has heard no children, no telephone, no spontaneous talk. It tells how a voice sounds, not what a "
    "person feels. Not for decisions about people: hiring, policing, credit, health, education or insurance."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp", type=Path, help="experiment folder, evaluated")
    parser.add_argument("out", type=Path, help="emotion/pretrained")
    options = parser.parse_args()
    model = checkpoint.read(options.exp)
    scores = json.loads((options.exp / "scores.json").read_text())
    if scores["model"] != model.fingerprint:
        raise SystemExit(f"{options.exp}: scores.json is of another model. Run stage 4 first.")
    answers = Posteriors.read(options.exp / POSTERIORS)
    measured = {"all": scores, **{name: part(answers, name).summary() for name in CORPORA}}
    heard = {name: [s for s in model.train_speakers if s.startswith(name)] for name in CORPORA}
    card = {
        **model.card,
        "data": {name: {"corpus": CORPORA[name], "train_speakers": len(heard[name])} for name in CORPORA},
        "licence": "CC BY-NC-SA 4.0, as the recordings it was trained on: not for commercial use",
        "protocol": "one split by speaker, conf/split.yaml of recipes/bundled; epoch and temperature chosen on the "
                    "validation speakers; the test speakers scored once",
        "test": {
            name: {key: round(result[key], 4) for key in ("uar", "war", "ece")} for name, result in measured.items()
        },
        "purpose": PURPOSE,
    }
    options.out.mkdir(exist_ok=True)
    checkpoint.write(replace(model, card=card), options.out / checkpoint.FILE_NAME)
    (options.out / "CARD.md").write_text(page(card, model, measured), encoding="utf-8")


def part(answers: Posteriors, corpus: str) -> Posteriors:
    """The utterances of one corpus."""
    rows = [i for i, speaker in enumerate(answers.speakers) if speaker.startswith(corpus)]
    return Posteriors(
        tuple(answers.utterances[i] for i in rows), tuple(answers.speakers[i] for i in rows),
        answers.labels, answers.targets[rows], answers.probabilities[rows],
    )


def page(card: dict, model: checkpoint.Checkpoint, measured: dict) -> str:
    """The card as Markdown."""
    num_weights = sum(weight.numel() for weight in model.model.parameters())
    lines = [
        "# The bundled model", "",
        f"Series of CNN and bidirectional LSTM, {num_weights:,} weights, trained by `recipes/bundled/run.sh`",
        f"(seed {card['seed']}, epoch {card['epoch']} chosen by {card['selected_by']}, commit {card['commit']}).", "",
        f"Answers: {', '.join(model.labels)} (calm counts as neutral).", "",
        "## Data", "",
        *(f"- {data['corpus']}. {data['train_speakers']} speakers trained it." for data in card["data"].values()),
        f"- Validation speakers: {', '.join(model.valid_speakers)}.", "",
        f"Licence of the weights: {card['licence']}. See LICENSE beside this file.", "",
        "## Measured on speakers it never heard", "", f"Protocol: {card['protocol']}.", "",
        "| test speakers of | utterances | speakers | UAR % | 95 % interval | WAR % | ECE % | chance UAR % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in measured.items():
        classes = int(np.count_nonzero(np.sum(result["confusion"], axis=1)))
        lines.append(
            f"| {name} | {result['num_utterances']} | {result['num_speakers']} | {100 * result['uar']:.1f} | "
            f"{100 * result['uar_low']:.1f} to {100 * result['uar_high']:.1f} | {100 * result['war']:.1f} | "
            f"{100 * result['ece']:.1f} | {100 / classes:.1f} |"
        )
    lines += ["", "| emotion | recall % |", "|---|---|"]
    lines += [f"| {label} | {100 * recall:.1f} |" for label, recall in measured["all"]["per_class"].items()]
    return "\n".join([*lines, "", "## What it is for, and what not", "", card["purpose"], ""])


if __name__ == "__main__":
    main()
