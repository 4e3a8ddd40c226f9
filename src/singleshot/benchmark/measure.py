"""Rates of training: a timed window after a warm-up, and then each side of it alone.

A window ends with the first step that ends after its time, so at least one whole step is measured, however long it
takes; and each of its steps waits for a batch of its own, the first one too. What is timed is the step that
`singleshot train` takes. On a CUDA device the host runs ahead of the device; there the waits are the gaps between
steps on the device's own clock, and nothing waits within a window.

What the loader has got ready while the first steps were slow would be a gift to the window. It is thrown away, and
then as many steps as before bring the queue to where it is in a long run: full where the network limits, empty where
the loader does.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sized
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


Stream = Callable[[int | None], Iterator[Sized]]
"""Batches of one epoch after the other: so many of them, or for None without end. Each call begins an epoch anew."""


def measure(
    batches: Stream,
    step: Callable[[Any], object],
    *,
    seconds: float | None,
    warm_up: int,
    ahead: int,
    epoch_steps: int,
    device: str = "cpu",
    around: Callable[[Callable[[], Window]], Window] | None = None,
) -> Rates:
    """Warm up, then measure.

    Args:
        batches: see `Stream`.
        step: trains on a batch.
        seconds: of the first window; the other two get a quarter each. None for a whole epoch, which then begins
            within the window, with workers that have nothing ready.
        warm_up: steps before it; as many again where batches are read ahead.
        ahead: batches that the loader may have ready.
        epoch_steps: batches of an epoch.
        device: `cpu` or `cuda`.
        around: is given the first window to run, and may look at the machine before and after.

    Raises:
        ValueError: there is no batch.
    """
    # A short run that is used up leaves its workers waiting; one that is left early would end them.
    stream = batches(warm_up if seconds is None else None)
    known = next(stream, None)
    if known is None:
        raise ValueError("no batch to measure with")
    step(known)
    for batch in itertools.islice(stream, warm_up - 1):
        step(batch)
    if seconds is None:
        stream = itertools.chain(stream, batches(epoch_steps))  # the first of the two is used up when this begins
    elif ahead:
        for _ in itertools.islice(stream, ahead):
            pass
        for batch in itertools.islice(stream, warm_up):
            step(batch)

    def together() -> Window:
        return timed(stream, step, seconds=math.inf if seconds is None else seconds, device=device)

    seen = together() if around is None else around(together)
    quarter = (seen.seconds if seconds is None else seconds) / 4
    network = timed(itertools.repeat(known), step, seconds=quarter, device=device)
    if seconds is None:
        stream = batches(None)
    for _ in itertools.islice(stream, ahead):
        pass
    # Workers that begin together finish together: so many batches at least that each of them has brought some.
    loader = timed(stream, _nothing, seconds=quarter, least=max(1, ahead))
    return Rates(seen, network, loader)


def timed(
    batches: Iterator[Sized], step: Callable[[Any], object], *, seconds: float, least: int = 1, device: str = "cpu"
) -> Window:
    """One window: `least` steps and more until its time is over, or until the batches are; the last one finished."""
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
