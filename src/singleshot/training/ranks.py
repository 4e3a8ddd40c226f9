"""Several processes that train one network, and the few things that they say to each other.

Everything here is a collective: all ranks must call it, in the same order. With one rank each answers at once, and
the training loop reads the same for one as for many.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from singleshot.errors import ConfigError, SingleshotError
from singleshot.training.fabric import Fabric

Value = TypeVar("Value")
SHOWN_FACTS = 4


class Ranks:
    """This process among its like.

    Args:
        fabric: launched; None stands for one process alone.
    """

    def __init__(self, fabric: Fabric | None = None) -> None:
        self.rank, self.world = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
        self._device = torch.device("cpu") if fabric is None else fabric.device
        self.collectives = self.alive_reports = 0
        """How often `count_collective` and `report_alive` were called, for `heartbeat`."""

    def count_collective(self) -> None:
        """Count one of the collectives that all ranks come by, in the same order: who has counted fewer is behind."""
        self.collectives += 1

    def report_alive(self) -> None:
        """Count that work goes on where ranks need not be level: between two pictures of a validation, say."""
        self.alive_reports += 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes, logs and shows."""
        return self.rank == 0

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over the ranks."""
        return self.sum(tensor) / self.world

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the ranks."""
        if self.world == 1:
            return tensor
        self.count_collective()
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Whether it holds on any rank."""
        if self.world == 1:
            return flag
        self.count_collective()
        held = torch.tensor([float(flag)], device=self._device)
        dist.all_reduce(held)
        return bool(held.item())

    def from_first(self, value: Value) -> Value:
        """The first rank's value."""
        if self.world == 1:
            return value
        self.count_collective()
        carried = [value if self.first else None]
        dist.broadcast_object_list(carried, src=0)
        return carried[0]  # pyright: ignore[reportReturnType]

    def gather(self, value: Value) -> list[Value]:
        """Every rank's value, in the order of ranks."""
        if self.world == 1:
            return [value]
        self.count_collective()
        every: list[Any] = [None] * self.world
        dist.all_gather_object(every, value)
        return every

    def first_does(self, work: Callable[[], Value]) -> Value:
        """What the first rank's `work` returns; where it raises a SingleshotError, all ranks raise that."""
        value, error = None, None
        if self.first:
            try:
                value = work()
            except SingleshotError as raised:
                if self.world == 1:
                    raise
                error = raised
        value, error = self.from_first((value, error))
        if error is not None:
            raise error
        return value  # pyright: ignore[reportReturnType]

    def must_agree(self, facts: dict[str, Any]) -> None:
        """Raises ConfigError where ranks have different facts (code, recipe, data), with rank, host and fact named."""
        every = self.gather((socket.gethostname(), facts))
        for rank, (host, theirs) in enumerate(every):
            differ = sorted(name for name in {*facts, *theirs} if theirs.get(name) != every[0][1].get(name))
            if differ:
                shown = "; ".join(
                    f"{name} is {theirs.get(name)!r}, not {every[0][1].get(name)!r}" for name in differ[:SHOWN_FACTS]
                )
                more = f"; and {len(differ) - SHOWN_FACTS} more" if len(differ) > SHOWN_FACTS else ""
                what = f"rank {rank} on host {host} is not like rank 0: {shown}{more}"
                raise ConfigError(what, remedy="Start all ranks with the same code, recipe and data")


def first_process() -> bool:
    """Whether this process is the one that speaks: rank 0, or one that is alone."""
    return not dist.is_available() or not dist.is_initialized() or dist.get_rank() == 0


def per_rank(batch_size: int, world: int) -> int:
    """Each rank's part of a batch. Raises ConfigError where it cannot be shared out evenly.

    >>> per_rank(32, 4)
    8
    """
    if batch_size % world:
        down = batch_size - batch_size % world
        remedy = f"Take a batch of {down or world} or {down + world}, or another number of processes"
        raise ConfigError(f"a batch of {batch_size} cannot be shared by {world} processes", remedy=remedy)
    return batch_size // world


def batch_for(pictures: int, wanted: int, world: int) -> int:
    """The batch of a split with fewer pictures than a batch: all of them, or the most that ranks can share evenly.

    >>> batch_for(100, 16, 4), batch_for(10, 16, 4), batch_for(3, 16, 4)
    (16, 8, 3)
    """
    return wanted if pictures >= wanted else pictures - pictures % world or pictures


def in_turn(parts: list[list[Value]]) -> list[Value]:
    """What ranks did in turn, rank by rank, as one process would have done it: one of each, and round again.

    >>> in_turn([[0, 2, 4], [1, 3]])
    [0, 1, 2, 3, 4]
    """
    longest = max((len(part) for part in parts), default=0)
    return [part[turn] for turn in range(longest) for part in parts if turn < len(part)]
