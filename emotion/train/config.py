"""Settings of a training: one YAML file, read here and nowhere else."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import checkpoint
from ..checkpoint import Checkpoint
from ..features import FrontendConfig
from ..labels import NONE, OWN
from ..settings import SettingError, from_plain, to_plain
from .augment import AugmentConfig

FINE_TUNING = {"longest_seconds": 3.0, "learning_rate": 0.0015, "schedule": "cosine", "max_epochs": 20}
CHOICES = {
    "schedule": ("plateau", "cosine"), "averaging": ("none", "ema", "swa"), "balance": ("loss", "sampler", "none"),
    "clip_by": ("norm", "value"), "precision": ("auto", "float32", "bfloat16"),
}


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    max_epochs: int = 60
    batch_size: int = 16
    longest_seconds: float = 8.0   # longer utterances are cropped to this, elsewhere each epoch
    shortest_seconds: float = 0.1   # shorter utterances, less than a syllable, are left out
    learning_rate: float = 0.001
    weight_decay: float = 0.01
    warmup_epochs: int = 1   # the learning rate rises linearly to its value
    schedule: str = "plateau"   # then ReduceLROnPlateau; or cosine: to 0 at the last epoch, which is kept
    plateau_factor: float = 0.5
    plateau_patience: int = 5
    stop_patience: int = 15   # epochs without a better model before training ends; cosine always goes to its end
    clip: float = 1.0   # gradients are held to this
    clip_by: str = "norm"   # all together to this norm, or each by itself to this value
    averaging: str = "ema"   # of weights, and of batch norm's statistics: none, ema over steps, or swa over epochs
    ema_decay: float = 0.99   # for each step; less in the first, so that a short training catches up
    swa_start: float = 0.75   # share of max_epochs after which swa begins
    balance: str = "loss"   # of classes: weigh the loss by inverse frequency; or sampler: draw them equally; or none
    most_per_speaker: int = 0   # utterances of one speaker in an epoch, others in the next; sampler: on average; 0: all
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0
    sex_weight: float = 0.0   # of the second task, the speaker's sex; needs model.sex_head
    dimension_weight: float = 1.0   # of the loss of model.dimensions, 1 - CCC, beside that of the classes
    vote_weight: float = 0.0   # of the listeners' votes (utt2votes) in the targets: 1 where they alone count
    teacher_weight: float = 0.5   # of the teachers' answers in the targets, where --teachers are given
    teacher_temperature: float = 2.0   # softens their answers
    precision: str = "auto"   # float32, bfloat16, or auto: bfloat16 where the processor computes it in hardware
    cuda_graphs: bool = True   # on one GPU: the network's passes are recorded for each size of batch, and replayed
    may_lack_classes: bool = False   # of the scheme, in the training data: models of one scheme on several corpora
    memory_gigabytes: float = 4.0   # waveforms that a process keeps; what does not fit is read anew each epoch

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingError(f"fit.{name}={getattr(self, name)!r} must be one of {', '.join(choices)}.")
        if self.batch_size < 2:
            raise SettingError(f"fit.batch_size={self.batch_size} must be at least 2: batch norm needs company.")
        above_zero = ("max_epochs", "learning_rate", "clip", "longest_seconds", "teacher_temperature",
                      "dimension_weight")
        shares = ("label_smoothing", "swa_start", "ema_decay")
        for names, holds, allowed in (
            (above_zero, lambda value: 0 < value < math.inf, "above 0 and finite"),
            (shares, lambda value: 0 <= value < 1, "in [0, 1)"),
            (("plateau_factor",), lambda value: 0 < value < 1, "in (0, 1)"),
            (("teacher_weight", "vote_weight"), lambda value: 0 <= value <= 1, "in [0, 1]"),
            (("focal_gamma", "sex_weight", "most_per_speaker", "shortest_seconds", "warmup_epochs", "weight_decay",
              "plateau_patience", "stop_patience"), lambda value: 0 <= value < math.inf, "at least 0 and finite"),
        ):
            for name in names:
                if not holds(getattr(self, name)):
                    raise SettingError(f"fit.{name}={getattr(self, name)} must be {allowed}.")
        if self.averaging == "swa" and self.schedule != "cosine":
            raise SettingError(
                f"fit.averaging=swa takes the epochs after the first {100 * self.swa_start:.0f} %, and "
                f"fit.schedule={self.schedule} may stop before them or keep an earlier one. Use schedule=cosine."
            )
        if self.schedule == "cosine" and self.warmup_epochs >= self.max_epochs:
            raise SettingError(
                f"fit.warmup_epochs={self.warmup_epochs} must be less than max_epochs={self.max_epochs}: the learning "
                "rate would rise and never fall. Train longer."
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """`scheme` names the classes (labels.SCHEMES, own: those of the data, none: dimensions alone); `model` holds its
    name and options."""

    scheme: str
    model: dict = field(default_factory=lambda: {"name": "serial"})
    frontend: FrontendConfig = FrontendConfig()
    augment: AugmentConfig = AugmentConfig()
    fit: FitConfig = FitConfig()

    def __post_init__(self):
        if "name" not in self.model:
            raise SettingError(f"model={self.model} has no name: whose options are these? Add model.name=serial.")
        if not isinstance(self.model["name"], str):
            raise SettingError(f"model.name={self.model['name']} must be one name, such as serial.")
        if self.scheme == NONE and not self.model.get("dimensions"):
            raise SettingError(f"scheme={NONE} has no classes, and there are no model.dimensions: nothing is to be "
                               "learnt. Set model.dimensions=[arousal,valence], or another scheme.")
        if bool(self.fit.sex_weight) != bool(self.model.get("sex_head")):
            raise SettingError(
                f"fit.sex_weight={self.fit.sex_weight} and model.sex_head={self.model.get('sex_head', False)}: the "
                "second task needs both, its answer and its weight. Set 0.1 and true, or neither."
            )
        if self.fit.sex_weight and self.augment.mixup_alpha:
            raise SettingError(
                f"augment.mixup_alpha={self.augment.mixup_alpha} and fit.sex_weight={self.fit.sex_weight}: a voice "
                "mixed of two has no sex to learn. Set one of them to 0."
            )


def like(model: Checkpoint, overrides: Sequence[str] = ()) -> Config:
    """Settings to go on from a model with data and emotions of one's own: its network and features, FINE_TUNING; the
    speaker's sex is no second task.

    overrides: as for `read`, such as scheme=basic7.   Raises: as `read` does.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    options = {**checkpoint.options(model), "sex_head": False}
    settings = {
        "scheme": OWN, "model": {"name": model.name, **options},
        "frontend": to_plain(model.frontend.config), "fit": FINE_TUNING,
    }
    try:
        merged = OmegaConf.merge(OmegaConf.create(settings), OmegaConf.from_dotlist(list(overrides)))
        plain: Any = OmegaConf.to_container(merged, resolve=True)
        return from_plain(Config, plain)
    except (OmegaConfBaseException, YAMLError, TypeError) as error:
        raise SettingError(f"--set {' '.join(overrides)} cannot be read: {error}. Write KEY=VALUE.") from None


def read(path: str | os.PathLike, overrides: Sequence[str] = ()) -> Config:
    """Settings of a YAML file; overrides are `fit.max_epochs=3` and the like.

    `extends: other.yaml` in the file takes what it leaves out from another beside it.
    Raises: FileNotFoundError; SettingError, naming the file, for an unknown name (with the nearest), a wrong type or
    what cannot be.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        merged = OmegaConf.merge(*_family(Path(path)), OmegaConf.from_dotlist(list(overrides)))
        plain: Any = OmegaConf.to_container(merged, resolve=True)
    except FileNotFoundError:
        raise
    except (OmegaConfBaseException, YAMLError, AttributeError, OSError, TypeError, ValueError) as error:
        raise SettingError(f"{path} cannot be read: {error}. Correct the YAML.") from None
    try:
        return from_plain(Config, plain)
    except ValueError as error:
        raise SettingError(f"{' '.join(map(str, (path, *overrides)))}: {error}") from None


def _family(path: Path, children: tuple[Path, ...] = ()) -> list:
    """What the file extends, farthest first, then the file itself."""
    from omegaconf import DictConfig, OmegaConf

    if not path.is_file():
        asked = f", which {children[-1]} extends" if children else ""
        raise FileNotFoundError(
            f"no settings file {path}{asked}. Give a YAML file such as recipes/ravdess/conf/serial.yaml."
        )
    path = path.resolve()
    if path in children:
        raise SettingError(f"{path} extends itself: there is no end to it. Correct `extends`.")
    own = OmegaConf.load(path)
    parent = own.pop("extends", None) if isinstance(own, DictConfig) else None
    if not isinstance(parent, str | None):
        raise SettingError(f"{path}: extends: {parent} must name one file. That may extend another.")
    return [own] if parent is None else [*_family(path.parent / parent, (*children, path)), own]


def write(config: Config, path: str | os.PathLike) -> None:
    """The resolved settings as YAML, defaults and all."""
    from omegaconf import OmegaConf

    OmegaConf.save(OmegaConf.create(to_plain(config)), Path(path))
