"""A picture of a data set's figures: six small plots on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from singleshot.data.stats import Stats

MOST_CLASSES = 30


def draw_stats(stats: Stats, path: Path, *, title: str) -> None:
    """Save the plots as a PNG: classes, picture sizes, boxes a picture, sizes and shapes of objects by class.

    Args:
        stats: the figures; plots without data stay empty.
        path: the file to write. Its folder must be there.
        title: what stands above.
    """
    # Imported here: matplotlib takes a second to load. Figure without pyplot keeps no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 8.0), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_plain(title))
    (classes, sizes, per_picture), (sides, ratios, shares) = figure.subplots(2, 3)
    _classes(classes, stats)
    _picture_sizes(sizes, stats)
    most = int(stats.boxes_per_picture.max(initial=0))
    bins = np.arange(most + 2) - 0.5 if most < 60 else np.linspace(-0.5, most + 0.5, 60)
    per_picture.hist(stats.boxes_per_picture, bins, color="tab:blue")
    per_picture.set(title="objects in a picture", xlabel="objects", ylabel="pictures")
    _by_class(sides, stats, stats.sides_px, "√area of objects", "pixels of the picture")
    _by_class(ratios, stats, stats.aspect_ratios, "width over height of objects", "ratio")
    known = stats.shares[~np.isnan(stats.shares)]
    shares.hist(known, np.linspace(0, 1, 41), color="tab:blue")
    shares.set(title="√(area of object / area of picture)", xlabel="share", ylabel="objects", xlim=(0, 1))
    figure.savefig(path, dpi=100, format="png")


def _classes(axes: Any, stats: Stats) -> None:
    counts = stats.objects_of_class
    order = np.argsort(-counts, kind="stable")[:MOST_CLASSES][::-1]
    bars = axes.barh([_plain(stats.class_names[place]) for place in order], counts[order], color="tab:blue")
    axes.bar_label(bars, padding=3, fontsize=8)
    axes.margins(x=0.15)
    left = len(counts) - len(order)
    axes.set_title("objects by class" + (f" ({left} rarer ones not shown)" if left else ""))


def _picture_sizes(axes: Any, stats: Stats) -> None:
    sizes, counts = np.unique(stats.picture_sizes_hw, axis=0, return_counts=True)
    axes.scatter(sizes[:, 1], sizes[:, 0], s=12 + 160 * counts / max(counts.sum(), 1), alpha=0.6)
    noun = "size" if len(sizes) == 1 else "sizes"
    axes.set(title=f"pictures of {len(sizes)} {noun}", xlabel="width in pixels", ylabel="height in pixels")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)


def _by_class(axes: Any, stats: Stats, values: np.ndarray, title: str, label: str) -> None:
    """A histogram on a logarithmic axis, with a line for each of the commonest classes."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(title=title, xlabel=label, ylabel="objects", xscale="log")
    if len(values) == 0:
        return
    low, high = max(float(values.min()), 1e-3) * 0.95, float(values.max()) * 1.05
    edges = np.geomspace(low, max(high, low * 1.1), 31)
    axes.hist(values, edges, color="0.85", label="all")
    for place in np.argsort(-stats.objects_of_class, kind="stable")[:6]:
        axes.hist(
            values[stats.class_ids == place],
            edges,
            histtype="step",
            linewidth=1.5,
            label=_plain(stats.class_names[place]),
        )
    axes.legend(fontsize=8)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _plain(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")
