"""The network's forward and backward pass on a CUDA device, recorded once for each size of batch and replayed.

A network for speech is hundreds of small kernels. To launch them one by one takes the processor several times as long
as the device needs to compute them; a recorded pass (a CUDA graph) is one launch. Measured: recipes/bench/RESULTS.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..models import Network, Output

GRID_FRAMES = 8   # sizes are rounded up to this, so that they are few
FROM_TIME = 3   # a size is recorded when it comes for this time: recording takes as long as ten steps
MOST_SIZES = 100   # each keeps its inputs, its answers and the gradients of all weights
SHARE_LEFT_FREE = 0.25   # of the device's memory; with less, no further size is recorded


class Replayed:
    """Answers as the network does, in training, with gradients; for one network on one device.

    Batch norm counts the frames up to the grid, as it counts those behind the shorter utterances of any batch.
    """

    def __init__(self, network: Network, device: torch.device):
        self._network, self._device, self._seen = network, device, Counter[torch.Size]()
        self._recorded: dict[torch.Size, Callable[..., Output]] = {}
        self._pool = torch.cuda.graph_pool_handle()   # shared: a pass is over before the next begins
        torch.cuda.graph.default_capture_stream = torch.cuda.Stream(device)   # else it stays that of an earlier device

    def __call__(self, mel: Tensor, prosody: Tensor | None, lengths: Tensor) -> Output:
        """What the network answers. Shape: as there; answers of steps may be longer, of which `step_lengths` count."""
        given = on_grid(mel, prosody, lengths)
        size = given[0].shape
        self._seen[size] += 1
        if size not in self._recorded:
            if self._seen[size] < FROM_TIME or not self._has_room():
                return _answer(self._network, *given)
            self._recorded[size] = self._record(given)
        return self._recorded[size](*given)

    def _has_room(self) -> bool:
        free, whole = torch.cuda.mem_get_info(self._device)
        return len(self._recorded) < MOST_SIZES and free > SHARE_LEFT_FREE * whole

    def _record(self, given: tuple[Tensor, ...]) -> Callable[..., Output]:
        """Passes that are made to warm up leave no trace in the statistics of batch norm and the random state."""
        statistics = [buffer.clone() for buffer in self._network.buffers()]
        state, autocast = torch.cuda.get_rng_state(self._device), torch.get_autocast_dtype("cuda")
        with torch.autocast("cuda", autocast, enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False):
            recorded: Any = torch.cuda.make_graphed_callables(
                _Alone(self._network), tuple(part.clone() for part in given), allow_unused_input=True, pool=self._pool)
        torch.cuda.set_rng_state(state, self._device)
        for buffer, before in zip(self._network.buffers(), statistics):
            buffer.copy_(before)
        return recorded


class _Alone(nn.Module):
    """A module of its own for each size, with the weights of the one network."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, *given: Tensor) -> Output:
        return _answer(self.network, *given)


def _answer(network: Network, mel: Tensor, lengths: Tensor, prosody: Tensor | None = None) -> Output:
    return network(mel, prosody, lengths)


def on_grid(mel: Tensor, prosody: Tensor | None, lengths: Tensor) -> tuple[Tensor, ...]:
    """Mel, lengths and prosody where there is some, with frames of padding up to the next whole GRID_FRAMES.

    Shape: mel (batch, channels, frames, bands), prosody (batch, frames, contours), lengths (batch,).
    """
    missing = -mel.shape[2] % GRID_FRAMES
    longer = pad(mel, (0, 0, 0, missing)).contiguous(memory_format=torch.channels_last)
    return (longer, lengths) if prosody is None else (longer, lengths, pad(prosody, (0, 0, 0, missing)))
