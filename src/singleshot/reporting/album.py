"""Pictures for a page, small enough that all of them together stay within a budget.

A report is sent by mail and opened on a phone. Pictures are reduced, stored as JPEG, and once the budget is spent the
page says that there is no more room, which is better than a file nobody can open.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from singleshot import boxes
from singleshot.drawing import draw_boxes
from singleshot.errors import StorageError
from singleshot.reporting.page import Html, figure, paragraph, text

BUDGET_BYTES = 7_000_000
"""Base64 makes a third more of it: a page stays under 10 MB with its charts and tables."""
JPEG_QUALITY = 82
TRUTH, FOUND = (86, 180, 233), (255, 150, 60)
"""Blue and orange, told apart by all eyes; both are bright enough for dark pictures."""


@dataclass
class Album:
    """How much of the budget is left; the one thing here that changes as a page grows."""

    left_bytes: int = BUDGET_BYTES

    def shot(self, image_rgb: UInt8[ndarray, "H W 3"], caption: str, *, width: int = 480) -> Html:
        """A picture with its caption, no wider than `width` pixels; a line of text where there is no room left."""
        data = encoded(reduced(image_rgb, width))
        if len(data) > self.left_bytes:
            return paragraph(f"{caption} (not shown: the report would grow over 10 MB)", "soft")
        self.left_bytes -= len(data)
        source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        return figure(Html(f"<img src='{source}' alt='{text(caption)}' decoding='async'>"), caption)


def reduced(image_rgb: UInt8[ndarray, "H W 3"], width: int) -> UInt8[ndarray, "h w 3"]:
    """The picture at most `width` pixels wide and one and a half times as tall; a smaller one as it is."""
    tall, wide = image_rgb.shape[:2]
    share = min(1.0, width / wide, 1.5 * width / tall)
    if share == 1.0:
        return image_rgb
    size = (max(1, round(wide * share)), max(1, round(tall * share)))
    return cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)


def encoded(image_rgb: UInt8[ndarray, "H W 3"]) -> bytes:
    """The picture as JPEG."""
    parameters = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    fine, data = cv2.imencode(".jpg", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), parameters)
    if not fine:
        raise StorageError("the picture could not be encoded")
    return np.asarray(data).tobytes()


def beside(
    image_rgb: UInt8[ndarray, "H W 3"],
    truths_xyxy: Float[ndarray, "G 4"],
    truth_names: list[str],
    found_xyxy: Float[ndarray, "D 4"],
    found_names: list[str],
    *,
    width: int = 480,
) -> UInt8[ndarray, "h w 3"]:
    """A picture, reduced, with what is there in blue and what was found in orange, each with its label."""
    small = reduced(image_rgb, width)
    every = np.concatenate([found_xyxy.astype(np.float64), truths_xyxy.astype(np.float64)])
    share_hw = (small.shape[0] / image_rgb.shape[0], small.shape[1] / image_rgb.shape[1])
    moved = boxes.scale(every, share_hw)
    colours = np.array([FOUND] * len(found_xyxy) + [TRUTH] * len(truths_xyxy), np.uint8).reshape(-1, 3)
    return draw_boxes(small, moved, [*found_names, *truth_names], colours, line_width=2)


def crop(
    image_rgb: UInt8[ndarray, "H W 3"], around_xyxy: Float[ndarray, " 4"], *, least_px: float = 64.0
) -> tuple[UInt8[ndarray, "h w 3"], tuple[int, int]]:
    """The part of a picture around a box, with what is near it: a square cut off at the picture's edges, not resized.

    Args:
        image_rgb: the picture.
        around_xyxy: the box in its pixels. Beyond the longer of its sides the part reaches by 0.4 of it each way.
        least_px: how long the square's side is at least, for the smallest boxes.

    Returns the part, and the x and y of its upper left pixel.
    """
    x1, y1, x2, y2 = (float(edge) for edge in around_xyxy)
    half = max(x2 - x1, y2 - y1, least_px / 1.8) * 0.9
    middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
    height, width = image_rgb.shape[:2]
    left, top = (int(np.clip(v - half, 0, side - 1)) for v, side in ((middle_x, width), (middle_y, height)))
    right, bottom = (
        int(np.clip(np.ceil(v + half), low + 1, side))
        for v, low, side in ((middle_x, left, width), (middle_y, top, height))
    )
    return image_rgb[top:bottom, left:right], (left, top)
