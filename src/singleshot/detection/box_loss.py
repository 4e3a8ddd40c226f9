"""Losses of the IoU family: 1 − overlap of each predicted box with its object, and what is added where they are apart.

Smooth L1 of the four offsets treats them as unrelated and counts a pixel of a small box like one of a large box.
These losses compare whole boxes, so what is minimised is what AP measures.

    giou    IoU − share of the enclosing box that neither fills (Rezatofighi et al. 2019)
    diou    IoU − squared distance of the centres / squared diagonal of the enclosing box (Zheng et al. 2020)
    ciou    DIoU − α·v, where v compares the proportions (Zheng et al. 2020, equations 9 to 11; α has no gradient)
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

IoULoss = Literal["giou", "diou", "ciou"]
EPSILON = 1e-9
"""Least area, in the square of the boxes' unit. A box in fractions of the input is far above it."""


def iou_loss(
    predicted_cxcywh: Float[Tensor, "*B 4"], truth_cxcywh: Float[Tensor, "*B 4"], kind: IoULoss
) -> Float[Tensor, "*B"]:
    """Return 1 − GIoU, DIoU or CIoU of each pair, in 0…2 (`ciou`: at most 3), 0 for equal boxes.

    Args:
        predicted_cxcywh: centre and size in any unit; sizes above 0.
        truth_cxcywh: likewise.
        kind: see the head of this file.

    >>> box = torch.tensor([0.5, 0.5, 0.2, 0.2])
    >>> beside = torch.tensor([0.7, 0.5, 0.2, 0.2])
    >>> [round(float(iou_loss(beside, box, kind)), 3) for kind in ("giou", "diou", "ciou")]
    [1.0, 1.2, 1.2]
    """
    first, second = predicted_cxcywh.float(), truth_cxcywh.float()
    iou, union, enclosing = _overlap(first, second)
    if kind == "giou":
        area = enclosing.prod(-1).clamp(min=EPSILON)
        return 1 - iou + (area - union) / area
    distance = (first[..., :2] - second[..., :2]).square().sum(-1) / enclosing.square().sum(-1).clamp(min=EPSILON)
    if kind == "diou":
        return 1 - iou + distance
    angles = torch.atan(first[..., 2] / first[..., 3]) - torch.atan(second[..., 2] / second[..., 3])
    proportions = (4 / math.pi**2) * angles.square()
    with torch.no_grad():
        alpha = proportions / (1 - iou + proportions).clamp(min=EPSILON)
    return 1 - iou + distance + alpha * proportions


def paired_iou(first_cxcywh: Float[Tensor, "*B 4"], second_cxcywh: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B"]:
    """Return the IoU of each pair of boxes (centre and size, in any unit), in 0…1.

    >>> paired_iou(torch.tensor([1.0, 1.0, 2.0, 2.0]), torch.tensor([2.0, 1.0, 2.0, 2.0]))
    tensor(0.3333)
    """
    return _overlap(first_cxcywh.float(), second_cxcywh.float())[0]


def _overlap(
    first: Float[Tensor, "*B 4"], second: Float[Tensor, "*B 4"]
) -> tuple[Float[Tensor, "*B"], Float[Tensor, "*B"], Float[Tensor, "*B 2"]]:
    """Return IoU, area of the union, and the sides of the enclosing box of each pair."""
    first_low, first_high = first[..., :2] - first[..., 2:] / 2, first[..., :2] + first[..., 2:] / 2
    second_low, second_high = second[..., :2] - second[..., 2:] / 2, second[..., :2] + second[..., 2:] / 2
    common = (torch.minimum(first_high, second_high) - torch.maximum(first_low, second_low)).clamp(min=0).prod(-1)
    union = first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - common
    enclosing = torch.maximum(first_high, second_high) - torch.minimum(first_low, second_low)
    return common / union.clamp(min=EPSILON), union, enclosing
