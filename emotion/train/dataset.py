"""Utterances in memory and their batches, bucketed by length."""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from .. import audio, datadir, splits
from ..datadir import DataError, Utterance, few, open_wav
from ..decoder import NoSamples
from ..hardware import sent
from ..labels import OWN, Scheme
from .config import Config

log = logging.getLogger(__name__)

IN_ORDER_SECONDS = 240.0   # of audio in a batch that is heard whole, padding included
SILENT_POWER = 1e-9   # -90 dB of full scale, what the last of 16 bits makes; RAVDESS has speech at -63 dB


class Batch(NamedTuple):
    """waveforms (batch, samples), num_samples (batch,), targets (batch,); positions (batch,) in the data directory.

    The waveforms are where the training is, all else on the processor, which so need not wait for it.
    """

    waveforms: Tensor
    num_samples: Tensor
    targets: Tensor
    positions: Tensor


class Recordings(Dataset):
    """Waveforms of a data directory, read once and kept as long as they fit into memory.

    Utterances that teach nothing are left out: without sound, shorter than shortest_seconds, or with samples that are
    not finite, one of which would make every weight NaN. `left_out` holds their ids by the reason.
    Raises: LabelError for an emotion outside the scheme, AudioError naming the file that cannot be read, DataError
    where no utterance is left.
    """

    def __init__(
        self, utterances: Sequence[Utterance], scheme: Scheme, sample_rate: int, memory_gigabytes: float,
        shortest_seconds: float = 0.0,
    ):
        scheme.indices(utterance.emotion for utterance in utterances)   # before hours of reading
        self.scheme = scheme
        self.sample_rate = sample_rate
        self._free_bytes = memory_gigabytes * 2**30
        self._kept: dict[int, np.ndarray] = {}
        self._on_device: dict[int, Tensor] = {}
        self.device = torch.device("cpu")
        self.utterances: list[Utterance] = []
        self.num_samples: list[int] = []
        self.left_out: dict[str, list[str]] = defaultdict(list)
        for utterance in utterances:
            self._take(utterance, shortest_seconds)
        if not self.utterances:
            raise DataError(f"no utterance is left to learn from: {self.told_left_out}. Look at the recordings.")
        self.targets = scheme.indices(utterance.emotion for utterance in self.utterances)

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, positions: list[int]) -> list[tuple[Tensor, int, int]]:
        """Waveforms on `device`, targets and positions of those utterances."""
        return [(self._placed(position), self.targets[position], position) for position in positions]

    def waveform(self, position: int) -> np.ndarray:
        """float32 (samples,)."""
        return self._kept[position] if position in self._kept else self._read(self.utterances[position])

    def place_on(self, device: torch.device) -> None:
        """From now on batches are put together there. Waveforms in memory go there at once, as far as they take half
        of what is free on a GPU: else each would be sent again in every epoch."""
        self.device = device
        if device.type != "cuda":
            return
        free_bytes = torch.cuda.mem_get_info(device)[0] // 2
        for position, waveform in self._kept.items():
            free_bytes -= waveform.nbytes
            if free_bytes < 0:
                break
            self._on_device[position] = torch.from_numpy(waveform).to(device)

    def _placed(self, position: int) -> Tensor:
        if position in self._on_device:
            return self._on_device[position]
        return sent(torch.from_numpy(self.waveform(position)), self.device)

    @property
    def told_left_out(self) -> str:
        """How many utterances were left out, why and which; empty where all take part."""
        return "; ".join(f"{len(ids)} {reason} ({few(ids)})" for reason, ids in sorted(self.left_out.items()))

    def _take(self, utterance: Utterance, shortest_seconds: float) -> None:
        """Read it and, if it teaches something, make it the next."""
        try:
            waveform = self._read(utterance)
        except audio.NotFinite:
            return self.left_out["with NaN or infinite samples"].append(utterance.id)
        except NoSamples:
            waveform = np.empty(0, np.float32)
        if len(waveform) < max(1.0, shortest_seconds * self.sample_rate):
            return self.left_out[f"shorter than {shortest_seconds} s"].append(utterance.id)
        if waveform.var() < SILENT_POWER:   # not the power: a constant is no sound either
            return self.left_out["without sound"].append(utterance.id)
        if waveform.nbytes <= self._free_bytes:
            self._free_bytes -= waveform.nbytes
            self._kept[len(self.utterances)] = waveform
        self.utterances.append(utterance)
        self.num_samples.append(len(waveform))

    def _read(self, utterance: Utterance) -> np.ndarray:
        return audio.read(
            open_wav(utterance), self.sample_rate, utterance.start_seconds or 0.0, utterance.stop_seconds
        )

    def batches(self, buckets: LengthBuckets, longest: int | None = None) -> DataLoader:
        """A loader of Batch; the buckets choose which utterances go together."""
        return self._loader(buckets, Collate(longest))

    def in_order(self, batch_size: int, rank: int = 0, processes: int = 1) -> DataLoader:
        """A loader of Batch without shuffling: from the shortest utterance to the longest, all of each; fewer together
        where they are long.

        Of several processes each takes other batches, none takes none.
        Raises: ValueError where there are fewer utterances than processes.
        """
        if len(self) < processes:
            raise ValueError(
                f"{len(self)} utterances for {processes} processes: some would have none to hear, and wait for ever. "
                "Train on fewer devices."
            )
        order = np.argsort(self.num_samples, kind="stable").tolist()
        size = min(batch_size, len(order) // processes)
        batches: list[list[int]] = []
        for i in order:
            padded_seconds = self.num_samples[i] * (1 + len(batches[-1]) if batches else 1) / self.sample_rate
            if not batches or len(batches[-1]) == size or padded_seconds > IN_ORDER_SECONDS:
                batches.append([])
            batches[-1].append(i)
        return self._loader(batches[rank::processes], Collate())

    def _loader(self, batches: LengthBuckets | list[list[int]], collate: Collate) -> DataLoader:
        own = torch.Generator()  # each pass draws a number from it, that would else be missing from the global state
        return DataLoader(self, sampler=batches, batch_size=None, collate_fn=collate, generator=own)

    @property
    def kept_gigabytes(self) -> float:
        """Memory that the waveforms take."""
        return sum(waveform.nbytes for waveform in self._kept.values()) / 2**30

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(sorted({utterance.speaker for utterance in self.utterances}))

    def taking_part(self, most_per_speaker: int) -> np.ndarray:
        """Share of the epochs that each utterance takes part in, where a speaker gives at most so many; 0: all."""
        speakers = [utterance.speaker for utterance in self.utterances]
        counts = Counter(speakers)
        return np.array([min(1.0, (most_per_speaker or np.inf) / counts[speaker]) for speaker in speakers])

    def class_counts(self, most_per_speaker: int = 0) -> np.ndarray:
        """Utterances of an epoch that are labelled so, on average, for each class."""
        return np.bincount(self.targets, self.taking_part(most_per_speaker), len(self.scheme.classes))

    def distributions(self, vote_weight: float = 0.0) -> Tensor:
        """What to learn of each utterance: its class, mixed with the shares of its votes where it has some.

        Shape: (utterances, classes).   Raises: DataError where votes are asked for and none has any.
        """
        one_hot = nn.functional.one_hot(torch.tensor(self.targets), len(self.scheme.classes)).float()
        shares = [self.scheme.shares(utterance.votes) for utterance in self.utterances]
        if vote_weight and not any(shares):
            raise DataError(
                f"no utterance has votes for a class of scheme {self.scheme.name}, and fit.vote_weight={vote_weight} "
                "asks to learn them. Add utt2votes to the data directory, or set fit.vote_weight=0."
            )
        voted = torch.tensor([share or own for share, own in zip(shares, one_hot.tolist())])
        return (1 - vote_weight) * one_hot + vote_weight * voted

    def ratings(self, dimensions: Sequence[str]) -> Tensor:
        """Listeners' ratings, nan where there is none. Shape: (utterances, dimensions).

        Raises: DataError where fewer than two utterances are rated: nothing could be learnt or measured.
        """
        ratings = torch.tensor([
            [math.nan if (rating := getattr(utterance, name)) is None else rating for name in dimensions]
            for utterance in self.utterances
        ])
        for name, count in zip(dimensions, ratings.isfinite().sum(0).tolist()):
            if count < 2:
                raise DataError(
                    f"{count} of {len(self)} utterances of {few(self.speakers)} have a rating of {name}, and two are "
                    f"the least to learn or to measure it. Add utt2{name} to the data directory, or leave it out of "
                    "model.dimensions."
                )
        return ratings


def load(config: Config, train_dir: str, valid_dir: str, scheme: Scheme) -> tuple[Recordings, Recordings]:
    """Both sets in memory as far as it goes, told about in the log.

    Raises: DataError where they share a speaker or audio, or the first cannot teach what is asked; what reading raises.
    """
    parts = {"train": datadir.read(train_dir), "valid": datadir.read(valid_dir)}
    splits.check_disjoint(**parts)
    free, sets = config.fit.memory_gigabytes, []
    for name, utterances in parts.items():
        try:
            recordings = Recordings(utterances, scheme, config.frontend.sample_rate, free, config.fit.shortest_seconds)
        except DataError as error:
            raise DataError(f"{dict(train=train_dir, valid=valid_dir)[name]}: {error}") from None
        free -= recordings.kept_gigabytes
        counts = dict(zip(scheme.classes, recordings.class_counts().astype(int).tolist()))
        log.info("%s: %d utterances, %d speakers, %s", name, len(recordings), len(recordings.speakers), counts)
        if recordings.left_out:
            log.warning("%s: left out %s", name, recordings.told_left_out)
        sets.append(recordings)
    _check_teaches(sets[0], scheme, train_dir, config.fit.may_lack_classes)
    return sets[0], sets[1]


def _check_teaches(train_set: Recordings, scheme: Scheme, train_dir: str, may_lack_classes: bool) -> None:
    """Raises DataError for training data that lack a class, or are of one voice alone."""
    counts = train_set.class_counts()
    empty = [name for name, count in zip(scheme.classes, counts) if not count]
    if empty and not may_lack_classes:
        raise DataError(
            f"{train_dir} has no utterance of {few(empty)}, which scheme {scheme.name} tells apart: the model would "
            f"never answer so. Add some, or set scheme={OWN}, whose classes are the emotions of the data, or, if it is "
            "meant, fit.may_lack_classes=true."
        )
    if len(train_set.speakers) < 2:
        raise DataError(
            f"{train_dir} has one speaker, {train_set.speakers[0]}: what is the emotion and what the voice could not "
            "be told apart. Add speakers."
        )


class Collate:
    """Utterances to one padded Batch; an utterance above `longest` samples gives a random stretch of that length."""

    def __init__(self, longest: int | None = None):
        self.longest = longest

    def __call__(self, items: list[tuple[Tensor, int, int]]) -> Batch:
        cropped = [self._crop(waveform) for waveform, _, _ in items]
        return Batch(
            pad_sequence(cropped, batch_first=True),
            torch.tensor([len(waveform) for waveform in cropped]),
            torch.tensor([target for _, target, _ in items]),
            torch.tensor([position for _, _, position in items]),
        )

    def _crop(self, waveform: Tensor) -> Tensor:
        if self.longest is None or len(waveform) <= self.longest:
            return waveform
        start = int(torch.randint(len(waveform) - self.longest + 1, ()))
        return waveform[start : start + self.longest]


class LengthBuckets(Sampler[list[int]]):
    """Batches of utterances of like length: little padding, and yet other company each epoch.

    Lengths are jittered by up to a tenth before they are sorted, the batches then shuffled. The order follows from seed
    and epoch alone, so a resumed training sees what an undisturbed one sees. No batch holds a single utterance.
    draw: chooses the utterances of an epoch; left out, all.
    rank, processes: of each batch, one process takes every so manyth utterance; all of them together take the batch.
    Raises: ValueError where a process would take a single utterance of a batch.
    """

    def __init__(
        self, num_samples: Sequence[int], batch_size: int, seed: int,
        draw: Callable[[np.random.Generator], np.ndarray] | None = None, rank: int = 0, processes: int = 1,
    ):
        self.num_samples, self.draw = np.asarray(num_samples), draw or (lambda rng: np.arange(len(num_samples)))
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        self.rank, self.processes = rank, processes
        self.count = len(self.draw(np.random.default_rng(seed)))
        smallest = self.count // len(self)
        if processes > 1 and smallest // processes < 2:
            raise ValueError(
                f"batches of {smallest} utterances for {processes} processes: batch norm needs two in each. Raise "
                f"fit.batch_size={batch_size}, or train on fewer devices."
            )

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        wanted = -(-self.count // self.batch_size)
        return max(1, min(wanted, self.count // 2))  # a few more in a batch rather than one alone

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        jittered = self.num_samples * rng.uniform(0.9, 1.1, len(self.num_samples))
        drawn = self.draw(rng)
        batches = np.array_split(drawn[np.argsort(jittered[drawn])], len(self))
        for i in rng.permutation(len(batches)):
            yield batches[i][self.rank :: self.processes].tolist()


def with_replacement(shares: np.ndarray, count: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Draws `count` utterances, each with its share of the chances, some of them twice."""
    return lambda rng: rng.choice(len(shares), count, p=shares / shares.sum())


def some_of_each(speakers: Sequence[str], most: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Draws `most` utterances of each speaker, all where there are fewer."""
    own = [np.flatnonzero(np.asarray(speakers) == speaker) for speaker in sorted(set(speakers))]
    return lambda rng: np.concatenate([rng.permutation(positions)[:most] for positions in own])
