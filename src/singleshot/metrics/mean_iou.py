"""Mean IoU and related metrics from one confusion matrix over a whole set.

The mean of each image's own IoU, or of each batch's, is another number: it depends on how images are grouped.
So pixels of all images are counted here, and divided once at the end.

    IoU of a class = TP / (TP + FP + FN), over the pixels whose truth is not void

A class that occurs neither in truth nor in prediction has no IoU: it is None, is left out of the mean, and is named.
A class that is predicted and never occurs in truth has the IoU 0 and counts.
Sources: Berkeley's `score.py`; Cityscapes' `evalPixelLevelSemanticLabeling.py`, whose IoU is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real, UInt8
from numpy import ndarray

from singleshot.compiled import compiled
from singleshot.structures import VOID


@dataclass(frozen=True)
class IoUFigures:
    """The values of a confusion matrix. All are fractions in 0…1, None if no pixel was evaluated.

    Args:
        miou: the mean over the classes that have an IoU.
        iou: by class name; None for a class that occurs neither in truth nor in prediction.
        pixel_accuracy: right pixels over all that are not void.
        mean_accuracy: the mean over classes of right pixels over true pixels; classes without a true pixel left out.
        frequency_weighted_iou: IoU weighted by each class's share of true pixels.
        pixels: that were evaluated.
    """

    miou: float | None
    iou: Mapping[str, float | None]
    pixel_accuracy: float | None
    mean_accuracy: float | None
    frequency_weighted_iou: float | None
    pixels: int

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes that are left out of the mean."""
        return tuple(name for name, value in self.iou.items() if value is None)


def empty_matrix(num_classes: int) -> Int[ndarray, "C C1"]:
    """Return an empty matrix: rows are true classes, columns predicted ones, the last column is no class at all."""
    return np.zeros((num_classes, num_classes + 1), dtype=np.int64)


def confusion(truth: UInt8[ndarray, "H W"], predicted: UInt8[ndarray, "h w"], num_classes: int) -> Int[ndarray, "C C1"]:
    """Count one image's pixels by true class and predicted class. Add the results up over a set.

    Args:
        truth: class ids, `VOID` on pixels that are not evaluated.
        predicted: class ids; `VOID` is a prediction of no class, wrong on every pixel that is evaluated.
        num_classes: C; ids are below it.

    Returns:
        (C, C + 1) counts. All void gives zeros.

    Raises:
        ValueError: another id occurs, or the sizes differ.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth is {truth.shape}, the prediction {predicted.shape}")
    # Four tables in turn: neighbours are often alike, and a counter cannot be raised before its last raise is done.
    tables = np.zeros((4, 256, 256), dtype=np.uint32)
    _count(np.ascontiguousarray(truth).reshape(-1), np.ascontiguousarray(predicted).reshape(-1), tables)
    counts = tables.sum(axis=0, dtype=np.int64)
    inside, unknown = counts[:num_classes], counts[num_classes:VOID].any(axis=1)
    unknown_predicted = inside[:, num_classes:VOID].any(axis=0)
    if unknown.any() or unknown_predicted.any():
        ids = [*np.flatnonzero(unknown), *np.flatnonzero(unknown_predicted)]
        raise ValueError(f"class id {int(ids[0]) + num_classes} with {num_classes} classes")
    return np.concatenate([inside[:, :num_classes], inside[:, VOID:]], axis=1)


def figures(matrix: Int[ndarray, "C C1"], names: Sequence[str]) -> IoUFigures:
    """Compute the values of a set's counts, for classes of these names in the order of their ids."""
    counted = pixels_by_class(matrix)
    right, true, _ = counted
    iou = class_iou(counted)
    pixels = int(true.sum())
    known, occurring = ~np.isnan(iou), true > 0
    accuracy = np.divide(right, true, out=np.zeros(len(names)), where=occurring)
    return IoUFigures(
        miou=float(iou[known].mean()) if known.any() else None,
        iou={name: float(value) if has else None for name, value, has in zip(names, iou, known, strict=True)},
        pixel_accuracy=float(right.sum() / pixels) if pixels else None,
        mean_accuracy=float(accuracy[occurring].mean()) if pixels else None,
        frequency_weighted_iou=float((true * np.nan_to_num(iou)).sum() / pixels) if pixels else None,
        pixels=pixels,
    )


def pixels_by_class(matrix: Int[ndarray, "C C1"]) -> Int[ndarray, "3 C"]:
    """Return the right, true and predicted pixels of each class, three rows. Over a set they may be added up too."""
    return np.stack([np.diag(matrix), matrix.sum(axis=1), matrix[:, : len(matrix)].sum(axis=0)])


def class_iou(pixels: Real[ndarray, "*more 3 C"]) -> Float[ndarray, "*more C"]:
    """Return the IoU of each class, 0…1, from sums of `pixels_by_class`; NaN for a class without any such pixel."""
    right, true, predicted = np.moveaxis(pixels.astype(np.float64), -2, 0)
    union = true + predicted - right
    return np.divide(right, union, out=np.full(union.shape, np.nan), where=union > 0)


def mean_over_classes(iou: Float[ndarray, "*more C"]) -> Float[ndarray, "*more"]:
    """Return the mean over the classes that have an IoU; NaN where none has."""
    known = ~np.isnan(iou)
    count = known.sum(axis=-1)
    return np.divide(np.nansum(iou, axis=-1), count, out=np.full(count.shape, np.nan), where=count > 0)


def grouped(matrix: Int[ndarray, "C C1"], group_of: Sequence[int], groups: int) -> Int[ndarray, "G G1"]:
    """Return the matrix of coarser classes: class c belongs to group `group_of[c]`. No class stays no group.

    So Cityscapes counts categories: another class of the same category is right, no class at all is a miss.
    """
    coarse = empty_matrix(groups)
    np.add.at(coarse, (np.asarray(group_of)[:, None], np.array([*group_of, groups])[None]), matrix)
    return coarse


@compiled
def _count(truth, predicted, tables):  # noqa: ANN001, ANN202 (numba's)
    whole = len(truth) // 4 * 4
    for i in range(0, whole, 4):
        tables[0, truth[i], predicted[i]] += np.uint32(1)
        tables[1, truth[i + 1], predicted[i + 1]] += np.uint32(1)
        tables[2, truth[i + 2], predicted[i + 2]] += np.uint32(1)
        tables[3, truth[i + 3], predicted[i + 3]] += np.uint32(1)
    for i in range(whole, len(truth)):
        tables[0, truth[i], predicted[i]] += np.uint32(1)
