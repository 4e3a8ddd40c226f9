"""Pictures of different callers go through the network together, and each caller gets its own answer.

A batch starts when it is full or when its first picture has waited for the latency budget. While one is under way the
next gathers. The queue is bounded: where it is full a caller is told at once to come back, because a long wait that
ends in a timeout helps nobody. A caller that goes away takes its picture out of the queue at once, and its place is
another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from singleshot.serve.refusal import Refusal, busy
from singleshot.serve.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """One picture to look at: its file's bytes, and the least score that is told."""

    picture: bytes
    threshold: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What is sent back for one picture: a status of HTTP and a line of JSON."""

    status: int
    body: bytes


Run = Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]]
"""The work: answers in the order of what was asked. It may raise Refusal for a whole batch."""


class Batcher:
    """A bounded queue before `run`, which sees one batch at a time. `async with` starts and ends it.

    Args:
        run: the work.
        settings: sizes and waiting times.
        on_batch: is told the number of pictures and the seconds of each batch that was answered.
    """

    def __init__(self, run: Run, settings: Settings, on_batch: Callable[[int, float], None]) -> None:
        self._run, self._settings, self._on_batch = run, settings, on_batch
        # In the order in which they came, each with the moment when it did.
        self._queue: dict[asyncio.Future[Answer], tuple[Asked, float]] = {}
        self._came = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Pictures in the queue."""
        return len(self._queue)

    def check_room(self) -> None:
        """Raises Refusal (503) where the queue is full; asked before a body is read."""
        if len(self._queue) >= self._settings.queue_size:
            raise busy("The queue is full.", self._settings.retry_after_s)

    async def submit(self, asked: Asked) -> Answer:
        """The answer for one picture. Cancelling the call takes it out of the queue.

        Raises:
            Refusal: the queue is full, or the batch failed as a whole.
        """
        self.check_room()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue[future] = asked, time.monotonic()
        self._came.set()
        try:
            return await future
        finally:
            self._queue.pop(future, None)

    async def __aenter__(self) -> Batcher:
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        while True:
            batch = await self._gather()
            if batch:
                await self._answer(batch)

    async def _gather(self) -> list[tuple[Asked, asyncio.Future[Answer]]]:
        """Take a batch out of the queue; an empty one where all callers went away while it gathered."""
        while not self._queue:
            await self._more()
        most = min(self._settings.batch_size, self._settings.queue_size)
        while 0 < len(self._queue) < most and (left := self._left_s()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more(), left)
        futures = list(itertools.islice(self._queue, most))
        return [(self._queue.pop(future)[0], future) for future in futures]

    def _left_s(self) -> float:
        """How long the first picture has still to wait; it may have come while a batch was under way."""
        _, came = next(iter(self._queue.values()))
        return came + self._settings.latency_s - time.monotonic()

    async def _more(self) -> None:
        """Wait until another picture comes."""
        self._came.clear()
        await self._came.wait()

    async def _answer(self, batch: Sequence[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        start = time.monotonic()
        try:
            answers = await self._run([asked for asked, _ in batch])
            self._on_batch(len(batch), time.monotonic() - start)
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        except Exception as error:
            if not isinstance(error, Refusal):
                log.exception("a batch failed")
            failure = error if isinstance(error, Refusal) else Refusal(500, "internal", "Something failed inside.")
            for _, future in batch:
                if not future.done():
                    future.set_exception(failure)
        finally:
            for _, future in batch:
                future.cancel()  # where this task itself was cancelled; nothing otherwise
