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

# Survivors that a box is compared with before anyone asks whether one of them was hit.
BLOCK = 64


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
    # The survivors' x1, y1, x2, y2 and areas, one row each, so that the compiler compares with several at once.
    columns = np.empty((5, len(boxes)), boxes.dtype)
    count = 0
    for i in range(len(boxes)):
        if _overlaps_any(boxes[i], columns, count, threshold):
            continue
        columns[:4, count] = boxes[i]
        columns[4, count] = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
        kept[count] = i
        count += 1
    return count


@compiled
def _overlaps_any(box, columns, count, threshold):  # noqa: ANN001, ANN202
    """Whether a box overlaps any of the first `count` of `columns` by more than the threshold."""
    x1, y1, x2, y2 = box[0], box[1], box[2], box[3]
    zero = x1 * 0
    area = (x2 - x1) * (y2 - y1)
    for start in range(0, count, BLOCK):
        # A slice of a row is known to be contiguous, a row of a slice is not.
        stop = min(start + BLOCK, count)
        left, top, right = columns[0][start:stop], columns[1][start:stop], columns[2][start:stop]
        bottom, others = columns[3][start:stop], columns[4][start:stop]
        hits = np.int32(0)
        for k in range(len(left)):
            # Conditional expressions, not min() and max(), which care about NaN and are not vectorised.
            width = (right[k] if right[k] < x2 else x2) - (left[k] if left[k] > x1 else x1)
            height = (bottom[k] if bottom[k] < y2 else y2) - (top[k] if top[k] > y1 else y1)
            common = (width if width > zero else zero) * (height if height > zero else zero)
            hits |= np.int32(common > threshold * (area + others[k] - common))
        if hits:
            return True
    return False
