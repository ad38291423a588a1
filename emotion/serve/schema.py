"""What goes over the wire: answers as JSON, as `Timeline.to_dict` has them, and files in the formats of other tools."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .. import formats
from ..formats import FormatError
from ..page import UNSHOWABLE
from ..timeline import Timeline
from .picture import Picture

MEL_RANGE = 14.0   # nats below the loudest are drawn, 61 dB; below is the room
MOST_LETTERS = 120   # of a name

_UNFIT = re.compile(f"{UNSHOWABLE.pattern}|[\ufffe\uffff]")   # for one line, or for XML


class Download(NamedTuple):
    ending: str   # of the file that is sent
    kind: str
    title: str


DOWNLOADS = {   # by the name that a query has for each ending of formats.FORMATS
    "csv": Download(".csv", "text/csv", "CSV table"),
    "jsonl": Download(".jsonl", "application/jsonl", "JSON lines"),
    "parquet": Download(".parquet", "application/vnd.apache.parquet", "Parquet"),
    "rttm": Download(".rttm", "text/plain", "RTTM"),
    "kaldi": Download(".zip", "application/zip", "Kaldi (zip)"),
    "textgrid": Download(".TextGrid", "text/plain", "Praat TextGrid"),
    "eaf": Download(".eaf", "application/xml", "ELAN"),
    "txt": Download(".txt", "text/plain", "Audacity labels"),
    "vtt": Download(".vtt", "text/vtt", "WebVTT subtitles"),
}
FileFormat = Literal["csv", "jsonl", "parquet", "rttm", "kaldi", "textgrid", "eaf", "txt", "vtt"]


def plain_name(name: str | None) -> str:
    """The last part of a path that somebody sent, as one line that every format can hold; never to be opened."""
    last = re.split(r"[/\\]", name or "")[-1]
    return _UNFIT.sub("_", last)[-MOST_LETTERS:].strip(" ~|.") or "recording"


class Query(BaseModel):
    """How to analyze."""

    model_config = ConfigDict(extra="forbid")

    channels: Annotated[Literal["mix", "separate"], Field(description="mixed, or each by itself")] = "mix"
    format: Annotated[Literal["json"] | FileFormat, Field(description="JSON, or a file of segments")] = "json"
    pictures: Annotated[bool, Field(description="with waveform and spectrogram to draw, in JSON")] = False


class Segment(BaseModel):
    """A stretch of one emotion; its probabilities are the mean inside it."""

    start_seconds: float
    end_seconds: float
    label: str
    confidence: float
    probabilities: dict[str, float]
    speaker: str | None = None
    dimensions: Annotated[dict[str, float] | None, Field(description="if the model has them")] = None


class Steps(BaseModel):
    """What is known of each moment, before smoothing."""

    times_seconds: Annotated[list[float], Field(description="the centre of each step")]
    probabilities: Annotated[list[list[float]], Field(description="for each step, in the order of the labels")]
    speech: Annotated[list[float], Field(description="the probability that somebody speaks")]
    dimensions: Annotated[
        list[list[float]] | None, Field(description="for each step, in the order of the answer's dimensions")
    ] = None


class Waveform(BaseModel):
    """Lowest and highest sample of each column, as signed bytes in base64: 127 is the peak."""

    column_seconds: float
    peak: Annotated[float, Field(description="of full scale 1")]
    low: str
    high: str


class Spectrogram(BaseModel):
    """Log-mel, one byte for each column and band in base64, the bands of a column together: 255 is the highest."""

    column_seconds: float
    num_bands: int
    low_hz: float
    high_hz: float
    lowest: Annotated[float, Field(description="natural log of power that 0 stands for")]
    highest: float
    values: str


class Answer(BaseModel):
    """One recording, or a channel of it."""

    path: Annotated[str, AfterValidator(plain_name), Field(description="name of the file as sent, without folders")]
    channel: Annotated[int | None, Field(ge=1, description="from 1; null: mixed")] = None
    label: Annotated[str, Field(description="the most probable emotion, or unknown where the model holds back")]
    confidence: Annotated[float, Field(description="calibrated probability of the most probable emotion")]
    entropy: Annotated[float, Field(description="0 where one emotion has all, 1 where all are alike")]
    flags: Annotated[list[str], Field(description="no_speech, short, silent, clipped, band_limited, noisy")]
    duration_seconds: float
    speech_seconds: Annotated[float, Field(description="in which somebody speaks")]
    labels: list[str]
    probabilities: dict[str, float]
    dimensions: Annotated[
        dict[str, float] | None, Field(description="arousal and the like from 0 to 1, if the model has them")
    ] = None
    segments: list[Segment]
    steps: Annotated[Steps | None, Field(description="always there in an analysis")] = None
    waveform: Annotated[Waveform | None, Field(description="with pictures=true")] = None
    spectrogram: Annotated[
        Spectrogram | None, Field(description="with pictures=true, but for an exported model")
    ] = None


class Analysis(BaseModel):
    answers: Annotated[list[Answer], Field(description="one, or with channels=separate one for each channel")]


class Health(BaseModel):
    status: Literal["ok"]
    model: str
    fingerprint: Annotated[str, Field(description="of all in the model that decides an answer")]
    labels: list[str]
    dimensions: Annotated[list[str], Field(description="arousal and the like, of a model that has some")]
    version: str
    queue_length: Annotated[int, Field(description="requests being sent, waiting and being answered")]


class Error(BaseModel):
    detail: Annotated[str, Field(description="what was given, what is allowed, what to do")]


def analysis(answers: list[tuple[Timeline, Picture | None]]) -> str:
    """An Analysis as JSON text."""
    return Analysis(answers=[_answer(*answer) for answer in answers]).model_dump_json()


def file(answers: list[Timeline], name: FileFormat) -> bytes:
    """Segments in a format, as `formats.write` writes them; a Kaldi folder as a zip.

    Raises: FormatError and the like for what the format cannot hold, ModuleNotFoundError for Parquet without pyarrow.
    """
    with tempfile.TemporaryDirectory(prefix="emotion-") as folder:
        path = Path(folder, "answer" + ("" if name == "kaldi" else DOWNLOADS[name].ending))
        if name == "eaf":   # ELAN's links are absolute, and where the recording lies only its sender knows
            answers = [replace(answer, name=f"/{answer.name}") for answer in answers]
        try:
            formats.write(answers, path)
        except ValueError as error:
            raise FormatError(str(error).replace(folder + os.sep, "")) from None
        return _zipped(path) if path.is_dir() else path.read_bytes()


def timelines(content: bytes) -> list[Timeline]:
    """The answers of an Analysis that came back as JSON, without steps.

    Raises: ValidationError for what is none, FormatError for what none has.
    """
    analysis = Analysis.model_validate_json(content)
    with tempfile.TemporaryDirectory(prefix="emotion-") as folder:
        path = Path(folder, "answers.jsonl")
        lines = (json.dumps(answer.model_dump(exclude={"steps", "waveform", "spectrogram"})) + "\n"
                 for answer in analysis.answers)
        path.write_text("".join(lines), encoding="utf-8")
        try:
            return formats.read(path)
        except ValueError as error:
            raise FormatError(str(error).replace(folder + os.sep, "")) from None


def _answer(answer: Timeline, picture: Picture | None) -> Answer:
    frontend = picture.frontend if picture else None
    return Answer(
        **answer.to_dict(), labels=list(answer.labels),
        speech_seconds=sum(part.end_seconds - part.start_seconds for part in answer.segments),
        steps=Steps(
            times_seconds=_rounded(answer.step_times), probabilities=_rounded(answer.step_probabilities),
            speech=_rounded(answer.step_speech),
            dimensions=None if answer.step_dimensions is None else _rounded(answer.step_dimensions),
        ),
        waveform=_waveform(picture) if picture else None,
        spectrogram=_spectrogram(picture, frontend.low_hz, frontend.high_hz) if picture and frontend else None,
    )


def _waveform(picture: Picture) -> Waveform:
    low, high, column_seconds = picture.waveform
    peak = max(float(high.max()), float(-low.min()))
    shares = (_base64(np.rint(127 * part / (peak or 1.0)).astype(np.int8)) for part in (low, high))
    return Waveform(column_seconds=column_seconds, peak=peak, low=next(shares), high=next(shares))


def _spectrogram(picture: Picture, low_hz: float, high_hz: float) -> Spectrogram:
    mel, column_seconds = picture.spectrogram
    highest = float(mel.max())
    lowest = max(float(mel.min()), highest - MEL_RANGE)
    shares = (mel - lowest) / max(highest - lowest, 1e-6)
    return Spectrogram(
        column_seconds=column_seconds, num_bands=mel.shape[1], low_hz=low_hz,
        high_hz=high_hz, lowest=lowest, highest=highest,
        values=_base64(np.rint(255 * shares.clip(0, 1)).astype(np.uint8)),
    )


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _rounded(values: np.ndarray) -> list:
    return np.round(values.astype(np.float64), 4).tolist()


def _zipped(folder: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return content.getvalue()
