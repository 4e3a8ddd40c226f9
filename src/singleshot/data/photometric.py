"""Colour distortion: the half of SSD's augmentation that leaves boxes alone.

Brightness comes first, then either contrast before saturation and hue or after them, and last the order of the
channels; each has its own coin. What to do is drawn first, as a `Distortion`, and then done to pixels. Every step
looks at one pixel at a time, so distorting only the part of a picture that a crop keeps gives the same pixels as
distorting all of it and cropping afterwards (but for 1 of 255 here and there after hue or saturation: OpenCV's way
back from HSV rounds the last few pixels of a row differently from the others).

As in the reference (Caffe branch `ssd`, `im_transforms.cpp`) each step rounds and saturates to 8 bits, and hue and
saturation live on OpenCV's 8-bit planes (hue 0–179, two degrees a unit). Two of its quirks are not kept: hue turns
modulo 180, where the reference stops at 0 on the way down so that reds never turn towards magenta; and saturation
and hue share one trip to HSV and back, where the reference makes two and rounds once more.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.data.option_checks import check_probability, check_range

HUES = 180
"""OpenCV's 8-bit hue plane holds 0 … 179."""

RGB_AS_IS = (0, 1, 2)


@dataclass(frozen=True)
class DistortionOptions:
    """How often and how far colours are distorted. The defaults are the reference's.

    Args:
        brightness_probability: how often a number is added to all values.
        brightness_delta: the largest such number, of 255; drawn from −delta … delta.
        contrast_probability: how often all values are multiplied.
        contrast_range: the factors.
        saturation_probability: how often the saturation plane is multiplied.
        saturation_range: the factors.
        hue_probability: how often the hue is turned.
        hue_delta: the largest turn, on the scale where 180 is once around.
        channel_order_probability: how often the channels are put in a random order (which may be the old one).
    """

    brightness_probability: float = 0.5
    brightness_delta: float = 32.0
    contrast_probability: float = 0.5
    contrast_range: tuple[float, float] = (0.5, 1.5)
    saturation_probability: float = 0.5
    saturation_range: tuple[float, float] = (0.5, 1.5)
    hue_probability: float = 0.5
    hue_delta: float = 18.0
    channel_order_probability: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "hue", "channel_order"):
            check_probability(f"{name}_probability", getattr(self, f"{name}_probability"))
        check_range("brightness_delta", (0.0, self.brightness_delta), low=0.0, high=255.0)
        check_range("contrast_range", self.contrast_range, low=0.0)
        check_range("saturation_range", self.saturation_range, low=0.0)
        check_range("hue_delta", (0.0, self.hue_delta), low=0.0, high=HUES / 2)


@dataclass(frozen=True)
class Distortion:
    """One drawn distortion; the defaults change nothing.

    Args:
        brightness: added to every value.
        contrast: factor of every value.
        saturation: factor of the saturation plane.
        hue: added to the hue plane, modulo 180.
        contrast_first: whether contrast comes before saturation and hue.
        channel_order: where each new channel comes from.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    contrast_first: bool = True
    channel_order: tuple[int, int, int] = RGB_AS_IS


def draw_distortion(rng: np.random.Generator, options: DistortionOptions) -> Distortion:
    """A distortion by the options' odds.

    It takes the same numbers from `rng` whatever the coins say, so turning one step off does not change the others.
    """
    coins, values = rng.random(6), rng.random(4)
    order = rng.permutation(3)
    delta, hue_delta = options.brightness_delta, options.hue_delta
    reordered = coins[4] < options.channel_order_probability
    return Distortion(
        brightness=_between(-delta, delta, values[0]) if coins[0] < options.brightness_probability else 0.0,
        contrast=_between(*options.contrast_range, values[1]) if coins[1] < options.contrast_probability else 1.0,
        saturation=_between(*options.saturation_range, values[2]) if coins[2] < options.saturation_probability else 1.0,
        hue=_between(-hue_delta, hue_delta, values[3]) if coins[3] < options.hue_probability else 0.0,
        contrast_first=bool(coins[5] < 0.5),
        channel_order=(int(order[0]), int(order[1]), int(order[2])) if reordered else RGB_AS_IS,
    )


def distort(image_rgb: UInt8[ndarray, "H W 3"], distortion: Distortion) -> UInt8[ndarray, "H W 3"]:
    """The picture with its colours distorted; the picture itself where there is nothing to do."""
    plan = distortion
    before, after = _ramp(plan.brightness, 1.0), np.arange(256, dtype=np.uint8)
    if plan.contrast_first:
        before = _ramp(0.0, plan.contrast)[before]
    else:
        after = _ramp(0.0, plan.contrast)
    image = _look_up(image_rgb, before)
    if plan.saturation != 1.0 or plan.hue != 0.0:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        image = cv2.cvtColor(cv2.LUT(hsv, _hsv_table(plan.saturation, plan.hue)), cv2.COLOR_HSV2RGB)
    image = _look_up(image, after)
    return image if plan.channel_order == RGB_AS_IS else np.ascontiguousarray(image[..., plan.channel_order])


def _between(low: float, high: float, at: float) -> float:
    return float(low + at * (high - low))


def _ramp(offset: float, factor: float) -> UInt8[ndarray, "256"]:
    """What becomes of each 8-bit value: times `factor`, plus `offset`, rounded half to even, saturated."""
    return np.rint(np.arange(256) * factor + offset).clip(0, 255).astype(np.uint8)


def _hsv_table(saturation: float, hue: float) -> UInt8[ndarray, "1 256 3"]:
    """One look-up table for the three planes; hues past 179 do not occur in a picture."""
    turned = (np.arange(256) + round(hue)) % HUES
    return np.stack([turned.astype(np.uint8), _ramp(0.0, saturation), _ramp(0.0, 1.0)], axis=-1)[None]


def _look_up(image: UInt8[ndarray, "H W 3"], table: UInt8[ndarray, "256"]) -> UInt8[ndarray, "H W 3"]:
    # Most tables change nothing (half of all coins), and a look-up costs as much as a small resize.
    return image if np.array_equal(table, np.arange(256)) else cv2.LUT(image, table)
