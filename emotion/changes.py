"""What happens to a recording on its way to a model: what nobody hears, and what rooms, noise and lines do to it.

Each change takes a waveform (samples,) and gives one, float32; what it draws comes from the generator it is given.
Sources: Derington et al. 2023, Testing correctness, fairness, and robustness of speech emotion recognition models
(arXiv 2312.06270), and audEERING's list of tests beside it, for which changes there are and how large they are; where
this machine lacks what they used (MUSAN, AMR, measured rooms), the docstring says what stands for it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import soundfile

Number = TypeVar("Number", int, float)
Voices = Callable[[np.random.Generator], np.ndarray]   # another utterance, drawn anew at each call

CODED_RATE = 16_000   # of what MP3 and Opus take: both have it, and bits a second mean the same for every model
MP3_DELAY = 1105   # samples of coding and decoding, which libsndfile takes off at 32 kHz and more alone
SOUND_METRES_PER_SECOND = 343.0
ROOM_METRES = ((3.0, 8.0), (3.0, 6.0), (2.5, 3.5))
RT60_SECONDS = (0.2, 0.4)   # by Eyring; mirrored sources ring half as long again


@dataclass(frozen=True, eq=False)
class Sound:
    """One utterance that is to be changed: waveform (samples,) at sample_rate, a generator of its own, other voices."""

    waveform: np.ndarray
    sample_rate: int
    generator: np.random.Generator
    voices: Voices

    @property
    def rms(self) -> float:
        return float(np.sqrt(np.mean(np.square(self.waveform, dtype=np.float64))))

    def one_of(self, *values: Number) -> Number:
        return values[self.generator.integers(len(values))]


def tone(sound: Sound) -> np.ndarray:
    """A sinusoid between 5 and 7 kHz, its peak 40, 45 or 50 dB below that of the speech.

    Of a slower model it lies as high as its rate lets it, as far above the voice.
    """
    peak = np.abs(sound.waveform).max() * _amplitude(-sound.one_of(40, 45, 50))
    highest = min(7000, 0.44 * sound.sample_rate)
    hertz = sound.generator.uniform(5 / 7 * highest, highest)
    return sound.waveform + peak * np.sin(2 * np.pi * hertz / sound.sample_rate * np.arange(len(sound.waveform)))


def zeros_before(sound: Sound) -> np.ndarray:
    return np.concatenate([np.zeros(sound.one_of(100, 500, 1000), np.float32), sound.waveform])


def zeros_after(sound: Sound) -> np.ndarray:
    return np.concatenate([sound.waveform, np.zeros(sound.one_of(100, 500, 1000), np.float32)])


def clip(sound: Sound) -> np.ndarray:
    """The loudest 0.1, 0.2 or 0.3 % of the samples are cut down to the next."""
    limit = np.quantile(np.abs(sound.waveform), 1 - sound.one_of(0.1, 0.2, 0.3) / 100)
    return np.clip(sound.waveform, -limit, limit)


def crop_start(sound: Sound) -> np.ndarray:
    """100, 500 or 1000 samples less, but never more than half."""
    return sound.waveform[min(sound.one_of(100, 500, 1000), len(sound.waveform) // 2) :]


def crop_end(sound: Sound) -> np.ndarray:
    """100, 500 or 1000 samples less, but never more than half."""
    return sound.waveform[: len(sound.waveform) - min(sound.one_of(100, 500, 1000), len(sound.waveform) // 2)]


def gain(sound: Sound) -> np.ndarray:
    return sound.waveform * _amplitude(sound.one_of(-2, -1, 1, 2))


def high_pass(sound: Sound) -> np.ndarray:
    """Butterworth of order 1 from 50, 100 or 150 Hz on."""
    return _butterworth(sound, "highpass", sound.one_of(50, 100, 150))


def low_pass(sound: Sound) -> np.ndarray:
    """Butterworth of order 1 up to 7.5, 7 or 6.5 kHz."""
    return _butterworth(sound, "lowpass", sound.one_of(7500, 7000, 6500))


def faint_noise(sound: Sound) -> np.ndarray:
    """White noise 35, 40 or 45 dB below the speech."""
    return _with_noise(sound, sound.generator.standard_normal(len(sound.waveform)), sound.one_of(35, 40, 45))


def white_noise(sound: Sound) -> np.ndarray:
    """White noise 20 dB below the speech."""
    return _with_noise(sound, sound.generator.standard_normal(len(sound.waveform)), 20)


def babble(sound: Sound) -> np.ndarray:
    """Four to seven people talk at once, 20 dB below; other utterances of the same data, in place of MUSAN."""
    heard = np.zeros(len(sound.waveform))
    for _ in range(sound.generator.integers(4, 8)):
        voice = sound.voices(sound.generator)
        start = sound.generator.integers(len(voice))
        heard += np.resize(np.roll(voice, -start), len(heard)) / max(1e-10, float(np.sqrt(np.mean(voice**2))))
    return _with_noise(sound, heard, 20)


def telephone(sound: Sound) -> np.ndarray:
    """Loud parts compressed 4 to 1 above -20 dB of the peak, then 8000 samples a second through GSM at 13 kbit/s.

    The codec is GSM 06.10 of libsndfile, in place of AMR at 7.4 kbit/s. Attack 10 ms, release 20 ms.
    """
    import soxr

    narrow = soxr.resample(_compressed(sound).astype(np.float32), sound.sample_rate, 8000)
    narrow = _coded(0.9 * narrow / max(1e-10, float(np.abs(narrow).max())), 8000, format="WAV", subtype="GSM610")
    return _as_loud(sound, _as_long(soxr.resample(narrow, 8000, sound.sample_rate), len(sound.waveform)))


def tilt_up(sound: Sound) -> np.ndarray:
    """20 dB more at the highest frequency than at the lowest, on a straight line between, as loud as before."""
    return _tilted(sound, 20)


def tilt_down(sound: Sound) -> np.ndarray:
    """20 dB less at the highest frequency than at the lowest, on a straight line between, as loud as before."""
    return _tilted(sound, -20)


def room(sound: Sound) -> np.ndarray:
    """A room of 3 to 8 by 3 to 6 by 2.5 to 3.5 m whose echoes fall by 60 dB in 0.3 to 0.7 s, the voice 1 m away.

    Mirrored sources, all walls alike, in place of measured rooms; the direct sound stays where it is in time.
    Source: Allen and Berkley 1979, Image method for efficiently simulating small-room acoustics.
    """
    from scipy.signal import fftconvolve

    response = _room_response(sound.generator, sound.sample_rate)
    return _as_loud(sound, fftconvolve(sound.waveform, response)[: len(sound.waveform)])


def mp3(sound: Sound) -> np.ndarray:
    """MP3 at 24 kbit/s and 16 kHz."""
    return _at_coded_rate(sound, lambda waveform: _coded(
        waveform, CODED_RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.9, bitrate_mode="CONSTANT"))


def opus(sound: Sound) -> np.ndarray:
    """Opus at about 11 kbit/s and 16 kHz."""
    return _at_coded_rate(sound, lambda waveform: _coded(
        waveform, CODED_RATE, format="OGG", subtype="OPUS", compression_level=0.98))


def _amplitude(decibel: Any) -> Any:
    """Of a number, or of each of an array."""
    return 10 ** (decibel / 20)


def _as_loud(sound: Sound, changed: np.ndarray) -> np.ndarray:
    """As loud as before, by the energy of the whole."""
    return changed * (sound.rms / max(1e-10, float(np.sqrt(np.mean(np.square(changed, dtype=np.float64))))))


def _with_noise(sound: Sound, noise: np.ndarray, snr_db: float) -> np.ndarray:
    level = max(1e-10, float(np.sqrt(np.mean(noise**2))))
    return sound.waveform + noise * (sound.rms / level * _amplitude(-snr_db))


def _butterworth(sound: Sound, kind: str, hertz: float) -> np.ndarray:
    from scipy.signal import butter, sosfilt

    hertz = min(hertz, 0.49 * sound.sample_rate)   # of a slower model nothing is above
    return sosfilt(butter(1, hertz, kind, fs=sound.sample_rate, output="sos"), sound.waveform)


def _tilted(sound: Sound, decibel: float) -> np.ndarray:
    spectrum = np.fft.rfft(sound.waveform)
    spectrum *= _amplitude(decibel * np.linspace(-0.5, 0.5, len(spectrum)))
    return _as_loud(sound, np.fft.irfft(spectrum, len(sound.waveform)))


def _compressed(sound: Sound) -> np.ndarray:
    """Parts that are louder than -20 dB of the peak rise by 1 dB for each 4."""
    from scipy.signal import lfilter

    size = np.abs(sound.waveform) / max(1e-10, float(np.abs(sound.waveform).max()))
    follow = [np.exp(-1 / (seconds * sound.sample_rate)) for seconds in (0.01, 0.02)]
    level = np.maximum(*(lfilter([1 - keep], [1, -keep], size) for keep in follow))   # rises fast, falls slowly
    over_db = np.maximum(0, 20 * np.log10(np.maximum(level, 1e-10)) + 20)
    return sound.waveform * _amplitude(-0.75 * over_db)


def _at_coded_rate(sound: Sound, codec: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The codec's answer at CODED_RATE, brought back to the rate and length of the sound."""
    if sound.sample_rate == CODED_RATE:
        return codec(sound.waveform)
    import soxr

    back = soxr.resample(codec(soxr.resample(sound.waveform, sound.sample_rate, CODED_RATE)), CODED_RATE,
                         sound.sample_rate)
    return _as_long(back, len(sound.waveform))


def _as_long(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Cut, or filled with zeros, at its end."""
    return np.pad(waveform[:samples], (0, max(0, samples - len(waveform))))


def _coded(waveform: np.ndarray, sample_rate: int, **how) -> np.ndarray:
    """What is left after a codec, as long as before and no later.

    Raises: ValueError where this libsndfile does not have it.
    """
    file = io.BytesIO()
    try:
        soundfile.write(file, np.clip(waveform, -1, 1), sample_rate, **how)
    except soundfile.SoundFileError as error:
        raise ValueError(f"libsndfile {soundfile.__libsndfile_version__} cannot write {how['subtype']} ({error}). "
                         "Install soundfile from PyPI, which brings one that can.") from error
    file.seek(0)
    decoded = soundfile.read(file, dtype="float32")[0]
    late = MP3_DELAY if how["format"] == "MP3" and len(decoded) > len(waveform) else 0
    return _as_long(decoded[late:], len(waveform))


def _room_response(generator: np.random.Generator, sample_rate: int) -> np.ndarray:
    """Impulse response of a drawn room; sample 0 is the direct sound, of size 1."""
    size = np.array([generator.uniform(*limits) for limits in ROOM_METRES])
    rt60 = generator.uniform(*RT60_SECONDS)
    microphone = size * generator.uniform(0.3, 0.7, 3)
    direction = generator.standard_normal(3)
    source = np.clip(microphone + direction / np.linalg.norm(direction), 0.1, size - 0.1)   # 1 m, or the wall before

    walls = 2 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    absorption = 1 - np.exp(-24 * math.log(10) * size.prod() / (SOUND_METRES_PER_SECOND * walls * rt60))   # Eyring
    reflection = math.sqrt(1 - absorption)

    farthest = rt60 * SOUND_METRES_PER_SECOND
    mirrors = [np.arange(-math.ceil(farthest / (2 * side)), math.ceil(farthest / (2 * side)) + 1) for side in size]
    images, bounces = [], []   # along each axis: where the mirrored sources are, and how many walls lie between
    for n, side, place in zip(mirrors, size, source):
        images.append(np.concatenate([2 * n * side + place, 2 * n * side - place]))
        bounces.append(np.concatenate([np.abs(2 * n), np.abs(2 * n - 1)]))
    squared = [(image - at) ** 2 for image, at in zip(images, microphone)]
    distance = np.sqrt(squared[0][:, None, None] + squared[1][:, None] + squared[2])
    walls_met = bounces[0][:, None, None] + bounces[1][:, None] + bounces[2]
    direct = float(np.linalg.norm(source - microphone))
    delay = np.rint((distance - direct) / SOUND_METRES_PER_SECOND * sample_rate).astype(int)
    strength = reflection**walls_met * direct / distance
    length = round(rt60 * sample_rate)
    return np.bincount(delay[delay < length], strength[delay < length], length)


SMALL = {
    "tone": tone, "zeros before": zeros_before, "zeros after": zeros_after, "clipping": clip,
    "start cropped": crop_start, "end cropped": crop_end, "gain": gain, "high pass": high_pass, "low pass": low_pass,
    "faint white noise": faint_noise,
}
WORLD = {
    "white noise": white_noise, "babble": babble, "telephone": telephone, "upward tilt": tilt_up,
    "downward tilt": tilt_down, "room": room, "MP3": mp3, "Opus": opus,
}
