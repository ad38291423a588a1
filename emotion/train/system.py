"""What one training step does: augment, compute features, ask the network, weigh the loss."""

from __future__ import annotations

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from .. import metrics
from ..checkpoint import Checkpoint
from . import augment
from .config import Config
from .dataset import Batch, Recordings


class System(lightning.LightningModule):
    """Trains the model of a checkpoint on batches of waveforms; features are computed on the training device.

    Logs train_loss, valid_loss, valid_uar, valid_war and learning_rate once an epoch.
    """

    def __init__(self, checkpoint: Checkpoint, config: Config, train: Recordings, valid: Recordings, seed: int):
        super().__init__()
        self.model, self.frontend = checkpoint.model, checkpoint.frontend
        self.config, self.train_set, self.valid_set, self.seed = config, train, valid, seed
        counts = train.class_counts(len(checkpoint.labels))
        weights = balanced(counts) if config.fit.class_balanced else np.ones(len(counts))
        self.loss = nn.CrossEntropyLoss(
            torch.tensor(weights, dtype=torch.float32), label_smoothing=config.fit.label_smoothing
        )
        self.monitor, self.mode = selection(valid)
        self._valid: list[tuple[Tensor, Tensor]] = []
        self._speaker_statistics: dict[str, tuple[Tensor, Tensor]] = {}

    def on_fit_start(self) -> None:
        """Weights as fast convolutions want them; statistics of every speaker where those normalise."""
        self.model.to(memory_format=torch.channels_last)
        if self.config.frontend.normalisation == "speaker":
            for recordings in (self.train_set, self.valid_set):
                self._speaker_statistics.update(self.frontend.by_speaker(
                    (batch.waveforms.to(self.device), batch.num_samples.to(self.device),
                     [recordings.utterances[i].speaker for i in batch.positions])
                    for batch in recordings.in_order(self.config.fit.batch_size)
                ))

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(1000003 * self.seed + self.current_epoch)  # resumed or not, an epoch draws the same

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        warmup = self.config.fit.warmup_epochs * self.trainer.num_training_batches
        if self.global_step < warmup:
            for group in self.optimizers().param_groups:
                group["lr"] = self.config.fit.learning_rate * (self.global_step + 1) / warmup

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch of waveforms. Raises ValueError naming its utterances where it is not finite."""
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):  # bfloat16 would add noise of its own
            waveforms, lengths = augment.waveforms(batch.waveforms, batch.num_samples, self.config.augment)
            mel, lengths = self.frontend(waveforms, lengths, self._statistics(batch, self.train_set))
            mel = augment.spectrogram(mel, lengths, self.config.augment)
        loss = self.loss(self._logits(mel, lengths), batch.targets)
        self._refuse_nan("loss", loss, batch, self.train_set)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(batch.targets))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        mel, lengths = self.frontend(batch.waveforms, batch.num_samples, self._statistics(batch, self.valid_set))
        logits = self._logits(mel, lengths)
        self._refuse_nan("logits", logits, batch, self.valid_set)
        self._valid.append((logits.cpu(), batch.targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Measure the whole validation set at once: recall by class is no mean over batches."""
        logits, targets = (torch.cat(part) for part in zip(*self._valid))
        self._valid.clear()
        probabilities, classes = logits.double().softmax(1).numpy(), logits.shape[1]
        predictions = probabilities.argmax(1)
        measured = {
            "valid_loss": metrics.nll(targets, probabilities),
            "valid_uar": metrics.uar(targets, predictions, classes),
            "valid_war": metrics.war(targets, predictions),
            "learning_rate": self.optimizers().param_groups[0]["lr"],
        }
        self.log_dict(measured)
        self.lr_schedulers().step(measured[self.monitor])

    def configure_optimizers(self) -> dict:
        fit = self.config.fit
        optimizer = torch.optim.AdamW(self.model.parameters(), fit.learning_rate, weight_decay=fit.weight_decay)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, self.mode, factor=fit.plateau_factor, patience=fit.plateau_patience
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": self.monitor}}

    def lr_scheduler_step(self, scheduler: torch.optim.lr_scheduler.ReduceLROnPlateau, metric: float) -> None:
        """Nothing is left to do: on_validation_epoch_end took the step.

        Lightning would take it after it has written the resume file, and a resumed training would miss it.
        """

    def _statistics(self, batch: Batch, recordings: Recordings) -> tuple[Tensor, Tensor] | None:
        if not self._speaker_statistics:
            return None
        rows = [self._speaker_statistics[recordings.utterances[i].speaker] for i in batch.positions]
        return torch.stack([mean for mean, _ in rows]), torch.stack([deviation for _, deviation in rows])

    def _refuse_nan(self, what: str, values: Tensor, batch: Batch, recordings: Recordings) -> None:
        if not values.isfinite().all():
            names = ", ".join(recordings.utterances[i].id for i in batch.positions)
            raise ValueError(
                f"not a finite {what} on the batch of {names}: training cannot go on from there. "
                "Listen to these, or lower fit.learning_rate."
            )

    def _logits(self, mel: Tensor, lengths: Tensor) -> Tensor:
        return self.model(mel.contiguous(memory_format=torch.channels_last), None, lengths).logits


def balanced(counts: np.ndarray) -> np.ndarray:
    """Weight of each class, so that all weigh the same together and an utterance weighs 1 on average; 0 without any.

    Shape: counts (classes,) -> (classes,).
    """
    return (counts > 0) * counts.sum() / np.maximum(counts, 1) / np.count_nonzero(counts)


def selection(valid: Recordings) -> tuple[str, str]:
    """What the best epoch is chosen by, and which way: UAR, or the loss where a class has too few files for recall."""
    counts = np.bincount(valid.targets)
    return ("valid_loss", "min") if counts[counts > 0].min() < 5 else ("valid_uar", "max")
