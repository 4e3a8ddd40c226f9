"""From a picture to what the network reads, and back for boxes: the only border between the two frames.

Outside, a box is in pixels of its picture. Inside `detection/`, it is a fraction of the network's input. There are
two ways to the input. `warp`, the reference's, stretches the picture to it. `letterbox` scales height and width alike
and fills what is left at the right and at the bottom with the mean colour, so that a circle stays a circle. Both are
one scale a side and no shift: a letterboxed picture is the upper left part of a larger one, `seen_hw`, that was
warped. Training, evaluation and prediction all pass here: what a network was trained on is what it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from singleshot import boxes
from singleshot.errors import ConfigError

Fit = Literal["warp", "letterbox"]


@dataclass(frozen=True)
class Preprocess:
    """How a network wants its pictures; stored in every weights file.

    Args:
        size_hw: height and width of the input in pixels.
        mean_rgb: subtracted from each channel, on the scale 0…255.
        std_rgb: each channel is divided by it, on the same scale; 1 leaves 0…255 (VGG's convention).
        channel_order: the order in which the network reads channels; `bgr` for weights that came from Caffe.
        fit: how a picture of other proportions comes to the size: `warp` or `letterbox`, see the head of this file.

    Raises:
        ConfigError: a size that is not positive, a deviation of 0, or an unknown word.
    """

    size_hw: tuple[int, int] = (300, 300)
    mean_rgb: tuple[float, float, float] = (123.0, 117.0, 104.0)
    std_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    fit: Fit = "warp"

    def __post_init__(self) -> None:
        if min(self.size_hw) < 1:
            raise ConfigError(f"input size {self.size_hw} is not positive", remedy="Give height x width in pixels")
        if min(self.std_rgb) <= 0:
            raise ConfigError(f"std_rgb {self.std_rgb} must be above 0", remedy="Use 1 to leave the scale alone")
        if self.channel_order not in ("rgb", "bgr"):
            raise ConfigError(f"channel order {self.channel_order!r} is unknown", remedy="Use rgb or bgr")
        if self.fit not in ("warp", "letterbox"):
            raise ConfigError(f"fit {self.fit!r} is unknown", remedy="Use warp or letterbox")

    @property
    def fill_rgb(self) -> tuple[int, int, int] | None:
        """The colour beside a letterboxed picture, the mean in whole numbers; None where pictures are stretched."""
        red, green, blue = (min(max(round(value), 0), 255) for value in self.mean_rgb)
        return (red, green, blue) if self.fit == "letterbox" else None


def inner_size_hw(picture_hw: tuple[int, int], size_hw: tuple[int, int], fit: Fit) -> tuple[int, int]:
    """The part of an input of `size_hw` that the picture takes up: at its upper left, at least one pixel each way.

    KITTI's wide pictures in a square input:

    >>> inner_size_hw((375, 1242), (300, 300), "letterbox")
    (91, 300)
    >>> inner_size_hw((375, 1242), (300, 300), "warp")
    (300, 300)
    """
    if fit == "warp":
        return size_hw
    (height, width), (high, wide) = picture_hw, size_hw
    if height * wide >= width * high:  # the height decides; whole numbers, so that an exact fit is exact
        return high, max(1, round(width * high / height))
    return max(1, round(height * wide / width)), wide


def seen_hw(picture_hw: tuple[int, int], size_hw: tuple[int, int], fit: Fit) -> tuple[float, float]:
    """Height and width of the whole input, margin and all, in pixels of the picture. The picture's own for `warp`.

    >>> seen_hw((300, 600), (300, 300), "letterbox")
    (600.0, 600.0)
    """
    inner_hw = inner_size_hw(picture_hw, size_hw, fit)
    return (size_hw[0] * picture_hw[0] / inner_hw[0], size_hw[1] * picture_hw[1] / inner_hw[1])


def to_input(image_rgb: UInt8[ndarray, "h w 3"], preprocess: Preprocess) -> UInt8[ndarray, "H W 3"]:
    """The picture as the network takes it, save for `normalise`: resized, and letterboxed if that is its way."""
    picture_hw = (image_rgb.shape[0], image_rgb.shape[1])
    inner = resize(image_rgb, inner_size_hw(picture_hw, preprocess.size_hw, preprocess.fit))
    return pad(inner, preprocess.size_hw, preprocess.fill_rgb or (0, 0, 0))


def pad(
    image_rgb: UInt8[ndarray, "h w 3"], size_hw: tuple[int, int], fill_rgb: tuple[int, int, int]
) -> UInt8[ndarray, "H W 3"]:
    """The picture at the upper left of one of `size_hw`, the rest in one colour; itself if it fills it."""
    height, width = image_rgb.shape[:2]
    if (height, width) == tuple(size_hw):
        return image_rgb
    padded = np.empty((*size_hw, 3), np.uint8)
    padded[:height, :width] = image_rgb
    padded[height:], padded[:height, width:] = fill_rgb, fill_rgb
    return padded


def resize(image_rgb: UInt8[ndarray, "h w 3"], size_hw: tuple[int, int]) -> UInt8[ndarray, "H W 3"]:
    """The picture stretched to `size_hw` with linear interpolation, as the reference tests; itself if it fits."""
    if image_rgb.shape[:2] == tuple(size_hw):
        return image_rgb
    return np.asarray(cv2.resize(image_rgb, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def normalise(images: UInt8[Tensor, "B H W 3"], preprocess: Preprocess) -> Float[Tensor, "B 3 H W"]:
    """uint8 RGB pictures as the network's float input, computed on the device on which they lie.

    The result has channels-last strides, which cost nothing here and which convolutions like.

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
    """A row of pixels of one colour, filled where it is needed: a copy from the host would wait for the device."""
    return torch.stack([torch.full((width,), value, device=device) for value in rgb], dim=1).flatten()


def boxes_to_fractions(boxes_xyxy: Float[Tensor, "*B N 4"], size_hw: tuple[int, int]) -> Float[Tensor, "*B N 4"]:
    """Boxes in pixels of a picture of `size_hw` → (cx, cy, w, h) in fractions of its sides.

    >>> boxes_to_fractions(torch.tensor([[10.0, 20.0, 30.0, 60.0]]), (100, 200))
    tensor([[0.1000, 0.4000, 0.1000, 0.4000]])
    """
    height, width = size_hw
    return boxes.xyxy_to_cxcywh(boxes.scale(boxes_xyxy, (1 / height, 1 / width)))


def boxes_to_pixels(
    boxes_xyxy: Float[ndarray, "N 4"], picture_hw: tuple[int, int], preprocess: Preprocess
) -> Float[ndarray, "N 4"]:
    """Corners in fractions of the network's input → corners in pixels of the picture that was brought to it.

    A box on the margin of a letterboxed picture comes out beyond the picture's edge.

    >>> half = np.array([[0.0, 0.0, 0.5, 0.5]])
    >>> boxes_to_pixels(half, (100, 200), Preprocess(fit="warp"))
    array([[  0.,   0., 100.,  50.]])
    >>> boxes_to_pixels(half, (100, 200), Preprocess(fit="letterbox"))
    array([[  0.,   0., 100., 100.]])
    """
    return boxes.scale(boxes_xyxy, seen_hw(picture_hw, preprocess.size_hw, preprocess.fit))


def boxes_to_input(
    boxes_xyxy: Float[ndarray, "N 4"], picture_hw: tuple[int, int], preprocess: Preprocess
) -> Float[ndarray, "N 4"]:
    """Corners in pixels of a picture → corners in pixels of the input that it is brought to, without augmentation."""
    inner_hw = inner_size_hw(picture_hw, preprocess.size_hw, preprocess.fit)
    return boxes.scale(boxes_xyxy, (inner_hw[0] / picture_hw[0], inner_hw[1] / picture_hw[1]))
