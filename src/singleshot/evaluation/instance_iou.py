"""Cityscapes' iIoU: IoU in which every instance counts alike, however many pixels it has.

A true pixel of an instance weighs (average size of its class) / (size of the instance); a false positive weighs 1,
because it belongs to no instance. Only classes that have instances are judged, and groups, whose members nobody could
tell apart (numbers below 1000), are passed over. One thing differs: a car that is called a caravan or a trailer,
which are vehicles that nobody judges, is missed here and right there as to its category; masks of 19 classes have
neither.
Source: cityscapesScripts, `evalPixelLevelSemanticLabeling.py`, `getInstanceIouScoreForLabel` and `…ForCategory`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16
from numpy import ndarray

from singleshot.data.masks.cityscapes import AVERAGE_SIZES, CATEGORIES, CATEGORY_OF, EVALUATED

PER_CLASS = 1000
"""Instance k of the label with id i has the number 1000·i + k."""
_CLASS_OF = {label.id: label.train_id for label in EVALUATED if label.name in AVERAGE_SIZES}


@dataclass(frozen=True)
class InstanceCounts:
    """Weighed pixels by class and by category: rows are right and wrong ones.

    Args:
        by_class: (2, 19) sums over the instances of each class.
        by_category: (2, 7) the same, where any class of the right category counts as right.
    """

    by_class: Float[ndarray, "2 C"] = field(default_factory=lambda: np.zeros((2, len(EVALUATED))))
    by_category: Float[ndarray, "2 G"] = field(default_factory=lambda: np.zeros((2, len(CATEGORIES))))

    def plus(self, other: InstanceCounts) -> InstanceCounts:
        """Both together."""
        return InstanceCounts(self.by_class + other.by_class, self.by_category + other.by_category)

    def with_picture(self, numbers: UInt16[ndarray, "H W"], class_ids: UInt8[ndarray, "H W"]) -> InstanceCounts:
        """These and one picture's instances: their numbers, and the class ids that were predicted there."""
        by_class, by_category = self.by_class.copy(), self.by_category.copy()
        there = np.bincount(numbers.ravel(), minlength=1 << 16) > 0
        judged = [number for number in np.flatnonzero(there).tolist() if number > PER_CLASS]
        judged = [number for number in judged if number // PER_CLASS in _CLASS_OF]
        # Every instance's predicted classes in one pass over the pixels; row 0 is what belongs to none of them.
        row_of = np.zeros(1 << 16, dtype=np.int64)
        row_of[judged] = np.arange(1, len(judged) + 1)
        cells = row_of[numbers.ravel()] * 256 + class_ids.ravel()
        pixels = np.bincount(cells, minlength=256 * (len(judged) + 1)).reshape(-1, 256)[1:]
        for number, seen in zip(judged, pixels, strict=True):
            true = _CLASS_OF[number // PER_CLASS]
            group, size = CATEGORY_OF[true], int(seen.sum())
            weight = AVERAGE_SIZES[EVALUATED[true].name] / size
            right, right_group = int(seen[true]), int(seen[_in_group(group)].sum())
            by_class[:, true] += weight * right, weight * (size - right)
            by_category[:, group] += weight * right_group, weight * (size - right_group)
        return InstanceCounts(by_class, by_category)

    def figures(self, matrix: Int[ndarray, "C C1"]) -> dict[str, float | None]:
        """The iIoU by name of class, then of category; None where nothing counts. `matrix` has the false positives."""
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


def _in_group(group: int) -> Bool[ndarray, "256"]:
    """Which class ids belong to a category."""
    table = np.zeros(256, dtype=np.bool_)
    table[: len(CATEGORY_OF)] = np.array(CATEGORY_OF) == group
    return table


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None
