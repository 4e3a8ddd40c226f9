"""Matching: which ground truth each anchor has to find.

Three rules, because published results rest on different ones:

- `bipartite` (the Caffe reference): first, again and again, the pair of ground truth and anchor that overlaps most
  among those still free is joined, so that every object gets an anchor of its own; then every other anchor takes
  the ground truth that it overlaps most, if IoU >= threshold.
- `per-prediction` (the 2017 re-implementation): the second half alone, with IoU > threshold. An object that no
  anchor reaches is never trained.
- `force-best` (torchvision): the second half, then each ground truth takes its best anchor whatever the overlap;
  of two that want the same anchor the later wins.

Ties go to the earlier anchor, then to the earlier ground truth, on every device. On a CPU a compiled loop does the
work; elsewhere the same rules run as tensor operations over the whole batch, without waiting for the device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from singleshot import boxes
from singleshot.detection.matching_loops import LEAST_OVERLAP, Rule, match_compiled

PAIRS_AT_ONCE = 1 << 27
"""Pairs of anchor and box whose overlaps are in memory together: half a gigabyte for each table of them."""


class Matches(NamedTuple):
    """What `match` answers.

    Args:
        ground_truths: (B, A) the row of the ground truth that each anchor has to find, or −1.
        best_iou: (B, A) each anchor's best overlap with any ground truth of its picture; 0 where there is none.
    """

    ground_truths: Int[Tensor, "B A"]
    best_iou: Float[Tensor, "B A"]


def match(
    anchors_cxcywh: Float[Tensor, "A 4"],
    boxes_cxcywh: Float[Tensor, "B N 4"],
    present: Bool[Tensor, "B N"],
    *,
    rule: Rule = "bipartite",
    iou_threshold: float = 0.5,
) -> Matches:
    """Match the anchors to the ground truths of every picture of a batch at once.

    Args:
        anchors_cxcywh: (A, 4) fractions of the network's input.
        boxes_cxcywh: (B, N, 4) ground truths in the same frame, padded; N may be 0.
        present: (B, N) False on padding rows.
        rule: see the head of this file.
        iou_threshold: at least this (per-prediction: more than this) for a match by overlap.
    """
    anchors_xyxy = boxes.cxcywh_to_xyxy(anchors_cxcywh)
    boxes_xyxy = boxes.cxcywh_to_xyxy(boxes_cxcywh)
    with torch.no_grad():
        if anchors_cxcywh.device.type == "cpu":
            ground_truths, best_iou = match_compiled(
                anchors_xyxy.float().numpy(), boxes_xyxy.float().numpy(), present.numpy(), rule, iou_threshold
            )
            return Matches(torch.from_numpy(ground_truths), torch.from_numpy(best_iou))
        return match_tensors(anchors_xyxy, boxes_xyxy, present, rule=rule, iou_threshold=iou_threshold)


def match_tensors(
    anchors_xyxy: Float[Tensor, "A 4"],
    boxes_xyxy: Float[Tensor, "B N 4"],
    present: Bool[Tensor, "B N"],
    *,
    rule: Rule,
    iou_threshold: float,
) -> Matches:
    """`match` as tensor operations: the path for accelerators, and the compiled path's reference in the tests."""
    batch, count = present.shape
    if count == 0:
        shape = (batch, len(anchors_xyxy))
        return Matches(present.new_full(shape, -1, dtype=torch.int64), anchors_xyxy.new_zeros(shape))
    at_once = max(1, PAIRS_AT_ONCE // max(1, len(anchors_xyxy) * count))
    if batch > at_once:
        pictures = zip(boxes_xyxy.split(at_once), present.split(at_once), strict=True)
        parts = [match_tensors(anchors_xyxy, *some, rule=rule, iou_threshold=iou_threshold) for some in pictures]
        return Matches(*(torch.cat(each) for each in zip(*parts, strict=True)))
    iou = boxes.pairwise_iou(anchors_xyxy[None], boxes_xyxy)  # (B, A, N)
    iou = torch.where(present[:, None, :], iou, -1.0)
    best_iou, best = iou.max(dim=2)
    reached = best_iou > iou_threshold if rule == "per-prediction" else best_iou >= iou_threshold
    matched = torch.where(reached, best, -1)
    if rule == "bipartite":
        matched = _join_greedily(iou, matched)
    elif rule == "force-best":
        matched = _force_best(iou, present, matched)
    return Matches(matched, best_iou.clamp(min=0.0))


def _join_greedily(iou: Float[Tensor, "B A N"], matched: Int[Tensor, "B A"]) -> Int[Tensor, "B A"]:
    """Overwrite `matched` with the best free pair, N times over: one pass a ground truth, all pictures together."""
    batch, _, count = iou.shape
    free, rows = iou.clone(), torch.arange(batch, device=iou.device)
    matched = matched.clone()
    for _ in range(count):
        overlap, place = free.flatten(1).max(dim=1)
        anchor, truth = place // count, place % count
        joined = overlap > LEAST_OVERLAP
        matched[rows, anchor] = torch.where(joined, truth, matched[rows, anchor])
        free[rows, anchor] = torch.where(joined[:, None], -1.0, free[rows, anchor])
        free[rows, :, truth] = torch.where(joined[:, None], -1.0, free[rows, :, truth])
    return matched


def _force_best(
    iou: Float[Tensor, "B A N"], present: Bool[Tensor, "B N"], matched: Int[Tensor, "B A"]
) -> Int[Tensor, "B A"]:
    """Give each ground truth its best anchor, in order, so that a later one overwrites an earlier one."""
    rows, matched = torch.arange(len(iou), device=iou.device), matched.clone()
    best_anchor = iou.argmax(dim=1)
    for truth in range(iou.shape[2]):
        anchor = best_anchor[:, truth]
        matched[rows, anchor] = torch.where(present[:, truth], truth, matched[rows, anchor])
    return matched
