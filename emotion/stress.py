"""Does a model stand up to the world? Correctness, robustness and fairness, each test with its measure and its limit.

Which tests there are, and their limits: Derington et al. 2023, Testing correctness, fairness, and robustness of speech
emotion recognition models (arXiv 2312.06270). What is done to the recordings: `changes`.
"""

from __future__ import annotations

import html
import json
import math
import os
import re
import string
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from . import changes, checkpoint, datadir, files, metrics, page
from .analyzer import Analyzer
from .checkpoint import Checkpoint
from .datadir import DataError, Utterance
from .evaluate import heard, refuse_heard, timelines
from .labels import tell_apart

TEMPLATE = Path(__file__).with_name("stress.html.template")
ENDINGS = (".html", ".json")
FEWEST = 8   # recordings of a class by one speaker, below which the speaker's share of it says little
PITCH_GROUPS = (("low voices", 0, 145), ("middle voices", 145, 190), ("high voices", 190, 350))   # mean F0 in Hz
SIMULATIONS = 1000
UNCHANGED = {   # share of labels that stay; of small changes always 0.95
    "white noise": 0.9, "babble": 0.9, "telephone": 0.5, "upward tilt": 0.8, "downward tilt": 0.8, "room": 0.8,
    "MP3": 0.8, "Opus": 0.8,   # these two are ours
}
UAR_LOSS = {"white noise": 0.05, "babble": 0.05, "telephone": 0.05, "upward tilt": 0.02, "downward tilt": 0.02}


@dataclass(frozen=True)
class Check:
    """One test: what was measured, and the limit that it must keep."""

    group: str   # correctness, small changes, the world, fairness
    subject: str
    measure: str
    value: float
    limit: float
    at_least: bool   # else at most
    interval: tuple[float, float] | None = None   # 95 %, over speakers

    @property
    def passed(self) -> bool:
        return bool(self.value >= self.limit if self.at_least else self.value <= self.limit)

    def to_dict(self) -> dict:
        return {
            "group": self.group, "subject": self.subject, "measure": self.measure, "value": round(self.value, 6),
            "at least" if self.at_least else "at most": round(self.limit, 6), "passed": self.passed,
            **({} if self.interval is None else {"interval": [round(bound, 6) for bound in self.interval]}),
        }


@dataclass(frozen=True)
class Stress:
    """All tests of a model, or of those of all folds, and what they were made with."""

    checks: tuple[Check, ...]
    models: tuple[str, ...]   # fingerprints
    data: tuple[str, ...]
    labels: tuple[str, ...]
    num_utterances: int
    num_speakers: int
    heard: tuple[str, ...] = ()   # speakers that trained or validated a model which was tested on them

    @property
    def passed(self) -> int:
        return sum(check.passed for check in self.checks)

    def to_dict(self) -> dict:
        return {
            "models": self.models, "data": self.data, "labels": self.labels, "utterances": self.num_utterances,
            "speakers": self.num_speakers, "heard": self.heard, "passed": self.passed, "tests": len(self.checks),
            "checks": [check.to_dict() for check in self.checks],
        }


@dataclass(frozen=True)
class _Answers:
    """What was said of utterances, beside what is true. Shape: speakers, targets, plain (utterances,)."""

    labels: tuple[str, ...]
    speakers: np.ndarray
    targets: np.ndarray   # class numbers, as all answers
    plain: np.ndarray
    changed: Mapping[str, np.ndarray]
    sexes: Mapping[str, str | None]   # of speakers
    pitches: Mapping[str, float]   # mean F0 of speakers in Hz


def trials(model: str | os.PathLike, directory: str | os.PathLike, seed: int = 1) -> list[tuple[Path, Path]]:
    """Model and data directory; or those of each fold, where they are fold<k>/seed<s> and fold<k>/test below.

    Raises: DataError where a fold has a model and no test directory.
    """
    if model == "bundled":
        return [(checkpoint.BUNDLED, Path(directory))]
    model, directory = Path(model), Path(directory)
    folds = sorted(
        (path for path in model.glob(f"fold*/seed{seed}") if re.fullmatch(r"fold\d+", path.parent.name)),
        key=lambda path: int(path.parent.name[4:]),
    )
    if not folds:
        return [(model, directory)]
    pairs = [(fold, directory / fold.parent.name / "test") for fold in folds]
    for fold, data in pairs:
        if not data.is_dir():
            raise DataError(f"{fold} is tested on {data}, and there is no such folder. Give the one with fold*/test.")
    return pairs


def stress(
    pairs: Sequence[tuple[str | os.PathLike | Checkpoint, str | os.PathLike]], device: str = "auto",
    threads: int | None = None, told: Callable[[str], None] = lambda text: None, allow_heard: bool = False,
) -> Stress:
    """Test models, each on a data directory of speakers that it never heard; folds are pooled.

    told: is given a line for each step.   allow_heard: also on others, who are named in the result.
    Raises: DataError where a model has heard a speaker in training or validation, unless allowed; where models differ
    in their classes or have one alone, or audio cannot be read.
    """
    parts, models, not_new = [], [], set()
    for model, directory in pairs:
        model = model if isinstance(model, Checkpoint) else checkpoint.read(model)
        if not tell_apart(model.labels):
            raise DataError(f"the model {model.fingerprint} names no emotions, so no label could change. What its "
                            "dimensions are worth is told by `emotion evaluate`.")
        utterances = datadir.read(directory)
        known = (*model.train_speakers, *model.valid_speakers)
        if not allow_heard:
            refuse_heard(utterances, known)
        not_new |= {u.speaker for u in utterances} & set(known)
        parts.append(_asked(Analyzer(model, device, threads=threads), utterances, told))
        models.append(model.fingerprint)
    if len({part.labels for part in parts}) > 1:
        raise DataError("the models differ in their classes: they are of different schemes. Test those of one.")
    answers = _pooled(parts)
    checks = (*_correctness(answers), *_robustness(answers), *_fairness(answers))
    return Stress(
        checks, tuple(models), tuple(str(directory) for _, directory in pairs), answers.labels,
        len(answers.targets), len(set(answers.speakers)), tuple(sorted(not_new)),
    )


def _asked(analyzer: Analyzer, utterances: Sequence[Utterance], told: Callable[[str], None]) -> _Answers:
    """The answers to all utterances, as they are and after each change."""
    rate = analyzer.sample_rate
    waveform_of = lru_cache(256)(lambda i: heard(utterances[i], rate))

    def labelled(change=None) -> np.ndarray:
        return np.array([answer.probabilities.argmax() for answer in timelines(utterances, analyzer, change)])

    def changing(name: str, change: Callable) -> Callable[[np.ndarray, Utterance], np.ndarray]:
        def changed(waveform: np.ndarray, utterance: Utterance) -> np.ndarray:
            def voice(generator: np.random.Generator) -> np.ndarray:
                i = int(generator.integers(len(utterances)))
                return waveform_of(i - 1 if utterances[i] is utterance else i)

            drawn = np.random.default_rng([zlib.crc32(word.encode("utf-8", "surrogateescape"))
                                           for word in (utterance.id, name)])
            return change(changes.Sound(waveform, rate, drawn, voice)).astype(np.float32)

        return changed

    targets = np.array(analyzer.checkpoint.scheme.indices(u.emotion for u in utterances))
    told(f"{len(utterances)} recordings as they are")
    plain, changed = labelled(), {}
    for name, change in {**changes.SMALL, **changes.WORLD}.items():
        told(f"{len(utterances)} recordings, {name}")
        changed[name] = labelled(changing(name, change))
    told(f"{len(utterances)} recordings, pitch")
    return _Answers(
        analyzer.labels, np.array([u.speaker for u in utterances]), targets, plain, changed,
        {u.speaker: u.sex for u in utterances}, _pitches(analyzer, utterances),
    )


def _pitches(analyzer: Analyzer, utterances: Sequence[Utterance]) -> dict[str, float]:
    """Mean F0 in Hz of each speaker, over utterances of 50 to 350 Hz."""
    means: dict[str, list[float]] = {}
    for utterance in utterances:
        f0_hz = analyzer.pitch(heard(utterance, analyzer.sample_rate))
        mean = float(f0_hz[f0_hz > 0].mean()) if (f0_hz > 0).any() else 0.0
        if 50 <= mean <= 350:
            means.setdefault(utterance.speaker, []).append(mean)
    return {speaker: float(np.mean(values)) for speaker, values in means.items()}


def _pooled(parts: Sequence[_Answers]) -> _Answers:
    def joined(pick: Callable[[_Answers], np.ndarray]) -> np.ndarray:
        return np.concatenate([pick(part) for part in parts])

    return _Answers(
        parts[0].labels, joined(lambda p: p.speakers), joined(lambda p: p.targets), joined(lambda p: p.plain),
        {name: np.concatenate([part.changed[name] for part in parts]) for name in parts[0].changed},
        {speaker: sex for part in parts for speaker, sex in part.sexes.items()},
        {speaker: pitch for part in parts for speaker, pitch in part.pitches.items()},
    )


def _correctness(answers: _Answers) -> Iterator[Check]:
    classes = len(answers.labels)
    matrix = metrics.confusion(answers.targets, answers.plain, classes)
    true, called, right = matrix.sum(1), matrix.sum(0), matrix.diagonal()
    present = true > 0
    recall = right / np.maximum(true, 1)
    precision = right / np.maximum(called, 1)
    share_error = np.abs(called - true) / true.sum()
    low, high = metrics.bootstrap(metrics.uar, answers.targets, answers.plain, answers.speakers)
    group = "correctness"
    interval = (low, high) if math.isfinite(low) else None   # one speaker says nothing of others
    yield Check(group, "all", "UAR", recall[present].mean(), 0.5, True, interval)
    for name, values in (("recall", recall), ("precision", precision)):
        for label, value in zip(np.array(answers.labels)[present], values[present]):
            yield Check(group, str(label), name, value, 0.5, True)
    for label, value in zip(answers.labels, share_error):
        yield Check(group, label, "error of its share", value, 0.15, False)
    for i, label in enumerate(answers.labels):
        errors = [
            abs(float(np.mean(answers.plain[own] == i)) - float(np.mean(answers.targets[own] == i)))
            for own in (answers.speakers == speaker for speaker in sorted(set(answers.speakers)))
            if (answers.targets[own] == i).sum() >= FEWEST
        ]
        if errors:
            yield Check(group, label, "error of its share, mean over speakers", float(np.mean(errors)), 0.1, False)


def _robustness(answers: _Answers) -> Iterator[Check]:
    before = metrics.uar(answers.targets, answers.plain)
    for name, changed in answers.changed.items():
        group = "small changes" if name in changes.SMALL else "the world"
        kept = float(np.mean(changed == answers.plain))
        yield Check(group, name, "labels that stay", kept, UNCHANGED.get(name, 0.95), True)
        if name in UAR_LOSS:
            change = metrics.uar(answers.targets, changed) - before
            yield Check(group, name, "change of UAR", change, -UAR_LOSS[name], True)


def _fairness(answers: _Answers) -> Iterator[Check]:
    """Recall of each class, and UAR, of groups of speakers beside those of all."""
    if len(set(answers.speakers)) < 3:
        return   # a group would be one voice
    sexes = {name: {s for s, sex in answers.sexes.items() if sex == letter}
             for name, letter in (("women", "f"), ("men", "m"))}
    pitches = {name: {s for s, hertz in answers.pitches.items() if low < hertz <= high}
               for name, low, high in PITCH_GROUPS}
    for groups in (sexes, pitches):
        groups = {name: speakers for name, speakers in groups.items() if speakers}
        if len(groups) > 1:
            for name, speakers in groups.items():
                yield from _gaps(answers, name, speakers)


def _gaps(answers: _Answers, name: str, group: set[str]) -> Iterator[Check]:
    """How far a group's recalls lie from those of all, and how far they may: the greatest of 1,000 simulations of a
    model that is as good for everybody, with as many files."""
    speakers = sorted(set(answers.speakers))
    inside = np.array([speaker in group for speaker in speakers])
    classes = len(answers.labels)
    files = np.array([[np.sum((answers.speakers == s) & (answers.targets == c)) for c in range(classes)]
                      for s in speakers])
    right = np.array([[np.sum((answers.speakers == s) & (answers.targets == c) & (answers.plain == c))
                       for c in range(classes)] for s in speakers])
    gap = _gap(right[None], files[None], inside)[0]
    measured = np.flatnonzero(np.isfinite(gap))

    generator = np.random.default_rng(0)
    recall = right.sum(0) / np.maximum(files.sum(0), 1)
    simulated = generator.binomial(files, recall, (SIMULATIONS, *files.shape))
    limits = np.abs(_gap(simulated, np.broadcast_to(files, simulated.shape), inside))[:, measured].max(0)

    drawn = generator.integers(len(speakers), size=(SIMULATIONS, len(speakers)))
    times = np.stack([np.bincount(row, minlength=len(speakers)) for row in drawn])[:, :, None]
    again = _gap(times * right, times * files, inside)[:, measured]
    intervals = np.nanpercentile(again, (2.5, 97.5), axis=0).T   # nan where none of the group was drawn
    names = ["UAR", *(f"recall of {label}" for label in answers.labels)]
    for i, limit, (low, high) in zip(measured, limits, intervals):
        yield Check(
            "fairness", name, f"{names[i]}, beside all", abs(gap[i]), float(limit), False, (float(low), float(high)))


def _gap(right: np.ndarray, files: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """UAR, then the recall of each class, of the speakers inside less that of all.

    Shape: right, files (draws, speakers, classes), inside (speakers,) -> (draws, 1 + classes); nan without files.
    """
    def recalls(chosen: np.ndarray) -> np.ndarray:
        some = files[:, chosen].sum(1)
        each = np.divide(right[:, chosen].sum(1), some, out=np.full(some.shape, np.nan), where=some > 0)
        count = np.isfinite(each).sum(1)
        mean = np.divide(np.nansum(each, 1), count, out=np.full(len(each), np.nan), where=count > 0)
        return np.concatenate([mean[:, None], each], 1)

    return recalls(inside) - recalls(np.ones(len(inside), bool))


def check_path(path: str | os.PathLike) -> Path:
    """The path itself. Raises ValueError where its ending is not one of ENDINGS, or no file can be made there."""
    return files.check_output(path, ENDINGS, "the ending chooses the format")


def write(result: Stress, path: str | os.PathLike) -> None:
    """The tests as a page to read, or as JSON, by the ending of the path. Raises ValueError as check_path does."""
    path = check_path(path)
    text = json.dumps(result.to_dict(), indent=1) if path.suffix.lower() == ".json" else _page(result)
    with files.whole(path, encoding="utf-8") as file:
        file.write(text + "\n")


def _page(result: Stress) -> str:
    template = page.read(TEMPLATE, result.labels)
    groups = dict.fromkeys(check.group for check in result.checks)
    told = {
        "passed": f"{result.passed} of {len(result.checks)}", "recordings": f"{result.num_utterances:,}",
        "speakers": f"{result.num_speakers}", "data": ", ".join(result.data), "model": ", ".join(result.models),
    }
    return string.Template(template).substitute(
        policy=page.policy(template), voices=page.escaped(
            f"It has heard {datadir.few(result.heard)} before: that says little of new voices." if result.heard
            else "The speakers are ones that it never heard."
        ),
        totals="\n".join(f"<div><dt>{name}</dt><dd>{page.escaped(text)}</dd></div>" for name, text in told.items()),
        groups="\n".join(_section(group, [c for c in result.checks if c.group == group]) for group in groups),
    )


def _section(group: str, checks: Sequence[Check]) -> str:
    rows = "\n".join(
        f'<tr class="{"passed" if check.passed else "failed"}"><th scope="row">{page.escaped(check.subject)}</th>'
        f"<td>{html.escape(check.measure)}</td>"
        f'<td class="number">{_percent(check.value)}</td><td class="interval">{_interval(check)}</td>'
        f'<td class="number">{"≥" if check.at_least else "≤"} {_percent(check.limit)}</td>'
        f'<td class="verdict">{"passed" if check.passed else "failed"}</td></tr>'
        for check in checks
    )
    passed = sum(check.passed for check in checks)
    return (
        f"<section><h2>{group.capitalize()}: {passed} of {len(checks)}</h2><table>\n"
        '<thead><tr><th></th><th>measure</th><th class="number">%</th><th class="interval">95 % interval</th>'
        f'<th class="number">limit %</th><th></th></tr></thead>\n<tbody>\n{rows}\n</tbody></table></section>'
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}".replace("-", "\u2212")


def _interval(check: Check) -> str:
    return "" if check.interval is None else " to ".join(_percent(bound) for bound in check.interval)
