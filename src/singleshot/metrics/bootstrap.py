"""How much a mean AP depends on the images that happen to be in the split: a bootstrap over images.

A split is a sample of what a detector will be used on. It is drawn again, some hundred times, as many images with
replacement as it has, and AP is computed of each drawing; the middle 95 % of these values are the interval. Matching is
not repeated: the verdict on a detection depends on its own image only. An image that is drawn w times counts w times,
which gives exactly what w copies of it in the split would.

Two detectors are compared on the same drawings (equal seeds): the difference of their values has an interval of its
own, which is narrower than the two intervals suggest, because hard images are hard for both.

Source: Efron and Tibshirani 1993, chapter 13 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from singleshot.compiled import compiled
from singleshot.metrics.average_precision import RECALL_STEPS
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.voc_ap import IGNORED, TRUE, Metric, match

SAMPLES = 400
LEVEL = 0.95


def resampled_map(
    detections: FlatDetections,
    ground_truths: GroundTruths,
    num_classes: int,
    *,
    images: int,
    metric: Metric,
    iou_thresholds: Sequence[float] = (0.5,),
    samples: int = SAMPLES,
    seed: int = 0,
) -> Float[ndarray, " S"]:
    """Return the mean AP of each drawing, a fraction; NaN where a drawing has no object to find.

    Args:
        detections: of the split. None at all is legal.
        ground_truths: of the split.
        num_classes: C; every class id is below it.
        images: of the split, at least 1. The same number and seed give the same drawings.
        metric: `voc07` or `voc12`.
        iou_thresholds: AP is averaged over these least IoUs of a match.
        samples: how many drawings.
        seed: settles the drawings.
    """
    weights = drawings(images, samples=samples, seed=seed)
    to_find = ~ground_truths.difficult
    order = np.argsort(ground_truths.class_ids[to_find], kind="stable")
    truth_images = ground_truths.image_indices[to_find][order].astype(np.int64)
    truth_starts = np.searchsorted(ground_truths.class_ids[to_find][order], np.arange(num_classes + 1))
    total = np.zeros(samples)
    for threshold in iou_thresholds:
        matches = match(detections, ground_truths, num_classes, iou_threshold=threshold)
        rows = matches.ranking[matches.verdicts[matches.ranking] != IGNORED]
        total += _mean_aps(
            matches.verdicts[rows] == TRUE,
            detections.image_indices[rows].astype(np.int64),
            np.searchsorted(detections.class_ids[rows], np.arange(num_classes + 1)),
            truth_images,
            truth_starts,
            weights,
            RECALL_STEPS if metric == "voc07" else np.empty(0),
        )
    return total / len(iou_thresholds)


def drawings(images: int, *, samples: int = SAMPLES, seed: int = 0) -> Int[ndarray, "S N"]:
    """Return how often each of N images, at least 1, is in each drawing of N images with replacement."""
    rng = np.random.default_rng(seed)
    rows = [np.bincount(rng.integers(images, size=images), minlength=images) for _ in range(samples)]
    return np.stack(rows).astype(np.int64)


def interval(values: Float[ndarray, " S"], level: float = LEVEL) -> tuple[float, float] | None:
    """Return the middle `level` of the values that could be measured; None if none could.

    >>> interval(np.arange(101.0), 0.5)
    (25.0, 75.0)
    """
    measured = values[np.isfinite(values)]
    if not len(measured):
        return None
    low, high = np.quantile(measured, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@compiled
def _mean_aps(hits, images, starts, truth_images, truth_starts, weights, steps):  # noqa: ANN001, ANN202
    """Return the mean AP of each row of weights; detections of class c are rows starts[c] … starts[c+1], best first.

    The precision that never rises is attained at true detections, so only these are kept of each curve. Without steps
    of recall the AP is the area.
    """
    samples, classes = len(weights), len(starts) - 1
    means = np.full(samples, np.nan)
    precision, recall = np.empty(len(hits) + 1), np.empty(len(hits) + 1)
    for sample in range(samples):
        weight, total, measured = weights[sample], 0.0, 0
        for class_id in range(classes):
            to_find = 0
            for row in range(truth_starts[class_id], truth_starts[class_id + 1]):
                to_find += weight[truth_images[row]]
            if to_find == 0:
                continue
            found, wrong, points = 0, 0, 0
            for row in range(starts[class_id], starts[class_id + 1]):
                copies = weight[images[row]]
                if hits[row] and copies:
                    found += copies
                    precision[points], recall[points] = found / (found + wrong), found / to_find
                    points += 1
                elif copies:
                    wrong += copies
            for point in range(points - 2, -1, -1):
                precision[point] = max(precision[point], precision[point + 1])
            ap, before, point = 0.0, 0.0, 0
            if len(steps):
                for step in steps:
                    while point < points and recall[point] < step:
                        point += 1
                    ap += precision[point] / len(steps) if point < points else 0.0
            else:
                for point in range(points):
                    ap += (recall[point] - before) * precision[point]
                    before = recall[point]
            total += ap
            measured += 1
        if measured:
            means[sample] = total / measured
    return means
