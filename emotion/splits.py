"""Split files: who tests and who validates in each fold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .datadir import DataError


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
        merged = OmegaConf.merge(OmegaConf.structured(_SplitFile), OmegaConf.load(Path(path)))
        content: Any = OmegaConf.to_container(merged, throw_on_missing=True)
    except (OSError, TypeError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise DataError(
            f"{path} is no split file: {' '.join(str(error).split())}. It holds name, source, folds: "
            "[{test: [speakers], valid: [speakers]}, ...] and, if wanted, note. Correct it."
        ) from None
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
