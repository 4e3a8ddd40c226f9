"""Statistics of a data set: images and their sizes, objects by class, by size, by shape and by image.

They answer the questions before a training: is a class rare, are objects small, do images have one size, is any image
empty? One pass over the samples; images are not opened.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from singleshot import fonts
from singleshot.boxes import area
from singleshot.structures import Dataset

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
MAX_CLASSES_DRAWN = 30


@dataclass(frozen=True)
class Stats:
    """The figures of one split. Without objects the arrays of objects are empty.

    Args:
        class_names: by class id.
        image_sizes_hw: (S, 2) of the images whose size is annotated.
        images: their number.
        boxes_per_image: (P,) objects in each.
        class_ids: (N,) of all objects.
        sides_px: (N,) √area of each object, in pixels of its image.
        shares: (N,) √(area of the object / area of its image); NaN where the image's size is not annotated.
        aspect_ratios: (N,) width over height.
        difficult: how many objects are difficult.
        images_of_class: (C,) images with at least one object of the class.
    """

    class_names: tuple[str, ...]
    image_sizes_hw: Int[ndarray, "S 2"]
    images: int
    boxes_per_image: Int[ndarray, " P"]
    class_ids: Int[ndarray, " N"]
    sides_px: Float[ndarray, " N"]
    shares: Float[ndarray, " N"]
    aspect_ratios: Float[ndarray, " N"]
    difficult: int
    images_of_class: Int[ndarray, " C"]

    @property
    def objects_of_class(self) -> Int[ndarray, " C"]:
        """How many objects each class has."""
        return np.bincount(self.class_ids, minlength=len(self.class_names))

    def common_sizes_hw(self, most: int = 5) -> list[tuple[tuple[int, int], int]]:
        """Return the most frequent image sizes with their counts, most frequent first."""
        counts = Counter((int(height), int(width)) for height, width in self.image_sizes_hw)
        return counts.most_common(most)

    def as_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object.

        Quantiles are keyed by their share: `"0.5"` is the median; they are null for no objects.
        """
        sizes, per_image = self.image_sizes_hw, Counter(self.boxes_per_image.tolist())
        return {
            "pictures": self.images,
            "pictures_without_objects": int((self.boxes_per_image == 0).sum()),
            "objects": len(self.class_ids),
            "difficult": self.difficult,
            "classes": {
                name: {
                    "objects": int(objects),
                    "pictures": int(images),
                    "side_px": _quantiles(self.sides_px[self.class_ids == class_id]),
                    "aspect_ratio": _quantiles(self.aspect_ratios[self.class_ids == class_id]),
                }
                for class_id, (name, objects, images) in enumerate(
                    zip(self.class_names, self.objects_of_class, self.images_of_class, strict=True)
                )
            },
            "picture_sizes": {
                "distinct": len(np.unique(sizes, axis=0)),
                "smallest_hw": sizes.min(axis=0).tolist() if len(sizes) else None,
                "largest_hw": sizes.max(axis=0).tolist() if len(sizes) else None,
                "commonest": [{"size_hw": list(size), "pictures": count} for size, count in self.common_sizes_hw()],
            },
            "boxes_per_picture": {str(boxes): images for boxes, images in sorted(per_image.items())},
            "side_px": _quantiles(self.sides_px),
            "share_of_picture_side": _quantiles(self.shares[~np.isnan(self.shares)]),
            "aspect_ratio": _quantiles(self.aspect_ratios),
        }


def measure(dataset: Dataset) -> Stats:
    """Return the figures of a split; of one without images they are all 0 or empty."""
    samples = dataset.samples
    boxes_xyxy = np.concatenate([np.zeros((0, 4)), *(sample.boxes_xyxy for sample in samples)])
    class_ids = np.concatenate([np.zeros(0, np.int64), *(sample.class_ids for sample in samples)])
    per_image = np.array([len(sample.boxes_xyxy) for sample in samples], np.int64)
    areas = np.array([np.prod(sample.size_hw) if sample.size_hw else np.nan for sample in samples], np.float64)
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    occurring = np.concatenate([np.zeros(0, np.int64), *(np.unique(sample.class_ids) for sample in samples)])
    sizes_hw = [sample.size_hw for sample in samples if sample.size_hw is not None]
    return Stats(
        class_names=dataset.label_map.names,
        image_sizes_hw=np.array(sizes_hw, np.int64).reshape(-1, 2),
        images=len(samples),
        boxes_per_image=per_image,
        class_ids=class_ids,
        sides_px=np.sqrt(area(boxes_xyxy)),
        shares=np.sqrt(area(boxes_xyxy) / np.repeat(areas, per_image)),
        aspect_ratios=sides[:, 0] / sides[:, 1],
        difficult=sum(int(sample.difficult.sum()) for sample in samples),
        images_of_class=np.bincount(occurring, minlength=len(dataset.label_map)),
    )


def _quantiles(values: Float[ndarray, " N"]) -> dict[str, float] | None:
    if len(values) == 0:
        return None
    return {f"{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}


def draw_stats(stats: Stats, path: Path, *, title: str) -> None:
    """Save six plots as a PNG: classes, image sizes, boxes an image, sizes and shapes of objects by class.

    Args:
        stats: the figures; plots without data stay empty.
        path: the file to write. Its folder must exist.
        title: of the page.
    """
    with fonts.in_charts([*stats.class_names, title]):
        _draw(stats, path, title)


def _draw(stats: Stats, path: Path, title: str) -> None:
    # Imported here: matplotlib takes a second to load. Figure without pyplot keeps no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 8.0), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_without_formulas(title))
    (classes, sizes, per_image), (sides, ratios, shares) = figure.subplots(2, 3)
    _draw_classes(classes, stats)
    _draw_image_sizes(sizes, stats)
    most = int(stats.boxes_per_image.max(initial=0))
    bins = np.arange(most + 2) - 0.5 if most < 60 else np.linspace(-0.5, most + 0.5, 60)
    per_image.hist(stats.boxes_per_image, bins, color="tab:blue")
    per_image.set(title="objects in an image", xlabel="objects", ylabel="images")
    _draw_by_class(sides, stats, stats.sides_px, "√area of objects", "pixels of the image")
    _draw_by_class(ratios, stats, stats.aspect_ratios, "width over height of objects", "ratio")
    known = stats.shares[~np.isnan(stats.shares)]
    shares.hist(known, np.linspace(0, 1, 41), color="tab:blue")
    shares.set(title="√(area of object / area of image)", xlabel="share", ylabel="objects", xlim=(0, 1))
    figure.savefig(path, dpi=100, format="png")


def _draw_classes(axes: Any, stats: Stats) -> None:
    counts = stats.objects_of_class
    order = np.argsort(-counts, kind="stable")[:MAX_CLASSES_DRAWN][::-1]
    names = [_without_formulas(stats.class_names[class_id]) for class_id in order]
    axes.bar_label(axes.barh(names, counts[order], color="tab:blue"), padding=3, fontsize=8)
    axes.margins(x=0.15)
    rarer = len(counts) - len(order)
    axes.set_title("objects by class" + (f" ({rarer} rarer ones not shown)" if rarer else ""))


def _draw_image_sizes(axes: Any, stats: Stats) -> None:
    sizes, counts = np.unique(stats.image_sizes_hw, axis=0, return_counts=True)
    axes.scatter(sizes[:, 1], sizes[:, 0], s=12 + 160 * counts / max(counts.sum(), 1), alpha=0.6)
    noun = "size" if len(sizes) == 1 else "sizes"
    axes.set(title=f"images of {len(sizes)} {noun}", xlabel="width in pixels", ylabel="height in pixels")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)


def _draw_by_class(axes: Any, stats: Stats, values: Float[ndarray, " N"], title: str, label: str) -> None:
    """Draw a histogram on a logarithmic axis, with a line for each of the most frequent classes."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(title=title, xlabel=label, ylabel="objects", xscale="log")
    if len(values) == 0:
        return
    low, high = max(float(values.min()), 1e-3) * 0.95, float(values.max()) * 1.05
    edges = np.geomspace(low, max(high, low * 1.1), 31)
    axes.hist(values, edges, color="0.85", label="all")
    for class_id in np.argsort(-stats.objects_of_class, kind="stable")[:6]:
        name = _without_formulas(stats.class_names[class_id])
        axes.hist(values[stats.class_ids == class_id], edges, histtype="step", linewidth=1.5, label=name)
    axes.legend(fontsize=8)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _without_formulas(text: str) -> str:
    """Escape the characters that start a formula in matplotlib."""
    return text.replace("$", r"\$")
