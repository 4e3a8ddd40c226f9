"""Detections on a CPU: the rules of `postprocess` in one compiled pass over a batch.

Most anchors are dismissed by comparing logits: p_k > t needs l_k > l_background + log t, because the softmax's
denominator is at least e^l_background. Neither a softmax nor a box is worked out for them. What is left is sorted by
class as it is found, and of each class only the best are put in order, decoded and suppressed.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from singleshot.compiled import compiled
from singleshot.detection.coding import CENTRE_VARIANCE, MAX_GROWTH, SIZE_VARIANCE
from singleshot.detection.exponential import LOWEST, exponentiate
from singleshot.detection.greatest import ranked
from singleshot.detection.nms import suppress
from singleshot.detection.raw import RawDetections

# Anchors whose softmax is worked out together, in the first cache.
BLOCK = 32


def detect_compiled(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    edges: Float[ndarray, "B 2"],
    score_threshold: float,
    nms_iou: float,
    candidates_per_class: int,
    max_detections: int,
    clip_before_nms: bool,
) -> tuple[Float[ndarray, "B K 6"], Int[ndarray, " B"]]:
    """What is kept of each picture: rows of x1 y1 x2 y2 (fractions of the input), score, class; and how many there are.

    Args:
        raw: the answer for B pictures, on the CPU.
        anchors_cxcywh: (A, 4) fractions of the input.
        edges: (B, 2) float32, the right and the bottom edge of each picture as fractions of the input, to clip at.
        score_threshold: a class score must be above it.
        nms_iou: the overlap up to which two boxes of one class are both kept.
        candidates_per_class: how many of a class enter suppression.
        max_detections: K, how many are kept of all classes.
        clip_before_nms: cut boxes off at 0 and at `edges` first.
    """
    return _detect(
        np.ascontiguousarray(raw.class_logits.detach().float().numpy()),
        np.ascontiguousarray(raw.box_offsets.detach().float().numpy()),
        np.ascontiguousarray(anchors_cxcywh.float().numpy()),
        np.float32(score_threshold),
        np.float32(math.log(score_threshold) if score_threshold > 0 else -np.inf),
        np.float32(nms_iou),
        candidates_per_class,
        max_detections,
        clip_before_nms,
        edges,
    )


@compiled
def _detect(logits, offsets, anchors, threshold, log_threshold, nms_iou, per_class, keep, clip, edges):  # noqa: ANN001, ANN202
    """(B, keep, 6) rows of x1 y1 x2 y2 score class, best first, and how many of them each picture has."""
    batch, _, width = logits.shape
    found = np.zeros((batch, keep, 6), np.float32)
    counts = np.zeros(batch, np.int64)
    for b in range(batch):
        anchor_of, scores, starts = _candidates(logits[b], threshold, log_threshold)
        rows = np.empty((min(per_class, len(anchor_of)) * (width - 1), 6), np.float32)
        filled = 0
        for c in range(width - 1):
            if starts[c] == starts[c + 1]:
                continue
            best = starts[c] + ranked(scores[starts[c] : starts[c + 1]], per_class)
            boxes = np.empty((len(best), 4), np.float32)
            for i in range(len(best)):
                a = anchor_of[best[i]]
                _decode(offsets[b, a], anchors[a], clip, edges[b], boxes[i])
            kept = np.empty(len(best), np.int64)
            survivors = suppress(boxes, nms_iou, kept)
            for k in range(survivors):
                box = boxes[kept[k]]
                if not np.isfinite(box.sum()):
                    continue
                rows[filled, :4] = box
                rows[filled, 4] = scores[best[kept[k]]]
                rows[filled, 5] = c
                filled += 1
        order = ranked(rows[:filled, 4].copy(), keep)
        counts[b] = len(order)
        for k in range(len(order)):
            found[b, k] = rows[order[k]]
    return found, counts


@compiled
def _candidates(logits, threshold, log_threshold):  # noqa: ANN001, ANN202
    """Anchors and probabilities of all that is above the threshold, class by class, and where each class starts."""
    total, width = logits.shape
    hopeful = np.empty(total, np.int64)
    count, bound = 0, 0
    for a in range(total):
        classes, hits = logits[a, 1:], 0
        floor = logits[a, 0] + log_threshold
        for k in range(len(classes)):
            hits += classes[k] > floor
        hopeful[count] = a
        count += hits > 0
        bound += hits
    anchor_of, class_of, scores = np.empty(bound, np.int64), np.empty(bound, np.int64), np.empty(bound, np.float32)
    starts = np.zeros(width, np.int64)
    values = np.empty((BLOCK, width), np.float32)
    whole, power = np.empty(BLOCK * width, np.float32), np.empty(BLOCK * width, np.float32)
    found = 0
    for start in range(0, count, BLOCK):
        block = hopeful[start : min(start + BLOCK, count)]
        for i in range(len(block)):
            row, out = logits[block[i]], values[i]
            top = row[0]
            for k in range(width):
                top = row[k] if row[k] > top else top
            for k in range(width):
                below = row[k] - top
                out[k] = LOWEST if below < LOWEST else below
        used = len(block) * width
        exponentiate(values.reshape(-1)[:used], whole[:used], power[:used])
        for i in range(len(block)):
            denominator, row = values[i].sum(), logits[block[i]]
            floor = row[0] + log_threshold
            for k in range(1, width):
                score = values[i, k] / denominator
                # The floor again, for room was made for what is above it: near a tiny threshold rounding decides.
                if score > threshold and row[k] > floor:
                    anchor_of[found], class_of[found], scores[found] = block[i], k - 1, score
                    starts[k] += 1
                    found += 1
    for k in range(1, width):
        starts[k] += starts[k - 1]
    # Sorted by counting: the anchors of a class stay in order.
    order, ends = np.empty(found, np.int64), starts.copy()
    for i in range(found):
        order[ends[class_of[i]]] = i
        ends[class_of[i]] += 1
    return anchor_of[order], scores[order], starts


@compiled
def _decode(offset, anchor, clip, edges, box):  # noqa: ANN001, ANN202
    """`coding.decode` of one anchor as corners, written into `box`."""
    for axis in range(2):
        centre = anchor[axis] + offset[axis] * np.float32(CENTRE_VARIANCE) * anchor[axis + 2]
        growth = min(offset[axis + 2] * np.float32(SIZE_VARIANCE), np.float32(MAX_GROWTH))
        half = anchor[axis + 2] * np.exp(growth) / np.float32(2)
        low, high = centre - half, centre + half
        if clip:
            low, high = min(max(low, np.float32(0)), edges[axis]), min(max(high, np.float32(0)), edges[axis])
        box[axis], box[axis + 2] = low, high
