"""Plot of precision-recall curves, with marks at the confidence thresholds that a user can choose.

AP summarises a curve; a user has to choose one point of it. The marks tell for each `--threshold` how many objects are
found, and how many of the detections are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from singleshot import fonts
from singleshot.errors import UsageError
from singleshot.metrics.voc_ap import ClassResult, mean_ap
from singleshot.storage import atomic

FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
MARKERS = "osD^vP*X"
LEGEND_ROWS = 24
FEW_CLASSES = 10


def operating_point(result: ClassResult, threshold: float) -> tuple[float, float] | None:
    """Return recall and precision of a class without detections that score below `threshold`; None if none is left.

    >>> result = ClassResult(0.5, np.array([1.0, 0.5]), np.array([0.5, 0.5]), np.array([0.9, 0.2]), 2, 2)
    >>> operating_point(result, 0.1), operating_point(result, 0.3), operating_point(result, 0.95)
    ((0.5, 0.5), (0.5, 1.0), None)
    """
    count = result.count_above(threshold)
    return (float(result.recall[count - 1]), float(result.precision[count - 1])) if count else None


def image_format(path: Path) -> str:
    """Return the format of a file's suffix. Raises UsageError if it is none of `FORMATS`.

    >>> image_format(Path("curves.PNG"))
    'png'
    """
    if path.suffix.lower() not in FORMATS:
        remedy = f"Name a file that ends in {', '.join(FORMATS)}"
        raise UsageError("curves cannot be drawn in this format", remedy=remedy, file=path)
    return FORMATS[path.suffix.lower()]


def draw_precision_recall(
    curves: Mapping[str, ClassResult], path: Path, *, thresholds: Sequence[float] = (0.01, 0.1, 0.3, 0.5)
) -> None:
    """Plot the curve of every class, best AP first in the legend.

    Args:
        curves: by class name. A class without objects is named in the legend (`n/a`) and has no line.
        path: the file to write, whole or not at all: a PNG, SVG or PDF by its suffix.
        thresholds: confidences to mark, at most 8.

    Raises UsageError for another suffix, and what `atomic.write` does.
    """
    chosen = image_format(path)
    with fonts.in_charts(curves):
        _draw(curves, path, thresholds, chosen)


def _draw(curves: Mapping[str, ClassResult], path: Path, thresholds: Sequence[float], chosen: str) -> None:
    # Imported here: matplotlib takes a second to load, and only this function draws. Figure without pyplot keeps no
    # global state and opens no window.
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    present = sorted(((name, r) for name, r in curves.items() if r.ap is not None), key=lambda item: -(item[1].ap or 0))
    absent = [name for name, result in curves.items() if result.ap is None]
    columns = max(1, -(-len(curves) // LEGEND_ROWS))
    figure = Figure(figsize=(8.2 + 2.1 * columns, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    few = len(present) <= FEW_CLASSES
    # A few classes get colours that are easy to tell apart; of many, the colour tells the rank.
    colours = colormaps["tab10"](np.arange(FEW_CLASSES)) if few else colormaps["turbo"](np.linspace(0, 1, len(present)))
    for colour, (name, result) in zip(colours, present, strict=False):
        # The curve begins at recall 0, with the precision of the best detection.
        start = result.precision[:1] if len(result.precision) else [0.0]
        recall, precision = np.append(0.0, result.recall), np.append(start, result.precision)
        label = f"{result.ap:.3f}  {_plain(name)}"
        axes.plot(recall, precision, color=colour, linewidth=1.8 if few else 1.0, label=label)
        for marker, threshold in zip(MARKERS, thresholds, strict=False):
            point = operating_point(result, threshold)
            if point is not None:
                style = {"markersize": 8 if few else 6, "markeredgecolor": "white", "markeredgewidth": 0.8, "zorder": 3}
                axes.plot(*point, marker, color=colour, **style)
    for name in absent:
        axes.plot([], [], " ", label=f"n/a  {_plain(name)}")
    _finish(axes, list(curves.values()), thresholds, columns)
    # The format is explicit, because the temporary file that `atomic` writes ends in .tmp.
    atomic.write(path, lambda temporary: figure.savefig(temporary, format=chosen, dpi=120, bbox_inches="tight"))


def _plain(name: str) -> str:
    """Escape dollars, which would begin a formula in matplotlib."""
    return name.replace("$", r"\$")


def _finish(axes: Any, results: list[ClassResult], thresholds: Sequence[float], columns: int) -> None:
    """Add axes, grid and the two legends."""
    from matplotlib.lines import Line2D

    mean = mean_ap(results)
    axes.set_title("Precision and recall" + ("" if mean is None else f", mean AP {mean:.3f}"), loc="left")
    axes.set(xlabel="recall: found objects / objects", ylabel="precision: right detections / detections")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), aspect="equal")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    marks = [
        Line2D([], [], marker=marker, linestyle="", color="0.35", markeredgecolor="white", markersize=8, label=f"{t:g}")
        for marker, t in zip(MARKERS, thresholds, strict=False)
    ]
    legend = axes.legend(handles=marks, title="score at least", loc="lower left", framealpha=0.9, edgecolor="0.85")
    axes.add_artist(legend)
    if not results:
        return
    axes.legend(
        title="AP  class",
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        frameon=False,
        ncols=columns,
        alignment="left",
    )
