"""What experiments reached, as Markdown: folds pooled, seeds side by side, all models of a fold as one."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from . import metrics, settings
from .datadir import DataError, few
from .posteriors import POSTERIORS, Posteriors, caveats
from .ratings import Ratings

FEW_SPEAKERS = 10   # below, an interval over speakers is rough and rather too narrow
CAVEATS = {
    "transductive": "Transductive: normalised by statistics of the tested recordings, without their labels. Compare it "
                    "with its like alone.",
    "heard": "Heard: of speakers of the training, so it says nothing of new voices.",
}
T = TypeVar("T")
Answers = tuple[Posteriors, Ratings | None]   # of one model to its test speakers


def results(*roots: str | Path, table: str = POSTERIORS, ensemble: bool = False) -> str:
    """Markdown table of all fold<k>/seed<s>/posteriors.csv below a folder, folds pooled, mean and spread over seeds.

    ensemble: all models of a fold answer together, by the mean of their posteriors; then of several folders too.
    Raises DataError where there are none, or where seeds do not cover the same folds.
    """
    if ensemble:
        columns = {"ensemble": _ensemble(roots, table)}
    elif len(roots) == 1:
        seeds = by_seed(Path(roots[0]), table, _read)
        columns = {f"seed {seed}": list(folds.values()) for seed, folds in sorted(seeds.items())}
        _refuse_other(Path(roots[0]), seeds)
    else:
        raise DataError(f"{len(roots)} folders are as many tables. Give one, or --ensemble to let all answer together.")
    summaries = {name: _summary(folds) for name, folds in columns.items()}
    note = _note(columns, next(iter(summaries.values())))
    known = set().union(*(caveats_of(root, table) for root in roots))
    return "\n".join([*_rows(summaries), "", " ".join([note, *(CAVEATS[name] for name in CAVEATS if name in known)])])


def rows(roots: Sequence[str | Path], table: str = POSTERIORS) -> str:
    """Markdown table with a row for each folder: folds pooled, mean and spread over its seeds, training time of a fold.

    Of dimensions, the mean CCC over its seeds. Raises DataError where one has no results.
    """
    found = {root: by_seed(root, table, _read) for root in map(Path, roots)}
    for root, seeds in found.items():
        _refuse_other(root, seeds)
    summaries = {root: [_summary(list(folds.values())) for folds in seeds.values()] for root, seeds in found.items()}
    dimensions = dict.fromkeys(
        name for column in summaries.values() for summary in column for name in summary.get("dimensions", {})
    )
    columns = ["configuration", "folds", "seeds", "UAR %", "spread", "WAR %", "ECE %",
               *(f"CCC {name}" for name in dimensions), "minutes a fold"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for root, seeds in found.items():
        column = summaries[root]
        percent = 100 if len(column[0]["per_class"]) > 1 else np.nan   # one class is no question
        uar, war, ece = (percent * np.array([summary[key] for summary in column]) for key in ("uar", "war", "ece"))
        rated = [[summary.get("dimensions", {}).get(name, {"ccc": np.nan})["ccc"] for summary in column]
                 for name in dimensions]
        paths = (root / f"fold{k}/seed{seed}/epochs.csv" for seed, parts in seeds.items() for k in parts)
        minutes = [_training_seconds(path) / 60 for path in paths if path.exists()]
        folds = " ".join(map(str, sorted(next(iter(seeds.values())))))
        spread = uar.std(ddof=1) if len(uar) > 1 else np.nan
        name = root.resolve()
        alike = [other for other in found if other.resolve().parent.name == name.parent.name]
        called = name.parent.name if len(alike) == 1 else f"{name.parent.name}/{name.name}"
        called += "".join(f" ({caveat})" for caveat in CAVEATS if caveat in caveats_of(root, table))
        cells = [called, folds, str(len(seeds)), *map(_cell, (uar.mean(), spread, war.mean(), ece.mean())),
                 *(_cell(sum(ccc) / len(ccc), 3) for ccc in rated),
                 _cell(sum(minutes) / len(minutes) if minutes else np.nan)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float | np.floating, digits: int = 1) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def _training_seconds(epochs_csv: Path) -> float:
    with open(epochs_csv, newline="") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def by_seed(root: Path, table: str, read: Callable[[Path], T]) -> dict[int, dict[int, T]]:
    """{seed: {fold: what is read}} of fold<k>/seed<s>/TABLE, the same folds for each seed.

    Raises: DataError where there are none, or where seeds do not cover the same folds.
    """
    found: dict[int, dict[int, T]] = defaultdict(dict)
    for path in sorted(root.glob(f"fold*/seed*/{table}")):
        if numbers := re.fullmatch(r"fold(\d+)/seed(\d+)", path.parent.relative_to(root).as_posix()):  # not fold1.old
            found[int(numbers[2])][int(numbers[1])] = read(path)
    if not found:
        raise DataError(f"no fold*/seed*/{table} below {root}. Run `emotion evaluate` first.")
    if len({tuple(sorted(folds)) for folds in found.values()}) > 1:
        covered = {seed: sorted(folds) for seed, folds in found.items()}
        raise DataError(f"{root}: seeds cover different folds {covered}. Finish them, or move the odd one away.")
    return found


def caveats_of(experiment: str | Path, table: str = POSTERIORS) -> set[str]:
    """What is to be said of its answers, by the names of CAVEATS. experiment: as for compare.read."""
    root = Path(experiment)
    tables = [root] if root.is_file() else [root / table, *root.glob(f"fold*/seed*/{table}")]
    return set().union(*map(caveats, tables))


def _refuse_other(root: Path, seeds: Mapping[int, Mapping[int, Answers]]) -> None:
    """Raises: DataError where the seeds of a fold tested other utterances, or know them by other emotions."""
    told: dict[int, set] = defaultdict(set)
    for folds in seeds.values():
        for k, (named, _) in folds.items():
            told[k].add(frozenset(zip(named.utterances, named.speakers, map(named.labels.__getitem__, named.targets))))
    if other := [k for k, tests in sorted(told.items()) if len(tests) > 1]:
        raise DataError(f"{root}: seeds of fold {other[0]} tested other utterances, or know them by other emotions: "
                        "their mean would say nothing. Evaluate them on the same data directory.")
    _refuse_other_settings([root / f"fold{k}" / f"seed{seed}" / "config.yaml" for seed in seeds for k in seeds[seed]])


def _refuse_other_settings(configs: Sequence[Path]) -> None:
    """Raises: DataError where trainings that count as one experiment were not, as far as their settings are there."""
    from omegaconf import OmegaConf

    there = [path for path in configs if path.exists()]
    plain: list[Any] = [OmegaConf.to_container(OmegaConf.load(path)) for path in there]
    known = list(map(settings.flat, plain))
    for path, own in zip(there, known):
        if differing := sorted(name for name in (own.keys() | known[0]) - settings.COMPUTING
                               if own.get(name) != known[0].get(name)):
            raise DataError(f"{path} was trained with other settings than {there[0]} ({few(differing)}): their mean "
                            "would be of two experiments. Give each a folder of its own, by another --conf.")


def _read(path: Path) -> Answers:
    return Posteriors.read(path), Ratings.beside(path)


def _ensemble(roots: Sequence[str | Path], table: str) -> list[Answers]:
    """For each fold the mean over all seeds of all folders, never over folds: those have heard each other's test."""
    members: dict[int, list[Answers]] = defaultdict(list)
    found = {str(root): by_seed(Path(root), table, _read) for root in roots}
    covered = {root: sorted(next(iter(seeds.values()))) for root, seeds in found.items()}
    if len(set(map(tuple, covered.values()))) > 1:
        raise DataError(f"the folders cover different folds {covered}. Finish the missing trainings first.")
    for seeds in found.values():
        for folds in seeds.values():
            for k, answers in folds.items():
                members[k].append(answers)
    return [
        (Posteriors.mean([named for named, _ in parts]), Ratings.mean(rated) if (rated := _rated(parts)) else None)
        for parts in members.values()
    ]


def _summary(folds: Sequence[Answers]) -> dict:
    summary = Posteriors.pool([named for named, _ in folds]).summary()
    if rated := _rated(folds):
        summary["dimensions"] = Ratings.pool(rated).summary()
    return summary


def _rated(parts: Sequence[Answers]) -> list[Ratings]:
    """Of all parts; none where one of them has no dimensions."""
    rated = [ratings for _, ratings in parts if ratings is not None]
    return rated if len(rated) == len(parts) else []


def _rows(summaries: dict[str, dict]) -> list[str]:
    lines = [f"| | {' | '.join(summaries)} | mean | spread |", "|---|" + "---|" * (len(summaries) + 2)]

    def add(name: str, values: Sequence[float], scale: float = 100, digits: int = 1) -> None:
        shown = [scale * value for value in values]
        cells = [*shown, np.mean(shown), np.std(shown, ddof=1) if len(shown) > 1 else np.nan]
        lines.append(f"| {name} | " + " | ".join(_cell(cell, digits) for cell in cells) + " |")

    labels = list(next(iter(summaries.values()))["per_class"])
    if len(labels) > 1:
        for key, name in (("uar", "UAR %"), ("war", "WAR %"), ("macro_f1", "macro F1 %"), ("ece", "ECE %")):
            add(name, [summary[key] for summary in summaries.values()])
        add("NLL", [summary["nll"] for summary in summaries.values()], scale=1, digits=3)
        for label in labels:
            add(f"recall {label} %", [summary["per_class"][label] for summary in summaries.values()])
    rated = [summary.get("dimensions", {}) for summary in summaries.values()]
    for name in dict.fromkeys(name for found in rated for name in found):
        add(f"CCC {name}", [found.get(name, {"ccc": np.nan})["ccc"] for found in rated], scale=1, digits=3)
    return lines


def _note(columns: dict[str, list[Answers]], summary: dict) -> str:
    """What stands below the table; the summary is of the first column."""
    folds, speakers = len(next(iter(columns.values()))), summary["num_speakers"]
    present = np.isfinite(list(summary["per_class"].values())).sum()
    has_classes = len(summary["per_class"]) > 1
    whose = f"mean of {len(columns)} seeds" if len(columns) > 1 else next(iter(columns))
    interval = "" if speakers == 1 else "; 95 % interval " + ", ".join(
        f"of {what} over speakers ({whose}): {span}" for what, span in _intervals(list(columns.values())).items()
    )
    return (
        f"{folds} fold{'s' * (folds > 1)} pooled: {summary['num_utterances']} utterances of {speakers} "
        f"test speaker{'s' * (speakers > 1)}{interval}."
        + (f" With fewer than {FEW_SPEAKERS} speakers an interval is rough, and rather too narrow."
           if 1 < speakers < FEW_SPEAKERS else "")
        + (f" Chance is {100 / present:.1f}." if has_classes else "")
    )


def _intervals(seeds: Sequence[Sequence[Answers]]) -> dict[str, str]:
    """Of UAR and of each dimension's CCC, where 95 % of the mean over seeds lie when other speakers had been recorded.

    The same speakers are drawn for all seeds, which answered the same utterances.
    """
    spans = {}
    named = [Posteriors.pool([posteriors for posteriors, _ in folds]) for folds in seeds]
    if len(named[0].labels) > 1:
        orders = [np.argsort(part.utterances) for part in named]
        called = [part.probabilities.argmax(1)[order] for part, order in zip(named, orders)]
        low, high = _interval(metrics.uar, named[0].targets[orders[0]], called, np.array(named[0].speakers)[orders[0]])
        spans["UAR"] = f"{100 * low:.1f} to {100 * high:.1f}"
    if all(rated := [_rated(folds) for folds in seeds]):
        pools = [Ratings.pool(parts) for parts in rated]
        orders = [np.argsort(part.utterances) for part in pools]
        speakers = np.array(pools[0].speakers)[orders[0]]
        for k, name in enumerate(pools[0].dimensions):
            true = pools[0].true[orders[0], k]
            known = np.isfinite(true)
            said = [part.said[order, k][known] for part, order in zip(pools, orders)]
            low, high = _interval(metrics.ccc, true[known], said, speakers[known]) if known.sum() > 1 else (np.nan,) * 2
            spans[f"CCC {name}"] = f"{low:.3f} to {high:.3f}"
    return spans


def _interval(
    metric: Callable[[np.ndarray, np.ndarray], float], true: np.ndarray, said: Sequence[np.ndarray],
    speakers: np.ndarray,
) -> tuple[float, float]:
    """Of the metric's mean over what several said. Shape: true, speakers and each of said (utterances,)."""
    def mean(true: np.ndarray, said: np.ndarray) -> float:
        return float(np.mean([metric(true, column) for column in said.T]))

    return metrics.bootstrap(mean, true, np.stack(said, axis=1), speakers)
