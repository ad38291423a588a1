"""Feeds damaged files to everything that reads files, and tells where that ends otherwise than documented.

    python tests/fuzz.py --seconds 60               all targets, one after the other
    python tests/fuzz.py audio --seconds 600 --seed 7
    python tests/fuzz.py formats --guided           by coverage, where atheris is installed

A target must return, or raise one of the errors that it documents with a message that names the file; within SLOWEST
seconds and with at most MEMORY bytes more. What does otherwise is kept in --out, once for each place in the code:
the files that did it, and finding.txt with the seed and the traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import pickle
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType

import badfiles
import numpy as np

from emotion import audio, checkpoint, datacheck, datadir, formats, labels, listing, live, splits
from emotion.features import FrontendConfig
from emotion.posteriors import Posteriors
from emotion.timeline import Segment, Timeline
from emotion.train import config

SLOWEST = 5.0   # seconds of one input; C code that does not come back in four times that is ended
MEMORY = 1 << 30   # bytes that a target may take beyond what the program itself does
DOCUMENTED = (ValueError, OSError)   # DataError, FormatError and all others of the package are among them
GUIDED_BY = ("emotion", "omegaconf", "yaml", "json", "csv", "tarfile")   # modules whose lines count as reached
NUMBERS = (0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 32_767, 32_768, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
WORDS = tuple(
    b"0|-1|nan|inf|1e999|1e-999|99999999999999999999|null|[]|{}|\"|'|\\|~|&a|*a|<<|!!python/none|%FF|\xff|\xed\xa0\x80|"
    b"\xe2\x80\xa8|\xc2\xa0|\0|\r|\n|\n\n|\t| |,|:|: |- |#|;|${a}|${oc.env:HOME}|???|..|/|a-1|<s>|^".split(b"|")
)

Files = dict[str, bytes]   # of one input, by name


@dataclass(frozen=True)
class Target:
    """What reads, and files that it reads well, to be damaged."""

    seeds: Callable[[], list[Files]]
    read: Callable[[Path], object]   # of the folder that holds the files
    text: bool = False   # lines and words are worth moving about


class TooSlow(BaseException):
    pass


# Damage

def damaged(rng: random.Random, seeds: list[Files], text: bool) -> Files:
    """One of the seeds with some faults in some of its files."""
    files = dict(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 9))):
        name = rng.choice(list(files))
        other = rng.choice(seeds).get(name, b"")
        faults = (_overwrite, _number, _move, _splice, _cut, *((_word, _line) * 3 if text else ()))
        files[name] = rng.choice(faults)(rng, files[name], other)[:1 << 20]
    if rng.random() < 0.03 and len(files) > 1:
        del files[rng.choice(list(files))]
    return files


def _place(rng: random.Random, content: bytes) -> int:
    """Headers are where most is decided."""
    return rng.randrange(1 + min(len(content), rng.choice((16, 64, 256, 1 << 20))))


def _overwrite(rng: random.Random, content: bytes, other: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1:]


def _number(rng: random.Random, content: bytes, other: bytes) -> bytes:
    at, size = _place(rng, content), rng.choice((1, 2, 4, 8))
    value = (rng.choice(NUMBERS) + rng.choice((-1, 0, 0, 1))) % 2 ** (8 * size)
    return content[:at] + value.to_bytes(size, rng.choice(("little", "big"))) + content[at + size:]


def _move(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """A stretch taken out, doubled, or put elsewhere."""
    at, length = _place(rng, content), rng.choice((1, 2, 4, 8, 100, 5_000))
    part, rest = content[at : at + length], content[:at] + content[at + length :]
    to = rng.choice((at, _place(rng, rest)))
    return rest[:to] + part * rng.choice((0, 1, 2, 2, 50)) + rest[to:]


def _splice(rng: random.Random, content: bytes, other: bytes) -> bytes:
    return content[: _place(rng, content)] + other[_place(rng, other):]


def _cut(rng: random.Random, content: bytes, other: bytes) -> bytes:
    return content[: _place(rng, content)]


def _word(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """Another word in the place of one."""
    parts = re.split(rb"(\W+)", content)
    at = rng.randrange(len(parts))
    parts[at] = rng.choice((*WORDS, rng.choice(parts), parts[at] + rng.choice(WORDS)))
    return b"".join(parts)


def _line(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """A line taken out, doubled, or one of another file put in."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    put = rng.choice(([], [lines[at]] * 2, [rng.choice(other.split(b"\n"))]))
    return b"\n".join(lines[:at] + put + lines[at + 1 :])


# Targets

def _waveforms() -> list[Files]:
    voice, files = badfiles.voice(0.3), []
    for name, format, subtypes in (
        ("a.wav", "WAV", ("PCM_16", "PCM_24", "FLOAT", "IMA_ADPCM", "GSM610")),
        ("a.flac", "FLAC", ("PCM_16", "PCM_24")),
        ("a.ogg", "OGG", ("VORBIS", "OPUS")), ("a.mp3", "MP3", ("MPEG_LAYER_III",)), ("a.aiff", "AIFF", ("PCM_16",)),
        ("a.w64", "W64", ("PCM_16",)), ("a.rf64", "RF64", ("PCM_16",)), ("a.caf", "CAF", ("PCM_16", "ALAC_16")),
        ("a.au", "AU", ("PCM_16", "ULAW")), ("a.sph", "NIST", ("PCM_16",)),
    ):
        for subtype in subtypes:
            files.append({name: badfiles.encoded(voice, format=format, subtype=subtype)})
            if subtype not in ("GSM610", "OPUS"):
                files.append({name: badfiles.encoded(np.stack([voice] * 2, 1), 44_100, format, subtype)})
    return files + [{"a.wav": case.make} for case in badfiles.CHUNKS if len(case.make) < 1 << 17]


def _read_audio(folder: Path) -> None:
    path = next(folder.iterdir())
    for read in (
        audio.duration, audio.num_channels, lambda path: sum(map(len, audio.blocks(path, block_seconds=1))),
        lambda path: audio.read(path, 16_000, 0.1, 0.2), lambda path: audio.read(open(path, "rb")),
    ):
        with contextlib.suppress(audio.AudioError):
            read(path)
    with open(path, "rb") as file, contextlib.suppress(audio.AudioError):
        for _ in live.piped(file)[1]:
            pass
    audio.read(path)


def _films() -> list[Files]:
    import av

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, codec, rate in (("a.m4a", "aac", 16_000), ("a.webm", "libopus", 48_000),
                                  ("a.mkv", "pcm_s16le", 16_000)):
            path, samples = Path(folder, name), (9e3 * badfiles.voice(0.5, rate)).astype(np.int16)[None]
            with av.open(str(path), "w") as container:
                stream = container.add_stream(codec, rate=rate)
                frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
                frame.sample_rate = rate
                container.mux([packet for part in (frame, None) for packet in stream.encode(part)])
            found.append({name: path.read_bytes()})
    return found


def _tables() -> list[Files]:
    """Data directories: of whole recordings, and of spans with all tables."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for spans in (False, True):
            utterances = [
                datadir.Utterance(f"{who}-{take}", who, f"{who}{take}.wav", emotion, take if spans else None,
                                  take + 0.5 if spans else None, 1.5, sex)
                for who, sex in (("a", "f"), ("b", "m")) for take, emotion in enumerate(("anger", "neutral", "fear"))
            ]
            datadir.write(Path(folder, str(spans)), utterances)
            files = {path.name: path.read_bytes() for path in Path(folder, str(spans)).iterdir()}
            for name, table in datacheck.TABLES.items():
                ids = {"utterance": [u.id for u in utterances], "speaker": ["a", "b"]}.get(table.ids)
                if spans and ids and name not in files:
                    files[name] = "".join(f"{key} {1 if table.accepts('1') else 'm'}\n" for key in ids).encode()
            found.append(files)
    return found


def _read_tables(folder: Path) -> None:
    datacheck.validate(folder)   # finds all there is to say, and raises nothing
    with contextlib.suppress(*DOCUMENTED):
        datadir.read(folder, allow_pipes=True)
    datacheck.fix(folder)
    problems = [line for line in datacheck.validate(folder) if "do not exist" not in line]
    assert not problems, f"{folder}: mended, and yet {problems}"
    datadir.read(folder, allow_pipes=True)


def _settings() -> list[Files]:
    recipes = Path(__file__).parents[1] / "recipes"
    found = [{"a.yaml": path.read_bytes()} for path in recipes.glob("*/conf/*.yaml") if path.stem != "labels"]
    found = [files for files in found if b"extends" not in files["a.yaml"]]
    return found + [{"a.yaml": b"extends: b.yaml\nscheme: mini5\nfit: {max_epochs: 3}\n", "b.yaml": found[0]["a.yaml"]}]


def _folds() -> list[Files]:
    return [{"a.yaml": path.read_bytes()} for path in
            (Path(__file__).parents[1] / "recipes").glob("*/conf/splits/*.yaml")]


def _models() -> list[Files]:
    import torch

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, options in (("serial", {"channels": [4], "pools": [[2, 2]], "stem_stride": [2, 2], "features": 4,
                                          "lstm_width": 4}), ("lstm", {"width": 4, "layers": 1})):
            with contextlib.suppress(ValueError):
                model = checkpoint.build(name, options, FrontendConfig(num_bands=8), labels.scheme("mini5"),
                                         neutral=torch.zeros(3, 1, 8), train_speakers=("a",))
                checkpoint.write(model, Path(folder, "a.safetensors"))
                found.append({"a.safetensors": Path(folder, "a.safetensors").read_bytes()})
    return found


def _answers() -> list[Files]:
    """A timeline in each format that is one file, and what says where to listen."""
    parts = tuple(Segment(start, start + 1.25, label, 0.5, (0.5, 0.3, 0.2), who) for start, label, who in (
        (0.0, "anger", "anna"), (1.25, "fear", "bo b"), (3.0, 'sad"ness', "anna")))
    answer = Timeline("calls/a b.wav", ("anger", "fear", "sadness"), 5.0, np.array([0.5, 0.3, 0.2]), np.empty(0),
                      np.empty((0, 3)), np.empty(0), parts)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for ending in filter(None, formats.FORMATS):
            path = Path(folder, f"a{ending}")
            formats.write(answer, path)
            found.append({path.name: path.read_bytes()})
    spans = {"segments": b"anna-1 a 0.0 1.25\nbob-1 a 1.0 2.5\n", "utt2spk": b"anna-1 anna\nbob-1 bob\n"}
    return [*found, spans, {"a.csv": b"file,start,duration,speaker\na.wav,0.5,1.5,anna\na.wav,1,2,bob\n"}]


def _read_answers(folder: Path) -> None:
    path = folder / "segments" if (folder / "segments").exists() else next(folder.iterdir())
    if path.suffix in ("", ".rttm", ".csv"):
        with contextlib.suppress(formats.FormatError):
            formats.read_spans(path)
    if path.suffix not in ("", ".vtt"):
        for answer in formats.read(path):
            assert all(0 <= part.start_seconds < part.end_seconds for part in answer.segments), f"{path}: odd times"
            answer.to_dict()


def _lists() -> list[Files]:
    import io
    import tarfile

    shard = io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as tar:
        for name in ("a.wav", "b/c.flac", "a.txt"):
            member = tarfile.TarInfo(name)
            member.size = 99
            tar.addfile(member, io.BytesIO(bytes(99)))
    return [{"a.tar": shard.getvalue()}, {"a.txt": b"a.wav\nb/c.flac\n"},
            {"wav.scp": b"a a.wav\nb b.wav\n", "segments": b"a-1 a 0 1\nb-1 b 0.5 2.5\n"}]


def _read_lists(folder: Path) -> None:
    single = next((folder / name for name in ("a.tar", "a.txt") if (folder / name).exists()), folder)
    for entry in listing.entries(single):
        with contextlib.suppress(audio.AudioError):
            entry.read(16_000)


def _posteriors() -> list[Files]:
    return [{"a.csv": b"utterance,speaker,emotion,p_anger,p_fear\na-1,a,anger,0.75,0.25\nb-1,b,fear,0.5,0.5\n"}]


TARGETS = {
    "audio": Target(_waveforms, _read_audio),
    "media": Target(_films, lambda folder: audio.read(next(folder.iterdir()))),
    "datadir": Target(_tables, _read_tables, text=True),
    "config": Target(_settings, lambda folder: config.read(folder / "a.yaml"), text=True),
    "splits": Target(_folds, lambda folder: splits.read(folder / "a.yaml"), text=True),
    "checkpoint": Target(_models, lambda folder: checkpoint.read(folder / "a.safetensors"), text=True),
    "formats": Target(_answers, _read_answers, text=True),
    "listing": Target(_lists, _read_lists, text=True),
    "posteriors": Target(_posteriors, lambda folder: Posteriors.read(folder / "a.csv"), text=True),
}


# Running

def check(target: Target, files: Files, folder: Path) -> str | None:
    """The traceback of what is not documented, or None. The folder is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    signal.setitimer(signal.ITIMER_REAL, SLOWEST)
    try:
        target.read(folder)
    except DOCUMENTED as error:
        if str(folder) in str(error) or str(folder) in os.fsdecode(getattr(error, "filename", None) or ""):
            return None
        return "does not name the file\n" + traceback.format_exc()
    except KeyboardInterrupt:
        raise
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def inputs(name: str, seeds: list[Files], seed: int) -> Iterator[Files]:
    rng = random.Random(f"{name} {seed}")
    while True:
        yield damaged(rng, seeds, TARGETS[name].text)


def place(told: str) -> str:
    """Where in the package, and as what, an error came up: what is alike is told once."""
    lines = re.findall(r'File "[^"]*/emotion/(\S+?)", line (\d+)', told)
    kind = told.strip().splitlines()[-1].partition(":")[0]
    return f"{lines[-1] if lines else ''} {kind} {'unnamed' if 'does not name the file' in told else ''}"


def keep(out: Path, name: str, files: Files, told: str) -> None:
    number = sum(1 for _ in out.glob(f"{name}-*"))
    (out / f"{name}-{number}").mkdir(parents=True)
    for file, content in files.items():
        (out / f"{name}-{number}" / file).write_bytes(content)
    (out / f"{name}-{number}" / "finding.txt").write_text(told, errors="backslashreplace")


def _limit() -> None:
    """Bounds memory and time of this process."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def slow(*_):
        raise TooSlow(f"over {SLOWEST} s")

    signal.signal(signal.SIGALRM, slow)


def _child(name: str, seeds: list[Files], seed: int, seconds: float, out: Path, counts: int) -> None:
    """Reads damaged files until time is up; tells the parent of each, so that it can see a crash."""
    _limit()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)   # decoders complain there
    seen = {place(path.read_text()) for path in out.glob(f"{name}-*/finding.txt")}
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        for files in inputs(name, seeds, seed):
            if time.monotonic() > end:
                break
            (out / "current").write_bytes(pickle.dumps(files))
            told = check(TARGETS[name], files, Path(folder, "case"))
            if told and place(told) not in seen:
                seen.add(place(told))
                keep(out, name, files, f"{name} of seed {seed}\n{told}")
                os.write(counts, b"!")
            os.write(counts, b".")


def run(name: str, seconds: float, seed: int, out: Path) -> tuple[int, int]:
    """Damages, reads and counts: (inputs, findings). A child does it, as what it reads may end it."""
    execs = findings = 0
    end, seeds = time.monotonic() + seconds, TARGETS[name].seeds()
    while time.monotonic() < end:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _child(name, seeds, seed + execs, end - time.monotonic(), out, writer)
            finally:
                os._exit(0 if time.monotonic() > end else 2)
        os.close(writer)
        told, hung = b"", False
        while (ready := _ready(reader, 4 * SLOWEST)) and (chunk := os.read(reader, 1 << 16)):
            told += chunk
        if not ready:
            hung = True
            os.kill(child, signal.SIGKILL)
        os.close(reader)
        status = os.waitpid(child, 0)[1]
        execs, findings = execs + told.count(b"."), findings + told.count(b"!")
        if status:
            keep(out, name, pickle.loads((out / "current").read_bytes()),
                 "hangs in C" if hung else f"ended with status {status}")
            execs, findings = execs + 1, findings + 1
    return execs, findings


def _ready(reader: int, seconds: float) -> bool:
    return bool(select.select([reader], [], [], seconds)[0])


def guided(name: str, seconds: float, seed: int, out: Path) -> None:
    """libFuzzer chooses what to damage, by the lines of the package that it reaches. Ends the process."""
    import atheris

    target, seen, count = TARGETS[name], set(), [0]
    seeds = target.seeds()
    corpus = out / f"corpus-{name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, files in enumerate(seeds):
        for key, content in files.items():
            (corpus / f"{i}-{key}").write_bytes(bytes([i]) + content)

    def one(content: bytes) -> None:
        """The first byte says which seed, and which of its files the rest stands for."""
        number = content[0] if content else 0
        files = dict(seeds[number % len(seeds)])
        files[list(files)[number // len(seeds) % len(files)]] = content[1:]
        told = check(target, files, out / "case")
        count[0] += 1
        if told and place(told) not in seen:
            seen.add(place(told))
            keep(out, name, files, told)
        if count[0] % 1000 == 0:
            print(f"{name}: {count[0]} inputs, {len(seen)} findings", flush=True)

    for function in gc.get_objects():
        if isinstance(function, FunctionType) and (function.__module__ or "").partition(".")[0] in GUIDED_BY:
            atheris.instrument_func(function)
    arguments = [f"-max_total_time={round(seconds)}", f"-seed={seed}", "-rss_limit_mb=3000", "-timeout=20",
                 "-max_len=65536", "-print_final_stats=1", f"-artifact_prefix={out}/{name}-"]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (default 60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="folder for findings (default fuzz)")
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris; one target")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.guided:
        guided(options.targets[0], options.seconds, options.seed, options.out)
    total = 0
    for name in options.targets or TARGETS:
        execs, findings = run(name, options.seconds, options.seed, options.out)
        total += findings
        print(f"{name}: {execs} inputs in {options.seconds:.0f} s, {findings} findings", flush=True)
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
