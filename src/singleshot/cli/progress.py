"""What a person sees of a long piece of work: a bar on a terminal, plain lines where the output is a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
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


_DETECTOR_COLUMNS = ("train_class", "train_box", "val_class", "val_box", "val_map", "train_subset_map")
_SEGMENTER_COLUMNS = ("train_pixel", "val_pixel", "val_miou", "val_maxf", "train_subset_miou")
SHOWN_COLUMNS = (*_DETECTOR_COLUMNS, *_SEGMENTER_COLUMNS)
"""Of a row of `log.csv`, as far as it has them."""


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
        for column in SHOWN_COLUMNS:
            if row.get(column) is not None:
                shown.append(f"{column} {row[column]:.3f}")
        shown.append(f"{row['images_per_second']:.0f} img/s  {row['seconds']:.0f} s")
        err.print("  ".join(shown), soft_wrap=True)  # a log is not 80 columns wide

    def warn(self, line: str) -> None:
        """A warning that stays."""
        warn(line)


def warn(line: str) -> None:
    """A warning on stderr."""
    err.print(f"singleshot: warning: {line}", markup=False, soft_wrap=True)


@contextmanager
def transfer(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar for a download on a terminal, one line elsewhere; shows nothing until the first bytes are there.

    Yields a function that is called with the bytes done so far and their total (None where it is not known).
    """
    shown = Progress(
        TextColumn(what),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    task = shown.add_task("", total=None, visible=False)
    begun: list[bool] = []

    def advance(done: int, total: int | None) -> None:
        if not begun:
            begun.append(True)
            if not err.is_terminal:
                size = "" if total is None else f", {total / 1e6:.0f} MB"
                err.print(f"{what}{size}", markup=False, soft_wrap=True)
        shown.update(task, completed=done, total=total, visible=True)

    with shown:
        yield advance


@contextmanager
def bar(what: str, total: int) -> Iterator[Any]:
    """A bar over `total` items on a terminal.

    Yields a function that is called with the number done so far, and with the total where that was not known before.
    """
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
        yield lambda done, total=None: progress.update(task, completed=done, total=total)


@contextmanager
def transfers() -> Iterator[Callable[[str, int, int | None], None]]:
    """Bars for several downloads, one for each name that the yielded function is called with, and its bytes."""
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=err,
        disable=not err.is_terminal,
    )
    tasks: dict[str, Any] = {}

    def tell(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            tasks[what] = shown.add_task(what, total=total)
            if not err.is_terminal:
                err.print(what, markup=False)
        shown.update(tasks[what], completed=done, total=total)

    with shown:
        yield tell
