"""Several processes (ranks) that train one network: their collectives, and the report of one that died or hangs.

Every method of `Ranks` that communicates is a collective: all ranks must call it, in the same order. With one rank
each returns at once, and the training loop reads the same for one as for many.

When a rank dies the others get an error from a collective, or wait until torch's timeout; when one hangs they wait for
half an hour. `Heartbeat` names the rank and ends the others soon. What torchrun and torch do themselves is not
repeated here, see docs/decisions/012.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from singleshot.errors import CallbackError, ConfigError, SignalledError, SingleshotError, StoppedError
from singleshot.training.devices import Fabric

Value = TypeVar("Value")
SHOWN_FACTS = 4


class Ranks:
    """This process and the others that train with it.

    Args:
        fabric: launched; None for one process alone.
    """

    def __init__(self, fabric: Fabric | None = None) -> None:
        self.rank, self.world = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
        self.device = torch.device("cpu") if fabric is None else fabric.device
        # What the host alone knows goes over the host, so that asking does not wait for the device.
        on_device = self.world > 1 and self.device.type != "cpu"
        self._host_group: Any = dist.new_group(backend="gloo") if on_device else None
        self.collectives = self.alive_reports = 0
        """Calls of `count_collective` and `report_alive`, for `Heartbeat`."""

    def count_collective(self) -> None:
        """Count a collective. A rank with a lower count is behind."""
        self.collectives += 1

    def report_alive(self) -> None:
        """Count progress between collectives, such as a batch of the validation, so that a slow rank is not blamed."""
        self.alive_reports += 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes, logs and prints."""
        return self.rank == 0

    def mean(self, tensor: Tensor) -> Tensor:
        """Average a tensor over the ranks."""
        return self.sum(tensor) / self.world

    def sum(self, tensor: Tensor) -> Tensor:
        """Add a tensor up over the ranks."""
        if self.world == 1:
            return tensor
        self.count_collective()
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Return whether a flag of the host is set on any rank."""
        return self.each_any(flag)[0]

    def each_any(self, *flags: bool) -> tuple[bool, ...]:
        """Return of each flag of the host whether it is set on any rank, all in one collective."""
        if self.world == 1:
            return flags
        self.count_collective()
        counts = torch.tensor(flags, dtype=torch.float32)
        dist.all_reduce(counts, group=self._host_group)
        return tuple(count > 0 for count in counts.tolist())

    def from_first(self, value: Value) -> Value:
        """Return the first rank's value."""
        if self.world == 1:
            return value
        self.count_collective()
        carried = [value if self.first else None]
        dist.broadcast_object_list(carried, src=0, group=self._host_group)
        return carried[0]  # pyright: ignore[reportReturnType]

    def gather(self, value: Value) -> list[Value]:
        """Return every rank's value, in the order of ranks."""
        if self.world == 1:
            return [value]
        self.count_collective()
        every: list[Any] = [None] * self.world
        dist.all_gather_object(every, value, group=self._host_group)
        return every

    def first_does(self, work: Callable[[], Value]) -> Value:
        """Call `work` on the first rank and return its result on all; a SingleshotError is raised on all ranks."""
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
        """Raise ConfigError if ranks have different facts (code, recipe, data); it names rank, host and fact."""
        every = self.gather((socket.gethostname(), facts))
        first = every[0][1]
        for rank, (host, others) in enumerate(every):
            differ = sorted(name for name in {*first, *others} if others.get(name) != first.get(name))
            if differ:
                shown = "; ".join(
                    f"{name} is {others.get(name)!r}, not {first.get(name)!r}" for name in differ[:SHOWN_FACTS]
                )
                more = f"; and {len(differ) - SHOWN_FACTS} more" if len(differ) > SHOWN_FACTS else ""
                message = f"rank {rank} on host {host} differs from rank 0: {shown}{more}"
                raise ConfigError(message, remedy="Start all ranks with the same code, recipe and data")


def first_process() -> bool:
    """Return whether this process is rank 0, or the only one."""
    return not dist.is_available() or not dist.is_initialized() or dist.get_rank() == 0


def per_rank(batch_size: int, world: int) -> int:
    """Return the images of a batch on each rank. Raises ConfigError for a batch that cannot be divided evenly.

    >>> per_rank(32, 4)
    8
    """
    if batch_size % world:
        down = batch_size - batch_size % world
        remedy = f"Take a batch of {down or world} or {down + world}, or another number of processes"
        raise ConfigError(f"a batch of {batch_size} cannot be shared by {world} processes", remedy=remedy)
    return batch_size // world


def batch_for(images: int, batch_size: int, world: int) -> int:
    """Reduce the batch size to a split with fewer images than that: to all, or the most that ranks can share evenly.

    >>> batch_for(100, 16, 4), batch_for(10, 16, 4), batch_for(3, 16, 4)
    (16, 8, 3)
    """
    return batch_size if images >= batch_size else images - images % world or images


def in_turn(parts: list[list[Value]]) -> list[Value]:
    """Interleave the results of ranks that took every `world`-th batch, as one process would have got them.

    >>> in_turn([[0, 2, 4], [1, 3]])
    [0, 1, 2, 3, 4]
    """
    longest = max((len(part) for part in parts), default=0)
    return [part[turn] for turn in range(longest) for part in parts if turn < len(part)]


BEAT_S = 1.0
LOST_AFTER_S = 4.0
"""Seconds without a beat after which a rank is lost, once a collective has failed."""


@dataclass(frozen=True)
class Beat:
    """The latest report of a rank: beats of its heartbeat thread, and the two counts of its `Ranks`."""

    beats: int = 0
    collectives: int = 0
    alive_reports: int = 0


class RankMonitor:
    """Finds the rank that is lost or stuck, from the latest beat of each and the time since it changed.

    Args:
        own: the rank that watches; it never blames itself.
        world: number of ranks, at least 2.
        now: seconds, on any steady clock.
    """

    def __init__(self, own: int, world: int, now: float) -> None:
        self._others = [rank for rank in range(world) if rank != own]
        self._latest = [Beat()] * world
        self._last_beat_s = [now] * world
        self._behind_since_s: list[float | None] = [None] * world

    def add(self, rank: int, beat: Beat, now: float) -> None:
        """Add a beat of a rank."""
        before, self._latest[rank] = self._latest[rank], beat
        if beat.beats != before.beats:
            self._last_beat_s[rank] = now
        if (beat.collectives, beat.alive_reports) != (before.collectives, before.alive_reports):
            self._behind_since_s[rank] = None
        furthest = max(each.collectives for each in self._latest)
        for index, each in enumerate(self._latest):
            if each.collectives < furthest and self._behind_since_s[index] is None:
                self._behind_since_s[index] = now

    def store_failed(self, now: float) -> None:
        """Blame nobody but the first rank, which serves the store: no other beat can be read any more."""
        self._last_beat_s[1:] = [now] * (len(self._last_beat_s) - 1)
        self._behind_since_s = [None] * len(self._behind_since_s)

    def lost(self, seconds: float, now: float) -> int | None:
        """Return the rank without a beat for the longest time, if for at least so many seconds."""
        rank = min(self._others, key=self._last_beat_s.__getitem__)
        return rank if now - self._last_beat_s[rank] >= seconds else None

    def stuck(self, seconds: float, now: float) -> int | None:
        """Return the rank that has been behind for the longest time without progress, if for so many seconds.

        A rank without an alive report is in its first step, which may compile for minutes: it only has to beat.
        """
        since = {rank: self._behind_since_s[rank] for rank in self._others if self._latest[rank].alive_reports}
        late = {rank: at for rank, at in since.items() if at is not None and now - at >= seconds}
        return min(late, key=late.__getitem__, default=None)


class Heartbeat:
    """Reports this rank to the others and watches them, in a thread, while it is entered; idle with one rank.

    If another rank is lost or stuck, this process ends with the exit code for "stopped, can be resumed": its main
    thread may wait in a collective and can do nothing more.

    Args:
        ranks: the processes.
        timeout_s: how long a rank may be without a beat, or behind without progress.
        end_others: is called before this process ends because of another one: ends those that it has started.
    """

    def __init__(self, ranks: Ranks, timeout_s: float = 60.0, end_others: Callable[[], None] = lambda: None) -> None:
        self._ranks, self._timeout_s, self._end_others = ranks, timeout_s, end_others
        self._ended = threading.Event()
        if ranks.world > 1:
            self._hosts = ranks.gather(socket.gethostname())
            self._monitor = RankMonitor(ranks.rank, ranks.world, time.monotonic())
            # A store of its own, served by the first rank: that of the process group has no public access.
            host, wait = os.environ.get("MASTER_ADDR", "127.0.0.1"), timedelta(seconds=timeout_s)
            if ranks.first:
                self._store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=wait)
                ranks.from_first(self._store.port)
            else:
                self._store = TCPStore(host, ranks.from_first(0), is_master=False, timeout=wait)
            self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        if self._ranks.world > 1:
            self._on_sigterm = signal.getsignal(signal.SIGTERM)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait, if a collective failed, until it is known which rank is lost.

        Raises:
            StoppedError: a rank is lost.
        """
        if self._ranks.world == 1:
            return
        may_be_lost = isinstance(error, RuntimeError | dist.DistError | StoppedError)
        lost = None
        if may_be_lost and not isinstance(error, SignalledError | CallbackError):
            self._handle_sigterm(signal.SIG_IGN)  # torchrun's, which would end this process before its report
            deadline = time.monotonic() + 2 * LOST_AFTER_S
            while lost is None and time.monotonic() < deadline:
                time.sleep(BEAT_S / 4)
                lost = self._monitor.lost(LOST_AFTER_S, time.monotonic())
        self._ended.set()
        if lost is not None:
            self._end_others()
            raise StoppedError(f"{self._name(lost)} does not answer", remedy="Start again with --resume") from error
        self._handle_sigterm(self._on_sigterm)  # `StopSignals` ignores it after an error

    def _handle_sigterm(self, handler: Any) -> None:
        if threading.current_thread() is threading.main_thread() and handler is not None:  # None: not Python's own
            signal.signal(signal.SIGTERM, handler)

    def _watch(self) -> None:
        ranks, seconds = self._ranks, self._timeout_s
        beats = 0
        while not self._ended.wait(BEAT_S):
            beats += 1
            try:
                self._store.set(f"beat/{ranks.rank}", f"{beats} {ranks.collectives} {ranks.alive_reports}")
                for rank in range(ranks.world):
                    if self._store.check([f"beat/{rank}"]):
                        beat = Beat(*map(int, self._store.get(f"beat/{rank}").split()))
                        self._monitor.add(rank, beat, time.monotonic())
            except (RuntimeError, dist.DistError):
                self._monitor.store_failed(time.monotonic())
            now = time.monotonic()
            lost, stuck = self._monitor.lost(seconds, now), self._monitor.stuck(seconds, now)
            if lost is not None:
                self._end(f"{self._name(lost)} does not answer for {seconds:g} s")
            if stuck is not None:
                self._end(f"{self._name(stuck)} has made no progress for {seconds:g} s while others wait for it")

    def _name(self, rank: int) -> str:
        return f"rank {rank} on host {self._hosts[rank]}"

    def _end(self, message: str) -> None:
        if not self._ended.is_set():
            sys.stderr.write(f"singleshot: error: {message}. Start again with --resume.\n")
            sys.stderr.flush()
            self._end_others()
            os._exit(StoppedError.exit_code)
