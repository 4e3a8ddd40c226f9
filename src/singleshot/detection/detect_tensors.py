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
        # Picture by picture: the overlaps of a batch's candidates need not fit into memory together.
        rows = [
            _best(_candidates(*picture, nms_iou), max_detections)
            for picture in zip(boxes_xyxy, ranked, order, strict=True)
        ]
        found = torch.stack(rows) if rows else boxes_xyxy.new_zeros(0, max_detections, 6)
        present = found[..., 4] > ABSENT
        return torch.where(present[..., None], found, 0.0), present.sum(dim=1)


def _candidates(
    boxes_xyxy: Float[Tensor, "A 4"], scores: Float[Tensor, "C M"], order: Int[Tensor, "C M"], nms_iou: float
) -> Float[Tensor, "C*M 6"]:
    """One picture's candidates as rows, class by class; the score of what was dropped is `ABSENT`."""
    places = boxes_xyxy[order]  # (C, M, 4)
    alive = suppress_tensors(places, scores > ABSENT, nms_iou) & places.sum(dim=-1).isfinite()
    class_ids = torch.arange(len(scores), device=scores.device, dtype=scores.dtype)[:, None].expand_as(scores)
    kept = torch.where(alive, scores, ABSENT)
    return torch.cat([places, kept[..., None], class_ids[..., None]], dim=-1).flatten(0, 1)


def suppress_tensors(
    boxes_xyxy: Float[Tensor, "C M 4"], candidates: Bool[Tensor, "C M"], iou_threshold: float
) -> Bool[Tensor, "C M"]:
    """`nms.suppress` for C classes at once: which boxes, sorted best first, are kept."""
    common = boxes.pairwise_intersection(boxes_xyxy, boxes_xyxy)
    areas = boxes.area(boxes_xyxy)
    hits = common > iou_threshold * (areas[:, :, None] + areas[:, None, :] - common)
    alive = candidates.clone()
    for place in range(boxes_xyxy.shape[1] - 1):
        alive[:, place + 1 :] &= ~(hits[:, place, place + 1 :] & alive[:, place : place + 1])
    return alive


def _best(rows: Float[Tensor, "N 6"], count: int) -> Float[Tensor, "K 6"]:
    """The `count` best rows, best first; made up with absent ones where there are fewer."""
    best = rows[rows[:, 4].argsort(descending=True, stable=True)[:count]]
    missing = best.new_full((count - len(best), 6), ABSENT)
    return torch.cat([best, missing])
