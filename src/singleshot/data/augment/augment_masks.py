"""Augmentation of a picture and its mask together: one plan, drawn as the detector's is, done to both.

The picture is resized by whatever interpolation the plan drew; the mask always takes the nearest pixel, because
between class 3 and class 5 there is no class 4 (the original resized colours bilinearly and trained on what came
out). Where the window looks past the picture, and on a letterbox's margin, the mask is void.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.data.augment.augment import Augmentation, Plan, apply_to_image, draw_plan
from singleshot.preprocess import inner_size_hw, pad
from singleshot.structures import VOID

_NO_BOXES = np.zeros((0, 4))


def augment_pair(
    image_rgb: UInt8[ndarray, "H W 3"],
    mask: UInt8[ndarray, "H W"],
    *,
    augmentation: Augmentation,
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    fill_rgb: tuple[int, int, int] | None = None,
) -> tuple[UInt8[ndarray, "h w 3"], UInt8[ndarray, "h w"]]:
    """A picture of `size_hw` made from this one, and its mask.

    Args:
        image_rgb: the picture.
        mask: class ids and `VOID`.
        augmentation: by what odds; `NONE` only resizes. Samplers that ask for an overlap with a box never succeed.
        size_hw: of the new pair.
        rng: the source of all randomness; the result is a function of it and the other arguments.
        fill_rgb: None stretches what is seen to the size; a colour keeps proportions and fills the margin.
    """
    plan = draw_plan(rng, (mask.shape[0], mask.shape[1]), _NO_BOXES, augmentation)
    height, width = plan.window_hw
    seen_hw = (width, height) if plan.quarter_turns % 2 else (height, width)
    inner_hw = size_hw if fill_rgb is None else inner_size_hw(seen_hw, size_hw, "letterbox")
    image = apply_to_image(image_rgb, plan, inner_hw, augmentation.mean_rgb)
    new_mask = apply_to_mask(mask, plan, inner_hw)
    if fill_rgb is None:
        return image, new_mask
    return pad(image, size_hw, fill_rgb), pad_mask(new_mask, size_hw)


def apply_to_mask(mask: UInt8[ndarray, "H W"], plan: Plan, size_hw: tuple[int, int]) -> UInt8[ndarray, "h w"]:
    """The planned mask at `size_hw`, contiguous. Each pixel takes the source pixel under its centre."""
    height, width = mask.shape
    left, top, right, bottom = plan.window
    seen = mask[max(top, 0) : max(min(bottom, height), 0), max(left, 0) : max(min(right, width), 0)]
    if not seen.size:
        return np.full(size_hw, VOID, dtype=np.uint8)
    borders = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    if any(borders):
        seen = np.asarray(cv2.copyMakeBorder(seen, *borders, borderType=cv2.BORDER_CONSTANT, value=(VOID,)))
    turned_hw = (size_hw[1], size_hw[0]) if plan.quarter_turns % 2 else size_hw
    new = resize_mask(seen, turned_hw)[:: -1 if plan.flip else 1, :: -1 if plan.mirror else 1]
    return np.ascontiguousarray(np.rot90(new, plan.quarter_turns))


def resize_mask(mask: UInt8[ndarray, "H W"], size_hw: tuple[int, int]) -> UInt8[ndarray, "h w"]:
    """The mask at another size by nearest neighbour, so that no class appears that was not there."""
    if mask.shape == tuple(size_hw):
        return mask
    resized = cv2.resize(mask, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, dtype=np.uint8)


def pad_mask(mask: UInt8[ndarray, "h w"], size_hw: tuple[int, int]) -> UInt8[ndarray, "H W"]:
    """The mask at the upper left of one of `size_hw`, the rest void; itself if it fills it."""
    if mask.shape == tuple(size_hw):
        return mask
    padded = np.full(size_hw, VOID, dtype=np.uint8)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return padded
