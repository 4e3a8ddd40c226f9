"""Assignment of anchors without a fixed IoU: which anchors learn an object follows from the data or from the network.

A fixed threshold leaves objects without an anchor where no shape fits (28 % of the objects of the demo's scenes lie
below IoU 0.5 with every anchor), and gives large objects many more anchors than small ones.

    atss            by the boxes alone: of the nearest anchors of each level, those above mean + deviation of their IoU
                    (Zhang et al. 2020, "Bridging the gap …", algorithm 1, with k = 9 per shape of a cell)
    task-aligned    by the network's output: the 13 anchors of greatest score^α · IoU^β of the predicted box, α = 1,
                    β = 6 (Feng et al. 2021, TOOD, section 3.2.1)

Both take only anchors whose centre lies in the object, and give an anchor that several objects want to the one it
overlaps most. An object that would get none, as one smaller than a cell, gets the anchor that it overlaps most.

A CPU works image by image, without the padding rows. An accelerator works on many images at once, padding included,
and never waits for a number of the device, as in `matching`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Int32
from torch import Tensor

from singleshot import boxes
from singleshot.detection.anchors import AnchorLevel
from singleshot.detection.matching import BACKGROUND, PAIRS_AT_ONCE

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
    return torch.cat(
        [
            _atss_part(anchors_cxcywh, levels, boxes_cxcywh[images, rows], present[images, rows])
            for images, rows in _parts(present, len(anchors_cxcywh))
        ]
        or [present.new_zeros((0, len(anchors_cxcywh)), dtype=torch.int32)]
    )


def _parts(present: Bool[Tensor, "B N"], anchors: int) -> Iterator[tuple[slice, slice]]:
    """Yield which images are matched together, and which of their rows: all that have an object are among them."""
    images, rows = present.shape
    if present.device.type == "cpu":  # reading numbers costs nothing here, and overlaps with padding would
        for image, flags in enumerate(present.numpy()):
            yield slice(image, image + 1), slice(0, int(flags.nonzero()[0].max(initial=-1)) + 1)
        return
    at_once = max(1, PAIRS_AT_ONCE // max(1, anchors * rows))
    for start in range(0, images, at_once):
        yield slice(start, start + at_once), slice(0, rows)


def _atss_part(
    anchors_cxcywh: Float[Tensor, "A 4"],
    levels: Sequence[AnchorLevel],
    boxes_cxcywh: Float[Tensor, "B N 4"],
    present: Bool[Tensor, "B N"],
) -> Int32[Tensor, "B A"]:
    if not present.shape[1]:
        return present.new_full((len(present), len(anchors_cxcywh)), BACKGROUND, dtype=torch.int32)
    iou = boxes.pairwise_iou(boxes.cxcywh_to_xyxy(boxes_cxcywh), boxes.cxcywh_to_xyxy(anchors_cxcywh)[None])
    distance = torch.cdist(boxes_cxcywh[..., :2], anchors_cxcywh[None, :, :2])  # (B, N, A), as the overlaps
    chosen, start = [], 0
    for level in levels:
        count = min(NEAREST * level.anchors_per_cell, level.num_anchors)
        ranked = distance[..., start : start + level.num_anchors].sort(dim=2, stable=True)  # ties: the earlier anchor
        chosen.append(ranked.indices[..., :count] + start)
        start += level.num_anchors
    nearest = torch.cat(chosen, dim=2)
    overlaps = iou.gather(2, nearest)
    threshold = overlaps.mean(dim=2) + overlaps.std(dim=2)
    wanted = torch.zeros_like(iou, dtype=torch.bool).scatter(2, nearest, overlaps >= threshold[..., None])
    return _given_to_one(wanted & _centre_inside(anchors_cxcywh, boxes_cxcywh), iou, present)


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
    return torch.cat(
        [
            _task_aligned_part(
                anchors_cxcywh,
                boxes_cxcywh[images, rows],
                class_ids[images, rows],
                scores[images],
                predicted_cxcywh[images],
            )
            for images, rows in _parts(class_ids >= 0, len(anchors_cxcywh))
        ]
        or [class_ids.new_zeros((0, len(anchors_cxcywh)), dtype=torch.int32)]
    )


def _task_aligned_part(
    anchors_cxcywh: Float[Tensor, "A 4"],
    boxes_cxcywh: Float[Tensor, "B N 4"],
    class_ids: Int[Tensor, "B N"],
    scores: Float[Tensor, "B A C"],
    predicted_cxcywh: Float[Tensor, "B A 4"],
) -> Int32[Tensor, "B A"]:
    if not class_ids.shape[1]:
        return class_ids.new_full((len(class_ids), len(anchors_cxcywh)), BACKGROUND, dtype=torch.int32)
    objects = boxes.cxcywh_to_xyxy(boxes_cxcywh)
    iou = boxes.pairwise_iou(objects, boxes.cxcywh_to_xyxy(predicted_cxcywh.float()))  # (B, N, A)
    inside = _centre_inside(anchors_cxcywh, boxes_cxcywh)
    # Of each object's class; of a padding row any will do.
    column = class_ids.clamp(min=0)[..., None].expand(-1, -1, scores.shape[1])
    score = scores.transpose(1, 2).gather(1, column).float()
    alignment = torch.where(inside, score**ALPHA * iou**BETA, -1.0)
    best = alignment.topk(min(TOPK, alignment.shape[2]), dim=2)
    wanted = torch.zeros_like(inside).scatter(2, best.indices, best.values > 0)
    # The anchor's own overlap where the network's boxes overlap nothing yet.
    own = boxes.pairwise_iou(objects, boxes.cxcywh_to_xyxy(anchors_cxcywh)[None])
    return _given_to_one(wanted, iou + 1e-3 * own, class_ids >= 0)


def _centre_inside(anchors_cxcywh: Float[Tensor, "A 4"], boxes_cxcywh: Float[Tensor, "B N 4"]) -> Bool[Tensor, "B N A"]:
    apart = (anchors_cxcywh[:, :2] - boxes_cxcywh[:, :, None, :2]).abs()
    return (apart < boxes_cxcywh[:, :, None, 2:] / 2).all(dim=3)


def _given_to_one(
    wanted: Bool[Tensor, "B N A"], overlap: Float[Tensor, "B N A"], present: Bool[Tensor, "B N"]
) -> Int32[Tensor, "B A"]:
    """Give each anchor to the object that it overlaps most among those that want it.

    An object without any takes the one that it overlaps most, of several such objects the last. Ties go to the earlier
    object and the earlier anchor.
    """
    best, index = torch.where(wanted & present[..., None], overlap, -1.0).max(dim=1)
    assigned = torch.where(best >= 0, index, BACKGROUND)
    numbers = torch.arange(present.shape[1], device=present.device)[None]
    lonely = present & ~(assigned[:, None] == numbers[..., None]).any(dim=2)
    closest = overlap.argmax(dim=2)
    given = torch.full_like(assigned, BACKGROUND).scatter_reduce(
        1, closest, torch.where(lonely, numbers, BACKGROUND), "amax"
    )
    return torch.where(given >= 0, given, assigned).int()
