"""What libsndfile and FFmpeg make of a file, and why they cannot read one."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, BinaryIO

import soundfile

from . import media

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Source = str | os.PathLike | BinaryIO

UNKNOWN = 1 << 62  # a size or a number of frames above it: the header tells none
LIMITS, SLACK = (1 << 31, 1 << 32), 4096  # so near to a limit of 32 bits a size is what pipes write, not a promise
HEAD = 1 << 20  # bytes in which a header ends
MP3_SLACK = 4096  # bytes by which an MP3 may be larger than its header tells: a frame or two, a short tag
AGAIN = "Copy it again from its source."
FOREIGN = "not audio that libsndfile reads, or cut in its header"
NOTHING = "is empty (0 bytes)", AGAIN

# libsndfile reads what is left of a cut file without a word, but its log (2 KB at most) tells both sizes.
_CUT = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_CUT_LONG_LOG = re.compile(r"^(?:RIFF|FORM) *: (\d+) \(should be (\d+)\)(?s:.{1900})", re.MULTILINE)
_MEDIA = re.compile(rb".{4}ftyp|\x1aE\xdf\xa3|#!AMR|\x30\x26\xb2\x75", re.DOTALL)   # MP4, Matroska, AMR, WMA
_CUT_OGG = re.compile(r"Ogg ?: Junk after the last page")


class AudioError(ValueError):
    """A recording that cannot be used: str is "<name>: <reason>. <remedy>", one line."""

    def __init__(self, name: str, reason: str, remedy: str):
        super().__init__(name, reason, remedy)  # all three, so that it survives pickling in a worker
        self.name, self.reason, self.remedy = name, reason, remedy

    def __str__(self) -> str:
        return f"{printable(self.name)}: {self.reason}. {self.remedy}"


class NoSamples(AudioError):
    """A recording that is whole, of nothing."""


class NotFinite(AudioError):
    """A recording that can be decoded, but has samples that are NaN or infinite."""


class Decoder(soundfile.SoundFile):
    """A SoundFile that only reads on.

    After each read soundfile seeks to where it already is. That empties the bit reservoir of an MP3, so that
    wrong samples follow, and fails at the end of a FLAC of unknown length. What cannot seek is spared.
    """

    label = ""

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        super().close()
        if isinstance(self.name, _Seen):
            self.name.release()

    @property
    def known(self) -> bool:
        return self.frames < UNKNOWN and not (isinstance(self.name, _Seen) and self.name.endless)

    @property
    def mpeg(self) -> bool:
        return self.subtype.startswith("MPEG")

    @property
    def exact(self) -> bool:
        """Is a seek right to the sample? In an MP3 it is a guess, in Opus what came before is missing."""
        return super().seekable() and self.known and not self.mpeg and self.subtype != "OPUS"


class _Seen(io.RawIOBase):
    """A file as libsndfile should see it, with other bytes `at` some place, or as one that has no end.

    endless: of an MP3 that does not tell its length, libsndfile guesses it from the file's size and the first frame's
    bit rate and reads no further, which can drop most of a file of variable rate. So it claims to be larger than it is.
    """

    def __init__(self, source: Source, at: int = 0, patch: bytes = b"", endless: bool = False):
        self.at, self.patch, self.endless = at, patch, endless
        self._own = _is_path(source)
        self._file: BinaryIO = open(source, "rb") if _is_path(source) else source
        self._file.seek(0)

    def release(self) -> None:
        """Close what was opened here."""
        if self._own:
            self._file.close()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if self.endless and (offset, whence) == (0, io.SEEK_END):
            return self._file.seek(40 * self._file.seek(0, io.SEEK_END))  # 8 to 320 kbit/s
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        start, content = self._file.tell(), bytearray(self._file.read(len(buffer)))
        first, last = max(start, self.at), min(start + len(content), self.at + len(self.patch))
        if first < last:
            content[first - start : last - start] = self.patch[first - self.at : last - self.at]
        buffer[: len(content)] = content
        return len(content)


def printable(name: str) -> str:
    """A name as one line for people: what moves the cursor, or is no UTF-8, as an escape."""
    shown = (c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)
    return "".join(shown)


def is_promise(size: int) -> bool:
    """Whether a header means its size in bytes: SoX, arecord and FFmpeg write a limit where they do not know it."""
    return 0 < size < UNKNOWN and all(abs(size - limit) > SLACK for limit in LIMITS)


def name_of(source: Source) -> str:
    return os.fsdecode(source) if _is_path(source) else str(getattr(source, "name", "audio stream"))


@contextmanager
def opened(source: Source) -> Iterator[Decoder | media.MediaDecoder]:
    """A recording, for reading. Raises: AudioError for what is none, here or while it is read."""
    name = name_of(source)
    try:
        with _open(source if _is_path(source) else rewound(source, name), name) as file:
            yield file
    except soundfile.SoundFileError as error:
        raise AudioError(name, f"cut or damaged: decoding stopped ({error})", AGAIN) from error
    except media.MediaError as error:
        raise AudioError(name, *error.args) from error


def _open(source: Source, name: str) -> Decoder | media.MediaDecoder:
    if _is_path(source):
        check_file(source, name)
    if os.path.splitext(name)[1].lower() in media.EXTENSIONS:
        return _media(source, name)
    try:  # a path as bytes where possible: soundfile cannot encode names that are not UTF-8
        file = Decoder(os.fsencode(source) if _is_path(source) and os.name == "posix" else source)
        if better := _unsized(file) if file.frames == 0 else _uncounted(file):
            file.close()
            file = Decoder(better)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        refusal = _refusal(source, name)
        if refusal.reason == FOREIGN and _MEDIA.match(_bytes(source, 0, 12)):
            return _media(source, name)   # whatever its name
        raise refusal from error
    file.label, log = name, file.extra_info
    cut = _CUT.search(log) or _CUT_LONG_LOG.search(log)
    if cut and int(cut[2]) < int(cut[1]) and is_promise(int(cut[1])):
        reason = f"cut: the header promises {cut[1]} bytes, {cut[2]} are there"
    elif _CUT_OGG.search(log) and _is_chained(file.name):
        file.close()
        raise AudioError(name, "several Ogg streams one after the other", "Join them: ffmpeg -i INPUT OUTPUT.wav")
    elif _CUT_OGG.search(log):
        reason = "cut: the last Ogg page is a part of one"
    elif file.frames <= 0:
        file.close()
        raise NoSamples(name, "has a header but 0 samples", AGAIN)
    else:
        return file
    file.close()
    raise AudioError(name, reason, AGAIN)


def _media(source: Source, name: str) -> media.MediaDecoder:
    if not _is_path(source):
        source.seek(0)
    return media.MediaDecoder(os.fsdecode(source) if _is_path(source) else source, name)


def check_file(path: str | bytes | os.PathLike, name: str) -> None:
    """Raises AudioError for what is no file, or empty: opening a pipe would wait for ever, a device may have no end."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise AudioError(name, "no such file", "Relative paths start at the working directory.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(name, f"cannot be opened ({reason})", "Correct the path.") from error
    if stat.S_ISDIR(found.st_mode):
        raise AudioError(name, "is a directory", "Give one file.")
    if not stat.S_ISREG(found.st_mode):
        raise AudioError(name, "is a pipe, a socket or a device, not a file",
                         "Give a file; what comes over a pipe is for `emotion score -`.")
    if not os.access(path, os.R_OK):
        raise AudioError(name, "may not be read", "Change its permissions.")
    if not found.st_size:
        raise AudioError(name, *NOTHING)


def rewound(source: BinaryIO, name: str) -> BinaryIO:
    """The file object at its start; a pipe has none and is read into memory."""
    if not hasattr(source, "read") or isinstance(source, io.TextIOBase):
        raise AudioError(name, f"{type(source).__name__} is neither a path nor a file open in binary mode",
                         "Open files with 'rb', give arrays to from_array().")
    try:
        if not getattr(source, "seekable", lambda: True)():
            return io.BytesIO(source.read())
        source.seek(0)
    except (OSError, ValueError) as error:
        raise AudioError(name, f"cannot be read ({error})", "Give a file that is open.") from error
    return source


def _refusal(source: Source, name: str) -> AudioError:
    """Why libsndfile did not open it; its own words are "System error" and the like."""
    try:
        if not _bytes(source, 0, 1):
            return AudioError(name, *NOTHING)
    except OSError as error:
        return AudioError(name, f"cannot be read ({error.strerror or error})", AGAIN)
    return AudioError(name, FOREIGN, "Convert it (ffmpeg -i INPUT OUTPUT.wav) or copy it again.")


def _bytes(source: Source, start: int, count: int) -> bytes:
    with open(source, "rb") if _is_path(source) else nullcontext(source) as file:
        position = file.tell()  # libsndfile may be reading from the same file
        file.seek(start)
        content = file.read(count)
        file.seek(position)
        return content


def _unsized(file: Decoder) -> _Seen | None:
    """The WAV of a writer that could not go back (data size 0), now with the size that means "to the end"."""
    if not re.search(r"^data : 0$", file.extra_info, re.MULTILINE):
        return None
    head = _bytes(file.name, 0, HEAD)
    start = head.find(b"data\0\0\0\0", 12) + 8
    marker, size = head[start:start + 4].strip(), int.from_bytes(head[start + 4:start + 8], "little")
    if start < 8 or len(head) == start or (marker.isalnum() and _bytes(file.name, start + 7 + size, 1)):
        return None  # nothing follows but other chunks
    return _Seen(file.name, start - 4, b"\xff" * 4)


def _uncounted(file: Decoder) -> _Seen | None:
    """An MP3 without Xing, Info or VBRI header, which would hold its number of frames, or one joined to another, of
    which the header knows nothing."""
    if file.format != "MP3":
        return None
    head = _bytes(file.name, 0, 10)
    tag = 10 + sum(byte << 7 * (9 - i) for i, byte in enumerate(head) if i > 5) if head[:3] == b"ID3" else 0
    if not (header := re.search(b"(?:Xing|Info)(....)(....)?(....)?|VBRI", _bytes(file.name, tag, 4096), re.DOTALL)):
        return _Seen(file.name, endless=True)
    has_count, has_bytes = (int.from_bytes(header[1] or b"", "big") & bit for bit in (1, 2))
    promised = int.from_bytes(header[3 if has_count else 2] or b"", "big") if has_bytes else 0
    more = _bytes(file.name, tag + promised, 2 * MP3_SLACK) if promised else b""
    joined = len(more) > MP3_SLACK and not re.search(b"APETAGEX|LYRICSBEGIN", more)
    return _Seen(file.name, tag + header.start(), bytes(4), endless=True) if joined else None   # without the header


def _is_chained(source: Source) -> bool:
    """Whether an Ogg stream begins behind the end of another, by the flags of their pages."""
    with open(source, "rb") if _is_path(source) else nullcontext(source) as file:
        position = file.tell()
        file.seek(0)
        flags = [page[1][0] for page in re.finditer(rb"OggS\0(.)", file.read(), re.DOTALL)]
        file.seek(position)
    return any(last & 4 and flag & 2 for last, flag in zip(flags, flags[1:]))


def _is_path(source: Any) -> TypeIs[str | bytes | os.PathLike]:
    return isinstance(source, (str, bytes, os.PathLike))
