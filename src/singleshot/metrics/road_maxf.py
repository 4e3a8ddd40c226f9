"""KITTI road's MaxF, AP and working point, from 256 thresholds over maps of probability.

A pixel counts as road where its value 0…255 is at least the threshold. Pixels are pooled over all images of a
category before anything is divided. MaxF is the best F1 over the thresholds; PRE, REC, FPR and FNR are those of the
threshold that gives it (the lowest such one); AP is the mean of the best precision at recalls 0, 0.1 … 1.
Conventions: the public Python of the KITTI road development kit (`helper.py`); Fritsch et al. 2013.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

ROAD = 1
"""The class id of road (or of the lane); 0 is not road."""
LEVELS = 256


@dataclass(frozen=True)
class RoadFigures:
    """The values of one category. Fractions in 0…1; None if it has no road pixel or no other pixel to evaluate.

    Args:
        maxf: the best F1.
        ap: mean best precision at eleven recalls.
        pre: precision at the threshold of `maxf`.
        rec: recall there.
        fpr: false positives over all pixels that are not road.
        fnr: 1 − recall.
        threshold: the value 0…255 from which a pixel counts as road there.
        images: number of images that were pooled.
    """

    maxf: float | None
    ap: float | None
    pre: float | None
    rec: float | None
    fpr: float | None
    fnr: float | None
    threshold: int | None
    images: int

    def as_json(self) -> dict[str, float | int | None]:
        """Return the values by name."""
        return dict(vars(self))


def histogram(truth: UInt8[ndarray, "H W"], values: UInt8[ndarray, "h w"]) -> Int[ndarray, "2 256"]:
    """Count one image's pixels of each value, not road (row 0) and road (row 1). Add the results up over a set.

    Args:
        truth: 1 for road, 0 for the rest, `VOID` on pixels that are not evaluated.
        values: probability of road, 0…255.

    Raises:
        ValueError: the sizes differ.
    """
    if truth.shape != values.shape:
        raise ValueError(f"truth is {truth.shape}, the map {values.shape}")
    return np.stack([np.bincount(values[truth == each], minlength=LEVELS) for each in (0, ROAD)]).astype(np.int64)


def figures(pooled: Int[ndarray, "2 256"], images: int) -> RoadFigures:
    """Compute the values of a category's pooled counts."""
    negatives, positives = (int(total) for total in pooled.sum(axis=1))
    if not positives or not negatives:
        return RoadFigures(None, None, None, None, None, None, None, images)
    # At threshold t all of value t and above are called road.
    false_positives, true_positives = (np.cumsum(row[::-1])[::-1].astype(np.float64) for row in pooled)
    called = true_positives + false_positives
    recall = true_positives / positives
    precision = np.divide(true_positives, called, out=np.zeros(LEVELS), where=called > 0)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros(LEVELS), where=total > 0)
    best = int(f1.argmax())
    points = np.arange(0, 1.1, 0.1)  # the kit's own steps of recall, floats and all: 0.30000000000000004 is one
    return RoadFigures(
        maxf=float(f1[best]),
        ap=float(np.mean([precision[recall >= point].max() for point in points])),
        pre=float(precision[best]),
        rec=float(recall[best]),
        fpr=float(false_positives[best] / negatives),
        fnr=float(1 - recall[best]),
        threshold=best,
        images=images,
    )


def as_values(probability: Float[ndarray, "H W"]) -> UInt8[ndarray, "H W"]:
    """Round probabilities 0…1 to the 8-bit map that the benchmark reads.

    >>> as_values(np.array([[0.0, 0.5, 1.0]])).tolist()
    [[0, 128, 255]]
    """
    return np.rint(probability * (LEVELS - 1)).astype(np.uint8)
