"""The process in which the network runs, and the server's handle on it: start it, send it batches, replace it.

It is a separate process for three reasons: a crash of a decoder or a driver ends only this process, the event loop
never waits for the network, and memory leaked in it is returned when it is replaced. If it dies, the clients of its
batch get 503, as does everyone until the next one is warm. A process that does not answer in time is killed, which is
the same case. The replacement opens the server's own copy of the model file: changes to the user's file have no effect
until the server is restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from singleshot.child_process import end_with_parent, leave_signals_to_parent
from singleshot.errors import SingleshotError
from singleshot.serve import messages
from singleshot.serve.messages import PredictRequest, PredictResponse, busy, internal_error
from singleshot.serve.settings import Settings

START_S = 300.0
MAX_PAUSE_S = 30.0
NICENESS = 5
"""The network uses every core it gets; the event loop, which reports "full" or "alive", must come first."""
PRELOAD = "singleshot.serve.preload"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Child:
    process: BaseProcess
    pipe: Connection


class Worker:
    """A process that answers batches. `async with` starts it, waits until it is warm, and ends it.

    Args:
        path: the model's file; nothing else may change it.
        name: the user's name for that file, used in messages.
        settings: time, pixels, batch size.

    Attributes:
        facts: task, classes and input size of the model, see `UploadModel.facts`.
        restarts: how often the process was replaced.
    """

    def __init__(self, path: Path, name: str, settings: Settings) -> None:
        self._path, self._name, self._settings = path, name, settings
        self._child: _Child | None = None
        self._closing = False
        self._supervisor: asyncio.Task[None] | None = None
        self._batch_thread = ThreadPoolExecutor(1, "batch")
        self._process_thread = ThreadPoolExecutor(1, "process")
        self.facts: dict[str, Any] = {}
        self.restarts = 0

    @property
    def is_up(self) -> bool:
        """Whether the process can answer a batch now."""
        return self._child is not None

    @property
    def pid(self) -> int | None:
        """The process id while it is up, else None."""
        child = self._child
        return None if child is None else child.process.pid

    async def __aenter__(self) -> Worker:
        """Start the process. Raises what opening the model raises."""
        try:
            self._child = await self._in_thread(self._launch)
        except BaseException:
            await self.__aexit__()
            raise
        self._supervisor = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        if self._child is not None:
            self._child.process.kill()
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        self._batch_thread.shutdown(wait=False, cancel_futures=True)
        self._process_thread.shutdown(wait=False, cancel_futures=True)

    async def run(self, batch: Sequence[PredictRequest]) -> Sequence[PredictResponse]:
        """Answer a batch, in order. Raises Refusal (503) if there is no process, or it dies."""
        return await asyncio.get_running_loop().run_in_executor(self._batch_thread, self._exchange, batch)

    def _exchange(self, batch: Sequence[PredictRequest]) -> list[PredictResponse]:
        child = self._child
        if child is None:
            raise busy("The network is restarting.", self._settings.retry_after_s, "no-worker")
        late = threading.Event()

        def kill() -> None:
            late.set()
            child.process.kill()

        # Not only a time-out for the response: a process that hangs may not even read the request.
        watchdog = threading.Timer(self._settings.answer_s, kill)
        watchdog.start()
        try:
            messages.send_batch(child.pipe, batch)
            return [messages.receive_response(child.pipe) for _ in batch]
        except (EOFError, OSError) as error:
            slow = late.is_set()
            message = "The network took too long to respond." if slow else "The network's process ended."
            raise busy(message, self._settings.retry_after_s, "too-long-inference" if slow else "no-worker") from error
        finally:
            watchdog.cancel()

    async def _supervise(self) -> None:
        """Replace the process whenever it ends."""
        pause_s = 0.0
        while True:
            started = time.monotonic()
            if self._child is not None:
                await self._in_thread(self._child.process.join)
                log.error("the network's process ended with code %s; starting another", self._child.process.exitcode)
                self._child.pipe.close()
                self._child = None
                self.restarts += 1
                # A process that dies at once, again and again, must not use up the machine.
                pause_s = 0.0 if time.monotonic() - started > MAX_PAUSE_S else pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(max(0.5, 2 * pause_s), MAX_PAUSE_S)
            try:
                self._child = await self._in_thread(self._launch)
            except Exception as error:  # whatever it is: without this task no process would ever be started again
                log.error("%s: %s", type(error).__name__, error)

    def _launch(self) -> _Child:
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload([PRELOAD])
        own_end, child_end = context.Pipe()
        arguments = (child_end, str(self._path), self._name, self._settings)
        process: BaseProcess = context.Process(target=run_worker, args=arguments, daemon=True)  # pyright: ignore[reportAttributeAccessIssue]
        process.start()
        child_end.close()
        if self._closing:
            process.kill()
        try:
            reply = messages.receive_json(own_end) if own_end.poll(START_S) else {}
        except (EOFError, OSError):
            reply = {}
        if "facts" in reply:
            self.facts = reply["facts"]
            return _Child(process, own_end)
        process.kill()
        process.join()
        error = SingleshotError(reply.get("error", f"the network's process ended with code {process.exitcode}"))
        error.exit_code = reply.get("exit_code", error.exit_code)
        raise error

    async def _in_thread(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._process_thread, call)


def run_worker(pipe: Connection, path: str, name: str, settings: Settings) -> None:
    """Run in the child: open the model, report its facts or why it does not open, answer batches until the pipe closes.

    Args:
        pipe: to the server.
        path: the model's file.
        name: the user's name for that file, used in messages.
        settings: pixels and batch size.
    """
    leave_signals_to_parent()  # the server drains first
    end_with_parent()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    from singleshot.serve.upload_model import UploadModel  # imports torch, which the server's own process does without

    try:
        model = UploadModel.open(Path(path), settings.max_pixels, settings.batch_size, settings.device)
    except SingleshotError as error:
        if error.file is not None:
            error.file = Path(name)
        messages.send_json(pipe, {"exit_code": error.exit_code, "error": str(error)})
        return
    messages.send_json(pipe, {"facts": model.facts()})
    while True:
        try:
            batch = messages.receive_batch(pipe)
        except EOFError:
            return
        try:
            responses = model.respond(batch)
        except Exception:  # whatever a model raises fails its batch, is logged, and affects nothing else
            log.exception("a batch failed")
            failed = internal_error()
            responses = [PredictResponse(failed.status, failed.body())] * len(batch)
        messages.send_responses(pipe, responses)
