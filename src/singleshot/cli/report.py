"""The HTML report that `train` and `evaluate` write next to their results.

It is written after the work is done. If a report that was not requested by name fails, that is a warning only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from singleshot.errors import SingleshotError

if TYPE_CHECKING:
    from singleshot.reporting.pages import PageInfo


def target(
    requested: Path | None, weights: Path | None, split: str, *, inputs: Sequence[Path | None], overwrite: bool
) -> Path | None:
    """Return the file for the report of `evaluate`: the requested one; next to weights in a run folder; else None.

    Raises as `outputs.check` does for a requested file. A report of ours is replaced without `--overwrite`.
    """
    from singleshot.cli import outputs
    from singleshot.reporting import page

    if requested is not None:
        outputs.check(requested, inputs=inputs, overwrite=overwrite or page.is_ours(requested))
        return requested
    if weights is None or not weights.is_file() or not (weights.parent / "recipe.json").is_file():
        return None
    # The name of a split may contain a slash, which must not lead to another folder.
    name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in split)
    beside = weights.parent / f"report-{name}.html"
    return beside if page.is_ours(beside) or not beside.exists() else None


def page_info(title: str, images: int, seconds: float | None) -> PageInfo:
    """Return title, command and speed of an evaluation; `seconds` is None if nothing was predicted."""
    from singleshot.reporting.pages import PageInfo
    from singleshot.training.run import this_command

    facts = [("images per second, evaluating", f"{images / seconds:.1f}")] if seconds else []
    return PageInfo(title, this_command(), facts)


def write(make: Callable[[], Path], *, requested: bool) -> None:
    """Write a report by calling `make`, and print its path. If one that was not requested fails, warn."""
    from singleshot.cli import terminal

    try:
        path = make()
    except SingleshotError as error:
        if requested:
            raise
        terminal.warn(f"no report: {error}")
        return
    terminal.show(f"report: {path}")
