"""From an image to the network's input, and back for boxes: the only border between the two frames.

Outside, a box is in pixels of its image. Inside `detection/`, it is a fraction of the network's input. There are
two ways to the input. `warp`, the reference's, stretches the image to it. `letterbox` scales height and width alike
and fills the rest at the right and at the bottom with the mean colour, so that a circle stays a circle. Both are one
scale for each side and no shift: a letterboxed image is the upper left part of a larger one, of `padded_hw`, that was
warped. Training, evaluation and prediction all use these functions, so a network predicts on what it was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from singleshot import boxes
from singleshot.config import Above, AtLeast, Config

Fit = Literal["warp", "letterbox"]
LONGEST_SIDE = 16_384
"""Limit of the input sizes that a stored config may have, in pixels."""


@dataclass(frozen=True)
class Preprocess(Config, name="preprocess"):
    """How images become a network's input; stored in every weights file."""

    size_hw: tuple[Annotated[int, AtLeast(1)], Annotated[int, AtLeast(1)]] = (300, 300)
    """Height and width of the input in pixels."""
    mean_rgb: tuple[float, float, float] = (123.0, 117.0, 104.0)
    """Subtracted from each channel, on the scale 0…255."""
    std_rgb: Annotated[tuple[float, float, float], Above(0)] = (1.0, 1.0, 1.0)
    """Each channel is divided by it, on the same scale; 1 leaves 0…255 (VGG's convention)."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """The order in which the network reads channels; bgr for weights that came from Caffe."""
    fit: Fit = "warp"
    """How an image of other proportions comes to the size: warp stretches it, letterbox adds a margin."""

    @property
    def fill_rgb(self) -> tuple[int, int, int] | None:
        """The colour of a letterboxed image's margin, the mean in whole numbers; None if images are stretched."""
        red, green, blue = (min(max(round(value), 0), 255) for value in self.mean_rgb)
        return (red, green, blue) if self.fit == "letterbox" else None


def inner_size_hw(image_hw: tuple[int, int], size_hw: tuple[int, int], fit: Fit) -> tuple[int, int]:
    """Return the size of the image within an input of `size_hw`: its upper left part, at least one pixel each way.

    KITTI's wide images in a square input:

    >>> inner_size_hw((375, 1242), (300, 300), "letterbox")
    (91, 300)
    >>> inner_size_hw((375, 1242), (300, 300), "warp")
    (300, 300)
    """
    if fit == "warp":
        return size_hw
    (height, width), (high, wide) = image_hw, size_hw
    if height * wide >= width * high:  # the height decides; whole numbers, so that an exact fit is exact
        return high, max(1, round(width * high / height))
    return max(1, round(height * wide / width)), wide


def padded_hw(image_hw: tuple[int, int], size_hw: tuple[int, int], fit: Fit) -> tuple[float, float]:
    """Return the size of the whole input, margin included, in pixels of the image. For `warp` it is the image's own.

    >>> padded_hw((300, 600), (300, 300), "letterbox")
    (600.0, 600.0)
    """
    inner_hw = inner_size_hw(image_hw, size_hw, fit)
    return (size_hw[0] * image_hw[0] / inner_hw[0], size_hw[1] * image_hw[1] / inner_hw[1])


def to_input(image_rgb: UInt8[ndarray, "h w 3"], preprocess: Preprocess) -> UInt8[ndarray, "H W 3"]:
    """Bring an image to the network's input, except for `normalise`: resized, and letterboxed if `fit` says so."""
    image_hw = (image_rgb.shape[0], image_rgb.shape[1])
    inner = resize(image_rgb, inner_size_hw(image_hw, preprocess.size_hw, preprocess.fit))
    return pad(inner, preprocess.size_hw, preprocess.fill_rgb or (0, 0, 0))


def pad(
    image_rgb: UInt8[ndarray, "h w 3"], size_hw: tuple[int, int], fill_rgb: tuple[int, int, int]
) -> UInt8[ndarray, "H W 3"]:
    """Put an image at the upper left of one of `size_hw`, the rest in one colour; nothing is copied if it fits."""
    height, width = image_rgb.shape[:2]
    if (height, width) == tuple(size_hw):
        return image_rgb
    padded = np.empty((*size_hw, 3), np.uint8)
    padded[:height, :width] = image_rgb
    padded[height:], padded[:height, width:] = fill_rgb, fill_rgb
    return padded


def resize(image_rgb: UInt8[ndarray, "h w 3"], size_hw: tuple[int, int]) -> UInt8[ndarray, "H W 3"]:
    """Stretch an image to `size_hw` by linear interpolation, as the reference tests; nothing is copied if it fits."""
    if image_rgb.shape[:2] == tuple(size_hw):
        return image_rgb
    return np.asarray(cv2.resize(image_rgb, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def normalise(images: UInt8[Tensor, "B H W 3"], preprocess: Preprocess) -> Float[Tensor, "B 3 H W"]:
    """Turn uint8 RGB images into the network's float input, on their device.

    The result has channels-last strides, which cost nothing here and make convolutions faster.

    >>> grey = torch.full((1, 1, 1, 3), 100, dtype=torch.uint8)
    >>> normalise(grey, Preprocess(mean_rgb=(90.0, 100.0, 110.0), std_rgb=(2.0, 2.0, 2.0))).flatten()
    tensor([ 5.,  0., -5.])
    """
    batch, height, width, _ = images.shape
    # A whole row at a time: broadcasting over three channels leaves a CPU's vector units idle (ten times slower).
    mean = _row(preprocess.mean_rgb, width, images.device)
    scale = _row(preprocess.std_rgb, width, images.device).reciprocal()
    pixels = images.reshape(batch, height, width * 3).float().sub_(mean).mul_(scale).view(batch, height, width, 3)
    if preprocess.channel_order == "bgr":
        pixels = pixels.flip(-1)
    return pixels.permute(0, 3, 1, 2)


def _row(rgb: tuple[float, float, float], width: int, device: torch.device) -> Float[Tensor, " W3"]:
    """Make a row of pixels of one colour on the device: a copy from the host would wait for it."""
    return torch.stack([torch.full((width,), value, device=device) for value in rgb], dim=1).flatten()


def boxes_to_fractions(boxes_xyxy: boxes.Array, size_hw: tuple[int, int]) -> boxes.Array:
    """Convert boxes (…, N, 4) in pixels of an image of `size_hw` to (cx, cy, w, h) in fractions of its sides.

    >>> boxes_to_fractions(torch.tensor([[10.0, 20.0, 30.0, 60.0]]), (100, 200))
    tensor([[0.1000, 0.4000, 0.1000, 0.4000]])
    """
    height, width = size_hw
    return boxes.xyxy_to_cxcywh(boxes.scale(boxes_xyxy, (1 / height, 1 / width)))


def boxes_to_pixels(
    boxes_xyxy: Float[ndarray, "N 4"], image_hw: tuple[int, int], preprocess: Preprocess
) -> Float[ndarray, "N 4"]:
    """Convert corners in fractions of the network's input to corners in pixels of the image that was brought to it.

    A box on the margin of a letterboxed image comes out beyond the image's edge.

    >>> half = np.array([[0.0, 0.0, 0.5, 0.5]])
    >>> boxes_to_pixels(half, (100, 200), Preprocess(fit="warp"))
    array([[  0.,   0., 100.,  50.]])
    >>> boxes_to_pixels(half, (100, 200), Preprocess(fit="letterbox"))
    array([[  0.,   0., 100., 100.]])
    """
    return boxes.scale(boxes_xyxy, padded_hw(image_hw, preprocess.size_hw, preprocess.fit))


def boxes_to_input(
    boxes_xyxy: Float[ndarray, "N 4"], image_hw: tuple[int, int], preprocess: Preprocess
) -> Float[ndarray, "N 4"]:
    """Convert corners in pixels of an image to corners in pixels of the input that it is brought to."""
    inner_hw = inner_size_hw(image_hw, preprocess.size_hw, preprocess.fit)
    return boxes.scale(boxes_xyxy, (inner_hw[0] / image_hw[0], inner_hw[1] / image_hw[1]))
