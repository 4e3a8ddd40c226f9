"""Who died? A rank that is gone or hangs is named by the others, and everybody ends instead of waiting.

When a rank dies the others find a broken connection somewhere in a collective, and when one hangs they find nothing at
all for half an hour. Here each rank counts up in a store that the first one keeps, and watches the others' counts. A
beat that stands still for `timeout_s` is a rank that hangs, and so is one whose main thread stands still for so long
at a place that others have passed. The process then ends itself with the code for "stopped, can be resumed", because
its main thread is stuck in a collective and can do nothing more.
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
from typing import Any, NoReturn

import torch.distributed as dist
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from singleshot.errors import SignalledError, StoppedError
from singleshot.training.ranks import Ranks

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
