"""How the learning rate moves: a factor for each step, from the schedules that published results used.

A factor multiplies every group's base rate, so a group that learns twice as fast (biases) keeps doing so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from singleshot.config import AtLeast, Config, Range
from singleshot.errors import ConfigError


@dataclass(frozen=True)
class Schedule(Config, name="schedule"):
    """A warm-up, then one of four curves."""

    kind: Literal["steps", "exponential", "cosine", "constant"] = "cosine"
    """`steps` multiplies by `gamma` at each boundary (Caffe), `exponential` by `gamma` after each epoch (the 2017
    post's 0.97), `cosine` falls to `floor` over the whole run, `constant` stays."""
    warmup_steps: Annotated[int, AtLeast(0)] = 100
    """Steps over which the rate rises linearly from `warmup_factor` to 1."""
    warmup_factor: Annotated[float, Range(0, 1)] = 0.01
    """Factor of the first step."""
    boundaries: tuple[int, ...] = ()
    """Steps at which `steps` falls, in ascending order."""
    gamma: Annotated[float, AtLeast(0)] = 0.1
    """Factor of `steps` and `exponential`."""
    floor: Annotated[float, Range(0, 1)] = 0.01
    """Factor at which `cosine` ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(step < 0 for step in self.boundaries) or list(self.boundaries) != sorted(set(self.boundaries)):
            raise ConfigError(f"schedule.boundaries is {self.boundaries}", remedy="Give steps, each after the last")


def factor(schedule: Schedule, *, step: int, epoch: int, progress: float) -> float:
    """What the base rate is multiplied by.

    Args:
        schedule: which shape.
        step: 0-based steps done in the whole run.
        epoch: 0-based epochs done.
        progress: share of the run that is done, 0…1; what `cosine` follows, so that a run may be limited by epochs,
            steps or minutes alike.

    >>> caffe = Schedule(kind="steps", warmup_steps=0, boundaries=(80_000, 100_000))
    >>> [round(factor(caffe, step=step, epoch=0, progress=0.0), 4) for step in (79_999, 80_000, 100_000)]
    [1.0, 0.1, 0.01]
    """
    warm = 1.0
    if step < schedule.warmup_steps:
        warm = schedule.warmup_factor + (1 - schedule.warmup_factor) * step / schedule.warmup_steps
    if schedule.kind == "steps":
        return warm * schedule.gamma ** sum(step >= boundary for boundary in schedule.boundaries)
    if schedule.kind == "exponential":
        return warm * schedule.gamma**epoch
    if schedule.kind == "cosine":
        done = min(max(progress, 0.0), 1.0)
        return warm * (schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * done)) / 2)
    return warm
