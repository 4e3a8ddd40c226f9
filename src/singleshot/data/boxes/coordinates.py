"""Coordinates of another kind than the format's: pixels for fractions, corners for sizes, and the reverse.

Every number of such a box is a number, so a reader would take it, find the box outside its image or inverted, and drop
boxes one by one; what is left is wrong. When most boxes of a file or a set fail in one direction, none of them is used
and one fatal fault (`other-coordinates`) says what they look like. One odd box among good ones is a slip, and keeps the
fault of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from singleshot.structures import Sample

Form = Literal["cxcywh fractions", "xywh", "xyxy inclusive", "xyxy fractions"]
"""How YOLO, COCO, Pascal VOC and Open Images write a box; continuous corners are told from others as inclusive ones."""
MIN_BOXES = 2
"""Fewer boxes are no evidence for corners or sizes; fractions and pixels differ enough to be told by one."""
ROUNDING = 0.02
_PIXELS = "pixels (or percent), not fractions of the image. Divide x and width by its width, y and height by its height"
_PIXEL_CORNERS = "pixels (or percent), not fractions of the image. Divide x by its width and y by its height"
_FRACTIONS = "fractions of the image, not pixels. Multiply x and width by its width, y and height by its height"


def other_kind(
    numbers: Float[ndarray, "N 4"], sizes_wh: Float[ndarray, "N 2"] | Float[ndarray, "1 2"], form: Form
) -> str | None:
    """Return what most boxes look like if they are not of a format's form, with the remedy; None where they are.

    Args:
        numbers: (N, 4) the numbers of each box as written.
        sizes_wh: width and height of each box's image, in pixels; not used for fractions.
        form: the format's.

    >>> other_kind(np.array([[80.0, 60.0, 40.0, 30.0]]), np.ones((1, 2)), "cxcywh fractions")
    'pixels (or percent), not fractions of the image. Divide x and width by its width, y and height by its height'
    >>> other_kind(np.array([[0.5, 0.5, 0.2, 0.2]]), np.ones((1, 2)), "cxcywh fractions") is None
    True
    """
    if not len(numbers):
        return None
    first, second = numbers[:, :2], numbers[:, 2:]
    if form == "cxcywh fractions":
        if _most((numbers > 1).all(axis=1)):
            return _PIXELS
        over = (np.abs(first - 0.5) + second / 2 > 0.5 + ROUNDING).any(axis=1)
        ordered = bool((second > first).all() and (numbers >= 0).all() and (numbers <= 1 + ROUNDING).all())
        if len(numbers) >= MIN_BOXES and ordered and _most(over):
            return "corners (x1 y1 x2 y2), not centres and sizes. Write x and y of the centre, then width and height"
        return None
    if form == "xyxy fractions":
        return _PIXEL_CORNERS if _most((second > 1 + ROUNDING).all(axis=1)) else None
    if _most(((numbers >= 0) & (numbers <= 1)).all(axis=1) & (second > 0).all(axis=1) & (sizes_wh > 2).all(axis=1)):
        return _FRACTIONS
    if len(numbers) < MIN_BOXES:
        return None
    fits = bool((first >= 0).all() and (second > 0).all())
    if form == "xywh":
        over = (first + second > sizes_wh + 1).any(axis=1)
        if fits and (second > first).all() and (second <= sizes_wh + 1).all() and _most(over):
            return "corners [x1, y1, x2, y2], not [x, y, width, height]. Subtract x1 from x2 and y1 from y2"
    elif fits and (first + second <= sizes_wh + 1).all() and _most((second < first).any(axis=1)):
        return "x, y, width and height, not corners. Write x + width as xmax and y + height as ymax"
    return None


def without_boxes(sample: Sample) -> Sample:
    """Return an image whose boxes are not used."""
    none = np.zeros(0, np.int64)
    return replace(
        sample,
        boxes_xyxy=np.zeros((0, 4)),
        class_ids=none,
        difficult=none.astype(np.bool_),
        crowd=None if sample.crowd is None else none.astype(np.bool_),
        areas=None if sample.areas is None else none.astype(np.float64),
        box_places=None if sample.box_places is None else none,
    )


def _most(rows: Any) -> bool:
    return int(rows.sum()) * 2 > len(rows)
