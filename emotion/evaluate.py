"""Models against data directories: calibrated on validation speakers, scored on test speakers."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import audio, checkpoint, datadir, files, metrics, plot
from .analyzer import Analyzer, FileError
from .calibration import Calibration, fit_temperature, fit_threshold
from .datadir import DataError, Utterance
from .posteriors import Posteriors, read_scores
from .ratings import TABLE, Ratings, against_votes, told
from .timeline import Timeline
from .windows import Recording

log = logging.getLogger(__name__)
ENOUGH = 50   # utterances to fit a temperature on


Change = Callable[[np.ndarray, Utterance], np.ndarray]   # of a waveform (samples,) at the model's rate


def at_speed(speed: float, sample_rate: int) -> Change | None:
    """Plays faster (above 1) or slower, pitch and rate together; None for 1."""
    if speed == 1:
        return None
    return lambda waveform, utterance: audio.from_array(
        waveform, round(speed * sample_rate), sample_rate, utterance.id
    )


def recordings(utterances: Sequence[Utterance], analyzer: Analyzer, change: Change | None = None) -> list[Recording]:
    """Utterances as the Analyzer takes them; for a model normalised by speaker, with each speaker's own statistics.

    Those are fitted on the speaker's unlabelled recordings here (transductive: report it on a line of its own).
    change: what is done to each before it is heard.
    """
    def read(utterance: Utterance) -> list[np.ndarray]:
        waveform = heard(utterance, analyzer.sample_rate)
        return [waveform if change is None else change(waveform, utterance)]

    frontend = analyzer.checkpoint.frontend
    statistics: dict[str, tuple[Tensor, Tensor]] = {}
    if frontend.config.normalisation == "speaker":
        waveforms = ((torch.from_numpy(read(u)[0])[None].to(analyzer.device), u.speaker) for u in utterances)
        statistics = frontend.by_speaker(
            (waveform, torch.tensor([waveform.shape[1]], device=analyzer.device), [speaker])
            for waveform, speaker in waveforms
        )
    return [Recording(u.id, partial(read, u), statistics.get(u.speaker)) for u in utterances]


def heard(utterance: Utterance, sample_rate: int) -> np.ndarray:
    """Its waveform (samples,) at that rate. Raises: AudioError where it cannot be read."""
    return audio.read(
        datadir.open_wav(utterance), sample_rate, utterance.start_seconds or 0.0, utterance.stop_seconds
    )


def timelines(utterances: Sequence[Utterance], analyzer: Analyzer, change: Change | None = None) -> list[Timeline]:
    """The Analyzer's answer for every utterance. Raises DataError naming the first that cannot be read."""
    answers: list[Timeline] = []
    for answer in analyzer.run(recordings(utterances, analyzer, change)):
        if isinstance(answer, FileError):
            raise DataError(f"{answer.name}: {answer.reason} Leave it out (emotion data subset DIR OUT "
                            f"--without-utterances {answer.name}), or replace it.")
        answers.append(answer)
    return answers


def posteriors(utterances: Sequence[Utterance], analyzer: Analyzer, speeds: Sequence[float] = (1.0,)) -> Posteriors:
    """Calibrated probabilities of every utterance beside its true class; with several speeds their mean over these.

    Raises: LabelError for an emotion outside the scheme, ValueError for a speed that nobody speaks at.
    """
    return answers(utterances, analyzer, speeds)[0]


def answers(
    utterances: Sequence[Utterance], analyzer: Analyzer, speeds: Sequence[float],
) -> tuple[Posteriors, Ratings | None]:
    """What `posteriors` gives, and the dimensions beside their ratings, where the model has any."""
    if not speeds or not all(0.5 <= speed <= 2 for speed in speeds):
        raise ValueError(f"speeds={list(speeds)} must hold factors from 0.5 to 2: beyond, no voice is left. "
                         "Use 0.9,1,1.1.")
    targets = analyzer.checkpoint.scheme.indices(u.emotion for u in utterances)  # first: refused before all is scored
    changes = [at_speed(speed, analyzer.sample_rate) for speed in speeds]
    views = [timelines(utterances, analyzer, change) for change in changes]
    named = Posteriors(
        tuple(u.id for u in utterances), tuple(u.speaker for u in utterances), analyzer.labels, np.array(targets),
        np.mean([[answer.probabilities for answer in view] for view in views], axis=0),
    )
    if not analyzer.dimensions:
        return named, None
    said = np.mean([[list(answer.dimensions.values()) for answer in view] for view in views], axis=0)
    return named, Ratings.of(utterances, analyzer.dimensions, said)


def calibrate(
    exp_dir: str | Path, directory: str, device: str = "auto", hold_back: float | None = None,
) -> Calibration:
    """Fit the temperatures on the validation speakers and store them in the model; draws EXP/reliability.png.

    hold_back: share of these utterances, the least sure ones, that the model is to call unknown, 0 for none; of a model
    that is calibrated, this alone is fitted.
    Temperatures are fitted on the utterances that one window of the model holds, if enough are so short: of longer ones
    it answers with the mean over windows. The step temperature makes each step of the timeline as sure of its
    utterance's label as it is right.
    Raises DataError where a speaker of the directory was heard in training.
    """
    path = Path(exp_dir) / checkpoint.FILE_NAME
    model = checkpoint.read(path)
    is_fitted = model.calibration != Calibration()
    if is_fitted and hold_back is None:
        log.info("%s is calibrated (temperature %.2f), once and for all: skipped", path, model.calibration.utterance)
        return model.calibration
    utterances = datadir.read(directory)
    refuse_heard(utterances, model.train_speakers, "trained on", "Give other speakers.")
    targets = np.array(model.scheme.indices(u.emotion for u in utterances))
    if len(targets) < ENOUGH and not is_fitted:
        log.warning("%d validation utterances are few to fit temperatures on: take with care how sure the answers are",
                    len(targets))
    analyzer = Analyzer(model, device)
    answers = timelines(utterances, analyzer)
    probabilities = np.stack([answer.probabilities for answer in answers])
    if is_fitted:
        fitted, calibrated = model.calibration, probabilities
    else:
        fitted, calibrated = _temperatures(answers, targets, analyzer.windows.length_seconds), probabilities
        if fitted != Calibration():
            again = timelines(utterances, Analyzer(model.with_calibration(fitted), device))
            calibrated = np.stack([answer.probabilities for answer in again])
        plot.reliability(targets, probabilities, Path(exp_dir) / "reliability.png", calibrated=calibrated)
        log.info(
            "temperature %.2f (steps %.2f): expected calibration error %.3f -> %.3f on %d validation utterances",
            fitted.utterance, fitted.step,
            metrics.ece(targets, probabilities), metrics.ece(targets, calibrated), len(targets),
        )
    fitted = replace(fitted, unknown_below=fit_threshold(torch.tensor(calibrated), hold_back or 0.0))
    if hold_back is not None:
        log.info("below a confidence of %.2f the answer is unknown", fitted.unknown_below)
    chose = {*model.valid_speakers, *(u.speaker for u in utterances)}  # whoever calibrates cannot test
    checkpoint.write(replace(model.with_calibration(fitted), valid_speakers=tuple(sorted(chose))), path)
    return fitted


def _temperatures(answers: Sequence[Timeline], targets: np.ndarray, window_seconds: float) -> Calibration:
    """Those that fit the answers of single windows, whose log-probabilities are their logits but for a constant, which
    softmax ignores; of all, where fewer than ENOUGH have one. Shape: targets (answers,) class numbers.
    """
    pairs = list(zip(answers, targets))
    single = [pair for pair in pairs if pair[0].duration_seconds <= window_seconds]
    whole, true = zip(*(single if len(single) >= ENOUGH else pairs))
    steps = [answer.step_probabilities for answer in whole]

    def fitted(probabilities: np.ndarray, targets: np.ndarray) -> float:
        return fit_temperature(torch.tensor(probabilities).clamp(min=1e-12).log(), torch.tensor(targets))

    return Calibration(
        utterance=fitted(np.stack([answer.probabilities for answer in whole]), np.array(true)),
        step=fitted(np.concatenate(steps), np.repeat(true, [len(part) for part in steps])),
    )


def evaluate(
    exp_dir: str | Path, directory: str, device: str = "auto", allow_heard: bool = False,
    speeds: Sequence[float] = (1.0,), out: str | Path | None = None, own_statistics: bool = False,
) -> dict:
    """Score the test speakers once: posteriors.csv, scores.json and confusion.png in the folder `out`.

    Again only where the model or the tables of the data directory have changed.

    With dimensions also dimensions.csv and, in scores.json, the CCC of each; with votes, how well the answers fit them.
    exp_dir: an experiment folder, which is where `out` is if left out; or a model file, which needs it.
    With other speeds (test-time averaging) the tables are called posteriors_speeds.csv and so on.
    own_statistics: see `with_statistics_of`; the tables are then called posteriors_own.csv and so on.
    Raises DataError where the model has heard a speaker in training or validation, unless allowed; and where the folder
    holds the scores of other data or speeds.
    """
    model = checkpoint.read(exp_dir)
    if out is None and checkpoint.located(exp_dir).parent != Path(exp_dir):
        raise DataError(f"{exp_dir} is a model without a folder of its own. Tell where its scores go (--out DIR).")
    out = Path(exp_dir if out is None else out)
    kind = ("" if tuple(speeds) == (1.0,) else "_speeds") + ("_own" if own_statistics else "")
    done = out / f"scores{kind}.json"
    utterances = datadir.read(directory)
    source = {
        "model": model.fingerprint, "data": str(directory), "content": datadir.digest(utterances),
        "speeds": list(speeds),
    }
    if not allow_heard:
        refuse_heard(utterances, (*model.train_speakers, *model.valid_speakers))
    if standing := _standing(done, kind, source):
        log.info("%s stands: evaluation is done, skipped", done)
        return standing
    out.mkdir(parents=True, exist_ok=True)
    if own_statistics:
        model = with_statistics_of(utterances, model)
    named, rated = answers(utterances, Analyzer(model, device), speeds)
    named.write(out / f"posteriors{kind}.csv")
    knew = own_statistics or model.frontend.config.normalisation == "speaker"
    known = sorted({u.speaker for u in utterances} & {*model.train_speakers, *model.valid_speakers})
    scores = {**source, "transductive": knew, "heard": known, **named.summary()}
    if rated is not None:
        rated.write(out / f"{TABLE}{kind}.csv")
        scores["dimensions"] = rated.summary()
    if votes := against_votes(utterances, model.scheme, named.probabilities):
        scores["votes"] = votes
    scores = _strict(scores)
    plot.confusion(np.array(scores["confusion"]), named.labels, out / f"confusion{kind}.png")
    with files.whole(done) as file:
        json.dump(scores, file, indent=1)
    if len(named.labels) > 1:
        log.info("%s: UAR %.3f, WAR %.3f on %d utterances", out, scores["uar"], scores["war"], len(utterances))
    for line in told(scores):
        log.info("%s: %s", out, line)
    return scores


def _standing(done: Path, kind: str, source: dict) -> dict:
    """The scores of this source that are there with all their tables; {} where it is to be done.

    Raises: DataError where they are of other data or other speeds, and would be lost.
    """
    scores = read_scores(done)
    if not scores:
        return {}
    tables = [f"posteriors{kind}.csv", *([f"{TABLE}{kind}.csv"] if "dimensions" in scores else [])]
    same = {**source, "data": scores.get("data")}.items() <= scores.items()
    if same and all(done.with_name(table).exists() for table in tables):
        return scores
    if not same and os.path.realpath(str(scores.get("data"))) != os.path.realpath(source["data"]):
        raise DataError(f"{done} tells of {scores.get('data')}: it would be lost. Give another folder (--out DIR).")
    if scores.get("speeds", source["speeds"]) != source["speeds"]:
        raise DataError(f"{done} tells of speeds {scores['speeds']}: it would be lost. Give another folder "
                        "(--out DIR).")
    return {}


def with_statistics_of(utterances: Sequence[Utterance], model: checkpoint.Checkpoint) -> checkpoint.Checkpoint:
    """The model, normalised by mean and deviation of these recordings, all together, instead of those of its training.

    So a corpus loses what its rooms and microphones add to every recording. It needs all of them, unlabelled, before
    the first answer (transductive: report it on a line of its own).
    Raises: DataError for a model that is not normalised by its training's statistics.
    """
    kind = model.frontend.config.normalisation
    if kind != "global":
        raise DataError(f"the model is normalised by {kind}: statistics of its training are nothing to replace. Leave "
                        "--own-statistics out, or give a model with frontend.normalisation: global.")
    frontend = copy.deepcopy(model.frontend)
    waveforms = (torch.from_numpy(heard(u, frontend.config.sample_rate))[None] for u in utterances)
    frontend.fit((waveform, torch.tensor([waveform.shape[1]])) for waveform in waveforms)
    return replace(model, frontend=frontend)


def _strict(value: Any) -> Any:
    """For JSON, which has no NaN: null where there is no answer, as the recall of an absent class."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def refuse_heard(
    utterances: Sequence[Utterance], speakers: Sequence[str], how: str = "trained or validated on",
    remedy: str = "Give other speakers, or --allow-heard.",
) -> None:
    """Raises DataError where some of the utterances are of those speakers; warns where names are alike."""
    names = {u.speaker for u in utterances}
    if shared := names & set(speakers):
        raise DataError(
            f"the model was {how} the speakers {datadir.few(shared)}: scores on them would say nothing about voices it "
            f"never heard. {remedy}"
        )
    if alike := {name: known for name in names for known in speakers if len(name) > 1 and known.endswith(name)}:
        log.warning("the model was %s %s: if these are your %s, the scores say nothing about voices it never heard",
                    how, datadir.few(alike.values()), datadir.few(alike))
