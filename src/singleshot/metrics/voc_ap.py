"""Average precision by Pascal VOC's protocol, class by class, and its mean.

First detections are matched to objects, by the rules of the devkit, over a whole split in one pass. Class by class,
best score first, a detection is compared with the objects of its class in its image and matched with the one that it
overlaps most, that one only:

- overlap below the threshold: a false detection;
- the object is difficult: the detection is ignored, and so is the next one there, for such an object is never used up;
- the object is still free: a true detection, and the object is taken;
- the object is taken: a false detection (a duplicate), even if a second object overlaps enough.

Overlaps are of continuous boxes. The devkit adds 1 to every width because its corners are inclusive; readers of such
formats have moved x1 and y1 by −1 already, which gives the same number.

Then the order of true and false detections becomes a precision-recall curve, and the curve an AP. A class without an
object to find has no AP and is not in the mean: 0 would be too low, 1 too high, and neither was measured.

Source: `VOCcode/VOCevaldet.m` of the VOC development kit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Int8
from numpy import ndarray

from singleshot import boxes
from singleshot.compiled import compiled
from singleshot.metrics.average_precision import all_point_ap, eleven_point_ap, precision_recall
from singleshot.metrics.detections import FlatDetections, GroundTruths

Metric = Literal["voc07", "voc12"]
FALSE, TRUE, IGNORED = 0, 1, -1
NO_OBJECT = -1
_AVERAGES = {"voc07": eleven_point_ap, "voc12": all_point_ap}


@dataclass(frozen=True)
class ClassResult:
    """AP and precision-recall curve of one class.

    Args:
        ap: a fraction; 0 if nothing was detected; None if there is no object to find.
        precision: (N,) after each detection that is not ignored, best score first. Empty if `ap` is None.
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
        """Count the points of the curve that score at least `threshold`; they are its first ones."""
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
    """Compute the result of every class, by class id.

    Args:
        detections: of the split. None at all is legal and gives AP 0.
        ground_truths: of the split.
        num_classes: C; every class id is below it.
        metric: `voc07` takes AP at eleven points of recall, `voc12` (VOC2010 and later) the area.
        iou_threshold: least IoU of a match, inclusive.

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
    """Compute `voc_ap` for objects of some sizes only, `size_px[0]` ≤ √area < `size_px[1]` in pixels of the image.

    Objects of other sizes are treated as difficult. A detection of another size that meets no object is ignored: it
    would be a false detection of another size. The devkit has no such figure; COCO's AP by area is its model.
    """
    within_truths = _within(ground_truths.boxes_xyxy, size_px)
    of_sizes = replace(ground_truths, difficult=ground_truths.difficult | ~within_truths)
    matches = match(detections, of_sizes, num_classes, iou_threshold=iou_threshold)
    other_sizes = (matches.ground_truths == NO_OBJECT) & ~_within(detections.boxes_xyxy, size_px)
    matches = replace(matches, verdicts=np.where(other_sizes, np.int8(IGNORED), matches.verdicts))
    return class_results(detections, of_sizes, matches, num_classes, metric=metric)


def mean_ap(results: Sequence[ClassResult]) -> float | None:
    """Return the mean AP over the classes that have an object to find; None if no class has one."""
    aps = [result.ap for result in results if result.ap is not None]
    return sum(aps) / len(aps) if aps else None


def above(result: ClassResult, threshold: float, *, metric: Metric) -> ClassResult:
    """Return the result of one class without the detections that score below `threshold`.

    The best score is matched first, so dropping lower scores changes nothing above: the curve only ends earlier.
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
    """Compute the curve and the AP of every class, by class id, from the matches."""
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


@dataclass(frozen=True)
class Matches:
    """The result of matching detections to objects.

    Args:
        verdicts: (D,) `TRUE`, `FALSE` or `IGNORED`, in the order of the detections.
        ground_truths: (D,) the object that each detection overlaps most, if enough; else `NO_OBJECT`. A `FALSE`
            detection with an object is a duplicate.
        ranking: (D,) indices of the detections by class, then score (best first), then index.
    """

    verdicts: Int8[ndarray, " D"]
    ground_truths: Int[ndarray, " D"]
    ranking: Int[ndarray, " D"]


def match(
    detections: FlatDetections, ground_truths: GroundTruths, num_classes: int, *, iou_threshold: float = 0.5
) -> Matches:
    """Match every detection to the objects of its class in its image, by the rules at the top of this file.

    Raises ValueError for a class id outside 0…C−1.
    """
    for class_ids in (detections.class_ids, ground_truths.class_ids):
        if len(class_ids) and not 0 <= class_ids.min() <= class_ids.max() < num_classes:
            raise ValueError(f"class ids {class_ids.min()}…{class_ids.max()} do not fit {num_classes} classes")
    classes = np.arange(num_classes + 1)
    ranking = _ranking(detections, num_classes)
    truth_order = np.lexsort((ground_truths.image_indices, ground_truths.class_ids))
    num_images = 1 + max(detections.image_indices.max(initial=-1), ground_truths.image_indices.max(initial=-1))
    verdicts, rows = _match(
        detections.boxes_xyxy.astype(np.float64, copy=False),
        detections.image_indices.astype(np.int64, copy=False),
        ranking,
        np.searchsorted(detections.class_ids[ranking], classes),
        ground_truths.boxes_xyxy[truth_order].astype(np.float64, copy=False),
        ground_truths.image_indices[truth_order].astype(np.int64, copy=False),
        ground_truths.difficult[truth_order],
        np.searchsorted(ground_truths.class_ids[truth_order], classes),
        int(num_images),
        float(iou_threshold),
    )
    met = rows != NO_OBJECT
    rows[met] = truth_order[rows[met]]
    return Matches(verdicts, rows, ranking)


def _ranking(detections: FlatDetections, num_classes: int) -> ndarray:
    """Rank by class, then descending score, then image, then index: three stable sorts, the last key first."""
    order = np.arange(len(detections))
    if np.any(np.diff(detections.image_indices) < 0):
        order = np.argsort(detections.image_indices, kind="stable")
    order = order[np.argsort(-detections.scores[order], kind="stable")]
    # NumPy sorts small integers by counting, which is twenty times faster.
    return order[np.argsort(detections.class_ids[order].astype(np.min_scalar_type(num_classes)), kind="stable")]


@compiled
def _match(
    boxes_xyxy: ndarray,
    images: ndarray,
    ranking: ndarray,
    starts: ndarray,
    truth_boxes_xyxy: ndarray,
    truth_images: ndarray,
    truth_difficult: ndarray,
    truth_starts: ndarray,
    num_images: int,
    iou_threshold: float,
) -> tuple[ndarray, ndarray]:
    """Match class by class: the detections of class c are ranking[starts[c]:starts[c+1]]; objects likewise."""
    verdicts = np.full(len(boxes_xyxy), FALSE, np.int8)
    met = np.full(len(boxes_xyxy), NO_OBJECT, np.int64)
    taken = np.zeros(len(truth_boxes_xyxy), np.bool_)
    first = np.empty(num_images + 1, np.int64)
    for class_id in range(len(starts) - 1):
        # first[i] … first[i+1] are the rows of image i's objects of this class.
        first[:] = 0
        for truth in range(truth_starts[class_id], truth_starts[class_id + 1]):
            first[truth_images[truth] + 1] += 1
        first[0] = truth_starts[class_id]
        for image in range(num_images):
            first[image + 1] += first[image]
        for rank in range(starts[class_id], starts[class_id + 1]):
            row = ranking[rank]
            image = images[row]
            x1, y1, x2, y2 = boxes_xyxy[row]
            best, best_iou = NO_OBJECT, -1.0
            for truth in range(first[image], first[image + 1]):
                tx1, ty1, tx2, ty2 = truth_boxes_xyxy[truth]
                width, height = min(x2, tx2) - max(x1, tx1), min(y2, ty2) - max(y1, ty1)
                if width <= 0 or height <= 0:
                    continue
                common = width * height
                iou = common / ((x2 - x1) * (y2 - y1) + (tx2 - tx1) * (ty2 - ty1) - common)
                if iou > best_iou:
                    best, best_iou = truth, iou
            if best == NO_OBJECT or best_iou < iou_threshold:
                continue
            met[row] = best
            if truth_difficult[best]:
                verdicts[row] = IGNORED
            elif not taken[best]:
                verdicts[row] = TRUE
                taken[best] = True
    return verdicts, met
