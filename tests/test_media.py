import io
import sys

import av
import numpy as np
import pytest

from emotion import audio
from emotion.audio import AudioError

RATE = 48_000
CONTAINERS = {".m4a": "aac", ".mp4": "aac", ".mkv": "aac", ".mov": "aac", ".webm": "libopus", ".mka": "libopus"}


def tones(seconds: float = 1.5) -> np.ndarray:
    """440 Hz on the left and 880 Hz on the right. Shape: (2, samples)."""
    times = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * np.array([[440.0], [880.0]]) * times)).astype(np.float32)


def encoded(path, waveform: np.ndarray, codec: str):
    layout = "stereo" if len(waveform) == 2 else "mono"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform), "fltp", layout)
        frame.sample_rate = RATE
        to_codec = av.AudioResampler(stream.format, layout, RATE, frame_size=stream.frame_size or 960)
        for part in [*to_codec.resample(frame), *to_codec.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def peak_hz(waveform: np.ndarray, rate: int) -> float:
    return np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))).argmax() * rate / len(waveform)


@pytest.mark.parametrize("ending", CONTAINERS)
def test_what_phones_and_browsers_record_is_read(tmp_path, ending):
    path = encoded(tmp_path / f"call{ending}", tones(), CONTAINERS[ending])
    assert audio.num_channels(path) == 2 and audio.duration(path) == pytest.approx(1.5, abs=0.1)
    for channel, hz in ((1, 440), (2, 880)):
        heard = np.concatenate(list(audio.blocks(path, 16_000, 0.4, channel)))
        assert len(heard) == pytest.approx(24_000, abs=1600)
        assert peak_hz(heard, 16_000) == pytest.approx(hz, abs=2)
        assert np.sqrt(np.mean(heard**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
    whole = audio.read(path, 16_000)
    assert np.allclose(np.concatenate(list(audio.blocks(path, 16_000, 0.1))), whole, atol=1e-6)
    assert np.allclose(audio.read(path, 16_000, 0.5, 1.0), whole[8000:16_000], atol=1e-5)
    with open(path, "rb") as file:
        assert np.array_equal(audio.read(file, 16_000), whole)
    assert audio.find(tmp_path) == [path]


@pytest.mark.parametrize("ending", CONTAINERS)
def test_they_are_known_by_their_content_too(tmp_path, ending):
    """As a page sends a recording: without a name."""
    path = encoded(tmp_path / f"call{ending}", tones(), CONTAINERS[ending])
    whole = audio.read(path, 16_000)
    assert np.array_equal(audio.read(io.BytesIO(path.read_bytes()), 16_000), whole)
    assert np.array_equal(audio.read(path.rename(tmp_path / "blob"), 16_000), whole)


@pytest.mark.parametrize("ending", CONTAINERS)
def test_a_span_is_not_read_without_what_lies_before_it(tmp_path, ending):
    assert not audio.seeks(encoded(tmp_path / f"call{ending}", tones(), CONTAINERS[ending]))


@pytest.mark.parametrize("ending", [".webm", ".mkv", ".mka"])
def test_a_recording_that_is_cut_is_refused(tmp_path, ending):
    path = encoded(tmp_path / f"call{ending}", np.tile(tones(), 10), CONTAINERS[ending])
    assert audio.duration(path) == pytest.approx(15.0, abs=0.1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"cut: the header promises 15.0 s, \d\.\d s are there"):
        audio.read(path, 16_000)


def test_the_audio_of_a_film_is_heard(tmp_path):
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("mpeg4", rate=25), container.add_stream("aac", rate=RATE, layout="mono")
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        for _ in range(25):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(tones(1.0)[:1]), "fltp", "mono")
        frame.sample_rate = RATE
        for part in av.AudioResampler("fltp", "mono", RATE, frame_size=1024).resample(frame):
            container.mux(sound.encode(part))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    assert peak_hz(audio.read(path, 16_000), 16_000) == pytest.approx(440, abs=2)


def test_a_film_without_sound_is_refused(tmp_path):
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(video.encode(None))
    with pytest.raises(AudioError, match="mute.mp4: has no audio stream"):
        audio.read(tmp_path / "mute.mp4")


@pytest.mark.parametrize("content", [b"", b"no film", b"\0" * 5000])
def test_what_is_no_recording_is_refused_by_name(tmp_path, content):
    (tmp_path / "bad.m4a").write_bytes(content)
    with pytest.raises(AudioError, match=r"bad.m4a: (FFmpeg cannot open it|is empty) .* Copy it again"):
        audio.read(tmp_path / "bad.m4a")
    with pytest.raises(AudioError, match="none.webm: no such file"):
        audio.read(tmp_path / "none.webm")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(AudioError, match="is a directory"):
        audio.read(tmp_path / "folder.mp4")


def test_without_pyav_the_remedy_is_told(tmp_path, monkeypatch):
    (tmp_path / "call.m4a").write_bytes(b"any")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"needs PyAV. Install it \(pip install 'emotion\[media\]'\)"):
        audio.read(tmp_path / "call.m4a")


def samples(path, **metadata):
    """Half a second of silence, uncompressed."""
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata)
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE // 2), np.int16), "s16", "mono")
        frame.sample_rate = RATE
        container.mux([packet for part in (frame, None) for packet in stream.encode(part)])
    return path


@pytest.mark.parametrize("old, new", [(b"\x9f\x81\x01", b"\x9f\x81\x00"), (b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT")])
def test_a_stream_that_does_not_tell_its_channels_or_has_an_unknown_codec_is_refused(tmp_path, old, new):
    path = samples(tmp_path / "a.mka")
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(AudioError, match="a.mka: .*Copy it again"):
        audio.read(path)


def test_a_title_that_is_not_utf8_does_no_harm(tmp_path):
    path = samples(tmp_path / "a.mka", title="a title")
    path.write_bytes(path.read_bytes().replace(b"a title", b"\x85 title"))
    assert audio.duration(path) == 0.5
