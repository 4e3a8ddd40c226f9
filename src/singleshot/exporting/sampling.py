"""Linear resampling inside a graph whose pictures may have any size: `preprocess.resize` without OpenCV.

Runtimes have a resize of their own, each with its own idea of where a pixel's centre is and of what happens at the
edge, and most convert the whole picture to floating point first. Here rows and columns are looked up by computed
positions, two of each, and mixed. That is the same arithmetic everywhere, touches only the pixels that count, and lets
one graph stretch a picture (`warp`) or keep its proportions (`letterbox`): the position is computed from the picture.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from singleshot.preprocess import Preprocess

ONE = 2048.0
"""OpenCV's unit of weight."""


class Frame(NamedTuple):
    """A picture's sizes while the graph runs, each a whole number in a tensor of no dimensions."""

    height: Tensor
    width: Tensor
    inner_height: Tensor
    inner_width: Tensor


def frame_of(images: Tensor, preprocess: Preprocess) -> Frame:
    """The sizes of (B, H, W, 3) pictures and of the part of the input that they take up (`inner_size_hw`)."""
    high, wide = preprocess.size_hw
    height, width = _number(images.shape[1]), _number(images.shape[2])
    if preprocess.fit == "warp":
        return Frame(height, width, _number(high), _number(wide))
    by_height = height * wide >= width * high
    inner_height = torch.where(by_height, high, _rounded_ratio(height * wide, width))
    inner_width = torch.where(by_height, _rounded_ratio(width * high, height), wide)
    return Frame(height, width, inner_height, inner_width)


def to_input(images: Tensor, preprocess: Preprocess, frame: Frame) -> Tensor:
    """uint8 (B, h, w, 3) pictures → float32 (B, H, W, 3) of the input size in whole numbers, as `preprocess.to_input`.

    OpenCV's linear resize of bytes counts in whole numbers: weights in 1/2048, and the sum down a column is cut off
    twice on its way to a byte. That makes pictures darker by a tenth of a grey level on average, which a network that
    was trained on them sees. It is done the same way here, in float32, which holds these numbers: about one byte in
    two thousand comes out one level off.
    """
    high, wide = preprocess.size_hw
    down = positions(high, frame.height, frame.inner_height)
    across = positions(wide, frame.width, frame.inner_width)
    right = (across.share * ONE).round()[:, None]
    below = (down.share * ONE).round()[:, None, None]
    upper, lower = (_mixed_row(images.index_select(1, rows), across, right) for rows in (down.low, down.high))
    parts = (upper * (ONE - below) / 65536).floor() + (lower * below / 65536).floor()
    pixels = ((parts + 2) / 4).floor()
    if preprocess.fill_rgb is None:
        return pixels
    inside = (torch.arange(high) < frame.inner_height)[:, None] & (torch.arange(wide) < frame.inner_width)
    return torch.where(inside[:, :, None], pixels, torch.tensor(preprocess.fill_rgb, dtype=torch.float32))


def _mixed_row(rows: Tensor, across: Positions, right: Tensor) -> Tensor:
    """Neighbours within rows mixed, in units of 1/128 of a grey level, cut off."""
    one, other = (rows.index_select(2, columns).float() for columns in (across.low, across.high))
    return ((one * (ONE - right) + other * right) / 16).floor()


def normalise(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """`preprocess.normalise` for pictures that are float32 already: (B, H, W, 3) → (B, 3, H, W)."""
    batch, height, width, _ = pixels.shape
    mean = torch.tensor(preprocess.mean_rgb).repeat(width)
    scale = torch.tensor(preprocess.std_rgb).reciprocal().repeat(width)
    rows = (pixels.reshape(batch, height, width * 3) - mean) * scale
    pixels = rows.reshape(batch, height, width, 3)
    if preprocess.channel_order == "bgr":
        pixels = pixels.flip(-1)
    return pixels.permute(0, 3, 1, 2)


class Positions(NamedTuple):
    """Where each output cell looks: two (N,) rows of input cells, and the share of the second."""

    low: Tensor
    high: Tensor
    share: Tensor


def positions(count: int | torch.SymInt, size_in: Tensor, size_out: Tensor) -> Positions:
    """Where `count` cells look when `size_in` cells are brought to `size_out`; those past `size_out` see the edge.

    Centres lie on centres: cell i looks at (i + ½)·in/out − ½, kept within the picture.
    """
    cells = torch.arange(count, dtype=torch.float32)  # pyright: ignore[reportCallIssue, reportArgumentType]
    centres = (cells + 0.5) * (size_in.float() / size_out.float()) - 0.5
    centres = torch.minimum(centres.clamp(min=0.0), (size_in - 1).float())
    low = centres.floor()
    return Positions(low.long(), torch.minimum(low.long() + 1, size_in - 1), centres - low)


def sample(values: Tensor, axis: int, where: Positions) -> Tensor:
    """`values` along one axis at those positions, in float32."""
    low, high = values.index_select(axis, where.low).float(), values.index_select(axis, where.high).float()
    share = where.share.reshape([-1 if each == axis else 1 for each in range(values.dim())])
    return low + (high - low) * share


def _number(value: int | torch.SymInt) -> Tensor:
    return torch.scalar_tensor(value, dtype=torch.int64)  # pyright: ignore[reportArgumentType]


def _rounded_ratio(above: Tensor, below: Tensor) -> Tensor:
    """max(1, round(above / below)) in whole numbers, halves to the even one as Python's `round`."""
    whole = torch.div(above, below, rounding_mode="floor")
    rest = 2 * (above - whole * below)
    up = (rest > below) | ((rest == below) & (torch.remainder(whole, 2) == 1))
    return (whole + up.long()).clamp(min=1)
