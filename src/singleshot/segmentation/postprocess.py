"""From scores at the network's input size to classes at each image's own size.

Scores, not decisions, are enlarged: bilinearly, and only then the best class of each pixel is taken, so that borders
between classes run smoothly instead of in steps. At equal scores the lower class id wins. The margin of a letterboxed
image is cut off first. A huge image is decided band by band: all its scores together would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from singleshot.preprocess import Preprocess, inner_size_hw

AT_ONCE = 1 << 26
"""Scores that are enlarged together: 256 MB."""


def class_maps(
    logits: Float[Tensor, "B C h w"], sizes_hw: Sequence[tuple[int, int]], preprocess: Preprocess
) -> list[UInt8[Tensor, "_ _"]]:
    """Return the class ids of each image at its own size, in the order of the batch."""
    return [
        _class_map(without_margin(scores, size_hw, preprocess), size_hw)
        for scores, size_hw in zip(logits, sizes_hw, strict=True)
    ]


def probabilities(scores: Float[Tensor, "C h w"], size_hw: tuple[int, int]) -> Float[Tensor, "C H W"]:
    """Return the probability of each class at an image's own size: the softmax of the enlarged scores."""
    return at_size(scores, size_hw).softmax(dim=0)


def without_margin(
    scores: Float[Tensor, "C h w"], size_hw: tuple[int, int], preprocess: Preprocess
) -> Float[Tensor, "C _ _"]:
    """Cut the margin off: the image is the upper left part of a letterboxed input and all of a warped one."""
    height, width = inner_size_hw(size_hw, preprocess.size_hw, preprocess.fit)
    return scores[:, :height, :width]


def at_size(scores: Float[Tensor, "C h w"], size_hw: tuple[int, int]) -> Float[Tensor, "C H W"]:
    """Enlarge or shrink scores bilinearly; scores of that size are returned as they are."""
    if tuple(scores.shape[1:]) == tuple(size_hw):
        return scores
    return F.interpolate(scores[None], size=size_hw, mode="bilinear", align_corners=False)[0]


def _class_map(scores: Float[Tensor, "C h w"], size_hw: tuple[int, int]) -> UInt8[Tensor, "H W"]:
    height, width = size_hw
    rows = max(1, AT_ONCE // (len(scores) * width))
    if rows >= height:
        return at_size(scores, size_hw).argmax(dim=0).to(torch.uint8)
    starts = range(0, height, rows)
    bands = [_band(scores, start, min(start + rows, height), size_hw).argmax(dim=0).to(torch.uint8) for start in starts]
    return torch.cat(bands)


def _band(scores: Float[Tensor, "C h w"], top: int, bottom: int, size_hw: tuple[int, int]) -> Float[Tensor, "C _ W"]:
    """Return the rows `top` to `bottom` of `at_size`, up to rounding."""
    high = scores.shape[1]
    position = ((torch.arange(top, bottom, device=scores.device) + 0.5) * (high / size_hw[0]) - 0.5).clamp(min=0)
    above = position.long().clamp(max=high - 1)
    below = (above + 1).clamp(max=high - 1)
    share = (position - above).to(scores.dtype)[:, None]
    return at_size(torch.lerp(scores[:, above], scores[:, below], share), (bottom - top, size_hw[1]))
