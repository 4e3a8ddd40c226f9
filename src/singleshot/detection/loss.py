"""The multibox loss: how wrong the network's answers are about the anchors that count.

An anchor that has to find an object pays for its class (softmax cross-entropy) and for its box (smooth L1 of the
offsets). Of the thousands that have nothing to find, only the most mistaken ones pay, three for each match of the
same picture, so that background does not drown the objects. Both sums are divided by the number of matches in the
batch (Caffe's VALID normaliser), or picture by picture (the 2017 re-implementation).

Source: weiliu89/caffe, `multibox_loss_layer.cpp` and `bbox_util.cpp` (MAX_NEGATIVE mining).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from singleshot.detection.coding import encode
from singleshot.detection.matching import Matches, Rule
from singleshot.detection.raw import RawDetections


@dataclass(frozen=True)
class LossConfig:
    """The choices on which published results differ; the defaults are the Caffe reference's.

    Args:
        matching: see `matching`.
        iou_threshold: overlap from which an anchor has to find an object.
        negatives_per_match: background anchors that pay for each match.
        negative_iou: only anchors that overlap every object less than this can be negatives; None: all unmatched.
        normaliser: `batch` divides by the matches of the whole batch (summed over ranks); `image` divides each
            picture's loss by its own matches, then takes the mean over pictures.
        negatives_when_empty: negatives that a picture without objects trains: 0 in the reference, where such a
            picture teaches nothing; `auto`: three times the batch's mean matches a picture, at least three.
    """

    matching: Rule = "bipartite"
    iou_threshold: float = 0.5
    negatives_per_match: float = 3.0
    negative_iou: float | None = 0.5
    normaliser: Literal["batch", "image"] = "batch"
    negatives_when_empty: int | Literal["auto"] = 0


class LossParts(NamedTuple):
    """What `multibox_loss` answers; `total` is the sum of the two parts. All are finite for finite answers.

    Args:
        classification: () the class part, already divided.
        localisation: () the box part, already divided.
        matches: () the number of matches in this rank's batch.
    """

    classification: Float[Tensor, ""]
    localisation: Float[Tensor, ""]
    matches: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """The loss to go down."""
        return self.classification + self.localisation


def multibox_loss(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    boxes_cxcywh: Float[Tensor, "B N 4"],
    class_ids: Int[Tensor, "B N"],
    matches: Matches,
    config: LossConfig,
    *,
    sum_over_ranks: Callable[[Tensor], Tensor] | None = None,
) -> LossParts:
    """The loss of a batch, in float32 whatever the network's precision.

    Args:
        raw: the network's answer.
        anchors_cxcywh: (A, 4) fractions of the input.
        boxes_cxcywh: (B, N, 4) ground truths, padded, in the same frame.
        class_ids: (B, N) 0-based, −1 on padding rows.
        matches: what `match` said of these boxes.
        config: see `LossConfig`.
        sum_over_ranks: adds a tensor up over all ranks and divides by their number: each rank then sees the mean
            matches a rank, and averaging gradients over ranks gives one process's gradient. None with one rank.

    A batch without any box gives a box part of 0 and, unless `negatives_when_empty` is on, a class part of 0.
    """
    logits, offsets = raw.class_logits.float(), raw.box_offsets.float()
    positive = matches.ground_truths >= 0
    rows = matches.ground_truths.clamp(min=0)

    targets = _class_targets(class_ids, rows, positive)
    class_loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    with torch.no_grad():
        eligible = ~positive if config.negative_iou is None else ~positive & (matches.best_iou < config.negative_iou)
        counted = positive | _hardest(class_loss, eligible, _negatives(positive, config))
    picture_class = torch.where(counted, class_loss, 0.0).sum(dim=1)

    picture_box = offsets.sum(dim=(1, 2)) * 0.0  # keeps the box head in the graph when nothing matched
    if boxes_cxcywh.shape[1]:
        wanted = boxes_cxcywh.gather(1, rows[..., None].expand(-1, -1, 4))
        wanted = torch.where(positive[..., None], wanted, anchors_cxcywh)  # any finite target where nothing is asked
        box_loss = F.smooth_l1_loss(offsets, encode(wanted, anchors_cxcywh.expand_as(wanted)), reduction="none")
        picture_box = torch.where(positive[..., None], box_loss, 0.0).sum(dim=(1, 2))

    matches_of = positive.sum(dim=1).float()
    if config.normaliser == "image":
        share = matches_of.clamp(min=1.0) * len(matches_of)
        return LossParts((picture_class / share).sum(), (picture_box / share).sum(), matches_of.sum())
    total = matches_of.sum()
    normaliser = (total if sum_over_ranks is None else sum_over_ranks(total)).clamp(min=1.0)
    return LossParts(picture_class.sum() / normaliser, picture_box.sum() / normaliser, total)


def _class_targets(
    class_ids: Int[Tensor, "B N"], rows: Int[Tensor, "B A"], positive: Bool[Tensor, "B A"]
) -> Int[Tensor, "B A"]:
    """The class each anchor has to say, with background as 0 and class k as k + 1."""
    if class_ids.shape[1] == 0:
        return torch.zeros_like(rows)
    return torch.where(positive, class_ids.gather(1, rows) + 1, 0)


def _negatives(positive: Bool[Tensor, "B A"], config: LossConfig) -> Float[Tensor, "B 1"]:
    """How many background anchors each picture trains."""
    matched = positive.sum(dim=1, keepdim=True).float()
    wanted = matched * config.negatives_per_match
    if config.negatives_when_empty == "auto":
        when_empty = (3.0 * matched.mean()).clamp(min=3.0).round()
        return torch.where(matched == 0, when_empty, wanted)
    return torch.where(matched == 0, float(config.negatives_when_empty), wanted)


def _hardest(
    loss: Float[Tensor, "B A"], eligible: Bool[Tensor, "B A"], count: Float[Tensor, "B 1"]
) -> Bool[Tensor, "B A"]:
    """The `count` eligible anchors of each picture that are most mistaken; ties go to the earlier anchor."""
    ranked, order = torch.where(eligible, loss, -torch.inf).sort(dim=1, descending=True, stable=True)
    rank = torch.arange(loss.shape[1], device=loss.device)
    chosen = (rank < count) & (ranked > -torch.inf)
    return torch.zeros_like(eligible).scatter(1, order, chosen)
