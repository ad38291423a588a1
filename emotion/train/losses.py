"""What a wrong answer costs: cross-entropy against distributions, balanced over classes, focal, smoothed; 1 - CCC."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


class Loss(nn.Module):
    """Mean cross-entropy of logits against target distributions (batch, classes), each class by its weight.

        loss = - sum over utterances and classes of w_c t_c (1 - p_c)^gamma log p_c  /  sum of w_c t_c

    Against single classes, with gamma 0 and without smoothing, it is torch's weighted CrossEntropyLoss.
    Source: Lin et al. 2017, Focal loss for dense object detection (gamma); Szegedy et al. 2016, Rethinking the
    inception architecture (label smoothing).
    """

    weights: Tensor

    def __init__(self, weights: np.ndarray, focal_gamma: float = 0.0, label_smoothing: float = 0.0):
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32), persistent=False)
        self.focal_gamma, self.label_smoothing = focal_gamma, label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Shape: logits (batch, classes), targets (batch, classes) with rows of sum 1 -> ()."""
        weighted, log_p = self._weighted(targets), logits.log_softmax(1)
        # of what is certain, the slope of a root would be infinite
        hardness = (1 - log_p.exp()).clamp(min=1e-6) ** self.focal_gamma if self.focal_gamma else 1.0
        return -(weighted * hardness * log_p).sum() / self.weight(targets)

    def weight(self, targets: Tensor) -> Tensor:
        """What the mean of a batch is divided by; not 0 where nothing in it weighs. Shape: (batch, classes) -> ()."""
        return self._weighted(targets).sum().clamp(min=1e-6)

    def _weighted(self, targets: Tensor) -> Tensor:
        return self.weights * ((1 - self.label_smoothing) * targets + self.label_smoothing / targets.shape[1])


def discordance(said: Tensor, true: Tensor, summed: Callable[[Tensor], Tensor] = lambda sums: sums) -> Tensor:
    """1 - CCC over the utterances of a batch, mean over the dimensions of which it has two utterances or more.

        CCC = 2 cov / (var + var + (mean - mean)^2) = 2 (E[xy] - E[x] E[y]) / (E[x^2] + E[y^2] - 2 E[x] E[y])

    summed: adds what other processes have of the same batch.

    Shape: said and true (utterances, dimensions), about 0 to 1; true is nan where it is not known -> ().
    Source: Lin 1989, A concordance correlation coefficient to evaluate reproducibility; as a loss Trigeorgis et al.
    2016, Adieu features?
    """
    known = true.isfinite()
    x, y = ((values - 0.5) * known for values in (said, true.nan_to_num(0.5)))   # small numbers, small rounding
    count, *sums = summed(torch.stack([known.to(x.dtype), x, y, x * x, y * y, x * y]).sum(1))
    x, y, xx, yy, xy = (part / count.clamp(min=1) for part in sums)
    ccc = 2 * (xy - x * y) / (xx + yy - 2 * x * y).clamp(min=1e-6)
    enough = count > 1
    return ((1 - ccc) * enough).sum() / enough.sum().clamp(min=1)


def balanced(counts: np.ndarray) -> np.ndarray:
    """Weight of each class, so that all weigh the same together and an utterance weighs 1 on average; 0 without any.

    Shape: counts (classes,), of an epoch: fractions of votes, and where a speaker gives a part -> (classes,).
    """
    some = counts > 0
    return np.divide(counts.sum(), counts, out=np.zeros(len(counts)), where=some) / np.count_nonzero(some)


def softened(probabilities: Tensor, temperature: float) -> Tensor:
    """A teacher's probabilities, less sure: what it thinks of the classes that it does not choose comes forward.

    The student learns these as they are. In the paper its own answer is softened too, while it learns; so above 1 the
    temperature here also smooths, as label smoothing does, but more between classes that the teacher takes for alike.

    Shape: (utterances, classes) -> the same.
    Source: after Hinton et al. 2015, Distilling the knowledge in a neural network.
    """
    return (probabilities.clamp(min=1e-12).log() / temperature).softmax(1)
