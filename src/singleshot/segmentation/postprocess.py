"""From scores at the network's input size to classes at each picture's own size.

Scores, not decisions, are enlarged: bilinearly, and only then the best class of each pixel is taken, so that borders
between classes run smoothly instead of in steps. At equal scores the lower class id wins. The margin of a letterboxed
picture is cut off first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from singleshot.preprocess import Preprocess, inner_size_hw


def class_maps(
    logits: Float[Tensor, "B C h w"], sizes_hw: Sequence[tuple[int, int]], preprocess: Preprocess
) -> list[UInt8[Tensor, "_ _"]]:
    """The class ids of each picture at its own size, in the order of the batch."""
    maps = []
    for scores, size_hw in zip(logits, sizes_hw, strict=True):
        seen = without_margin(scores, size_hw, preprocess)
        maps.append(at_size(seen, size_hw).argmax(dim=0).to(torch.uint8))
    return maps


def probabilities(scores: Float[Tensor, "C h w"], size_hw: tuple[int, int]) -> Float[Tensor, "C H W"]:
    """What the softmax of the enlarged scores gives each class, at a picture's own size."""
    return at_size(scores, size_hw).softmax(dim=0)


def without_margin(
    scores: Float[Tensor, "C h w"], size_hw: tuple[int, int], preprocess: Preprocess
) -> Float[Tensor, "C _ _"]:
    """The scores of the picture alone, which is the upper left part of a letterboxed input and all of a warped one."""
    height, width = inner_size_hw(size_hw, preprocess.size_hw, preprocess.fit)
    return scores[:, :height, :width]


def at_size(scores: Float[Tensor, "C h w"], size_hw: tuple[int, int]) -> Float[Tensor, "C H W"]:
    """Scores at another size; themselves where it is theirs."""
    if tuple(scores.shape[1:]) == tuple(size_hw):
        return scores
    return F.interpolate(scores[None], size=size_hw, mode="bilinear", align_corners=False)[0]
