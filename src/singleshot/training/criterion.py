"""The loss of a step, for detectors and segmenters: what a batch teaches, what its loss is divided by, and the losses.

    targets = criterion.targets(batch)                      which object each anchor learns; or the masks
    totals = ranks.sum(criterion.totals(targets))           what the loss of the whole step is divided by
    losses = criterion(outputs, targets[rows], totals)      {"class": …, "box": …} or {"pixel": …, "soft_iou": …}

A batch may go through the network in parts, and several ranks may share a step. The losses of a part are its share of
the rank's loss: summed over the parts, and averaged over the ranks, they are the loss of one process that has the
whole batch. One part on one rank is no special case: its share is 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int32, UInt8
from torch import Tensor

from singleshot.data.augment.augment import pad_mask, resize_mask
from singleshot.detection.adaptive import TOPK, atss, task_aligned
from singleshot.detection.coding import RawDetections, decode
from singleshot.detection.loss import LossConfig, count_matches, multibox_loss
from singleshot.detection.matching import BACKGROUND
from singleshot.detection.ssd import SSD
from singleshot.preprocess import Preprocess, boxes_to_fractions, inner_size_hw
from singleshot.segmentation.loss import PixelLossConfig, pixel_loss, pixel_weight
from singleshot.structures import Batch, BoxTargets, FullSizeMasks

BatchTotals: TypeAlias = Float[Tensor, " 3"]
"""What the loss of a step is divided by: matched anchors (or the weight of the labelled pixels), images, ranks.

`Criterion.totals` counts those of one rank, 1 being its number of ranks; their sum over the ranks is what
`Criterion.__call__` takes.
"""


@runtime_checkable
class Criterion(Protocol):
    """The loss of a kind of model: `DetectionCriterion` or `SegmentationCriterion`."""

    validated: ClassVar[tuple[str, ...]]
    """The losses that validation reports."""

    def prepare_evaluated(self, batch: Any, preprocess: Preprocess) -> Any:
        """Turn a batch as evaluation loads it into one as training loads it, so that its loss can be computed."""
        ...

    def targets(self, batch: Any) -> Any:
        """Return what the images of a batch teach, on the batch's device. A slice of it are the images' rows."""
        ...

    def totals(self, targets: Any) -> BatchTotals:
        """Count what the loss of these images is divided by, see `BatchTotals`."""
        ...

    def __call__(self, outputs: Any, targets: Any, totals: BatchTotals) -> dict[str, Tensor]:
        """Return the losses of images by name, each () float32 and its share of the step; their sum is minimised."""
        ...


@dataclass(frozen=True)
class DetectionTargets:
    """What anchors learn from a batch.

    Args:
        boxes_cxcywh: (B, N, 4) objects as fractions of the network input, padded.
        class_ids: (B, N) 0-based, −1 in padding rows.
        assignments: (B, A) the row of the box that each anchor learns, `BACKGROUND` or `IGNORED`; see `Matcher`.
        unread: (B,) images that could not be read and add no loss; None for none.
    """

    boxes_cxcywh: Float[Tensor, "B N 4"]
    class_ids: Int[Tensor, "B N"]
    assignments: Int[Tensor, "B A"]
    unread: Bool[Tensor, " B"] | None

    def __len__(self) -> int:
        return len(self.boxes_cxcywh)

    def __getitem__(self, rows: slice) -> DetectionTargets:
        unread = None if self.unread is None else self.unread[rows]
        return DetectionTargets(self.boxes_cxcywh[rows], self.class_ids[rows], self.assignments[rows], unread)


class Assigner(Protocol):
    """Decides which object each anchor learns. A criterion calls those by boxes and those by outputs alike."""

    def assign(self, boxes_cxcywh: Float[Tensor, "B N 4"], class_ids: Int[Tensor, "B N"]) -> Int32[Tensor, "B A"]:
        """Return the assignments of `DetectionTargets` as far as they are known before the forward pass."""
        ...

    def count(self, targets: DetectionTargets) -> BatchTotals:
        """Count matches and images, see `count_matches`."""
        ...

    def refine(self, raw: RawDetections, targets: DetectionTargets) -> Int[Tensor, "B A"]:
        """Return the final assignments, by the network's output."""
        ...


class BoxAssigner:
    """Assigns by the boxes alone: final before the forward pass."""

    def __init__(self, network: SSD, config: LossConfig) -> None:
        self._network, self._config = network, config

    def assign(self, boxes_cxcywh: Float[Tensor, "B N 4"], class_ids: Int[Tensor, "B N"]) -> Int32[Tensor, "B A"]:
        """See `Assigner`."""
        anchors, present = self._network.anchors_cxcywh, class_ids >= 0
        if self._config.matching == "atss":
            return atss(anchors, self._network.config.anchors, boxes_cxcywh, present)
        return self._config.matcher(anchors).match_batch(boxes_cxcywh, present)

    def count(self, targets: DetectionTargets) -> BatchTotals:
        """See `Assigner`."""
        return count_matches(targets.assignments)

    def refine(self, raw: RawDetections, targets: DetectionTargets) -> Int[Tensor, "B A"]:
        """See `Assigner`."""
        del raw
        return targets.assignments


class OutputAssigner:
    """Assigns by the network's scores and boxes (`task_aligned`): nothing is known before the forward pass."""

    def __init__(self, network: SSD) -> None:
        self._network = network

    def assign(self, boxes_cxcywh: Float[Tensor, "B N 4"], class_ids: Int[Tensor, "B N"]) -> Int32[Tensor, "B A"]:
        """See `Assigner`; all background."""
        shape = (len(boxes_cxcywh), len(self._network.anchors_cxcywh))
        return class_ids.new_full(shape, BACKGROUND, dtype=torch.int32)

    def count(self, targets: DetectionTargets) -> BatchTotals:
        """See `Assigner`; each object counts as if it got all of its anchors."""
        matches = TOPK * (targets.class_ids >= 0).sum().float()
        return torch.stack([matches, torch.full_like(matches, len(targets)), torch.ones_like(matches)])

    @torch.no_grad()
    def refine(self, raw: RawDetections, targets: DetectionTargets) -> Int[Tensor, "B A"]:
        """See `Assigner`."""
        config, logits, anchors = self._network.config, raw.class_logits, self._network.anchors_cxcywh
        every = logits.sigmoid() if config.scores == "sigmoid" else logits.softmax(-1)
        # A list as an index would be copied to the device, and the copy waits for it.
        scores = torch.stack([every[..., column] for column in config.class_columns], dim=-1)
        predicted = decode(raw.box_offsets, anchors)
        return task_aligned(anchors, targets.boxes_cxcywh, targets.class_ids, scores, predicted)


class DetectionCriterion:
    """The multibox loss of a detector.

    Args:
        network: its anchors and its input size count, wherever it is moved to.
        config: the choices of the loss and of matching.
    """

    validated: ClassVar[tuple[str, ...]] = ("class", "box")

    def __init__(self, network: SSD, config: LossConfig) -> None:
        self.network, self.config = network, config
        by_output = config.matching == "task-aligned"
        self._assigner: Assigner = OutputAssigner(network) if by_output else BoxAssigner(network, config)

    def prepare_evaluated(self, batch: Batch[BoxTargets], preprocess: Preprocess) -> Batch[BoxTargets]:
        """Return the batch: boxes are the same in training and evaluation."""
        del preprocess
        return batch

    def targets(self, batch: Batch[BoxTargets]) -> DetectionTargets:
        """Assign the anchors to the boxes of a batch, as far as the rule needs no output of the network."""
        boxes = boxes_to_fractions(batch.targets.boxes_xyxy, self.network.config.input_size_hw)
        assignments = self._assigner.assign(boxes, batch.targets.class_ids)
        # `blank` is asked on the host, so that nothing waits for a device.
        unread = batch.blank.to(boxes.device) if batch.blank.any() else None
        return DetectionTargets(boxes, batch.targets.class_ids, assignments, unread)

    def totals(self, targets: DetectionTargets) -> BatchTotals:
        """Count matched anchors and images."""
        return self._assigner.count(targets)

    def __call__(self, outputs: RawDetections, targets: DetectionTargets, totals: BatchTotals) -> dict[str, Tensor]:
        """Return `class` and `box`, see `multibox_loss`."""
        return multibox_loss(
            outputs,
            self.network.anchors_cxcywh,
            targets.boxes_cxcywh,
            targets.class_ids,
            self._assigner.refine(outputs, targets),
            self.config,
            blank=targets.unread,
            totals=totals,
            scores=self.network.config.scores,
        )


class SegmentationCriterion:
    """The cross-entropy of a segmenter, with soft IoU beside it where the config wants it.

    Soft IoU is no mean over pixels: each part and each rank has its own, and a recipe may not add it up from parts.

    Args:
        config: how the loss is made up.
        class_weights: of the classes, or None for equal ones.
    """

    validated: ClassVar[tuple[str, ...]] = ("pixel",)

    def __init__(self, config: PixelLossConfig, class_weights: Float[Tensor, " C"] | None = None) -> None:
        self.config, self.class_weights = config, class_weights

    def prepare_evaluated(self, batch: Batch[Any], preprocess: Preprocess) -> Batch[Any]:
        """Bring the masks to the size of the network's output. Raises ValueError for an image without a mask."""
        full: FullSizeMasks = batch.targets
        size_hw, masks = preprocess.size_hw, []
        for mask in full.masks:
            if mask is None:
                raise ValueError("an image without a mask")
            truth = mask.numpy()
            inner_hw = inner_size_hw((truth.shape[0], truth.shape[1]), size_hw, preprocess.fit)
            masks.append(pad_mask(resize_mask(truth, inner_hw), size_hw))
        return replace(batch, targets=torch.from_numpy(np.stack(masks)))

    def targets(self, batch: Batch[Tensor]) -> UInt8[Tensor, "B H W"]:
        """Return the masks of a batch."""
        if self.class_weights is not None and self.class_weights.device != batch.targets.device:
            self.class_weights = self.class_weights.to(batch.targets.device)  # once: each copy waits for the device
        return batch.targets

    def totals(self, targets: UInt8[Tensor, "B H W"]) -> BatchTotals:
        """Add up the weights of the labelled pixels, and count images."""
        weight = pixel_weight(targets, self.class_weights)
        return torch.stack([weight, torch.full_like(weight, len(targets)), torch.ones_like(weight)])

    def __call__(
        self, outputs: Float[Tensor, "B C H W"], targets: UInt8[Tensor, "B H W"], totals: BatchTotals
    ) -> dict[str, Tensor]:
        """Return `pixel`, and `soft_iou` where the config wants it, see `pixel_loss`."""
        weight, _, ranks = totals
        losses = pixel_loss(outputs, targets, self.config, self.class_weights)
        of_rank = (weight / ranks).clamp(min=torch.finfo(torch.float32).tiny)
        return losses | {"pixel": losses["pixel"] * (pixel_weight(targets, self.class_weights) / of_rank)}
