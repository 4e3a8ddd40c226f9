"""A report as a table on the terminal."""

from __future__ import annotations

from typing import Any

from singleshot.evaluation.report import Report, as_text


def table(report: Report) -> Any:
    """A `rich.table.Table`: a row a class and one for the mean.

    Columns: objects, AP over all detections, which is the class's figure, and the AP that remains of those that score
    at least so much. A detector may keep detections below the lowest of these thresholds, or score on another scale.
    """
    from rich.markup import escape
    from rich.table import Table

    shown = Table(title=f"AP by class and confidence threshold ({report.metric})")
    shown.add_column("class")
    shown.add_column("objects", justify="right")
    shown.add_column("all", justify="right")
    for threshold in report.at_thresholds:
        shown.add_column(f"≥ {threshold:g}", justify="right")
    for name, result in report.curves.items():
        aps = (as_text(figures.ap[name]) for figures in report.at_thresholds.values())
        shown.add_row(escape(name), str(result.num_ground_truths), as_text(report.ap[name]), *aps)
    shown.add_section()
    means = (as_text(figures.map) for figures in report.at_thresholds.values())
    shown.add_row("mean", str(report.ground_truths), as_text(report.map), *means, style="bold")
    return shown


def map_line(metric: str, mean: float | None, images: int) -> str:
    """The one figure that people quote, in a line: `mAP (voc12) 0.819 on 240 pictures`."""
    return f"mAP ({metric}) {as_text(mean)} on {images} {'picture' if images == 1 else 'pictures'}"
