"""What one training step does: augment, compute features, ask the network, weigh the loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import lightning
import numpy as np
import torch
from librosa import mel_frequencies
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerConfig, OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from .. import metrics
from ..checkpoint import Checkpoint
from ..datadir import few
from ..hardware import beside, channels_last, sent
from ..models import Network, Output
from . import augment, distributed
from .config import Config
from .dataset import Batch, Recordings
from .losses import Loss, balanced, discordance
from .replay import Replayed

CHECKED_TOGETHER = 64   # losses of so many steps on a GPU, as to look at one is to wait until all is computed


class System(lightning.LightningModule):
    """Trains the model of a checkpoint on batches of waveforms; features are computed on the training device.

    targets: computes distributions (utterances, classes) to learn; left out, those of labels and votes.
    Of several processes each has a share of the batch. The loss is that of the whole batch, but for what is random and
    for batch norm: noise and dropout are drawn in each process, the statistics of a step are those of the share.
    Logs `columns` once an epoch. What is validated is `chosen`: the weights that would be kept, averaged where the
    settings say so.
    """

    targets: Tensor   # (utterances, classes)
    ratings: Tensor   # (utterances, dimensions)
    sexes: Tensor   # (utterances,)
    corners_hz: Tensor   # (bands + 2,)

    def __init__(
        self, checkpoint: Checkpoint, config: Config, train: Recordings, valid: Recordings, seed: int,
        targets: Callable[[], Tensor] | None = None,
    ):
        super().__init__()
        fit = config.fit
        self.model, self.frontend = channels_last(checkpoint.model), checkpoint.frontend
        self.average = None
        if fit.averaging != "none":
            self.average = copy.deepcopy(self.model)   # of the network over its training
            self.average.requires_grad_(False)   # else several processes would wait for its gradients
        self.config, self.train_set, self.valid_set, self.seed = config, train, valid, seed
        self.register_buffer("targets", train.distributions(fit.vote_weight), persistent=False)
        self.loss = self._loss()
        self._compute_targets = targets
        heard = config.frontend
        corners = mel_frequencies(heard.num_bands + 2, fmin=heard.low_hz, fmax=heard.high_hz)   # Slaney's, as the mel's
        self.register_buffer("corners_hz", torch.tensor(corners, dtype=torch.float32), persistent=False)
        self.dimensions = checkpoint.dimensions
        self.register_buffer("ratings", train.ratings(self.dimensions), persistent=False)
        self._valid_ratings = valid.ratings(self.dimensions)
        sexes = torch.tensor([{"f": 0, "m": 1, None: -1}[utterance.sex] for utterance in train.utterances])
        if fit.sex_weight and (sexes < 0).any():
            unknown = {utterance.speaker for utterance in train.utterances if utterance.sex is None}
            raise ValueError(
                f"the sex of {few(unknown)} is not known, and fit.sex_weight={fit.sex_weight} asks to learn it. "
                "Add spk2gender to the data directory, or set fit.sex_weight=0."
            )
        self.register_buffer("sexes", sexes, persistent=False)
        self.monitor, self.mode = selection(valid)
        self._unchecked: list[tuple[Tensor, Tensor]] = []   # whether a loss was finite, and the positions of its batch
        self._valid: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self._speaker_statistics: dict[str, tuple[Tensor, Tensor]] = {}
        self._averaged: tuple[list[Tensor], list[Tensor]] = [], []   # averages, and what they are of
        self._replayed: Replayed | None = None

    def _loss(self) -> Loss:
        """Where the loss balances classes, each weighs inversely to how much of it is learnt (of labels, votes and
        teachers), which counts as at least half of its labels: a class with few votes would outweigh the rest."""
        fit = self.config.fit
        labelled = self.train_set.class_counts(fit.most_per_speaker)
        learnt = self.train_set.taking_part(fit.most_per_speaker) @ self.targets.double().numpy()
        counts = np.where(labelled > 0, np.maximum(learnt, labelled / 2), 0)
        weights = balanced(counts) if fit.balance == "loss" else np.ones(len(counts))
        return Loss(weights, fit.focal_gamma, fit.label_smoothing)

    @property
    def columns(self) -> tuple[str, ...]:
        """What is measured each epoch, in the order of epochs.csv."""
        recalls = ("valid_uar", "valid_war") if self.targets.shape[1] > 1 else ()
        ccc = ("valid_ccc", *(f"valid_ccc_{name}" for name in self.dimensions)) if self.dimensions else ()
        return ("train_loss", "valid_loss", *recalls, *ccc, "learning_rate")

    @property
    def kept_by(self) -> tuple[str, str]:
        """Column of epochs.csv, and which way, that says which epoch is kept: the best on the validation speakers.

        After a cosine it is the last: its weights have settled, and a best of many would be picked from noise, as the
        recall of two speakers' files is uncertain by more than epochs differ.
        """
        return ("epoch", "max") if self.config.fit.schedule == "cosine" else (self.monitor, self.mode)

    @property
    def chosen(self) -> Network:
        """The network to validate and to keep."""
        return self.model if self.average is None else self.average

    def setup(self, stage: str) -> None:
        """Waveforms to the device; what teachers answer and what normalises, computed by one process for all."""
        for recordings in (self.train_set, self.valid_set):
            recordings.place_on(self.trainer.strategy.root_device)
        if self._compute_targets:
            self.targets = distributed.once(self._compute_targets)
            self.loss = self._loss()
        if self.config.frontend.normalisation != "utterance":
            self.frontend.load_state_dict(distributed.once(self._fitted))

    def _fitted(self) -> dict[str, Tensor]:
        self.frontend.to(self.train_set.device)
        batches = self._voices(self.train_set)
        if self.config.frontend.normalisation == "speaker":
            self.frontend.fit_voices(batches)
        else:
            self.frontend.fit(batch[:2] for batch in batches)
        return {name: value.cpu() for name, value in self.frontend.state_dict().items()}   # others have other devices

    def _voices(self, recordings: Recordings) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
        """Waveforms, their lengths and who speaks, batch by batch."""
        for batch in recordings.in_order(self.config.fit.batch_size):
            yield batch.waveforms, batch.num_samples, [recordings.utterances[i].speaker for i in batch.positions]

    def on_fit_start(self) -> None:
        """What needs the weights where they stay, averages and replayed passes; and statistics of every speaker, where
        those normalise."""
        averages, values = ([*network.parameters(), *network.buffers()] for network in (self.chosen, self.model))
        self._averaged = averages, values
        if self.device.type == "cuda" and self.trainer.world_size == 1 and self.config.fit.cuda_graphs:
            self._replayed = Replayed(self.model, self.device)
        if self.config.frontend.normalisation == "speaker":
            statistics = distributed.once(self._by_speaker)
            self._speaker_statistics = {
                speaker: (mean.to(self.device), deviation.to(self.device))
                for speaker, (mean, deviation) in statistics.items()
            }

    def _by_speaker(self) -> dict[str, tuple[Tensor, Tensor]]:
        """On the processor, for other processes have other devices."""
        statistics: dict[str, tuple[Tensor, Tensor]] = {}
        for recordings in (self.train_set, self.valid_set):
            statistics |= self.frontend.by_speaker(self._voices(recordings))
        return {speaker: (mean.cpu(), deviation.cpu()) for speaker, (mean, deviation) in statistics.items()}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """As Batch says: the waveforms, which mostly are there already, and nothing else."""
        return batch._replace(waveforms=sent(batch.waveforms, device))

    def on_train_epoch_start(self) -> None:
        """Resumed or not, an epoch draws the same; each process draws for itself (of a seed, 32 bits count)."""
        torch.manual_seed((1000003 * self.seed + self.current_epoch + 2654435761 * self.global_rank) % 2**32)

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Learning rate of this step: rising, and falling where the schedule is a cosine."""
        fit, in_epoch = self.config.fit, self.trainer.num_training_batches
        warmup, all_steps = fit.warmup_epochs * in_epoch, fit.max_epochs * in_epoch
        if self.global_step < warmup:
            share = (self.global_step + 1) / warmup
        elif fit.schedule == "cosine":
            share = (1 + math.cos(math.pi * (self.global_step - warmup) / (all_steps - warmup))) / 2
        else:
            return
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = fit.learning_rate * share

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch of waveforms. Raises ValueError naming its utterances where it is not finite."""
        settings, positions = self.config.augment, beside(batch.positions, batch.waveforms)
        targets = torch.cat([self.targets[positions], self.ratings[positions]], dim=1)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):  # bfloat16 would add noise of its own
            waveforms, lengths = augment.waveforms(
                batch.waveforms, batch.num_samples, settings, self.config.frontend.sample_rate
            )
            mel, prosody, lengths = self.frontend(waveforms, lengths, self._statistics(batch, self.train_set))
            mel, prosody = augment.features(mel, prosody, lengths, settings, self.corners_hz)
            if settings.mixup_alpha:
                mel, prosody, lengths, targets = augment.mixup(mel, prosody, lengths, targets, settings.mixup_alpha)
        targets, ratings = targets.split([self.targets.shape[1], self.ratings.shape[1]], dim=1)
        if self._replayed is None:
            output = self._ask(self.model, mel, prosody, lengths)
        else:
            output = self._replayed(mel, prosody, lengths)
        own = torch.stack([self.loss.weight(targets), targets.new_full((), len(targets))])
        whole = distributed.total(own)
        share, sex_share = own * self.trainer.world_size / whole   # the mean over processes is that of the whole batch
        loss = share * self.loss(output.logits, targets)
        if self.config.fit.sex_weight:
            sex_loss = nn.functional.cross_entropy(output.heads["sex"], self.sexes[positions])
            loss = loss + self.config.fit.sex_weight * sex_share * sex_loss
        if self.dimensions:
            apart = discordance(output.heads["dimensions"], ratings, distributed.summed)
            loss = loss + self.config.fit.dimension_weight * apart
        self._unchecked.append((loss.isfinite(), batch.positions))
        if loss.device.type == "cpu" or len(self._unchecked) == CHECKED_TOGETHER:
            self._check_losses()
        size = int(whole[1]) if self.trainer.world_size > 1 else len(targets)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=size, sync_dist=True)
        return loss

    def _check_losses(self) -> None:
        """Raises: ValueError where one since the last check was not finite, of the first."""
        if self._unchecked:
            finite = torch.stack([flag for flag, _ in self._unchecked]).tolist()
            for is_finite, (_, positions) in zip(finite, self._unchecked):
                if not is_finite:
                    raise not_finite("loss", positions, self.train_set)
            self._unchecked.clear()

    def on_train_batch_end(self, outputs: STEP_OUTPUT, batch: Batch, batch_index: int) -> None:
        """The statistics of batch norm from all processes, then the average of weights."""
        distributed.average(self.model.buffers())
        if self.config.fit.averaging == "ema":
            self._approach(ema_share(self.config.fit.ema_decay, self.global_step - 1))

    def on_validation_epoch_start(self) -> None:
        """Take this epoch into the average of epochs; before that begins, the average is the latest epoch."""
        self._check_losses()
        if self.config.fit.averaging == "swa":
            begun = int(self.config.fit.swa_start * self.config.fit.max_epochs)
            self._approach(1 / (1 + max(0, self.current_epoch - begun)))

    def _approach(self, share: float) -> None:
        """Move the average by that share of the way to the weights and statistics of the network."""
        approach(*self._averaged, share)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        features = self.frontend(batch.waveforms, batch.num_samples, self._statistics(batch, self.valid_set))
        output = self._ask(self.chosen, *features)
        said = output.heads.get("dimensions", output.logits[:, :0])
        self._valid.append((batch.positions, output.logits, batch.targets, said))

    def on_validation_epoch_end(self) -> None:
        """Measure the whole validation set at once: recall by class is no mean over batches or processes.

        Raises: ValueError naming the utterances of a batch whose logits are not finite.
        """
        here = [(positions, logits.cpu(), targets, said.cpu()) for positions, logits, targets, said in self._valid]
        self._valid.clear()
        for positions, logits, *_ in here:
            if not logits.isfinite().all():
                raise not_finite("logits", positions, self.valid_set)
        heard = [batch for own in distributed.gather(here) for batch in own]
        measured = distributed.once(   # one number steers the learning rate of all
            lambda: measure(heard, self._valid_ratings, self.dimensions))
        measured["learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict(measured)
        if isinstance(plateau := self.lr_schedulers(), ReduceLROnPlateau):
            plateau.step(measured[self.monitor])

    def configure_optimizers(self) -> OptimizerConfig | OptimizerLRSchedulerConfig:
        """AdamW, and ReduceLROnPlateau where the schedule asks for it."""
        fit, weights = self.config.fit, self.model.parameters()
        optimizer = torch.optim.AdamW(weights, fit.learning_rate, weight_decay=fit.weight_decay, fused=True)
        if fit.schedule == "cosine":
            return {"optimizer": optimizer}
        plateau = ReduceLROnPlateau(optimizer, self.mode, factor=fit.plateau_factor, patience=fit.plateau_patience)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": self.monitor}}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """By PyTorch: Lightning refuses to beside a fused optimizer, for its float16 alone would need that."""
        clip = nn.utils.clip_grad_norm_ if self.config.fit.clip_by == "norm" else nn.utils.clip_grad_value_
        clip(self.model.parameters(), self.config.fit.clip)

    def lr_scheduler_step(self, scheduler: LRScheduler | ReduceLROnPlateau, metric: float | None) -> None:
        """Nothing is left to do: on_validation_epoch_end took the step.

        Lightning would take it after it has written the resume file, and a resumed training would miss it.
        """

    def _statistics(self, batch: Batch, recordings: Recordings) -> tuple[Tensor, Tensor] | None:
        if not self._speaker_statistics:
            return None
        rows = [self._speaker_statistics[recordings.utterances[i].speaker] for i in batch.positions]
        return torch.stack([mean for mean, _ in rows]), torch.stack([deviation for _, deviation in rows])

    def _ask(self, model: nn.Module, mel: Tensor, prosody: Tensor | None, lengths: Tensor) -> Output:
        return model(mel.contiguous(memory_format=torch.channels_last), prosody, lengths)


def not_finite(what: str, positions: Tensor, recordings: Recordings) -> ValueError:
    names = ", ".join(recordings.utterances[i].id for i in positions)
    return ValueError(
        f"not a finite {what} on the batch of {names}: training cannot go on from there. Listen to these, or lower "
        "fit.learning_rate."
    )


def measure(
    batches: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]], ratings: Tensor, dimensions: Sequence[str],
) -> dict[str, float]:
    """Loss, recalls and CCC from positions (batch,), logits (batch, classes), targets (batch,) and what is said of the
    dimensions (batch, dimensions), of all batches.

    Where there is but one class, the loss is 1 - CCC, mean over the dimensions, and there are no recalls.

    Shape: ratings (utterances, dimensions), nan where there is none.
    """
    positions, logits, targets, said = (torch.cat(part) for part in zip(*batches))
    order = positions.argsort()   # whoever heard it, in which batch
    true, rated, answers = targets[order].numpy(), ratings.numpy(), said[order].double().numpy()
    probabilities, classes = logits[order].double().softmax(1).numpy(), logits.shape[1]
    predictions, measured = probabilities.argmax(1), {}
    for k, name in enumerate(dimensions):
        known = np.isfinite(rated[:, k])
        measured[f"valid_ccc_{name}"] = metrics.ccc(rated[known, k], answers[known, k])
    if dimensions:
        measured["valid_ccc"] = float(np.mean(list(measured.values())))
    if classes == 1:
        return {"valid_loss": 1 - measured["valid_ccc"], **measured}
    return {
        "valid_loss": metrics.nll(true, probabilities),
        "valid_uar": metrics.uar(true, predictions, classes),
        "valid_war": metrics.war(true, predictions),
        **measured,
    }


def ema_share(decay: float, steps: int) -> float:
    """Of the latest weights in the average after so many steps before; the first count more, so that a short training
    catches up.

    Source: Tarvainen and Valpola 2017, Mean teachers are better role models (the moving average of weights).
    """
    return 1 - min(decay, (1 + steps) / (10 + steps)) if steps else 1.0


@torch.no_grad()
def approach(averages: Sequence[Tensor], values: Sequence[Tensor], share: float) -> None:
    """Move averages by that share of the way to the values; counts of batches, which are whole, are copied."""
    moved = [average for average in averages if average.is_floating_point()]
    towards = [value for value in values if value.is_floating_point()]
    torch._foreach_lerp_(moved, towards, share)   # all in one call, as optimizers do
    for average, value in zip(averages, values):
        if not average.is_floating_point():
            average.copy_(value)


def selection(valid: Recordings) -> tuple[str, Literal["min", "max"]]:
    """What the best epoch is chosen by, and which way: UAR, or the loss where a class has too few files for recall.

    Where there are classes they choose alone, whatever dimensions stand beside them; where there are none (scheme
    none), the mean CCC of the dimensions.
    """
    if len(valid.scheme.classes) == 1:
        return "valid_ccc", "max"
    counts = np.bincount(valid.targets)
    return ("valid_loss", "min") if counts[counts > 0].min() < 5 else ("valid_uar", "max")
