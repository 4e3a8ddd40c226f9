"""Who is told of a run's steps, epochs and warnings: a progress bar, a log, a test, or nobody."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Observer(Protocol):
    """Is called by the training loop."""

    def step(self, *, epoch: int, step: int, done: float, parts: Mapping[str, float], rate: float, images: int) -> None:
        """After every step.

        Args:
            epoch: 0-based.
            step: steps of the whole run so far.
            done: the share of the run that is done, 0…1.
            parts: the losses by name, as far as they are known.
            rate: the learning rate.
            images: images of this step, on all ranks.
        """
        ...

    def epoch(self, row: Mapping[str, Any]) -> None:
        """After every epoch, with its row of `log.csv`."""
        ...

    def warn(self, line: str) -> None:
        """With a warning, as one line."""
        ...


class NoObserver:
    """Ignores everything: for the ranks beside the first, whose observer reports for all."""

    def step(self, **_facts: Any) -> None:
        """Do nothing."""

    def epoch(self, row: Any) -> None:
        """Do nothing."""

    def warn(self, line: str) -> None:
        """Do nothing."""


class SilentObserver(NoObserver):
    """Prints warnings on stderr and nothing else."""

    def warn(self, line: str) -> None:
        """Print the warning as a line."""
        sys.stderr.write(f"singleshot: warning: {line}\n")
