#!/usr/bin/env python3
"""Put a model that went on from the packaged one (emotion train --init bundled, then emotion calibrate) into its place.

Both are asked what the validation speakers say, as it is and under stress: they trained neither model and, as the last
epoch is kept, chose nothing. The card keeps what fold models of the training before reached, and says so.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from pack import PURPOSE, accuracy, confidence, fitted, only, with_temperature, wrapped

from emotion import checkpoint, compare, datadir, stress
from emotion.analyzer import Analyzer
from emotion.evaluate import Posteriors, answers

FOLDS, SINCE = "Measured on speakers never heard", "The last training"
UNDER_STRESS = ("small changes", "the world")


def by_speaker(said: Posteriors) -> list[Posteriors]:
    return [only(said, np.array(said.speakers) == speaker) for speaker in sorted(set(said.speakers))]


def crossed(said: Posteriors) -> Posteriors:
    """The answers to each speaker by the temperature that the others choose."""
    parts = by_speaker(said)
    return Posteriors.pool([with_temperature(part, fitted(parts[:k] + parts[k + 1 :])) for k, part in enumerate(parts)])


def sections(page: str) -> dict[str, list[str]]:
    """What stands below each heading of a card, the first under an empty name."""
    found: dict[str, list[str]] = {"": []}
    for line in page.splitlines():
        if line.startswith("## "):
            found[line[3:]] = []
        else:
            found[list(found)[-1]].append(line)
    return found


def steadiness(before: stress.Stress, after: stress.Stress) -> list[str]:
    """Share of labels that stay, and change of UAR, of both models under each change."""
    lines = ["| % | labels that stay, before | after | at least | change of UAR, before | after | at least |",
             "|---|---|---|---|---|---|---|"]
    checks = {(c.subject, c.measure): (c, after_it) for c, after_it in zip(before.checks, after.checks)
              if c.group in UNDER_STRESS}
    for subject in dict.fromkeys(subject for subject, _ in checks):
        cells = []
        for measure, signed in (("labels that stay", ""), ("change of UAR", "+")):
            pair = checks.get((subject, measure))
            cells += ["", "", ""] if pair is None else [
                *(f"{100 * check.value:{signed}.1f}" for check in pair), f"{100 * pair[0].limit:{signed}.0f}"]
        lines.append(f"| {subject} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp", type=Path, help="experiment folder of the training, calibrated on them")
    parser.add_argument("data", type=Path, help="data directory of the validation speakers")
    parser.add_argument("out", type=Path, help="emotion/pretrained")
    options = parser.parse_args()
    before, model = checkpoint.read(options.out), checkpoint.read(options.exp)
    if (before.train_speakers, before.valid_speakers) != (model.train_speakers, model.valid_speakers):
        raise SystemExit(f"go_on.py: {options.exp} has other training or validation speakers than the model in "
                         f"{options.out}: its card would not hold. Train on the same, or pack.py the whole recipe.")
    utterances = datadir.read(options.data)
    if not model.calibration.unknown_below:
        raise SystemExit(f"go_on.py: {options.exp} never says unknown. Run emotion calibrate with --hold-back 0.1.")
    if {u.speaker for u in utterances} != set(model.valid_speakers):
        raise SystemExit(f"go_on.py: {options.data} is not of the validation speakers, all and alone. Give theirs.")

    models = {"the model before": before, "this model": model}
    raw = {name: uncalibrated(asked, utterances) for name, asked in models.items()}
    calibrated = {name: crossed(said) for name, said in raw.items()}
    strained = [stress.stress([(asked, options.data)], "cpu", told=print, allow_heard=True)
                for asked in models.values()]
    summaries = {name: said.summary() for name, said in calibrated.items()}
    model = replace(model, card={
        **model.card, **{key: before.card[key] for key in ("data", "licence", "test")},
        "init": f"the bundled model before it ({before.fingerprint})",
        "protocol": f"test: {before.card['protocol']}, trained as {before.fingerprint} was; watched: the validation "
                    "speakers, who trained neither it nor this model",
        "watched": {name: {key: round(part[key], 4) for key in ("uar", "war", "ece")}
                    for name, part in summaries.items()},
        "purpose": PURPOSE,
    })
    page = options.out / "CARD.md"
    kept = sections(page.read_text(encoding="utf-8"))
    checkpoint.write(model, options.out / checkpoint.FILE_NAME)
    page.write_text(told(model, kept, raw, calibrated, strained), encoding="utf-8")
    print(*(f"passed {result.passed} of {len(result.checks)}" for result in strained), sep="; then ")


def uncalibrated(model: checkpoint.Checkpoint, utterances: list[datadir.Utterance]) -> Posteriors:
    said, _ = answers(utterances, Analyzer(model, "cpu"), (1.0,))
    return with_temperature(said, 1 / model.calibration.utterance)


def told(
    model: checkpoint.Checkpoint, kept: dict[str, list[str]], raw: dict[str, Posteriors],
    calibrated: dict[str, Posteriors], strained: list[stress.Stress],
) -> str:
    """The card: what stood there of data and folds, and what the training since has changed."""
    card, passed = model.card, [f"{result.passed} of {len(result.checks)}" for result in strained]
    gap = compare.compare(*([said] for said in raw.values())).uar
    size = sum(weight.numel() for weight in model.model.parameters())
    return "\n".join([
        "# The bundled model", "",
        *wrapped(f"""`{model.name}`, {size:,} weights, trained by `recipes/bundled` as its README says (seed
            {card['seed']}, epoch {card['epoch']}, the last of its training, from {card['init']}, commit
            {card['commit']})."""), "",
        *kept[""][4:],   # below the title and what the last training was
        "## Data", *kept["Data"],
        f"## {FOLDS}", "",
        *wrapped("The tables of this section are of the training before the last, which they describe as the shipped "
                 "one. What the last changed is told below them."),
        *kept[FOLDS],
        f"## {SINCE}", "",
        *wrapped("""It adds noise, tones, other voices, tilted spectra, telephones, low passes and rooms. On the
            validation speakers, who trained neither the model before nor this one, and did not choose the epoch; each
            speaker by the temperature that the others choose:"""), "",
        *accuracy({name: said.summary() for name, said in calibrated.items()}, "validation speakers, heard by"), "",
        *wrapped(f"""The difference in UAR is {100 * (gap.second - gap.first):+.1f} ({100 * gap.low:+.1f} to
            {100 * gap.high:+.1f} if other speakers were drawn). Of the tests of `emotion stress` the model before
            passed {passed[0]}, this one {passed[1]}:"""), "",
        *steadiness(*strained), "",
        "## How sure it is", "",
        *confidence(model.calibration, raw["this model"], calibrated["this model"],
                    "on the validation speakers. Fitted on four and measured on the fifth, in turn, it"), "",
        "## What it is for, and what not", "", *wrapped(PURPOSE), "",
    ])


if __name__ == "__main__":
    main()
