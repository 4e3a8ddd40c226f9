"""Which detections are right: the rules of Pascal VOC's devkit, over a whole split in one pass.

Class by class, best score first, a detection is held against the objects of its class in its picture and takes the
one that it overlaps most, that one only:

- overlap below the threshold: a false detection;
- the object is difficult: the detection is ignored, and so is the next one there, for such an object is never used up;
- the object is still free: a true detection, and the object is taken;
- the object is taken: a false detection (a duplicate), even where a second object overlaps enough.

Overlaps are of continuous boxes. The devkit adds 1 to every width because its corners are inclusive; readers of such
formats have moved x1 and y1 by −1 already, which comes to the same number. Detections of equal score keep the order
of their pictures in the split, then their order in the picture: the result depends on nothing else.

Source: `VOCcode/VOCevaldet.m` of the VOC development kit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Int8
from numpy import ndarray

from singleshot.compiled import compiled
from singleshot.errors import DataError
from singleshot.structures import Detections, Sample

FALSE, TRUE, IGNORED = 0, 1, -1
NO_OBJECT = -1


@dataclass(frozen=True)
class GroundTruths:
    """The objects of a whole split, in one table.

    Args:
        boxes_xyxy: (G, 4) pixels, continuous.
        class_ids: (G,) 0-based.
        difficult: (G,) objects that count neither as found nor as missed.
        image_indices: (G,) the place of each object's picture in the split.
    """

    boxes_xyxy: Float[ndarray, "G 4"]
    class_ids: Int[ndarray, " G"]
    difficult: Bool[ndarray, " G"]
    image_indices: Int[ndarray, " G"]

    def __len__(self) -> int:
        return len(self.class_ids)

    @classmethod
    def from_samples(cls, samples: Sequence[Sample]) -> GroundTruths:
        """The objects of some samples; a picture's index is its place among them. Pictures may have no object."""
        return cls(
            np.concatenate([np.empty((0, 4)), *(sample.boxes_xyxy for sample in samples)]),
            np.concatenate([np.empty(0, np.int64), *(sample.class_ids for sample in samples)]),
            np.concatenate([np.empty(0, np.bool_), *(sample.difficult for sample in samples)]),
            np.repeat(np.arange(len(samples)), [len(sample.class_ids) for sample in samples]),
        )


@dataclass(frozen=True)
class FlatDetections:
    """The detections of a whole split, in one table.

    Args:
        boxes_xyxy: (D, 4) pixels, continuous.
        scores: (D,) any finite numbers; only their order counts.
        class_ids: (D,) 0-based.
        image_indices: (D,) the place of each detection's picture in the split.

    Raises DataError where a score or a box is not finite: such a row has no place in an order.
    """

    boxes_xyxy: Float[ndarray, "D 4"]
    scores: Float[ndarray, " D"]
    class_ids: Int[ndarray, " D"]
    image_indices: Int[ndarray, " D"]

    def __post_init__(self) -> None:
        bad = np.flatnonzero(~(np.isfinite(self.scores) & np.isfinite(self.boxes_xyxy).all(axis=1)))
        if len(bad):
            raise DataError(
                f"{len(bad)} detections have a score or box that is not finite, the first one in the picture at "
                f"place {int(self.image_indices[bad[0]]) + 1} of the split",
                kind="not-finite",
                remedy="Find out where the NaN comes from, most often weights that diverged",
            )

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def from_pictures(cls, pictures: Sequence[Detections]) -> FlatDetections:
        """The detections of some pictures, given in the order of the split. Pictures may have none."""
        # Boxes become float64 here, once, so that one kernel serves all; scores only have to keep their order.
        return cls(
            np.concatenate([np.empty((0, 4)), *(picture.boxes_xyxy for picture in pictures)]),
            np.concatenate([np.empty(0, np.float32), *(picture.scores for picture in pictures)]),
            np.concatenate([np.empty(0, np.int64), *(picture.class_ids for picture in pictures)]),
            np.repeat(np.arange(len(pictures)), [len(picture) for picture in pictures]),
        )


@dataclass(frozen=True)
class Matches:
    """What became of each detection.

    Args:
        verdicts: (D,) `TRUE`, `FALSE` or `IGNORED`, in the order of the detections.
        ground_truths: (D,) the object that each detection overlaps most, if enough; else `NO_OBJECT`. A `FALSE`
            detection with an object is a duplicate.
        ranking: (D,) indices of the detections by class, then score (best first), then place.
    """

    verdicts: Int8[ndarray, " D"]
    ground_truths: Int[ndarray, " D"]
    ranking: Int[ndarray, " D"]


def match(
    detections: FlatDetections, ground_truths: GroundTruths, num_classes: int, *, iou_threshold: float = 0.5
) -> Matches:
    """Hold every detection against the objects of its class in its picture, by the rules at the top of this file.

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
    """Indices by class, then descending score, then picture, then place: three stable sorts, the last key first."""
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
    """The kernel: class c's detections are ranking[starts[c]:starts[c+1]]; its objects likewise, by picture."""
    verdicts = np.full(len(boxes_xyxy), FALSE, np.int8)
    met = np.full(len(boxes_xyxy), NO_OBJECT, np.int64)
    taken = np.zeros(len(truth_boxes_xyxy), np.bool_)
    first = np.empty(num_images + 1, np.int64)
    for class_id in range(len(starts) - 1):
        # first[i] … first[i+1] are the rows of picture i's objects of this class.
        first[:] = 0
        for truth in range(truth_starts[class_id], truth_starts[class_id + 1]):
            first[truth_images[truth] + 1] += 1
        first[0] = truth_starts[class_id]
        for image in range(num_images):
            first[image + 1] += first[image]
        for place in range(starts[class_id], starts[class_id + 1]):
            row = ranking[place]
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
