"""What a training was begun with, and so whether it is the one that is asked for: config.yaml and origin.json.

A folder holds one training. What another would mix with, or pass for, is refused.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .. import checkpoint, datadir, files
from ..calibration import Calibration
from ..settings import COMPUTING, flat
from . import config as settings
from .config import Config

FILE_NAME = "origin.json"
log = logging.getLogger(__name__)


def source(
    seed: int, directories: tuple[str, str], tables: Mapping[str, Sequence[datadir.Utterance]],
    init: str | Path | None, teachers: Sequence[str | Path],
) -> dict[str, Any]:
    """What a training learns from, and whom. tables: of the directories, train and valid."""
    train_dir, valid_dir = map(str, directories)
    return {
        "seed": seed, "train": train_dir, "valid": valid_dir,
        "utterances": {name: _learnt_of(utterances) for name, utterances in tables.items()},
        "init": str(init or ""), "teachers": list(map(str, teachers)), **_parents(init, teachers),
    }


def _parents(init: str | Path | None, teachers: Sequence[str | Path]) -> dict[str, Any]:
    """What lies there now: of `init` all but its calibration, which nothing inherits; of teachers all that decides
    their answers. None where one is gone."""
    def fingerprint(path: str | Path, calibrated: bool) -> str | None:
        if not checkpoint.located(path).is_file():
            return None
        model = checkpoint.read(path)
        return (model if calibrated else model.with_calibration(Calibration())).fingerprint

    return {"init_model": fingerprint(init, calibrated=False) if init else None,
            "teacher_models": [fingerprint(teacher, calibrated=True) for teacher in teachers]}


def _learnt_of(utterances: Sequence[datadir.Utterance]) -> str:
    """Sixteen hex digits that change with what is learnt of utterances, not with where their recordings lie."""
    return datadir.digest([replace(u, wav="-", duration_seconds=None) for u in utterances])


def refuse_other(config: Config, source: dict, exp_dir: Path) -> None:
    """Raises: SettingError where the finished training was not the one that is asked for."""
    try:
        begun = json.loads((exp_dir / FILE_NAME).read_text())
        before = flat(settings.to_plain(settings.read(exp_dir / "config.yaml")))
    except (OSError, ValueError) as error:   # only the model is left, or settings of an older version
        log.warning("%s: nobody knows whether its model is the one that is asked for (%s)", exp_dir, error)
        return
    now = flat(settings.to_plain(config))
    other = _differing(begun, source) + [
        key for key, value in now.items() if before.get(key, value) != value and key not in COMPUTING]
    if other:
        raise settings.SettingError(
            f"{exp_dir} holds a model that was trained with other {datadir.few(other)}, and would pass for the one "
            "that is asked for. Give another --exp, or remove the folder."
        )


def _differing(begun: Mapping[str, Any], source: Mapping[str, Any]) -> list[str]:
    """What of origin.json is another; files and folders are the same however they are spelt, and what is gone cannot
    be told to be another."""
    def real(value: Any) -> Any:
        return os.path.realpath(value) if isinstance(value, str) and value else value

    def same(before: Any, now: Any) -> bool:
        if isinstance(before, list) and isinstance(now, list):
            return len(before) == len(now) and all(map(same, before, now))
        return None in (before, now) or real(before) == real(now)

    return [key for key, now in source.items() if key in begun and not same(begun[key], now)]


def claim(exp_dir: Path, config: Config, origin: dict, is_first: bool) -> None:
    """The first process writes down what is trained here; a training that was begun otherwise is not gone on with.

    How long it goes on, in how much memory and how a GPU is asked may change.
    """
    written, told = exp_dir / "config.yaml", exp_dir / FILE_NAME

    def lasting(config: Config) -> Config:
        """Without what may change. Where the learning rate or the averaging follows the last epoch, that may not."""
        follows = config.fit.schedule == "cosine" or config.fit.averaging == "swa"
        epochs = config.fit.max_epochs if follows else 1
        free: dict[str, Any] = {"max_epochs": epochs, "stop_patience": 1, "memory_gigabytes": 1.0, "cuda_graphs": True}
        return replace(config, fit=replace(config.fit, **free))

    if (exp_dir / "checkpoints" / "last.ckpt").exists():
        begun = json.loads(told.read_text())
        made_of = ("seed", "train", "valid", "utterances", "init", "teachers", "init_model", "teacher_models")
        other = _differing(begun, {key: origin[key] for key in made_of})
        if lasting(settings.read(written)) != lasting(config):
            other.append("settings")
        if other:
            raise settings.SettingError(
                f"{exp_dir} holds an unfinished training with other {', '.join(other)} ({written}, {told.name}): "
                "going on would mix the two. Give another --exp, or remove the folder."
            )
        done = _epochs_done(exp_dir / "checkpoints" / "last.ckpt")
        if (before := begun.get("precision", origin["precision"])) != origin["precision"]:
            log.warning("%s was begun in %s and goes on in %s: its model will be that of neither alone",
                        exp_dir, before, origin["precision"])
        if done > config.fit.max_epochs:
            raise settings.SettingError(
                f"{exp_dir} has been trained for {done} epochs, and fit.max_epochs={config.fit.max_epochs} are fewer. "
                "Ask for as many or more, or give another --exp."
            )
    if is_first:
        exp_dir.mkdir(parents=True, exist_ok=True)
        with files.renamed(written) as aside:   # whole at once: other processes may be reading
            settings.write(config, aside)
        with files.whole(told) as file:
            json.dump(origin, file, indent=1)


def _epochs_done(last: Path) -> int:
    """Of a training that was stopped. Raises: SettingError where nothing can go on from its file."""
    try:
        return torch.load(last, map_location="cpu", weights_only=True)["epoch"] + 1
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise settings.SettingError(
            f"{last} is damaged ({type(error).__name__}): nothing can go on from it. Remove {last.parent} to begin "
            "anew."
        ) from error


def commit() -> str:
    """The commit of this package, with + where it is changed; empty where it is installed without its repository."""
    folder = Path(__file__).parent
    try:
        own = subprocess.run(["git", "ls-files", "--error-unmatch", __file__], cwd=folder, capture_output=True)
        describe = ["git", "describe", "--always", "--dirty=+", "--abbrev=12"]
        said = subprocess.run(describe, cwd=folder, capture_output=True, text=True)
        return "" if own.returncode else said.stdout.strip()
    except OSError:  # no git on this machine
        return ""
