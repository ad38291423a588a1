"""CNN on the spectrogram beside an LSTM on the prosody, fused early at the input or late before the output.

    early                     late                               weighted, average
    mel --+                   mel --> CNN --> vector --+         mel --> CNN --> posteriors --+
          +--> CNN --> LSTM                            +--> dense                             +--> mean
    prosody                   prosody --> LSTM --> vector        prosody --> LSTM --> posteriors
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from ..blocks import CNNConfig, FrameStack, Memory, MemoryConfig, PatchCNN
from ..heads import Head, HeadConfig, Pool, further
from .signature import Inputs, Network, Output

FUSIONS = ("early", "late", "weighted", "average")


@dataclass(frozen=True, kw_only=True)
class ParallelConfig(HeadConfig, MemoryConfig, CNNConfig):
    fusion: str = "late"   # early: at the input; late: of vectors; weighted, average: of posteriors
    prosody_features: int = 64   # of each step of the prosody's LSTM; not used by early fusion

    def __post_init__(self):
        for part in (CNNConfig, MemoryConfig, HeadConfig):
            part.__post_init__(self)
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion={self.fusion!r} must be one of {', '.join(FUSIONS)}.")
        if min(self.lstm_layers, self.prosody_features) < 1:
            raise ValueError(
                "lstm_layers and prosody_features must be at least 1: the LSTM is half of the parallel model. "
                "Use model.name=serial with lstm_layers=0 for the CNN alone."
            )
        if self.fusion != "early" and self.pooling == "last":
            raise ValueError("pooling='last' takes the end of an LSTM, and the CNN's branch has none. Use attention.")


class Parallel(Network):
    """The parallel model. Transformer layers stand on the CNN's branch, as in the serial model."""

    Config = ParallelConfig
    uses_prosody = True

    def __init__(self, inputs: Inputs, num_classes: int, config: ParallelConfig = ParallelConfig()):
        super().__init__(inputs, num_classes, config)
        self.early = config.fusion == "early"
        self.cnn = PatchCNN(inputs.channels, inputs.bands, config, inputs.contours if self.early else 0)
        self.reach = self.cnn.reach
        if self.early:
            self.memory = Memory(config.features, config)
            self.head = Head(self.memory.outputs, num_classes, config, config.bidirectional)
            return
        options = MemoryConfig(**{f.name: getattr(config, f.name) for f in fields(MemoryConfig)})
        self.attention = Memory(config.features, replace(options, lstm_layers=0, lstm_residual=False))
        self.stack = FrameStack(inputs.contours, config.prosody_features, self.reach.hop)
        self.memory = Memory(config.prosody_features, replace(options, transformer_layers=0))
        fuse: type[_Vectors] | type[_Posteriors] = _Vectors if config.fusion == "late" else _Posteriors
        self.fuse = fuse((self.attention.outputs, self.memory.outputs), num_classes, config)

    def forward(self, mel: Tensor, prosody: Tensor, lengths: Tensor) -> Output:
        """Shape: mel (batch, channels, frames, bands), prosody (batch, frames, contours), lengths (batch,) frames."""
        steps, num_steps = self.cnn(mel, prosody, lengths)
        if self.early:
            answers = self.head(self.memory(steps, num_steps), num_steps)
        else:
            contours, _ = self.stack(prosody, lengths)
            answers = self.fuse(self.attention(steps, num_steps), self.memory(contours, num_steps), num_steps)
        logits, step_logits, weights, heads = answers
        return Output(logits, step_logits, num_steps, weights, heads)


class _Vectors(nn.Module):
    """Each branch to a vector of its own, both through one dense layer; steps go through the same layers."""

    pools: Iterable[Pool]   # of each branch

    def __init__(self, sizes: tuple[int, int], num_classes: int, config: ParallelConfig):
        super().__init__()
        pools = [Pool(size, config.pooling, config.bidirectional) for size in sizes]
        self.add_module("pools", nn.ModuleList(pools))
        inputs = sum(pool.outputs for pool in pools)
        self.dense = nn.Sequential(nn.Linear(inputs, config.features), nn.ReLU(), nn.Dropout(config.lstm_dropout))
        self.classifier = nn.Linear(config.features, num_classes)
        self.sex = nn.Linear(config.features, 2) if config.sex_head else None
        self.dimensions = nn.Linear(config.features, len(config.dimensions)) if config.dimensions else None

    def forward(self, *branches_and_lengths: Tensor):
        *branches, lengths = branches_and_lengths
        vectors, weights = zip(*(pool(steps, lengths) for pool, steps in zip(self.pools, branches)))
        fused = self.dense(torch.cat(vectors, dim=1))
        steps = [pool.of_steps(steps, vector) for pool, steps, vector in zip(self.pools, branches, vectors)]
        fused_steps = self.dense(torch.cat(steps, dim=2))
        heads = further(fused, fused_steps, self.sex, self.dimensions)
        return self.classifier(fused).float(), self.classifier(fused_steps).float(), torch.stack(weights).mean(0), heads


class _Posteriors(nn.Module):
    """Each branch to posteriors of its own; the answer is their mean, equal or with a learned weight."""

    def __init__(self, sizes: tuple[int, int], num_classes: int, config: ParallelConfig):
        super().__init__()
        self.heads = nn.ModuleList(Head(size, num_classes, config, config.bidirectional) for size in sizes)
        self.balance = nn.Parameter(torch.zeros(())) if config.fusion == "weighted" else None

    def forward(self, *branches_and_lengths: Tensor):
        *branches, lengths = branches_and_lengths
        answers = [head(steps, lengths) for head, steps in zip(self.heads, branches)]
        logits, step_logits, weights, heads = zip(*answers)
        further = {"embedding": torch.cat([head.pop("embedding") for head in heads], dim=1)}
        further |= {name: self._mean(*(head[name] for head in heads)) for name in heads[0]}
        return self._log_mean(*logits), self._log_mean(*step_logits), self._mean(*weights), further

    def _shares(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Of the two branches, summing to one."""
        balance = torch.zeros((), device=like.device) if self.balance is None else self.balance
        return balance.sigmoid(), (-balance).sigmoid()

    def _mean(self, first: Tensor, second: Tensor) -> Tensor:
        """Shape: two of (batch, ...) -> the same."""
        shares = self._shares(first)
        return shares[0] * first + shares[1] * second

    def _log_mean(self, *logits: Tensor) -> Tensor:
        """Logarithm of the mean posterior. Shape: two of (..., classes) -> the same."""
        shares = torch.stack(self._shares(logits[0])).log()
        return torch.logsumexp(torch.stack([part.log_softmax(-1) + s for part, s in zip(logits, shares)]), dim=0)
