"""The HTML report that `train` and `evaluate` write next to their results.

It is written after the work is done. If a report that was not requested by name fails, that is a warning only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singleshot.errors import SingleshotError

if TYPE_CHECKING:
    from singleshot.evaluation.coco import CocoReport
    from singleshot.evaluation.voc import VocReport
    from singleshot.reporting.masks import MaskExamples
    from singleshot.reporting.pages import PageInfo
    from singleshot.structures import Dataset, Detections
    from singleshot.training.run import Run


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


def of_run(run: Run, workers: int) -> None:
    """Write the report of a training run, with its images."""
    from singleshot.reporting.report import report

    _write(lambda: report(run, overwrite=True, workers=workers), requested=False)


def of_detections(
    path: Path | None,
    requested: Path | None,
    title: str,
    found: Sequence[Detections],
    dataset: Dataset,
    report: VocReport | CocoReport,
    seconds: float | None,
) -> None:
    """Write the report of `evaluate` on boxes; nothing without a path. `seconds` were spent on detecting, if any."""
    from singleshot.evaluation.coco import CocoReport
    from singleshot.evaluation.voc import SIZE_BANDS_PX, voc_report
    from singleshot.reporting.pages import write_detections

    if path is None:
        return
    if isinstance(report, CocoReport):
        coco, plain = report, voc_report(found, dataset, metric="voc12", size_bands_px=SIZE_BANDS_PX)
    else:
        coco, plain = None, report
    info = _page_info(title, len(dataset), seconds)
    _write(lambda: write_detections(path, info, found, dataset, plain, coco), requested=requested is not None)


def of_masks(
    path: Path | None,
    requested: Path | None,
    title: str,
    examples: MaskExamples,
    report: Any,
    seconds: float | None,
) -> None:
    """Write the report of `evaluate` on masks; nothing without a path."""
    from singleshot.reporting.pages import write_masks

    if path is None:
        return
    info = _page_info(title, report.images, seconds)
    _write(lambda: write_masks(path, info, examples, report), requested=requested is not None)


def _page_info(title: str, images: int, seconds: float | None) -> PageInfo:
    from singleshot.reporting.pages import PageInfo
    from singleshot.training.run import this_command

    facts = [] if not seconds else [("images per second", f"{images / seconds:.1f}")]
    return PageInfo(title, this_command(), facts)


def _write(make: Callable[[], Path], *, requested: bool) -> None:
    """Write a report and print its path. If one that was not requested fails, warn."""
    from singleshot.cli import terminal

    try:
        path = make()
    except SingleshotError as error:
        if requested:
            raise
        terminal.warn(f"no report: {error}")
        return
    terminal.show(f"report: {path}")
