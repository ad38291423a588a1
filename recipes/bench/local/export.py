#!/usr/bin/env python3
"""What an exported model costs and how its answers differ from PyTorch's, in the precisions of `emotion export` and in
8 bits, which it does not offer.

    local/export.py MODEL:TEST_DIR:TRAIN_DIR...     several, such as folds, make one table

int8, stored    the network's weights, each output with a scale; computed in float32
int8, dynamic   onnxruntime's own: LSTMs and matrix products, scaled as they run
int8, static    onnxruntime's own: the network's convolutions, scaled by recordings of TRAIN_DIR
"""

import argparse
import logging
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

from emotion import audio, checkpoint, datadir, metrics
from emotion.engine import Engine
from emotion.export import export
from emotion.exported import INPUTS, Exported

BATCH, WINDOW_SECONDS = 2, 12.0   # windows in a batch of the Analyzer, and how long they are
MOST_BATCHES = 20   # of a model
CALIBRATED_ON = 60   # recordings
COLUMNS = (
    "", "file MB", "s/s, one by one", "s/s, in batches", "UAR %", "posterior, largest change", "mean change",
    "labels changed %", "speech changed %",
)


@dataclass
class Tally:
    """What a variant cost and answered."""

    file_bytes: int | None = None
    seconds: float = 0.0   # of processor, recordings one by one
    batch_seconds: float = 0.0
    probabilities: list[np.ndarray] = field(default_factory=list)
    speech: list[np.ndarray] = field(default_factory=list)   # of each chunk, whether


class Recordings(CalibrationDataReader):
    """One after the other, as a model takes them."""

    def __init__(self, waveforms: list[np.ndarray]):
        self._batches = ((waveform[None], np.array([len(waveform)])) for waveform in waveforms)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(zip(INPUTS, batch))


def stored_in_int8(source: Path, target: Path) -> None:
    program = onnx.load(source)
    for tensor in list(program.graph.initializer):
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if not name.startswith("model.") or values.ndim < 2:
            continue
        scale = np.abs(values).max(tuple(range(1, values.ndim)), keepdims=True) / 127 + np.float32(1e-12)
        tensor.CopyFrom(numpy_helper.from_array(np.round(values / scale).astype(np.int8), f"{name}.int8"))
        program.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        program.graph.node.insert(0, helper.make_node("Mul", [f"{name}.wide", f"{name}.scale"], [name]))
        program.graph.node.insert(0, helper.make_node("Cast", [tensor.name], [f"{name}.wide"], to=TensorProto.FLOAT))
    onnx.save(program, target)


def folded(source: Path, target: Path) -> None:
    """Weights where onnxruntime's quantisation looks for them: as constants beside each operation."""
    settings = SessionOptions()
    settings.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(target)
    InferenceSession(str(source), settings, providers=["CPUExecutionProvider"])


def variants(model: checkpoint.Checkpoint, folder: Path, recordings: list[np.ndarray]) -> dict[str, Path]:
    """The files of a model, by name."""
    names = "float32", "float16", "int8, stored", "int8, dynamic", "int8, static"
    paths = {name: folder / f"{name}.onnx" for name in names}
    for precision in ("float32", "float16"):
        export(model, paths[precision], precision)
    stored_in_int8(paths["float16"], paths["int8, stored"])
    constant = folder / "folded.onnx"
    folded(paths["float32"], constant)
    quantize_dynamic(constant, paths["int8, dynamic"], ["LSTM", "MatMul"], per_channel=True)
    convolutions = [node.name for node in onnx.load(constant).graph.node
                    if node.op_type == "Conv" and node.name.startswith("/model/")]
    quantize_static(
        constant, paths["int8, static"], Recordings(recordings), nodes_to_quantize=convolutions, per_channel=True,
        activation_type=QuantType.QUInt8,
    )
    (header,) = onnx.load(paths["float32"]).metadata_props
    for name in ("int8, dynamic", "int8, static"):
        program = onnx.load(paths[name])
        helper.set_model_props(program, {header.key: header.value})
        onnx.save(program, paths[name])
    return paths


def waveforms_of(utterances: list[datadir.Utterance], sample_rate: int) -> list[np.ndarray]:
    return [audio.read(datadir.open_wav(one), sample_rate) for one in utterances]


def ask(
    answerers: dict[str, Engine | Exported], tallies: dict[str, Tally], waveforms: list[np.ndarray], rate: int,
) -> tuple[float, float]:
    """All recordings one by one, then windows of them in batches; the seconds of audio in each.

    The answerers take turns in an order that changes: whoever comes after PyTorch finds an empty cache.
    """
    rng, names = np.random.default_rng(0), list(answerers)
    for waveform in waveforms:
        for name in rng.permutation(names):
            started = time.process_time()
            answer = answerers[name].answer(waveform[None], np.array([len(waveform)]))
            tallies[name].seconds += time.process_time() - started
            tallies[name].probabilities.append(answer.probabilities[0])
            if answer.speech is not None:
                tallies[name].speech.append(answer.speech[0] > 0.5)
    window, joined = round(WINDOW_SECONDS * rate), np.concatenate(waveforms)
    batches = joined[: len(joined) // (BATCH * window) * BATCH * window].reshape(-1, BATCH, window)[:MOST_BATCHES]
    for batch in batches:
        for name in rng.permutation(names):
            started = time.process_time()
            answerers[name].answer(batch, np.full(BATCH, window))
            tallies[name].batch_seconds += time.process_time() - started
    return len(joined) / rate, batches.size / rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL:TEST_DIR:TRAIN_DIR")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)   # of onnxruntime's quantisation
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    targets, heard = [], np.zeros(2)
    for source, test, train in (model.rsplit(":", 2) for model in options.models):
        model, utterances, calibrating = checkpoint.read(source), datadir.read(test), datadir.read(train)
        calibrating = calibrating[:: max(1, len(calibrating) // CALIBRATED_ON)]
        if known := {one.speaker for one in utterances} & {*model.train_speakers, *model.valid_speakers}:
            raise SystemExit(f"export.py: {source} has heard {', '.join(sorted(known))}. Give speakers it never heard.")
        rate = model.frontend.config.sample_rate
        with tempfile.TemporaryDirectory() as folder:
            paths = variants(model, Path(folder), waveforms_of(calibrating, rate))
            for name, path in paths.items():
                tallies[name].file_bytes = path.stat().st_size
            answerers: dict[str, Engine | Exported] = {"PyTorch": Engine(model, "cpu")}
            answerers |= {name: Exported(path, num_threads=1) for name, path in paths.items()}
            heard += ask(answerers, tallies, waveforms_of(utterances, rate), rate)
        targets += [model.labels.index(model.scheme.mapping[one.emotion]) for one in utterances]
    table(tallies, np.array(targets), *heard)


def table(tallies: dict[str, Tally], targets: np.ndarray, seconds: float, batch_seconds: float) -> None:
    """Prints a Markdown row for each; changes are from PyTorch's answers."""
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    asked, spoken = np.array(tallies["PyTorch"].probabilities), np.concatenate(tallies["PyTorch"].speech)
    for name in ("PyTorch", *(name for name in tallies if name != "PyTorch")):
        tally, answered = tallies[name], np.array(tallies[name].probabilities)
        labels, change = answered.argmax(1), np.abs(answered - asked)
        size = "" if tally.file_bytes is None else f"{tally.file_bytes / 1e6:.2f}"
        print(
            f"| {name} | {size} | {seconds / tally.seconds:.0f} | {batch_seconds / tally.batch_seconds:.0f} | "
            f"{100 * metrics.uar(targets, labels):.2f} | {change.max():.1g} | {change.mean():.1g} | "
            f"{100 * np.mean(labels != asked.argmax(1)):.2f} | "
            f"{100 * np.mean(np.concatenate(tally.speech) != spoken):.3f} |"
        )


if __name__ == "__main__":
    main()
