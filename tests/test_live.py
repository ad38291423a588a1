import io
import os
import struct
import sys
import threading
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from emotion import live
from emotion.audio import AudioError
from emotion.cli.score import RAW

RATE = 16_000
SUBTYPES = {"PCM_U8": 2**-6, "PCM_16": 2**-14, "PCM_24": 2**-22, "PCM_32": 2**-22, "FLOAT": 1e-7, "DOUBLE": 1e-7}


def waveform(channels: int = 1, seconds: float = 1.3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.9, 0.9, (channels, round(seconds * RATE))).astype(np.float32)


def wav(samples: np.ndarray, subtype: str, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples.T, RATE, subtype=subtype, format=kind)
    return file.getvalue()


def received(content: bytes, *arguments) -> tuple[int, np.ndarray]:
    rate, blocks = live.piped(io.BytesIO(content), *arguments)
    return rate, np.concatenate(list(blocks), axis=1)


@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("subtype, tolerance", SUBTYPES.items())
def test_a_wav_comes_over_a_pipe_as_it_was_written(subtype, tolerance, channels, kind):
    expected = waveform(channels)
    rate, heard = received(wav(expected, subtype, kind))
    assert rate == RATE and heard.shape == expected.shape and heard.dtype == np.float32
    assert heard == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_writer_that_does_not_know_the_length_is_heard_to_its_end(size):
    content = wav(waveform(), "PCM_16")
    start = content.index(b"data") + 4
    assert received(content[:start] + struct.pack("<I", size) + content[start + 4 :])[1].shape == (1, 20_800)


def test_what_follows_the_samples_is_no_sound():
    assert received(wav(waveform(), "PCM_16") + b"LIST\4\0\0\0junk")[1].shape == (1, 20_800)


@pytest.mark.parametrize("raw, kind, scale", [
    ("s16le", "<i2", 2**15), ("s32le", "<i4", 2**31), ("f32le", "<f4", 1), ("f64le", "<f8", 1)])
def test_raw_samples_are_read_as_told(raw, kind, scale):
    expected = waveform(2)
    content = (expected.T.astype(np.float64) * (scale - 1 if scale > 1 else 1)).astype(kind).tobytes()
    rate, heard = received(content, raw, 8000, 2)
    assert rate == 8000 and heard == pytest.approx(expected, abs=1e-4)


def test_a_sample_cut_in_two_by_the_pipe_is_put_together():
    read, write = os.pipe()
    content = (waveform() * 32767).astype("<i2").tobytes()

    def send():
        with open(write, "wb", buffering=0) as file:
            for start in range(0, len(content), 777):
                file.write(content[start : start + 777])

    sender = threading.Thread(target=send)
    sender.start()
    with open(read, "rb") as file:
        _, blocks = live.piped(file, "s16le", RATE)
        heard = np.concatenate(list(blocks), axis=1)
    sender.join()
    assert heard == pytest.approx(waveform(), abs=1e-4)


@pytest.mark.parametrize("content, match", [
    (b"", "is empty. Send one"), (b"ID3" + bytes(40), "is not a WAV. Send one"), (b"RIFF\0\0\0\0WAVE", "whole WAV"),
    (b"RIFF\0\0\0\0WAVEdata\4\0\0\0aaaa", "whole WAV"), (wav(waveform(), "ALAW"), "format 6, 1 channels"),
])
def test_what_is_no_sound_is_refused(content, match):
    with pytest.raises(AudioError, match=match):
        live.piped(io.BytesIO(content))


def test_the_command_line_knows_the_samples_that_are_read():
    assert RAW == tuple(live.SAMPLES)


def test_a_wav_that_ends_early_is_no_whole_call():
    _, blocks = live.piped(io.BytesIO(wav(waveform(), "PCM_16")[:-4000]))
    with pytest.raises(AudioError, match="is cut: 4000 bytes.*Send the whole WAV"):
        list(blocks)


def test_a_header_that_promises_much_takes_no_memory():
    content = wav(waveform(), "PCM_16")
    endless = content[:12] + b"junk" + struct.pack("<I", 2**32 - 2) + content[12:]
    tracemalloc.start()
    with pytest.raises(AudioError, match="ends before its first sample"):
        received(endless)
    for field, value in ((24, 2**32 - 1), (24, 2**31)):   # the rate
        with pytest.raises(AudioError, match=f"{value} Hz"):
            received(content[:field] + struct.pack("<I", value) + content[field + 4:])
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


def test_raw_samples_without_their_rate_are_refused():
    with pytest.raises(ValueError, match="--rate 16000"):
        live.piped(io.BytesIO(b""), "s16le")


def test_a_microphone_gives_blocks_as_it_hears_them(monkeypatch):
    closed = []

    class InputStream:
        def __init__(self, rate, blocksize, device, channels, dtype, callback):
            assert (rate, blocksize, device, channels, dtype) == (RATE, RATE // 2, 3, 1, "float32")
            self.callback = callback

        def __enter__(self):
            for value in (1, 2):
                self.callback(np.full((RATE // 2, 1), value, np.float32), RATE // 2, None, None)

        def __exit__(self, *_):
            closed.append(True)

    monkeypatch.setitem(sys.modules, "sounddevice", SimpleNamespace(InputStream=InputStream, PortAudioError=OSError))
    blocks = live.microphone(RATE, 3)
    assert [next(blocks)[0], next(blocks)[-1]] == [1, 2]
    blocks.close()
    assert closed


def test_without_a_microphone_the_remedy_is_told(monkeypatch):
    def none(*_, **__):
        raise OSError("no device")

    stream = type("Stream", (), {"__enter__": none, "__exit__": none})
    for opened in (none, lambda *_, **__: stream()):   # it cannot be opened; it cannot be started
        monkeypatch.setitem(sys.modules, "sounddevice", SimpleNamespace(InputStream=opened, PortAudioError=OSError))
        with pytest.raises(AudioError, match="no device.*Plug one in"):
            next(live.microphone(RATE))
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'emotion\[listen\]'"):
        next(live.microphone(RATE))
