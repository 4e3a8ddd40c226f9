"""Judge masks against a split by mean IoU: one confusion matrix over the set, at the pictures' own sizes.

The judge sees class ids and truths only, so a network of ours and another program's result files compare. On
Cityscapes its own further figures come along: the seven categories, and iIoU where instances are numbered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from singleshot.data.masks import cityscapes
from singleshot.data.masks import files as mask_files
from singleshot.errors import DataError
from singleshot.evaluation.instance_iou import InstanceCounts
from singleshot.evaluation.report import as_text
from singleshot.metrics.mean_iou import IoUFigures, confusion, empty_matrix, figures, grouped
from singleshot.structures import Dataset


@dataclass(frozen=True)
class MiouReport:
    """What a split says about some masks. All figures are fractions in 0…1.

    Args:
        figures: mIoU and its kin, see `IoUFigures`.
        images: pictures that were judged.
        matrix: (C, C + 1) pixels by true and predicted class; the last column is no class.
        categories: Cityscapes: the figures of its seven categories; None elsewhere.
        iiou: Cityscapes with instances: iIoU by class and category; None elsewhere.
        without_instances: Cityscapes: the first picture's file of instances that is not there, which is why there is
            no iIoU.
    """

    figures: IoUFigures
    images: int
    matrix: Int[ndarray, "C C1"]
    categories: IoUFigures | None = None
    iiou: Mapping[str, float | None] | None = None
    without_instances: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """What `evaluate --json` writes; null for a class that neither truth nor prediction has."""
        said = {"metric": "miou", "miou": self.figures.miou, "iou": dict(self.figures.iou)}
        for name in ("pixel_accuracy", "mean_accuracy", "frequency_weighted_iou"):
            said[name] = getattr(self.figures, name)
        said |= {"absent": list(self.figures.absent), "images": self.images, "pixels": self.figures.pixels}
        if self.categories is not None:
            said |= {"category_miou": self.categories.miou, "category_iou": dict(self.categories.iou)}
        if self.iiou is not None:
            classes = [name for name in self.figures.iou if name in self.iiou]
            said |= {"iiou": dict(self.iiou), "mean_iiou": _mean(self.iiou[name] for name in classes)}
            said["mean_category_iiou"] = _mean(self.iiou[name] for name in self.iiou if name not in classes)
        return said


class MiouJudge:
    """Counts picture by picture; `report` divides once.

    Args:
        dataset: the split. Its masks are not read here but given.
        instances: of Cityscapes read the files of instances too, for iIoU.
    """

    def __init__(self, dataset: Dataset, *, instances: bool = True) -> None:
        self.dataset = dataset
        self.matrix = empty_matrix(len(dataset.label_map))
        self.images = 0
        self.is_cityscapes = dataset.layout == "cityscapes"
        self.instances = InstanceCounts() if self.is_cityscapes and instances else None
        self.without_instances: Path | None = None

    def count(self, index: int, truth: UInt8[ndarray, "H W"], class_ids: UInt8[ndarray, "h w"]) -> None:
        """One picture's pixels. Raises ValueError where the sizes differ or an id is no class."""
        self.matrix = self.matrix + confusion(truth, class_ids, len(self.dataset.label_map))
        self.images += 1
        if self.instances is None:
            return
        mask_path = self.dataset.samples[index].mask_path
        path = None if mask_path is None else cityscapes.instance_path(mask_path)
        if path is None or not path.is_file():
            self.instances = None  # iIoU over a part of the set would be another number under the same name
            self.without_instances = path
            return
        numbers = mask_files.read_instances(path)
        if numbers.shape != truth.shape:
            raise DataError("not of its picture's size", kind="other-size-mask", file=path)
        self.instances = self.instances.with_picture(numbers, class_ids)

    def report(self) -> MiouReport:
        """What the pictures so far come to."""
        names = self.dataset.label_map.names
        categories, iiou = None, None
        if self.is_cityscapes:
            groups = cityscapes.CATEGORIES
            coarse = grouped(self.matrix, cityscapes.CATEGORY_OF, len(groups))
            categories = figures(coarse, groups)
            iiou = None if self.instances is None or not self.images else self.instances.figures(self.matrix)
        found = figures(self.matrix, names)
        return MiouReport(found, self.images, self.matrix, categories, iiou, self.without_instances)

    def merge(self, others: Iterable[MiouJudge]) -> None:
        """Add what other ranks counted. Pixels are whole numbers, so the sum does not depend on who counted them."""
        for other in others:
            self.matrix = self.matrix + other.matrix
            self.images += other.images
            if self.instances is not None:
                self.instances = None if other.instances is None else self.instances.plus(other.instances)
            self.without_instances = self.without_instances or other.without_instances


def miou_table(report: MiouReport) -> Any:
    """A `rich.table.Table`: IoU and share of the true pixels by class, then the means."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table(title=f"IoU by class ({report.images} pictures)")
    shown.add_column("class")
    shown.add_column("IoU", justify="right")
    shown.add_column("true pixels", justify="right")
    if report.iiou is not None:
        shown.add_column("iIoU", justify="right")
    shares = report.matrix.sum(axis=1) / max(1, report.figures.pixels)
    for (name, iou), share in zip(report.figures.iou.items(), shares.tolist(), strict=True):
        extra = [] if report.iiou is None else [as_text(report.iiou.get(name))]
        shown.add_row(escape(name), as_text(iou), f"{share:.1%}", *extra)
    shown.add_section()
    shown.add_row("mean IoU", as_text(report.figures.miou), style="bold")
    shown.add_row("pixel accuracy", as_text(report.figures.pixel_accuracy))
    shown.add_row("mean accuracy", as_text(report.figures.mean_accuracy))
    shown.add_row("frequency-weighted IoU", as_text(report.figures.frequency_weighted_iou))
    if report.categories is not None:
        shown.add_row("mean IoU of categories", as_text(report.categories.miou))
    return shown


def absent_note(report: MiouReport) -> str | None:
    """What to tell a user about classes that are left out of the mean; None where none is."""
    if report.figures.miou is None:
        return "every pixel is void: there is nothing to judge"
    if not report.figures.absent:
        return None
    return f"left out of the mean, for neither truth nor prediction has them: {', '.join(report.figures.absent)}"


def instances_note(report: MiouReport) -> str | None:
    """What to tell a user of Cityscapes whose iIoU is missing; None where it is not."""
    if report.without_instances is None:
        return None
    return f"no iIoU: it needs every picture's instances, and {report.without_instances} is not there"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
