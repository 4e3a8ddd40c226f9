"""Detections on an accelerator: the rules of `postprocess` as tables of fixed shapes, for a whole batch at once.

How many candidates there are is only known on the device, and asking would make the host wait. Every class of every
picture therefore has the same number of candidates, those below the threshold are marked, and suppression takes as
many turns as there are candidates. A CPU would do most of that for nothing (`detect_loops` does not); a device does
it side by side. The answers are the same, ties included.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from singleshot import boxes
from singleshot.detection.coding import decode
from singleshot.detection.raw import RawDetections

ABSENT = -1.0
PAIRS_AT_ONCE = 1 << 25
"""Pairs of boxes whose overlaps are in memory together: 128 MiB for each of the handful of tables that it takes."""


def detect_tensors(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    edges: Float[Tensor, "B 2"],
    score_threshold: float,
    nms_iou: float,
    candidates_per_class: int,
    max_detections: int,
    clip_before_nms: bool,
) -> tuple[Float[Tensor, "B K 6"], Int[Tensor, " B"]]:
    """What is kept of each picture, as `detect_compiled` answers, on the device of the answer.

    Nothing here waits for the device. K is `max_detections`; rows past a picture's own are 0.
    """
    with torch.no_grad():
        scores = raw.class_logits.float().softmax(dim=-1)[..., 1:].transpose(1, 2)  # (B, C, A)
        scores = torch.where(scores > score_threshold, scores, ABSENT)
        # A stable sort and not topk, which leaves the order of equal scores open.
        ranked, order = scores.sort(dim=2, descending=True, stable=True)
        ranked, order = ranked[..., :candidates_per_class], order[..., :candidates_per_class]
        boxes_xyxy = boxes.cxcywh_to_xyxy(decode(raw.box_offsets.float(), anchors_cxcywh.float()))
        if clip_before_nms:
            limit = edges.to(boxes_xyxy.device, non_blocking=True).repeat(1, 2)[:, None]
            boxes_xyxy = boxes_xyxy.clamp(min=0.0).minimum(limit)
        # The turns of suppression are launches, and those of many pictures cost as much as those of one; but the
        # overlaps of a batch's candidates need not fit into memory together.
        classes, candidates = ranked.shape[1:]
        at_once = max(1, PAIRS_AT_ONCE // max(1, classes * candidates**2))
        parts = zip(boxes_xyxy.split(at_once), ranked.split(at_once), order.split(at_once), strict=True)
        found = torch.cat([_best(_candidates(*part, nms_iou), max_detections) for part in parts])
        present = found[..., 4] > ABSENT
        return torch.where(present[..., None], found, 0.0), present.sum(dim=1)


def _candidates(
    boxes_xyxy: Float[Tensor, "B A 4"], scores: Float[Tensor, "B C M"], order: Int[Tensor, "B C M"], nms_iou: float
) -> Float[Tensor, "B C*M 6"]:
    """The pictures' candidates as rows, class by class; the score of what was dropped is `ABSENT`."""
    pictures = torch.arange(len(scores), device=scores.device)[:, None, None]
    places = boxes_xyxy[pictures, order]  # (B, C, M, 4)
    alive = suppress_tensors(places.flatten(0, 1), scores.flatten(0, 1) > ABSENT, nms_iou).view_as(scores)
    kept = torch.where(alive & places.sum(dim=-1).isfinite(), scores, ABSENT)
    class_ids = torch.arange(scores.shape[1], device=scores.device, dtype=scores.dtype)[:, None].expand_as(scores)
    return torch.cat([places, kept[..., None], class_ids[..., None]], dim=-1).flatten(1, 2)


def suppress_tensors(
    boxes_xyxy: Float[Tensor, "C M 4"], candidates: Bool[Tensor, "C M"], iou_threshold: float
) -> Bool[Tensor, "C M"]:
    """`nms.suppress` for C classes (of any pictures) at once: which boxes, sorted best first, are kept."""
    common = boxes.pairwise_intersection(boxes_xyxy, boxes_xyxy)
    areas = boxes.area(boxes_xyxy)
    hits = common > iou_threshold * (areas[:, :, None] + areas[:, None, :] - common)
    alive = candidates.clone()
    for place in range(boxes_xyxy.shape[1] - 1):
        alive[:, place + 1 :] &= ~(hits[:, place, place + 1 :] & alive[:, place : place + 1])
    return alive


def _best(rows: Float[Tensor, "B N 6"], count: int) -> Float[Tensor, "B K 6"]:
    """The `count` best rows of each picture, best first; made up with absent ones where there are fewer."""
    order = rows[..., 4].argsort(dim=1, descending=True, stable=True)[:, :count]
    best = rows.gather(1, order[..., None].expand(-1, -1, 6))
    missing = best.new_full((len(best), count - best.shape[1], 6), ABSENT)
    return torch.cat([best, missing], dim=1)
