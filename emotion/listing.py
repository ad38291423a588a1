"""What is to be scored, one entry for each recording: folders, lists, Kaldi data directories, tar shards, addresses.

    calls/                        all recordings below a folder
    train/                        with wav.scp: a Kaldi data directory, by its segments where it has some
    calls.txt                     a path or an address in each line
    shards/*.tar                  members of tar files, as WebDataset has them
    s3://bucket/calls             all below an address that fsspec knows; *.tar there too

Nothing is unpacked: a member is read from where it lies in its tar file.
"""

from __future__ import annotations

import glob
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from . import audio, datadir, decoder


@dataclass(frozen=True)
class Entry:
    """One recording, or a span of it in seconds; in a tar file, `size` bytes from `offset`."""

    name: str
    address: str
    start_seconds: float = 0.0
    stop_seconds: float | None = None
    offset: int = 0
    size: int | None = None

    def read(self, sample_rate: int) -> np.ndarray:
        """Mono float32 (samples,). Raises: AudioError, also where it cannot be fetched."""
        if "://" not in self.address:
            decoder.check_file(self.address, self.name)
        try:
            with _open(self.address) as file:
                file.seek(self.offset)
                content = _Named(file.read(-1 if self.size is None else self.size))
        except Exception as error:   # the services behind addresses raise kinds of their own
            raise audio.AudioError(self.name, f"cannot be fetched ({_reason(error)})", "Check its address.") from error
        content.name = self.name
        return audio.read(content, sample_rate, self.start_seconds, self.stop_seconds)


class _Named(BytesIO):
    """What has the ending that tells how to decode it."""

    name = ""


def entries(source: str | os.PathLike) -> list[Entry]:
    """The recordings of a source, each name once.

    Raises: ValueError where there is none, or a name stands for two; what `audio.find` and the file system raise.
    """
    found = list(_entries(os.fspath(source)))
    if not found:
        raise ValueError(f"no recordings in {source}. Name a folder, a list (.txt), .tar files, or an address.")
    names = {entry.name for entry in found}
    if len(names) < len(found):
        raise ValueError(f"{source} names {len(found) - len(names)} recordings twice: their rows could not be told "
                         "apart. Name each once.")
    return found


def _entries(source: str) -> Iterator[Entry]:
    if "://" in source:
        yield from _remote(source)
    elif source.endswith(".tar"):
        for shard in sorted(glob.glob(source)):
            yield from _members(shard)
    elif os.path.isfile(os.path.join(source, "wav.scp")):
        yield from _kaldi(Path(source))
    elif os.path.isdir(source):
        for path in audio.find(source):
            yield Entry(os.fspath(path), os.path.abspath(path))
    else:
        for line in Path(source).read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n"):
            if name := line.strip():
                yield Entry(name, name if "://" in name else os.path.abspath(name))


def _kaldi(directory: Path) -> Iterator[Entry]:
    """Spans of segments, or whole recordings, by their ids; labels are not needed."""
    wavs = dict(datadir.read_table(directory / "wav.scp"))
    if pipes := [recording for recording, wav in wavs.items() if wav.endswith("|")]:
        raise ValueError(f"{directory / 'wav.scp'} has shell commands for {datadir.few(pipes)}: reading would run "
                         "them. Convert the audio to files.")
    if not (directory / "segments").exists():
        for recording, wav in wavs.items():
            yield Entry(recording, os.path.abspath(wav))
        return
    for utterance, line in datadir.read_table(directory / "segments"):
        try:
            recording, start, stop = datadir.words(line)
            yield Entry(utterance, os.path.abspath(wavs[recording]), float(start), float(stop))
        except (ValueError, KeyError):
            raise ValueError(f"{directory / 'segments'}: {utterance} {line} needs <recording> <start> <end>, and the "
                             "recording in wav.scp. Correct it.") from None


def _members(address: str) -> Iterator[Entry]:
    try:
        with _open(address) as file, tarfile.open(fileobj=file, mode="r:") as shard:
            for member in shard:
                if member.isfile() and os.path.splitext(member.name)[1].lower() in audio.EXTENSIONS:
                    yield Entry(f"{address}/{member.name}", address, offset=member.offset_data, size=member.size)
    except tarfile.TarError as error:
        raise ValueError(f"{address} is cut or no tar file ({error}). Copy it again from its source.") from error
    except Exception as error:   # of the kinds of a service
        if "://" not in address:
            raise
        raise ValueError(f"{address} cannot be read ({_reason(error)}). Check the address and its service.") from error


def _remote(source: str) -> Iterator[Entry]:
    core = _fsspec().core
    try:
        system, path = core.url_to_fs(source)
        paths = system.glob(path) if "*" in path else system.find(path)
    except Exception as error:   # of kinds of its own, or that the library for this service is not installed
        raise ValueError(f"{source} cannot be listed ({_reason(error)}). Check the address and its service.") from error
    for found in sorted(paths):
        address, ending = system.unstrip_protocol(found), os.path.splitext(found)[1].lower()
        if ending == ".tar":
            yield from _members(address)
        elif ending in audio.EXTENSIONS:
            yield Entry(address, address)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _open(address: str):
    return _fsspec().open(address, "rb") if "://" in address else open(address, "rb")


def _fsspec():
    try:
        import fsspec
    except ModuleNotFoundError:
        raise ModuleNotFoundError("no fsspec: it reads addresses. pip install 'emotion[ray]'") from None
    return fsspec
