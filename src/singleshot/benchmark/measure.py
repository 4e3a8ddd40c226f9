"""Rates of training: a timed window after a warm-up, then each side of it alone, and which of the two is the limit.

A window ends with the first step that ends after its time, so at least one whole step is measured, however long it
takes; and each of its steps waits for a batch of its own, the first one too. The step is the one of `singleshot
train`. On a CUDA device the host runs ahead of the device; there the waits are the gaps between steps on the device's
own clock, and nothing waits within a window.

Batches that the loader prepared during the slow first steps would make the window too fast. They are discarded, and
then as many steps as before bring the queue to its length in a long run: full where the network is the limit, empty
where the loader is.

The 2017 post found its V100 slower than a 1080 Ti on one workload, because images were prepared one after the other
in the main thread. A rate alone does not show this. The share of the time in which the network waits does, and the
rates of either side alone tell how much there is to gain.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, Literal

import torch

from singleshot.benchmark.machine import cores, cpu_seconds

Verdict = Literal["loader-bound", "network-bound", "balanced"]
SPARE_RATE = 1.25
"""A loader that alone is at least this much faster than the network has capacity to spare."""
SOME_WAITING, MUCH_WAITING, MOST = 0.1, 0.2, 0.5
"""Shares of the time: the least waiting that shows a loader without spare capacity, more than handing over a batch
costs, and most of the time."""


@dataclass(frozen=True)
class Window:
    """The measurements of a stretch of time.

    Args:
        images: in its steps.
        steps: whole steps.
        seconds: its duration.
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
    """A workload's three windows: both sides together, then each alone.

    Args:
        together: training, loading included.
        network: steps on one batch in memory.
        loader: reading without a network.
        cpu_utilisation: share of all cores' time that was used in `together`, 0…1; None where it cannot be measured.
    """

    together: Window
    network: Window
    loader: Window
    cpu_utilisation: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Which side is the limit."""
        return verdict(self.together.waiting_share, self.loader.images_per_second, self.network.images_per_second)


Stream = Callable[[int | None], Iterator[Sized]]
"""Yield batches of one epoch after the other: so many, or for None without end. Each call starts an epoch anew."""


def measure(
    batches: Stream,
    step: Callable[[Any], object],
    *,
    seconds: float | None,
    warm_up: int,
    ahead: int,
    epoch_steps: int,
    device: str = "cpu",
) -> Rates:
    """Warm up, then measure.

    Args:
        batches: see `Stream`.
        step: trains on a batch.
        seconds: of the first window; the other two get a quarter each. None for a whole epoch, which then starts
            within the window, with workers that have nothing ready.
        warm_up: steps before it; as many again where batches are read ahead.
        ahead: batches that the loader may have ready.
        epoch_steps: batches of an epoch.
        device: `cpu` or `cuda`.

    Raises:
        ValueError: `batches` yields none.
    """
    # A short run that is exhausted leaves its workers waiting; one that is abandoned would end them.
    stream = batches(warm_up if seconds is None else None)
    first = next(stream, None)
    if first is None:
        raise ValueError("no batch to measure with")
    step(first)
    for batch in itertools.islice(stream, warm_up - 1):
        step(batch)
    if seconds is None:
        stream = itertools.chain(stream, batches(epoch_steps))  # the first of the two is exhausted when this starts
    elif ahead:
        for _ in itertools.islice(stream, ahead):
            pass
        for batch in itertools.islice(stream, warm_up):
            step(batch)

    before = cpu_seconds()
    together = timed(stream, step, seconds=math.inf if seconds is None else seconds, device=device)
    after = cpu_seconds()
    used = None if before is None or after is None else (after - before) / (together.seconds * cores())
    quarter = (together.seconds if seconds is None else seconds) / 4
    network = timed(itertools.repeat(first), step, seconds=quarter, device=device)
    if seconds is None:
        stream = batches(None)
    for _ in itertools.islice(stream, ahead):
        pass
    # Workers that start together finish together: so many batches at least that each of them has contributed some.
    loader = timed(stream, lambda _batch: None, seconds=quarter, least=max(1, ahead))
    return Rates(together, network, loader, None if used is None else min(1.0, used))


def timed(
    batches: Iterator[Sized], step: Callable[[Any], object], *, seconds: float, least: int = 1, device: str = "cpu"
) -> Window:
    """Measure one window: `least` steps, and more until its time is over or no batch is left; the last is finished."""
    marks = _DeviceMarks() if device == "cuda" else _HostMarks()
    images = steps = 0
    start = marks.now()
    while steps < least or time.perf_counter() - start < seconds:
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
    """Return half the width of the 95 % interval of the mean, as a share of it; None for fewer than three.

    >>> round(noise([1.0, 1.1, 0.9, 1.0]), 3), noise([1.0, 2.0])
    (0.08, None)
    """
    if len(intervals_s) < 3 or not (mean := statistics.fmean(intervals_s)):
        return None
    return 1.96 * statistics.stdev(intervals_s) / math.sqrt(len(intervals_s)) / mean


class _HostMarks:
    """Start and end of each step by the host's clock."""

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
        """Return the sum of the gaps before steps, and the time from each step's end to the next one's."""
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


def verdict(waiting_share: float, loader_images_per_second: float, network_images_per_second: float) -> Verdict:
    """Return which side limits the rate.

    The loader, where the network waits most of the time, or waits at all and the loader has no capacity to spare. The
    network, where it hardly waits and the loader has. Otherwise neither alone: `balanced`. A loader in the main thread
    may have capacity to spare and still cost time, because the two take turns.

    Args:
        waiting_share: share of the time in which the network had nothing to do, 0…1.
        loader_images_per_second: of the loader alone.
        network_images_per_second: of the network alone, on images in memory.

    >>> verdict(0.6, 200.0, 100.0), verdict(0.15, 85.0, 100.0)
    ('loader-bound', 'loader-bound')
    >>> verdict(0.01, 400.0, 100.0), verdict(0.05, 110.0, 100.0), verdict(0.25, 300.0, 100.0)
    ('network-bound', 'balanced', 'balanced')
    """
    if waiting_share >= MOST:
        return "loader-bound"
    if loader_images_per_second < SPARE_RATE * network_images_per_second:
        return "loader-bound" if waiting_share >= SOME_WAITING else "balanced"
    return "network-bound" if waiting_share < MUCH_WAITING else "balanced"
