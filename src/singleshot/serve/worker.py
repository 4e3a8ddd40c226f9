"""The server's hold on the process that runs the network: start it, ask it, and replace it when it dies.

Callers whose batch dies with it get a 503, and so does everybody until the next one is warm. A process that gives no
answer in time is ended, which is the same case. The replacement opens the server's own copy of the model's file: what
happens to the user's file meanwhile changes nothing until the server is started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from singleshot.errors import SingleshotError
from singleshot.serve import inference
from singleshot.serve.batcher import Answer, Asked
from singleshot.serve.refusal import busy
from singleshot.serve.settings import Settings

START_S = 300.0
LONGEST_PAUSE_S = 30.0
IMPORTED_ONCE = ["singleshot.serve.unsignalled", "singleshot.serve.seeing", "torch._dynamo", "numba.np.arraymath"]
"""The last two are what opening a model imports on its way: two seconds."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Live:
    process: BaseProcess
    pipe: Connection


class Worker:
    """A process that answers batches. `async with` starts it, waits until it is warm, and ends it.

    Args:
        path: the model's file; nobody else may change it.
        name: what the user calls it.
        settings: time, pixels, batch size.

    Attributes:
        facts: what the model is, see `Seer.facts`.
        restarts: how often the process was replaced.
    """

    def __init__(self, path: Path, name: str, settings: Settings) -> None:
        self._path, self._name, self._settings = path, name, settings
        self._live: _Live | None = None
        self._closing = False
        self._keeper: asyncio.Task[None] | None = None
        self._asking = ThreadPoolExecutor(1, "ask")
        self._watching = ThreadPoolExecutor(1, "watch")
        self.facts: dict[str, Any] = {}
        self.restarts = 0

    @property
    def is_up(self) -> bool:
        """Whether it would answer now."""
        return self._live is not None

    @property
    def pid(self) -> int | None:
        """The process's number, while it is up."""
        live = self._live
        return None if live is None else live.process.pid

    async def __aenter__(self) -> Worker:
        """Raises what opening the model raises."""
        try:
            self._live = await self._in_thread(self._launch)
        except BaseException:
            await self.__aexit__()
            raise
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        if self._live is not None:
            self._live.process.kill()
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        self._asking.shutdown(wait=False, cancel_futures=True)
        self._watching.shutdown(wait=False, cancel_futures=True)

    async def run(self, batch: Sequence[Asked]) -> Sequence[Answer]:
        """Answers in the order of the batch. Raises Refusal (503) where there is no process, or it dies."""
        return await asyncio.get_running_loop().run_in_executor(self._asking, self._ask, batch)

    def _ask(self, batch: Sequence[Asked]) -> list[Answer]:
        live = self._live
        if live is None:
            raise busy("The network is being started anew.", self._settings.retry_after_s, "no-worker")
        late = threading.Event()

        def end() -> None:
            late.set()
            live.process.kill()

        # Not a time-out for the answer alone: a process that stands still may not even take what it is asked.
        watchdog = threading.Timer(self._settings.answer_s, end)
        watchdog.start()
        try:
            inference.send_batch(live.pipe, batch)
            return [inference.receive_answer(live.pipe) for _ in batch]
        except (EOFError, OSError) as error:
            slow = late.is_set()
            what = "The network took too long." if slow else "The network's process ended."
            raise busy(what, self._settings.retry_after_s, "too-long-inference" if slow else "no-worker") from error
        finally:
            watchdog.cancel()

    async def _keep(self) -> None:
        """Replace the process whenever it ends."""
        pause_s = 0.0
        while True:
            started = time.monotonic()
            if self._live is not None:
                await self._in_thread(self._live.process.join)
                log.error("the network's process ended with code %s; starting another", self._live.process.exitcode)
                self._live.pipe.close()
                self._live = None
                self.restarts += 1
                # One that dies at once, again and again, must not eat the machine.
                pause_s = 0.0 if time.monotonic() - started > LONGEST_PAUSE_S else pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(max(0.5, 2 * pause_s), LONGEST_PAUSE_S)
            try:
                self._live = await self._in_thread(self._launch)
            except (SingleshotError, EOFError, OSError) as error:  # the last two: the process could not be started
                log.error("%s: %s", type(error).__name__, error)

    def _launch(self) -> _Live:
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            # The imports, seconds long, are made once, so that a replacement is there at once.
            context.set_forkserver_preload(IMPORTED_ONCE)
        ours, theirs = context.Pipe()
        arguments = (theirs, str(self._path), self._name, self._settings)
        process: BaseProcess = context.Process(target=inference.main, args=arguments, daemon=True)  # pyright: ignore[reportAttributeAccessIssue]
        process.start()
        theirs.close()
        if self._closing:
            process.kill()
        try:
            said = inference.receive_json(ours) if ours.poll(START_S) else {}
        except (EOFError, OSError):
            said = {}
        if "facts" in said:
            self.facts = said["facts"]
            return _Live(process, ours)
        process.kill()
        process.join()
        error = SingleshotError(said.get("error", f"the network's process ended with code {process.exitcode}"))
        error.exit_code = said.get("exit_code", error.exit_code)
        raise error

    async def _in_thread(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._watching, call)
