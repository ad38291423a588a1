"""Bad and odd recordings: what disks, tools, pipes and people leave in folders, and what is to be said of each.

    python tests/badfiles.py DIR        makes them all, for a look by hand

Three kinds: what must be answered as the plain recording is, to the last digit; what must be answered and last so long;
what must be refused, for a reason that matches a pattern.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
HEADER = 44   # bytes before the samples of the plainest WAV
PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")   # of WAVE_FORMAT_EXTENSIBLE, behind two bytes of the format
W64_RIFF = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")   # GUIDs of Sony's Wave64; the others end alike
W64_END = bytes.fromhex("f3acd3118cd100c04f8edb8a")
AUDIO, CUT, EMPTY, NOTHING, PLACE = "not audio", "cut", "is empty", "0 samples", "a device, not a file"


@dataclass(frozen=True)
class Case:
    """A name, what makes it at a path (bytes are written), and the pattern of the reason why it is refused.

    seconds: how long the answered one lasts; None: as long as PLAIN, and answered to the last digit as that is.
    """

    name: str | bytes
    make: bytes | Callable[[Path], None]
    reason: str | None = None
    seconds: float | None = None

    @property
    def file(self) -> str:
        return os.fsdecode(self.name)


def same(name: str | bytes, make: bytes | Callable[[Path], None] | None = None) -> Case:
    return Case(name, PLAIN if make is None else make)


def heard(name: str | bytes, make: bytes | Callable[[Path], None], seconds: float = 0.6) -> Case:
    return Case(name, make, seconds=seconds)


def refused(name: str | bytes, make: bytes | Callable[[Path], None], reason: str) -> Case:
    return Case(name, make, reason)


def voice(seconds: float = 0.6, rate: int = RATE, level: float = 0.3) -> np.ndarray:
    """A buzz of 140 Hz that swells, float32 (samples,)."""
    times = np.arange(round(seconds * rate)) / rate
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * times)
    return (level * swell * sum(np.sin(2 * np.pi * 140 * k * times) / k for k in range(1, 8))).astype(np.float32)


def encoded(waveform=None, rate: int = RATE, format: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    waveform = np.frombuffer(pcm(), "<i2") if waveform is None else waveform
    soundfile.write(file, waveform, rate, format=format, subtype=subtype)
    return file.getvalue()


def pcm(waveform=None, bits: int = 16) -> bytes:
    """Little-endian integers, the value in the high bits of whole bytes."""
    scaled = np.round(np.asarray(voice() if waveform is None else waveform, np.float64) * (2 ** (bits - 1) - 1))
    size = (bits + 7) // 8
    wide = (scaled.astype("<i8") << (8 * size - bits)).reshape(-1, 1).view(np.uint8)[:, :size]
    return (wide + (128 if size == 1 else 0)).astype(np.uint8).tobytes()


def chunk(name: bytes, content: bytes, size: int | None = None, pad: bool = True) -> bytes:
    told = len(content) if size is None else size
    return name + struct.pack("<I", told) + content + (b"\0" if pad and len(content) % 2 else b"")


def form(tag: int = PCM, channels: int = 1, rate: int = RATE, bits: int = 16, align: int | None = None,
         extra: bytes = b"") -> bytes:
    """The fmt chunk."""
    align = channels * ((bits + 7) // 8) if align is None else align
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * align % 2**32, align, bits) + extra)


def riff(*chunks: bytes, size: int | None = None, name: bytes = b"RIFF", kind: bytes = b"WAVE") -> bytes:
    return chunk(name, kind + b"".join(chunks), size, pad=False)


def wav(size: int | None = None, whole: int | None = None, content: bytes | None = None, **told) -> bytes:
    """A WAV; size: what data tells of itself, whole: what RIFF does, told: what fmt does."""
    return riff(form(**told), chunk(b"data", pcm() if content is None else content, size), size=whole)


def extensible(tag: int, bits: int, valid: int, content: bytes, channels: int = 1) -> bytes:
    extra = struct.pack("<HHI", 22, valid, 0) + struct.pack("<H", tag) + SUBFORMAT
    return wav(content=content, tag=EXTENSIBLE, bits=bits, channels=channels, extra=extra)


def wave64(content: bytes, size: int | None = None) -> bytes:
    """Sony's Wave64; size: bytes of samples that it tells."""
    size = len(content) if size is None else size
    fmt = struct.pack("<HHIIHH", PCM, 1, RATE, 2 * RATE, 2, 16)
    body = b"wave" + W64_END + b"fmt " + W64_END + struct.pack("<Q", 40) + fmt
    body += b"data" + W64_END + struct.pack("<Q", 24 + size)
    return W64_RIFF + struct.pack("<Q", 24 + len(body) + size) + body + content


def big_endian() -> bytes:
    fmt = struct.pack(">IHHIIHH", 16, PCM, 1, RATE, 2 * RATE, 2, 16)
    samples = np.frombuffer(pcm(), "<i2").astype(">i2").tobytes()
    body = b"WAVEfmt " + fmt + b"data" + struct.pack(">I", len(samples)) + samples
    return b"RIFX" + struct.pack(">I", len(body)) + body


def floats(*values: float) -> bytes:
    """A WAV of floats: the voice, with these values in the middle."""
    middle = np.concatenate([voice()[:4000], np.array(values, np.float32), voice()[4000:]])
    return encoded(middle, subtype="FLOAT")


def nested(depth: int) -> bytes:
    inner = b"INFO"
    for _ in range(depth):
        inner = b"INFO" + chunk(b"LIST", inner)
    return chunk(b"LIST", inner)


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("a.wav", PLAIN)
    return file.getvalue()


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def listening(path: Path) -> None:
    """A socket: its address is short, as the system cuts at 108 bytes."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def locked(path: Path) -> None:
    path.write_bytes(PLAIN)
    path.chmod(0)


PLAIN = encoded()
FLAC, OGG, OPUS, MP3, AIFF = (encoded(voice(2.0), format=name, subtype=kind) for name, kind in (
    ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16")))
DAY = 24 * 3600 * 2 * RATE   # bytes of 24 hours
ATTACHED = struct.pack("<I", 2**31 - 1)   # so many cue points or loops
INFO = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"a tool"))

GOOD = [heard(f"good{k}.wav", encoded(voice(0.5 + 0.2 * k)), 0.5 + 0.2 * k) for k in range(3)]
CUTS = [
    refused("cut-riff.wav", PLAIN[:6], AUDIO),
    refused("cut-wave.wav", PLAIN[:10], AUDIO),
    refused("cut-fmt.wav", PLAIN[:25], AUDIO),
    refused("cut-before-data.wav", PLAIN[:36], AUDIO),
    refused("cut-data-name.wav", PLAIN[:39], AUDIO),
    refused("cut-header-only.wav", PLAIN[:HEADER], CUT),
    refused("cut-in-data.wav", PLAIN[:9_000], CUT),
    refused("cut-in-sample.wav", PLAIN[:9_001], CUT),
    refused("cut-flac-header.flac", FLAC[:30], AUDIO),
    refused("cut-flac-frame.flac", FLAC[: len(FLAC) // 2], CUT),
    refused("cut-ogg-header.ogg", OGG[:100], AUDIO),
    refused("cut-ogg-page.ogg", OGG[:-99], CUT),
    refused("cut-opus-page.opus", OPUS[: len(OPUS) // 2], CUT),
    refused("cut-mp3-header.mp3", MP3[:3], AUDIO),
    refused("cut-mp3.mp3", MP3[: len(MP3) // 2], CUT),
    refused("cut-aiff-header.aiff", AIFF[:20], AUDIO),
    refused("cut-aiff.aiff", AIFF[: len(AIFF) // 2], CUT),
    refused("cut-w64.w64", wave64(pcm())[:5_000], CUT),
    refused("zero.wav", b"", EMPTY),
    refused("zero.mp3", b"", EMPTY),
    refused("no-samples.wav", encoded(voice(0)), NOTHING),
    refused("zeros.wav", bytes(9_999), AUDIO),
    refused("zeros-for-a-start.wav", bytes(4096) + PLAIN[4096:], AUDIO),
]
SIZES = [
    refused("size-too-big.wav", wav(size=50_000), CUT),
    heard("size-too-small.wav", wav(size=4_000, whole=4_036), 0.125),
    same("size-riff-too-small.wav", wav(whole=100)),
    same("size-riff-zero.wav", wav(whole=0)),
    same("size-zero.wav", wav(size=0, whole=0)),
    same("size-pipe-ffmpeg.wav", wav(size=0xFFFFFFFF, whole=0xFFFFFFFF)),
    same("size-pipe-sox.wav", wav(size=0x7FFFF000, whole=0x7FFFF024)),
    heard("size-odd.wav", wav(size=2 * len(voice()) - 1)),
    refused("size-24-hours.wav", wav(size=DAY), CUT),
    refused("size-24-hours-in-1-kb.wav", wav(size=DAY)[:1024], CUT),
    refused("size-24-hours-64-channels.wav", wav(size=DAY // 2, channels=64, content=bytes(1024)), CUT),
    refused("size-w64-of-3-gb.w64", wave64(pcm(), 3 << 30), CUT),
    refused("size-junk-negative.wav", riff(chunk(b"junk", b"ab", 2**32 - 16), form(), chunk(b"data", pcm())), AUDIO),
    refused("size-fmt-huge.wav", PLAIN[:16] + b"\xff\xff\xff\x7f" + PLAIN[20:], AUDIO),
    refused("size-fmt-tiny.wav", riff(chunk(b"fmt ", bytes(4)), chunk(b"data", pcm())), AUDIO),
]
FORMATS = [
    same("format-extensible.wav", extensible(PCM, 16, 16, pcm())),
    same("format-rf64.rf64", encoded(format="RF64")),
    same("format-rf64-named.wav", encoded(format="RF64")),
    same("format-w64.w64", wave64(pcm())),
    same("format-aiff.aiff", encoded(format="AIFF")),
    same("format-aiff-named.wav", encoded(format="AIFF")),
    same("format-big-endian.wav", big_endian()),
    same("format-au.au", encoded(format="AU")),
    same("format-caf.caf", encoded(format="CAF")),
    heard("bits-8.wav", wav(bits=8, content=pcm(bits=8))),
    heard("bits-12-in-16.wav", extensible(PCM, 16, 12, pcm(bits=12))),
    heard("bits-20-in-24.wav", extensible(PCM, 24, 20, pcm(bits=20))),
    heard("bits-24.wav", encoded(subtype="PCM_24")),
    heard("bits-32.wav", encoded(subtype="PCM_32")),
    heard("bits-float.wav", encoded(voice(), subtype="FLOAT")),
    heard("bits-double.wav", encoded(voice(), subtype="DOUBLE")),
    heard("bits-mulaw.wav", encoded(subtype="ULAW")),
    heard("bits-alaw.wav", encoded(subtype="ALAW")),
    heard("bits-ima-adpcm.wav", encoded(subtype="IMA_ADPCM"), 0.6356),   # whole blocks
    heard("bits-ms-adpcm.wav", encoded(subtype="MS_ADPCM"), 0.6325),
    heard("bits-gsm.wav", encoded(subtype="GSM610")),
    refused("bits-0.wav", wav(bits=0, align=2), AUDIO),
    refused("bits-64.wav", wav(bits=64), AUDIO),
    refused("rate-0.wav", wav(rate=0), AUDIO),
    refused("rate-1.wav", wav(rate=1), "rate is 1 Hz"),
    heard("rate-768000.wav", encoded(voice(0.6, 768_000), 768_000)),
    refused("rate-2-billion.wav", wav(rate=2**31 - 1), "rate is 2147483647 Hz"),
    refused("rate-4-billion.wav", wav(rate=2**32 - 1), AUDIO),
    same("channels-2.wav", encoded(np.repeat(np.frombuffer(pcm(), "<i2")[:, None], 2, 1))),
    same("channels-64.wav", encoded(np.repeat(np.frombuffer(pcm(), "<i2")[:, None], 64, 1))),
    refused("channels-0.wav", wav(channels=0), AUDIO),
    refused("channels-65535.wav", wav(channels=65_535, align=2), AUDIO),
    same("align-0.wav", wav(align=0)),
    same("align-1-of-2.wav", wav(align=1)),
    same("align-64.wav", wav(align=64)),
    refused("tag-unknown.wav", wav(tag=0x4242), AUDIO),
    refused("fmt-twice.wav", riff(form(), form(rate=8_000), chunk(b"data", pcm())), AUDIO),
    refused("fmt-behind-data.wav", riff(chunk(b"data", pcm()), form()), AUDIO),
    refused("no-fmt.wav", riff(chunk(b"data", pcm())), AUDIO),
    refused("no-data.wav", riff(form()), AUDIO),
    refused("data-twice.wav", riff(form(), chunk(b"data", pcm()), chunk(b"data", pcm())), AUDIO),
    same("junk-behind.wav", PLAIN + np.random.default_rng(1).bytes(999)),
    same("id3-behind.wav", PLAIN + b"ID3\3\0\0\0\0\0\x0a" + bytes(10)),
]
SOUNDS = [
    refused("sound-nan.wav", floats(np.nan), "NaN"),
    refused("sound-inf.wav", floats(np.inf), "infinite"),
    refused("sound-minus-inf.wav", floats(-np.inf), "infinite"),
    refused("sound-1e30.wav", floats(1e30), "full scale"),
    refused("sound-integers-as-floats.wav", encoded(32_768 * voice(), subtype="FLOAT"), "full scale"),
    heard("sound-denormal.wav", encoded(1e-41 * voice(), subtype="FLOAT")),
    heard("sound-silence.wav", encoded(0 * voice())),
    heard("sound-dc.wav", encoded(0 * voice() + 0.5)),
    heard("sound-lowest.wav", encoded(0 * voice() - 1)),
    heard("sound-clipped.wav", encoded(np.clip(20 * voice(), -1, 1))),
    heard("sound-noise.wav", encoded(np.random.default_rng(1).uniform(-1, 1, 9_600))),
    heard("sound-1-sample.wav", encoded(voice()[:1]), 0.0),
    heard("sound-1-sample-8k.wav", encoded(voice()[:1], 8_000), 0.0),
    refused("sound-1-sample-768k.wav", encoded(voice()[:1], 768_000), "0 at 16000 Hz"),
]
NAMED = [
    heard("named-mp3.wav", MP3, 2.0),
    heard("named-flac.mp3", FLAC, 2.0),
    heard("named-ogg.wav", OGG, 2.0),
    same("named-wav.opus"),
    refused("named-text.wav", b"not a recording\n" * 99, AUDIO),
    refused("named-html.wav", b"<html>404</html>" * 99, AUDIO),
    refused("named-png.wav", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(999), AUDIO),
    refused("named-jpeg.wav", b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(999), AUDIO),
    refused("named-zip.wav", archive(), AUDIO),
    refused("named-elf.wav", b"\x7fELF\2\1\1" + bytes(999), AUDIO),
    refused("named-webp.wav", riff(chunk(b"VP8 ", bytes(99)), kind=b"WEBP"), AUDIO),
    refused("named-csv.flac", b"path,label\na,b\n", AUDIO),
    refused("named-lfs-pointer.wav", b"version https://git-lfs.github.com/spec/v1\n", AUDIO),
]
MEDIA = [   # PyAV reads them
    heard("named-wav.mp4", PLAIN),
    refused("named-text.m4a", b"text\n" * 99, "FFmpeg cannot open"),
    refused("named-zero.webm", b"", EMPTY),
]
CHUNKS = [
    same("list-huge.wav", riff(form(), chunk(b"LIST", b"INFO" + bytes(3_000_000)), chunk(b"data", pcm()))),
    same("list-nested.wav", riff(form(), nested(3_000), chunk(b"data", pcm()))),
    same("list-1000.wav", riff(form(), INFO * 1_000, chunk(b"data", pcm()))),
    refused("list-9999.wav", riff(form(), INFO * 9_999, chunk(b"data", pcm())), AUDIO),
    same("list-odd-padded.wav", riff(form(), chunk(b"note", b"abc"), chunk(b"data", pcm()))),
    refused("list-odd-unpadded.wav", riff(form(), chunk(b"note", b"abc", pad=False), chunk(b"data", pcm())), AUDIO),
    same("list-entry-endless.wav", riff(form(), chunk(b"LIST", b"INFO" + chunk(b"ICMT", b"", 2**31)), PLAIN[36:])),
    refused("list-endless.wav", riff(form(), chunk(b"LIST", b"INFO", 2**30), chunk(b"data", pcm())), AUDIO),
    same("cue-points-endless.wav", riff(form(), chunk(b"cue ", ATTACHED + bytes(24)), chunk(b"data", pcm()))),
    same("loops-endless.wav", riff(form(), chunk(b"smpl", bytes(28) + ATTACHED + bytes(4)), chunk(b"data", pcm()))),
    same("bext-short.wav", riff(form(), chunk(b"bext", b"abc"), chunk(b"data", pcm()))),
    refused("id3-endless.mp3", b"ID3\4\0\0\x7f\x7f\x7f\x7f" + MP3, AUDIO),
]
NAMES = [same(name) for name in (
    "name with  spaces .wav", "name 'quotes' \"double\".wav", "name\nof two lines.wav", "name\rreturned.wav",
    "name\twith tabs.wav", b"name not utf-8 \xff\xfe.wav", "-name.wav", "--output=name.wav",
    "name;$(exit)`x`&|<>*?!.wav", "=1+cmd|' name'!A0.wav", "+name.wav", "@name.wav", "name\x1b[31m red.wav",
    "name \u202e reversed.wav", "näme ü 日本語 🙂.wav", "name%20%s{0}.wav", "name\\backslash.wav",
    "name,with,commas.wav", "n" * 251 + ".wav", "NAME.WAV", "name.tar.wav", "name\x7f\x01control.wav",
    "name\u2028separated.wav", "\ufeffname.wav",
)] + [refused(name, b"", EMPTY) for name in (
    "bad\nname.wav", "bad\rname.wav", "bad\x1b[2Jname.wav", b"bad \xff name.wav", "bad " + "n" * 246 + ".wav",
)]
PLACES = [
    same("place-link.wav", link("format-extensible.wav")),
    refused("place-dangling.wav", link("nowhere.wav"), "no such file"),
    refused("place-cycle.wav", link("place-cycle.wav"), "symbolic links"),
    refused("place-pipe.wav", os.mkfifo, PLACE),
    refused("place-pipe.m4a", os.mkfifo, PLACE),
    refused("place-socket.wav", listening, PLACE),
    refused("place-zeros.wav", link("/dev/zero"), PLACE),
    refused("place-zeros.mp4", link("/dev/zero"), PLACE),
    refused("place-null.mp3", link("/dev/null"), PLACE),
]
LOCKED = refused("place-locked.wav", locked, "may not be read")   # but by root
CASES = [*CUTS, *SIZES, *FORMATS, *SOUNDS, *NAMED, *MEDIA, *CHUNKS, *NAMES, *PLACES]
INSIDE = "place-folder.wav/inside.wav"   # a folder is no recording whatever its name, but may hold one


def make(directory: Path, cases: list[Case]) -> None:
    """Put the cases into a folder."""
    for case in cases:
        path = directory / case.file
        if isinstance(case.make, bytes):
            path.write_bytes(case.make)
        else:
            case.make(path)


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True)
    make(directory, [*GOOD, *CASES, LOCKED])
    print(f"{directory}: {len(CASES)} cases, {sum(case.reason is not None for case in CASES)} of them to be refused")
