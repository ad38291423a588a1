"""The commands that show or write what a model says, and whether all works here: plot to serve, doctor."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from .arguments import command, computing, precise, share


def add(commands) -> None:
    _add_pictures(commands)
    _add_files(commands)
    _add_service(commands)


def _add_pictures(commands) -> None:
    plot = command(commands, "plot", _plot, "Draw waveform, spectrogram, pitch and emotion timeline of one recording.")
    plot.add_argument("source", metavar="FILE", help="the recording")
    plot.add_argument("-o", "--output", metavar="PNG", help="default: FILE's name with .png, in the working directory")
    plot.add_argument("--explain", action="store_true", help="draw instead what spoke for the answer: emotion explain")
    computing(plot)

    explain = command(
        commands, "explain", _explain, "Draw what in one recording spoke for an emotion and what against it."
    )
    explain.add_argument("source", metavar="FILE", help="the recording")
    explain.add_argument(
        "-o", "--output", metavar="PNG", help="default: FILE's name with .why.png, in the working directory"
    )
    explain.add_argument("--label", metavar="EMOTION", help="default: what the model answers")
    explain.add_argument(
        "--start", type=float, metavar="SECONDS",
        help="with --stop: this part, no longer than a window (default: what speaks most for the emotion)",
    )
    explain.add_argument("--stop", type=float, metavar="SECONDS", help="end of that part")
    computing(explain)


def _add_files(commands) -> None:
    export = command(commands, "export", _export, "Write a model as one ONNX file that needs no PyTorch to answer.")
    export.add_argument("model", metavar="MODEL", nargs="?", help="experiment folder or file (default: the bundled)")
    export.add_argument("-o", "--output", required=True, metavar="ONNX", help="such as model.onnx")
    export.add_argument(
        "--precision", default="float32", choices=("float32", "float16"),
        help="of the stored weights: float16 is about half the size and as fast (default: float32)",
    )

    convert = command(
        commands, "convert", _convert, "Write segments in another format: corrected in Praat, wanted as a table."
    )
    convert.add_argument("source", metavar="FILE", help=".csv .jsonl .parquet .rttm .TextGrid .eaf or .txt (Audacity)")
    convert.add_argument("output", metavar="PATH", help="one of these endings, .vtt, or none for a Kaldi folder")

    report = command(
        commands, "report", _report, "Score a folder of recordings into one web page to read and listen to."
    )
    report.add_argument("source", metavar="DIR", help="the folder of recordings")
    report.add_argument("-o", "--output", default="report.html", metavar="HTML", help="default: report.html")
    report.add_argument(
        "--embed-mb", type=float, default=2.0, metavar="MB",
        help="recordings up to this size are in the page, larger ones are linked (default: 2; 0: link all)",
    )
    report.add_argument(
        "--embed-total-mb", type=float, default=50.0, metavar="MB", help="of all recordings in the page (default: 50)"
    )
    computing(report)
    precise(report)


def _add_service(commands) -> None:
    serve = command(commands, "serve", _serve, "A page to try the model in a browser, and a JSON API beside it.")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    serve.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any that is free")
    serve.add_argument("--max-mb", type=float, default=200.0, metavar="MB", help="of a request (default: 200)")
    serve.add_argument(
        "--max-minutes", type=float, default=90.0, metavar="MINUTES", help="of audio in a request (default: 90)"
    )
    computing(serve)
    precise(serve)

    doctor = command(
        commands, "doctor", _doctor, "Tell what is installed, what it runs on, and what is broken; exit code 1 if so."
    )
    doctor.add_argument("--json", action="store_true", help="the same for programs")
    computing(doctor)


def _plot(options: argparse.Namespace) -> None:
    from .. import audio, plot
    from ..scoring import analyzer_of

    if options.explain:
        return _explain(argparse.Namespace(**vars(options), label=None, start=None, stop=None))
    output = _picture(options, ".png")
    analyzer = analyzer_of(options)
    waveform = audio.read(options.source, analyzer.sample_rate)
    timeline = analyzer.analyze(options.source)
    hop_seconds = analyzer.checkpoint.frontend.config.frame_seconds
    plot.recording(
        waveform, analyzer.sample_rate, analyzer.spectrogram(waveform), hop_seconds, timeline, output,
        f0_hz=analyzer.pitch(waveform),
    )
    print(output)


def _picture(options: argparse.Namespace, ending: str) -> str:
    """The name to draw under: a picture without an ending is a PNG. Raises: ValueError where none can be drawn."""
    from .. import plot

    named = Path(options.output or Path(options.source).with_suffix(ending).name)
    return str(plot.check_path(named if named.suffix else named.with_suffix(".png")))


def _explain(options: argparse.Namespace) -> None:
    from ..analyzer import Analyzer
    from ..explain import draw, explain

    if (options.start is None) != (options.stop is None):
        raise ValueError("--start and --stop belong together. Give both, or neither for the part that speaks most.")
    share(options.threads)
    output = _picture(options, ".why.png")
    explanation = explain(
        Analyzer(options.model, options.device), options.source, label=options.label,
        start_seconds=options.start, stop_seconds=options.stop,
    )
    draw(explanation, output)
    print(
        f"{output}: {explanation.label} {100 * explanation.confidence:.1f} %, "
        f"{explanation.start_seconds:.2f} to {explanation.stop_seconds:.2f} s"
    )


def _export(options: argparse.Namespace) -> None:
    from .. import checkpoint, export

    model = checkpoint.read("bundled" if options.model is None else options.model)
    export.export(model, options.output, options.precision)
    print(options.output)


def _convert(options: argparse.Namespace) -> None:
    from .. import formats

    formats.write(formats.read(options.source), options.output)
    print(options.output)


def _report(options: argparse.Namespace) -> int:
    from .. import scoring

    return scoring.report(options)


def _serve(options: argparse.Namespace) -> None:
    from ..scoring import analyzer_of, megabytes
    from ..serve import Limits, serve

    limits = Limits(max_bytes=megabytes("--max-mb", options.max_mb), max_seconds=60 * options.max_minutes)
    name = Path(options.model).name if options.model else "bundled"
    serve(lambda: analyzer_of(options), name, options.host, options.port, limits)


def _doctor(options: argparse.Namespace) -> int:
    from .. import doctor

    findings = list(doctor.examine(options.model, options.device, options.threads))
    healthy = doctor.healthy(findings)
    if options.json:
        print(json.dumps({"healthy": healthy, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        print(doctor.page(findings))
    return 0 if healthy else 1
