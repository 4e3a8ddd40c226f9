"""Evaluation of masks by mean IoU: one confusion matrix over the split, at the images' own sizes.

On Cityscapes its own further scores come along: the seven categories, and iIoU where instances are numbered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8, UInt16
from numpy import ndarray

from singleshot.data.masks import cityscapes
from singleshot.data.masks import files as mask_files
from singleshot.data.masks.cityscapes import AVERAGE_SIZES, CATEGORIES, CATEGORY_OF, EVALUATED
from singleshot.errors import DataError
from singleshot.evaluation.html_table import html_table
from singleshot.evaluation.loop import Metric
from singleshot.evaluation.voc import as_text
from singleshot.metrics.mean_iou import IoUFigures, confusion, empty_matrix, figures, grouped
from singleshot.structures import Batch, Dataset, Segmentation

PER_CLASS = 1000
"""Instance k of the label with id i has the number 1000·i + k."""
_CLASS_OF = {label.id: label.train_id for label in EVALUATED if label.name in AVERAGE_SIZES}


@dataclass(frozen=True)
class MiouReport:
    """The scores of some masks on a split. All are fractions in 0…1.

    Args:
        figures: mIoU and its kin, see `IoUFigures`.
        images: images that were evaluated.
        matrix: (C, C + 1) pixels by true and predicted class; the last column is no class.
        categories: Cityscapes: the figures of its seven categories; None elsewhere.
        iiou: Cityscapes with instances: iIoU by class and category; None elsewhere.
        without_instances: Cityscapes: the first file of instances that is missing, which is why there is no iIoU.
    """

    figures: IoUFigures
    images: int
    matrix: Int[ndarray, "C C1"]
    categories: IoUFigures | None = None
    iiou: Mapping[str, float | None] | None = None
    without_instances: Path | None = None

    @property
    def score(self) -> float | None:
        """The figure by which the best epoch is chosen: mean IoU."""
        return self.figures.miou

    def columns(self) -> dict[str, float | None]:
        """Returns the figures for `log.csv`, by column."""
        figures = {"miou": self.figures.miou, "pixel_accuracy": self.figures.pixel_accuracy}
        return figures | {f"iou_{label}": iou for label, iou in self.figures.iou.items()}

    def _repr_html_(self) -> str:
        """Returns the scores as a table, which a notebook shows."""
        return html_table(miou_table(self))

    def as_json(self) -> dict[str, Any]:
        """Returns what `evaluate --json` writes; null for a class that neither truth nor prediction has."""
        fields = {"metric": "miou", "miou": self.figures.miou, "iou": dict(self.figures.iou)}
        for name in ("pixel_accuracy", "mean_accuracy", "frequency_weighted_iou"):
            fields[name] = getattr(self.figures, name)
        fields |= {"absent": list(self.figures.absent), "images": self.images, "pixels": self.figures.pixels}
        if self.categories is not None:
            fields |= {"category_miou": self.categories.miou, "category_iou": dict(self.categories.iou)}
        if self.iiou is not None:
            classes = [name for name in self.figures.iou if name in self.iiou]
            fields |= {"iiou": dict(self.iiou), "mean_iiou": _mean(self.iiou[name] for name in classes)}
            fields["mean_category_iiou"] = _mean(self.iiou[name] for name in self.iiou if name not in classes)
        return fields


@dataclass(frozen=True)
class InstanceCounts:
    """Cityscapes' iIoU: IoU in which every instance counts alike, however many pixels it has.

    A true pixel of an instance weighs (average size of its class) / (size of the instance); a false positive weighs 1,
    because it belongs to no instance. Only classes that have instances count, and groups, whose members nobody could
    tell apart (numbers below 1000), are left out. One thing differs: a car that is predicted as a caravan or a
    trailer, which are vehicles that are not evaluated, is a miss here and right there as to its category; masks of 19
    classes have neither.
    Source: cityscapesScripts, `evalPixelLevelSemanticLabeling.py`, `getInstanceIouScoreForLabel` and `…ForCategory`.

    The fields are sums of weighed pixels; row 0 is of right ones, row 1 of wrong ones.

    Args:
        by_class: (2, 19) sums over the instances of each class.
        by_category: (2, 7) the same, where any class of the right category counts as right.
    """

    by_class: Float[ndarray, "2 C"] = field(default_factory=lambda: np.zeros((2, len(EVALUATED))))
    by_category: Float[ndarray, "2 G"] = field(default_factory=lambda: np.zeros((2, len(CATEGORIES))))

    def plus(self, other: InstanceCounts) -> InstanceCounts:
        """Return the sum of both."""
        return InstanceCounts(self.by_class + other.by_class, self.by_category + other.by_category)

    def with_image(self, numbers: UInt16[ndarray, "H W"], class_ids: UInt8[ndarray, "H W"]) -> InstanceCounts:
        """Return these counts and one image's instances: their numbers, and the class ids that were predicted."""
        by_class, by_category = self.by_class.copy(), self.by_category.copy()
        present = np.flatnonzero(np.bincount(numbers.ravel(), minlength=1 << 16)).tolist()
        counted = [number for number in present if number > PER_CLASS and number // PER_CLASS in _CLASS_OF]
        # Every instance's predicted classes in one pass over the pixels; row 0 is what belongs to none of them.
        row_of = np.zeros(1 << 16, dtype=np.int64)
        row_of[counted] = np.arange(1, len(counted) + 1)
        cells = row_of[numbers.ravel()] * 256 + class_ids.ravel()
        pixels = np.bincount(cells, minlength=256 * (len(counted) + 1)).reshape(-1, 256)[1:]
        for number, predicted in zip(counted, pixels, strict=True):
            true = _CLASS_OF[number // PER_CLASS]
            group, size = CATEGORY_OF[true], int(predicted.sum())
            weight = AVERAGE_SIZES[EVALUATED[true].name] / size
            in_group = np.flatnonzero(np.array(CATEGORY_OF) == group)
            right, right_group = int(predicted[true]), int(predicted[in_group].sum())
            by_class[:, true] += weight * right, weight * (size - right)
            by_category[:, group] += weight * right_group, weight * (size - right_group)
        return InstanceCounts(by_class, by_category)

    def scores(self, matrix: Int[ndarray, "C C1"]) -> dict[str, float | None]:
        """Return the iIoU by name of class, then of category; None where nothing counts.

        The false positives come from `matrix`.
        """
        classes = len(EVALUATED)
        wrong = matrix[:, :classes].sum(axis=0) - np.diag(matrix)
        found: dict[str, float | None] = {}
        for class_id in _CLASS_OF.values():
            right, missed = self.by_class[:, class_id]
            found[EVALUATED[class_id].name] = _ratio(right, right + missed + wrong[class_id])
        groups = np.array(CATEGORY_OF)
        for group in sorted({CATEGORY_OF[class_id] for class_id in _CLASS_OF.values()}):
            right, missed = self.by_category[:, group]
            false = matrix[groups != group][:, :classes][:, groups == group].sum()
            found[CATEGORIES[group]] = _ratio(right, right + missed + false)
        return found


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None


class MeanIoU(Metric[Segmentation, MiouReport]):
    """Counts pixels image by image; `compute` divides once.

    Args:
        dataset: the split. Its masks are not read here; they come with the batches.
        instances: of Cityscapes read the files of instances too, for iIoU.
    """

    def __init__(self, dataset: Dataset, *, instances: bool = True) -> None:
        self.dataset = dataset
        self.is_cityscapes = dataset.layout == "cityscapes"
        self._counts = _Counts(
            empty_matrix(len(dataset.label_map)),
            instances=InstanceCounts() if self.is_cityscapes and instances else None,
        )

    def update(self, batch: Batch[Any], results: Sequence[Segmentation]) -> None:
        """Adds the pixels of a batch whose targets are `FullSizeMasks`."""
        for index, mask, result in zip(batch.indices.tolist(), batch.targets.masks, results, strict=True):
            if mask is not None:
                self.add(index, mask.numpy(), result.class_ids)

    def add(self, index: int, truth: UInt8[ndarray, "H W"], class_ids: UInt8[ndarray, "h w"]) -> None:
        """Adds one image's pixels.

        Args:
            index: of the image in the split.
            truth: the class ids of its mask, or `VOID`.
            class_ids: the predicted ones.

        Raises ValueError where the sizes differ or an id is no class.
        """
        counts = self._counts
        matrix = counts.matrix + confusion(truth, class_ids, len(self.dataset.label_map))
        counts = replace(counts, matrix=matrix, images=counts.images + 1)
        if counts.instances is not None:
            mask_path = self.dataset.samples[index].mask_path
            path = None if mask_path is None else cityscapes.instance_path(mask_path)
            if path is None or not path.is_file():
                # iIoU over a part of the set would be another number under the same name.
                counts = replace(counts, instances=None, without_instances=path)
            else:
                numbers = mask_files.read_instances(path)
                if numbers.shape != truth.shape:
                    raise DataError("not of its image's size", kind="other-size-mask", file=path)
                counts = replace(counts, instances=counts.instances.with_image(numbers, class_ids))
        self._counts = counts

    @property
    def images(self) -> int:
        """How many images were added."""
        return self._counts.images

    def state(self) -> _Counts:
        """Returns the counts."""
        return self._counts

    def merge(self, states: Iterable[_Counts]) -> None:
        """Adds the counts of all ranks up. Pixels are whole numbers, so the sum does not depend on their order."""
        total, *others = states
        for other in others:
            instances = None
            if total.instances is not None and other.instances is not None:
                instances = total.instances.plus(other.instances)
            total = _Counts(
                total.matrix + other.matrix,
                total.images + other.images,
                instances,
                total.without_instances or other.without_instances,
            )
        self._counts = total

    def compute(self) -> MiouReport:
        """Returns the scores of the images so far."""
        counts, names = self._counts, self.dataset.label_map.names
        categories, iiou = None, None
        if self.is_cityscapes:
            coarse = grouped(counts.matrix, CATEGORY_OF, len(CATEGORIES))
            categories = figures(coarse, CATEGORIES)
            iiou = counts.instances.scores(counts.matrix) if counts.instances is not None and counts.images else None
        scores = figures(counts.matrix, names)
        return MiouReport(scores, counts.images, counts.matrix, categories, iiou, counts.without_instances)


@dataclass(frozen=True)
class _Counts:
    """What was counted so far; `without_instances` is a file of instances that is missing."""

    matrix: Int[ndarray, "C C1"]
    images: int = 0
    instances: InstanceCounts | None = None
    without_instances: Path | None = None


def miou_table(report: MiouReport) -> Any:
    """Returns a `rich.table.Table`: IoU and share of the true pixels by class, then the means."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"IoU by class ({report.images} images)")
    table.add_column("class")
    table.add_column("IoU", justify="right")
    table.add_column("true pixels", justify="right")
    if report.iiou is not None:
        table.add_column("iIoU", justify="right")
    shares = report.matrix.sum(axis=1) / max(1, report.figures.pixels)
    for (name, iou), share in zip(report.figures.iou.items(), shares.tolist(), strict=True):
        extra = [] if report.iiou is None else [as_text(report.iiou.get(name))]
        table.add_row(Text(name), as_text(iou), f"{share:.1%}", *extra)
    table.add_section()
    table.add_row("mean IoU", as_text(report.figures.miou), style="bold")
    table.add_row("pixel accuracy", as_text(report.figures.pixel_accuracy))
    table.add_row("mean accuracy", as_text(report.figures.mean_accuracy))
    table.add_row("frequency-weighted IoU", as_text(report.figures.frequency_weighted_iou))
    if report.categories is not None:
        table.add_row("mean IoU of categories", as_text(report.categories.miou))
    return table


def absent_note(report: MiouReport) -> str | None:
    """Returns a note on classes that are left out of the mean; None where none is."""
    if report.figures.miou is None:
        return "every pixel is void: there is nothing to evaluate"
    if not report.figures.absent:
        return None
    return f"left out of the mean, for neither truth nor prediction has them: {', '.join(report.figures.absent)}"


def instances_note(report: MiouReport) -> str | None:
    """Returns a note on why Cityscapes' iIoU is missing; None where it is not."""
    if report.without_instances is None:
        return None
    return f"no iIoU: it needs every image's instances, and {report.without_instances} is missing"


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
