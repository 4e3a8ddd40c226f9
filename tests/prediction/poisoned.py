"""A worker that a black picture kills, as a picture with a bug in a driver's path would. In a file of its own: other
processes import it by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from singleshot.prediction.bulk.shards import Worker


class PoisonedWorker(Worker):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._model = Deadly(self._model)


class Deadly:
    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, image: Any, **options: Any) -> Any:
        if not image.any():
            os.kill(os.getpid(), signal.SIGKILL)
        return self._model.predict(image, **options)


def dies_at_once(_folder: Path) -> Worker:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
