"""One training from settings and data directories to a model file; interrupted, it goes on where it was."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from .. import __version__, checkpoint, curves, datadir, files, labels
from ..analyzer import Analyzer
from ..baseline import neutral_voice
from ..checkpoint import Checkpoint
from ..evaluate import posteriors
from ..hardware import has_bfloat16, keep_freed_memory
from . import config as settings
from . import origin
from .callbacks import Ending, Epochs, Stopping, WholeCheckpoints
from .config import Config, FitConfig
from .dataset import LengthBuckets, Recordings, load, some_of_each, with_replacement
from .distributed import Processes, processes_of
from .losses import balanced, softened
from .system import System

log = logging.getLogger(__name__)


def train(
    config: Config, train_dir: str, valid_dir: str, exp_dir: str | Path, seed: int = 1, device: str = "auto",
    init: str | Path | None = None, teachers: Sequence[str | Path] = (), devices: int | None = None,
    nodes: int | None = None,
) -> Path:
    """Train on one data directory, choose the epoch on another; answers the path of the model file.

    In exp_dir: config.yaml, origin.json (commit, versions, data), epochs.csv, curves.png, tensorboard/, checkpoints/
    and, last, model.safetensors. Where that stands already nothing is done.
    init: a model to start from; teachers: models whose mean answer to the training utterances is learnt beside the
    labels. Both count as having been heard: their speakers go into the new model's.
    devices, nodes: on how many devices of how many machines, each with a process of its own; left out, as torchrun or
    srun started them, else one. The first process alone writes; the others start from the same command.
    Raises: BusyError where another training is at work in exp_dir; DataError where the two share a speaker or a
    recording, init or a teacher was trained on a validation speaker, or the training data lack a class or a second
    speaker; SettingError where the folder holds a training with other settings or of other utterances.
    """
    exp_dir = Path(exp_dir)
    model_path = exp_dir / checkpoint.FILE_NAME
    processes = processes_of(devices, nodes)
    lightning.seed_everything(seed, verbose=False)
    options = {key: value for key, value in config.model.items() if key != "name"}
    tables = {"train": datadir.read(train_dir), "valid": datadir.read(valid_dir)}
    emotions = [u.emotion for u in tables["train"]] if config.scheme == labels.OWN else ()
    fresh = checkpoint.build(config.model["name"], options, config.frontend, labels.scheme(config.scheme, emotions))
    resolved = replace(config, model={"name": config.model["name"], **checkpoint.options(fresh)})
    source = origin.source(seed, (train_dir, valid_dir), tables, init, teachers)
    if model_path.exists():
        origin.refuse_other(resolved, source, exp_dir)
        if processes.is_first:
            log.info("%s stands: training is done, skipped", model_path)
        return model_path
    place = processes.place(device)
    with _quiet(processes.is_first), _alone(exp_dir, processes.is_first):
        train_set, valid_set = load(config, train_dir, valid_dir, fresh.scheme)
        ancestors = {str(path): checkpoint.read(path) for path in ([init] if init else []) + list(teachers)}
        heard = _heard(ancestors, train_set, valid_set)
        if init:
            inherit(fresh, ancestors[str(init)], str(init))
        made = {
            "emotion_version": __version__, "commit": origin.commit(), "torch_version": str(torch.__version__),
            "processes": processes.count, "device": str(place), "precision": _precision(config.fit, place),
            "seed": seed, "init": source["init"], "teachers": source["teachers"],
            "ancestors": {name: model.fingerprint for name, model in ancestors.items()},
        }
        origin.claim(exp_dir, resolved, {**made, **source}, processes.is_first)
        targets: Callable[[], Tensor] | None = None
        if teachers:
            models = [ancestors[str(teacher)] for teacher in teachers]
            targets = partial(taught, models, train_set, config, device)
        system = System(fresh, config, train_set, valid_set, seed, targets)
        epochs = _run(system, config, exp_dir, seed, place, processes)
        if processes.is_first:
            _keep(replace(fresh, card=made, **heard), system, epochs, model_path)
    return model_path


@contextmanager
def _alone(exp_dir: Path, is_first: bool) -> Iterator[None]:
    """The folder, which goes again where nothing comes into it.

    Raises: BusyError where another training is at work there; of several processes the first asks.
    """
    if not is_first:
        yield
        return
    lock = exp_dir / ".lock"
    exp_dir.mkdir(parents=True, exist_ok=True)
    with files.alone(lock):
        try:
            yield
        finally:
            if list(exp_dir.iterdir()) == [lock]:
                lock.unlink()
                exp_dir.rmdir()


def _keep(fresh: Checkpoint, system: System, epochs: Epochs, model_path: Path) -> None:
    """Write the model of the best epoch, and draw how it went."""
    system.load_state_dict(torch.load(epochs.best_path, map_location="cpu", weights_only=True)["state_dict"])
    best, recordings = epochs.best, system.train_set
    curves.draw(epochs.rows, model_path.with_name("curves.png"), best["epoch"])
    card = {
        **fresh.card, "train_utterances": len(recordings), "valid_utterances": len(system.valid_set),
        "epoch": best["epoch"], "selected_by": system.kept_by[0],
        **{name: value for name, value in best.items() if name.startswith(("valid_uar", "valid_ccc"))},
    }
    utterances = enumerate(recordings.utterances)
    neutral = ((recordings.waveform(i), u.speaker) for i, u in utterances if u.emotion == "neutral")
    voice = neutral_voice(system.frontend, neutral)
    checkpoint.write(replace(fresh, model=system.chosen, card=card, neutral=voice), model_path)
    log.info("epoch %d kept, by %s; wrote %s", best["epoch"], system.kept_by[0], model_path)


def _heard(ancestors: Mapping[str, Checkpoint], train_set: Recordings, valid_set: Recordings) -> dict[str, Any]:
    """The speakers that the new model has heard, by itself or through the models it learns from."""
    for name, model in ancestors.items():
        if shared := set(model.train_speakers) & set(valid_set.speakers):
            raise datadir.DataError(
                f"{name} was trained on {datadir.few(shared)}, who would choose the epoch here: what they say of new "
                "voices would be wrong. Give other validation speakers, or a model of the same fold."
            )
    train_speakers = set(train_set.speakers).union(*(model.train_speakers for model in ancestors.values()))
    valid_speakers = set(valid_set.speakers).union(*(model.valid_speakers for model in ancestors.values()))
    return {
        "train_speakers": tuple(sorted(train_speakers)),
        "valid_speakers": tuple(sorted(valid_speakers - train_speakers)),
    }


def inherit(fresh: Checkpoint, parent: Checkpoint, name: str) -> None:
    """Start from the parent's weights, all but the last layers, whose classes may differ.

    Raises: SettingError where the networks or the features are not the same.
    """
    ours, theirs = ({**checkpoint.options(model), "name": model.name} for model in (fresh, parent))
    differing = [key for key in ours if not _is_free(key) and ours[key] != theirs.get(key)]
    features, heard = (replace(model.frontend.config, normalisation="global") for model in (fresh, parent))
    if features != heard:
        differing.append("frontend")
    if differing:
        raise settings.SettingError(
            f"{name} is another network or hears other features than these settings describe, in "
            f"{datadir.few(differing)}: its weights do not fit. Give the config.yaml of its own training."
        )
    weights, target = parent.model.state_dict(), fresh.model.state_dict()
    new = set() if fresh.labels == parent.labels else {"classifier", "sex"}
    if fresh.dimensions != parent.dimensions:
        new.add("dimensions")
    fits = {
        key: weights[key] for key in target
        if key in weights and weights[key].shape == target[key].shape and not new & set(key.split("."))
    }
    fresh.model.load_state_dict(fits, strict=False)
    log.info("starting from %s; new: %s", name, datadir.few(target.keys() - fits.keys()) or "nothing")


def _is_free(option: str) -> bool:
    """Options that leave the weights as they are, or only the last layers."""
    return option.endswith("dropout") or option in ("sex_head", "dimensions")


def taught(teachers: Sequence[Checkpoint], train_set: Recordings, config: Config, device: str) -> Tensor:
    """What to learn of each utterance from teachers: their mean answer, softened, beside label and votes.

    Shape: (utterances, classes).   Raises: SettingError where a teacher answers in other classes, or in one alone.
    """
    classes = labels.scheme(config.scheme, (u.emotion for u in train_set.utterances)).classes
    if not labels.tell_apart(classes):
        raise settings.SettingError(
            f"scheme {config.scheme} names no emotions, and these are what teachers teach. Leave --teachers out, or "
            "choose another scheme."
        )
    answers = []
    for teacher in teachers:
        if teacher.labels != classes:
            raise settings.SettingError(
                f"a teacher answers {', '.join(teacher.labels)}, the settings ask for {', '.join(classes)}: one cannot "
                f"teach the other. Give teachers of these classes, or set scheme={teacher.scheme.name}."
            )
        answers.append(torch.from_numpy(posteriors(train_set.utterances, Analyzer(teacher, device)).probabilities))
    mean = softened(torch.stack(answers).mean(0), config.fit.teacher_temperature)
    share = config.fit.teacher_weight
    return ((1 - share) * train_set.distributions(config.fit.vote_weight) + share * mean).float()


def _precision(fit: FitConfig, place: torch.device) -> str:
    """What the products of the network are computed in there."""
    is_reduced = fit.precision == "bfloat16" or fit.precision == "auto" and has_bfloat16(place)
    return "bfloat16" if is_reduced else "float32"


def _run(system: System, config: Config, exp_dir: Path, seed: int, place: torch.device, processes: Processes) -> Epochs:
    keep_freed_memory()   # after teachers have answered, for they keep less
    fit, last = config.fit, exp_dir / "checkpoints" / "last.ckpt"
    epochs = Epochs(exp_dir, system.columns, *system.kept_by)
    patience = fit.stop_patience if fit.schedule == "plateau" else fit.max_epochs
    stopping = Stopping(system.monitor, mode=system.mode, patience=patience)
    resume = ModelCheckpoint(last.parent, last.stem, enable_version_counter=False)   # last: it holds the others' state
    several = processes.count > 1
    trainer = lightning.Trainer(
        accelerator="gpu" if place.type == "cuda" else place.type,
        devices=[place.index or 0] if place.type == "cuda" and not several else processes.devices,
        num_nodes=processes.nodes,
        strategy=DDPStrategy(broadcast_buffers=False) if several else "auto",   # System averages them
        use_distributed_sampler=False,   # the loaders give each process its share
        precision="bf16-mixed" if _precision(fit, place) == "bfloat16" else "32-true",
        max_epochs=fit.max_epochs, num_sanity_val_steps=0,
        callbacks=[epochs, stopping, resume, *([Ending()] if several else [])],
        plugins=[processes.environment, WholeCheckpoints()],
        logger=TensorBoardLogger(exp_dir, name="tensorboard", version=""),
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
    )
    share = {"rank": trainer.global_rank, "processes": processes.count}
    longest = round(fit.longest_seconds * config.frontend.sample_rate)
    buckets = LengthBuckets(
        system.train_set.num_samples, fit.batch_size, seed, _draw(system.train_set, fit),
        **share,
    )
    if last.exists():
        log.info("resuming from %s", last)
    trainer.fit(
        system, system.train_set.batches(buckets, longest), system.valid_set.in_order(fit.batch_size, **share),
        ckpt_path=last if last.exists() else None, weights_only=True,
    )
    return epochs


def _draw(train_set: Recordings, fit: FitConfig) -> Callable | None:
    """What an epoch takes of the training set: see fit.balance, here by the labels, and fit.most_per_speaker."""
    if fit.balance == "sampler":
        taking_part = train_set.taking_part(fit.most_per_speaker)
        of_class = balanced(train_set.class_counts(fit.most_per_speaker))
        return with_replacement(taking_part * of_class[train_set.targets], round(taking_part.sum()))
    if fit.most_per_speaker:
        return some_of_each([utterance.speaker for utterance in train_set.utterances], fit.most_per_speaker)
    return None


@contextmanager
def _quiet(is_first: bool) -> Iterator[None]:
    """Without Lightning's tips and warnings, and only one process tells what happens.

    The exit that Lightning makes of Ctrl-C or SIGTERM is a KeyboardInterrupt again.
    """
    loudest = {"lightning.pytorch": logging.WARNING, "lightning.fabric": logging.WARNING}
    if not is_first:
        loudest["emotion"] = logging.ERROR
    loggers = [logging.getLogger(name) for name in loudest]
    levels = [logger.level for logger in loggers]
    for logger, level in zip(loggers, loudest.values()):
        logger.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", "Grad strides do not match")   # 1x1 kernels, whose layout has two names
            warnings.filterwarnings("ignore", "The AccumulateGrad node's stream")   # while a pass is recorded
            yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
