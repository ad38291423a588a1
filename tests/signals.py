"""Batches of waveforms whose answer is known, and measures of them."""

import torch

RATE = 16_000


def tones(frequency, seconds=0.5, count=1):
    times = torch.arange(round(seconds * RATE)) / RATE
    return (0.3 * torch.sin(2 * torch.pi * frequency * times)).repeat(count, 1)


def whole(batch):
    return torch.full((len(batch),), batch.shape[1])


def decibels(ratio):
    return 10 * torch.log10(ratio)


def power(batch):
    return batch.double().square().mean(-1)


def click(at, seconds=1.0, count=1):
    batch = torch.zeros(count, round(seconds * RATE))
    batch[:, at] = 0.5
    return batch
