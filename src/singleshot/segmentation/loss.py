"""The loss of a segmenter: cross-entropy over the pixels that are not void, and optionally soft IoU.

Void pixels have no weight. A tile that is entirely void has the loss 0 and a gradient of 0, where the textbook mean
over no pixel would be NaN and end the run. Rare classes may have a higher weight: most pixels of a street are road,
sky and wall, and mIoU counts each class alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from singleshot.config import AtLeast, Config
from singleshot.structures import VOID


@dataclass(frozen=True)
class PixelLossConfig(Config, name="pixel_loss"):
    """How a segmenter's loss is made up."""

    class_weights: Literal["none", "log"] | tuple[Annotated[float, AtLeast(0)], ...] = "none"
    """none; log: 1 / ln(1.02 + the class's share of the training pixels) (Paszke et al. 2016, ENet); or one weight for
    each class, in the order of ids."""
    soft_iou: Annotated[float, AtLeast(0)] = 0.0
    """Weight of 1 − soft IoU beside the cross-entropy; 0 leaves it out."""


def pixel_loss(
    logits: Float[Tensor, "B C H W"],
    masks: UInt8[Tensor, "B H W"],
    config: PixelLossConfig | None = None,
    weights: Float[Tensor, " C"] | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Compute the loss of a batch.

    Args:
        logits: float32 scores of every pixel.
        masks: class ids below C, or `VOID`.
        config: see `PixelLossConfig`.
        weights: of the classes; the mean is over weights, so that their scale does not matter. None for equal ones.

    Returns:
        The scalars `pixel` (cross-entropy) and, unless it is left out, `soft_iou`; their sum is minimised. Both are 0
        if every pixel is void.
    """
    config = config or PixelLossConfig()
    summed = F.cross_entropy(logits, masks.long(), weight=weights, ignore_index=VOID, reduction="sum")
    total = pixel_weight(masks, weights)
    losses = {"pixel": summed / total.clamp(min=torch.finfo(logits.dtype).tiny)}
    if config.soft_iou:
        losses["soft_iou"] = config.soft_iou * soft_iou_loss(logits, masks)
    return losses


def pixel_weight(masks: UInt8[Tensor, "B H W"], weights: Float[Tensor, " C"] | None = None) -> Float[Tensor, ""]:
    """Sum the weights of all pixels that are not void; with equal weights, their number."""
    known = masks != VOID
    if weights is None:
        return known.sum().float()
    return (weights[masks.long().clamp(max=len(weights) - 1)] * known).sum()


def soft_iou_loss(logits: Float[Tensor, "B C H W"], masks: UInt8[Tensor, "B H W"]) -> Float[Tensor, ""]:
    """Compute 1 − the mean IoU of the batch with probabilities instead of decisions (Rahman and Wang 2016).

        Σ p·t / Σ (p + t − p·t) over the pixels that are not void, for each class in the masks, then the mean

    Classes that are not in the masks are left out: they would all have IoU 0. No class at all gives 0.
    """
    classes = logits.shape[1]
    known = masks != VOID
    probabilities = logits.softmax(dim=1)
    truth = masks.long() * known
    # The probability of the true class of each pixel, summed by class; void counts 0 towards class 0.
    of_truth = probabilities.gather(1, truth[:, None])[:, 0] * known
    intersection = of_truth.new_zeros(classes).index_add(0, truth.flatten(), of_truth.flatten())
    # Not truth[known] and not bincount: the length of their results would make the host wait for the device.
    true_pixels = torch.zeros(classes, dtype=torch.long, device=masks.device)
    true_pixels = true_pixels.index_add(0, truth.flatten(), known.flatten().long()).to(of_truth.dtype)
    predicted = (probabilities * known[:, None]).sum(dim=(0, 2, 3))
    union = predicted + true_pixels - intersection
    present = true_pixels > 0
    ious = intersection / union.clamp(min=torch.finfo(logits.dtype).tiny)
    return (present * (1 - ious)).sum() / present.sum().clamp(min=1)


def log_weights(pixel_counts: Int[ndarray, " C"]) -> Float[ndarray, " C"]:
    """Return ENet's weights 1 / ln(1.02 + share): 1.42 for a class that is everything, 50.5 for a very rare one.

    A class that never occurs gets the weight 0. Pixels of void must not be counted.

    >>> import numpy as np
    >>> [round(float(weight), 2) for weight in log_weights(np.array([98, 2, 0]))]
    [1.44, 25.5, 0.0]
    """
    import numpy as np

    shares = pixel_counts / max(1, pixel_counts.sum())
    return np.where(pixel_counts > 0, 1 / np.log(1.02 + shares), 0.0).astype(np.float32)
