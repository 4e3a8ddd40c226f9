"""The progress of a training of the demo: how long it will take on this machine, and the score of each validation."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING, Any

from singleshot.cli.terminal import TrainingBar, note

if TYPE_CHECKING:
    from singleshot.training.recipe import Recipe

TIMED_FROM = 5
"""The first step that is timed: before, workers start and kernels compile."""
FIRST_SAID = 25
"""The step after which the time is first said. It is said again after 50, 100, 200, … steps where it was wrong."""
RECENT = 100
"""Steps whose median is the speed: a long pause counts as one step, and what was slow in the beginning is forgotten."""
WRONG_BY = 1.25
"""By which factor an earlier statement must be wrong to be corrected."""


class DemoBar(TrainingBar):
    """Shows a training of the demo: how long it will take here, corrected as it goes, and each validation's score.

    Args:
        model: what is trained, in words.
        recipe: how.
        held_back: scenes to validate on; 0: it takes all of its epochs or minutes.
    """

    def __init__(self, model: str, recipe: Recipe, held_back: int) -> None:
        super().__init__(plain=False)
        self._model, self._recipe, self._held_back = model, recipe, held_back
        self._last: tuple[float, float, int] | None = None
        self._recent: deque[tuple[float, float, int]] = deque(maxlen=RECENT)
        self._pauses: list[float] = []
        self._done, self._expected_end = 0.0, 0.0

    def step(self, *, epoch: int, step: int, done: float, parts: Mapping[str, float], rate: float, images: int) -> None:
        """Update the bar, and say how long the training will take once enough steps were timed."""
        super().step(epoch=epoch, step=step, done=done, parts=parts, rate=rate, images=images)
        now = time.monotonic()
        if self._last is not None and step > TIMED_FROM:
            then, before, last_epoch = self._last
            if epoch == last_epoch:
                self._recent.append((now - then, done - before, images))
            else:
                self._pauses.append(now - then)
        self._last, self._done = (now, done, epoch), done
        if step < FIRST_SAID or step % FIRST_SAID or (step // FIRST_SAID).bit_count() > 1:
            return
        left = self._seconds_left()
        if left is None:
            return
        less = ", or less if its score stops rising" if self._held_back else ""
        speed = f"({images / max(median(seconds for seconds, _, _ in self._recent), 1e-9):.0f} images/s)"
        if step == FIRST_SAID:
            note(f"training the {self._model} takes about {in_words(left)} on this machine{less} {speed}")
        else:
            expected = self._expected_end - now
            if max(left, 1.0) < WRONG_BY * max(expected, 1.0) and max(expected, 1.0) < WRONG_BY * max(left, 1.0):
                return
            note(f"corrected: training the {self._model} takes about {in_words(left)} more{less} {speed}")
        self._expected_end = now + left

    def _seconds_left(self) -> float | None:
        """Return the time that is left if the recent speed lasts, with the pauses for validation; None if unknown."""
        gained = median(gain for _, gain, _ in self._recent) if self._recent else 0.0
        if gained <= 0:
            return None
        steps_left = (1 - self._done) / gained
        pause = 0.0
        # A limit of minutes counts pauses by itself.
        if self._pauses and self._recipe.epochs:
            pause = sum(self._pauses) / len(self._pauses) * (1 - self._done) * self._recipe.epochs
        return steps_left * median(seconds for seconds, _, _ in self._recent) + pause

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Print the score of an epoch that was validated."""
        score = row.get("val_miou" if self._recipe.is_segmentation else "val_map")
        if score is not None:
            of = f" of at most {self._recipe.epochs}" if self._recipe.epochs else ""
            name = "mIoU" if self._recipe.is_segmentation else "mAP"
            left = self._seconds_left()
            note(
                f"epoch {row['epoch']}{of}: {name} {score:.3f} on {self._held_back} scenes that were held back, "
                f"after {in_words(row['seconds'])}" + (f", at most {in_words(left)} left" if left else "")
            )


def in_words(seconds: float) -> str:
    """Return a time for people.

    >>> in_words(12.3), in_words(100.0), in_words(1000.0)
    ('12 seconds', '1.7 minutes', '17 minutes')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 600 else f"{seconds / 60:.0f} minutes"
