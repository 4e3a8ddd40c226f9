"""A worker that a black picture kills, as a picture with a bug in a driver's path would. In a file of its own: other
processes import it by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from singleshot.errors import UsageError
from singleshot.prediction.bulk.shards import Job, Pictures, Worker


class PoisonedWorker(Worker):
    def __init__(self, folder: Path, job: Job | None = None) -> None:
        super().__init__(folder, job)
        self._model = Deadly(self._model)


class Deadly:
    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, image: Any, **options: Any) -> Any:
        if not image.any():
            os.kill(os.getpid(), signal.SIGKILL)
        return self._model.predict(image, **options)


class NarrowWorker(Worker):
    """A worker that ends in an error if it is given more of the job than a shard of it."""

    def __init__(self, folder: Path, job: Job | None = None) -> None:
        if job is None or job.pictures:
            raise UsageError("the whole job came with the worker")
        super().__init__(folder, job)

    def do(self, number: int, pictures: Pictures | None = None) -> int:
        if pictures is None or not 0 < len(pictures) <= self._job.per_shard:
            raise UsageError("more than a shard was given")
        return super().do(number, pictures)


def dies_at_once(_folder: Path, _job: Job) -> Worker:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
