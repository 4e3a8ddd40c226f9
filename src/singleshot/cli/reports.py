"""The page that `train` and `evaluate` leave beside their figures: where it goes, and what the verbs hand over for it.

A report is made after the work is done. What goes wrong with a page that nobody asked for by name costs a warning and
not the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singleshot.errors import SingleshotError

if TYPE_CHECKING:
    from singleshot.evaluation.coco import CocoReport
    from singleshot.evaluation.report import Report
    from singleshot.reporting.masks_part import MaskWatch
    from singleshot.reporting.pages import Story
    from singleshot.structures import Dataset, Detections
    from singleshot.training.run import Run


def target(
    asked: Path | None, weights: Path | None, split: str, *, inputs: Sequence[Path | None], overwrite: bool
) -> Path | None:
    """Where `evaluate` writes its page: what was asked for; else beside weights that lie in a run's folder; else None.

    Raises as `outputs.check` does for a file that was asked for. A report of ours is made anew without asking.
    """
    from singleshot.cli import outputs
    from singleshot.reporting import page

    if asked is not None:
        outputs.check(asked, inputs=inputs, overwrite=overwrite or page.is_ours(asked))
        return asked
    if weights is None or not weights.is_file() or not (weights.parent / "recipe.json").is_file():
        return None
    # A split is named by people; a page must not land in another folder for that.
    name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in split)
    beside = weights.parent / f"report-{name}.html"
    return beside if page.is_ours(beside) or not beside.exists() else None


def of_run(run: Run, workers: int) -> None:
    """The page of a training run, and pictures beside it."""
    from singleshot.reporting.report import report

    _carefully(lambda: report(run, overwrite=True, workers=workers), asked=False)


def of_detections(
    path: Path | None,
    asked: Path | None,
    title: str,
    found: Sequence[Detections],
    dataset: Dataset,
    report: Report | CocoReport,
    seconds: float | None,
) -> None:
    """The page of `evaluate` on boxes. `report` is what either judge made; `seconds` were spent on detecting."""
    from singleshot.evaluation.coco import CocoReport
    from singleshot.evaluation.judge import SIZE_BANDS_PX, judge
    from singleshot.reporting.pages import write_detections

    if path is None:
        return
    if isinstance(report, CocoReport):
        coco, plain = report, judge(found, dataset, metric="voc12", size_bands_px=SIZE_BANDS_PX)
    else:
        coco, plain = None, report
    story = _story(title, len(dataset), seconds)
    _carefully(lambda: write_detections(path, story, found, dataset, plain, coco), asked=asked is not None)


def of_masks(
    path: Path | None, asked: Path | None, title: str, watch: MaskWatch | None, report: Any, seconds: float | None
) -> None:
    """The page of `evaluate` on masks."""
    from singleshot.reporting.pages import write_masks

    if path is None or watch is None:
        return
    story = _story(title, report.images, seconds)
    _carefully(lambda: write_masks(path, story, watch, report), asked=asked is not None)


def _story(title: str, images: int, seconds: float | None) -> Story:
    from singleshot.reporting.pages import Story
    from singleshot.training.provenance import this_command

    facts = [] if not seconds else [("pictures a second, judging", f"{images / seconds:.1f}")]
    return Story(title, this_command(), facts)


def _carefully(make: Callable[[], Path], *, asked: bool) -> None:
    """Make a page and say where it is. One that was not asked for may fail: that is a warning."""
    from singleshot.cli import progress

    try:
        path = make()
    except SingleshotError as error:
        if asked:
            raise
        progress.warn(f"no report: {error}")
        return
    progress.out.print(f"report: {path}", soft_wrap=True, markup=False)
