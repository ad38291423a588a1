"""What happens around the epochs of a training: rows and weights are written, it ends early, it is told to end."""

from __future__ import annotations

import csv
import io
import logging
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import lightning
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping

from .. import files

log = logging.getLogger(__name__)
TABLE = "epochs.csv"


class Stopping(EarlyStopping):
    """Early stopping that a resumed training remembers; its patience is that of the settings, not of before."""

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict({**state, "patience": self.patience})

    def on_train_start(self, trainer: lightning.Trainer, system: lightning.LightningModule) -> None:
        trainer.should_stop = self.stopped_epoch > 0 and self.wait_count >= self.patience


class Ending(Callback):
    """SIGTERM ends one of several processes at once, as Ctrl-C does.

    Lightning would broadcast from within the signal's handler, and processes amid another exchange wait for ever.
    """

    def on_train_start(self, trainer: lightning.Trainer, system: lightning.LightningModule) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's own are moved from the system's temporary folder: copied, where that is another disk."""

    def save_checkpoint(self, checkpoint: dict, path: str | os.PathLike, storage_options=None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()   # to a file torch.save would hide why writing failed
        torch.save(checkpoint, content)
        with files.whole(path, "wb") as file:
            file.write(content.getbuffer())


class Epochs(Callback):
    """One row an epoch in epochs.csv and in the log, and the weights of the best; a resumed training knows them all.

    All processes keep the rows, for all must agree on which is the best; the first writes them.
    """

    def __init__(self, exp_dir: Path, columns: Sequence[str], monitor: str, mode: str):
        self.table_path, self.best_path = exp_dir / TABLE, exp_dir / "checkpoints" / "best.ckpt"
        self.columns, self.monitor, self.choose = columns, monitor, {"min": min, "max": max}[mode]
        self.rows: list[dict] = []

    @property
    def best(self) -> dict:
        """The row of the best epoch: the first among equals."""
        return self.choose(self.rows, key=lambda row: row[self.monitor])

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict) -> None:
        self.rows = state["rows"]

    def on_train_epoch_start(self, trainer: lightning.Trainer, system: lightning.LightningModule) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, system: lightning.LightningModule) -> None:
        """Write the row, and the weights if no epoch was better."""
        measured = {name: float(trainer.callback_metrics[name]) for name in self.columns}
        row = {"epoch": trainer.current_epoch, **measured}
        row["seconds"] = time.monotonic() - self.started
        self.rows.append(row)
        if trainer.is_global_zero:
            self._write()
        classes = "valid NLL %(valid_loss).3f  UAR %(valid_uar).3f  " if "valid_uar" in row else ""
        dimensions = f"{'' if classes else 'valid '}CCC %(valid_ccc).3f  " if "valid_ccc" in row else ""
        log.info(
            f"epoch %(epoch)3d  train loss %(train_loss).3f  {classes}{dimensions}"
            "lr %(learning_rate).2g  %(seconds).1f s", row,
        )
        if self.best is row:
            trainer.save_checkpoint(self.best_path, weights_only=True)

    def _write(self) -> None:
        with files.whole(self.table_path, newline="") as file:
            table = csv.DictWriter(file, self.rows[0])
            table.writeheader()
            table.writerows({k: v if k == "epoch" else f"{v:.6g}" for k, v in row.items()} for row in self.rows)
