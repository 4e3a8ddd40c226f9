"""Matching on a CPU: the rules of `matching` as compiled loops over one picture after the other.

The bulk of the work is the overlap of every ground truth with every anchor. Anchors are therefore laid out coordinate
by coordinate, so that the compiler works on eight or sixteen of them at once, and a row of overlaps is used up while
it is in the cache. Joining pairs looks at a row again only where the wanted anchor is gone; a ground truth that was
disappointed often sorts its best anchors once and walks down the list, so that a heap of boxes in one place costs no
more than as many boxes apart.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from singleshot.compiled import compiled
from singleshot.detection.greatest import ranked

Rule = Literal["bipartite", "per-prediction", "force-best"]
# Caffe joins a pair only if it overlaps at all (multibox_loss: "overlap > 1e-6").
LEAST_OVERLAP = 1e-6
# Looking at a row again takes some µs, sorting its best about as long as fifteen looks.
LOOKS = 8
RUNGS = 256
BLOCK = 256
_BIPARTITE, _PER_PREDICTION, _FORCE_BEST = range(3)
_NUMBERS: dict[Rule, int] = {
    "bipartite": _BIPARTITE,
    "per-prediction": _PER_PREDICTION,
    "force-best": _FORCE_BEST,
}


def match_compiled(
    anchors_xyxy: Float[ndarray, "A 4"],
    boxes_xyxy: Float[ndarray, "B N 4"],
    present: Bool[ndarray, "B N"],
    rule: Rule,
    iou_threshold: float,
) -> tuple[Int[ndarray, "B A"], Float[ndarray, "B A"]]:
    """The two tables of `matching.Matches`, for float32 boxes. Padding rows and pictures without boxes are legal."""
    columns = np.empty((5, len(anchors_xyxy)), dtype=np.float32)
    columns[:4] = anchors_xyxy.T
    columns[4] = (columns[2] - columns[0]) * (columns[3] - columns[1])
    return _match_batch(columns, boxes_xyxy, present, _NUMBERS[rule], np.float32(iou_threshold))


@compiled
def _match_batch(anchors, truths, present, rule, threshold):  # noqa: ANN001, ANN202
    batch, count = present.shape
    total = anchors.shape[1]
    matched = np.empty((batch, total), np.int64)
    best_iou = np.empty((batch, total), np.float32)
    iou, best_truth = np.empty(total, np.float32), np.empty(total, np.int32)
    wanted, overlap = np.empty(count, np.int64), np.empty(count, np.float32)
    for b in range(batch):
        best = best_iou[b]
        best[:] = -1
        best_truth[:] = -1
        for n in range(count):
            wanted[n], overlap[n] = -1, -1
            if present[b, n]:
                _overlaps(anchors, truths[b, n], iou)
                _take_better(iou, n, best, best_truth)
                wanted[n] = _first_best(iou)
                overlap[n] = iou[wanted[n]]
        for a in range(total):
            reached = best[a] > threshold if rule == _PER_PREDICTION else best[a] >= threshold
            matched[b, a] = best_truth[a] if reached else -1
            best[a] = best[a] if best[a] > 0 else np.float32(0)
        if rule == _BIPARTITE:
            _join_best_pairs(anchors, truths[b], wanted, overlap, iou, matched[b])
        elif rule == _FORCE_BEST:
            for n in range(count):
                if present[b, n]:
                    matched[b, wanted[n]] = n
    return matched, best_iou


@compiled
def _overlaps(anchors, box, iou):  # noqa: ANN001, ANN202
    """IoU of one box with all anchors, in the same order of operations as `boxes.pairwise_iou`."""
    left, top, right, bottom, area = anchors[0], anchors[1], anchors[2], anchors[3], anchors[4]
    x1, y1, x2, y2 = box[0], box[1], box[2], box[3]
    box_area = (x2 - x1) * (y2 - y1)
    for a in range(len(iou)):
        # Conditional expressions, not min() and max(), which care about NaN and are not vectorised.
        width = (right[a] if right[a] < x2 else x2) - (left[a] if left[a] > x1 else x1)
        height = (bottom[a] if bottom[a] < y2 else y2) - (top[a] if top[a] > y1 else y1)
        width = width if width > np.float32(0) else np.float32(0)
        height = height if height > np.float32(0) else np.float32(0)
        common = width * height
        union = area[a] + box_area - common
        iou[a] = common / (union if union > np.float32(1e-12) else np.float32(1e-12))


@compiled
def _take_better(iou, n, best, best_truth):  # noqa: ANN001, ANN202
    """Give ground truth `n` to the anchors that it overlaps more than any before it."""
    number = np.int32(n)
    for a in range(len(iou)):
        better = iou[a] > best[a]
        best[a] = iou[a] if better else best[a]
        best_truth[a] = number if better else best_truth[a]


@compiled
def _first_best(iou):  # noqa: ANN001, ANN202
    """`argmax`, eight times faster: bits of positive floats are ordered as the floats, and integers are vectorised."""
    bits = iou.view(np.int32)
    best, place = np.int32(-0x80000000), 0
    for start in range(0, len(bits), BLOCK):
        block = bits[start : start + BLOCK]
        high = block[0]
        for i in range(len(block)):
            high = block[i] if block[i] > high else high
        if high > best:
            best, place = high, start
    while bits[place] != best:
        place += 1
    return place


@compiled
def _join_best_pairs(anchors, truths, wanted, overlap, iou, matched):  # noqa: ANN001, ANN202
    """Join the best free pair until none is left; `wanted` and `overlap` are each ground truth's best anchor so far."""
    count, total = len(wanted), anchors.shape[1]
    taken = np.zeros(total, np.float32)
    looks, steps = np.zeros(count, np.int64), np.zeros(count, np.int64)
    # As many rungs as there are ground truths would do, as the others cannot take them all. Of thousands, each has few
    # (or the ladders would fill the memory), and looks again at their end.
    ladders = np.empty((count, min(count, total, RUNGS)), np.int64)
    rungs = np.empty(ladders.shape, np.float32)
    for _ in range(count):
        winner = -1
        for n in range(count):
            if overlap[n] > LEAST_OVERLAP and taken[wanted[n]] > 0:
                if looks[n] == LOOKS:
                    wanted[n], overlap[n], steps[n] = _step_down(ladders[n], rungs[n], taken, steps[n])
                if looks[n] < LOOKS or steps[n] == ladders.shape[1]:
                    looks[n] = min(looks[n] + 1, LOOKS)
                    _overlaps(anchors, truths[n], iou)
                    for a in range(total):
                        iou[a] -= np.float32(2) * taken[a]
                    wanted[n] = _first_best(iou)
                    overlap[n] = iou[wanted[n]]
                    if looks[n] == LOOKS:
                        ladders[n] = ranked(iou, ladders.shape[1])
                        rungs[n] = iou[ladders[n]]
                        steps[n] = 0
            if overlap[n] <= LEAST_OVERLAP:
                continue
            better = winner < 0 or overlap[n] > overlap[winner]
            tie = winner >= 0 and overlap[n] == overlap[winner] and wanted[n] < wanted[winner]
            if better or tie:
                winner = n
        if winner < 0:
            return
        matched[wanted[winner]] = winner
        taken[wanted[winner]] = 1
        overlap[winner] = -1


@compiled
def _step_down(ladder, rungs, taken, step):  # noqa: ANN001, ANN202
    """The next free anchor of a ladder, its overlap (−1 at the end), and the step where it stands."""
    while step < len(ladder) and taken[ladder[step]] > 0:
        step += 1
    if step == len(ladder):
        return 0, np.float32(-1), step
    return ladder[step], rungs[step], step
