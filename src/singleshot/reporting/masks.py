"""A segmenter's results on a page: IoU by class, the confusion of pixels, and the images with the best and worst IoU.

The masks of a whole split are too large to keep, so only those of the few best and worst images so far are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.classes import colours
from singleshot.drawing import draw_masks
from singleshot.errors import SingleshotError
from singleshot.evaluation.maxf import MaxfReport
from singleshot.evaluation.miou import MiouReport
from singleshot.images import read_image
from singleshot.metrics.mean_iou import confusion, empty_matrix, figures
from singleshot.reporting import page
from singleshot.reporting.page import Album, Html, reduced
from singleshot.structures import VOID, Batch, Dataset, Segmentation

EACH = 4
MAX_MATRIX_CLASSES = 24
PAIRS = 20
WIDTH = 960
"""Pixels of all copies of an image that are side by side."""


@dataclass(frozen=True)
class MaskExample:
    """One image's predicted and true mask, with its index in the split and its mean IoU over the classes in it."""

    index: int
    miou: float
    class_ids: UInt8[ndarray, "H W"]
    truth: UInt8[ndarray, "H W"]


@dataclass
class MaskExamples:
    """Counts the pixels of a split and keeps the masks of its best and worst images.

    Args:
        dataset: the split.
        each: how many of the best and of the worst are kept.
    """

    dataset: Dataset
    each: int = EACH
    best: list[MaskExample] = field(default_factory=list)
    worst: list[MaskExample] = field(default_factory=list)
    matrix: ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.matrix = empty_matrix(len(self.dataset.label_map))

    def update(self, batch: Batch[Any], results: Sequence[Segmentation]) -> None:
        """Add a batch whose targets are `FullSizeMasks`."""
        for index, mask, result in zip(batch.indices.tolist(), batch.targets.masks, results, strict=True):
            if mask is not None:
                self.add(index, mask.numpy(), result.class_ids)

    def add(self, index: int, truth: UInt8[ndarray, "H W"], class_ids: UInt8[ndarray, "h w"]) -> None:
        """Add one image. A mask of another size (road seen from above) and a truth without a pixel are left out."""
        if truth.shape != class_ids.shape:
            return
        counts = confusion(truth, class_ids, len(self.dataset.label_map))
        self.matrix = self.matrix + counts
        miou = figures(counts, self.dataset.label_map.names).miou
        if miou is None:
            return
        example = MaskExample(index, miou, class_ids, truth)
        self.best = sorted([*self.best, example], key=lambda each: (-each.miou, each.index))[: self.each]
        self.worst = sorted([*self.worst, example], key=lambda each: (each.miou, each.index))[: self.each]


def class_table(report: MiouReport) -> Html:
    """Return IoU by class, worst first, with each class's share of the true pixels; classes without IoU last."""
    shares = report.matrix.sum(axis=1) / max(1, report.figures.pixels)
    rows = zip(report.figures.iou.items(), shares.tolist(), strict=True)
    ordered = sorted(rows, key=lambda row: (row[0][1] is None, row[0][1] or 0))
    return page.table(
        ("class", "IoU", "share of true pixels"),
        [*((name, iou, f"{share:.1%}") for (name, iou), share in ordered), ("mean", report.figures.miou, "")],
        sums=1,
    )


def road_table(report: MaxfReport) -> Html:
    """Return KITTI road's scores, a row for each category."""
    columns = ("maxf", "ap", "pre", "rec", "fpr", "fnr")
    rows = [(name, *(getattr(row, column) for column in columns)) for name, row in report.by_category.items()]
    return page.table(("category", "MaxF", "AP", "precision", "recall", "FPR", "FNR"), rows)


def pixel_confusion(matrix: ndarray, names: Sequence[str]) -> Html:
    """Return thousands of pixels by true and predicted class; of many classes the pairs confused most often."""
    if len(names) <= MAX_MATRIX_CLASSES:
        thousands = np.rint(matrix / 1000).astype(np.int64)
        last = "no class" if matrix[:, -1].any() else None
        counts = thousands if last else thousands[:, :-1]
        return page.matrix(names, "", last or "", counts.tolist())
    wrong = matrix[:, : len(names)] * (1 - np.eye(len(names), dtype=np.int64))
    totals = np.maximum(1, matrix.sum(axis=1))
    pairs = [divmod(int(pair), len(names)) for pair in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]]
    rows = [
        (names[true], names[predicted], f"{wrong[true, predicted] / totals[true]:.1%}")
        for true, predicted in pairs
        if wrong[true, predicted]
    ]
    return page.table(("class", "predicted as", "share of its pixels"), rows, words=(0, 1))


def overlays(examples: MaskExamples, album: Album) -> Html:
    """Return the worst and the best images: the prediction beside the truth."""
    parts = []
    for title, some in (("Worst images", examples.worst), ("Best images", examples.best)):
        images = "".join(_with_truth(examples.dataset, example, album) for example in some)
        parts += [page.element("h3", title), Html(f"<div class='shots'>{images}</div>")]
    return page.joined(parts)


def _with_truth(dataset: Dataset, example: MaskExample, album: Album) -> Html:
    image_id = dataset.samples[example.index].image_id
    caption = f"{image_id}: mean IoU {example.miou:.3f} (left the prediction, right the truth)"
    return side_by_side(dataset, example.index, (example.class_ids, example.truth), caption, album)


def side_by_side(
    dataset: Dataset, index: int, masks: Sequence[UInt8[ndarray, "H W"]], caption: str, album: Album
) -> Html:
    """Return an image of a split once under each of some masks of its size; a line where it cannot be shown."""
    try:
        image = read_image(dataset.samples[index].image_path)
    except SingleshotError:
        return page.paragraph(f"{caption} (the image could not be read)", "soft")
    if any(image.shape[:2] != mask.shape for mask in masks):
        return page.paragraph(f"{caption} (the image has another size)", "soft")
    names = dataset.label_map.names
    palette = np.array(dataset.colours, np.uint8) if dataset.colours else colours(len(names))
    small = reduced(image, WIDTH // len(masks))
    sides = zip(image.shape[:2], small.shape[:2], strict=True)
    indices = [np.linspace(0, side - 1, few).round().astype(int) for side, few in sides]
    copies = []
    for ids in masks:
        # Rows and columns are picked, not mixed: a mask has no values between two classes.
        few = ids[indices[0]][:, indices[1]]
        segmentation = Segmentation(few, names, palette)
        copies.append(draw_masks(small, segmentation, legend=not (few == VOID).any()))
    return album.image(np.hstack(copies), caption, width=WIDTH)
