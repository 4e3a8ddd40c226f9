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
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from singleshot.errors import ConfigError, SignalledError, SingleshotError, StoppedError
from singleshot.training.devices import Fabric

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


BEAT_S = 1.0
LOST_AFTER_S = 4.0
"""How long after a broken connection a count must have stood still for its rank to be the one."""


@dataclass(frozen=True)
class Sign:
    """What a rank says of itself: beats of its watching thread, and the two counts of `Ranks` of its main one."""

    beat: int = 0
    collectives: int = 0
    alive_reports: int = 0


class Heard:
    """What every rank said last, and since when it has said nothing else.

    Args:
        own: the rank that listens; it never blames itself.
        world: how many there are, at least 2.
        now: seconds, on any clock that goes on.
    """

    def __init__(self, own: int, world: int, now: float) -> None:
        self._others = [rank for rank in range(world) if rank != own]
        self._signs = [Sign()] * world
        self._heard = [now] * world
        self._passed: list[float | None] = [None] * world
        """Since when somebody has been further on than this rank, which has not moved since."""

    def note(self, rank: int, sign: Sign, now: float) -> None:
        """A rank says so much now."""
        before, self._signs[rank] = self._signs[rank], sign
        if sign.beat != before.beat:
            self._heard[rank] = now
        if (sign.collectives, sign.alive_reports) != (before.collectives, before.alive_reports):
            self._passed[rank] = None
        furthest = max(each.collectives for each in self._signs)
        for place, each in enumerate(self._signs):
            if each.collectives < furthest and self._passed[place] is None:
                self._passed[place] = now

    def only_first_may_be_gone(self, now: float) -> None:
        """The store does not answer, which is the first rank's: nothing can be known of the others."""
        self._heard[1:] = [now] * (len(self._heard) - 1)
        self._passed = [None] * len(self._passed)

    def silent(self, seconds: float, now: float) -> int | None:
        """The rank whose beat has stood still for longest, if for at least so many seconds."""
        rank = min(self._others, key=self._heard.__getitem__)
        return rank if now - self._heard[rank] >= seconds else None

    def behind(self, seconds: float, now: float) -> int | None:
        """The rank that others have waited for longest while it did not move, if for at least so many seconds.

        One that has not pulsed yet is in its first step, which may compile for minutes: it only has to beat.
        """
        passed = {rank: self._passed[rank] for rank in self._others if self._signs[rank].alive_reports}
        since = {rank: at for rank, at in passed.items() if at is not None and now - at >= seconds}
        return min(since, key=since.__getitem__, default=None)


class Heartbeat:
    """Beats and watches while it is entered. With one rank it does nothing.

    Args:
        ranks: this process among its like.
        timeout_s: how long a rank may be silent, or keep the others waiting at one place.
        end_others: is called before this process ends because of another one: ends those that it has started.
    """

    def __init__(self, ranks: Ranks, timeout_s: float = 60.0, end_others: Callable[[], None] = lambda: None) -> None:
        self._ranks, self._timeout_s, self._end_others = ranks, timeout_s, end_others
        self._ended = threading.Event()
        self._hosts = ranks.gather(socket.gethostname())
        if ranks.world > 1:
            self._heard = Heard(ranks.rank, ranks.world, time.monotonic())
            self._store = self._open()
            self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        if self._ranks.world > 1:
            self._on_sigterm = signal.getsignal(signal.SIGTERM)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Where a collective broke, wait until it is clear whose fault it is, and say so.

        Raises:
            StoppedError: a rank is lost.
        """
        broken = not isinstance(error, SignalledError)
        if self._ranks.world > 1 and broken and isinstance(error, RuntimeError | dist.DistError | StoppedError):
            self._hear_sigterm(signal.SIG_IGN)  # the launcher's, which would end us before we can say it
            lost = self._lost()
            self._ended.set()
            if lost is not None:
                self._end_others()
                raise StoppedError(self._silent(lost), remedy="Start again with --resume") from error
        self._ended.set()
        if self._ranks.world > 1:
            self._hear_sigterm(self._on_sigterm)  # `StopSignals` leaves it unheard after an error

    def _hear_sigterm(self, handler: Any) -> None:
        if threading.current_thread() is threading.main_thread() and handler is not None:  # None: not Python's own
            signal.signal(signal.SIGTERM, handler)

    def _open(self) -> TCPStore:
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
        wait = timedelta(seconds=self._timeout_s)
        if self._ranks.first:
            store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=wait)
            self._ranks.from_first(store.port)
            return store
        return TCPStore(host, self._ranks.from_first(0), is_master=False, timeout=wait)

    def _watch(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT_S):
            beat += 1
            try:
                self._exchange(beat)
            except (RuntimeError, dist.DistError):  # the store went with the first rank
                self._heard.only_first_may_be_gone(time.monotonic())
            now = time.monotonic()
            silent, behind = self._heard.silent(self._timeout_s, now), self._heard.behind(self._timeout_s, now)
            if silent is not None and not self._ended.is_set():
                self._end(f"{self._silent(silent)} for {self._timeout_s:g} s")
            if behind is not None and not self._ended.is_set():
                self._end(f"{self._name(behind)} has stood still for {self._timeout_s:g} s while others wait for it")

    def _exchange(self, beat: int) -> None:
        ranks = self._ranks
        self._store.set(f"beat/{ranks.rank}", f"{beat} {ranks.collectives} {ranks.alive_reports}")
        for rank in range(ranks.world):
            if self._store.check([f"beat/{rank}"]):
                said = self._store.get(f"beat/{rank}").split()
                self._heard.note(rank, Sign(*map(int, said)), time.monotonic())

    def _lost(self) -> int | None:
        deadline = time.monotonic() + 2 * LOST_AFTER_S
        while time.monotonic() < deadline:
            lost = self._heard.silent(LOST_AFTER_S, time.monotonic())
            if lost is not None:
                return lost
            time.sleep(BEAT_S / 4)
        return None

    def _name(self, rank: int) -> str:
        return f"rank {rank} on host {self._hosts[rank]}"

    def _silent(self, rank: int) -> str:
        return f"{self._name(rank)} does not answer"

    def _end(self, what: str) -> NoReturn:
        sys.stderr.write(f"singleshot: error: {what}. Start again with --resume.\n")
        sys.stderr.flush()
        self._end_others()
        os._exit(StoppedError.exit_code)
