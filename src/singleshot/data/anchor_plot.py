"""A picture of best overlaps: how close the nearest default box comes to each object, before and after a fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from singleshot.data.anchor_report import IOU_THRESHOLD, AnchorReport


def draw_best_iou(report: AnchorReport, path: Path, *, title: str) -> None:
    """Save the histogram of best IoU as a PNG, the model's own boxes beside the fitted ones.

    Args:
        report: the figures.
        path: the file to write. Its folder must be there.
        title: what stands above, such as the model and the input size.
    """
    # Imported here: matplotlib takes a second to load. Figure without pyplot keeps no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    edges = np.linspace(0, 1, 41).tolist()
    axes.axvspan(0, IOU_THRESHOLD, color="0.93", zorder=0)
    for best, colour, label, share in (
        (report.best_iou, "tab:orange", "the model's own boxes", report.unreached),
        (report.best_iou_fitted, "tab:blue", "fitted boxes", report.unreached_fitted),
    ):
        label = f"{label}: {share:.1%} unreached"
        axes.hist(best, edges, histtype="stepfilled", alpha=0.35, color=colour, label=label)
        axes.hist(best, edges, histtype="step", linewidth=1.4, color=colour)
    axes.set_xlim(0, 1)
    axes.set_xlabel("best IoU of an object with any default box")
    axes.set_ylabel("objects")
    axes.text(IOU_THRESHOLD - 0.01, 0.98, "unreached", ha="right", va="top", transform=axes.get_xaxis_transform())
    axes.set_title(f"{title}, {len(report.best_iou)} objects")
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.92))
    figure.savefig(path, dpi=110, format="png")
