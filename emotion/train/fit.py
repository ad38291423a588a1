"""One training from settings and data directories to a model file; interrupted, it goes on where it was."""

from __future__ import annotations

import csv
import logging
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from .. import __version__, checkpoint, datadir, labels, plot
from ..hardware import choose_device, has_bfloat16
from . import config as settings
from .config import Config
from .dataset import LengthBuckets, Recordings
from .system import System, selection

log = logging.getLogger(__name__)
CURVES = "epochs.csv"


def train(
    config: Config, train_dir: str, valid_dir: str, exp_dir: str | Path, seed: int = 1, device: str = "auto",
) -> Path:
    """Train on one data directory, choose the epoch on another; answers the path of the model file.

    In exp_dir: config.yaml, epochs.csv, curves.png, tensorboard/, checkpoints/ and, last, model.safetensors. Where that
    stands already nothing is done. Raises DataError where the two share a speaker or a recording.
    """
    exp_dir = Path(exp_dir)
    model_path = exp_dir / checkpoint.FILE_NAME
    if model_path.exists():
        log.info("%s stands: training is done, skipped", model_path)
        return model_path
    exp_dir.mkdir(parents=True, exist_ok=True)
    lightning.seed_everything(seed, verbose=False)
    place = choose_device(device)
    scheme = labels.scheme(config.scheme)
    parts = {"train": datadir.read(train_dir), "valid": datadir.read(valid_dir)}
    datadir.check_disjoint(**parts)
    rate, memory = config.frontend.sample_rate, config.fit.memory_gigabytes
    train_set, valid_set = (Recordings(part, scheme, rate, memory) for part in parts.values())
    for name, recordings in (("train", train_set), ("valid", valid_set)):
        counts = dict(zip(scheme.classes, recordings.class_counts(len(scheme.classes)).tolist()))
        log.info("%s: %d utterances, %d speakers, %s", name, len(recordings), len(recordings.speakers), counts)

    options = {key: value for key, value in config.model.items() if key != "name"}
    fresh = checkpoint.build(
        config.model["name"], options, config.frontend, scheme,
        train_speakers=train_set.speakers, valid_speakers=valid_set.speakers,
    )
    if config.frontend.normalisation == "global":
        fresh.frontend.fit((b.waveforms, b.num_samples) for b in train_set.in_order(config.fit.batch_size))
    resolved = replace(config, model={"name": config.model["name"], **checkpoint.options(fresh)})
    settings.write(resolved, exp_dir / "config.yaml")

    system = System(fresh, config, train_set, valid_set, seed)
    best, curves = _run(system, config, exp_dir, seed, place)
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
    system.load_state_dict(state)
    plot.curves(curves.rows, exp_dir / "curves.png")
    chosen = next(row for row in curves.rows if row["epoch"] == _epoch_of(best.best_model_path))
    card = {
        "emotion_version": __version__, "commit": _commit(), "torch_version": str(torch.__version__), "seed": seed,
        "train_utterances": len(train_set), "valid_utterances": len(valid_set),
        "epoch": chosen["epoch"], "selected_by": best.monitor, "valid_uar": chosen["valid_uar"],
    }
    checkpoint.write(replace(fresh, card=card), model_path)
    log.info("epoch %d chosen by %s; wrote %s", chosen["epoch"], best.monitor, model_path)
    return model_path


def _run(
    system: System, config: Config, exp_dir: Path, seed: int, place: torch.device
) -> tuple[ModelCheckpoint, Curves]:
    fit = config.fit
    monitor, mode = selection(system.valid_set)
    best = ModelCheckpoint(
        exp_dir / "checkpoints", "best-{epoch}", monitor=monitor, mode=mode, save_last=True, auto_insert_metric_name=True,
    )
    curves = Curves(exp_dir / CURVES)
    bfloat16 = fit.precision == "bfloat16" or fit.precision == "auto" and has_bfloat16(place)
    trainer = lightning.Trainer(
        accelerator="gpu" if place.type == "cuda" else place.type,
        devices=[place.index or 0] if place.type == "cuda" else 1,
        precision="bf16-mixed" if bfloat16 else "32-true",
        max_epochs=fit.max_epochs, gradient_clip_val=fit.clip_norm, num_sanity_val_steps=0,
        callbacks=[curves, best, EarlyStopping(monitor, mode=mode, patience=fit.stop_patience)],
        logger=TensorBoardLogger(exp_dir, name="tensorboard", version=""),
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
    )
    longest = round(fit.longest_seconds * config.frontend.sample_rate)
    buckets = LengthBuckets(system.train_set.num_samples, fit.batch_size, seed)
    last = exp_dir / "checkpoints" / "last.ckpt"
    if last.exists():
        log.info("resuming from %s", last)
    trainer.fit(
        system, system.train_set.batches(buckets, longest), system.valid_set.in_order(fit.batch_size),
        ckpt_path=last if last.exists() else None, weights_only=True,
    )
    return best, curves


class Curves(Callback):
    """One row an epoch in a CSV file and in the log. A resumed training drops the rows it will write again."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[dict] = []

    def on_train_start(self, trainer: lightning.Trainer, system: System) -> None:
        if self.path.exists():
            with open(self.path, newline="") as file:
                rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
            self.rows = [{**row, "epoch": int(row["epoch"])} for row in rows if row["epoch"] < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: lightning.Trainer, system: System) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, system: System) -> None:
        names = ("train_loss", "valid_loss", "valid_uar", "valid_war", "learning_rate")
        row = {"epoch": trainer.current_epoch, **{name: float(trainer.callback_metrics[name]) for name in names}}
        row["seconds"] = time.monotonic() - self.started
        self.rows.append(row)
        with open(self.path, "w", newline="") as file:
            table = csv.DictWriter(file, row)
            table.writeheader()
            table.writerows({k: v if k == "epoch" else f"{v:.6g}" for k, v in row.items()} for row in self.rows)
        log.info(
            "epoch %(epoch)3d  train loss %(train_loss).3f  valid NLL %(valid_loss).3f  UAR %(valid_uar).3f  "
            "lr %(learning_rate).2g  %(seconds).1f s", row,
        )


def _epoch_of(path: str) -> int:
    return int(Path(path).stem.rpartition("=")[2].partition("-")[0])


def _commit() -> str:
    """The commit of the working directory, with + where it is changed; empty outside a checkout."""
    answer = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=12"], capture_output=True, text=True)
    return answer.stdout.strip()
