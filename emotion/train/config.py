"""Settings of a training: one YAML file, read here and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..features import FrontendConfig
from ..settings import SettingError, from_plain, to_plain
from .augment import AugmentConfig


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    max_epochs: int = 60
    batch_size: int = 16
    longest_seconds: float = 8.0   # longer utterances are cropped to this, elsewhere each epoch
    learning_rate: float = 0.001
    weight_decay: float = 0.01
    warmup_epochs: int = 1   # the learning rate rises linearly to its value
    clip_norm: float = 1.0   # gradients are scaled down to this norm
    plateau_factor: float = 0.5   # ReduceLROnPlateau on the validation speakers
    plateau_patience: int = 5
    stop_patience: int = 15   # epochs without a better model before training ends
    class_balanced: bool = True   # weigh the loss by the inverse frequency of each class
    label_smoothing: float = 0.0
    precision: str = "auto"   # float32, bfloat16, or auto: bfloat16 where the processor computes it in hardware
    memory_gigabytes: float = 4.0   # waveforms kept in memory; what does not fit is read anew each epoch

    def __post_init__(self):
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise SettingError(f"fit.precision={self.precision!r} must be auto, float32 or bfloat16.")
        if self.batch_size < 2:
            raise SettingError(f"fit.batch_size={self.batch_size} must be at least 2: batch norm needs company.")
        if self.max_epochs < 1 or self.learning_rate <= 0 or self.clip_norm <= 0:
            raise SettingError("fit.max_epochs, fit.learning_rate and fit.clip_norm must be above 0.")
        if not (0 < self.plateau_factor < 1 and 0 <= self.label_smoothing < 1 and self.longest_seconds > 0):
            raise SettingError(
                f"fit.plateau_factor={self.plateau_factor} must be in (0, 1), "
                f"fit.label_smoothing={self.label_smoothing} in [0, 1), "
                f"fit.longest_seconds={self.longest_seconds} above 0."
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """`scheme` names the classes (labels.SCHEMES); `model` holds its name and the options of that model."""

    scheme: str
    model: dict = field(default_factory=lambda: {"name": "serial"})
    frontend: FrontendConfig = FrontendConfig()
    augment: AugmentConfig = AugmentConfig()
    fit: FitConfig = FitConfig()

    def __post_init__(self):
        if "name" not in self.model:
            raise SettingError(f"model={self.model} has no name: whose options are these? Add model.name=serial.")


def read(path: str | os.PathLike, overrides: Sequence[str] = ()) -> Config:
    """Settings of a YAML file; overrides are `fit.max_epochs=3` and the like.

    Raises: FileNotFoundError; SettingError for an unknown name (with the nearest) or a wrong type.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if not Path(path).is_file():
        raise FileNotFoundError(f"no settings file {path}. Give a YAML file such as recipes/ravdess/conf/serial.yaml.")
    try:
        merged = OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides)))
        plain = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, YAMLError, TypeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {error}. Correct the YAML.") from None
    return from_plain(Config, plain)


def write(config: Config, path: str | os.PathLike) -> None:
    """The resolved settings as YAML, defaults and all."""
    from omegaconf import OmegaConf

    OmegaConf.save(OmegaConf.create(to_plain(config)), path)
