"""What `emotion score`, `listen` and `report` do: answers for folders, files, pipes and microphones."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from . import audio, datadir, earlier, files, formats, live, scores
from .analyzer import PRECISIONS, Analyzer, FileError
from .decoder import check_file, printable
from .flow import available_cores
from .labels import tell_apart
from .windows import WindowConfig

Turns = Mapping[str, Sequence[formats.NamedSpan]]   # of each recording

def score(options: argparse.Namespace) -> int:
    """`emotion score`: answers for folders, recordings or standard input; the exit code."""
    if options.ray is not None:
        return _on_cluster(options)
    _check(options)
    paths = [path for source in options.sources for path in (_found(source) if os.path.isdir(source) else [source])]
    if twice := {path for path, count in Counter(map(os.path.normpath, paths)).items() if count > 1}:
        raise ValueError(f"{datadir.few(twice)}: given twice, alone and in a folder or so. Give each once.")
    is_one = paths == options.sources[:1]
    if is_one and not _is_pipe(options):
        check_file(paths[0], str(paths[0]))   # before a table is begun
    if options.output:
        scores.check_path(options.output)
    written = False
    if options.timelines:
        written = bool(options.output) and earlier.made_beside(options.output, options.timelines)
        _check_timelines(options, paths, written)
    spans = formats.turns_of(options.turns, paths) if options.turns else None
    voices = _voices(options)
    analyzer = analyzer_of(options)
    for name, path in voices.items():
        analyzer.enroll(name, path)
    if options.baseline:
        analyzer.enroll(options.baseline, options.baseline)   # once, for all recordings
    if options.output:
        failed, kept = _tabled(options, analyzer, paths, spans)
    else:
        answers = _answers(options, analyzer, paths, spans)
        failed, kept = _told(options, answers if is_one else _followed(answers, len(paths)), show=is_one)
    code = 0 if is_one else _tell(failed, len(paths))
    if kept:
        formats.write(kept, options.timelines, written)   # the table has its name by now, whatever cannot be held
        if options.output:
            earlier.note_beside(options.output, options.timelines)
    if failed and is_one:
        name, reason = failed[0]
        raise ValueError(f"{printable(name)}: {reason}")
    return code


def _is_pipe(options: argparse.Namespace) -> bool:
    return options.sources == ["-"]


def _check(options: argparse.Namespace) -> None:
    """Raises: ValueError for options that do not go together, before anything is read."""
    several = len(options.sources) > 1
    if several and "-" in options.sources:
        raise ValueError("standard input (-) is scored by itself. Leave it out, or give it alone.")
    if (several or os.path.isdir(options.sources[0])) and not (options.output or options.timelines):
        what = "there are several sources: their" if several else f"{options.sources[0]} is a folder: its"
        raise ValueError(f"{what} scores need a table. Add -o scores.csv.")
    if lists := [source for source in options.sources if source.lower().endswith((".txt", ".tar"))
                and not os.path.isdir(source)]:
        raise ValueError(f"{lists[0]} is no recording. Lists of them and .tar files are scored with --ray.")
    if options.turns and (_is_pipe(options) or options.channels == "separate"):
        raise ValueError("--turns are of files, channels mixed. Leave out --channels separate, or give files.")
    if options.baseline and _is_pipe(options):
        raise ValueError("--baseline is for files. Leave it out, or give files.")
    if options.enroll and not options.turns:
        raise ValueError("--enroll is for the speakers that --turns names. For one who speaks throughout: --baseline.")
    if options.raw and not _is_pipe(options):
        raise ValueError("--raw tells what comes over standard input; files tell it themselves. Give - as the source.")
    if (options.rate or options.raw_channels) and not options.raw:
        raise ValueError("--rate and --raw-channels are of --raw samples; a WAV tells its own. Add --raw, or leave "
                         "them out.")
    if options.output and options.timelines and os.path.realpath(options.output) == os.path.realpath(options.timelines):
        raise ValueError(f"{options.output} cannot hold both: a row for each recording and one for each segment. "
                         "Give --timelines another name.")


def _check_timelines(options: argparse.Namespace, paths: Sequence[str | os.PathLike], written: bool) -> None:
    """Raises: ValueError where segments cannot be written there, or would be over a file that is not an earlier run's.

    written: whether it is, as that left it."""
    path = os.path.realpath(options.timelines)
    read = [*options.sources, options.turns, options.baseline, *(voice.partition("=")[2] for voice in options.enroll)]
    if os.path.isfile(path) and path in {os.path.realpath(one) for one in read if one}:
        raise ValueError(f"{options.timelines} is read here: it would be lost. Give --timelines another name.")
    if not (written or options.overwrite):
        _refuse_written(options.timelines, "Give another name, or --overwrite.")
    formats.check_path(options.timelines, paths, written, options.channels == "separate")


def _refuse_written(timelines: str, remedy: str) -> None:
    if os.path.isfile(timelines):
        raise ValueError(f"{timelines} is there, and may have been corrected by hand. {remedy}")


def _voices(options: argparse.Namespace) -> dict[str, str]:
    """--enroll as {speaker: recordings}. Raises: ValueError for a speaker that --turns does not name."""
    voices = {}
    for voice in options.enroll:
        name, _, path = voice.partition("=")
        if not path:
            raise ValueError(f"--enroll {voice!r} must be NAME=PATH, as in anna=anna_calm.wav.")
        if name in voices:
            raise ValueError(f"--enroll {name} is given twice. Put the recordings into one folder and give that.")
        voices[name] = path
    if voices:
        speakers = {span.speaker for spans in formats.read_spans(options.turns).values() for span in spans} - {None}
        if unknown := voices.keys() - speakers:
            named = datadir.few(filter(None, speakers)) or "nobody"
            raise ValueError(f"--enroll {datadir.few(unknown)}: {options.turns} names {named}. Spell it as there.")
    return voices


def _tabled(
    options: argparse.Namespace, analyzer: Analyzer, paths: list, spans: Turns | None,
) -> tuple[list[tuple[str, str]], list]:
    """Write the table, going on where an earlier run was stopped; (name, reason) of what could not be scored, and the
    answers to write timelines of."""
    decided = {name: given for name in ("channels", "turns", "baseline", "enroll", "precision")
               if (given := getattr(options, name)) and given not in ("mix", PRECISIONS[0])}
    voices = [options.baseline, *(voice.partition("=")[2] for voice in options.enroll)]
    contents = [formats.turns_digest(options.turns)] if options.turns else []
    if contents := contents + [files.content(voice) for voice in voices if voice]:
        decided["contents"] = contents
    with scores.growing(
        options.output, analyzer, paths, decided, beside=options.timelines,
        overwrite=options.overwrite or _is_pipe(options) and earlier.holds_only(options.output, "-"),
    ) as table:
        if table.done == len(paths):
            print(f"{options.output} is whole: {table.done} recordings, by this model. --overwrite scores them again.",
                  file=sys.stderr)
            return table.failed, []
        known = table.num_with_rows
        if known:
            print(f"{options.output}: going on after {known} of {len(paths)} recordings", file=sys.stderr)

        def settled() -> Iterator:
            for chunk in scores.chunks(table.ahead):
                for answer in _answers(options, analyzer, table.without_rows(chunk), spans):
                    table.add(answer)
                    yield answer
                table.settle(table.done + len(chunk))

        try:
            _, kept = _told(options, _followed(settled(), len(paths), known), show=False)
        except KeyboardInterrupt:
            if options.timelines:
                told = "with --timelines the same command begins anew"
            else:
                told = f"the same command goes on after {table.num_with_rows} of {len(paths)} recordings"
            print(f"{options.output}: {told}", file=sys.stderr)
            raise
        return table.failed, kept


def _told(options: argparse.Namespace, answers: Iterable, show: bool) -> tuple[list[tuple[str, str]], list]:
    """Take all answers and show them; (name, reason) of what could not be scored, and those to write timelines of."""
    failed, kept = [], []
    for answer in answers:
        if isinstance(answer, FileError):
            failed.append((answer.name, answer.reason))
            continue
        if options.timelines:
            kept.append(answer)
        if show:
            print(_readable(answer))
    return failed, kept


def listen(options: argparse.Namespace) -> None:
    """`emotion listen`: a line for each second of the microphone, and the answer to all of it at the end."""
    if options.timelines:
        _refuse_written(options.timelines, "Give another name, or remove it.")
        formats.check_path(options.timelines)
    analyzer = analyzer_of(options, windows=WindowConfig(length_seconds=4.0, hop_seconds=1.0))
    device = int(options.input) if (options.input or "").isdecimal() else options.input
    stream, heard = analyzer.stream(analyzer.sample_rate, "microphone"), 0.0
    print(f"listening; a moment is told {stream.delay_seconds:.1f} s later, the first after "
          f"{stream.first_delay_seconds:.1f} s. Ctrl-C ends.", file=sys.stderr)
    blocks = live.microphone(analyzer.sample_rate, device)
    try:
        for block in blocks:
            if steps := stream.feed(block):
                print(_moment(steps, analyzer.labels), flush=True)
            heard += len(block) / analyzer.sample_rate
            if options.seconds and heard >= options.seconds:
                break
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        blocks.close()
    answer = stream.close()
    print(_readable(answer))
    if options.timelines:
        formats.write(answer, options.timelines)


def report(options: argparse.Namespace) -> int:
    """`emotion report`: a scored folder as one page; the exit code."""
    from .report import EmbedConfig, check_path, write

    check_path(options.output)
    embed = EmbedConfig(
        file_bytes=megabytes("--embed-mb", options.embed_mb),
        total_bytes=megabytes("--embed-total-mb", options.embed_total_mb),
    )
    paths = _found(options.source)
    analyzer = analyzer_of(options)
    answers = write(
        analyzer.analyze(options.source), options.output, analyzer, options.source, embed,
        "bundled" if options.model is None else options.model,
    )
    answers = _followed(answers, len(paths))
    failed = [(answer.name, answer.reason) for answer in answers if isinstance(answer, FileError)]
    print(options.output)
    return _tell(failed, len(paths))


def analyzer_of(options: argparse.Namespace, **settings) -> Analyzer:
    """The Analyzer of --model, --device, --threads and, where a command has it, --precision."""
    return Analyzer(
        options.model, options.device, threads=options.threads or available_cores(),
        precision=getattr(options, "precision", PRECISIONS[0]), **settings,
    )


def _on_cluster(options: argparse.Namespace) -> int:
    """`emotion score --ray`: parts of a table; the exit code."""
    from . import cluster

    unused = ("timelines", "turns", "baseline", "enroll", "raw", "rate", "raw_channels", "overwrite")
    given = [f"--{name.replace('_', '-')}" for name in unused if getattr(options, name)]
    given += ["--precision"] if options.precision != PRECISIONS[0] else []
    if len(options.sources) > 1:
        raise ValueError("--ray takes one source: a list (.txt) names many recordings.")
    if given or options.channels == "separate":
        raise ValueError(f"--ray tells one answer for each recording: leave out {' '.join(given) or '--channels'}.")
    if not options.output:
        raise ValueError("--ray writes many parts. Add -o FOLDER for them.")
    recordings, seconds, failed, started = 0, 0.0, 0, time.monotonic()
    for part in cluster.score(
        options.sources[0], options.output, options.model, options.device, options.ray or None, actors=options.threads,
    ):
        recordings, seconds, failed = recordings + part.recordings, seconds + part.seconds, failed + part.failed
        print(f"{recordings} recordings, {seconds / 3600:.2f} hours, {failed} failed", file=sys.stderr)
    _tell_rate(recordings, seconds, time.monotonic() - started)
    if failed:
        print(f"{failed} of {recordings} recordings could not be scored: column error says why.", file=sys.stderr)
    return 1 if failed else 0


def _answers(options: argparse.Namespace, analyzer, paths: list, spans: Turns | None) -> Iterator:
    """The answers that are asked for; nothing is read before the first is taken, so that the rate counts reading."""
    if _is_pipe(options):
        yield from _piped(options, analyzer)
    elif spans is not None:
        yield from _by_turns(analyzer, paths, options.turns, spans, options.baseline)
    else:
        yield from analyzer.analyze(iter(paths), channels=options.channels, speaker=options.baseline)


def _piped(options: argparse.Namespace, analyzer) -> Iterator:
    """The answer to standard input, or one for each of its channels."""
    rate, blocks = live.piped(sys.stdin.buffer, options.raw, options.rate, options.raw_channels or 1)
    streams: dict = {}
    for block in blocks:
        parts = {None: block.mean(0)} if options.channels == "mix" else dict(enumerate(block, 1))
        for channel, part in parts.items():
            streams.setdefault(channel, analyzer.stream(rate, "-")).feed(part)
    if not streams:
        raise ValueError("standard input holds no samples. Send some.")
    for channel, stream in streams.items():
        yield replace(stream.close(), channel=channel)


def _by_turns(analyzer, paths: list, file: str, spans: Turns, speaker: str | None) -> Iterator:
    """An answer for each path, to the turns that the file tells of it."""
    for path in paths:
        own = spans.get(os.fspath(path))
        try:
            yield analyzer.analyze(path, spans=own, speaker=speaker) if own else FileError(
                os.fspath(path), f"{file} has no turns of it, under its path, name or stem. Name it there.")
        except audio.AudioError as error:
            yield FileError(os.fspath(path), f"{error.reason}. {error.remedy}")


def _moment(steps: list, labels: Sequence[str]) -> str:
    """Some steps as a line for a person."""
    time_seconds = steps[-1].time_seconds
    if sum(step.speech for step in steps) < 0.5 * len(steps):
        return f"{time_seconds:8.1f} s  -"
    shares = sum(step.probabilities for step in steps) / len(steps)
    p = float(shares.max())
    return f"{time_seconds:8.1f} s  {labels[int(shares.argmax())]:<10} {100 * p:5.1f} %  {'#' * round(40 * p)}"


def _followed(answers: Iterator, total: int, done: int = 0) -> Iterator:
    """The answers, with progress shown; then how many there were and how fast. done: of the total, before."""
    seconds, started = 0.0, time.monotonic()
    scored, last = 0, None
    with _bar(total, done) as bar:
        for answer in answers:
            is_new, last = answer.name != last, answer.name   # not another channel of it
            if is_new and not isinstance(answer, FileError):
                seconds, scored = seconds + answer.duration_seconds, scored + 1
            if is_new and bar is not None:
                bar.set_postfix_str(f"{seconds / (time.monotonic() - started):.0f} s of audio per s", refresh=False)
                bar.update()
            yield answer
    _tell_rate(scored, seconds, time.monotonic() - started)


def _tell_rate(scored: int, seconds: float, elapsed: float) -> None:
    audio_length = f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds:.0f} s"
    print(
        f"scored {scored} recordings, {audio_length} of audio, in {elapsed:.1f} s: "
        f"{seconds / elapsed:.0f} s of audio per second", file=sys.stderr,
    )


def _bar(total: int, done: int):
    """A context of progress, or of None without tqdm: an exported model answers where little is installed."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return nullcontext()
    return tqdm(total=total, initial=done, unit="file", file=sys.stderr, dynamic_ncols=True)


def megabytes(option: str, value: float) -> int:
    """Bytes. Raises: ValueError for what is no size; inf is as many as there are."""
    if not value >= 0:
        raise ValueError(f"{option} {value} must be 0 or more megabytes, or inf for no limit.")
    return round(1e6 * min(value, 1e12))


def _found(directory: str) -> list[Path]:
    paths = audio.find(directory)
    if not paths:
        told = " A Kaldi data directory is scored with --ray." if Path(directory, "wav.scp").is_file() else ""
        raise ValueError(f"no recordings below {directory}: none ends in {' '.join(sorted(audio.EXTENSIONS))}.{told}")
    return paths


def _tell(failed: Sequence[tuple[str, str]], total: int) -> int:
    """Name the recordings that failed; the exit code. A recording whose channels failed alike is named once."""
    failed = list(dict.fromkeys(failed))
    if failed:
        print(f"{len({name for name, _ in failed})} of {total} recordings could not be scored:", file=sys.stderr)
        for name, reason in failed:
            print(f"  {printable(name)}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _between(value: float) -> str:
    """Where a value lies from 0 to 1: ....|......"""
    place = round(40 * value)
    return "." * place + "|" + "." * (40 - place)


def _readable(answer) -> str:
    """A Timeline as lines for a person."""
    channel = f", channel {answer.channel}" if answer.channel else ""
    lines = [f"{printable(answer.name)}{channel}  ({answer.duration_seconds:.2f} s)", ""]
    if answer.label == "unknown" and tell_apart(answer.labels):
        lines[1:] = [f"  unknown: the model holds back below {100 * answer.unknown_below:.1f} %", ""]
    for p, label in sorted(zip(answer.probabilities, answer.labels), reverse=True):
        lines.append(f"  {label:<10} {100 * p:5.1f} %  {'#' * round(40 * p)}")
    lines.append("")
    for name, value in answer.dimensions.items():
        lines.append(f"  {name:<10}   {value:.2f}  {_between(value)}")
    lines += [""] if answer.dimensions else []
    for part in answer.segments:
        span = f"{part.start_seconds:7.2f} - {part.end_seconds:7.2f} s"
        speaker = f"  {printable(part.speaker)}" if part.speaker else ""
        lines.append(f"  {span}  {part.label:<10} {100 * part.confidence:5.1f} %{speaker}")
    return "\n".join(lines + ([f"  flags: {', '.join(answer.flags)}"] if answer.flags else []))
