"""Who tests and who validates in each fold: split files, and divisions of utterances that leak nothing."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import datadir
from .datadir import DataError, Utterance, few

_LEAK = "a score on a speaker heard before says nothing about new ones. Give each speaker to one split."


@dataclass(frozen=True)
class Split:
    """Divisions of the speakers: `folds` holds (test, valid) for each; the rest trains."""

    name: str
    source: str
    folds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


@dataclass
class _Fold:
    test: list[str]
    valid: list[str]


@dataclass
class _SplitFile:
    name: str
    source: str
    folds: list[_Fold]
    note: str = ""


def read(path: str | os.PathLike) -> Split:
    """Reads a split file in YAML.

    Raises: DataError for unknown or missing keys, no speakers, or one twice in a fold.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        file = OmegaConf.load(Path(path))
        merged = OmegaConf.merge(OmegaConf.structured(_SplitFile), file)
        content: Any = OmegaConf.to_container(merged, throw_on_missing=True)
    except (OSError, TypeError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise DataError(
            f"{path} is no split file: {' '.join(str(error).split())}. It holds name, source, folds: "
            "[{test: [speakers], valid: [speakers]}, ...] and, if wanted, note. Correct it."
        ) from None
    told: Any = OmegaConf.to_container(file)
    named = [name for fold in told.get("folds") or () for part in fold.values() for name in part or ()]
    if numbers := [str(name) for name in named if isinstance(name, (int, float))]:
        raise DataError(f"{path}: {few(numbers)} are numbers to YAML, which takes 010 for 8. Write speakers in quotes.")
    folds = tuple((tuple(fold["test"]), tuple(fold["valid"])) for fold in content["folds"])
    if not folds:
        raise DataError(f"{path} has no folds: nobody would be tested. List them under `folds`.")
    for test, valid in folds:
        are_names = all(isinstance(name, str) for name in test + valid)
        if not test or not valid or not are_names or len({*test, *valid}) < len(test + valid):
            raise DataError(
                f"{path}: fold {test}, {valid} must name speakers for both, none twice: a score on a speaker heard "
                "before says nothing about new ones. Correct it."
            )
    return Split(content["name"], content["source"], folds)


def divide(utterances: Iterable[Utterance], test: Iterable[str], valid: Iterable[str]) -> dict[str, list]:
    """{"train", "valid", "test"}: lists in C order; speakers in neither `test` nor `valid` train.

    Goes by speaker only: the same audio under two speakers is for check_disjoint to find.
    Raises: DataError for an unknown speaker, one in both, or none left to train on.
    """
    utterances = datadir.combine([utterances])
    test, valid = datadir.known_speakers("test", test, utterances), datadir.known_speakers("valid", valid, utterances)
    if test & valid:
        raise DataError(f"speakers {few(test & valid)} are in test and in valid: {_LEAK}")
    splits: dict[str, list] = {"train": [], "valid": [], "test": []}
    for u in utterances:
        splits["test" if u.speaker in test else "valid" if u.speaker in valid else "train"].append(u)
    if not splits["train"]:
        raise DataError("every speaker is in test or valid: none is left to train on. Correct the split.")
    return splits


def check_disjoint(**splits: Iterable[Utterance]) -> None:
    """Raises DataError if two splits share a speaker or audio: files of the same bytes, spans that overlap.

    Hashes only files that have a twin in size in another split. A pipe counts by the text of its command.
    """
    owner, same_size = dict[str, str](), defaultdict(list)
    for name, utterances in splits.items():
        for u in utterances:
            if owner.setdefault(u.speaker, name) != name:
                raise DataError(f"speaker {u.speaker} is in {owner[u.speaker]} and in {name}: {_LEAK}")
            same_size[_stat(u)[1]].append((name, u))
    for members in same_size.values():
        if len({name for name, _ in members}) > 1:
            same_bytes = defaultdict(list)
            for name, u in members:
                same_bytes[_digest(*_stat(u))].append((name, u))
            for copies in same_bytes.values():
                _refuse_overlap(copies)


def _stat(utterance: Utterance) -> tuple[str, int, int]:
    """Path, size and time of change of the audio."""
    if utterance.wav.endswith("|"):
        return utterance.wav, 0, 0
    if not os.path.isfile(utterance.wav):
        raise DataError(
            f"no such file {utterance.wav} for {utterance.id}: unread, it may be audio of another split. "
            f"Correct wav.scp, or go where its relative paths begin (not {os.getcwd()})."
        )
    stat = os.stat(utterance.wav)
    return utterance.wav, stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=1 << 16)   # folds ask again; size and time of change let a rewritten file be read anew
def _digest(wav: str, size: int, changed: int) -> bytes:
    if wav.endswith("|"):
        return datadir.c_order(wav)
    return hashlib.sha256(Path(wav).read_bytes()).digest()


def _refuse_overlap(copies: list[tuple[str, Utterance]]) -> None:
    """Raises DataError if two utterances of the same audio share time and lie in two splits."""
    for (name, a), (other, b) in itertools.combinations(copies, 2):
        start = max(a.start_seconds or 0.0, b.start_seconds or 0.0)
        stop = min(a.stop_seconds or math.inf, b.stop_seconds or math.inf)
        if name != other and start < stop:
            raise DataError(
                f"{a.id} in {name} and {b.id} in {other} are the same audio ({a.wav}, {b.wav}): its score "
                "would be memory. Drop one of them."
            )
