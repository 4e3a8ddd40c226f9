"""VOC's average precision the way lufficc/SSD and ChainerCV do it, in plain NumPy: image by image, class by class.

Their code does not import beside a current NumPy (chainercv needs chainer), so this is a straightforward version of
the same published algorithm, written anew: a loop over images, in it one over the classes present, one matrix of
overlaps each, and a loop over the detections; at the end one sort a class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Picture(NamedTuple):
    """One image's objects or detections: the lists that those programs take. `extra` is score or difficult."""

    boxes_xyxy: np.ndarray
    class_ids: np.ndarray
    extra: np.ndarray


def pictures(
    boxes_xyxy: np.ndarray, class_ids: np.ndarray, extra: np.ndarray, images: np.ndarray, count: int
) -> list[Picture]:
    """The table as a list of images. Rows must be in the order of their images."""
    cuts = np.searchsorted(images, np.arange(1, count))
    columns = (np.split(each, cuts) for each in (boxes_xyxy, class_ids, extra))
    return [Picture(*each) for each in zip(*columns, strict=True)]


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of every box with every other."""
    low = np.maximum(first[:, None, :2], second[:, :2])
    high = np.minimum(first[:, None, 2:], second[:, 2:])
    common = np.prod(high - low, axis=2) * (low < high).all(axis=2)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (first, second)]
    return common / (areas[0][:, None] + areas[1] - common)


def voc07_ap(
    found: Sequence[Picture], there: Sequence[Picture], classes: int, iou_threshold: float = 0.5
) -> list[float]:
    """AP of each class at eleven points of recall; NaN for a class without objects."""
    to_find: dict[int, int] = defaultdict(int)
    scores: dict[int, list[float]] = defaultdict(list)
    verdicts: dict[int, list[int]] = defaultdict(list)
    for detections, objects in zip(found, there, strict=True):
        for class_id in np.unique(np.concatenate([detections.class_ids, objects.class_ids])):
            mine, theirs = detections.class_ids == class_id, objects.class_ids == class_id
            order = np.argsort(-detections.extra[mine], kind="stable")
            boxes, some = detections.boxes_xyxy[mine][order], detections.extra[mine][order]
            truths, difficult = objects.boxes_xyxy[theirs], objects.extra[theirs]
            to_find[class_id] += int((~difficult).sum())
            scores[class_id].extend(some)
            if not len(boxes):
                continue
            if not len(truths):
                verdicts[class_id].extend([0] * len(boxes))
                continue
            iou = overlaps(boxes, truths)
            best = iou.argmax(axis=1)
            best[iou.max(axis=1) < iou_threshold] = -1
            taken = np.zeros(len(truths), bool)
            for place in best:
                if place < 0:
                    verdicts[class_id].append(0)
                elif difficult[place]:
                    verdicts[class_id].append(-1)
                else:
                    verdicts[class_id].append(int(not taken[place]))
                    taken[place] = True
    results = []
    for class_id in range(classes):
        if not to_find[class_id]:
            results.append(float("nan"))
            continue
        marks = np.array(verdicts[class_id])[np.argsort(-np.array(scores[class_id]), kind="stable")]
        hits, misses = np.cumsum(marks == 1), np.cumsum(marks == 0)
        with np.errstate(invalid="ignore"):
            precision, recall = np.nan_to_num(hits / (hits + misses)), hits / to_find[class_id]
        steps = [precision[recall >= step].max(initial=0.0) for step in np.arange(11) * 0.1]
        results.append(float(np.mean(steps)))
    return results
