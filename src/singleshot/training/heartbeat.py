"""Who died? A rank that is gone or hangs is named by the others, and everybody ends instead of waiting.

When a rank dies the others find a broken connection somewhere in a collective, and when one hangs they find nothing at
all for half an hour. Here each rank counts up in a store that the first one keeps, and watches the others' counts. A
count that stands still for `timeout_s` is a rank that hangs: the process ends itself with the code for "stopped, can
be resumed", because its main thread is stuck in a collective and can do nothing more.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from datetime import timedelta
from types import TracebackType
from typing import NoReturn

import torch.distributed as dist
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from singleshot.errors import SignalledError, StoppedError
from singleshot.training.ranks import Ranks

BEAT_S = 1.0
LOST_AFTER_S = 4.0
"""How long after a broken connection a count must have stood still for its rank to be the one."""


class Heartbeat:
    """Beats and watches while it is entered. With one rank it does nothing.

    Args:
        ranks: this process among its like.
        timeout_s: how long a rank may be silent.
    """

    def __init__(self, ranks: Ranks, timeout_s: float = 60.0) -> None:
        self._ranks, self._timeout_s = ranks, timeout_s
        self._ended = threading.Event()
        self._hosts = ranks.gather(socket.gethostname())
        self._heard = [time.monotonic()] * ranks.world
        if ranks.world > 1:
            self._store = self._open()
            self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        if self._ranks.world > 1:
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
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's, which would end us before we can say it
            lost = self._lost()
            self._ended.set()
            if lost is not None:
                raise StoppedError(self._named(lost), remedy="Start again with --resume") from error
        self._ended.set()

    def _open(self) -> TCPStore:
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
        wait = timedelta(seconds=self._timeout_s)
        if self._ranks.first:
            store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=wait)
            self._ranks.from_first(store.port)
            return store
        return TCPStore(host, self._ranks.from_first(0), is_master=False, timeout=wait)

    def _watch(self) -> None:
        counts = [0] * self._ranks.world
        beat = 0
        while not self._ended.wait(BEAT_S):
            beat += 1
            try:
                self._store.set(f"beat/{self._ranks.rank}", str(beat))
                for rank in range(self._ranks.world):
                    count = int(self._store.get(f"beat/{rank}")) if self._store.check([f"beat/{rank}"]) else 0
                    if count != counts[rank]:
                        counts[rank], self._heard[rank] = count, time.monotonic()
            except (RuntimeError, dist.DistError):  # the store went with the first rank
                self._heard[1:] = [time.monotonic()] * (self._ranks.world - 1)
            silent = self._silent(self._timeout_s)
            if silent is not None and not self._ended.is_set():
                self._end(f"{self._named(silent)} for {self._timeout_s:g} s")

    def _silent(self, seconds: float) -> int | None:
        """The rank whose count has stood still for longest, if for at least so many seconds."""
        rank = min((each for each in range(self._ranks.world) if each != self._ranks.rank), key=self._heard.__getitem__)
        return rank if time.monotonic() - self._heard[rank] >= seconds else None

    def _lost(self) -> int | None:
        deadline = time.monotonic() + 2 * LOST_AFTER_S
        while time.monotonic() < deadline:
            lost = self._silent(LOST_AFTER_S)
            if lost is not None:
                return lost
            time.sleep(BEAT_S / 4)
        return None

    def _named(self, rank: int) -> str:
        return f"rank {rank} on host {self._hosts[rank]} does not answer"

    def _end(self, what: str) -> NoReturn:
        sys.stderr.write(f"singleshot: error: {what}. Start again with --resume.\n")
        sys.stderr.flush()
        os._exit(StoppedError.exit_code)
