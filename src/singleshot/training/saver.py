"""Saving behind the training's back: the loop waits for a copy of its tensors, a thread does the rest.

Hashing, writing and forcing a checkpoint to the disk takes longer than a step. The copy is made at once, because the
next step changes the weights in place; everything after it happens in one background thread. A failure there reaches
the loop at its next look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from singleshot.training import checkpoint
from singleshot.training.checkpoint import CheckpointConfig

PULSE_S = 5.0


class Saver:
    """Writes the checkpoints of one run, one at a time.

    Args:
        root: the folder of all checkpoints; it exists.
        config: how often, and what is kept.
        step: the step at which the run begins or goes on.
        report_alive: is called now and then while the loop waits for the disk.
    """

    def __init__(
        self, root: Path, config: CheckpointConfig, step: int = 0, report_alive: Callable[[], None] = lambda: None
    ) -> None:
        self._root, self._config, self._report_alive = root, config, report_alive
        self._saved_step, self._saved_at = step, time.monotonic()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is being written: a save would not wait."""
        return self._thread is None or not self._thread.is_alive()

    def due(self, step: int) -> bool:
        """Whether a checkpoint should be made now. While one is being written the next waits, not the training.

        Raises what the last save failed with.
        """
        if not self.idle:
            return False
        self.wait()
        minutes, steps = self._config.minutes, self._config.steps
        by_clock = minutes is not None and time.monotonic() - self._saved_at >= minutes * 60
        return by_clock or (steps is not None and step - self._saved_step >= steps)

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Copy the tensors and begin to write them. Waits for a save that is still going on."""
        self.wait()
        copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        self._saved_step, self._saved_at = step, time.monotonic()
        self._thread = threading.Thread(target=self._write, args=(step, copies, dict(facts)), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until the last save is on the disk. Raises what it failed with, once."""
        if self._thread is not None:
            while self._thread.is_alive():
                self._thread.join(PULSE_S)
                self._report_alive()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _write(self, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        try:
            checkpoint.write(self._root, step, tensors, facts)
            checkpoint.prune(self._root, self._config, step)
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join()  # the failure on its way up is the one to tell
