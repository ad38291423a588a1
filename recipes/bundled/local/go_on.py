#!/usr/bin/env python3
"""Put a model that went on from the packaged one (emotion train --init bundled) into its place.

Both are asked what the validation speakers say, as it is and under stress: they trained neither model and, as the last
epoch is kept, chose nothing. The card keeps what fold models of the training before reached, and says so.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from pack import PURPOSE, accuracy, error, held_back, with_temperature, wrapped

from emotion import checkpoint, compare, datadir, evaluate, metrics, stress
from emotion.analyzer import Analyzer
from emotion.calibration import Calibration
from emotion.evaluate import posteriors
from emotion.posteriors import Posteriors

FOLDS, SINCE = "Measured on speakers never heard", "The last training"   # headings
BEFORE, NOW = "the model before", "this model"
BELOW = wrapped("All of this was measured before the last training, of models trained as the shipped one was then. "
                "What the last has changed is told below.")
UNDER_STRESS = ("small changes", "the world")


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
    parser.add_argument("exp", type=Path, help="experiment folder of the training")
    parser.add_argument("data", type=Path, help="data directory of the validation speakers")
    parser.add_argument("out", type=Path, help="emotion/pretrained")
    parser.add_argument("--what", required=True, help="what the training was for: a sentence of the card")
    options = parser.parse_args()
    before, model = checkpoint.read(options.out), checkpoint.read(options.exp)
    if before.fingerprint not in model.card.get("ancestors", {}).values():
        raise SystemExit(f"go_on.py: {options.exp} did not begin at the model in {options.out}. If it stands there "
                         "already, nothing is left to do; else train anew, in another --exp.")
    if (before.train_speakers, before.valid_speakers) != (model.train_speakers, model.valid_speakers):
        raise SystemExit(f"go_on.py: {options.exp} has other training or validation speakers than the model in "
                         f"{options.out}: its card would not hold. Train on the same, or pack.py the whole recipe.")
    utterances = datadir.read(options.data)
    if {u.speaker for u in utterances} != set(model.valid_speakers):
        raise SystemExit(f"go_on.py: {options.data} is not of the validation speakers, all and alone. Give theirs.")

    calibration = since(before, options.exp, options.data)
    models = {BEFORE: before, NOW: model.with_calibration(calibration)}
    raw = {name: posteriors(utterances, Analyzer(asked.with_calibration(Calibration()), "cpu"))
           for name, asked in models.items()}
    calibrated = {name: with_temperature(said, models[name].calibration.utterance) for name, said in raw.items()}
    strained = [stress.stress([(asked, options.data)], "cpu", told=print, allow_heard=True)
                for asked in models.values()]
    summaries = {name: said.summary() for name, said in calibrated.items()}
    model = replace(models[NOW], card={
        **model.card, **{key: before.card[key] for key in ("data", "licence", "test")},
        "init": f"the bundled model before it ({before.fingerprint})", "ancestors": {"bundled": before.fingerprint},
        "protocol": f"test: {before.card['protocol']}, trained as {before.fingerprint} was; watched: the validation "
                    "speakers, who trained neither it nor this model",
        "watched": {name: {key: round(part[key], 4) for key in ("uar", "war", "ece")}
                    for name, part in summaries.items()},
        "purpose": PURPOSE,
    })
    page = options.out / "CARD.md"
    kept = sections(page.read_text(encoding="utf-8"))
    checkpoint.write(model, options.out / checkpoint.FILE_NAME)
    page.write_text(told(model, options.what, kept, raw, calibrated, strained), encoding="utf-8")
    print(*(f"passed {result.passed} of {len(result.checks)}" for result in strained), sep="; then ")


def since(before: checkpoint.Checkpoint, exp: Path, data: Path) -> Calibration:
    """The temperatures of the model before, times what the training has changed in those of these speakers.

    They alone would make it too sure: five speakers, easier to hear than most, while those before are of all.
    """
    again = exp / "before"
    again.mkdir(exist_ok=True)
    checkpoint.write(before.with_calibration(Calibration()), again / checkpoint.FILE_NAME)
    theirs, ours = (evaluate.calibrate(folder, str(data), "cpu") for folder in (again, exp))
    return Calibration(
        before.calibration.utterance * ours.utterance / theirs.utterance,
        before.calibration.step * ours.step / theirs.step, before.calibration.unknown_below,
    )


def told(
    model: checkpoint.Checkpoint, what: str, kept: dict[str, list[str]], raw: dict[str, Posteriors],
    calibrated: dict[str, Posteriors], strained: list[stress.Stress],
) -> str:
    """The card: what stood there of data and folds, and what the training since has changed."""
    card, passed = model.card, [f"{result.passed} of {len(result.checks)}" for result in strained]
    now, gap = calibrated[NOW], compare.compare([raw[BEFORE]], [raw[NOW]]).uar
    right = metrics.war(now.targets, now.probabilities.argmax(1))
    size = sum(weight.numel() for weight in model.model.parameters())
    return "\n".join([
        "# The bundled model", "",
        *wrapped(f"""`{model.name}`, {size:,} weights, trained by `recipes/bundled` as its README says (seed
            {card['seed']}, epoch {card['epoch']}, the last of its training, from {card['init']}, commit
            {card['commit']})."""), "",
        *kept[""][kept[""].index("", 2) + 1 :],   # below the title and what the last training was
        "## Data", *kept["Data"],
        f"## {FOLDS}", *(line for line in kept[FOLDS] if line not in BELOW), *BELOW, "",
        f"## {SINCE}", "",
        *wrapped(f"""{what} On the validation speakers, who trained neither the model before nor this one and did not
            choose the epoch:"""), "",
        *accuracy({name: said.summary() for name, said in calibrated.items()}, "validation speakers, heard by"), "",
        *wrapped(f"""The difference in UAR is {100 * (gap.second - gap.first):+.1f} ({100 * gap.low:+.1f} to
            {100 * gap.high:+.1f} if other speakers were drawn). Of the tests of `emotion stress` the model before
            passed {passed[0]}, this one {passed[1]}:"""), "",
        *steadiness(*strained), "",
        "## How sure it is", "",
        *wrapped(f"""The temperature {model.calibration.utterance:.2f} is that of the model before, which was fitted on
            the pooled answers of fold models, times what the last training has changed in that of the validation
            speakers. These are easier to hear than most ({100 * right:.0f} % right), so for them it is too modest: an
            expected calibration error of {error(now)}, and of {error(raw[NOW])} without any temperature."""), "",
        *held_back(model.calibration, now), "",
        "## What it is for, and what not", "", *wrapped(PURPOSE), "",
    ])


if __name__ == "__main__":
    main()
