"""Geometry of boxes: convert, area, overlap, clip, scale. The same functions serve NumPy arrays and torch tensors.

`xyxy` are two corners, `cxcywh` a centre and a size; both in the unit of the caller, continuous, so that a width is
x2 − x1 without a 1 added. Every function returns a new array and accepts any number of leading axes; no boxes in give
no boxes out.
"""

from __future__ import annotations

from types import ModuleType
from typing import TypeVar

import numpy as np
import torch

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def xyxy_to_cxcywh(boxes_xyxy: Array) -> Array:
    """Convert corners (…, 4) to centre and size (…, 4).

    >>> xyxy_to_cxcywh(np.array([[10.0, 20.0, 30.0, 60.0]]))
    array([[20., 40., 20., 40.]])
    """
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return _namespace(boxes_xyxy).concatenate([(low + high) / 2, high - low], axis=-1)


def cxcywh_to_xyxy(boxes_cxcywh: Array) -> Array:
    """Convert centre and size (…, 4) to corners (…, 4); the inverse of `xyxy_to_cxcywh`.

    >>> cxcywh_to_xyxy(np.array([[20.0, 40.0, 20.0, 40.0]]))
    array([[10., 20., 30., 60.]])
    """
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return _namespace(boxes_cxcywh).concatenate([centre - half, centre + half], axis=-1)


def area(boxes_xyxy: Array) -> Array:
    """Return the areas (…) of boxes (…, 4), in the square of their unit. An inverted box gets a wrong area, not 0.

    >>> area(np.array([[10.0, 20.0, 30.0, 60.0]]))
    array([800.])
    """
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def pairwise_intersection(first_xyxy: Array, second_xyxy: Array) -> Array:
    """Return the common area of each box of (…, N, 4) with each of (…, M, 4), as (…, N, M); 0 where they are apart."""
    xp = _namespace(first_xyxy)
    low = xp.maximum(first_xyxy[..., :, None, :2], second_xyxy[..., None, :, :2])
    high = xp.minimum(first_xyxy[..., :, None, 2:], second_xyxy[..., None, :, 2:])
    sides = (high - low).clip(0)
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(first_xyxy: Array, second_xyxy: Array) -> Array:
    """Return the IoU of each box of (…, N, 4) with each of (…, M, 4), as (…, N, M) in 0…1; 0 for two without area.

    >>> pairwise_iou(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 2.0], [5.0, 5.0, 6.0, 6.0]]))
    array([[0.33333333, 0.        ]])
    """
    intersection = pairwise_intersection(first_xyxy, second_xyxy)
    union = area(first_xyxy)[..., :, None] + area(second_xyxy)[..., None, :] - intersection
    return intersection / union.clip(1e-12)


def clip(boxes_xyxy: Array, size_hw: tuple[float | int, float | int]) -> Array:
    """Clip boxes (…, 4) to an image of that height and width; a box outside becomes empty.

    >>> clip(np.array([[-5.0, 2.0, 20.0, 8.0]]), (10, 16))
    array([[ 0.,  2., 16.,  8.]])
    """
    height, width = size_hw
    x, y = boxes_xyxy[..., 0::2].clip(0, width), boxes_xyxy[..., 1::2].clip(0, height)
    return _namespace(boxes_xyxy).concatenate([x[..., :1], y[..., :1], x[..., 1:], y[..., 1:]], axis=-1)


def scale(boxes_xyxy: Array, factor_hw: tuple[float | int, float | int]) -> Array:
    """Scale boxes (…, 4) with an image whose height and width are multiplied by `factor_hw`.

    >>> scale(np.array([[1.0, 2.0, 3.0, 4.0]]), (10.0, 0.5))
    array([[ 0.5, 20. ,  1.5, 40. ]])
    """
    height, width = factor_hw
    columns = [
        boxes_xyxy[..., 0:1] * width,
        boxes_xyxy[..., 1:2] * height,
        boxes_xyxy[..., 2:3] * width,
        boxes_xyxy[..., 3:4] * height,
    ]
    return _namespace(boxes_xyxy).concatenate(columns, axis=-1)


def _namespace(array: np.ndarray | torch.Tensor) -> ModuleType:
    return torch if isinstance(array, torch.Tensor) else np
