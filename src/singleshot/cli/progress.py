"""What a person sees of a long piece of work: a bar on a terminal, plain lines where the output is a file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
RATE_WINDOW_S = 10.0


class _TimeLeft(ProgressColumn):
    """Time left by the share of the run that is done: a run of so many minutes has no count of steps."""

    def render(self, task: Task) -> Text:
        """Minutes and seconds, or dashes before there is anything to go by."""
        if not task.elapsed or not task.percentage:
            return Text("-:--")
        left = int(task.elapsed * (100.0 - task.percentage) / task.percentage)
        return Text(f"{left // 60}:{left % 60:02d} left")


class TrainingBar:
    """Watches a training run: every loss part, the learning rate, pictures a second and the time left."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f}% {task.fields[figures]}"),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, epoch=1, figures="")
        self._window_start, self._window_images, self._rate = time.monotonic(), 0, 0.0

    def __enter__(self) -> TrainingBar:
        self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bar.stop()

    def step(self, *, epoch: int, step: int, done: float, parts: Mapping[str, float], rate: float, images: int) -> None:
        """After every step."""
        del step
        self._window_images += images
        seconds = time.monotonic() - self._window_start
        if seconds > RATE_WINDOW_S or not self._rate:
            self._rate = self._window_images / max(seconds, 1e-9)
            self._window_start, self._window_images = time.monotonic(), 0
        losses = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
        figures = f"{losses}  lr {rate:.2g}  {self._rate:.0f} img/s"
        self._bar.update(self._task, completed=done, epoch=epoch + 1, figures=figures)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """A line an epoch, which stays."""
        shown = [f"epoch {row['epoch']}"]
        for column in ("train_class", "train_box", "val_class", "val_box", "val_map", "train_subset_map"):
            if row.get(column) is not None:
                shown.append(f"{column} {row[column]:.3f}")
        shown.append(f"{row['images_per_second']:.0f} img/s  {row['seconds']:.0f} s")
        err.print("  ".join(shown))

    def warn(self, line: str) -> None:
        """A warning that stays."""
        warn(line)


def warn(line: str) -> None:
    """A warning on stderr."""
    err.print(f"singleshot: warning: {line}", markup=False, soft_wrap=True)


@contextmanager
def bar(what: str, total: int) -> Iterator[Any]:
    """A bar over `total` items on a terminal; yields a function that is called with the number done so far."""
    progress = Progress(
        TextColumn(what),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        _TimeLeft(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    task = progress.add_task("", total=total)
    with progress:
        yield lambda done: progress.update(task, completed=done)
