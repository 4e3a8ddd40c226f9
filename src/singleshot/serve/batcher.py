"""Batches the images of concurrent requests, and gives each request the response to its own image.

A batch starts when it is full or when its oldest image has waited for the latency budget. While one batch runs, the
next one fills. The queue is bounded: when it is full, a client gets 503 at once rather than a long wait that ends in a
timeout. When a client disconnects, its image leaves the queue at once and makes room for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from singleshot.serve.messages import PredictRequest, PredictResponse, Refusal, busy, internal_error
from singleshot.serve.settings import Settings

log = logging.getLogger(__name__)

RunBatch = Callable[[Sequence[PredictRequest]], Awaitable[Sequence[PredictResponse]]]
"""Answers a batch, in order. It may raise Refusal for the whole batch."""


class Batcher:
    """A bounded queue in front of `run`, which gets one batch at a time. `async with` starts and ends it.

    Args:
        run: answers a batch.
        settings: sizes and waiting times.
        on_batch: called with the number of images and the seconds of each answered batch.
    """

    def __init__(self, run: RunBatch, settings: Settings, on_batch: Callable[[int, float], None]) -> None:
        self._run, self._settings, self._on_batch = run, settings, on_batch
        # In order of arrival, each with its time of arrival.
        self._queue: dict[asyncio.Future[PredictResponse], tuple[PredictRequest, float]] = {}
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Number of images in the queue."""
        return len(self._queue)

    def check_room(self) -> None:
        """Raise Refusal (503) if the queue is full. Called before a body is read."""
        if len(self._queue) >= self._settings.queue_size:
            raise busy("The queue is full.", self._settings.retry_after_s)

    async def submit(self, request: PredictRequest) -> PredictResponse:
        """Queue one image and wait for its response. Cancelling the call removes the image from the queue.

        Raises:
            Refusal: the queue is full, or the whole batch failed.
        """
        self.check_room()
        future: asyncio.Future[PredictResponse] = asyncio.get_running_loop().create_future()
        self._queue[future] = request, time.monotonic()
        self._arrived.set()
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
            batch = await self._next_batch()
            if batch:
                await self._answer(batch)

    async def _next_batch(self) -> list[tuple[PredictRequest, asyncio.Future[PredictResponse]]]:
        """Take a batch from the queue; empty if all clients disconnected while it filled."""
        while not self._queue:
            await self._arrival()
        limit = min(self._settings.batch_size, self._settings.queue_size)
        while 0 < len(self._queue) < limit:
            # The oldest image may have arrived while the previous batch ran.
            _, arrived_at = next(iter(self._queue.values()))
            left_s = arrived_at + self._settings.latency_s - time.monotonic()
            if left_s <= 0:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrival(), left_s)
        futures = list(itertools.islice(self._queue, limit))
        return [(self._queue.pop(future)[0], future) for future in futures]

    async def _arrival(self) -> None:
        """Wait until another image arrives."""
        self._arrived.clear()
        await self._arrived.wait()

    async def _answer(self, batch: Sequence[tuple[PredictRequest, asyncio.Future[PredictResponse]]]) -> None:
        start = time.monotonic()
        try:
            responses = await self._run([request for request, _ in batch])
            self._on_batch(len(batch), time.monotonic() - start)
            for (_, future), response in zip(batch, responses, strict=True):
                if not future.done():
                    future.set_result(response)
        except Exception as error:
            if not isinstance(error, Refusal):
                log.exception("a batch failed")
            failure = error if isinstance(error, Refusal) else internal_error()
            for _, future in batch:
                if not future.done():
                    future.set_exception(failure)
        finally:
            for _, future in batch:
                future.cancel()  # effective only if this task itself was cancelled
