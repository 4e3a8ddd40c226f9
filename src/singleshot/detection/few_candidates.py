"""Postprocessing in NumPy, for images in which few scores pass the threshold. The rules are those of `postprocess`.

The compiled loops are made for thousands of candidates. To compile them takes many seconds on a machine that has not
used them yet, and to load them takes as long as importing them; a first prediction on three photographs is done by
then. For some hundred candidates NumPy is as fast, and needs neither.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from singleshot.detection.coding import CENTRE_VARIANCE, MAX_GROWTH, SIZE_VARIANCE

FEW = 500
"""Scores above the threshold, of all classes of an image, up to which this is used."""


def detect_few(
    class_logits: Float[ndarray, "A C"],
    box_offsets: Float[ndarray, "A 4"],
    anchors_cxcywh: Float[ndarray, "A 4"],
    edges: Float[ndarray, " 2"],
    *,
    score_threshold: float,
    nms_iou: float,
    candidates_per_class: int,
    max_detections: int,
    clip_before_nms: bool,
    class_agnostic_nms: bool,
) -> Float[ndarray, "K 6"] | None:
    """Compute the detections of one image whose classes have a sigmoid each.

    Args:
        class_logits: (A, C) float32.
        box_offsets: (A, 4) float32, see `coding.encode`.
        anchors_cxcywh: (A, 4) fractions of the input.
        edges: right and bottom edge of the image as fractions of the input, to clip at.
        score_threshold: these six as in `Postprocess`.
        nms_iou: see there.
        candidates_per_class: see there.
        max_detections: see there.
        clip_before_nms: see there.
        class_agnostic_nms: see there.

    Returns:
        rows of x1 y1 x2 y2 (fractions of the input), score, class id, best first; (0, 6) where nothing passes. None
        where more than `FEW` scores pass: then the compiled loops are faster.
    """
    # With room for rounding: the score itself decides.
    least = math.log(score_threshold / (1.0 - score_threshold)) if 0.0 < score_threshold < 1.0 else -math.inf
    anchor_of, class_of = np.nonzero(class_logits > np.float32(least - 1e-3))
    if len(anchor_of) > FEW:
        return None
    with np.errstate(over="ignore"):
        scores = (1.0 / (1.0 + np.exp(-class_logits[anchor_of, class_of].astype(np.float64)))).astype(np.float32)
    passed = scores > np.float32(score_threshold)
    anchor_of, class_of, scores = anchor_of[passed], class_of[passed], scores[passed]
    boxes_xyxy = _decoded(box_offsets[anchor_of], anchors_cxcywh[anchor_of], edges if clip_before_nms else None)
    kept: list[Int[ndarray, " k"]] = []
    for class_id in np.unique(class_of):
        rows = np.nonzero(class_of == class_id)[0]
        rows = rows[np.argsort(-scores[rows], kind="stable")[:candidates_per_class]]
        survivors = rows if class_agnostic_nms else rows[_suppressed(boxes_xyxy[rows], nms_iou)]
        kept.append(survivors[np.isfinite(boxes_xyxy[survivors].sum(axis=1))])
    chosen = np.concatenate([np.zeros(0, np.int64), *kept])
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    if class_agnostic_nms:
        chosen = chosen[_suppressed(boxes_xyxy[chosen], nms_iou)]
    chosen = chosen[:max_detections]
    return np.column_stack([boxes_xyxy[chosen], scores[chosen], class_of[chosen].astype(np.float32)]).reshape(-1, 6)


def _decoded(
    offsets: Float[ndarray, "N 4"], anchors: Float[ndarray, "N 4"], edges: Float[ndarray, " 2"] | None
) -> Float[ndarray, "N 4"]:
    """`coding.decode`, as corners, cut off at the edges if there are any."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is dropped in the end
        centres = anchors[:, :2] + offsets[:, :2] * np.float32(CENTRE_VARIANCE) * anchors[:, 2:]
        growth = np.minimum(offsets[:, 2:] * np.float32(SIZE_VARIANCE), np.float32(MAX_GROWTH))
        halves = anchors[:, 2:] * np.exp(growth) / np.float32(2)
        low, high = centres - halves, centres + halves
        if edges is not None:
            low, high = low.clip(0, edges), high.clip(0, edges)
    return np.concatenate([low, high], axis=1)


def _suppressed(boxes_xyxy: Float[ndarray, "N 4"], nms_iou: float) -> Int[ndarray, " K"]:
    """Return the rows, sorted best first, that survive greedy suppression."""
    alive, kept = np.ones(len(boxes_xyxy), dtype=bool), []
    with np.errstate(invalid="ignore"):
        areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
        for row, box in enumerate(boxes_xyxy):
            if not alive[row]:
                continue
            kept.append(row)
            rest = boxes_xyxy[row + 1 :]
            sides = np.minimum(box[2:], rest[:, 2:]) - np.maximum(box[:2], rest[:, :2])
            common = sides.clip(min=0).prod(axis=1)
            alive[row + 1 :] &= ~(common > np.float32(nms_iou) * (areas[row] + areas[row + 1 :] - common))
    return np.array(kept, np.int64)
