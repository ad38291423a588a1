"""A model that `emotion export` wrote, answered by onnxruntime: NumPy in and out, no PyTorch anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

FORMAT = 1
INPUTS = ("waveforms", "num_samples")
OUTPUTS = ("logits", "step_logits", "step_lengths", "speech")
FURTHER = ("dimensions", "step_dimensions")   # outputs of a model that has dimensions, behind the others


class Answers(NamedTuple):
    """Shape: probabilities (batch, classes); step_probabilities (batch, steps, classes), of which the first
    step_lengths (batch,) count; speech (batch, chunks), the probability that somebody speaks in each chunk, or None
    where nobody asked for it; embeddings (batch, features), which an exported model has not; dimensions (batch,
    dimensions) and step_dimensions (batch, steps, dimensions), None from a model without."""

    probabilities: np.ndarray
    step_probabilities: np.ndarray
    step_lengths: np.ndarray
    speech: np.ndarray | None
    embeddings: np.ndarray | None = None
    dimensions: np.ndarray | None = None
    step_dimensions: np.ndarray | None = None


class Exported:
    """Network, front end and speech detector as one graph, and all that is needed to use them.

    device: where it computes; here always the processor.
    Step i is centred on first_step_seconds + i * step_samples / sample_rate, chunk i on (i + 0.5) * chunk_seconds.
    precision: in which the file stores the weights.
    card, train_speakers, valid_speakers: as in the Checkpoint that was exported; so is the fingerprint of float32. In
    another precision answers differ a little, and so does the fingerprint.

    num_threads: of the processor; None: all cores.
    Raises: FileNotFoundError, ValueError for a file that is damaged, foreign or too new, ModuleNotFoundError where
        onnxruntime is not installed.
    """

    device = "cpu"

    def __init__(self, path: str | os.PathLike, num_threads: int | None = None):
        if not Path(path).is_file():
            raise FileNotFoundError(f"no model at {path}. Write one: emotion export MODEL -o {Path(path).name}")
        self._session = _session(path, num_threads)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if "emotion" not in metadata:
            raise ValueError(f"{path} is an ONNX file of another program. Give one that `emotion export` wrote.")
        try:
            self._take(json.loads(metadata["emotion"]), path)
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"{path} is damaged: {error!r}. Copy or export it again.") from error

    def _take(self, header: dict, path: str | os.PathLike) -> None:
        """What the file tells of itself."""
        if header["format"] != FORMAT:
            remedy = "Export it again." if header["format"] < FORMAT else "Install a newer emotion."
            raise ValueError(f"{path} has format {header['format']}, this version of emotion reads {FORMAT}. {remedy}")
        self.name: str = header["name"]
        self.labels: tuple[str, ...] = tuple(header["labels"])
        self.dimensions: tuple[str, ...] = tuple(header.get("dimensions", ()))   # only where the model has some
        self.sample_rate: int = header["sample_rate"]
        self.step_samples: int = header["step_samples"]
        self.first_step_seconds: float = header["first_step_seconds"]
        self.chunk_seconds: float = header["chunk_seconds"]
        self.unknown_below: float = header["calibration"]["unknown_below"]
        self.precision: str = header.get("precision", "float32")  # older files do not say
        self.fingerprint: str = header["fingerprint"]
        self.train_speakers: tuple[str, ...] = tuple(header["train_speakers"])
        self.valid_speakers: tuple[str, ...] = tuple(header["valid_speakers"])
        self.card: dict = header["card"]
        self._calibration = header["calibration"]

    def answer(self, waveforms: np.ndarray, num_samples: np.ndarray, statistics: Sequence | None = None) -> Answers:
        """Calibrated answers; neither the padding nor the rest of the batch changes them.

        Shape:  waveforms (batch, samples) at sample_rate, num_samples (batch,).
        Raises: ValueError where an utterance has no samples, or statistics of speakers are given.
        """
        if statistics:
            raise ValueError("an exported model has no place for statistics of speakers. Give the one it is of.")
        num_samples = np.asarray(num_samples, np.int64)
        if num_samples.min() < 1:
            raise ValueError("an utterance of 0 samples has no spectrogram. Leave it out of the batch.")
        inputs = dict(zip(INPUTS, (np.asarray(waveforms, np.float32), num_samples)))
        wanted = OUTPUTS + FURTHER if self.dimensions else OUTPUTS
        logits, step_logits, step_lengths, speech, *further = self._session.run(wanted, inputs)
        return Answers(
            _softmax(logits, self._calibration["utterance"]), _softmax(step_logits, self._calibration["step"]),
            step_lengths, speech, None, *further,
        )


def _session(path: str | os.PathLike, num_threads: int | None):
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{path} is answered by onnxruntime, which is not installed: pip install 'emotion[export]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads or 0
    try:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the errors of onnxruntime share no class of their own
        raise ValueError(f"{path} is damaged or no ONNX file ({error}). Copy or export it again.") from None


def _softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp((logits - logits.max(-1, keepdims=True)) / temperature)
    return powers / powers.sum(-1, keepdims=True)
