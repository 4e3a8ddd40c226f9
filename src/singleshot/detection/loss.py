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
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from singleshot.config import check_number
from singleshot.detection.coding import encode
from singleshot.detection.matching import Matches, Rule
from singleshot.detection.mining import hardest
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

    def __post_init__(self) -> None:
        check_number("loss.iou_threshold", self.iou_threshold, 0, 1, above=True)
        check_number("loss.negatives_per_match", self.negatives_per_match, 0)
        if self.negative_iou is not None:
            check_number("loss.negative_iou", self.negative_iou, 0, 1)
        if self.negatives_when_empty != "auto":
            check_number("loss.negatives_when_empty", self.negatives_when_empty, 0)


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
    blank: Bool[Tensor, " B"] | None = None,
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
        blank: (B,) pictures of which nothing is known: they add no loss and no gradient. None for none.
        sum_over_ranks: adds a tensor up over all ranks, which have batches of one size. The mean of the ranks' losses
            and gradients is then what one process with the whole batch would get. None with one rank.

    A batch without any box gives a box part of 0 and, unless `negatives_when_empty` is on, a class part of 0.
    """
    matches_of = (matches.ground_truths >= 0).sum(dim=1).float()
    total, pictures = matches_of.sum(), torch.full_like(matches_of, 1.0).sum()
    joint = torch.stack([total, pictures])
    all_matches, all_pictures = joint if sum_over_ranks is None else sum_over_ranks(joint)

    losses = _losses_of_rows if raw.class_logits.device.type == "cpu" else losses_of_all
    mean_matches = all_matches / all_pictures
    picture_class, picture_box = losses(
        raw, anchors_cxcywh, boxes_cxcywh, class_ids, matches, config, mean_matches=mean_matches
    )
    if blank is not None:
        picture_class = picture_class.masked_fill(blank, 0.0)  # negatives_when_empty; it has no box, so no box loss
    if config.normaliser == "image":
        share = matches_of.clamp(min=1.0) * pictures
        return LossParts((picture_class / share).sum(), (picture_box / share).sum(), total)
    normaliser = all_matches.clamp(min=1.0) * (pictures / all_pictures)
    return LossParts(picture_class.sum() / normaliser, picture_box.sum() / normaliser, total)


def losses_of_all(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    boxes_cxcywh: Float[Tensor, "B N 4"],
    class_ids: Int[Tensor, "B N"],
    matches: Matches,
    config: LossConfig,
    *,
    mean_matches: Float[Tensor, ""],
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Class and box loss of each picture, by tables of all anchors: the path for accelerators.

    Its shapes do not depend on what is matched, so that nobody waits for the device. It is the rows' reference in the
    tests.
    """
    logits, offsets = raw.class_logits.float(), raw.box_offsets.float()
    positive, rows = matches.ground_truths >= 0, matches.ground_truths.clamp(min=0)

    targets = _class_targets(class_ids, rows, positive)
    class_loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    with torch.no_grad():
        count = _negatives(positive, config, mean_matches)
        counted = positive | _hardest(class_loss, _eligible(positive, matches, config), count)
    picture_class = torch.where(counted, class_loss, 0.0).sum(dim=1)

    picture_box = offsets.sum(dim=(1, 2)) * 0.0  # keeps the box head in the graph when nothing matched
    if boxes_cxcywh.shape[1]:
        wanted = boxes_cxcywh.gather(1, rows[..., None].expand(-1, -1, 4))
        wanted = torch.where(positive[..., None], wanted, anchors_cxcywh)  # any finite target where nothing is asked
        box_loss = F.smooth_l1_loss(offsets, encode(wanted, anchors_cxcywh.expand_as(wanted)), reduction="none")
        picture_box = torch.where(positive[..., None], box_loss, 0.0).sum(dim=(1, 2))
    return picture_class, picture_box


def _losses_of_rows(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    boxes_cxcywh: Float[Tensor, "B N 4"],
    class_ids: Int[Tensor, "B N"],
    matches: Matches,
    config: LossConfig,
    *,
    mean_matches: Float[Tensor, ""],
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """The same on a CPU, which has no need for fixed shapes: only the few anchors that pay are looked at again."""
    positive = matches.ground_truths >= 0
    batch, total = positive.shape
    with torch.no_grad():
        matched = positive.flatten().nonzero()[:, 0]
        counts = _negatives(positive, config, mean_matches)[:, 0].ceil().long()
        negatives = hardest(raw.class_logits, _eligible(positive, matches, config), counts)
        picture, anchor = matched // total, matched % total
        truth = matches.ground_truths.flatten()[matched]
        targets = torch.cat([class_ids[picture, truth] + 1, torch.zeros_like(negatives)])
        offsets = encode(boxes_cxcywh[picture, truth], anchors_cxcywh[anchor])
    counted = torch.cat([matched, negatives])
    logits = _Rows.apply(raw.class_logits.flatten(0, 1), counted)
    class_loss = F.cross_entropy(logits.float(), targets, reduction="none")
    found = _Rows.apply(raw.box_offsets.flatten(0, 1), matched)
    box_loss = F.smooth_l1_loss(found.float(), offsets.float(), reduction="none").sum(dim=1)
    none = class_loss.new_zeros(batch)
    return none.index_add(0, counted // total, class_loss), none.index_add(0, picture, box_loss)


class _Rows(torch.autograd.Function):
    """`table[rows]` for rows that differ from one another: the gradient is then a copy, where torch would add up."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return table.index_select(0, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (rows,) = ctx.saved_tensors
        return gradients[0].new_zeros(ctx.shape).index_copy_(0, rows, gradients[0]), None


def _eligible(positive: Bool[Tensor, "B A"], matches: Matches, config: LossConfig) -> Bool[Tensor, "B A"]:
    """The anchors that may be negatives."""
    return ~positive if config.negative_iou is None else ~positive & (matches.best_iou < config.negative_iou)


def _class_targets(
    class_ids: Int[Tensor, "B N"], rows: Int[Tensor, "B A"], positive: Bool[Tensor, "B A"]
) -> Int[Tensor, "B A"]:
    """The class each anchor has to say, with background as 0 and class k as k + 1."""
    if class_ids.shape[1] == 0:
        return torch.zeros_like(rows)
    return torch.where(positive, class_ids.gather(1, rows) + 1, 0)


def _negatives(
    positive: Bool[Tensor, "B A"], config: LossConfig, mean_matches: Float[Tensor, ""]
) -> Float[Tensor, "B 1"]:
    """How many background anchors each picture trains, where a picture has `mean_matches` on average."""
    matched = positive.sum(dim=1, keepdim=True).float()
    wanted = matched * config.negatives_per_match
    if config.negatives_when_empty == "auto":
        when_empty = (3.0 * mean_matches).clamp(min=3.0).round()
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
