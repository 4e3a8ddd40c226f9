"""Whether two models differ by more than chance: the score of each with its interval, and that of the difference.

The score is AP of detectors and IoU of segmenters. The images of a split are drawn again some hundred times
(`metrics.bootstrap`), and both models are evaluated on the same drawings, so that a hard image counts against both. A
difference is more than chance where the middle 95 % of its values are on one side of 0. Of twenty classes one will be
so by chance alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from singleshot.evaluation.voc import check_length
from singleshot.metrics.bootstrap import SAMPLES, drawings, interval, resampled_map
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.mean_iou import class_iou, mean_over_classes
from singleshot.metrics.voc_ap import Metric as VocMetric
from singleshot.metrics.voc_ap import mean_ap, voc_ap
from singleshot.structures import Dataset, Detections

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Paired:
    """One figure (AP or IoU of a class, or the mean over classes) of several models on the same images, as fractions.

    Args:
        name: of the class; None for the mean.
        truths: objects to find, without the difficult ones; of segmenters true pixels.
        values: by model; None where there is nothing to evaluate.
        intervals: by model, the middle 95 % of its values.
        differences: by model, its value less that of the first one.
        difference_intervals: by model, the middle 95 % of that difference.
        unit: what `truths` counts.
    """

    name: str | None
    truths: int
    values: tuple[float | None, ...]
    intervals: tuple[Bounds | None, ...]
    differences: tuple[float | None, ...]
    difference_intervals: tuple[Bounds | None, ...]
    unit: Literal["objects", "pixels"] = "objects"

    def differs(self, model: int) -> bool:
        """Return whether a model differs from the first one by more than chance."""
        bounds = self.difference_intervals[model]
        return bounds is not None and (bounds[0] > 0 or bounds[1] < 0)

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON, lists by model."""
        return {
            self.unit: self.truths,
            "values": list(self.values),
            "intervals": [None if each is None else list(each) for each in self.intervals],
            "differences": list(self.differences),
            "difference_intervals": [None if each is None else list(each) for each in self.difference_intervals],
            "differs": [self.differs(each) for each in range(len(self.values))],
        }


def compare_detectors(
    found: Sequence[Sequence[Detections]], dataset: Dataset, *, metric: VocMetric, samples: int = SAMPLES
) -> list[Paired]:
    """Compare detectors on a split: first the mean AP, then AP of each class of the label map.

    Args:
        found: by detector, then by image in the order of `dataset.samples`. At least one detector.
        dataset: the split with its annotations; without an image there are no intervals.
        metric: `voc07` or `voc12`.
        samples: drawings of the images.

    Raises ValueError where the numbers of detections and images differ.
    """
    for results in found:
        check_length(results, dataset)
    names, images = dataset.label_map.names, len(dataset)
    truths = GroundTruths.from_samples(dataset.samples)
    flat = [FlatDetections.from_images(results) for results in found]
    by_class = [voc_ap(each, truths, len(names), metric=metric) for each in flat]
    objects = [result.num_ground_truths for result in by_class[0]]

    def drawn(class_id: int | None) -> list[ndarray]:
        if not images:
            return [np.empty(0) for _ in flat]
        if class_id is None:
            return [resampled_map(d, truths, len(names), images=images, metric=metric, samples=samples) for d in flat]
        pairs = [only_class(each, truths, class_id) for each in flat]
        return [resampled_map(d, t, 1, images=images, metric=metric, samples=samples) for d, t in pairs]

    rows = [_paired(None, sum(objects), [mean_ap(results) for results in by_class], drawn(None))]
    for class_id, name in enumerate(names):
        values = [results[class_id].ap for results in by_class]
        rows.append(_paired(name, objects[class_id], values, drawn(class_id) if objects[class_id] else []))
    return rows


def compare_segmenters(
    pixels: Sequence[Int[ndarray, "N 3 C"]], names: Sequence[str], *, samples: int = SAMPLES
) -> list[Paired]:
    """Compare segmenters on a split: first the mean IoU, then the IoU of each class.

    Args:
        pixels: by segmenter and image, what `mean_iou.pixels_by_class` counts. At least one segmenter; without an
            image there are no figures.
        names: of the C classes, in the order of their ids.
        samples: drawings of the images.

    A class that neither truth nor prediction has in a drawing has no IoU there and is not in its mean.
    """
    images = len(pixels[0])
    ious = [class_iou(each.sum(axis=0)) for each in pixels]
    drawn = [np.empty((0, len(names))) for _ in pixels]
    if images:
        # In doubles, which hold the pixels of any split exactly and multiply much faster than whole numbers.
        weights = drawings(images, samples=samples).astype(np.float64)
        drawn = [class_iou(np.tensordot(weights, each.astype(np.float64), axes=1)) for each in pixels]
    true = pixels[0].sum(axis=0)[1]
    means = [mean_over_classes(each) for each in ious]
    rows = [_paired(None, int(true.sum()), means, [mean_over_classes(each) for each in drawn], "pixels")]
    for class_id, name in enumerate(names):
        values, drawings_of = [each[class_id] for each in ious], [each[:, class_id] for each in drawn]
        rows.append(_paired(name, int(true[class_id]), values, drawings_of, "pixels"))
    return rows


def _paired(
    name: str | None,
    truths: int,
    values: Sequence[Any],
    drawn: Sequence[ndarray],
    unit: Literal["objects", "pixels"] = "objects",
) -> Paired:
    values = [None if value is None or np.isnan(value) else float(value) for value in values]
    drawn = drawn or [np.empty(0) for _ in values]
    first = values[0]
    return Paired(
        name,
        truths,
        tuple(values),
        tuple(interval(each) for each in drawn),
        tuple(None if value is None or first is None else value - first for value in values),
        tuple(interval(each - drawn[0]) for each in drawn),
        unit,
    )


def only_class(
    detections: FlatDetections, ground_truths: GroundTruths, class_id: int
) -> tuple[FlatDetections, GroundTruths]:
    """Return the detections and objects of one class, as class 0: their mean AP is the AP of that class."""
    found, true = detections.class_ids == class_id, ground_truths.class_ids == class_id
    return (
        FlatDetections(
            detections.boxes_xyxy[found],
            detections.scores[found],
            np.zeros_like(detections.class_ids[found]),
            detections.image_indices[found],
        ),
        GroundTruths(
            ground_truths.boxes_xyxy[true],
            np.zeros_like(ground_truths.class_ids[true]),
            ground_truths.difficult[true],
            ground_truths.image_indices[true],
        ),
    )
