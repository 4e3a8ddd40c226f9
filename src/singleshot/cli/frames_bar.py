"""A bar over the frames of a video: how many are done, how many a second, and the time that is left.

The number of frames comes from the file's header and may be wrong: it is shown with a `~`, and a bar that has come to
its end goes on counting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from singleshot.cli.progress import err


class _Pace(ProgressColumn):
    """Frames a second, and the time left where there is a guess of the end."""

    def render(self, task: Task) -> Text:
        return Text(pace(task.completed, task.total, task.elapsed or 0.0))


def pace(done: float | int, total: float | int | None, elapsed_s: float) -> str:
    """What is said behind the bar.

    >>> pace(100, 400, 2.0), pace(100, None, 2.0), pace(0, 400, 0.0), pace(410, 400, 8.2)
    ('100/~400  50 frames/s  0:06 left', '100  50 frames/s', '0/~400', '410  50 frames/s')
    """
    known = total is not None and done <= total
    said = [f"{done:.0f}/~{total:.0f}" if known else f"{done:.0f}"]
    if done and elapsed_s:
        rate = done / elapsed_s
        said.append(f"{rate:.0f} frames/s")
        if known and total is not None:
            left = round((total - done) / rate)
            said.append(f"{left // 60}:{left % 60:02d} left")
    return "  ".join(said)


@contextmanager
def frames_bar(what: str, total: int | None) -> Iterator[Any]:
    """A bar on a terminal, nothing elsewhere. Yields a function that is called with the number of frames done."""
    shown = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        _Pace(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    task = shown.add_task(what, total=total)
    with shown:
        yield lambda done: shown.update(task, completed=done)
