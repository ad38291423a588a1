"""What stands behind an Analyzer: a model in PyTorch, or an exported one, for which PyTorch is not imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .exported import Exported

if TYPE_CHECKING:
    from .engine import Engine


def backend(model: Any, device: Any, detects: bool, alone: bool, precision: str) -> Engine | Exported:
    """For the arguments of Analyzer.

    detects: whether it listens for speech.   alone: each answer takes one thread.
    """
    if not isinstance(model, Exported):
        if not isinstance(model, (str, os.PathLike)) or Path(model).suffix.lower() != ".onnx":
            try:
                from . import checkpoint
                from .engine import Engine
            except ModuleNotFoundError as error:
                raise ModuleNotFoundError(f"{error.name} is not installed, and without it only an exported model "
                                          "answers. Give a model.onnx that `emotion export` wrote.") from None
            if not isinstance(model, checkpoint.Checkpoint):
                model = checkpoint.read("bundled" if model is None else model)
            return Engine(model, device, detects, alone, precision)
        model = Exported(model, num_threads=1 if alone else None)
    if precision != "float32":
        raise ValueError(f"precision={precision!r}: an exported model has the one it was exported with. Leave it out, "
                         "or give the model that it was exported from.")
    if str(device) not in ("auto", "cpu"):
        raise ValueError(f"device={device!r}: an exported model is answered on the processor. Choose auto or cpu, or "
                         "give the model that it was exported from.")
    return model
