"""The `emotion` command. Each subcommand imports what it needs when it runs: `emotion --help` answers at once."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import __version__

DEVICES = "auto, cpu, cuda, cuda:1, mps (default auto)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand. Exit code 0: all done; 1: something failed and was named; 2: wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return options.run(options) or 0
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"emotion {options.command}: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"emotion {options.command}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="emotion", description="Which emotion is in speech, when, and how sure.")
    parser.add_argument("--version", action="version", version=f"emotion {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run, summary: str, group=commands) -> argparse.ArgumentParser:
        sub = group.add_parser(name, help=summary, description=summary)
        sub.set_defaults(run=run)
        return sub

    def computing(sub: argparse.ArgumentParser, model: bool = True) -> None:
        if model:
            sub.add_argument("--model", metavar="PATH", help="experiment folder or model file (default: the bundled)")
        sub.add_argument("--device", default="auto", help=DEVICES)
        sub.add_argument("--threads", type=_positive, metavar="N", help="processor threads (default: all cores)")

    _score_command(command, computing)
    listen = command("listen", _listen, "Tell what the microphone hears, second by second, until Ctrl-C.")
    listen.add_argument("--input", metavar="DEVICE", help="number or name of the microphone (default: the system's)")
    listen.add_argument("--seconds", type=float, metavar="S", help="stop after so long")
    listen.add_argument("--timelines", metavar="PATH", help="write the segments at the end, as emotion score does")
    computing(listen)

    _showing_commands(command, computing)
    _training_commands(command, computing)
    _results_command(command)
    _data_commands(commands, command)
    return parser


def _showing_commands(command, computing) -> None:
    """Pictures, pages and files of what a model says; `computing` adds its options."""
    plot = command("plot", _plot, "Draw waveform, spectrogram, pitch and emotion timeline of one recording.")
    plot.add_argument("source", metavar="FILE")
    plot.add_argument("-o", "--output", metavar="PNG", help="default: FILE's name with .png, in the working directory")
    plot.add_argument("--explain", action="store_true", help="draw instead what spoke for the answer: emotion explain")
    computing(plot)

    explain = command("explain", _explain, "Draw what in one recording spoke for an emotion and what against it.")
    explain.add_argument("source", metavar="FILE")
    explain.add_argument(
        "-o", "--output", metavar="PNG", help="default: FILE's name with .why.png, in the working directory"
    )
    explain.add_argument("--label", metavar="EMOTION", help="default: what the model answers")
    explain.add_argument(
        "--start", type=float, metavar="SECONDS",
        help="with --stop: this part, no longer than a window (default: what speaks most for the emotion)",
    )
    explain.add_argument("--stop", type=float, metavar="SECONDS")
    computing(explain)

    export = command("export", _export, "Write a model as one ONNX file that needs no PyTorch to answer.")
    export.add_argument("model", metavar="MODEL", nargs="?", help="experiment folder or file (default: the bundled)")
    export.add_argument("-o", "--output", required=True, metavar="ONNX", help="such as model.onnx")
    export.add_argument(
        "--precision", default="float32", choices=("float32", "float16"),
        help="of the stored weights: float16 is about half the size and as fast (default: float32)",
    )

    convert = command("convert", _convert, "Write segments in another format: corrected in Praat, wanted as a table.")
    convert.add_argument("source", metavar="FILE", help=".csv .jsonl .parquet .rttm .TextGrid .eaf or .txt (Audacity)")
    convert.add_argument("output", metavar="PATH", help="one of these endings, .vtt, or none for a Kaldi folder")

    report = command("report", _report, "Score a folder of recordings into one web page to read and listen to.")
    report.add_argument("source", metavar="DIR")
    report.add_argument("-o", "--output", default="report.html", metavar="HTML", help="default: report.html")
    report.add_argument(
        "--embed-mb", type=float, default=2.0, metavar="MB",
        help="recordings up to this size are in the page, larger ones are linked (default: 2; 0: link all)",
    )
    report.add_argument(
        "--embed-total-mb", type=float, default=50.0, metavar="MB", help="of all recordings in the page (default: 50)"
    )
    computing(report)

    serve = command("serve", _serve, "A page to try the model in a browser, and a JSON API beside it.")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    serve.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any that is free")
    serve.add_argument("--max-mb", type=float, default=200.0, metavar="MB", help="of a request (default: 200)")
    serve.add_argument(
        "--max-minutes", type=float, default=90.0, metavar="MINUTES", help="of audio in a request (default: 90)"
    )
    computing(serve)


def _training_commands(command, computing) -> None:
    train = command("train", _train, "Train a model; goes on where an interrupted training was.")
    train.add_argument("--conf", metavar="YAML", help="settings (default with --init: the network and features of that "
                       "model, the emotions of your data, a short training)")
    for name in ("train", "valid", "exp"):
        train.add_argument(f"--{name}", required=True, metavar="DIR")
    train.add_argument("--seed", type=int, default=1)
    train.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="such as fit.max_epochs=3"
    )
    train.add_argument(
        "--init", metavar="MODEL", help="start from the weights of this model; bundled: of the one in the package"
    )
    train.add_argument(
        "--teachers", nargs="+", default=[], metavar="MODEL", help="learn also what these models answer (distillation)"
    )
    train.add_argument(
        "--devices", type=_positive, metavar="N",
        help="of each machine, with a process on each (default: as torchrun or srun started it, else 1)",
    )
    train.add_argument(
        "--nodes", type=_positive, metavar="M", help="machines (default: as torchrun or srun started it, else 1)"
    )
    computing(train, model=False)

    calibrate = command("calibrate", _calibrate, "Fit the temperature of a trained model on the validation speakers.")
    evaluate = command("evaluate", _evaluate, "Score the test speakers: posteriors.csv, scores.json, confusion.png.")
    for sub in (calibrate, evaluate):
        sub.add_argument("exp", metavar="EXP")
        sub.add_argument("directory", metavar="DATA_DIR")
        computing(sub, model=False)
    calibrate.add_argument(
        "--hold-back", type=float, default=0.0, metavar="SHARE", help="call this share of them, the least sure, unknown"
    )
    evaluate.add_argument("--out", metavar="DIR", help="where the scores go (default: EXP)")
    evaluate.add_argument("--allow-heard", action="store_true", help="also speakers the model was trained on")
    evaluate.add_argument(
        "--speeds", type=_numbers, default=(1.0,), metavar="0.9,1,1.1",
        help="average the answers to the recordings played at these speeds (default: 1)",
    )


def _score_command(command, computing) -> None:
    score = command("score", _score, "Score a folder of recordings into a table, or one recording for reading.")
    score.add_argument("source", metavar="SOURCE", help="a folder, a recording, or -: WAV or --raw from standard input")
    score.add_argument("-o", "--output", metavar="TABLE", help="scores.csv or scores.jsonl (needed for a folder)")
    score.add_argument(
        "--timelines", metavar="PATH",
        help="also write the segments: .csv .jsonl .parquet .rttm or a Kaldi folder; of one recording also .TextGrid "
             ".eaf .vtt and .txt (Audacity)",
    )
    score.add_argument("--channels", choices=("mix", "separate"), default="mix", help="mixed, or each by itself")
    score.add_argument(
        "--turns", metavar="FILE", help="where to listen, instead of finding speech: Kaldi segments, .rttm or .csv"
    )
    score.add_argument(
        "--baseline", metavar="PATH", help="neutral speech of the one who speaks, a file or folder, to set them against"
    )
    score.add_argument(
        "--enroll", action="append", default=[], metavar="NAME=PATH",
        help="with --turns: neutral speech of the speaker of that name; may be given for each",
    )
    score.add_argument(
        "--ray", nargs="?", const="", metavar="ADDRESS",
        help="on the cluster at that address, or all cores of this machine: SOURCE may also be a list (.txt), a Kaldi "
             "data directory, .tar files or an address as s3://..., TABLE is a folder of parquet parts; --threads: "
             "processes that answer",
    )
    score.add_argument("--raw", metavar="SAMPLES", help="of standard input: u8, s16le, s24le, s32le, f32le or f64le")
    score.add_argument("--rate", type=_positive, metavar="HZ", help="of raw samples")
    score.add_argument("--raw-channels", type=_positive, default=1, metavar="N", help="of raw samples (default: 1)")
    computing(score)


def _results_command(command) -> None:
    results = command("results", _results, "Table of results over folds and seeds.")
    results.add_argument("roots", metavar="ROOT", nargs="+", help="folder that holds fold*/seed*/posteriors.csv")
    results.add_argument("--table", default="posteriors.csv", metavar="NAME", help="default: posteriors.csv")
    kind = results.add_mutually_exclusive_group()
    kind.add_argument(
        "--ensemble", action="store_true", help="all models of a fold answer together, of several folders too"
    )
    kind.add_argument("--rows", action="store_true", help="one row for each folder, to compare configurations")
    results.add_argument("-o", "--output", metavar="MD", help="also write the table there")


def _data_commands(commands, command) -> None:
    """`emotion data ...`; `command` adds one subcommand to a group."""
    data = commands.add_parser("data", help="Kaldi data directories: validate, fix, split, combine, subset.")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, run, summary in (
        ("validate", _validate, "Check a data directory."),
        ("fix", _fix, "Sort and repair it; originals go to .backup/."),
    ):
        command(name, run, summary, actions).add_argument("directory", metavar="DIR")
    split = command("split", _split, "Write OUT/fold<k>/{train,valid,test} after a split file.", actions)
    split.add_argument("directory", metavar="DIR")
    split.add_argument("split", metavar="SPLIT.yaml")
    split.add_argument("out", metavar="OUT")
    split.add_argument("--fold", type=int, metavar="K", help="only this one, from 1")
    combine = command("combine", _combine, "Put data directories together.", actions)
    combine.add_argument("out", metavar="OUT")
    combine.add_argument("directories", metavar="DIR", nargs="+")
    subset = command("subset", _subset, "Choose utterances.", actions)
    subset.add_argument("directory", metavar="DIR")
    subset.add_argument("out", metavar="OUT")
    for name in ("speakers", "without-speakers", "emotions"):
        subset.add_argument(f"--{name}", metavar="a,b,c", type=lambda text: text.split(","))
    for name in ("first", "per-class"):
        subset.add_argument(f"--{name}", type=int, metavar="N")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be numbers with commas between them") from None


def _score(options: argparse.Namespace) -> int:
    from . import scoring

    return scoring.score(options)


def _listen(options: argparse.Namespace) -> None:
    from . import scoring

    scoring.listen(options)


def _report(options: argparse.Namespace) -> int:
    from . import scoring

    return scoring.report(options)


def _serve(options: argparse.Namespace) -> None:
    from .scoring import analyzer_of
    from .serve import Limits, serve

    limits = Limits(max_bytes=round(1e6 * options.max_mb), max_seconds=60 * options.max_minutes)
    name = Path(options.model).name if options.model else "bundled"
    serve(lambda: analyzer_of(options), name, options.host, options.port, limits)


def _convert(options: argparse.Namespace) -> None:
    from . import formats

    formats.write(formats.read(options.source), options.output)
    print(options.output)


def _plot(options: argparse.Namespace) -> None:
    from . import audio, plot
    from .scoring import analyzer_of

    if options.explain:
        return _explain(argparse.Namespace(**vars(options), label=None, start=None, stop=None))
    analyzer = analyzer_of(options)
    waveform = audio.read(options.source, analyzer.sample_rate)
    output = options.output or Path(options.source).with_suffix(".png").name
    timeline = analyzer.analyze(options.source)
    hop_seconds = analyzer.checkpoint.frontend.config.hop_seconds
    plot.recording(
        waveform, analyzer.sample_rate, analyzer.spectrogram(waveform), hop_seconds, timeline, output,
        f0_hz=analyzer.pitch(waveform),
    )
    print(output)


def _explain(options: argparse.Namespace) -> None:
    from .analyzer import Analyzer
    from .explain import draw, explain

    _share(options.threads)
    output = options.output or Path(options.source).with_suffix(".why.png").name
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
    from . import analyzer, checkpoint, export

    export.export(checkpoint.read(options.model or analyzer.BUNDLED), options.output, options.precision)
    print(options.output)


def _train(options: argparse.Namespace) -> None:
    from . import analyzer, checkpoint
    from .train import config, fit

    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)   # else Lightning divides the cores among the processes
    init = analyzer.BUNDLED if options.init == "bundled" else options.init
    if options.conf:
        settings = config.read(options.conf, options.set)
    elif init:
        settings = config.like(checkpoint.read(init), options.set)
    else:
        raise ValueError("neither --conf nor --init: what is to be trained? Give --conf YAML, or --init MODEL to go on "
                         "from one.")
    fit.train(
        settings, options.train, options.valid, options.exp, options.seed, options.device,
        init, options.teachers, options.devices, options.nodes,
    )


def _share(threads: int | None) -> None:
    """Let PyTorch share each operation among so many threads; None: as it likes."""
    if threads:
        import torch

        torch.set_num_threads(threads)


def _calibrate(options: argparse.Namespace) -> None:
    from .evaluate import calibrate

    _share(options.threads)
    calibrate(options.exp, options.directory, options.device, options.hold_back)


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluate import evaluate

    _share(options.threads)
    evaluate(options.exp, options.directory, options.device, options.allow_heard, options.speeds, options.out)


def _results(options: argparse.Namespace) -> None:
    from .evaluate import results, rows

    if options.rows:
        table = rows(options.roots, options.table)
    else:
        table = results(*options.roots, table=options.table, ensemble=options.ensemble)
    print(table)
    if options.output:
        Path(options.output).write_text(table + "\n", encoding="utf-8")


def _validate(options: argparse.Namespace) -> int:
    from .datacheck import validate

    problems = validate(options.directory)
    for problem in problems:
        print(f"emotion data validate: {problem}", file=sys.stderr)
    if not problems:
        print(f"Successfully validated data-directory {options.directory}")
    return 1 if problems else 0


def _fix(options: argparse.Namespace) -> None:
    from .datacheck import fix

    kept, total = fix(options.directory)
    print(f"kept {kept} utterances out of {total}; old files are kept in {options.directory}/.backup")


def _split(options: argparse.Namespace) -> None:
    from . import datadir, splits

    utterances = datadir.read(options.directory)
    folds = splits.read(options.split).folds
    if options.fold is not None and not 1 <= options.fold <= len(folds):
        raise ValueError(f"--fold {options.fold}: {options.split} has the folds 1 to {len(folds)}. Choose one of them.")
    for k, (test, valid) in enumerate(folds, 1):
        if options.fold in (None, k):
            parts = datadir.split(utterances, test, valid)
            datadir.check_disjoint(**parts)
            for name, part in parts.items():
                datadir.write(Path(options.out, f"fold{k}", name), part)
            print(f"fold {k}: " + ", ".join(f"{len(part)} {name}" for name, part in parts.items()))


def _combine(options: argparse.Namespace) -> None:
    from . import datadir

    _say(options.out, datadir.combine(datadir.read(directory) for directory in options.directories))


def _subset(options: argparse.Namespace) -> None:
    from . import datadir

    utterances = datadir.read(options.directory)
    _say(options.out, datadir.subset(
        utterances, options.speakers, options.per_class, options.first, options.emotions, options.without_speakers or ()
    ))


def _say(out: str, utterances: Iterable) -> None:
    from . import datadir

    utterances = list(utterances)
    datadir.write(out, utterances)
    print(f"{out}: {len(utterances)} utterances")
