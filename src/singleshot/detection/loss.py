"""The multibox loss: cross-entropy of the classes and smooth L1 of the boxes, over the anchors that are trained.

An anchor with a box learns its class (softmax cross-entropy) and its box (smooth L1 of the offsets). Of the thousands
without one, only the background anchors of greatest loss are trained, three for each match of the same image, so that
background does not drown the objects. Both sums are divided by the number of matches in the batch (Caffe's VALID
normaliser), or image by image (the 2017 re-implementation).

Where a sigmoid scores each class by itself, there is no background: an anchor learns 1 for its class and 0 for all
others (binary cross-entropy, summed over the classes), a background anchor 0 for all, and the hardest background
anchors are those with the greatest logit. With `quality` the target is the IoU of the predicted box instead, so that
the score says how good the box is, and nothing is mined: every anchor counts, by the size of its error.

Sources: weiliu89/caffe, `multibox_loss_layer.cpp` and `bbox_util.cpp` (MAX_NEGATIVE mining); for `quality` Li et al.
2020 (Generalized Focal Loss, equation 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from singleshot.compiled import compiled
from singleshot.config import Above, AtLeast, Config, Range
from singleshot.detection.adaptive import AdaptiveRule
from singleshot.detection.box_loss import IoULoss, iou_loss, paired_iou
from singleshot.detection.coding import RawDetections, Scores, decode, encode
from singleshot.detection.matching import BACKGROUND, IGNORED, Matcher, Rule
from singleshot.detection.numerics import HIGHEST, LOWEST, exponentiate, greatest

# Anchors whose loss is computed together: their logits and the work space fit into the first cache.
_BLOCK = 32


@dataclass(frozen=True)
class LossConfig(Config, name="loss"):
    """The choices on which published results differ; the defaults are the Caffe reference's."""

    matching: Rule | AdaptiveRule = "bipartite"
    """How anchors are matched to objects, see `matching`; `atss` and `task-aligned` have no fixed IoU, see
    `adaptive`."""
    iou_threshold: Annotated[float, Above(0, 1)] = 0.5
    """IoU from which an anchor is matched to an object."""
    negatives_per_match: Annotated[float, AtLeast(0)] = 3.0
    """Background anchors in the loss for each matched one."""
    negative_iou: Annotated[float, Range(0, 1)] | None = 0.5
    """Only anchors with less IoU than this with every object can be negatives; null: all unmatched ones."""
    normaliser: Literal["batch", "image"] = "batch"
    """`batch` divides by the matches of the whole batch (summed over ranks); `image` divides each image's loss by its
    own matches, then takes the mean over images."""
    negatives_when_empty: Annotated[int, AtLeast(0)] | Literal["auto"] = 0
    """Negatives of an image without objects: 0 in the reference, where such an image trains nothing; `auto`: three
    times the batch's mean matches per image, at least three."""

    quality: Annotated[float, AtLeast(0)] | None = None
    """For sigmoid scores: the class target is the IoU of the predicted box, and every anchor is trained, weighted by
    its error to this power (quality focal loss; its β is 2); null: target 1, and hard negatives alone."""
    box_iou: IoULoss | None = None
    """A loss of the IoU family beside smooth L1, see `box_loss`; null: smooth L1 alone."""
    box_iou_weight: Annotated[float, Above(0)] = 5.0
    """Weight of that loss."""

    def matcher(self, anchors_cxcywh: Float[Tensor, "A 4"]) -> Matcher:
        """Return the matcher of these choices for some anchors. Raises ValueError for a rule of `adaptive`."""
        if self.matching in ("atss", "task-aligned"):
            raise ValueError(f"{self.matching} is no rule of `Matcher`")
        return Matcher(anchors_cxcywh, self.matching, iou_threshold=self.iou_threshold, negative_iou=self.negative_iou)


def count_matches(assignments: Int[Tensor, "B A"]) -> Float[Tensor, "3"]:
    """Count the matches and the images of a rank's batch, and the rank itself, to be added up over ranks."""
    matches = (assignments >= 0).sum().float()
    return torch.stack([matches, torch.full_like(matches, len(assignments)), torch.ones_like(matches)])


@dataclass(frozen=True)
class AnchorTargets:
    """What the anchors learn from a batch.

    Args:
        anchors_cxcywh: (A, 4) fractions of the input.
        boxes_cxcywh: (B, N, 4) ground truths, padded, in the same frame. N may be 0.
        class_ids: (B, N) 0-based, −1 on padding rows.
        assignments: (B, A) the row of the box that each anchor learns, `BACKGROUND` or `IGNORED`; see `Matcher`.
    """

    anchors_cxcywh: Float[Tensor, "A 4"]
    boxes_cxcywh: Float[Tensor, "B N 4"]
    class_ids: Int[Tensor, "B N"]
    assignments: Int[Tensor, "B A"]

    @property
    def is_positive(self) -> Bool[Tensor, "B A"]:
        """Whether an anchor learns a box."""
        return self.assignments >= 0

    def anchor_classes(self) -> Int[Tensor, "B A"]:
        """Return the class that each anchor learns; −1 for none."""
        if not self.class_ids.shape[1]:
            return torch.full_like(self.assignments, -1, dtype=torch.long)
        return torch.where(self.is_positive, self.class_ids.gather(1, self._rows()), -1)

    def anchor_boxes(self) -> Float[Tensor, "B A 4"]:
        """Return the box that each anchor learns; the anchor itself, as any finite target, where it learns none."""
        own = self.anchors_cxcywh.expand(len(self.assignments), -1, 4)
        if not self.boxes_cxcywh.shape[1]:
            return own
        found = self.boxes_cxcywh.gather(1, self._rows()[..., None].expand(-1, -1, 4))
        return torch.where(self.is_positive[..., None], found, own)

    def _rows(self) -> Int[Tensor, "B A"]:
        return self.assignments.clamp(min=0).long()


def multibox_loss(
    raw: RawDetections,
    anchors_cxcywh: Float[Tensor, "A 4"],
    boxes_cxcywh: Float[Tensor, "B N 4"],
    class_ids: Int[Tensor, "B N"],
    assignments: Int[Tensor, "B A"],
    config: LossConfig,
    *,
    blank: Bool[Tensor, " B"] | None = None,
    totals: Float[Tensor, "3"] | None = None,
    scores: Scores = "softmax",
) -> dict[str, Float[Tensor, ""]]:
    """Compute the loss of a batch, in float32 whatever the network's precision.

    Args:
        raw: the network's output.
        anchors_cxcywh: (A, 4) fractions of the input.
        boxes_cxcywh: (B, N, 4) ground truths, padded, in the same frame.
        class_ids: (B, N) 0-based, −1 on padding rows.
        assignments: (B, A) the row of the box that each anchor learns, `BACKGROUND` or `IGNORED`; see `Matcher`.
        config: see `LossConfig`.
        blank: (B,) images without known content: they add no loss and no gradient. None for none.
        totals: matches and images of the whole step, over all its parts and ranks, and the number of ranks
            (`count_matches`), if this batch is one of several; ranks have equal numbers of images. None if it is all.
        scores: how the network's class scores come from its logits.

    Returns:
        The scalars `class` and `box`; their sum is minimised. Both are finite for finite outputs. Added up over the
        parts of a step and averaged over ranks, they are what one batch of all images gives. A batch without any box
        has a `box` of 0 and, unless `negatives_when_empty` is on, a `class` of 0.
    """
    all_matches, all_images, ranks = count_matches(assignments) if totals is None else totals
    targets = AnchorTargets(anchors_cxcywh, boxes_cxcywh, class_ids, assignments)
    mean_matches = all_matches / all_images
    if config.quality is not None:
        image_class, image_box = quality_losses(raw, targets, config)
    elif raw.class_logits.device.type == "cpu" and scores == "softmax":
        image_class, image_box = sparse_losses(raw, targets, config, mean_matches=mean_matches)
    else:
        image_class, image_box = dense_losses(raw, targets, config, mean_matches=mean_matches, scores=scores)
    if blank is not None:
        image_class = image_class.masked_fill(blank, 0.0)  # negatives_when_empty; it has no box, so no box loss
    images = len(assignments)
    share = images * ranks / all_images  # of this rank's images in the step
    if config.normaliser == "image":
        divisor = (assignments >= 0).sum(dim=1).float().clamp(min=1.0) * images
        return {"class": (image_class / divisor).sum() * share, "box": (image_box / divisor).sum() * share}
    divisor = all_matches.clamp(min=1.0) * (images / all_images)
    return {"class": image_class.sum() / divisor * share, "box": image_box.sum() / divisor * share}


def dense_losses(
    raw: RawDetections,
    targets: AnchorTargets,
    config: LossConfig,
    *,
    mean_matches: Float[Tensor, ""],
    scores: Scores = "softmax",
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Compute class and box loss of each image by tables of all anchors: the path for accelerators and for sigmoids.

    Its shapes do not depend on the matches, so that nothing waits for the device. Its memory is a few times that of
    the network's output. In the tests it is the reference of `sparse_losses`.
    """
    logits, offsets = raw.class_logits.float(), raw.box_offsets.float()
    positive = targets.is_positive
    class_loss, hardness = (_sigmoid_loss if scores == "sigmoid" else _softmax_loss)(
        logits, targets.anchor_classes() + 1
    )
    with torch.no_grad():
        # The hardest background anchors; ties go to the earlier anchor.
        count = _negative_counts(positive, config, mean_matches)
        background = torch.where(targets.assignments == BACKGROUND, hardness, -torch.inf)
        ranked, order = background.sort(dim=1, descending=True, stable=True)
        rank = torch.arange(ranked.shape[1], device=ranked.device)
        negative = torch.zeros_like(positive).scatter(1, order, (rank < count) & (ranked > -torch.inf))
    image_class = torch.where(positive | negative, class_loss, 0.0).sum(dim=1)

    image_box = offsets.sum(dim=(1, 2)) * 0.0  # keeps the box head in the graph when nothing matched
    if targets.boxes_cxcywh.shape[1]:
        learned = targets.anchor_boxes()
        box_loss = _box_loss(offsets, learned, targets.anchors_cxcywh.expand_as(learned), config)
        image_box = torch.where(positive, box_loss, 0.0).sum(dim=1)
    return image_class, image_box


def quality_losses(
    raw: RawDetections,
    targets: AnchorTargets,
    config: LossConfig,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Compute class and box loss of each image where the class target is the IoU of the predicted box; sigmoids only.

    Anchors that are `IGNORED` have no class loss; an image without objects trains every anchor as background.
    """
    logits = raw.class_logits.float()
    positive, learned = targets.is_positive, targets.anchor_boxes()
    classes = targets.anchor_classes().clamp(min=0)
    offsets, anchors = raw.box_offsets.float(), targets.anchors_cxcywh.expand_as(learned)
    with torch.no_grad():
        iou = torch.where(positive, paired_iou(decode(offsets, anchors), learned), 0.0)
        wanted = torch.zeros_like(logits).scatter_(2, classes[..., None], iou[..., None])
        error = (logits.sigmoid() - wanted).abs()
    # The weight has a gradient of its own in the published loss; it is small, and none is taken here.
    class_loss = error.pow(config.quality or 0.0) * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    image_class = torch.where(targets.assignments != IGNORED, class_loss.sum(dim=2), 0.0).sum(dim=1)
    box_loss = _box_loss(offsets, learned, anchors, config)
    return image_class, torch.where(positive, box_loss, 0.0).sum(dim=1)


def _softmax_loss(
    logits: Float[Tensor, "B A K"], targets: Int[Tensor, "B A"]
) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A"]]:
    """Return the loss of each anchor, for columns that begin with the background, and how hard it is: the same."""
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    return loss, loss


def _sigmoid_loss(
    logits: Float[Tensor, "B A C"], targets: Int[Tensor, "B A"]
) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A"]]:
    """Return the loss of each anchor summed over the classes, and its greatest logit; target 0 is no class."""
    wanted = F.one_hot(targets, logits.shape[-1] + 1)[..., 1:].to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(dim=-1), logits.amax(dim=-1)


def sparse_losses(
    raw: RawDetections,
    targets: AnchorTargets,
    config: LossConfig,
    *,
    mean_matches: Float[Tensor, ""],
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Compute the same on a CPU, which needs no fixed shapes: losses of the few anchors that are trained alone."""
    positive, assignments = targets.is_positive, targets.assignments
    batch, total = assignments.shape
    with torch.no_grad():
        matched = positive.flatten().nonzero()[:, 0]
        counts = _negative_counts(positive, config, mean_matches)[:, 0].ceil().long()
        negatives = hardest_negatives(raw.class_logits, assignments == BACKGROUND, counts)
        image, anchor = matched // total, matched % total
        truth = assignments.flatten()[matched].long()
        classes = torch.cat([targets.class_ids[image, truth] + 1, torch.zeros_like(negatives)])
    trained = torch.cat([matched, negatives])
    logits = _Rows.apply(raw.class_logits.flatten(0, 1), trained)
    class_loss = F.cross_entropy(logits.float(), classes, reduction="none")
    predicted = _Rows.apply(raw.box_offsets.flatten(0, 1), matched)
    boxes, anchors = targets.boxes_cxcywh[image, truth], targets.anchors_cxcywh[anchor]
    box_loss = _box_loss(predicted.float(), boxes, anchors, config)
    zeros = class_loss.new_zeros(batch)
    return zeros.index_add(0, trained // total, class_loss), zeros.index_add(0, image, box_loss)


def _box_loss(
    offsets: Float[Tensor, "*B 4"],
    boxes_cxcywh: Float[Tensor, "*B 4"],
    anchors_cxcywh: Float[Tensor, "*B 4"],
    config: LossConfig,
) -> Float[Tensor, "*B"]:
    """Return the loss of each predicted box: smooth L1 of its offsets, and the IoU loss where the config has one."""
    with torch.no_grad():
        targets = encode(boxes_cxcywh, anchors_cxcywh).float()
    loss = F.smooth_l1_loss(offsets, targets, reduction="none").sum(dim=-1)
    if config.box_iou is None:
        return loss
    return loss + config.box_iou_weight * iou_loss(decode(offsets, anchors_cxcywh), boxes_cxcywh, config.box_iou)


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


def _negative_counts(
    positive: Bool[Tensor, "B A"], config: LossConfig, mean_matches: Float[Tensor, ""]
) -> Float[Tensor, "B 1"]:
    """Return how many background anchors each image trains, if an image has `mean_matches` on average."""
    matched = positive.sum(dim=1, keepdim=True).float()
    per_match = matched * config.negatives_per_match
    if config.negatives_when_empty == "auto":
        when_empty = (3.0 * mean_matches).clamp(min=3.0).round()
        return torch.where(matched == 0, when_empty, per_match)
    return torch.where(matched == 0, float(config.negatives_when_empty), per_match)


def hardest_negatives(
    class_logits: Float[Tensor, "B A K"], eligible: Bool[Tensor, "B A"], counts: Int[Tensor, " B"]
) -> Int[Tensor, " S"]:
    """Choose the `counts[b]` eligible anchors of greatest background loss in each image, or all if they are fewer.

    Ranking thousands of anchors by a softmax and two sorts is where a loss on a CPU would spend its time. The rank
    needs less: the loss of a background anchor is log(1 + s) with s = Σ e^(l_k − l_0) over the classes k ≥ 1. It grows
    with s, so s itself is compared, and the k-th greatest of a row is found without sorting it.

    Args:
        class_logits: (B, A, C + 1), on the CPU; column 0 is background.
        eligible: (B, A) anchors that may be chosen.
        counts: (B,) how many to choose, at least 0.

    Returns:
        (S,) rows of the (B·A, ·) tables, rising. Ties go to the earlier anchor; an anchor that is wrong by more than
        80 nats, or not finite, ranks as one that is wrong by 80.
    """
    logits = class_logits.detach().float().contiguous().numpy()
    return torch.from_numpy(_hardest(logits, eligible.numpy(), counts.numpy()))


@compiled
def _hardest(logits, eligible, counts):  # noqa: ANN001, ANN202
    batch, total, _ = logits.shape
    rows = np.empty(min(counts.sum(), batch * total), np.int64)
    odds = np.empty(total, np.float32)
    # Bits of positive floats are ordered as the floats are, and integers have no NaN.
    bits = odds.view(np.int32)
    filled = 0
    for b in range(batch):
        if counts[b] == 0:
            continue
        _write_odds(logits[b], odds)
        candidates = np.nonzero(eligible[b])[0]
        for index in greatest(bits[candidates], counts[b]):
            rows[filled] = b * total + candidates[index]
            filled += 1
    return rows[:filled]


@compiled
def _write_odds(logits, odds):  # noqa: ANN001, ANN202
    """Write s, the odds of any class against background, of each of the (A, K) anchors."""
    total, width = logits.shape
    values = np.empty((_BLOCK, width), np.float32)
    whole, power = np.empty(_BLOCK * width, np.float32), np.empty(_BLOCK * width, np.float32)
    for start in range(0, total, _BLOCK):
        block = logits[start : start + _BLOCK]
        for i in range(len(block)):
            row, out, background = block[i], values[i], block[i, 0]
            for k in range(width):
                above = row[k] - background
                above = above if above < HIGHEST else HIGHEST
                out[k] = above if above > LOWEST else LOWEST
        used = len(block) * width
        exponentiate(values.reshape(-1)[:used], whole[:used], power[:used])
        sums = odds[start : start + _BLOCK]
        for i in range(len(block)):
            out, s = values[i], np.float32(0)
            for k in range(1, width):
                s += out[k]
            sums[i] = s
