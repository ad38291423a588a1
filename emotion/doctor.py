"""Does everything work here? What is installed, what it runs on, what could be had more, and what is broken.

Everything is imported where it is looked at, so that what is missing is told instead of ending the examination.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from . import __version__

NEEDED = (
    "torch", "torchaudio", "numpy", "librosa", "soundfile", "soxr", "scipy", "scikit-learn", "lightning", "tensorboard",
    "omegaconf", "matplotlib", "safetensors", "silero-vad", "tqdm",
)
NEEDED_EXPORTED = ("numpy", "soundfile", "soxr", "onnxruntime")   # for a model.onnx
EXTRAS = {   # what each gives, and its packages
    "media": ("reads m4a, mp4 and webm", ("av",)),
    "listen": ("hears the microphone", ("sounddevice",)),
    "explain": ("draws what spoke for an answer", ("captum",)),
    "export": ("writes and answers ONNX", ("onnx", "onnxruntime")),
    "parquet": ("writes Parquet and data frames", ("pandas", "pyarrow")),
    "ray": ("scores on a cluster", ("ray", "pyarrow", "fsspec")),
    "serve": ("answers a browser", ("fastapi", "starlette", "python-multipart", "uvicorn")),
}
ENCODINGS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
             "mp3": ("MP3", "MPEG_LAYER_III")}
TRIAL_SECONDS, TRIAL_RECORDINGS = 6.0, 20


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. A remedy stands where something is missing; broken: something that is needed."""

    topic: str
    name: str
    told: str
    remedy: str = ""
    broken: bool = False


def examine(
    model: str | None = None, device: str = "auto", threads: int | None = None, folder: str | os.PathLike = ".",
) -> Iterator[Finding]:
    """All findings, in order; never an error, whatever is missing.

    model: what is to answer, as for Analyzer; an exported one does without PyTorch.   folder: where outputs would go.
    """
    exported = model is not None and Path(model).suffix.lower() == ".onnx"
    parts = {
        "versions": lambda: _versions(exported),
        "devices": lambda: _devices(exported),
        "extras": _extras,
        "decoders": _decoders,
        "model": lambda: _model(model, device, threads),
        "folder": lambda: _folder(Path(folder)),
    }
    for topic, look in parts.items():
        try:
            yield from look()
        except Exception as error:   # a half-installed library raises whatever it likes
            reason = " ".join(str(error).split()) or type(error).__name__
            ours = isinstance(error, ValueError) or topic == "model" and isinstance(error, OSError)   # these tell
            remedy = "" if ours else "Install what it names, or install it anew."
            yield Finding(topic, topic, f"fails: {reason}", remedy, broken=True)


def healthy(findings: Iterable[Finding]) -> bool:
    """Is nothing broken that is needed?"""
    return not any(finding.broken for finding in findings)


def page(findings: Sequence[Finding]) -> str:
    """The findings by topic, then each problem with its remedy."""
    lines, topic = [], ""
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            lines += ["", topic]
        lines.append(f"  {finding.name:<17} {finding.told}")
    for title, chosen in (("could be had", False), ("broken", True)):
        amiss = [finding for finding in findings if finding.broken == chosen and (finding.remedy or chosen)]
        lines += ["", title] * bool(amiss)
        lines += [f"  {one.name}: {one.told.rstrip('.')}. {one.remedy}".rstrip() for one in amiss]
    end = "all that is needed works" if healthy(findings) else "something needed is broken"
    return "\n".join([*lines[1:], "", end])


def _versions(exported: bool) -> Iterator[Finding]:
    yield Finding("versions", "emotion", f"{__version__}, in {Path(__file__).parent}")
    yield Finding("versions", "python", f"{platform.python_version()}, {platform.platform()}")
    needed = NEEDED_EXPORTED if exported else NEEDED
    for name in needed:
        found = _version(name)
        remedy = "" if found else f"Install it: pip install {name}"
        if not found and name.startswith("torch"):
            remedy = ("Install both: pip install 'torch==2.11.*' 'torchaudio==2.11.*'; or answer with an exported "
                      "model (--model model.onnx).")
        yield Finding("versions", name, found or "not installed", remedy, broken=not found)
    if not exported and _version("torch") and _version("torchaudio"):
        yield _pair(_version("torch"), _version("torchaudio"))
    if _version("soundfile"):
        import soundfile

        yield Finding("versions", "libsndfile", soundfile.__libsndfile_version__)


def _pair(torch_version: str, torchaudio_version: str) -> Finding:
    """torchaudio is compiled against the torch of its number and of its build."""
    def build(version: str) -> tuple[str, ...]:
        number, _, local = version.partition("+")
        return (*number.split(".")[:2], local)

    if build(torch_version) == build(torchaudio_version):
        return Finding("versions", "torch, torchaudio", "match")
    return Finding(
        "versions", "torch, torchaudio", f"{torch_version} and {torchaudio_version} do not match",
        "Install two of one number from one place: pip install 'torch==2.11.*' 'torchaudio==2.11.*'", broken=True,
    )


def _devices(exported: bool) -> Iterator[Finding]:
    from .flow import available_cores

    yield Finding("devices", "processor", f"{available_cores()} of {os.cpu_count()} cores, {platform.machine()}")
    if exported:
        return
    import torch

    from .hardware import has_bfloat16

    for kind, device in (("processor", torch.device("cpu")), *_gpus()):
        fast = "in hardware" if has_bfloat16(device) else "not in hardware: float32 is faster"
        yield Finding("devices", f"bfloat16, {kind}", fast)
    for name, device in _gpus():
        memory = torch.cuda.get_device_properties(device).total_memory
        yield Finding("devices", name, f"{torch.cuda.get_device_name(device)}, {memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        yield Finding("devices", "mps", f"Apple GPU, {torch.mps.recommended_max_memory() / 2**30:.0f} GiB")
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        yield Finding("devices", "cuda", f"an NVIDIA driver is here, but torch {torch.__version__} does not use it",
                      "Install torch for CUDA (https://pytorch.org), or mend the driver: see what nvidia-smi says.")


def _gpus() -> list[tuple]:
    import torch

    return [(f"cuda:{k}", torch.device("cuda", k)) for k in range(torch.cuda.device_count())]


def _extras() -> Iterator[Finding]:
    for extra, (gives, packages) in EXTRAS.items():
        missing = [name for name in packages if not _version(name)]
        remedy = f"pip install 'emotion[{extra}]'" if missing else ""
        if missing:
            told = f"{gives}; not installed: {', '.join(missing)}"
        elif extra == "listen" and (fault := _microphone_fault()):
            told, remedy = fault, "Install PortAudio: apt-get install libportaudio2, brew install portaudio"
        else:
            told = f"{gives}: " + ", ".join(f"{name} {_version(name)}" for name in packages)
        yield Finding("extras", extra, told, remedy)


def _microphone_fault() -> str:
    try:
        import sounddevice  # noqa: F401
    except OSError as error:   # the package is there, the library that it calls is not
        return str(error)
    return ""


def _decoders() -> Iterator[Finding]:
    import numpy as np
    import soundfile

    from . import audio

    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    for name, (container, encoding) in ENCODINGS.items():
        file = io.BytesIO()
        try:
            soundfile.write(file, tone, 48_000, format=container, subtype=encoding)
            heard = audio.read(io.BytesIO(file.getvalue()))
            fault = "" if 0.3 < np.sqrt(np.mean(heard[4000:-4000] ** 2)) < 0.4 else "does not come back as it went in"
        except (ValueError, soundfile.SoundFileError) as error:
            fault = f"fails: {error}"
        remedy = "Install a newer libsndfile: pip install --upgrade soundfile" if fault else ""
        yield Finding("decoders", name, fault or "reads", remedy, broken=bool(fault))
    if _version("av"):
        import av

        lost = {"aac", "opus"} - av.codecs_available
        remedy = "Install a whole PyAV: pip install --force-reinstall av" if lost else ""
        yield Finding("decoders", "m4a, mp4, webm", f"lack {', '.join(sorted(lost))}" if lost else "reads", remedy)
    else:
        yield Finding("decoders", "m4a, mp4, webm", "need the extra media")


def _model(model: str | None, device: str, threads: int | None) -> Iterator[Finding]:
    import numpy as np

    from .analyzer import Analyzer, FileError

    analyzer = Analyzer(model, device, threads=threads)
    noise = np.random.default_rng(1).normal(0, 0.05, (TRIAL_RECORDINGS, round(TRIAL_SECONDS * 16_000)))
    trial = list(noise.astype(np.float32))
    analyzer.analyze(trial[:2], sample_rate=16_000)   # what is made once is not counted
    began = time.monotonic()
    answers = analyzer.analyze(trial, sample_rate=16_000)
    seconds = time.monotonic() - began
    for answer in answers:
        if isinstance(answer, FileError) or not np.isclose(np.sum(answer.probabilities), 1, atol=1e-3):
            raise ValueError(f"an answer is no probability: {answer}")
    speed = TRIAL_RECORDINGS * TRIAL_SECONDS / seconds
    named = "bundled" if model is None else model
    yield Finding("model", named, f"{', '.join(analyzer.labels)}; fingerprint {analyzer.fingerprint}")
    yield Finding("model", "speed", f"{speed:.0f} s of audio in a second, on {analyzer.device}, in a short trial")


def _folder(folder: Path) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Finding("folder", str(folder.absolute()), f"cannot be written: {error.strerror}",
                      "Work in a folder of yours, or give outputs another (-o).", broken=True)
        return
    free = shutil.disk_usage(folder).free
    yield Finding("folder", str(folder.absolute()), f"can be written, {free / 1e9:.0f} GB are free")


def _version(name: str) -> str:
    """Of an installed distribution, without importing it; empty where there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
