"""One file that holds a whole model: weights, front end, labels, calibration and card.

safetensors (numbers only, nothing in it can run) with one JSON text in its header. The resume files of training are
another matter: they stay in the experiment folder and are never opened here.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from . import files, models
from .calibration import Calibration
from .features import Frontend, FrontendConfig
from .labels import Scheme
from .settings import from_plain, to_plain

FORMAT = 2
FILE_NAME = "model.safetensors"
BUNDLED = Path(__file__).with_name("pretrained") / FILE_NAME   # the model of the package
NEUTRAL = "neutral"   # its name among the tensors


class CheckpointError(ValueError):
    """A model file that is missing, damaged, foreign or of a later format."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and all that is needed to use it.

    card: what people must know: data, licences, protocol, measured accuracy. train_speakers and valid_speakers are
    those the model has heard; they can never be test speakers. neutral: how neutral speech sounded to it, the mean
    log-mel (channels, 1, bands) over its training speakers, against which a speaker's own is set (module baseline).
    """

    name: str
    model: models.Network
    frontend: Frontend
    scheme: Scheme
    calibration: Calibration = Calibration()
    train_speakers: tuple[str, ...] = ()
    valid_speakers: tuple[str, ...] = ()
    card: dict = field(default_factory=dict)
    neutral: Tensor | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""
        return self.scheme.classes

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Arousal and the like, in the order of the outputs; () of a model of classes alone."""
        return self.model.config.dimensions

    def with_calibration(self, calibration: Calibration) -> Checkpoint:
        return replace(self, calibration=calibration)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of all that decides an answer."""
        return _fingerprint(_tensors(self), _header(self))


def build(name: str, options: dict, frontend: FrontendConfig, scheme: Scheme, **further) -> Checkpoint:
    """A checkpoint around a new, untrained model of that name. Raises: CheckpointError where PyTorch's default type is
    not float32, as models are."""
    if torch.get_default_dtype() != torch.float32:
        raise CheckpointError(f"PyTorch makes {torch.get_default_dtype()} by default here, and models are float32. "
                              "Call torch.set_default_dtype(torch.float32) first.")
    inputs = models.Inputs(frontend.num_channels, frontend.num_bands, frontend.num_contours)
    model = models.build(name, inputs, len(scheme.classes), options)
    return Checkpoint(name, model, Frontend(frontend), scheme, **further)


def options(checkpoint: Checkpoint) -> dict:
    """The options of the model as plain data, defaults and all but the dimensions of a model that has none: so the
    fingerprints of models stay those of the time before there were any."""
    options = to_plain(checkpoint.model.config)
    return {name: value for name, value in options.items() if name != "dimensions" or value}


def write(checkpoint: Checkpoint, path: str | os.PathLike) -> None:
    """Write aside, then rename: no reader ever meets half a file, and a failure leaves the old one as it was."""
    header = json.dumps({**_header(checkpoint), "fingerprint": checkpoint.fingerprint})
    content = save(_tensors(checkpoint), {"emotion": header})
    with files.whole(path, "wb") as file:
        file.write(content)


def read(source: str | os.PathLike) -> Checkpoint:
    """The model of a file, of an experiment folder (its model.safetensors), or `bundled`, the one of the package.

    Raises: FileNotFoundError, or CheckpointError that says whether the file is damaged, exported, foreign or too new.
    """
    path = located(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"no model at {path}. Give a {FILE_NAME} file, or an experiment folder whose training has finished."
        )
    if path.suffix.lower() == ".onnx":
        raise CheckpointError(f"{path} is an exported model, which only answers. Give the one it was exported from.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no model file ({error}). Copy or train it again.") from None
    if "emotion" not in metadata:
        raise CheckpointError(f"{path} is a safetensors file of another program. Give one that `emotion train` wrote.")
    try:
        return _restore(json.loads(metadata["emotion"]), tensors, path)
    except CheckpointError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Copy or train it again.") from error


def located(source: str | os.PathLike) -> Path:
    """The file that `read` would open, whether it is there or not."""
    path = BUNDLED if str(source) == "bundled" else Path(source)
    return path / FILE_NAME if path.is_dir() else path


def _fingerprint(tensors: dict, header: dict) -> str:
    weights = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        weights.update(name.encode() + tensor.numpy().tobytes())
    weights.update(json.dumps([header[key] for key in ("model", "frontend", "scheme", "calibration")]).encode())
    return weights.hexdigest()[:16]


def _tensors(checkpoint: Checkpoint) -> dict:
    parts = {"model": checkpoint.model, "frontend": checkpoint.frontend}
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
        if not name.startswith("mel.")  # windows and filters follow from the settings
    }
    return tensors if checkpoint.neutral is None else {**tensors, NEUTRAL: checkpoint.neutral.cpu().contiguous()}


def _header(checkpoint: Checkpoint) -> dict:
    return {
        "format": FORMAT,
        "model": {"name": checkpoint.name, "options": options(checkpoint)},
        "frontend": to_plain(checkpoint.frontend.config),
        "scheme": to_plain(checkpoint.scheme),
        "calibration": to_plain(checkpoint.calibration),
        "train_speakers": list(checkpoint.train_speakers),
        "valid_speakers": list(checkpoint.valid_speakers),
        "card": checkpoint.card,
    }


def _restore(header: dict, tensors: dict, path: Path) -> Checkpoint:
    if header["format"] != FORMAT:
        remedy = "Train it again." if header["format"] < FORMAT else "Install a newer emotion."
        raise CheckpointError(f"{path} has format {header['format']}, this version of emotion reads {FORMAT}. {remedy}")
    damaged = CheckpointError(
        f"{path} is damaged: weights or settings are not what was written, so its answers would be others. "
        "Copy or train it again."
    )
    if header["fingerprint"] != _fingerprint(tensors, header):
        raise damaged   # before a damaged size asks for all memory
    checkpoint = build(
        header["model"]["name"], header["model"]["options"],
        from_plain(FrontendConfig, header["frontend"], "frontend"),
        Scheme(header["scheme"]["name"], dict(header["scheme"]["mapping"])),
        calibration=from_plain(Calibration, header["calibration"], "calibration"),
        train_speakers=tuple(header["train_speakers"]),
        valid_speakers=tuple(header["valid_speakers"]),
        card=header["card"],
        neutral=tensors.get(NEUTRAL),
    )
    for part, module in (("model", checkpoint.model), ("frontend", checkpoint.frontend)):
        state = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith(part + ".")}
        missing, unexpected = module.load_state_dict(state, strict=False)
        missing = [name for name in missing if not name.startswith("mel.")]
        if missing or unexpected:
            raise CheckpointError(
                f"{path} does not fit its own description: missing {missing}, not expected {unexpected}. "
                "Copy or train it again."
            )
    if header["fingerprint"] != checkpoint.fingerprint:   # what is left out in the file has another default now
        raise damaged
    checkpoint.model.eval()
    return checkpoint
