"""Steps of a work that run at the same time, each in its own thread, with short queues between them.

Decoding, network, drawing and encoding all leave Python's lock alone while they work, so on two cores two of them run
at once and a frame costs what its slowest stage costs, not the sum. Queues are bounded: a slow encoder holds the
decoder back and memory stays flat. A stage may have several workers; results leave it in the order in which they came
in all the same. Every stage's time is kept, so that a user sees which one is the limit.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

POLL_S = 0.1
"""How long a stage may go on after it was told to stop, beside the item in its hands."""
_END = object()


@dataclass(frozen=True)
class Stage:
    """One step of the work.

    Args:
        name: for the table of times.
        work: an item → the next stage's item. One that raises ends the whole work with its error.
        workers: threads that share it; above 1, `work` must not depend on the order of calls.
        set_up: called in each worker's thread before its first item.
    """

    name: str
    work: Callable[[Any], Any]
    workers: int = 1
    set_up: Callable[[], object] | None = None


@dataclass
class Times:
    """What a stage has cost so far.

    Args:
        name: the stage's.
        workers: its threads.
        items: how many it has done.
        wall_s: time in `work`, over all workers.
        cpu_s: processor time of its own threads in `work`; that of threads which a library starts is not in it.
        idle_s: time in which it waited for something to do.
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
    """A source and the stages behind it. Iterate over it once for the last stage's results, in order.

    Args:
        source: what goes in. It is drawn from in a thread of its own, as the first stage.
        stages: at least one.
        depth: how many items may wait between two stages.
        source_name: what the table of times calls the source.
        ahead: work ahead of whoever takes the results. Else an item is drawn from the source, and passes the stages in
            the caller's thread, when a result is asked for: that of a camera is then always of its newest frame.

    An error in the source comes out of the iteration after the results of all that came before it, one in a stage as
    soon as it happens. Whoever leaves early, by an exception such as Ctrl-C too, leaves no thread behind.
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
        """The results. Raises what the source or a stage raised."""
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
    """Whose result may leave a stage next."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._next, self._changed = 0, threading.Condition()

    def wait(self, number: int, stop: threading.Event) -> bool:
        """Wait until it is this item's turn; False when the work was stopped, or the turn is over."""
        with self._changed:
            while self._next < number and not stop.is_set():
                self._changed.wait(POLL_S)
            return self._next == number and not stop.is_set()

    def done(self) -> None:
        """It is the next item's turn."""
        with self._changed:
            self._next += 1
            self._changed.notify_all()


def table(pipeline: Pipeline, frames: int, total_cpu_s: float, cores: int) -> list[str]:
    """What each stage cost a frame, and which one was the limit, as lines of text.

    Args:
        pipeline: one that has ended.
        frames: how many frames went through.
        total_cpu_s: what the whole process used meanwhile, threads of libraries included.
        cores: that were there to use.
    """
    if not frames or not pipeline.wall_s:
        return ["no frame went through"]
    lines = [f"{'stage':8} {'ms wall':>8} {'ms CPU':>8} {'busy':>6}"]
    for times in pipeline.times:
        busy = times.wall_s / times.workers / pipeline.wall_s
        crew = f"  x{times.workers}" if times.workers > 1 else ""
        wall, cpu = 1e3 * times.wall_s / frames, 1e3 * times.cpu_s / frames
        lines.append(f"{times.name:8} {wall:8.2f} {cpu:8.2f} {busy:6.0%}{crew}")
    own = sum(times.cpu_s for times in pipeline.times)
    lines.append(f"{'others':8} {'':8} {1e3 * max(total_cpu_s - own, 0) / frames:8.2f}")
    limit = max(pipeline.times, key=lambda times: times.wall_s / times.workers)
    full = total_cpu_s / cores / pipeline.wall_s
    lines.append(
        f"{'in all':8} {1e3 * pipeline.wall_s / frames:8.2f} {1e3 * total_cpu_s / frames:8.2f} {full:6.0%} of {cores} "
        f"cores; the limit is {limit.name}"
    )
    return lines
