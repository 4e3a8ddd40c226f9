"""How much of a run is done, whichever of epochs, steps and minutes limits it. Schedules and the bar go by this share.

Epochs count as their steps: every batch of an epoch is a step, for pictures that cannot be read keep their places.
"""

from __future__ import annotations

import time

from singleshot.training.recipe import Recipe


class Budget:
    """The limit of one run, and the clock that it is measured by.

    Args:
        recipe: holds the limit.
        steps_per_epoch: of the task.
        seconds_before: spent before the run was resumed.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int, seconds_before: float = 0.0) -> None:
        self.total_steps = recipe.steps if recipe.epochs is None else recipe.epochs * steps_per_epoch
        self.limit_s = None if recipe.minutes is None else recipe.minutes * 60
        self._started = time.monotonic() - seconds_before

    @property
    def seconds(self) -> float:
        """Spent in the loop so far, before a resumption too."""
        return time.monotonic() - self._started

    def done(self, steps: int) -> float:
        """The share of the run that is done after so many steps, 0…1."""
        if self.limit_s is not None:
            return min(1.0, self.seconds / self.limit_s)
        return min(1.0, steps / self.total_steps) if self.total_steps else 1.0
