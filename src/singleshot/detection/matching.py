"""Matching: which ground-truth box each anchor learns.

Three rules, because published results rest on different ones:

- `bipartite` (the Caffe reference): first, again and again, the pair of ground truth and anchor that overlaps most
  among those still free is joined, so that every object gets an anchor of its own; then every other anchor takes
  the ground truth that it overlaps most, if IoU >= threshold.
- `per-prediction` (the 2017 re-implementation): the second half alone, with IoU > threshold. An object that no
  anchor reaches is never trained.
- `force-best` (torchvision): the second half, then each ground truth takes its best anchor whatever the overlap;
  if two want the same anchor, the later one wins.

Ties go to the earlier anchor, then to the earlier ground truth, on every device. On a CPU compiled loops do the work,
image by image; on an accelerator the same rules run as tensor operations over the whole batch, without waiting for
the device.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int32
from numpy import ndarray
from torch import Tensor

from singleshot import boxes
from singleshot.compiled import compiled
from singleshot.detection.numerics import ranked

BACKGROUND = -1
"""Assigned to an anchor that learns no box and may be a negative of the loss."""
IGNORED = -2
"""Assigned to an anchor that learns no box but overlaps one too much to be a negative."""
Rule = Literal["bipartite", "per-prediction", "force-best"]
LEAST_OVERLAP = 1e-6
"""Caffe joins a pair only if it overlaps at all (multibox_loss: "overlap > 1e-6")."""
PAIRS_AT_ONCE = 1 << 25
"""Pairs of anchor and box whose overlaps an accelerator computes together: 128 MiB for each of about eight tables."""

# Computing a row again takes some µs, sorting its best anchors as long as computing it about fifteen times.
_RECOMPUTATIONS = 8
_RUNGS = 256
_BLOCK = 256
_BIPARTITE, _PER_PREDICTION, _FORCE_BEST = range(3)
_NUMBERS: dict[Rule, int] = {"bipartite": _BIPARTITE, "per-prediction": _PER_PREDICTION, "force-best": _FORCE_BEST}


class Matcher:
    """Assigns ground-truth boxes to anchors. All boxes are (cx, cy, w, h) in fractions of the network's input.

    Every result is one integer an anchor: the row of the box that it learns, or `BACKGROUND`, or `IGNORED`. Rows are
    int32, because an annotation may have more boxes than int16 can number.

    Args:
        anchors_cxcywh: (A, 4), on the device of the boxes that will be matched.
        rule: see the head of this file.
        iou_threshold: at least this overlap (`per-prediction`: more than this) for a match by overlap.
        negative_iou: an unmatched anchor is `IGNORED` if it overlaps a box by at least this; None: never.
    """

    def __init__(
        self,
        anchors_cxcywh: Float[Tensor, "A 4"],
        rule: Rule = "bipartite",
        *,
        iou_threshold: float = 0.5,
        negative_iou: float | None = 0.5,
    ) -> None:
        self.anchors_xyxy = boxes.cxcywh_to_xyxy(anchors_cxcywh).float()
        self.rule: Rule = rule
        self.iou_threshold = iou_threshold
        self.negative_iou = negative_iou

    def __call__(self, boxes_cxcywh: Float[ndarray, "N 4"]) -> Int32[ndarray, " A"]:
        """Match the boxes of one image on the CPU, as a data worker does. N may be 0."""
        boxes_xyxy = boxes.cxcywh_to_xyxy(boxes_cxcywh.astype(np.float32, copy=False))
        present = np.ones((1, len(boxes_xyxy)), np.bool_)
        return match_compiled(
            self.anchors_xyxy.numpy(),
            boxes_xyxy[None],
            present,
            self.rule,
            iou_threshold=self.iou_threshold,
            negative_iou=self.negative_iou,
        )[0]

    @torch.no_grad()
    def match_batch(self, boxes_cxcywh: Float[Tensor, "B N 4"], present: Bool[Tensor, "B N"]) -> Int32[Tensor, "B A"]:
        """Match the boxes of a batch on their device; `present` is False on padding rows. N may be 0."""
        boxes_xyxy = boxes.cxcywh_to_xyxy(boxes_cxcywh).float()
        thresholds = {"iou_threshold": self.iou_threshold, "negative_iou": self.negative_iou}
        if self.anchors_xyxy.device.type != "cpu":
            return match_tensors(self.anchors_xyxy, boxes_xyxy, present, self.rule, **thresholds)
        arrays = (self.anchors_xyxy.numpy(), boxes_xyxy.numpy(), present.numpy())
        return torch.from_numpy(match_compiled(*arrays, self.rule, **thresholds))


def match_tensors(
    anchors_xyxy: Float[Tensor, "A 4"],
    boxes_xyxy: Float[Tensor, "B N 4"],
    present: Bool[Tensor, "B N"],
    rule: Rule,
    *,
    iou_threshold: float = 0.5,
    negative_iou: float | None = 0.5,
) -> Int32[Tensor, "B A"]:
    """Match by tensor operations: the path for accelerators. Boxes are corners in any unit.

    At most `PAIRS_AT_ONCE` pairs are in memory together: a batch is matched in parts, and an image with more pairs
    than that goes through the compiled loop on the host, whose memory grows with A + N alone.
    """
    (batch, count), total = present.shape, len(anchors_xyxy)
    if count == 0:
        ignored = negative_iou is not None and negative_iou <= 0
        return present.new_full((batch, total), IGNORED if ignored else BACKGROUND, dtype=torch.int32)
    if total * count > PAIRS_AT_ONCE:
        anchors, truths, flags = (each.cpu().numpy() for each in (anchors_xyxy.float(), boxes_xyxy.float(), present))
        assignments = match_compiled(
            anchors, truths, flags, rule, iou_threshold=iou_threshold, negative_iou=negative_iou
        )
        return torch.from_numpy(assignments).to(boxes_xyxy.device)
    at_once = PAIRS_AT_ONCE // max(1, total * count)
    parts = zip(boxes_xyxy.split(at_once), present.split(at_once), strict=True)
    return torch.cat([_match_part(anchors_xyxy, *part, rule, iou_threshold, negative_iou) for part in parts])


def _match_part(
    anchors_xyxy: Float[Tensor, "A 4"],
    boxes_xyxy: Float[Tensor, "B N 4"],
    present: Bool[Tensor, "B N"],
    rule: Rule,
    iou_threshold: float,
    negative_iou: float | None,
) -> Int32[Tensor, "B A"]:
    """Match the images of a batch whose overlaps fit into memory together."""
    iou = boxes.pairwise_iou(anchors_xyxy[None], boxes_xyxy)  # (B, A, N)
    iou = torch.where(present[:, None, :], iou, -1.0)
    best_iou, best = iou.max(dim=2)
    reached = best_iou > iou_threshold if rule == "per-prediction" else best_iou >= iou_threshold
    unmatched = torch.full_like(best, BACKGROUND)
    if negative_iou is not None:
        unmatched = torch.where(best_iou.clamp(min=0.0) < negative_iou, unmatched, IGNORED)
    assignments = torch.where(reached, best, unmatched)
    if rule == "bipartite":
        assignments = _join_greedily(iou, assignments)
    elif rule == "force-best":
        assignments = _force_best(iou, present, assignments)
    return assignments.int()


def _join_greedily(iou: Float[Tensor, "B A N"], assignments: Int[Tensor, "B A"]) -> Int[Tensor, "B A"]:
    """Assign the best free pair, N times over: one pass a ground truth, all images together."""
    batch, _, count = iou.shape
    free, rows = iou.clone(), torch.arange(batch, device=iou.device)
    assignments = assignments.clone()
    for _ in range(count):
        overlap, index = free.flatten(1).max(dim=1)
        anchor, truth = index // count, index % count
        joined = overlap > LEAST_OVERLAP
        assignments[rows, anchor] = torch.where(joined, truth, assignments[rows, anchor])
        free[rows, anchor] = torch.where(joined[:, None], -1.0, free[rows, anchor])
        free[rows, :, truth] = torch.where(joined[:, None], -1.0, free[rows, :, truth])
    return assignments


def _force_best(
    iou: Float[Tensor, "B A N"], present: Bool[Tensor, "B N"], assignments: Int[Tensor, "B A"]
) -> Int[Tensor, "B A"]:
    """Give each ground truth its best anchor, in order, so that a later one overwrites an earlier one."""
    rows, assignments = torch.arange(len(iou), device=iou.device), assignments.clone()
    best_anchor = iou.argmax(dim=1)
    for truth in range(iou.shape[2]):
        anchor = best_anchor[:, truth]
        assignments[rows, anchor] = torch.where(present[:, truth], truth, assignments[rows, anchor])
    return assignments


def match_compiled(
    anchors_xyxy: Float[ndarray, "A 4"],
    boxes_xyxy: Float[ndarray, "B N 4"],
    present: Bool[ndarray, "B N"],
    rule: Rule,
    *,
    iou_threshold: float = 0.5,
    negative_iou: float | None = 0.5,
) -> Int32[ndarray, "B A"]:
    """Match by compiled loops, for float32 corners in any unit. Padding rows and images without boxes are legal.

    The bulk of the work is the overlap of every ground truth with every anchor. Anchors are therefore laid out
    coordinate by coordinate, so that the compiler works on eight or sixteen of them at once, and a row of overlaps is
    used up while it is in the cache. Joining pairs computes a row again only where the wanted anchor is taken; a
    ground truth that lost its anchor often sorts its best anchors once and walks down the list, so that many boxes at
    one spot cost no more than as many boxes apart.
    """
    columns = np.empty((5, len(anchors_xyxy)), dtype=np.float32)
    columns[:4] = anchors_xyxy.T
    columns[4] = (columns[2] - columns[0]) * (columns[3] - columns[1])
    least_ignored = np.float32(np.inf if negative_iou is None else negative_iou)
    return _match_batch(columns, boxes_xyxy, present, _NUMBERS[rule], np.float32(iou_threshold), least_ignored)


@compiled
def _match_batch(anchors, truths, present, rule, threshold, least_ignored):  # noqa: ANN001, ANN202
    batch, count = present.shape
    total = anchors.shape[1]
    assignments = np.empty((batch, total), np.int32)
    best, best_truth = np.empty(total, np.float32), np.empty(total, np.int32)
    iou = np.empty(total, np.float32)
    wanted, overlap = np.empty(count, np.int64), np.empty(count, np.float32)
    for b in range(batch):
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
            unmatched = BACKGROUND if max(best[a], np.float32(0)) < least_ignored else IGNORED
            assignments[b, a] = best_truth[a] if reached else unmatched
        if rule == _BIPARTITE:
            _join_best_pairs(anchors, truths[b], wanted, overlap, iou, assignments[b])
        elif rule == _FORCE_BEST:
            for n in range(count):
                if present[b, n]:
                    assignments[b, wanted[n]] = n
    return assignments


@compiled
def _overlaps(anchors, box, iou):  # noqa: ANN001, ANN202
    """Write the IoU of one box with all anchors, in the same order of operations as `boxes.pairwise_iou`."""
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
    best, index = np.int32(-0x80000000), 0
    for start in range(0, len(bits), _BLOCK):
        block = bits[start : start + _BLOCK]
        high = block[0]
        for i in range(len(block)):
            high = block[i] if block[i] > high else high
        if high > best:
            best, index = high, start
    while bits[index] != best:
        index += 1
    return index


@compiled
def _join_best_pairs(anchors, truths, wanted, overlap, iou, assignments):  # noqa: ANN001, ANN202
    """Join the best free pair until none is left; `wanted` and `overlap` are each ground truth's best anchor so far."""
    count, total = len(wanted), anchors.shape[1]
    taken = np.zeros(total, np.float32)
    recomputed, steps = np.zeros(count, np.int64), np.zeros(count, np.int64)
    # As many rungs as there are ground truths would do, as the others cannot take them all. Of thousands, each has few
    # (or the ladders would fill the memory), and computes its row again at their end.
    ladders = np.empty((count, min(count, total, _RUNGS)), np.int64)
    rungs = np.empty(ladders.shape, np.float32)
    for _ in range(count):
        winner = -1
        for n in range(count):
            if overlap[n] > LEAST_OVERLAP and taken[wanted[n]] > 0:
                if recomputed[n] == _RECOMPUTATIONS:
                    wanted[n], overlap[n], steps[n] = _step_down(ladders[n], rungs[n], taken, steps[n])
                if recomputed[n] < _RECOMPUTATIONS or steps[n] == ladders.shape[1]:
                    recomputed[n] = min(recomputed[n] + 1, _RECOMPUTATIONS)
                    _overlaps(anchors, truths[n], iou)
                    for a in range(total):
                        iou[a] -= np.float32(2) * taken[a]
                    wanted[n] = _first_best(iou)
                    overlap[n] = iou[wanted[n]]
                    if recomputed[n] == _RECOMPUTATIONS:
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
        assignments[wanted[winner]] = winner
        taken[wanted[winner]] = 1
        overlap[winner] = -1


@compiled
def _step_down(ladder, rungs, taken, step):  # noqa: ANN001, ANN202
    """Return the next free anchor of a ladder, its overlap (−1 at the end), and the step that it is on."""
    while step < len(ladder) and taken[ladder[step]] > 0:
        step += 1
    if step == len(ladder):
        return 0, np.float32(-1), step
    return ladder[step], rungs[step], step
