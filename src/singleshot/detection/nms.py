"""Non-maximum suppression: of boxes that say the same thing, keep the most certain.

Greedy, per class: boxes are taken in descending score, and one is dropped if it overlaps a box already kept by more
than the threshold (equal is kept, as in Caffe's `ApplyNMSFast`). Each box is compared with the kept ones only, which
is what makes a compiled loop faster than any matrix of overlaps.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from singleshot.compiled import compiled


def nms(boxes_xyxy: Float[ndarray, "N 4"], scores: Float[ndarray, " N"], iou_threshold: float) -> Int[ndarray, " K"]:
    """Indices of the boxes to keep, best score first; equal scores keep their order. None of none.

    >>> same = np.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [4.0, 4.0, 5.0, 5.0]], dtype=np.float32)
    >>> nms(same, np.array([0.5, 0.9, 0.1], dtype=np.float32), 0.45)
    array([1, 2])
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.empty(len(order), dtype=np.int64)
    count = suppress(boxes_xyxy[order], np.float32(iou_threshold), kept)
    return order[kept[:count]]


@compiled
def suppress(boxes, threshold, kept):  # noqa: ANN001, ANN201
    """Write the rows of (N, 4) `boxes`, sorted best first, that survive into `kept` (N,); returns how many."""
    count = 0
    for i in range(len(boxes)):
        area = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
        free = True
        for k in range(count):
            j = kept[k]
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if width <= 0 or height <= 0:
                continue
            common = width * height
            other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
            if common > threshold * (area + other - common):
                free = False
                break
        if free:
            kept[count] = i
            count += 1
    return count
