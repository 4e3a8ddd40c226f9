"""Photometric augmentation of SSD: brightness, contrast, saturation, hue and channel order. Boxes do not change.

Brightness comes first, then contrast either before or after saturation and hue, then the channel order; each is
applied with its own probability. The parameters are drawn first, as a `Distortion`, and then applied to pixels. Every
step is per pixel, so distorting only the crop gives the same pixels as distorting the whole image and cropping it.

As in the reference (Caffe branch `ssd`, `im_transforms.cpp`) each step rounds and saturates to 8 bits, and hue and
saturation use OpenCV's 8-bit planes (hue 0–179, two degrees a unit). All steps are one pass over the pixels, which
takes a third of the time of OpenCV's separate conversions and look-ups; the planes are equal to the last bit, and the
conversion back rounds to the nearest, where OpenCV's fast path rounds down. Two quirks of the reference are not kept:
hue wraps modulo 180, where the reference clips it at 0, so that reds never turn towards magenta; and saturation and
hue share one conversion to HSV and back, where the reference converts twice and rounds once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.compiled import compiled
from singleshot.config import Config, Ordered, Range

HUES = 180
"""OpenCV's 8-bit hue plane has values 0 … 179."""

RGB_AS_IS = (0, 1, 2)


@dataclass(frozen=True)
class DistortionOptions(Config, name="augmentation"):
    """How often and how far colours are distorted. The defaults are the reference's."""

    brightness_probability: Annotated[float, Range(0, 1)] = 0.5
    """Probability that a number is added to all values."""
    brightness_delta: Annotated[float, Range(0, 255)] = 32.0
    """The largest such number, of 255; drawn from −delta … delta."""
    contrast_probability: Annotated[float, Range(0, 1)] = 0.5
    """Probability that all values are multiplied."""
    contrast_range: Annotated[tuple[float, float], Ordered(0)] = (0.5, 1.5)
    """Range of the contrast factors."""
    saturation_probability: Annotated[float, Range(0, 1)] = 0.5
    """Probability that the saturation plane is multiplied."""
    saturation_range: Annotated[tuple[float, float], Ordered(0)] = (0.5, 1.5)
    """Range of the saturation factors."""
    hue_probability: Annotated[float, Range(0, 1)] = 0.5
    """Probability that the hue is shifted."""
    hue_delta: Annotated[float, Range(0, HUES / 2)] = 18.0
    """The largest shift, on the scale where 180 is a full circle."""
    channel_order_probability: Annotated[float, Range(0, 1)] = 0.0
    """Probability that the channels are shuffled (possibly into the same order)."""


@dataclass(frozen=True)
class Distortion:
    """The parameters of one distortion; the defaults change nothing.

    Args:
        brightness: added to every value.
        contrast: factor of every value.
        saturation: factor of the saturation plane.
        hue: added to the hue plane, modulo 180.
        contrast_first: whether contrast comes before saturation and hue.
        channel_order: the old index of each new channel.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    contrast_first: bool = True
    channel_order: tuple[int, int, int] = RGB_AS_IS


def draw_distortion(rng: np.random.Generator, options: DistortionOptions) -> Distortion:
    """Draw a distortion with the probabilities of the options.

    It draws the same count of numbers in any case, so that turning one step off does not change the others.
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
    """Return the image with its colours distorted; the image itself where the distortion changes nothing."""
    plan = distortion
    image = image_rgb
    if plan.brightness != 0.0 or plan.contrast != 1.0 or plan.saturation != 1.0 or plan.hue != 0.0:
        height, width = image_rgb.shape[:2]
        image = np.empty((height, width, 3), dtype=np.uint8)
        source, result = np.ascontiguousarray(image_rgb).reshape(height, width * 3), image.reshape(height, width * 3)
        first, last = (plan.contrast, 1.0) if plan.contrast_first else (1.0, plan.contrast)
        numbers = np.array((plan.brightness, first, plan.saturation, round(plan.hue) % HUES, last), dtype=np.float32)
        kernel = _distort_values if plan.saturation == 1.0 and plan.hue == 0.0 else _distort_hsv
        kernel(source, result, numbers)
    return image if plan.channel_order == RGB_AS_IS else np.ascontiguousarray(image[..., plan.channel_order])


def _between(low: float, high: float, at: float) -> float:
    return float(low + at * (high - low))


# In 32 bits, because the processor computes sixteen of them at once; a literal 1.0 would promote all to 64 bits.
_0, _1, _2, _3, _4, _HALF = (np.float32(value) for value in (0.0, 1.0, 2.0, 3.0, 4.0, 0.5))
_30, _180, _255, _PART = (np.float32(value) for value in (30.0, 180.0, 255.0, 1.0 / 255.0))
_UNITS = np.float32(1.0 / 30.0)
_HUE_TABLE, _SATURATION_TABLE = np.float32(180.0 * 4096.0 / 6.0), np.float32(255.0 * 4096.0)
_ROUND = np.int32(2048)


@compiled
def _bounded(value):  # noqa: ANN001, ANN202
    """Round half to even, and saturate to 0 … 255."""
    return min(max(np.rint(value), _0), _255)


@compiled
def _distort_values(source, result, numbers):  # noqa: ANN001, ANN202
    """Apply brightness and contrast to rows of interleaved channels; one of the two contrast factors is 1."""
    brightness, contrast = numbers[0], numbers[1] * numbers[4]
    for y in range(len(source)):
        row, new = source[y], result[y]
        for at in range(len(row)):
            new[at] = np.uint8(np.int32(_bounded(_bounded(np.float32(row[at]) + brightness) * contrast)))


@compiled
def _distort_hsv(source, result, numbers):  # noqa: ANN001, ANN202
    """Apply brightness, contrast, hue and saturation (in HSV), and contrast, with 8 bits after each step."""
    brightness, first, saturation, hue, last = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    width = source.shape[1] // 3
    red, green, blue = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(len(source)):
        row, new = source[y], result[y]
        for x in range(width):
            red[x], green[x], blue[x] = np.float32(row[3 * x]), np.float32(row[3 * x + 1]), np.float32(row[3 * x + 2])
        if brightness != _0 or first != _1:
            for plane in (red, green, blue):
                for x in range(width):
                    plane[x] = _bounded(_bounded(plane[x] + brightness) * first)
        for x in range(width):
            r, g, b = red[x], green[x], blue[x]
            # To HSV by OpenCV's fixed-point arithmetic, so that the planes equal OpenCV's to the last bit.
            value = max(max(r, g), b)
            span = value - min(min(r, g), b)
            turn = (g - b) if value == r else ((b - r + _2 * span) if value == g else (r - g + _4 * span))
            # np.divide: Python's division would test each divisor for zero, pixel by pixel.
            per_span = np.int32(np.rint(np.divide(_HUE_TABLE, max(span, _1))))
            per_value = np.int32(np.rint(np.divide(_SATURATION_TABLE, max(value, _1))))
            h = np.float32((np.int32(turn) * per_span + _ROUND) >> np.int32(12))
            s = np.float32((np.int32(span) * per_value + _ROUND) >> np.int32(12))
            h += hue
            h = h + _180 if h < _0 else h
            h = h - _180 if h >= _180 else h
            # Back to RGB: a channel is below the value by its distance from its own colour on the hue circle.
            most = value * _bounded(s * saturation) * _PART
            h = h * _UNITS
            red[x] = np.rint(value - most * (_1 - min(max(abs(h - _3) - _1, _0), _1)))
            green[x] = np.rint(value - most * (_1 - min(max(_2 - abs(h - _2), _0), _1)))
            blue[x] = np.rint(value - most * (_1 - min(max(_2 - abs(h - _4), _0), _1)))
        if last != _1:
            for plane in (red, green, blue):
                for x in range(width):
                    plane[x] = _bounded(plane[x] * last)
        for x in range(width):
            new[3 * x] = np.uint8(np.int32(red[x]))
            new[3 * x + 1] = np.uint8(np.int32(green[x]))
            new[3 * x + 2] = np.uint8(np.int32(blue[x]))
