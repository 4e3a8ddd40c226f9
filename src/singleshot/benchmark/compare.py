"""Which differences between two benchmarks are larger than the noise.

Each rate has been measured with an interval of its own (`measure.noise`). Two differ where the logarithm of their
ratio is larger than both intervals together; below a floor of 3 % none is called a difference, because a machine is
not the same one twice: heat, neighbours, where its memory lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from singleshot.benchmark.results import Report, Result

FLOOR = 0.03
UNKNOWN_NOISE = 0.1
"""Of a rate from fewer than three steps, which says nothing about its own spread."""
CONDITIONS = ("device", "cpu", "cores", "gpu", "driver", "torch", "threads", "precision", "data_disk", "system")


@dataclass(frozen=True)
class Difference:
    """One workload in two benchmarks.

    Args:
        name: of the workload.
        ratio: the second's images per second over the first's; None where one of them failed.
        noise: the ratio may lie so far from 1, as a share, and mean nothing.
        other_conditions: what of the workload was not alike: batch, precision, loader, data.
    """

    name: str
    ratio: float | None
    noise: float
    other_conditions: tuple[str, ...] = ()

    @property
    def larger_than_noise(self) -> bool:
        """Whether there is a difference to speak of."""
        return self.ratio is not None and abs(math.log(self.ratio)) > math.log1p(self.noise)

    def __str__(self) -> str:
        if self.ratio is None:
            return f"{self.name}: failed in one of the two"
        change = f"{100 * (self.ratio - 1):+.1f} %"
        said = "a difference" if self.larger_than_noise else "no difference"
        line = f"{self.name}: {change} images/s, {said} (noise ±{100 * self.noise:.1f} %)"
        return f"{line}; not alike: {', '.join(self.other_conditions)}" if self.other_conditions else line


def compare(first: Report, second: Report) -> list[Difference]:
    """The workloads that both have, in the first's order; empty where they have none in common."""
    common = [name for name in first.workloads if name in second.workloads]
    return [_difference(name, first.workloads[name], second.workloads[name]) for name in common]


def other_machine(first: Report, second: Report) -> list[str]:
    """What of the two machines is not alike, as lines."""
    return [
        f"{fact}: {first.machine.get(fact)} → {second.machine.get(fact)}"
        for fact in CONDITIONS
        if first.machine.get(fact) != second.machine.get(fact)
    ]


def _difference(name: str, one: Result, two: Result) -> Difference:
    unlike = tuple(
        fact for fact in ("batch_size", "precision", "loader", "data") if getattr(one, fact) != getattr(two, fact)
    )
    if not one.images_per_second or not two.images_per_second:
        return Difference(name, None, 0.0)
    spreads = [UNKNOWN_NOISE if each.noise is None else each.noise for each in (one, two)]
    return Difference(name, two.images_per_second / one.images_per_second, max(FLOOR, math.hypot(*spreads)), unlike)
