"""What commands print: results on stdout; notes, warnings and progress on stderr.

Names of files and classes are printed as they are, never interpreted as rich markup. Progress bars appear on a terminal
only; elsewhere (a file, CI, a notebook) progress is a plain line now and then (`PLAIN_FIRST_S`), and a training run
leaves one line an epoch too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

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

from singleshot.errors import SHOWN_FAULTS, Fault, from_os_error, visible

T = TypeVar("T")

out = Console(markup=False, emoji=False, highlight=False)
err = Console(stderr=True, markup=False, emoji=False, highlight=False)
RATE_WINDOW_S = 10.0
PLAIN_FIRST_S, PLAIN_RAREST_S = 10.0, 300.0
"""Seconds before the first plain line of progress, and the longest between two: each pause is half as long again."""
EPOCH_COLUMNS = (
    *("train_class", "train_box", "val_class", "val_box", "val_map", "train_subset_map"),
    *("train_pixel", "val_pixel", "val_miou", "val_maxf", "train_subset_miou"),
)
"""The columns of `log.csv` shown after each epoch, where they have a value."""


_quiet = False


@contextmanager
def quiet(on: bool = True) -> Iterator[None]:
    """While inside, print warnings and errors only: no results, notes or progress."""
    global _quiet
    before, _quiet = _quiet, on or _quiet
    try:
        yield
    finally:
        _quiet = before


def is_terminal() -> bool:
    """Return whether bars can be drawn on stderr. rich alone believes a notebook, which asks for colours in a pipe."""
    return err.is_terminal and err.file.isatty()


def show(result: object, style: str | None = None) -> None:
    """Print a line or a table on stdout. Lines are not wrapped: a file is not 80 columns wide.

    Raises BrokenPipeError where the reader has gone, StorageError where stdout is a file and the disk is full.
    """
    if _quiet:
        return
    try:
        out.print(result, style=style, soft_wrap=isinstance(result, str))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise from_os_error(error, None, "write", elsewhere="Write to another file") from error


def note(line: str) -> None:
    """Print a line on stderr."""
    if not _quiet:
        _tell(line)


def warn(line: str | None) -> None:
    """Print a warning on stderr; nothing for None."""
    if line is not None:
        _tell(f"singleshot: warning: {line}")


def _tell(line: str) -> None:
    """Print a line on stderr. Where that cannot be written to, nobody can be told, and the work goes on."""
    try:
        err.print(line, soft_wrap=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass


def warn_left_out(faults: Sequence[Fault], more: str = "") -> None:
    """Name the first faults by which boxes or images were left out, and count all; nothing for none.

    Args:
        faults: the faults.
        more: what follows the count, such as where all of them are listed.
    """
    if not faults:
        return
    for fault in faults[:SHOWN_FAULTS]:
        warn(f"left out: {fault}")
    warn(f"{len(faults)} faulty boxes or images were left out{more}")


class _TimeLeft(ProgressColumn):
    """Estimates the time left from the share that is done: a run limited in minutes has no number of steps."""

    def render(self, task: Task) -> Text:
        """Return minutes and seconds, or dashes before there is an estimate."""
        if not task.elapsed or not task.percentage:
            return Text("-:--")
        left = int(task.elapsed * (100.0 - task.percentage) / task.percentage)
        return Text(f"{left // 60}:{left % 60:02d} left")


class _FrameRate(ProgressColumn):
    """Frames done, frames per second, and the time left if the number of frames is known."""

    def render(self, task: Task) -> Text:
        return Text(frame_rate(task.completed, task.total, task.elapsed or 0.0))


def frame_rate(done: float | int, total: float | int | None, elapsed_s: float) -> str:
    """Return the text of `_FrameRate`. The total comes from a file's header and may be wrong, hence the `~`.

    >>> frame_rate(100, 400, 2.0), frame_rate(100, None, 2.0), frame_rate(0, 400, 0.0), frame_rate(410, 400, 8.2)
    ('100/~400  50 frames/s  0:06 left', '100  50 frames/s', '0/~400', '410  50 frames/s')
    """
    if total is not None and done > total:
        total = None
    parts = [f"{done:.0f}" if total is None else f"{done:.0f}/~{total:.0f}"]
    if done and elapsed_s:
        rate = done / elapsed_s
        parts.append(f"{rate:.0f} frames/s")
        if total is not None:
            left = round((total - done) / rate)
            parts.append(f"{left // 60}:{left % 60:02d} left")
    return "  ".join(parts)


def _progress(label: str, *columns: ProgressColumn, transient: bool = True) -> Progress:
    """Make a progress display with a label and a bar, which shows nothing where stderr is not a terminal."""
    first = (TextColumn(label, markup=False), BarColumn(bar_width=24))
    return Progress(*first, *columns, console=err, transient=transient, disable=_quiet or not is_terminal())


class _PlainProgress:
    """Prints how far the work is where stderr is not a terminal: rarer and rarer, for a camera has no end.

    Args:
        label: what is counted.
        text: makes the figures from what is done, the total and the seconds so far.
    """

    def __init__(self, label: str, text: Callable[[Any, Any, float], str]) -> None:
        self._label, self._text, self._start = label, text, time.monotonic()
        self._last, self._pause_s = self._start, PLAIN_FIRST_S

    def update(self, done: float | int, total: float | int | None) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        if is_terminal() or now - self._last < self._pause_s:
            return
        self._last, self._pause_s = now, min(1.5 * self._pause_s, PLAIN_RAREST_S)
        note(f"{visible(self._label)}: {self._text(done, total, now - self._start)}")


def plain_progress(done: float | int, total: float | int | None, elapsed_s: float) -> str:
    """Return the figures of a line of progress.

    >>> plain_progress(30, 120, 10.0), plain_progress(0, 120, 10.0)
    ('30/120  0:30 left', '0/120')
    """
    left = round((total - done) * elapsed_s / done) if done and total else None
    return f"{done:.0f}/{total:.0f}" + ("" if left is None else f"  {left // 60}:{left % 60:02d} left")


def plain_share(done: float | int, total: float | int | None, elapsed_s: float) -> str:
    """Return the figures of a line of progress of what has no number of items.

    >>> plain_share(0.25, 1.0, 10.0), plain_share(0.0, 1.0, 10.0)
    ('25%  0:30 left', '0%')
    """
    share = done / (total or 1.0)
    left = round((1 - share) * elapsed_s / share) if share else None
    return f"{share:.0%}" + ("" if left is None else f"  {left // 60}:{left % 60:02d} left")


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[..., None]]:
    """Show a bar over `total` items. Yields a function to call with the number done, and with a new total if any."""
    progress = _progress(
        "{task.description}", TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False), _TimeLeft()
    )
    task, plain, all_items = progress.add_task(label, total=total), _PlainProgress(label, plain_progress), total

    def advance(done: int, total: int | None = None) -> None:
        progress.update(task, completed=done, total=total)
        plain.update(done, all_items if total is None else total)

    with progress:
        yield advance


def track(items: Iterable[T], label: str, total: int, size: Callable[[T], int] = lambda _: 1) -> Iterator[T]:
    """Yield the items, with a bar over them. Each counts as much as `size` of it."""
    done = 0
    with bar(label, total) as advance:
        for item in items:
            yield item
            done += size(item)
            advance(done)


@contextmanager
def frames_bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar over the frames of a video. Yields a function to call with the number done; it may exceed `total`."""
    progress = _progress("{task.description}", _FrameRate())
    task, plain = progress.add_task(label, total=total), _PlainProgress(label, frame_rate)

    def advance(done: int) -> None:
        progress.update(task, completed=done)
        plain.update(done, total)

    with progress:
        yield advance


@contextmanager
def downloads(transient: bool = False) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar per download; elsewhere than on a terminal, one line each, at its first bytes.

    Yields a function to call with the name of a download, the bytes so far and their total (None if unknown).
    """
    progress = _progress("{task.description}", DownloadColumn(), TransferSpeedColumn(), transient=transient)
    tasks: dict[str, Any] = {}

    def advance(name: str, done: int, total: int | None) -> None:
        if name not in tasks:
            tasks[name] = progress.add_task(name, total=total)
            if not is_terminal():
                note(name if total is None or not transient else f"{name}, {total / 1e6:.0f} MB")
        progress.update(tasks[name], completed=done, total=total)

    with progress:
        yield advance


@contextmanager
def download(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar for a download. Yields a function to call with the bytes so far and their total (None if unknown)."""
    with downloads(transient=True) as advance:
        yield partial(advance, label)


class TrainingBar:
    """Observes a training run: shows its losses, the learning rate, images per second and the time left.

    Args:
        plain: where stderr is not a terminal, print how far the training is now and then.
    """

    def __init__(self, *, plain: bool = True) -> None:
        self._plain = _PlainProgress("training", plain_share) if plain else None
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f}% {task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=err,
            transient=True,
            disable=not is_terminal(),
        )
        self._task = self._bar.add_task("", total=1.0, epoch=1, figures="")
        self._window_start, self._window_images, self._rate = time.monotonic(), 0, 0.0

    def __enter__(self) -> TrainingBar:
        self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bar.stop()

    def step(self, *, epoch: int, step: int, done: float, parts: Mapping[str, float], rate: float, images: int) -> None:
        """Update the bar after a step."""
        del step
        self._window_images += images
        seconds = time.monotonic() - self._window_start
        if seconds > RATE_WINDOW_S or not self._rate:
            self._rate = self._window_images / max(seconds, 1e-9)
            self._window_start, self._window_images = time.monotonic(), 0
        losses = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
        figures = f"{losses}  lr {rate:.2g}  {self._rate:.0f} img/s"
        self._bar.update(self._task, completed=done, epoch=epoch + 1, figures=figures)
        if self._plain is not None:
            self._plain.update(done, 1.0)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Print one line with the figures of an epoch."""
        figures = [f"{name} {row[name]:.3f}" for name in EPOCH_COLUMNS if row.get(name) is not None]
        # Time that is up between two epochs leaves the next one without a step.
        speed = [f"{row['images_per_second']:.0f} img/s"] if row["images_per_second"] else []
        note("  ".join([f"epoch {row['epoch']}", *figures, *speed, f"{row['seconds']:.0f} s"]))

    def warn(self, line: str) -> None:
        """Print a warning."""
        warn(line)
