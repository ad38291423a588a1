"""A model as one ONNX file, waveforms in, answers out: onnxruntime and the module `exported` need nothing else.

    waveforms, num_samples -> front end -> network -> logits, step_logits, step_lengths
                                                 -> dimensions, step_dimensions   of a model that has some
                           -> speech detector      -> speech

The graph is traced: torch.export, of PyTorch 2.11, fixes the number of steps that an LSTM takes.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import files, prosody
from .checkpoint import Checkpoint
from .detector import SPECTRUM_HOP, Magnitudes, SpeechDetector, turned_back
from .exported import FORMAT, FURTHER, INPUTS, OUTPUTS
from .features import Mel
from .masking import mask
from .settings import to_plain
from .speech import CHUNK_SECONDS

OPSET = 17
TOLERANCES = {"float32": 1e-4, "float16": 0.02}  # in logits, between the file and PyTorch, by precision


def export(checkpoint: Checkpoint, path: str | os.PathLike, precision: str = "float32") -> None:
    """Write the model as ONNX, any batch and length, with labels, timing, calibration and card in its metadata.

    The file takes its name only when onnxruntime has answered as PyTorch does, within TOLERANCES.

    precision: of the stored weights: float16 is about half the size and as fast, for it computes in float32.
    Raises: ValueError for an ending other than .onnx, another precision, or answers that differ;
        ModuleNotFoundError where onnx or onnxruntime is not installed.
    """
    if precision not in TOLERANCES:
        raise ValueError(f"precision={precision!r} must be one of {', '.join(TOLERANCES)}.")
    path = files.check_output(path, (".onnx",), "by its ending the Analyzer knows the format")
    try:
        import onnx
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.name} is not installed: pip install 'emotion[export]'") from None
    graph = Graph(checkpoint).eval()
    with files.renamed(path) as aside:
        _trace(graph, aside)
        program = onnx.load(aside)
        if precision == "float16":
            _halve(program)
        program.metadata_props.add(key="emotion", value=json.dumps(_header(checkpoint, precision)))
        onnx.save(program, aside)
        session = onnxruntime.InferenceSession(os.fspath(aside), providers=["CPUExecutionProvider"])
        _compare(session, graph, precision)


class Graph(nn.Module):
    """What is exported, Silero's weights (MIT) included. All are copies: the checkpoint stays as it is."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.sample_rate = checkpoint.frontend.config.sample_rate
        self.further = FURTHER if checkpoint.dimensions else ()
        self.frontend = copy.deepcopy(checkpoint.frontend).cpu()
        self.frontend.add_module("mel", FourierMel(self.frontend.mel))
        self.model = copy.deepcopy(checkpoint.model).cpu()
        self.detector = SpeechDetector()
        self.detector.add_module("magnitudes", FourierMagnitudes(self.detector.magnitudes))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `forward` answers."""
        return OUTPUTS + self.further

    def forward(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, ...]:
        """Shape: waveforms (batch, samples), num_samples (batch,) -> logits (batch, classes), step_logits (batch,
        steps, classes), step_lengths (batch,), speech (batch, chunks); of a model with dimensions also dimensions
        (batch, dimensions), step_dimensions (batch, steps, dimensions)."""
        output = self.model(*self.frontend(waveforms, num_samples))
        inside = mask(num_samples, waveforms.shape[1])
        speech = self.detector(waveforms.masked_fill(~inside, 0), self.sample_rate)
        further = (output.heads[name] for name in self.further)
        return output.logits, output.step_logits, output.step_lengths, speech, *further


class Fourier(nn.Module):
    """The Fourier transform of windowed frames as a convolution with windowed cosines and sines.

    In onnxruntime 1.32 that is 14 times as fast as its STFT and 37 times as exact (frames of 400 samples, one thread,
    largest error of a power as a share of the frame's largest).
    """

    sample: Tensor
    cosine: Tensor
    sine: Tensor
    window: Tensor

    def __init__(self, window: Tensor, hop: int):
        super().__init__()
        self.hop, size = hop, len(window)
        turn = 2 * torch.pi * torch.arange(size).double() / size
        self.register_buffer("sample", torch.arange(size))
        self.register_buffer("cosine", turn.cos().float())  # one turn, of which onnxruntime makes all waves as it loads
        self.register_buffer("sine", turn.sin().float())
        self.register_buffer("window", window.cpu())

    def forward(self, waveforms: Tensor) -> Tensor:
        """Power at each frequency. Shape: (batch, samples) -> (batch, frequencies, frames)."""
        size = len(self.window)
        places = self.sample[: size // 2 + 1, None] * self.sample % size
        waves = torch.cat([self.cosine[places], self.sine[places]]) * self.window  # (2 * frequencies, samples)
        spectra = nn.functional.conv1d(waveforms[:, None], waves[:, None], stride=self.hop)
        real, imaginary = spectra.square().chunk(2, dim=1)
        return real + imaginary


class FourierMel(nn.Module):
    """The mel of features.Mel."""

    def __init__(self, mel: Mel):
        super().__init__()
        self.fourier = Fourier(mel.spectrogram.window, mel.hop_length)
        self.register_buffer("filters", mel.mel_scale.fb.T.contiguous())  # (bands, frequencies)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Power in each band. Shape: (batch, samples) -> (batch, bands, frames)."""
        beyond = len(self.fourier.window) // 2  # zeros beyond both ends
        return self.filters @ self.fourier(nn.functional.pad(waveforms, (beyond, beyond)))


class FourierMagnitudes(nn.Module):
    """What detector.Magnitudes gives."""

    def __init__(self, magnitudes: Magnitudes):
        super().__init__()
        self.fourier = Fourier(magnitudes.window, SPECTRUM_HOP)

    def forward(self, chunks: Tensor) -> Tensor:
        """Shape: (chunks, samples) -> (chunks, frames, frequencies)."""
        return self.fourier(turned_back(chunks)).sqrt().transpose(1, 2)


def _halve(program) -> None:
    """Weights of network and detector become float16; onnxruntime widens them as it loads, and computes in float32.

    All else stays: the front end, which must be exact, and vectors, which are small.
    """
    from onnx import TensorProto, helper, numpy_helper

    for tensor in program.graph.initializer:
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim > 1 and not name.startswith("frontend."):
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
            program.graph.node.insert(0, helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))


def _header(checkpoint: Checkpoint, precision: str) -> dict:
    settings = checkpoint.frontend.config
    reach: Any = checkpoint.model.reach
    return {
        "format": FORMAT,
        "name": checkpoint.name,
        "labels": list(checkpoint.labels),
        **({"dimensions": list(checkpoint.dimensions)} if checkpoint.dimensions else {}),
        "sample_rate": settings.sample_rate,
        "step_samples": reach.hop * settings.hop_samples,
        "first_step_seconds": reach.centre * settings.frame_seconds,
        "chunk_seconds": CHUNK_SECONDS,
        "calibration": to_plain(checkpoint.calibration),
        "precision": precision,
        "fingerprint": _fingerprint(checkpoint, precision),
        "train_speakers": list(checkpoint.train_speakers),
        "valid_speakers": list(checkpoint.valid_speakers),
        "card": checkpoint.card,
    }


def _fingerprint(checkpoint: Checkpoint, precision: str) -> str:
    """The checkpoint's, whose answers float32 repeats; one of its own where answers differ a little."""
    if precision == "float32":
        return checkpoint.fingerprint
    return hashlib.sha256(f"{checkpoint.fingerprint} {precision}".encode()).hexdigest()[:16]


def _batch(seconds: tuple[float, ...], sample_rate: int) -> tuple[Tensor, Tensor]:
    """A rising tone, for the pitch to follow, in noise; in the padding too, which the graph has to clear.

    Shape: one utterance for each length -> (batch, samples), (batch,).
    """
    num_samples = torch.tensor([round(length * sample_rate) for length in seconds])
    noise = torch.randn(len(seconds), int(num_samples.max()), generator=torch.Generator().manual_seed(1))
    turns = torch.linspace(100, 300, noise.shape[1]).cumsum(0) / sample_rate
    return 0.3 * (turns % 1 - 0.5) + 0.05 * noise, num_samples


def _trace(graph: Graph, path: Path) -> None:
    sizes: dict[str, tuple[str, ...]]
    sizes = {"waveforms": ("batch", "samples"), "step_logits": ("batch", "steps"), "speech": ("batch", "chunks")}
    sizes |= {"step_dimensions": ("batch", "steps")}
    sizes |= {name: ("batch",) for name in ("num_samples", "logits", "step_lengths", "dimensions")}
    named = (*INPUTS, *graph.outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python numbers in the trace, all checked by _compare
        with _traceable():
            torch.onnx.export(
                graph, _batch((1.5, 1.0, 0.6), graph.sample_rate), path, dynamo=False, opset_version=OPSET,
                do_constant_folding=False,  # weights keep their names; onnxruntime folds
                input_names=INPUTS, output_names=graph.outputs,
                dynamic_axes={name: dict(enumerate(sizes[name])) for name in named},
            )


def _compare(session, graph: Graph, precision: str) -> None:
    """Raises ValueError where onnxruntime answers other than PyTorch, at other lengths than those traced."""
    remedy = {
        "float32": "Install the torch and onnxruntime that emotion[export] names.", "float16": "Export in float32.",
    }
    for seconds in ((2.31, 0.7), (0.05,)):
        batch = _batch(seconds, graph.sample_rate)
        with torch.no_grad():
            expected = graph(*batch)
        answers = session.run(graph.outputs, {name: part.numpy() for name, part in zip(INPUTS, batch)})
        for name, answer, tensor in zip(graph.outputs, answers, expected):
            same = answer.shape == tensor.shape
            if not (same and np.abs(answer - tensor.numpy()).max() <= TOLERANCES[precision]):  # nan is no answer
                raise ValueError(
                    f"onnxruntime's {name} of a tone of {seconds} s in {precision} are not PyTorch's within "
                    f"{TOLERANCES[precision]}: the file would answer otherwise and was not written. {remedy[precision]}"
                )


@contextmanager
def _traceable() -> Iterator[None]:
    """While it runs, four operations are traced for any length; as they are they fix that of the example.

    The best path is not traced but compiled: its loops stay loops.
    """
    symbols: dict[str, Any] = {"aten::unfold": _unfold, "aten::floor_divide": _floor_divide}
    unflatten, best_path = Tensor.unflatten, prosody.best_path
    Tensor.unflatten = _unflatten   # type: ignore[method-assign]
    prosody.best_path = torch.jit.script(prosody.best_path)
    for name, symbol in symbols.items():
        torch.onnx.register_custom_op_symbolic(name, symbol, OPSET)
    try:
        yield
    finally:
        Tensor.unflatten = unflatten   # type: ignore[method-assign]
        prosody.best_path = best_path
        for name in symbols:
            torch.onnx.unregister_custom_op_symbolic(name, OPSET)


def _unflatten(values: Tensor, dimension: int, sizes: tuple[int, ...]) -> Tensor:
    shape, dimension = list(values.shape), dimension % values.ndim
    shape[dimension : dimension + 1] = sizes
    return values.reshape(shape)


def _unfold(graph, values, dimension, size, step):
    """As a gather. Shape: (..., samples) -> (..., frames, size)."""
    from torch.onnx import symbolic_helper

    dimension, size, step = (symbolic_helper._get_const(number, "i", "") for number in (dimension, size, step))

    def constant(number):
        return graph.op("Constant", value_t=torch.tensor(number))

    length = graph.op("Gather", graph.op("Shape", values), constant(dimension))
    starts = graph.op("Range", constant(0), graph.op("Sub", length, constant(size - 1)), constant(step))
    places = graph.op("Add", graph.op("Unsqueeze", starts, constant([1])), constant(list(range(size))))
    return graph.op("Gather", values, places, axis_i=dimension)


def _floor_divide(graph, whole, by):
    """Of whole numbers, down: the exporter's own rounds -1.5 up, which leaves out the last chunk."""
    return graph.op("Div", graph.op("Sub", whole, graph.op("Mod", whole, by)), by)
