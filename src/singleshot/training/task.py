"""What the training loop wants of the thing that is learnt, and of whoever watches.

`fit` knows steps, rates and time; a task knows data, loss and judgement. The two meet in these shapes only, so that a
detector and a segmenter share one loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from singleshot.errors import Fault

Network = TypeVar("Network", bound=nn.Module)


@runtime_checkable
class TrainingBatch(Protocol):
    """What the loop wants of a batch."""

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Names of the pictures."""
        ...

    @property
    def blank(self) -> Tensor:
        """(B,) bool, on the host: the pictures from which nothing is learned."""
        ...

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Any:
        """The same on a device."""
        ...


@dataclass(frozen=True)
class Validation:
    """What a task says of a network after an epoch.

    Args:
        score: the figure by which the best epoch is chosen, higher is better; None without validation data.
        columns: figures for `log.csv`, by column.
    """

    score: float | None = None
    columns: Mapping[str, float | None] = field(default_factory=dict)


@runtime_checkable
class Task(Protocol[Network]):
    """What is learnt: data, loss, judgement. `training.detection` is one."""

    network: Network
    steps_per_epoch: int

    @property
    def position(self) -> int:
        """Batches of the running epoch that are behind us: the `start` to go on from."""
        ...

    @property
    def faults(self) -> Sequence[Fault]:
        """What of the data could not be read or teaches nothing, so far."""
        ...

    def batches(self, epoch: int, start: int = 0) -> Iterable[TrainingBatch]:
        """The training batches of an epoch (0-based), from the `start`-th on.

        Their order depends on the seed and the epoch alone.
        """
        ...

    def whole(self, batch: Any) -> Any:
        """What `losses` must know of a batch that goes through the network in parts; asked once a step."""
        ...

    def losses(self, module: nn.Module, batch: Any, whole: Any = None) -> dict[str, Tensor]:
        """The parts of the loss of a batch on the device; their sum is minimised.

        With `whole`, of a batch of which this one is a part: what it adds to the loss of the whole.
        """
        ...

    def validate(self, network: Network) -> Validation:
        """Judge a network."""
        ...

    def save(self, path: Path, network: Network, facts: Mapping[str, Any]) -> None:
        """Write weights with these facts about the run."""
        ...


@runtime_checkable
class Observer(Protocol):
    """Somebody who watches a run: a progress bar, a test."""

    def step(self, *, epoch: int, step: int, done: float, parts: Mapping[str, float], rate: float, images: int) -> None:
        """After every step; `done` is the share of the run, 0…1, `images` the pictures of this step."""
        ...

    def epoch(self, row: Mapping[str, Any]) -> None:
        """After every epoch, with its row of `log.csv`."""
        ...

    def warn(self, line: str) -> None:
        """Something that the user should know."""
        ...


@dataclass(frozen=True)
class Outcome(Generic[Network]):
    """What a run came to.

    Args:
        network: the network that was judged and saved last.
        best_score: of the best epoch; None without validation.
        steps: taken.
        seconds: spent in the loop, validation included.
        images_per_second: of training alone, waiting for data included.
    """

    network: Network
    best_score: float | None
    steps: int
    seconds: float
    images_per_second: float
