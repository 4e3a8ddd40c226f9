"""Error analysis: each detection gets one kind of error, and each object one outcome.

AP tells how much is wrong, not what to do about it. Missed objects call for more or larger training images, wrong
classes for cleaner labels, poor boxes for better anchors, duplicates for a stricter NMS, and background that is taken
for an object for images without one. The kinds are decided at one score threshold, as users see them:

- right: by VOC's rules the first to overlap an object of its class by at least 0.5;
- duplicate: it overlaps so much an object of its class that was found already;
- wrong class: no such object of its class, but one of another class;
- poor box: an object of its class, overlapped by at least 0.1 and less than 0.5;
- background: anything else;
- ignored: on a difficult object, which VOC counts neither way.

An object is found; or else detected with a wrong class or a poor box; or else missed. Both lists are disjoint, so that
the counts of either add up. The names follow Hoiem et al. 2012 and TIDE (Bolya et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int8
from numpy import ndarray

from singleshot.compiled import compiled
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.voc_ap import IGNORED, NO_OBJECT, TRUE, match

KINDS = ("right", "duplicate", "wrong class", "poor box", "background", "ignored")
RIGHT, DUPLICATE, WRONG_CLASS, POOR_BOX, BACKGROUND, PASSED_OVER = range(len(KINDS))
FATES = ("found", "seen with a wrong class", "seen with a poor box", "missed", "difficult")
FOUND, MISNAMED, MISPLACED, MISSED, UNCOUNTED = range(len(FATES))
LEAST_IOU = 0.1


@dataclass(frozen=True)
class Errors:
    """The kind of every detection above a threshold, and the outcome of every object.

    Args:
        kinds: (D,) indices into `KINDS`, by detection.
        objects: (D,) the object of each detection; `NO_OBJECT` for background.
        ious: (D,) its overlap with that object, 0…1; 0 without one.
        fates: (G,) indices into `FATES`, by object.
        confusion: (C + 1, C + 1) counts: rows are true classes, columns detected ones. The last column is of objects
            that no detection names, the last row of detections that are on no object of their own: a row adds up to
            the objects of its class, a column to the detections of its class, ignored ones left out.
    """

    kinds: Int8[ndarray, " D"]
    objects: Int[ndarray, " D"]
    ious: Float[ndarray, " D"]
    fates: Int8[ndarray, " G"]
    confusion: Int[ndarray, "C1 C1"]

    def count(self) -> dict[str, int]:
        """Count the detections by kind."""
        return dict(zip(KINDS, np.bincount(self.kinds, minlength=len(KINDS)).tolist(), strict=True))

    def count_objects(self) -> dict[str, int]:
        """Count the objects by outcome."""
        return dict(zip(FATES, np.bincount(self.fates, minlength=len(FATES)).tolist(), strict=True))


def error_kinds(
    detections: FlatDetections, ground_truths: GroundTruths, num_classes: int, *, iou_threshold: float = 0.5
) -> Errors:
    """Sort detections, already filtered by score, and objects.

    Args:
        detections: above the threshold. None at all is legal: then all objects are missed.
        ground_truths: of the split. None at all is legal: then every detection is background.
        num_classes: C; every class id is below it.
        iou_threshold: least IoU of a match.

    Raises ValueError for a class id outside 0…C−1.
    """
    matches = match(detections, ground_truths, num_classes, iou_threshold=iou_threshold)
    order = np.argsort(ground_truths.image_indices, kind="stable")
    images = 1 + max(detections.image_indices.max(initial=-1), ground_truths.image_indices.max(initial=-1))
    own, own_iou, other, other_iou = _nearest(
        detections.boxes_xyxy.astype(np.float64, copy=False),
        detections.class_ids.astype(np.int64, copy=False),
        detections.image_indices.astype(np.int64, copy=False),
        ground_truths.boxes_xyxy[order].astype(np.float64, copy=False),
        ground_truths.class_ids[order].astype(np.int64, copy=False),
        np.searchsorted(ground_truths.image_indices[order], np.arange(images + 1)),
    )
    own, other = (np.where(rows == NO_OBJECT, NO_OBJECT, np.append(order, 0)[rows]) for rows in (own, other))
    on_own = matches.ground_truths != NO_OBJECT
    kinds = np.select(
        [
            matches.verdicts == TRUE,
            matches.verdicts == IGNORED,
            on_own,
            other_iou >= iou_threshold,
            own_iou >= LEAST_IOU,
        ],
        [RIGHT, PASSED_OVER, DUPLICATE, WRONG_CLASS, POOR_BOX],
        BACKGROUND,
    ).astype(np.int8)
    objects = np.select([on_own, kinds == WRONG_CLASS, kinds == POOR_BOX], [matches.ground_truths, other, own], -1)
    ious = np.select([kinds == WRONG_CLASS, kinds == BACKGROUND], [other_iou, np.zeros_like(own_iou)], own_iou)
    fates = _fates(kinds, objects, ground_truths)
    matrix = _confusion(detections, ground_truths, kinds, objects, fates, matches.ranking, num_classes)
    return Errors(kinds, objects, ious, fates, matrix)


def _fates(kinds: ndarray, objects: ndarray, ground_truths: GroundTruths) -> ndarray:
    fates = np.full(len(ground_truths), MISSED, np.int8)
    for kind, fate in (
        (POOR_BOX, MISPLACED),
        (WRONG_CLASS, MISNAMED),
        (RIGHT, FOUND),
    ):  # the best one is written last
        fates[objects[kinds == kind]] = fate
    fates[ground_truths.difficult] = UNCOUNTED
    return fates


def _confusion(
    detections: FlatDetections,
    ground_truths: GroundTruths,
    kinds: ndarray,
    objects: ndarray,
    fates: ndarray,
    ranking: ndarray,
    num_classes: int,
) -> ndarray:
    """The matrix of `Errors`. An object with detections of other classes only counts for the best of them."""
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    named = np.full(len(ground_truths), num_classes)
    misnamed = ranking[kinds[ranking] == WRONG_CLASS]
    misnamed = misnamed[fates[objects[misnamed]] == MISNAMED]
    misnamed = misnamed[np.argsort(-detections.scores[misnamed], kind="stable")][::-1]
    naming = np.full(len(ground_truths), NO_OBJECT)
    naming[objects[misnamed]] = misnamed  # written worst first, so that the best remains
    taken = naming[naming != NO_OBJECT]
    named[naming != NO_OBJECT] = detections.class_ids[taken]
    named[fates == FOUND] = ground_truths.class_ids[fates == FOUND]
    counted = fates != UNCOUNTED
    np.add.at(matrix, (ground_truths.class_ids[counted], named[counted]), 1)
    stray = ~np.isin(kinds, (RIGHT, PASSED_OVER))
    stray[taken] = False
    matrix[num_classes, :num_classes] = np.bincount(detections.class_ids[stray], minlength=num_classes)
    return matrix


@compiled
def _nearest(
    boxes_xyxy: ndarray,
    class_ids: ndarray,
    images: ndarray,
    truth_boxes_xyxy: ndarray,
    truth_class_ids: ndarray,
    starts: ndarray,
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Find, for each detection, the object of its class and the one of another class that it overlaps most.

    Objects of image i are the rows starts[i]:starts[i+1]. Rows are −1 and overlaps 0 where there is none.
    """
    count = len(boxes_xyxy)
    rows = np.full((2, count), -1, np.int64)
    ious = np.zeros((2, count))
    for row in range(count):
        x1, y1, x2, y2 = boxes_xyxy[row]
        for truth in range(starts[images[row]], starts[images[row] + 1]):
            tx1, ty1, tx2, ty2 = truth_boxes_xyxy[truth]
            width, height = min(x2, tx2) - max(x1, tx1), min(y2, ty2) - max(y1, ty1)
            if width <= 0 or height <= 0:
                continue
            common = width * height
            iou = common / ((x2 - x1) * (y2 - y1) + (tx2 - tx1) * (ty2 - ty1) - common)
            side = 0 if truth_class_ids[truth] == class_ids[row] else 1
            if iou > ious[side, row]:
                rows[side, row], ious[side, row] = truth, iou
    return rows[0], ious[0], rows[1], ious[1]
