"""The loss of a segmenter: cross-entropy over the pixels that are not void, and soft IoU beside it where wanted.

Void pixels weigh nothing. A tile that is void all over has the loss 0 and a gradient of 0, where the textbook mean
over no pixel would be NaN and end the run. Rare classes may be weighed up: most pixels of a street are road, sky and
wall, and the mean of IoU asks after each class alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from singleshot.errors import ConfigError
from singleshot.structures import VOID


@dataclass(frozen=True)
class PixelLossConfig:
    """How a segmenter's loss is made up.

    Args:
        class_weights: `none`; `log`: 1 / ln(1.02 + the class's share of the training pixels) (Paszke et al. 2016,
            ENet); or one weight a class, in the order of ids.
        soft_iou: how much 1 − soft IoU counts beside the cross-entropy; 0 leaves it out.
    """

    class_weights: Literal["none", "log"] | tuple[float, ...] = "none"
    soft_iou: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.class_weights, tuple) and not all(0 <= each < float("inf") for each in self.class_weights):
            raise ConfigError(f"class_weights is {self.class_weights}", remedy="Give numbers of 0 or more")
        if not 0 <= self.soft_iou < float("inf"):
            raise ConfigError(f"soft_iou is {self.soft_iou}", remedy="Give 0 or more")


@dataclass(frozen=True)
class PixelLoss:
    """The parts, scalars; their sum is minimised. `soft_iou` is None where it is left out."""

    cross_entropy: Float[Tensor, ""]
    soft_iou: Float[Tensor, ""] | None = None

    def parts(self) -> dict[str, Tensor]:
        """The parts by the names under which they are logged."""
        named = {"pixel": self.cross_entropy}
        return named if self.soft_iou is None else named | {"soft_iou": self.soft_iou}


def pixel_loss(
    logits: Float[Tensor, "B C H W"],
    masks: UInt8[Tensor, "B H W"],
    config: PixelLossConfig | None = None,
    weights: Float[Tensor, " C"] | None = None,
) -> PixelLoss:
    """The loss of a batch.

    Args:
        logits: float32 scores of every pixel.
        masks: class ids below C, or `VOID`.
        config: see there.
        weights: of the classes; the mean is over weights, so that their scale does not matter. None for equal ones.

    Both parts are 0 where every pixel is void.
    """
    config = config or PixelLossConfig()
    summed = F.cross_entropy(logits, masks.long(), weight=weights, ignore_index=VOID, reduction="sum")
    total = pixel_weight(masks, weights)
    cross_entropy = summed / total.clamp(min=torch.finfo(logits.dtype).tiny)
    if not config.soft_iou:
        return PixelLoss(cross_entropy)
    return PixelLoss(cross_entropy, config.soft_iou * soft_iou_loss(logits, masks))


def pixel_weight(masks: UInt8[Tensor, "B H W"], weights: Float[Tensor, " C"] | None = None) -> Float[Tensor, ""]:
    """The sum of the weights of all pixels that are not void, their number where classes weigh alike."""
    known = masks != VOID
    if weights is None:
        return known.sum().float()
    return (weights[masks.long().clamp(max=len(weights) - 1)] * known).sum()


def soft_iou_loss(logits: Float[Tensor, "B C H W"], masks: UInt8[Tensor, "B H W"]) -> Float[Tensor, ""]:
    """1 − the mean IoU of the batch with probabilities in the place of decisions (Rahman and Wang 2016).

        Σ p·t / Σ (p + t − p·t) over the pixels that are not void, for each class that the masks hold, then the mean

    Classes that the masks do not hold are left out: they would all have IoU 0. No class at all gives 0.
    """
    classes = logits.shape[1]
    known = masks != VOID
    probabilities = logits.softmax(dim=1)
    truth = masks.long() * known
    # What the true class got, pixel by pixel, summed by class; void counts 0 towards class 0.
    got = probabilities.gather(1, truth[:, None])[:, 0] * known
    both = got.new_zeros(classes).index_add(0, truth.flatten(), got.flatten())
    # Not truth[known] and not bincount: how long their results are the host would have to ask the device.
    there = torch.zeros(classes, dtype=torch.long, device=masks.device)
    there = there.index_add(0, truth.flatten(), known.flatten().long()).to(got.dtype)
    claimed = (probabilities * known[:, None]).sum(dim=(0, 2, 3))
    either = claimed + there - both
    present = there > 0
    ious = both / either.clamp(min=torch.finfo(logits.dtype).tiny)
    return (present * (1 - ious)).sum() / present.sum().clamp(min=1)


def log_weights(pixel_counts: Int[ndarray, " C"]) -> Float[ndarray, " C"]:
    """ENet's weights 1 / ln(1.02 + share), between 1.42 for a class that is everything and 50.5 for one that is rare.

    A class that never occurs gets the weight 0, so that nothing rests on it. Pixels of void must not be counted.

    >>> import numpy as np
    >>> [round(float(weight), 2) for weight in log_weights(np.array([98, 2, 0]))]
    [1.44, 25.5, 0.0]
    """
    import numpy as np

    shares = pixel_counts / max(1, pixel_counts.sum())
    return np.where(pixel_counts > 0, 1 / np.log(1.02 + shares), 0.0).astype(np.float32)
