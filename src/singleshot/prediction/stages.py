"""A pipeline of stages that run at the same time, each in its own threads, with bounded queues between them.

Decoding, network, drawing and encoding all release Python's global lock, so on two cores two of them run at once and a
frame takes as long as its slowest stage, not the sum. Because queues are bounded, a slow encoder slows the decoder down
and memory use stays constant. A stage may have several workers; its results keep the order of its inputs. The time of
every stage is measured, so that a user sees which one is the bottleneck.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

POLL_S = 0.1
"""Seconds after which a waiting stage notices that the pipeline stops."""
_END = object()


@dataclass(frozen=True)
class Stage:
    """One step of a pipeline.

    Args:
        name: for the table of times.
        work: turns an item into the next stage's item. If it raises, the pipeline ends with that error.
        workers: the number of threads; above 1, `work` must not depend on the order of calls.
        set_up: called in each worker's thread before its first item.
    """

    name: str
    work: Callable[[Any], Any]
    workers: int = 1
    set_up: Callable[[], object] | None = None


@dataclass
class Times:
    """The time that a stage has taken so far.

    Args:
        name: of the stage.
        workers: its threads.
        items: items processed.
        wall_s: time in `work`, summed over its workers.
        cpu_s: CPU time of its own threads in `work`, without threads that a library starts.
        idle_s: time spent waiting for input.
    """

    name: str
    workers: int = 1
    items: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    idle_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, wall_s: float, cpu_s: float, idle_s: float) -> None:
        """Count one item."""
        with self._lock:
            self.items += 1
            self.wall_s += wall_s
            self.cpu_s += cpu_s
            self.idle_s += idle_s


class Pipeline:
    """A source and its stages. Iterate over it once for the last stage's results, in order.

    Args:
        source: the input items. It is iterated in a thread of its own, as the first stage.
        stages: at least one.
        depth: the number of items that may wait between two stages.
        source_name: the name of the source in the table of times.
        ahead: process items before their results are requested. If False, each request takes one item from the source
            and runs the stages in the caller's thread, so that the result of a camera is of its newest frame.

    An error in the source is raised after the results of all items before it, an error in a stage at once. All threads
    end when the iteration is left, also by an exception such as Ctrl-C.
    """

    def __init__(
        self,
        source: Iterable[Any],
        stages: Sequence[Stage],
        *,
        depth: int = 2,
        source_name: str = "decode",
        ahead: bool = True,
    ) -> None:
        self.times = [Times(source_name), *(Times(stage.name, stage.workers) for stage in stages)]
        self.wall_s = 0.0
        self._source, self._stages, self._ahead = source, stages, ahead
        self._queues: list[queue.Queue[tuple[int, Any]]] = [queue.Queue(depth) for _ in range(len(stages) + 1)]
        self._stop = threading.Event()
        self._errors: list[BaseException] = []

    def __iter__(self) -> Generator[Any, None, None]:
        """Yield the results. Raises what the source or a stage raised."""
        if not self._ahead:
            yield from self._one_by_one()
            return
        threads = [threading.Thread(target=self._feed, name="source", daemon=True)]
        for place, stage in enumerate(self._stages):
            turn = _Turn(stage.workers)
            for _ in range(stage.workers):
                thread = threading.Thread(target=self._work, args=(place, turn), name=stage.name, daemon=True)
                threads.append(thread)
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        try:
            for _, item in self._taken(self._queues[-1]):
                if item is _END:
                    break
                yield item
            if self._errors:
                raise self._errors[0]
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            self.wall_s = time.perf_counter() - start

    def _one_by_one(self) -> Generator[Any, None, None]:
        begun, items = time.perf_counter(), iter(self._source)
        try:
            while True:
                start, cpu = time.perf_counter(), time.thread_time()
                item = next(items, _END)
                if item is _END:
                    return
                self.times[0].add(time.perf_counter() - start, time.thread_time() - cpu, 0.0)
                for stage, times in zip(self._stages, self.times[1:], strict=False):
                    start, cpu = time.perf_counter(), time.thread_time()
                    item = stage.work(item)
                    times.add(time.perf_counter() - start, time.thread_time() - cpu, 0.0)
                yield item
        finally:
            self.wall_s = time.perf_counter() - begun

    def _feed(self) -> None:
        items: Iterator[Any] = iter(self._source)
        place = 0
        try:
            while not self._stop.is_set():
                start, cpu = time.perf_counter(), time.thread_time()
                item = next(items, _END)
                if item is _END:
                    break
                self.times[0].add(time.perf_counter() - start, time.thread_time() - cpu, 0.0)
                self._put(self._queues[0], (place, item))
                place += 1
        except BaseException as error:
            self._errors.append(error)
        self._put(self._queues[0], (place, _END))

    def _work(self, place: int, turn: _Turn) -> None:
        stage, times = self._stages[place], self.times[place + 1]
        incoming, outgoing = self._queues[place], self._queues[place + 1]
        try:
            if stage.set_up is not None:
                stage.set_up()
            idle = time.perf_counter()
            for number, item in self._taken(incoming):
                if item is _END:
                    if turn.workers > 1:
                        self._put(incoming, (number, _END))  # for the other workers
                    if turn.wait(number, self._stop):
                        self._put(outgoing, (number, _END))
                        turn.done()
                    return
                start, cpu = time.perf_counter(), time.thread_time()
                result = stage.work(item)
                times.add(time.perf_counter() - start, time.thread_time() - cpu, start - idle)
                if not turn.wait(number, self._stop):
                    return
                self._put(outgoing, (number, result))
                turn.done()
                idle = time.perf_counter()
        except BaseException as error:
            self._errors.append(error)
            self._stop.set()

    def _taken(self, items: queue.Queue[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        while True:
            try:
                yield items.get(timeout=POLL_S)
            except queue.Empty:
                if self._stop.is_set():
                    return

    def _put(self, items: queue.Queue[tuple[int, Any]], item: tuple[int, Any]) -> None:
        while not self._stop.is_set():
            try:
                items.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return


class _Turn:
    """The order in which the workers of a stage pass their results on."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._next, self._changed = 0, threading.Condition()

    def wait(self, number: int, stop: threading.Event) -> bool:
        """Wait for this item's turn and return whether it came; False if the pipeline stopped or the turn is over."""
        with self._changed:
            while self._next < number and not stop.is_set():
                self._changed.wait(POLL_S)
            return self._next == number and not stop.is_set()

    def done(self) -> None:
        """Let the next item pass."""
        with self._changed:
            self._next += 1
            self._changed.notify_all()


def table(pipeline: Pipeline, frames: int, total_cpu_s: float, cores: int) -> list[str]:
    """Return the time of each stage per frame and the slowest stage, as lines of text.

    Args:
        pipeline: a pipeline that has ended.
        frames: the number of frames.
        total_cpu_s: CPU time of the whole process meanwhile, threads of libraries included.
        cores: the number of cores.
    """
    if not frames or not pipeline.wall_s:
        return ["no frame went through"]
    lines = [f"{'stage':8} {'ms wall':>8} {'ms CPU':>8} {'busy':>6}"]
    for times in pipeline.times:
        busy = times.wall_s / times.workers / pipeline.wall_s
        workers = f"  x{times.workers}" if times.workers > 1 else ""
        wall, cpu = 1e3 * times.wall_s / frames, 1e3 * times.cpu_s / frames
        lines.append(f"{times.name:8} {wall:8.2f} {cpu:8.2f} {busy:6.0%}{workers}")
    own = sum(times.cpu_s for times in pipeline.times)
    lines.append(f"{'others':8} {'':8} {1e3 * max(total_cpu_s - own, 0) / frames:8.2f}")
    limit = max(pipeline.times, key=lambda times: times.wall_s / times.workers)
    full = total_cpu_s / cores / pipeline.wall_s
    lines.append(
        f"{'in all':8} {1e3 * pipeline.wall_s / frames:8.2f} {1e3 * total_cpu_s / frames:8.2f} {full:6.0%} of {cores} "
        f"cores; the limit is {limit.name}"
    )
    return lines
