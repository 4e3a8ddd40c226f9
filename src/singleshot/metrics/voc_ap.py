"""Average precision by Pascal VOC's protocol, class by class, and its mean.

`voc_matching` says which detections are right; here their order becomes a curve and the curve a figure. A class without
an object to find has no AP and stays out of the mean: 0 would punish, 1 would flatter, and neither was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from singleshot import boxes
from singleshot.metrics.average_precision import all_point_ap, eleven_point_ap, precision_recall
from singleshot.metrics.voc_matching import IGNORED, NO_OBJECT, TRUE, FlatDetections, GroundTruths, Matches, match

Metric = Literal["voc07", "voc12"]
_AVERAGES = {"voc07": eleven_point_ap, "voc12": all_point_ap}


@dataclass(frozen=True)
class ClassResult:
    """How well one class is detected.

    Args:
        ap: a fraction; 0 where nothing was detected; None where there is no object to find.
        precision: (N,) after each detection that is not ignored, best score first. Empty where `ap` is None.
        recall: (N,) likewise.
        scores: (N,) likewise, descending.
        num_ground_truths: objects to find; difficult ones are not among them.
        num_detections: all detections of the class, ignored ones too.
    """

    ap: float | None
    precision: Float[ndarray, " N"]
    recall: Float[ndarray, " N"]
    scores: Float[ndarray, " N"]
    num_ground_truths: int
    num_detections: int

    def count_above(self, threshold: float) -> int:
        """How many points of the curve score at least `threshold`; they are its first ones."""
        # Detectors score in float32, where 0.1 is not quite the 0.1 of float64: compare as `Detections.above` does.
        return int((self.scores.astype(np.float32) >= np.float32(threshold)).sum())


def voc_ap(
    detections: FlatDetections,
    ground_truths: GroundTruths,
    num_classes: int,
    *,
    metric: Metric,
    iou_threshold: float = 0.5,
) -> list[ClassResult]:
    """The result of every class, by class id.

    Args:
        detections: what was found. None at all is legal and gives AP 0.
        ground_truths: what is there.
        num_classes: C; every class id is below it.
        metric: `voc07` takes AP at eleven points of recall, `voc12` (VOC2010 and later) the area.
        iou_threshold: the least overlap that counts as found, inclusive.

    Raises ValueError for a class id outside 0…C−1.
    """
    matches = match(detections, ground_truths, num_classes, iou_threshold=iou_threshold)
    return class_results(detections, ground_truths, matches, num_classes, metric=metric)


def voc_ap_of_sizes(
    detections: FlatDetections,
    ground_truths: GroundTruths,
    num_classes: int,
    *,
    size_px: tuple[float, float],
    metric: Metric,
    iou_threshold: float = 0.5,
) -> list[ClassResult]:
    """`voc_ap` for objects of some sizes only, `size_px[0]` ≤ √area < `size_px[1]` in pixels of the picture.

    Objects of other sizes are treated as difficult. A detection of another size that meets no object is ignored: it
    would have been a false detection of another band. The devkit has no such figure; COCO's AP by area is its model.
    """
    within_truths = _within(ground_truths.boxes_xyxy, size_px)
    of_sizes = replace(ground_truths, difficult=ground_truths.difficult | ~within_truths)
    matches = match(detections, of_sizes, num_classes, iou_threshold=iou_threshold)
    foreign = (matches.ground_truths == NO_OBJECT) & ~_within(detections.boxes_xyxy, size_px)
    matches = replace(matches, verdicts=np.where(foreign, np.int8(IGNORED), matches.verdicts))
    return class_results(detections, of_sizes, matches, num_classes, metric=metric)


def mean_ap(results: Sequence[ClassResult]) -> float | None:
    """The mean AP over the classes that have an object to find; None where no class has one."""
    aps = [result.ap for result in results if result.ap is not None]
    return sum(aps) / len(aps) if aps else None


def above(result: ClassResult, threshold: float, *, metric: Metric) -> ClassResult:
    """The result of one class when the detections that score below `threshold` are dropped.

    The best score is matched first, so what is dropped below changes nothing above: the curve just ends earlier.
    `num_detections` then counts the points of the curve. A result without objects is returned as it is.
    """
    if result.ap is None:
        return result
    count = result.count_above(threshold)
    precision, recall = result.precision[:count], result.recall[:count]
    return replace(
        result,
        ap=_AVERAGES[metric](precision, recall),
        precision=precision,
        recall=recall,
        scores=result.scores[:count],
        num_detections=count,
    )


def class_results(
    detections: FlatDetections, ground_truths: GroundTruths, matches: Matches, num_classes: int, *, metric: Metric
) -> list[ClassResult]:
    """The curve and the AP of every class, by class id, from what became of each detection."""
    to_find = np.bincount(ground_truths.class_ids[~ground_truths.difficult], minlength=num_classes)
    starts = np.searchsorted(detections.class_ids[matches.ranking], np.arange(num_classes + 1))
    results = []
    for class_id in range(num_classes):
        rows = matches.ranking[starts[class_id] : starts[class_id + 1]]
        num_detections, num_ground_truths = len(rows), int(to_find[class_id])
        if num_ground_truths == 0:
            none = np.empty(0)
            results.append(ClassResult(None, none, none, none, 0, num_detections))
            continue
        rows = rows[matches.verdicts[rows] != IGNORED]
        precision, recall = precision_recall(matches.verdicts[rows] == TRUE, num_ground_truths)
        results.append(
            ClassResult(
                _AVERAGES[metric](precision, recall),
                precision,
                recall,
                detections.scores[rows],
                num_ground_truths,
                num_detections,
            )
        )
    return results


def _within(boxes_xyxy: ndarray, size_px: tuple[float, float]) -> ndarray:
    sizes = np.sqrt(boxes.area(boxes_xyxy).clip(0))
    return (sizes >= size_px[0]) & (sizes < size_px[1])
