"""Mosaic: four training images around a point become one, so that a small data set shows more scenes and sizes.

Each image is scaled to the network's input size in its own proportions and fills a quarter of a canvas twice as large,
around a point near its middle; what reaches beyond its quarter is cut off. The canvas is then augmented like any
image, except that it is not expanded and that a crop of a third to the whole of its sides is taken: objects become
half to one and a half times as large as alone (YOLOX's range for small networks).

Source: Bochkovskiy et al. 2020 (YOLOv4, section 3.3); Ge et al. 2021 (YOLOX, table 5) for the range of scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from singleshot.data.augment.sampling import CropSampler

PARTS = 4
CROP = CropSampler(scale=(1 / 3, 1.0), aspect_ratio=(0.75, 1.33))
"""Of the canvas: a third of its sides is magnified by 1.5, the whole is halved."""
LEAST_SHARE, MOST_SHARE = 0.25, 0.75
"""Where the point may lie, as shares of the canvas's sides."""


class Part(NamedTuple):
    """An image with its boxes.

    Args:
        image_rgb: (H, W, 3) uint8.
        boxes_xyxy: (N, 4) pixels; N may be 0.
        class_ids: (N,) 0-based.
    """

    image_rgb: UInt8[ndarray, "H W 3"]
    boxes_xyxy: Float[ndarray, "N 4"]
    class_ids: Int[ndarray, " N"]


def mosaic(
    parts: Sequence[Part], size_hw: tuple[int, int], rng: np.random.Generator, fill_rgb: tuple[int, int, int]
) -> Part:
    """Return four images as one of twice `size_hw`.

    A box is kept if its centre is in view, and clipped at the edge of its quarter.

    Args:
        parts: four, at upper left, upper right, lower left and lower right.
        size_hw: of the network's input.
        rng: settles the point.
        fill_rgb: the colour where no image reaches.
    """
    height, width = 2 * size_hw[0], 2 * size_hw[1]
    share_y, share_x = rng.uniform(LEAST_SHARE, MOST_SHARE, 2)
    middle_y, middle_x = round(height * share_y), round(width * share_x)
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = fill_rgb
    boxes, ids = [np.zeros((0, 4))], [np.zeros(0, np.int64)]
    for number, part in enumerate(parts):
        below, right = divmod(number, 2)
        scale = min(size_hw[0] / part.image_rgb.shape[0], size_hw[1] / part.image_rgb.shape[1])
        high, wide = (max(1, round(side * scale)) for side in part.image_rgb.shape[:2])
        image = cv2.resize(
            part.image_rgb, (wide, high), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        top, left = middle_y if below else middle_y - high, middle_x if right else middle_x - wide
        # The part of its quarter that the image fills, in pixels of the canvas.
        low = np.array([max(left, 0), max(top, 0)])
        end = np.array([min(left + wide, width), min(top + high, height)])
        canvas[low[1] : end[1], low[0] : end[0]] = image[low[1] - top : end[1] - top, low[0] - left : end[0] - left]
        factor = np.array([wide / part.image_rgb.shape[1], high / part.image_rgb.shape[0]] * 2)
        moved = part.boxes_xyxy * factor + np.array([left, top, left, top])
        centres = (moved[:, :2] + moved[:, 2:]) / 2
        kept = ((centres >= low) & (centres <= end)).all(axis=1)
        boxes.append(np.concatenate([moved[kept, :2].clip(low, end), moved[kept, 2:].clip(low, end)], axis=1))
        ids.append(part.class_ids[kept])
    return Part(canvas, np.concatenate(boxes), np.concatenate(ids))
