"""Assignment of anchors without a fixed IoU: which anchors learn an object follows from the data or from the network.

A fixed threshold leaves objects without an anchor where no shape fits (28 % of the objects of the demo's scenes lie
below IoU 0.5 with every anchor), and gives large objects many more anchors than small ones.

    atss            by the boxes alone: of the nearest anchors of each level, those above mean + deviation of their IoU
                    (Zhang et al. 2020, "Bridging the gap …", algorithm 1, with k = 9 per shape of a cell)
    task-aligned    by the network's output: the 13 anchors of greatest score^α · IoU^β of the predicted box, α = 1,
                    β = 6 (Feng et al. 2021, TOOD, section 3.2.1)

Both take only anchors whose centre lies in the object, and give an anchor that several objects want to the one it
overlaps most. An object that would get none, as one smaller than a cell, gets the anchor that it overlaps most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Int32
from torch import Tensor

from singleshot import boxes
from singleshot.detection.anchors import AnchorLevel
from singleshot.detection.matching import BACKGROUND

AdaptiveRule = Literal["atss", "task-aligned"]
NEAREST = 9
"""ATSS's k: anchors of each level, for each shape of a cell, whose centres are nearest to the object's."""
TOPK, ALPHA, BETA = 13, 1.0, 6.0


@torch.no_grad()
def atss(
    anchors_cxcywh: Float[Tensor, "A 4"],
    levels: Sequence[AnchorLevel],
    boxes_cxcywh: Float[Tensor, "B N 4"],
    present: Bool[Tensor, "B N"],
) -> Int32[Tensor, "B A"]:
    """Return the row of the box that each anchor learns, or `BACKGROUND`.

    Args:
        anchors_cxcywh: fractions of the input.
        levels: what they were made from, in the same order.
        boxes_cxcywh: objects in the same frame, padded. N may be 0.
        present: False on padding rows.
    """
    sizes = [level.num_anchors for level in levels]
    candidates = [min(NEAREST * level.anchors_per_cell, level.num_anchors) for level in levels]
    rows = [
        _atss_image(anchors_cxcywh, sizes, candidates, objects[there], there.nonzero()[:, 0])
        for objects, there in zip(boxes_cxcywh, present, strict=True)
    ]
    return torch.stack(rows) if rows else present.new_zeros((0, len(anchors_cxcywh)), dtype=torch.int32)


def _atss_image(
    anchors_cxcywh: Float[Tensor, "A 4"],
    sizes: list[int],
    candidates: list[int],
    objects_cxcywh: Float[Tensor, "M 4"],
    numbers: Int[Tensor, " M"],
) -> Int32[Tensor, " A"]:
    if not len(objects_cxcywh):
        return anchors_cxcywh.new_full((len(anchors_cxcywh),), BACKGROUND, dtype=torch.int32)
    iou = boxes.pairwise_iou(boxes.cxcywh_to_xyxy(objects_cxcywh), boxes.cxcywh_to_xyxy(anchors_cxcywh))  # (M, A)
    distance = torch.cdist(objects_cxcywh[:, :2], anchors_cxcywh[:, :2])
    chosen, start = [], 0
    for size, count in zip(sizes, candidates, strict=True):
        ranked = distance[:, start : start + size].sort(dim=1, stable=True).indices  # ties go to the earlier anchor
        chosen.append(ranked[:, :count] + start)
        start += size
    nearest = torch.cat(chosen, dim=1)
    overlaps = iou.gather(1, nearest)
    threshold = overlaps.mean(dim=1) + overlaps.std(dim=1)
    wanted = torch.zeros_like(iou, dtype=torch.bool).scatter(1, nearest, overlaps >= threshold[:, None])
    return _given_to_one(wanted & _centre_inside(anchors_cxcywh, objects_cxcywh), iou, numbers)


@torch.no_grad()
def task_aligned(
    anchors_cxcywh: Float[Tensor, "A 4"],
    boxes_cxcywh: Float[Tensor, "B N 4"],
    class_ids: Int[Tensor, "B N"],
    scores: Float[Tensor, "B A C"],
    predicted_cxcywh: Float[Tensor, "B A 4"],
) -> Int32[Tensor, "B A"]:
    """Return the row of the box that each anchor learns, or `BACKGROUND`.

    Args:
        anchors_cxcywh: fractions of the input.
        boxes_cxcywh: objects in the same frame, padded. N may be 0.
        class_ids: of the objects, −1 on padding rows.
        scores: of each class, in 0…1.
        predicted_cxcywh: the network's boxes, in the same frame.
    """
    rows = []
    for objects, ids, score, predicted in zip(boxes_cxcywh, class_ids, scores, predicted_cxcywh, strict=True):
        numbers = (ids >= 0).nonzero()[:, 0]
        if not len(numbers):
            rows.append(ids.new_full((len(anchors_cxcywh),), BACKGROUND, dtype=torch.int32))
            continue
        objects = objects[numbers]
        iou = boxes.pairwise_iou(boxes.cxcywh_to_xyxy(objects), boxes.cxcywh_to_xyxy(predicted.float()))  # (M, A)
        inside = _centre_inside(anchors_cxcywh, objects)
        alignment = torch.where(inside, score.T[ids[numbers]].float() ** ALPHA * iou**BETA, -1.0)
        best = alignment.topk(min(TOPK, alignment.shape[1]), dim=1)
        wanted = torch.zeros_like(inside).scatter(1, best.indices, best.values > 0)
        # The anchor's own overlap where the network's boxes overlap nothing yet.
        own = boxes.pairwise_iou(boxes.cxcywh_to_xyxy(objects), boxes.cxcywh_to_xyxy(anchors_cxcywh))
        rows.append(_given_to_one(wanted, iou + 1e-3 * own, numbers))
    return torch.stack(rows) if rows else class_ids.new_zeros((0, len(anchors_cxcywh)), dtype=torch.int32)


def _centre_inside(anchors_cxcywh: Float[Tensor, "A 4"], objects_cxcywh: Float[Tensor, "M 4"]) -> Bool[Tensor, "M A"]:
    apart = (anchors_cxcywh[None, :, :2] - objects_cxcywh[:, None, :2]).abs()
    return (apart < objects_cxcywh[:, None, 2:] / 2).all(dim=2)


def _given_to_one(
    wanted: Bool[Tensor, "M A"], overlap: Float[Tensor, "M A"], numbers: Int[Tensor, " M"]
) -> Int32[Tensor, " A"]:
    """Give each anchor to the object that it overlaps most among those that want it.

    An object without any takes the one that it overlaps most. Ties go to the earlier object and the earlier anchor.
    """
    best, index = torch.where(wanted, overlap, -1.0).max(dim=0)
    assigned = torch.where(best >= 0, index, BACKGROUND)
    lonely = ~(assigned[None, :] == torch.arange(len(numbers), device=numbers.device)[:, None]).any(dim=1)
    closest = overlap.argmax(dim=1)
    for row in lonely.nonzero()[:, 0].tolist():
        assigned[closest[row]] = row
    return torch.where(assigned >= 0, numbers[assigned.clamp(min=0)], BACKGROUND).int()
