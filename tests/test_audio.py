import io
import os
import pickle
import struct
import threading
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from emotion import audio
from emotion.audio import AudioError

LOSSLESS = {("WAV", "PCM_U8"): 2 / 256, ("WAV", "PCM_16"): 2 / 2**16, ("WAV", "PCM_24"): 2 / 2**24,
            ("WAV", "PCM_32"): 1e-7, ("WAV", "FLOAT"): 0, ("WAV", "DOUBLE"): 0, ("FLAC", "PCM_16"): 2 / 2**16,
            ("FLAC", "PCM_24"): 2 / 2**24, ("AIFF", "PCM_16"): 2 / 2**16, ("AU", "PCM_16"): 2 / 2**16,
            ("CAF", "PCM_16"): 2 / 2**16, ("W64", "PCM_16"): 2 / 2**16, ("RF64", "PCM_16"): 2 / 2**16,
            ("NIST", "PCM_16"): 2 / 2**16}  # and the largest error of a sample
LOSSY = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
FORMATS = [*LOSSLESS, *LOSSY]
CUT_FORMATS = [key for key in FORMATS if key[0] != "NIST"]  # whose sample count libsndfile overlooks


def tone(frequency, rate=16_000, seconds=1.0, level=0.5):
    times = np.arange(round(rate * seconds)) / rate
    return (level * np.cos(2 * np.pi * frequency * times)).astype(np.float32)


def chord(rate=16_000, seconds=2.0):
    swell = 1 + tone(1.7, rate, seconds)
    return swell * sum(tone(f, rate, seconds, 0.1) for f in (210, 430, 1310)).astype(np.float32)


def encoded(waveform, rate=16_000, format="WAV", subtype="PCM_16"):
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format=format, subtype=subtype)
    return file.getvalue()


def read(content, *args, **kwargs):
    return audio.read(io.BytesIO(content), *args, **kwargs)


def decibels(waveform):
    middle = waveform[len(waveform) // 4:-len(waveform) // 4].astype(np.float64)  # the ends ring
    return 20 * np.log10(np.sqrt(2 * np.mean(middle ** 2)) + 1e-20)


# Known answers

@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_level_and_phase_at_the_new_rate(rate):
    heard = read(encoded(tone(1_000, rate), rate, subtype="FLOAT"))
    assert len(heard) == 16_000 and heard.dtype == np.float32
    np.testing.assert_allclose(heard[4_000:12_000], tone(1_000)[4_000:12_000], atol=1e-4)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_tone_is_kept_inside_the_pass_band_and_gone_beyond_the_new_nyquist(rate):
    for frequency in (100, 3_000, 7_000, 0.91 * 8_000):
        assert abs(decibels(read(encoded(tone(frequency, rate, level=1), rate, subtype="FLOAT")))) < 0.1
    for frequency in (8_000, 8_100, 9_000, 15_000, 20_000):
        assert decibels(read(encoded(tone(frequency, rate, level=1), rate, subtype="FLOAT"))) < -90


def test_full_scale_of_every_depth_is_one():
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"):
        assert read(encoded(np.full(100, -1.0), subtype=subtype)).tolist() == [-1.0] * 100


def test_duration_is_told_by_the_header():
    for format, subtype in FORMATS:
        assert audio.duration(io.BytesIO(encoded(chord(), format=format, subtype=subtype))) == 2.0


def test_find_lists_recordings_in_c_locale_order_and_leaves_hidden_ones_out(tmp_path):
    for name in ("b.wav", "a/z.FLAC", "a.opus", "a/é.mp3", "B.ogg", "a/a.txt", "a/._z.flac", ".git/x.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in audio.find(tmp_path)]
    assert found == ["B.ogg", "a.opus", "a/z.FLAC", "a/é.mp3", "b.wav"]  # as `LC_ALL=C sort`


# Fast equals slow

@pytest.mark.parametrize("format, subtype", [*FORMATS, ("WAV", "GSM610")])
@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_blocks_join_to_the_whole_and_a_span_is_a_slice_of_it(format, subtype, rate):
    file = io.BytesIO(encoded(chord(rate=16_000), format=format, subtype=subtype))
    whole = audio.read(file, rate)
    for seconds in (0.05, 0.7, 10):
        blocks = list(audio.blocks(file, rate, seconds))
        assert all(len(block) == round(seconds * rate) for block in blocks[:-1])
        np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)
    for start, stop in ((0, 0.3), (0.5, 1.25), (1.003, 1.0041), (1.9, 2.0)):
        span = audio.read(file, rate, start, stop)
        np.testing.assert_allclose(span, whole[round(start * rate):round(stop * rate)], atol=1e-6)
    np.testing.assert_allclose(audio.read(file, rate, 0.8), whole[round(0.8 * rate):], atol=1e-6)


def test_a_span_of_a_voice_in_opus_is_a_slice_of_the_whole():
    """Tones and noise are; what predicts a voice forgets at a seek what came before."""
    times = np.arange(32_000) / 16_000
    phase = 2 * np.pi * (120 * times + 10 * np.sin(4 * np.pi * times))
    voice = 0.1 * (1 + np.sin(6 * np.pi * times)) * sum(np.sin(k * phase) / k for k in range(1, 25))
    file = io.BytesIO(encoded(voice / 2, format="OGG", subtype="OPUS"))
    whole = audio.read(file, 16_000)
    for start in np.linspace(0.05, 1.6, 40):
        span = audio.read(file, 16_000, start, start + 0.3)
        np.testing.assert_allclose(span, whole[round(start * 16_000):][: len(span)], atol=1e-6)


def test_a_long_file_in_odd_rates_is_decoded_in_chunks_without_a_seam(monkeypatch):
    stereo = np.stack([chord(44_100, 3), tone(50, 44_100, 3)], axis=1)
    file = io.BytesIO(encoded(stereo, 44_100, "MP3", "MPEG_LAYER_III"))
    whole = audio.read(file)
    monkeypatch.setattr(audio, "CHUNK", 9_999)
    np.testing.assert_allclose(audio.read(file), whole, atol=1e-6)
    np.testing.assert_allclose(audio.read(file, start_seconds=1.5), whole[24_000:], atol=1e-6)


def test_blocks_of_a_long_file_need_little_memory(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros((8_000_000, 2), np.int16), 16_000)
    tracemalloc.start()
    samples = sum(map(len, audio.blocks(tmp_path / "long.wav", block_seconds=10)))
    peak, _ = tracemalloc.get_traced_memory()[1], tracemalloc.stop()
    assert samples == 8_000_000 and peak < 16e6 + 10 * 16_000 * 4  # the whole takes 96 MB


def test_an_array_gives_what_its_file_gives():
    stereo = (32_767 * np.stack([chord(44_100), tone(300, 44_100, 2)])).astype(np.int16)
    wide, real = stereo.astype(np.int32) << 16, stereo / 2**15  # (channels, samples) all three
    for array, subtype in ((stereo, "PCM_16"), (wide, "PCM_32"), (real, "DOUBLE")):
        expected = read(encoded(array.T, 44_100, subtype=subtype))
        for given in (array, array.T, torch.from_numpy(array), np.asfortranarray(array)):
            np.testing.assert_allclose(audio.from_array(given, 44_100), expected, atol=1e-6)
    assert audio.from_array(np.array([0, 128, 192], np.uint8), 16_000).tolist() == [-1, 0, 0.5]
    assert audio.from_array([0.25, -0.5], 16_000).tolist() == [0.25, -0.5]
    half = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    assert audio.from_array(half, 16_000).tolist() == [1, 1, 1]


# Invariance

@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("channels", [2, 3, 6])
def test_identical_channels_sound_like_one(rate, channels):
    one = encoded(chord(rate), rate, "FLAC")
    many = encoded(np.repeat(chord(rate)[:, None], channels, axis=1), rate, "FLAC")
    np.testing.assert_allclose(read(many), read(one), atol=1e-6)


def test_the_depth_changes_a_recording_by_no_more_than_its_rounding():
    exact = read(encoded(chord(44_100), 44_100, subtype="DOUBLE"))
    for (format, subtype), error in LOSSLESS.items():
        assert np.abs(read(encoded(chord(44_100), 44_100, format, subtype)) - exact).max() <= 2 * error + 1e-6


def test_path_file_and_pipe_give_the_same(tmp_path):
    content = encoded(chord())
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    expected = read(content)
    exhausted = io.BytesIO(content)
    exhausted.read()
    reader, writer = os.pipe()
    threading.Thread(target=lambda: (os.write(writer, content), os.close(writer))).start()
    with open(path, "rb") as file, os.fdopen(reader, "rb") as pipe:
        for source in (str(path), path, file, file, exhausted, pipe):
            np.testing.assert_array_equal(audio.read(source), expected)


@pytest.mark.skipif(os.name != "posix", reason="only there file names are bytes")
def test_a_name_that_is_not_utf8_is_read_and_printable(tmp_path):
    name = os.path.join(os.fsencode(tmp_path), b"\xe9t\xe9.wav")
    try:
        with open(name, "wb") as file:
            file.write(encoded(chord()))
    except OSError:
        pytest.skip("this file system wants UTF-8 names")
    [path] = audio.find(tmp_path)
    assert len(audio.read(path)) == 32_000
    with pytest.raises(AudioError) as refusal:
        audio.read(path, start_seconds=9)
    str(refusal.value).encode()


# Round trips

@pytest.mark.parametrize("format, subtype", LOSSLESS)
def test_a_lossless_format_returns_its_samples(format, subtype):
    heard = read(encoded(chord(), format=format, subtype=subtype))
    assert len(heard) == 32_000 and np.abs(heard - chord()).max() <= LOSSLESS[format, subtype]


@pytest.mark.parametrize("format, subtype", LOSSY)
def test_a_lossy_format_returns_its_sound_in_place(format, subtype):
    heard = read(encoded(chord(), format=format, subtype=subtype))
    assert len(heard) == 32_000 and np.corrcoef(heard, chord())[0, 1] > 0.99


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_is_read_to_its_end(size):
    content = bytearray(encoded(chord()))
    for riff in (bytes(content[4:8]), struct.pack("<I", size)):
        content[4:8], content[40:44] = riff, struct.pack("<I", size)
        np.testing.assert_array_equal(read(content), read(encoded(chord())))


def test_a_flac_from_a_pipe_is_read_to_its_end():
    content = bytearray(encoded(chord(), format="FLAC"))
    content[21] &= 0xF0  # 36 bits of STREAMINFO count the samples: 0 is unknown
    content[22:26] = bytes(4)
    np.testing.assert_array_equal(read(content), read(encoded(chord(), format="FLAC")))
    assert audio.duration(io.BytesIO(content)) == 2.0


def test_an_mp3_that_does_not_tell_its_length_is_read_to_its_end():
    content = encoded(chord(), format="MP3", subtype="MPEG_LAYER_III")
    second = content.index(content[:2], 4)  # the first frame is the Xing header
    heard = read(content[second:])
    assert 32_000 <= len(heard) < 35_000  # with the encoder's delay and padding; libsndfile alone gives 6,000
    assert audio.duration(io.BytesIO(content[second:])) == len(heard) / 16_000
    assert max(np.correlate(heard, chord()[8_000:24_000])) > 0.98 * np.sum(chord()[8_000:24_000] ** 2)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_what_does_not_tell_its_length_is_not_held_in_memory(tmp_path, name):
    with open(tmp_path / name, "wb") as file:
        if name.endswith("wav"):
            file.write(encoded(chord()[:0]))
            file.truncate(100_000_000)
        else:
            content = encoded(chord(), format="MP3", subtype="MPEG_LAYER_III")
            frames = content[content.index(content[:2], 4):]
            file.write(frames * (40_000_000 // len(frames)))
    tracemalloc.start()
    blocks = audio.blocks(tmp_path / name, block_seconds=1)
    first, (_, peak), _ = next(blocks), tracemalloc.get_traced_memory(), tracemalloc.stop()
    blocks.close()
    assert len(first) == 16_000 and peak < 16e6


def test_a_name_that_moves_the_cursor_is_told_in_one_line():
    error = AudioError("a\n\x1b[2J\udcff é.wav", "is cut", "Copy it again.")
    assert str(error) == r"a\n\x1b[2J\udcff é.wav: is cut. Copy it again."


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(AudioError("a.wav", "is cut", "Copy it again.")))
    assert (error.name, error.reason, str(error)) == ("a.wav", "is cut", "a.wav: is cut. Copy it again.")


def test_real_recordings_are_read_in_full(corpora):
    for corpus in ("ravdess", "emodb", "nemo"):
        for path in audio.find(corpora / corpus)[::97]:
            assert len(audio.read(path)) / 16_000 == pytest.approx(audio.duration(path), abs=1e-4)


# Refusals

@pytest.mark.parametrize("format, subtype", CUT_FORMATS)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_a_cut_file_is_refused(format, subtype, share):
    content = encoded(chord(48_000), 48_000, format, subtype)
    with pytest.raises(AudioError, match="audio stream: .*cut.* again"):
        read(content[:int(share * len(content))])
    with pytest.raises(AudioError, match="audio stream: .*cut.* again"):
        list(audio.blocks(io.BytesIO(content[:int(share * len(content))]), block_seconds=0.2))


def test_a_cut_wav_is_refused_behind_any_number_of_other_chunks_and_an_id3_mp3_too():
    content = encoded(chord())
    notes = b"".join(b"n%03d\4\0\0\0note" % number for number in range(200))
    content = b"RIFF" + struct.pack("<I", len(content + notes) - 8) + content[8:36] + notes + content[36:]
    assert len(read(content)) == 32_000
    mp3 = b"ID3\4\0\0\0\0\x40\0" + bytes(0x40 << 7) + encoded(chord(), format="MP3", subtype="MPEG_LAYER_III")
    assert len(read(mp3)) == 32_000
    for whole in (content, mp3):
        with pytest.raises(AudioError, match="cut: the header promises"):
            read(whole[:-1_500])


@pytest.mark.parametrize("content, reason", [
    (b"", "is empty"), (encoded(chord()[:0]), "0 samples"), (encoded(chord())[:44], "cut"),
    (encoded(chord()[:0]) + b"LIST\4\0\0\0INFO", "0 samples"), (b"<html>Not found</html>" * 100, "not audio"),
    (bytes(9_999), "not audio"), (encoded([0.1, np.nan], subtype="FLOAT"), "NaN"),
    (encoded([[0.1, 0.1], [-np.inf, np.inf]], subtype="DOUBLE"), "NaN or inf"),
    (encoded([32_000.0, 5.0], subtype="FLOAT"), "full scale"), (encoded(chord(), 7), "rate is 7 Hz")],
    ids=lambda value: value if isinstance(value, str) else "")   # bytes hold the time they were made at
def test_what_is_not_a_recording_is_refused(content, reason, tmp_path):
    (tmp_path / "x.wav").write_bytes(content)
    for source, name in ((tmp_path / "x.wav", "x.wav"), (io.BytesIO(content), "audio stream")):
        with pytest.raises(AudioError, match=f"{name}: .*{reason}.*\\. [A-Z].*\\.$"):
            audio.read(source)


def test_what_is_not_a_file_is_refused(tmp_path):
    (tmp_path / "x.raw").write_bytes(bytes(1_000))
    (tmp_path / "x.wav").write_bytes(encoded(chord()))
    closed = open(tmp_path / "x.wav", "rb")
    closed.close()
    with open(tmp_path / "x.wav") as text:
        cases = {"no such file": tmp_path / "none.wav", "is a directory": tmp_path, "binary mode": text,
                 "closed file": closed, "from_array": chord(), "not audio": tmp_path / "x.raw"}
        for reason, source in cases.items():
            for function in (audio.read, audio.duration, lambda source: list(audio.blocks(source))):
                with pytest.raises(AudioError, match=reason):
                    function(source)
    with pytest.raises(AudioError, match="is not a directory"):
        audio.find(tmp_path / "none")


@pytest.mark.parametrize("format, subtype", FORMATS)
def test_a_span_outside_the_file_is_refused_but_half_a_second_is_forgiven(format, subtype):
    content = encoded(chord(), format=format, subtype=subtype)
    assert len(read(content, 16_000, 1.0, 2.4)) == 16_000
    for start, stop in ((1.0, 2.6), (2.0, None), (5.0, 6.0), (1.0, 1.0), (1.0, 0.5), (-1.0, 1), (np.nan, 1)):
        with pytest.raises(AudioError, match=f"the span from {start} s"):
            read(content, 16_000, start, stop)


@pytest.mark.parametrize("waveform, reason", [
    ([], "0 samples"), ([1, 2], "int64 has no agreed"), ([True], "bool"), ([0.0, np.nan], "NaN"),
    (np.zeros((40, 300)), "does not tell"), (np.zeros((2, 2)), "does not tell"),
    (np.zeros((1, 2, 9)), "does not tell"), ([300.0], "full scale"), (np.zeros(1, np.int16), "0 at 8000 Hz")])
def test_an_array_that_is_no_waveform_is_refused(waveform, reason):
    with pytest.raises(AudioError, match=f"mine: .*{reason}"):
        audio.from_array(waveform, 48_000, 8_000, name="mine")


def test_rates_and_blocks_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="sample_rate=0 must be .* Give the model's"):
        read(encoded(chord()), 0)
    with pytest.raises(AudioError, match="its rate is 16 Hz.*Give it in Hz"):
        audio.from_array(chord(), 16)
    with pytest.raises(TypeError, match="a sample rate of '16000' is no number"):
        audio.from_array(chord(), "16000")
    with pytest.raises(ValueError, match="block_seconds=0 .* Raise it"):
        next(audio.blocks(io.BytesIO(encoded(chord())), block_seconds=0))


def test_mp3s_joined_are_read_to_the_end_of_the_last():
    one = encoded(chord(), format="MP3", subtype="MPEG_LAYER_III")
    alone = audio.duration(io.BytesIO(one))
    for file in (io.BytesIO(one + one), io.BytesIO(one + b"TAG" + bytes(125) + one)):
        assert 2 * alone <= audio.duration(file) < 2 * alone + 0.3
    assert audio.duration(io.BytesIO(one + b"TAG" + bytes(125))) == alone


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_streams_joined_are_refused_as_what_they_are(subtype):
    one, other = (encoded(chord(), 48_000, "OGG", subtype) for _ in range(2))   # each has a number of its own
    with pytest.raises(AudioError, match="several Ogg streams one after the other. Join them"):
        audio.read(io.BytesIO(one + other))
    with pytest.raises(AudioError, match="the last Ogg page is a part of one"):
        audio.read(io.BytesIO(one[:-100]))


def test_a_span_without_an_end_is_refused():
    with pytest.raises(AudioError, match="without an end"):
        audio.cut(chord(), 16_000, 0.0, float("inf"))


@pytest.mark.parametrize("tag", [b"APETAGEX", b"LYRICSBEGIN"])
def test_a_long_tag_is_no_second_mp3(tag):
    one = encoded(chord(), format="MP3", subtype="MPEG_LAYER_III")
    assert audio.duration(io.BytesIO(one + tag + bytes(9000))) == audio.duration(io.BytesIO(one))
