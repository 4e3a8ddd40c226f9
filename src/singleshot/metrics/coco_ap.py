"""Average precision and recall by COCO's protocol: the twelve figures, and the AP of every class.

The counting is hotcoco's, which gives pycocotools' numbers (our tests compare them) in a fraction of its time.
What neither reports is checked here first: a class that does not exist, a score that is not a number, inverted boxes,
detections beyond the hundredth, and values for which there is nothing to measure.

A crowd region counts neither as found nor as missed, and matches any number of detections. Objects have an `area` of
their own, because COCO sorts them into small, medium and large by the area of their outline where there is one.

Source: Lin et al. 2014, and `cocoeval.py` of the COCO API, whose ties are settled as ours: by the order of the split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from singleshot import boxes
from singleshot.errors import DataError
from singleshot.metrics.detections import FlatDetections

MAX_DETECTIONS = 100
"""Number of detections of one class in one image that are evaluated, best score first."""


@dataclass(frozen=True)
class CocoTruths:
    """The objects and crowd regions of a split.

    Args:
        boxes_xyxy: (G, 4) pixels, continuous.
        class_ids: (G,) 0-based.
        image_indices: (G,) index of each object's image in the split.
        is_crowd: (G,) regions of several objects that were not annotated one by one; None: no object is a crowd.
        areas: (G,) square pixels of the outlines, as annotated; None: the areas of the boxes.
    """

    boxes_xyxy: Float[ndarray, "G 4"]
    class_ids: Int[ndarray, " G"]
    image_indices: Int[ndarray, " G"]
    is_crowd: Bool[ndarray, " G"] | None = None
    areas: Float[ndarray, " G"] | None = None

    def __len__(self) -> int:
        return len(self.class_ids)


@dataclass(frozen=True)
class CocoFigures:
    """COCO's twelve values, fractions of 1; None if the split has no object of that kind.

    Args:
        ap: mean over classes and over the overlaps 0.50, 0.55 … 0.95. `ap50` and `ap75` are at one overlap.
        ap_small: of objects below 32² pixels; `ap_medium` from there on below 96²; `ap_large` of the rest.
        ar1: mean recall with one detection of a class in an image; `ar10` and `ar100` with that many.
        ar_small: `ar100` of objects of that size, and so on.
        class_ap: `ap` of every class, by class id. A class without objects has None and is in no mean.
        ground_truths: objects to find; crowd regions are not among them.
        detections: all of them.
        cut: number of them that were not evaluated, being beyond the 100 best of their class in their image.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    class_ap: tuple[float | None, ...]
    ground_truths: int
    detections: int
    cut: int


def coco_ap(detections: FlatDetections, ground_truths: CocoTruths, num_classes: int) -> CocoFigures:
    """Compute COCO's values for a split.

    Args:
        detections: of the split. None at all is legal and gives 0 if there is something to find.
        ground_truths: of the split.
        num_classes: C; every class id is below it.

    Raises DataError for a class id outside 0…C−1 and for an inverted box; `FlatDetections` has refused numbers
    that are not finite.
    """
    # Imported here: training and VOC's AP must run without hotcoco.
    from hotcoco import COCO, COCOeval

    for kind, class_ids, boxes_xyxy in (
        ("detections", detections.class_ids, detections.boxes_xyxy),
        ("annotations", ground_truths.class_ids, ground_truths.boxes_xyxy),
    ):
        _check(kind, class_ids, boxes_xyxy, num_classes)
    num_images = 1 + max(detections.image_indices.max(initial=-1), ground_truths.image_indices.max(initial=-1))
    truths = COCO(
        {
            "images": [{"id": index} for index in range(num_images)],
            "categories": [{"id": index, "name": str(index)} for index in range(num_classes)],
            "annotations": _annotations(ground_truths),
        }
    )
    columns = (
        detections.image_indices,
        _xywh(detections.boxes_xyxy),
        detections.scores,
        detections.class_ids,
    )
    found = truths.load_res(np.column_stack([np.asarray(column, dtype=np.float64) for column in columns]))
    run = COCOeval(truths, found, "bbox")
    run.evaluate()
    run.accumulate()
    # Axes: 10 overlaps, 101 steps of recall (precision only), classes, sizes (all, small, medium, large), 1/10/100
    # detections. The library's own summary would print; −1 stands for nothing to measure.
    tables = run.eval
    if tables is None:
        raise RuntimeError("hotcoco gave no tables")
    # Detections beyond the best of a class in an image.
    groups = np.bincount(detections.image_indices.astype(np.int64) * num_classes + detections.class_ids)
    precision, recall = np.asarray(tables["precision"]), np.asarray(tables["recall"])
    crowds = 0 if ground_truths.is_crowd is None else int(ground_truths.is_crowd.sum())
    return CocoFigures(
        ap=_mean(precision[:, :, :, 0, 2]),
        ap50=_mean(precision[0, :, :, 0, 2]),
        ap75=_mean(precision[5, :, :, 0, 2]),
        ap_small=_mean(precision[:, :, :, 1, 2]),
        ap_medium=_mean(precision[:, :, :, 2, 2]),
        ap_large=_mean(precision[:, :, :, 3, 2]),
        ar1=_mean(recall[:, :, 0, 0]),
        ar10=_mean(recall[:, :, 0, 1]),
        ar100=_mean(recall[:, :, 0, 2]),
        ar_small=_mean(recall[:, :, 1, 2]),
        ar_medium=_mean(recall[:, :, 2, 2]),
        ar_large=_mean(recall[:, :, 3, 2]),
        class_ap=tuple(_mean(precision[:, :, class_id, 0, 2]) for class_id in range(num_classes)),
        ground_truths=len(ground_truths) - crowds,
        detections=len(detections),
        cut=int((groups - MAX_DETECTIONS).clip(0).sum()),
    )


def _annotations(ground_truths: CocoTruths) -> list[dict[str, object]]:
    """Return COCO's records. Ids start at 1: the API takes a match with id 0 for no match."""
    boxes_xyxy = ground_truths.boxes_xyxy.astype(np.float64, copy=False)
    areas = boxes.area(boxes_xyxy) if ground_truths.areas is None else ground_truths.areas
    is_crowd = np.zeros(len(areas), np.bool_) if ground_truths.is_crowd is None else ground_truths.is_crowd
    rows = zip(
        _xywh(boxes_xyxy).tolist(),
        ground_truths.class_ids.tolist(),
        ground_truths.image_indices.tolist(),
        is_crowd.astype(np.int64).tolist(),
        areas.astype(np.float64).tolist(),
        strict=True,
    )
    return [
        {"id": number, "bbox": box, "category_id": class_id, "image_id": image, "iscrowd": crowd, "area": area}
        for number, (box, class_id, image, crowd, area) in enumerate(rows, start=1)
    ]


def _xywh(boxes_xyxy: ndarray) -> ndarray:
    """Convert boxes to COCO's form: corner, width and height."""
    wide = boxes_xyxy.astype(np.float64, copy=False)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1)


def _check(kind: str, class_ids: ndarray, boxes_xyxy: ndarray, num_classes: int) -> None:
    """Refuse what the protocol does not allow and its programs silently leave out."""
    unknown = np.flatnonzero((class_ids < 0) | (class_ids >= num_classes))
    if len(unknown):
        raise DataError(
            f"{len(unknown)} {kind} have a class id outside 0…{num_classes - 1}, the first one is "
            f"{int(class_ids[unknown[0]])}",
            kind="unknown-class",
            remedy="Evaluate with the classes that the detections were made with",
        )
    inverted = np.flatnonzero((boxes_xyxy[:, 2:] < boxes_xyxy[:, :2]).any(axis=1))
    if len(inverted):
        raise DataError(
            f"{len(inverted)} {kind} have a box of negative width or height, the first one is row "
            f"{int(inverted[0]) + 1}",
            kind="inverted-box",
            remedy="Write corners as left, top, right, bottom",
        )


def _mean(table: ndarray) -> float | None:
    """Return the mean over what could be measured; None if nothing could."""
    measured = table[table > -1]
    return float(measured.mean()) if len(measured) else None
