"""The progress of a training of the demo: how long it will take on this machine, and the score of each validation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from singleshot.cli.terminal import TrainingBar, note

if TYPE_CHECKING:
    from singleshot.training.recipe import Recipe

TIMED_STEPS = (5, 25)
"""From the first to the second of these steps the speed is measured: before, workers start and kernels compile."""


class DemoBar(TrainingBar):
    """Shows a training of the demo: how long it will take here, once that is measured, and each validation's score.

    Args:
        model: what is trained, in words.
        recipe: how.
        held_back: scenes to validate on; 0: it takes all of its epochs or minutes.
    """

    def __init__(self, model: str, recipe: Recipe, held_back: int) -> None:
        super().__init__()
        self._model, self._recipe, self._held_back = model, recipe, held_back
        self._timed_from: tuple[float, float, int] | None = None
        self._images = 0

    def step(self, *, epoch: int, step: int, done: float, parts: Mapping[str, float], rate: float, images: int) -> None:
        """Update the bar, and say how long the training will take once enough steps were timed."""
        super().step(epoch=epoch, step=step, done=done, parts=parts, rate=rate, images=images)
        self._images += images
        if step == TIMED_STEPS[0]:
            self._timed_from = (time.monotonic(), done, self._images)
        elif step == TIMED_STEPS[1] and self._timed_from is not None:
            started, before, seen = self._timed_from
            seconds = max(time.monotonic() - started, 1e-9)
            left = (1 - done) * seconds / max(done - before, 1e-9)
            less = ", or less if its score stops rising" if self._held_back else ""
            note(
                f"training the {self._model} takes about {in_words(left)} on this machine{less} "
                f"({(self._images - seen) / seconds:.0f} images/s)"
            )

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Print the score of an epoch that was validated."""
        score = row.get("val_miou" if self._recipe.is_segmentation else "val_map")
        if score is not None:
            of = f" of at most {self._recipe.epochs}" if self._recipe.epochs else ""
            name = "mIoU" if self._recipe.is_segmentation else "mAP"
            note(
                f"epoch {row['epoch']}{of}: {name} {score:.3f} on {self._held_back} scenes that were held back, "
                f"after {in_words(row['seconds'])}"
            )


def in_words(seconds: float) -> str:
    """Return a time for people.

    >>> in_words(12.3), in_words(100.0), in_words(1000.0)
    ('12 seconds', '1.7 minutes', '17 minutes')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 600 else f"{seconds / 60:.0f} minutes"
