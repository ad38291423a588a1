"""Several processes that train one model, one on each device: how they were started and what they tell each other.

What one process alone asks of the others, it answers itself: the same calls stand in a training on one device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from torch import Tensor, distributed

from ..hardware import choose_device

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """One for each device of each machine, and what started them."""

    devices: int
    nodes: int
    environment: ClusterEnvironment

    @property
    def count(self) -> int:
        return self.devices * self.nodes

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and tells."""
        return self.count == 1 or self.environment.node_rank() == self.environment.local_rank() == 0

    def place(self, device: str) -> torch.device:
        """The device of that name; of several processes each takes its own of that kind.

        Raises: ValueError where there are not as many.
        """
        place = choose_device(device)
        if self.count > 1 and (place.index is not None or place.type == "mps"):
            raise ValueError(
                f"device {device!r} is one device, and {self.count} processes need one each. Choose cuda or cpu, or "
                "train on one device."
            )
        if place.type == "cuda" and self.devices > torch.cuda.device_count():
            raise ValueError(
                f"devices={self.devices}, and {torch.cuda.device_count()} can be seen here: two processes on one "
                "would be slower than one. Ask for as many as there are."
            )
        return place


def processes_of(devices: int | None = None, nodes: int | None = None) -> Processes:
    """As torchrun or srun started this one; else as it is asked for, 1 where it is not.

    Raises: ValueError where what is asked for is not what was started, or nobody said which machine is which.
    """
    started = _started()
    if started is None:
        asked = Processes(devices or 1, nodes or 1, LightningEnvironment())
        if asked.nodes > 1 and not {"MASTER_ADDR", "NODE_RANK"} <= os.environ.keys():
            raise ValueError(
                f"nodes={nodes}, and nothing tells which of the machines this is: it would wait for the others for "
                f"ever. Start it on each with torchrun --nnodes {nodes} or once with srun --nodes {nodes}."
            )
        return asked
    for name, given, found in (("devices", devices, started.devices), ("nodes", nodes, started.nodes)):
        if given not in (None, found):
            raise ValueError(
                f"{name}={given}, but {name}={found} were started: some would wait for others for ever. Leave "
                f"--{name} out, or start as many."
            )
    return started


def _started() -> Processes | None:
    """What torchrun or srun has started; None where this process is alone so far."""
    if TorchElasticEnvironment.detect():
        restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")
        if restarts != "0" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            raise ValueError(
                f"torchrun is to restart this up to {restarts} times, and what it starts anew would look for the "
                "others where they were before (PyTorch issue 135712) and fail or hang. Start it with "
                "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --rdzv-backend c10d, on one machine --standalone."
            )
        devices, nodes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
        return Processes(devices, nodes, TorchElasticEnvironment())
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))   # of srun; an sbatch script by itself is one process
    if tasks == 1:
        return None
    nodes = int(os.environ["SLURM_STEP_NUM_NODES"])
    if os.environ.get("SLURM_NTASKS_PER_NODE") != str(tasks // nodes) or tasks % nodes:
        raise ValueError(
            f"srun started {tasks} tasks on {nodes} machines without saying how many on each: they could not find "
            "each other. Give --nodes and --ntasks-per-node, to sbatch or to srun, instead of --ntasks."
        )
    return Processes(tasks // nodes, nodes, SLURMEnvironment(auto_requeue=False))


def _are_several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def total(value: Tensor) -> Tensor:
    """The sum over all processes. No gradient flows through it."""
    value = value.detach()
    if _are_several():
        value = value.clone()
        distributed.all_reduce(value)
    return value


def summed(value: Tensor) -> Tensor:
    """The sum over all processes, for a loss of the whole batch: its gradient flows through what is this process's own,
    times their number, since the mean of all gradients is taken."""
    count = distributed.get_world_size() if _are_several() else 1
    return total(value) + count * (value - value.detach())


def average(tensors: Iterable[Tensor]) -> None:
    """Put the mean over all processes in the place of each; of whole numbers, all processes have the same."""
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    if _are_several() and floats:
        mean = total(torch.cat([tensor.flatten() for tensor in floats])) / distributed.get_world_size()
        for tensor, part in zip(floats, mean.split([tensor.numel() for tensor in floats])):
            tensor.copy_(part.view_as(tensor))


def gather(value: T) -> list[T]:
    """Every process's value, in the order of their ranks."""
    if not _are_several():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def once(compute: Callable[[], T]) -> T:
    """What the first process computes, for all. An error there is raised in all: none is left waiting."""
    if not _are_several():
        return compute()
    answer: list[Any] = [None, None]
    if distributed.get_rank() == 0:
        try:
            answer[0] = compute()
        except Exception as error:
            answer[1] = error
    distributed.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]
