"""From the network's answer to detections: softmax, threshold, decode, suppress, keep the best.

The rules are the Caffe reference's `DetectionOutput`: class scores above 0.01, the 400 best of each class, NMS at
0.45 within a class, the 200 best over all classes; boxes are not cut off at the picture's edge before NMS (torchvision
does cut: `clip_before_nms`). One compiled pass a batch does it all: most anchors are dismissed by comparing two
logits, so that neither a softmax nor a box is computed for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from singleshot.compiled import compiled
from singleshot.detection.coding import CENTRE_VARIANCE, MAX_GROWTH, SIZE_VARIANCE
from singleshot.detection.nms import suppress
from singleshot.detection.raw import RawDetections
from singleshot.preprocess import boxes_to_pixels
from singleshot.structures import Detections, LabelMap


@dataclass(frozen=True)
class Postprocess:
    """Thresholds and counts; stored with the weights. The defaults are the Caffe reference's.

    Args:
        score_threshold: a class score must be above it.
        nms_iou: boxes of one class that overlap a better one by more than this are dropped.
        candidates_per_class: how many of a class enter NMS, best first.
        max_detections: how many of all classes are kept, best first.
        clip_before_nms: cut boxes off at the picture's edge before NMS, as torchvision does.
    """

    score_threshold: float = 0.01
    nms_iou: float = 0.45
    candidates_per_class: int = 400
    max_detections: int = 200
    clip_before_nms: bool = False


def postprocess(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    sizes_hw: Sequence[tuple[int, int]],
    label_map: LabelMap,
    config: Postprocess,
) -> list[Detections]:
    """What the network saw in each picture, in pixels of pictures of those sizes, best first.

    Args:
        raw: the answer for B pictures.
        anchors_cxcywh: (A, 4) fractions of the input.
        sizes_hw: B heights and widths of the pictures before they were stretched to the input.
        label_map: names of the C classes.
        config: thresholds and counts.

    Equal scores keep the order (class, anchor). A picture in which nothing passes gives empty detections. An answer
    that is not finite gives no detection for its anchor.
    """
    found, counts = _detect(
        np.ascontiguousarray(raw.class_logits.detach().float().cpu().numpy()),
        np.ascontiguousarray(raw.box_offsets.detach().float().cpu().numpy()),
        np.ascontiguousarray(anchors_cxcywh.float().cpu().numpy()),
        np.float32(config.score_threshold),
        np.float32(math.log(config.score_threshold) if config.score_threshold > 0 else -np.inf),
        np.float32(config.nms_iou),
        config.candidates_per_class,
        config.max_detections,
        config.clip_before_nms,
    )
    results = []
    for rows, count, size_hw in zip(found, counts, sizes_hw, strict=True):
        kept = rows[:count]
        class_ids = kept[:, 5].astype(np.int64)
        boxes_xyxy = boxes_to_pixels(kept[:, :4], size_hw).astype(np.float32)
        names = label_map.names_of(class_ids)
        results.append(Detections(boxes_xyxy, kept[:, 4].copy(), class_ids, names, (int(size_hw[0]), int(size_hw[1]))))
    return results


@compiled
def _detect(logits, offsets, anchors, threshold, log_threshold, nms_iou, per_class, keep, clip):  # noqa: ANN001, ANN202
    """(B, keep, 6) rows of x1 y1 x2 y2 score class, best first, and how many of them each picture has."""
    batch, _, width = logits.shape
    found = np.zeros((batch, keep, 6), np.float32)
    counts = np.zeros(batch, np.int64)
    for b in range(batch):
        anchor_of, scores = _candidates(logits[b], threshold, log_threshold)
        rows = np.empty((min(per_class, len(anchor_of)) * (width - 1), 6), np.float32)
        filled = 0
        for c in range(width - 1):
            passed = np.nonzero(scores[:, c] > threshold)[0]
            if len(passed) == 0:
                continue
            ranked = passed[np.argsort(-scores[passed, c], kind="mergesort")[:per_class]]
            boxes = np.empty((len(ranked), 4), np.float32)
            for i in range(len(ranked)):
                a = anchor_of[ranked[i]]
                _decode(offsets[b, a], anchors[a], clip, boxes[i])
            kept = np.empty(len(ranked), np.int64)
            survivors = suppress(boxes, nms_iou, kept)
            for k in range(survivors):
                box = boxes[kept[k]]
                if not np.isfinite(box.sum()):
                    continue
                rows[filled, :4] = box
                rows[filled, 4] = scores[ranked[kept[k]], c]
                rows[filled, 5] = c
                filled += 1
        best = np.argsort(-rows[:filled, 4], kind="mergesort")[:keep]
        counts[b] = len(best)
        for k in range(len(best)):
            found[b, k] = rows[best[k]]
    return found, counts


@compiled
def _candidates(logits, threshold, log_threshold):  # noqa: ANN001, ANN202
    """Anchors with any class above the threshold, and their (·, C) class probabilities.

    p_k > t needs l_k > l_background + log t, because the softmax's denominator is at least e^l_background.
    """
    total, width = logits.shape
    anchor_of = np.empty(total, np.int64)
    count = 0
    for a in range(total):
        floor = logits[a, 0] + log_threshold
        for k in range(1, width):
            if logits[a, k] > floor:
                anchor_of[count] = a
                count += 1
                break
    scores = np.empty((count, width - 1), np.float32)
    for i in range(count):
        row = logits[anchor_of[i]]
        top = row.max()
        denominator = np.float32(0)
        for k in range(width):
            denominator += np.exp(row[k] - top)
        for k in range(1, width):
            scores[i, k - 1] = np.exp(row[k] - top) / denominator
    return anchor_of[:count], scores


@compiled
def _decode(offset, anchor, clip, box):  # noqa: ANN001, ANN202
    """`coding.decode` of one anchor as corners, written into `box`."""
    for axis in range(2):
        centre = anchor[axis] + offset[axis] * np.float32(CENTRE_VARIANCE) * anchor[axis + 2]
        growth = min(offset[axis + 2] * np.float32(SIZE_VARIANCE), np.float32(MAX_GROWTH))
        half = anchor[axis + 2] * np.exp(growth) / np.float32(2)
        low, high = centre - half, centre + half
        if clip:
            low, high = min(max(low, np.float32(0)), np.float32(1)), min(max(high, np.float32(0)), np.float32(1))
        box[axis], box[axis + 2] = low, high
