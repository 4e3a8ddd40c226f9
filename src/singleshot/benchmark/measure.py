"""Rates of training: a timed window after a warm-up, and then each side of it alone.

A window ends with the first step that ends after its time, so at least one whole step is measured, however long it
takes. What is timed is the step that `singleshot train` takes. On a CUDA device the host runs ahead of the device;
there the waits are the gaps between steps on the device's own clock, and nothing waits within a window.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Window:
    """What was seen in a stretch of time.

    Args:
        images: pictures in its steps.
        steps: whole steps.
        seconds: how long it took.
        waiting_s: of these, the time in which no step was running.
        noise: half the width of the 95 % interval of the mean step, as a share of it; None for fewer than 3 steps.
    """

    images: int
    steps: int
    seconds: float
    waiting_s: float
    noise: float | None

    @property
    def images_per_second(self) -> float:
        """The rate; 0 where there was no step."""
        return self.images / self.seconds if self.seconds > 0 else 0.0

    @property
    def waiting_share(self) -> float:
        """The share of the time in which no step was running, 0…1."""
        return min(1.0, self.waiting_s / self.seconds) if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Rates:
    """A workload's three windows: both sides together, then each alone."""

    together: Window
    network: Window
    loader: Window


def measure(
    batches: Iterable[Sized],
    step: Callable[[Any], object],
    *,
    seconds: float,
    warm_up: int,
    ahead: int,
    device: str = "cpu",
    around: Callable[[Callable[[], Window]], Window] | None = None,
) -> Rates:
    """Warm up, then measure.

    Args:
        batches: an epoch, or epochs without end.
        step: trains on a batch.
        seconds: of the first window; the other two get a quarter each. Infinite for all of `batches`, which must end.
        warm_up: steps before it, all on the first batch.
        ahead: batches that the loader may have ready; its own window begins behind them.
        device: `cpu` or `cuda`.
        around: is given the first window to run, and may look at the machine before and after.

    Raises:
        ValueError: there is no batch.
    """
    stream = iter(batches)
    first = next(stream, None)
    if first is None:
        raise ValueError("no batch to measure with")
    for _ in range(warm_up):
        step(first)

    def together() -> Window:
        return timed(itertools.chain([first], stream), step, seconds=seconds, device=device)

    seen = together() if around is None else around(together)
    quarter = (seen.seconds if math.isinf(seconds) else seconds) / 4
    network = timed(itertools.repeat(first), step, seconds=quarter, device=device)
    if math.isinf(seconds):
        stream = iter(batches)
    for _ in itertools.islice(stream, ahead + 1):
        pass
    loader = timed(stream, _nothing, seconds=quarter, device="cpu")
    return Rates(seen, network, loader)


def timed(batches: Iterator[Sized], step: Callable[[Any], object], *, seconds: float, device: str = "cpu") -> Window:
    """One window: steps until its time is over or the batches are, the last one finished."""
    marks = _DeviceMarks() if device == "cuda" else _HostMarks()
    images = steps = 0
    start = marks.now()
    while not steps or time.perf_counter() - start < seconds:
        batch = next(batches, None)
        if batch is None:
            break
        marks.begin()
        step(batch)
        marks.end()
        images, steps = images + len(batch), steps + 1
    end = marks.now()
    waiting_s, intervals = marks.read(start)
    return Window(images, steps, end - start, waiting_s, noise(intervals))


def noise(intervals_s: list[float]) -> float | None:
    """Half the width of the 95 % interval of a mean of these, as a share of it; None for fewer than three.

    >>> round(noise([1.0, 1.1, 0.9, 1.0]), 3), noise([1.0, 2.0])
    (0.08, None)
    """
    if len(intervals_s) < 3 or not (mean := statistics.fmean(intervals_s)):
        return None
    return 1.96 * statistics.stdev(intervals_s) / math.sqrt(len(intervals_s)) / mean


class _HostMarks:
    """Begin and end of each step by the host's clock."""

    def __init__(self) -> None:
        self.begins: list[float] = []
        self.ends: list[float] = []

    def now(self) -> float:
        return time.perf_counter()

    def begin(self) -> None:
        self.begins.append(time.perf_counter())

    def end(self) -> None:
        self.ends.append(time.perf_counter())

    def read(self, start: float) -> tuple[float, list[float]]:
        """The sum of the gaps before steps, and the time from each step's end to the next one's."""
        previous = [start, *self.ends[:-1]] if self.ends else []
        gaps = [begin - end for begin, end in zip(self.begins, previous, strict=True)]
        return sum(gaps, 0.0), [end - before for end, before in zip(self.ends, previous, strict=True)]


class _DeviceMarks:
    """The same by the device's clock: events in its queue, read when all is done."""

    def __init__(self) -> None:
        self.begins: list[torch.cuda.Event] = []
        self.ends: list[torch.cuda.Event] = []

    def now(self) -> float:
        torch.cuda.synchronize()
        if not self.ends:
            self.ends.append(self._mark())  # where the window begins
        return time.perf_counter()

    def begin(self) -> None:
        self.begins.append(self._mark())

    def end(self) -> None:
        self.ends.append(self._mark())

    def read(self, start: float) -> tuple[float, list[float]]:
        del start  # the first event stands for it
        gaps = [before.elapsed_time(begin) / 1e3 for before, begin in zip(self.ends, self.begins, strict=False)]
        return sum(gaps, 0.0), [one.elapsed_time(two) / 1e3 for one, two in itertools.pairwise(self.ends)]

    def _mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _nothing(_batch: object) -> None:
    """The network that costs nothing."""
